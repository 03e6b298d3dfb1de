package simulated_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"holdfast/internal/contract"
	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/simulated"
)

const (
	images  = "/var/lib/libvirt/images"
	oneMark = hypervisor.MarkPrefix + "one"
)

// take defines VM1 of one host on another.
func take(t *testing.T, from, to hypervisor.Host, vm simulated.VM) {
	t.Helper()
	text, err := from.Definition(t.Context(), vm.UUID)
	require.NoError(t, err)
	require.NoError(t, to.Define(t.Context(), text))
}

func blocks(t *testing.T, h hypervisor.Host, vm simulated.VM) []hypervisor.Block {
	t.Helper()
	out, err := h.Blocks(t.Context(), vm.UUID)
	require.NoError(t, err)
	return out
}

func TestFailStartsOnAHost(t *testing.T) {
	ctx := t.Context()
	c, a, vm := site(t, simulated.Options{Hosts: 2, VMsPerHost: 1})
	b := c.Host("B")
	take(t, a, b, vm)
	require.NoError(t, c.DestroyVM("VM1"))
	require.ErrorContains(t, c.FailStartsOn("VM1", "Z", 1), `no host "Z"`)
	require.ErrorContains(t, c.FailStartsOn("VM9", "A", 1), `no VM "VM9"`)

	require.NoError(t, c.FailStartsOn("VM1", "A", 2))
	require.ErrorIs(t, a.Start(ctx, vm.UUID), hypervisor.ErrNoResource)
	require.NoError(t, b.Start(ctx, vm.UUID), "it is about A alone")
	require.NoError(t, b.Destroy(ctx, vm.UUID))
	require.ErrorIs(t, a.Start(ctx, vm.UUID), hypervisor.ErrNoResource)
	require.NoError(t, a.Start(ctx, vm.UUID), "they were two")
	require.NoError(t, a.Destroy(ctx, vm.UUID))

	require.NoError(t, c.FailStartsOn("VM1", "A", -1))
	require.NoError(t, c.FailStarts("VM1", 1))
	for range 3 {
		require.ErrorIs(t, a.Start(ctx, vm.UUID), hypervisor.ErrNoResource)
	}
	require.NoError(t, b.Start(ctx, vm.UUID), "the one that fails everywhere was on A")
	require.NoError(t, b.Destroy(ctx, vm.UUID))
	require.NoError(t, c.FailStartsOn("VM1", "A", 0))
	require.NoError(t, a.Start(ctx, vm.UUID))
	require.Empty(t, c.TwoCopies())
}

func TestInjectOnAHostOfAVM(t *testing.T) {
	c, a, vm := site(t, simulated.Options{Hosts: 2, VMsPerHost: 1})
	require.NoError(t, c.DestroyVM("VM1"))
	done, err := c.InjectOn(contract.SimFailStarts, "VM1", "B", -1)
	require.NoError(t, err)
	require.Equal(t, "VM1 on host B: every start fails until further notice", done)
	require.NoError(t, a.Start(t.Context(), vm.UUID))
	_, err = c.InjectOn(contract.SimFailStarts, "VM1", "Z", 1)
	require.ErrorContains(t, err, `no host "Z"`)
	_, err = c.InjectOn(contract.SimKill, "VM1", "A", 0)
	require.ErrorContains(t, err, "kill is not about a host")
	require.Equal(t, hypervisor.StateRunning, hypervisor.State(look(t, a, vm)[0]))
}

