//go:build bench

package bench

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/libvirt"
	"holdfast/test/lab"
	"holdfast/test/rig"
)

// snapshotRounds is how often each is done.
const snapshotRounds = 6

// TestSnapshots measures making and putting back snapshots of a real guest, beside
// virsh doing the same to the same guest.
func TestSnapshots(t *testing.T) {
	binary, err := rig.Build(t.TempDir(), "holdfast/test/lab/cmd/lab", "")
	require.NoError(t, err)
	l, err := lab.Up(t.Context(), lab.Options{Name: fmt.Sprintf("snapshots-%d", os.Getpid()), Hosts: 1, VMs: 1, Binary: binary, Guard: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Down(context.Background())) })
	info := l.Info()
	host, err := libvirt.New(libvirt.Options{Name: "A", URI: info.Hosts[0].URI})
	require.NoError(t, err)
	t.Cleanup(func() { _ = host.Close() })
	vm := info.VMs[0].UUID
	ctx := t.Context()
	require.NoError(t, host.Connect(ctx))

	times := map[string][]float64{}
	timed := func(name string, do func() error) {
		began := time.Now()
		require.NoError(t, do(), name)
		times[name] = append(times[name], time.Since(began).Seconds())
	}
	virsh := func(args ...string) func() error {
		return func() error { _, err := l.Virsh(ctx, "A", args...); return err }
	}
	create := func(o hypervisor.SnapshotOptions) func() error {
		return func() error { _, err := host.CreateSnapshot(ctx, vm, o); return err }
	}
	revert := func(name string) func() error { return func() error { return host.RevertSnapshot(ctx, vm, name) } }
	remove := func(name string) func() error { return func() error { return host.DeleteSnapshot(ctx, vm, name) } }
	stop := func() { require.NoError(t, host.Destroy(ctx, vm)) }
	for round := range snapshotRounds {
		layer := fmt.Sprintf("layer-%d", round) // virsh leaves its file behind
		// Who comes second finds the guest further into its boot, with more memory.
		ours := func() { timed("with memory: create", create(hypervisor.SnapshotOptions{Name: "ours", Memory: true})) }
		theirs := func() { timed("virsh with memory: create", virsh("snapshot-create-as", "VM1", "theirs")) }
		if round%2 == 1 {
			ours, theirs = theirs, ours
		}
		ours()
		theirs()
		stop()
		timed("with memory: revert", revert("ours"))
		stop()
		timed("virsh with memory: revert", virsh("snapshot-revert", "VM1", "theirs"))
		timed("with memory: delete", remove("ours"))
		timed("virsh with memory: delete", virsh("snapshot-delete", "VM1", "theirs"))

		timed("layer: create", create(hypervisor.SnapshotOptions{Name: "ours", External: true}))
		timed("layer: delete (merge)", remove("ours"))
		timed("virsh layer: create", virsh("snapshot-create-as", "VM1", layer, "--disk-only"))
		timed("virsh layer: delete (merge)", func() error {
			if err := virsh("blockcommit", "VM1", "vda", "--active", "--pivot")(); err != nil {
				return err
			}
			return virsh("snapshot-delete", "VM1", layer, "--metadata")()
		})

		stop()
		timed("shut off: create", create(hypervisor.SnapshotOptions{Name: "ours"}))
		timed("virsh shut off: create", virsh("snapshot-create-as", "VM1", "theirs"))
		timed("shut off: revert", revert("ours"))
		timed("virsh shut off: revert", virsh("snapshot-revert", "VM1", "theirs"))
		timed("shut off: delete", remove("ours"))
		timed("virsh shut off: delete", virsh("snapshot-delete", "VM1", "theirs"))
		require.NoError(t, host.Start(ctx, vm))
	}
	fmt.Printf("\nsnapshots of a guest with 128 MiB, %d rounds (medians)\n  %-26s %9s %9s %7s\n", snapshotRounds, "", "holdfast", "virsh", "ratio")
	for _, name := range []string{
		"with memory: create", "with memory: revert", "with memory: delete", "layer: create", "layer: delete (merge)",
		"shut off: create", "shut off: revert", "shut off: delete",
	} {
		ours, theirs := median(times[name]), median(times["virsh "+name])
		fmt.Printf("  %-26s %7.3f s %7.3f s %7.2f\n", name, ours, theirs, ours/theirs)
	}
}
