//go:build lab

package lab

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStorageFaults(t *testing.T) {
	o := options(t, "storage")
	o.VMs, o.Storage, o.SmallPool, o.Flaky = 1, StorageLocal, true, true
	l, err := Up(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Down(context.Background())) })
	f := fixture{l, t, t.Context()}
	f.booted("VM1")
	for _, step := range []struct {
		name string
		run  func(fixture)
	}{
		{"no space", noSpace},
		{"I/O error", ioError},
		{"pool lost", poolLost},
		{"broken over a power cycle", brokenOverPowerCycle},
	} {
		if !t.Run(step.name, func(t *testing.T) {
			f.t = t
			step.run(f)
		}) {
			return
		}
	}
	inodes := f.inodes()
	require.NoError(t, f.Down(f.ctx))
	nothingLeft(t, f.info.Dir, inodes)
}

// free is how much room libvirt sees in a host's pool.
func (f fixture) free(host string) string {
	f.t.Helper()
	f.virsh(host, "pool-refresh", "images")
	for line := range strings.Lines(f.virsh(host, "pool-info", "images")) {
		if size, is := strings.CutPrefix(line, "Available:"); is {
			return strings.TrimSpace(size)
		}
	}
	f.t.Fatal("pool-info does not say what is available")
	return ""
}

func noSpace(f fixture) {
	f.done(f.FillPool(f.ctx, "A"))
	require.Equal(f.t, "0.00 B", f.free("A"))
	require.NotEqual(f.t, "0.00 B", f.free("B"), "another host's storage")
	f.advances("VM1") // what it has it may write to
	require.Equal(f.t, "running (booted)", f.virsh("A", "domstate", "VM1", "--reason"))

	f.do("VM1", TaskWrite, TaskOptions{})
	f.state("A", "VM1", "paused (I/O error)")
	require.Contains(f.t, f.virsh("A", "domblkerror", "VM1"), "vda: no space")
	f.done(f.EmptyPool(f.ctx, "A"))
	require.NotEqual(f.t, "0.00 B", f.free("A"))
	f.virsh("A", "resume", "VM1")
	f.advances("VM1")
	f.do("VM1", TaskEmpty, TaskOptions{})
	f.state("A", "VM1", "running (unpaused)")
}

func ioError(f fixture) {
	_, err := f.MendDisk(f.ctx, "VM1")
	require.ErrorContains(f.t, err, "not broken")
	f.do("VM1", TaskWrite, TaskOptions{Disk: "vdb"})
	f.rises("A", "VM1", "block.1.wr.reqs", 5)
	f.done(f.BreakDisk(f.ctx, "VM1"))
	f.state("A", "VM1", "paused (I/O error)")
	require.Contains(f.t, f.virsh("A", "domblkerror", "VM1"), "vdb: unspecified error")
	f.virsh("A", "resume", "VM1")
	f.state("A", "VM1", "paused (I/O error)")
	f.done(f.MendDisk(f.ctx, "VM1"))
	f.virsh("A", "resume", "VM1")
	f.rises("A", "VM1", "block.1.wr.reqs", 5)
	f.do("VM1", TaskEmpty, TaskOptions{Disk: "vdb"})
	f.advances("VM1")
}

// pool waits for a state of a host's pool.
func (f fixture) pool(host, want string) {
	f.t.Helper()
	eventually(f.t, "the pool of host "+host+" is "+want, func() bool {
		out, err := f.Virsh(f.ctx, host, "pool-list", "--all")
		return err == nil && strings.Contains(out, " "+want+" ")
	})
}

func poolLost(f fixture) {
	pid := f.vm("VM1").Copies[0].PID
	f.done(f.LosePool(f.ctx, "A"))
	f.pool("A", "inactive")
	f.pool("B", "active")
	f.advances("VM1") // what it has open it keeps
	_, err := f.Inject(f.ctx, FaultLosePool, "A", "")
	require.ErrorContains(f.t, err, "lab restore-pool A")
	f.done(f.RestorePool(f.ctx, "A"))
	f.pool("A", "active")
	f.done(f.RestorePool(f.ctx, "A")) // again is no error
	require.Equal(f.t, pid, f.vm("VM1").Copies[0].PID)
	f.advances("VM1")

	// What a host lost it has not after its power was away, either.
	f.done(f.LosePool(f.ctx, "B"))
	f.done(f.PowerOff(f.ctx, "B"))
	_, err = f.Inject(f.ctx, FaultRestorePool, "B", "")
	require.ErrorContains(f.t, err, "lab power-on B")
	f.done(f.PowerOn(f.ctx, "B"))
	f.pool("B", "inactive")
	f.done(f.RestorePool(f.ctx, "B"))
	f.pool("B", "active")
	f.done(f.KillLibvirtd(f.ctx, "B"))
	eventually(f.t, "libvirtd is dead", func() bool { return f.hostStatus("B").Libvirtd == DaemonDead })
	f.done(f.LosePool(f.ctx, "B"))
	f.done(f.StartLibvirtd(f.ctx, "B"))
	f.pool("B", "inactive")
	f.done(f.RestorePool(f.ctx, "B"))
}

func brokenOverPowerCycle(f fixture) {
	f.done(f.BreakDisk(f.ctx, "VM1"))
	f.done(f.PowerOff(f.ctx, "A"))
	f.done(f.PowerOn(f.ctx, "A"))
	f.virsh("A", "start", "VM1")
	// Its kernel reads the disk when it finds it.
	f.state("A", "VM1", "paused (I/O error)")
	f.done(f.MendDisk(f.ctx, "VM1"))
	f.virsh("A", "resume", "VM1")
	f.booted("VM1")
	f.do("VM1", TaskWrite, TaskOptions{Disk: "vdb"})
	f.rises("A", "VM1", "block.1.wr.reqs", 5)
}