// What is on a disk, and what its file is built upon, is found by whoever has the
// definition, though the host that it is from is gone.
func TestDefineOfOneWhoseHostIsGone(t *testing.T) {
	ctx := t.Context()
	c, a, vm := site(t, simulated.Options{Hosts: 2, VMsPerHost: 1})
	b := c.Host("B")
	for _, name := range []string{"one", "two"} {
		_, err := a.CreateSnapshot(ctx, vm.UUID, hypervisor.SnapshotOptions{Name: name})
		require.NoError(t, err)
	}
	require.NoError(t, a.DeleteSnapshot(ctx, vm.UUID, "one")) // its layer is no longer in between
	require.NoError(t, c.MarkDisk("VM1", 'x'))
	before := blocks(t, a, vm)
	require.Len(t, before[0].Backing, 1)
	text, err := a.Definition(ctx, vm.UUID)
	require.NoError(t, err)
	require.NoError(t, c.PowerOffHost("A"))

	require.NoError(t, b.Define(ctx, text))
	require.Equal(t, before, blocks(t, b, vm))
	needs, err := b.Needs(ctx, vm.UUID)
	require.NoError(t, err)
	require.Equal(t, hypervisor.Needs{Memory: 1 << 30, VCPUs: 2, Folders: []string{images}, Networks: []string{}, Pinned: []string{}}, needs,
		"B knows nothing of the snapshot")
	require.NoError(t, b.Start(ctx, vm.UUID))
	require.NoError(t, c.PowerOnHost("A"))
	require.ErrorIs(t, a.Undefine(ctx, vm.UUID), hypervisor.ErrInvalidState, "its snapshot is in the books of A")
	require.Empty(t, c.TwoCopies())
	require.NoError(t, a.Start(ctx, vm.UUID))
	require.Len(t, c.TwoCopies(), 1)
}

// A file that was made on one host is not made a second time on another.
func TestDefineAndRestore(t *testing.T) {
	ctx := t.Context()
	c, a, vm := site(t, simulated.Options{Hosts: 2, VMsPerHost: 1})
	b := c.Host("B")
	require.NoError(t, c.DestroyVM("VM1"))
	_, err := a.CreateSnapshot(ctx, vm.UUID, hypervisor.SnapshotOptions{Name: "inside"})
	require.NoError(t, err)
	_, err = a.CreateBackup(ctx, vm.UUID, hypervisor.BackupOptions{Where: simulated.BackupFolder, Name: "one"})
	require.NoError(t, err)
	restore := hypervisor.RestoreOptions{Where: simulated.BackupFolder, Name: "one", Keep: "kept"}
	require.NoError(t, a.RestoreBackup(ctx, vm.UUID, restore))
	needs, err := a.Needs(ctx, vm.UUID)
	require.NoError(t, err)
	require.Equal(t, []string{`snapshot "inside" of ` + images + `/VM1.qcow2 is known to this host alone`}, needs.Pinned)
	require.ErrorIs(t, a.Undefine(ctx, vm.UUID), hypervisor.ErrInvalidState, "libvirt knows that snapshot all the same")
	require.NoError(t, a.DeleteSnapshot(ctx, vm.UUID, "inside"))
	first := blocks(t, a, vm)[0].Source
	take(t, a, b, vm)
	require.NoError(t, a.Undefine(ctx, vm.UUID))
	require.Equal(t, first, blocks(t, b, vm)[0].Source)
	restore.Keep = "kept-too"
	require.NoError(t, b.RestoreBackup(ctx, vm.UUID, restore))
	require.NotEqual(t, first, blocks(t, b, vm)[0].Source)
}

// Autostart is what makes two copies of a VM that was taken elsewhere meanwhile.
func TestAutostartAtPowerOn(t *testing.T) {
	ctx := t.Context()
	c, a, vm := site(t, simulated.Options{Hosts: 2, VMsPerHost: 2})
	b := c.Host("B")
	require.NoError(t, a.SetAutostart(ctx, vm.UUID, true))
	reboot := func() {
		require.NoError(t, c.PowerOffHost("A"))
		require.NoError(t, c.PowerOnHost("A"))
	}
	reboot()
	require.Equal(t, [2]string{"running", "booted"}, look(t, a, vm))
	other, _ := c.VM("VM3")
	require.Equal(t, "shut off", look(t, a, other)[0])
	on, err := a.Autostart(ctx, vm.UUID)
	require.NoError(t, err)
	require.True(t, on)

	require.NoError(t, a.Destroy(ctx, vm.UUID))
	take(t, a, b, vm)
	require.NoError(t, a.SetAutostart(ctx, vm.UUID, false))
	require.NoError(t, b.Start(ctx, vm.UUID))
	reboot()
	require.Empty(t, c.TwoCopies())
	require.NoError(t, a.SetAutostart(ctx, vm.UUID, true))
	reboot()
	require.Len(t, c.TwoCopies(), 1)
}

