//go:build lab

package lab

import (
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func (f fixture) generation(vm string) uint64 {
	f.t.Helper()
	generation, err := f.Generation(f.ctx, vm)
	require.NoError(f.t, err)
	return generation
}

// console is what a VM has said on a host.
func (f fixture) console(host, vm string) string {
	f.t.Helper()
	name, err := f.ConsoleFile(host, vm)
	require.NoError(f.t, err)
	content, err := os.ReadFile(name)
	require.NoError(f.t, err)
	return string(content)
}

// boots does what boots a VM anew, and waits until it takes tasks.
func (f fixture) boots(vm string, args ...string) {
	f.t.Helper()
	f.virsh("A", append(args, vm)...)
	f.booted(vm)
}

func TestBootDisk(t *testing.T) {
	o := options(t, "bootdisk")
	o.Hosts, o.VMs, o.BootDisk = 1, 1, true
	l, err := Up(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Down(context.Background())) })
	f := fixture{l, t, t.Context()}
	f.booted("VM1")
	for _, step := range []struct {
		name string
		run  func(fixture)
	}{
		{"generations", generations},
		{"corrupt and revert", corruptAndRevert},
		{"corrupt when stopped", corruptWhenStopped},
		{"overlay", overlay},
	} {
		if !t.Run(step.name, func(t *testing.T) {
			f.t = t
			step.run(f)
		}) {
			return
		}
	}
}

func generations(f fixture) {
	require.Zero(f.t, f.generation("VM1"))
	require.Contains(f.t, f.console("A", "VM1"), "booted from vda, generation 0")
	require.NoError(f.t, f.SetGeneration(f.ctx, "VM1", 1))
	require.Equal(f.t, uint64(1), f.generation("VM1"))
	// What the guest has acknowledged is on the image.
	image, err := f.ImageGeneration(f.ctx, "A", f.disk("VM1"))
	require.NoError(f.t, err)
	require.Equal(f.t, uint64(1), image)
	f.boots("VM1", "reset")
	require.Equal(f.t, uint64(1), f.generation("VM1"))
	require.Contains(f.t, f.console("A", "VM1"), "booted from vda, generation 1")
}

func (f fixture) disk(vm string) string {
	f.t.Helper()
	disk, err := f.Disk(vm)
	require.NoError(f.t, err)
	return disk
}

// cannotBoot boots a VM, waits until that has ended in a panic for what is on the
// disk, and looks what it said.
func (f fixture) cannotBoot(vm string, args ...string) {
	f.t.Helper()
	before := len(f.console("A", vm))
	f.virsh("A", append(args, vm)...)
	f.state("A", vm, "crashed (panicked)")
	said := f.console("A", vm)[before:]
	require.Contains(f.t, said, "unable to boot from vda: the system on the disk is broken")
	require.Contains(f.t, said, "Kernel panic - not syncing")
	require.NotContains(f.t, said, "witness: boot")
}

func corruptAndRevert(f fixture) {
	f.virsh("A", "snapshot-create-as", "VM1", "good")
	require.NoError(f.t, f.SetGeneration(f.ctx, "VM1", 2))
	f.done(f.CorruptDisk(f.ctx, "VM1"))
	f.advances("VM1") // what runs runs on
	_, err := f.Generation(f.ctx, "VM1")
	require.ErrorContains(f.t, err, "broken")
	f.cannotBoot("VM1", "reset")
	f.virsh("A", "destroy", "VM1")
	f.cannotBoot("VM1", "start")
	_, err = f.ImageGeneration(f.ctx, "A", f.disk("VM1"))
	require.ErrorIs(f.t, err, ErrBroken)

	f.virsh("A", "snapshot-revert", "VM1", "good", "--running")
	f.booted("VM1")
	require.Equal(f.t, uint64(1), f.generation("VM1"))
	f.boots("VM1", "reset")
	f.virsh("A", "snapshot-delete", "VM1", "good")
}

func corruptWhenStopped(f fixture) {
	kept := f.t.TempDir() + "/kept.qcow2"
	f.virsh("A", "destroy", "VM1")
	image, err := f.outside("A", f.disk("VM1"))
	require.NoError(f.t, err)
	content, err := os.ReadFile(image)
	require.NoError(f.t, err)
	require.NoError(f.t, os.WriteFile(kept, content, 0o644))
	f.done(f.CorruptDisk(f.ctx, "VM1"))
	_, err = f.ImageGeneration(f.ctx, "A", f.disk("VM1"))
	require.ErrorIs(f.t, err, ErrBroken)
	f.cannotBoot("VM1", "start")
	f.virsh("A", "destroy", "VM1")

	require.NoError(f.t, os.WriteFile(image, content, 0o644))
	f.boots("VM1", "start")
	require.Equal(f.t, uint64(1), f.generation("VM1"))
}

func overlay(f fixture) {
	base := f.disk("VM1")
	f.virsh("A", "snapshot-create-as", "VM1", "one", "--disk-only", "--quiesce")
	require.Equal(f.t, "/var/lib/libvirt/images/VM1.one", f.disk("VM1"))
	require.NoError(f.t, f.SetGeneration(f.ctx, "VM1", 2))
	f.advances("VM1") // which looks at the overlay
	for disk, want := range map[string]uint64{base: 1, f.disk("VM1"): 2} {
		got, err := f.ImageGeneration(f.ctx, "A", disk)
		require.NoError(f.t, err)
		require.Equal(f.t, want, got, disk)
	}
	f.virsh("A", "destroy", "VM1")
	require.Positive(f.t, f.vm("VM1").OnDisk["A"])
	f.done(f.CorruptDisk(f.ctx, "VM1"))
	_, err := f.ImageGeneration(f.ctx, "A", f.disk("VM1"))
	require.ErrorIs(f.t, err, ErrBroken)
	got, err := f.ImageGeneration(f.ctx, "A", base)
	require.NoError(f.t, err)
	require.Equal(f.t, uint64(1), got)
	f.cannotBoot("VM1", "start")
	_, err = f.ImageGeneration(f.ctx, "A", "/etc/passwd")
	require.ErrorContains(f.t, err, "no folder that belongs to the lab")
}