func TestAutostartOfTransient(t *testing.T) {
	ctx := t.Context()
	c, _, vm := site(t, simulated.Options{Hosts: 2, VMsPerHost: 1})
	m, err := c.BeginMigration("VM1", "B")
	require.NoError(t, err)
	b := c.Host("B")
	_, err = b.Autostart(ctx, vm.UUID)
	require.ErrorIs(t, err, hypervisor.ErrInvalidState)
	require.ErrorIs(t, b.SetAutostart(ctx, vm.UUID, true), hypervisor.ErrInvalidState)
	require.ErrorIs(t, b.Undefine(ctx, vm.UUID), hypervisor.ErrAlreadyActive)
	require.NoError(t, m.Finish(true))
	require.NoError(t, b.SetAutostart(ctx, vm.UUID, true))
}

func TestOwnStorage(t *testing.T) {
	ctx := t.Context()
	c, a, vm := site(t, simulated.Options{Hosts: 3, VMsPerHost: 1})
	b, third := c.Host("B"), c.Host("C")
	require.Error(t, c.OwnStorage("Z", true))
	require.NoError(t, a.Mark(ctx, images, oneMark))
	require.NoError(t, c.OwnStorage("B", true))
	for h, want := range map[hypervisor.Host]bool{a: true, b: false, third: true} {
		there, err := h.Marked(ctx, images, oneMark)
		require.NoError(t, err)
		require.Equal(t, want, there, h.Name())
	}
	require.NoError(t, b.Mark(ctx, images, oneMark))
	require.NoError(t, b.Unmark(ctx, images, oneMark))
	files, err := c.Marks("C")
	require.NoError(t, err)
	require.Equal(t, []string{images + "/" + oneMark}, files)

	require.ErrorIs(t, c.MigrateVM("VM1", "B"), hypervisor.ErrNoResource)
	require.NoError(t, c.DestroyVM("VM1"))
	take(t, a, b, vm)
	require.ErrorContains(t, b.Start(ctx, vm.UUID), "cannot access storage file '"+images+"/VM1.qcow2'")
	require.Equal(t, [2]string{"shut off", "failed"}, look(t, b, vm))
	require.ErrorIs(t, b.Start(ctx, vm.UUID), hypervisor.ErrNoResource)
	_, err = b.Needs(ctx, vm.UUID)
	require.ErrorIs(t, err, hypervisor.ErrNoResource)
	own, _ := c.VM("VM2")
	require.NoError(t, b.Destroy(ctx, own.UUID))
	require.NoError(t, b.Start(ctx, own.UUID), "its disk is there")
	take(t, a, third, vm)
	require.NoError(t, third.Start(ctx, vm.UUID))
	require.NoError(t, third.Destroy(ctx, vm.UUID))

	require.NoError(t, c.OwnStorage("B", false))
	require.NoError(t, b.Start(ctx, vm.UUID))
	there, err := b.Marked(ctx, images, oneMark)
	require.NoError(t, err)
	require.True(t, there)
}

func TestMarksWithoutRoom(t *testing.T) {
	ctx := t.Context()
	c, a, _ := site(t, simulated.Options{Hosts: 2, VMsPerHost: 1})
	require.NoError(t, c.FillPool("A", 100))
	require.ErrorIs(t, a.Mark(ctx, images, oneMark), hypervisor.ErrNoResource)
	there, err := a.Marked(ctx, images, oneMark)
	require.NoError(t, err)
	require.False(t, there)
	require.NoError(t, a.Mark(ctx, simulated.LocalFolder, oneMark), "that is another disk")
	require.NoError(t, c.FillPool("A", 10))
	require.NoError(t, a.Mark(ctx, images+"/", oneMark))
	require.NoError(t, c.StopPool("A"))
	_, err = a.Marked(ctx, images, oneMark)
	require.ErrorIs(t, err, hypervisor.ErrNoPool)
	there, err = c.Host("B").Marked(ctx, images, oneMark)
	require.NoError(t, err)
	require.True(t, there)
	require.ErrorIs(t, a.Mark(ctx, "/no/such/folder", oneMark), hypervisor.ErrNoPool)
}
