package simulated_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/simulated"
)

func TestCorruptDiskKeepsTheGuestFromBootingUntilItIsReverted(t *testing.T) {
	ctx := t.Context()
	c, h, vm := site(t, simulated.Options{Hosts: 1, VMsPerHost: 1})
	answers := func() bool {
		t.Helper()
		_, err := h.GuestTime(ctx, vm.UUID)
		if err != nil {
			require.ErrorIs(t, err, hypervisor.ErrNoAgent)
			require.Equal(t, hypervisor.StateRunning, sample(t, h, vm).State)
		}
		return err == nil
	}
	_, err := h.CreateSnapshot(ctx, vm.UUID, hypervisor.SnapshotOptions{Name: "good"})
	require.NoError(t, err)
	require.NoError(t, c.CorruptDisk("VM1"))
	require.True(t, answers(), "the guest runs on")
	events := listen(t, h)
	require.NoError(t, h.Reset(ctx, vm.UUID))
	require.False(t, answers())
	require.NoError(t, h.Reset(ctx, vm.UUID))
	requireTold(t, events,
		told{hypervisor.EventRebooted, ""}, told{hypervisor.EventAgent, hypervisor.ReasonAgentDisconnected},
		told{hypervisor.EventRebooted, ""})
	require.NoError(t, h.Destroy(ctx, vm.UUID))
	require.NoError(t, h.Start(ctx, vm.UUID))
	require.False(t, answers())

	require.NoError(t, h.Destroy(ctx, vm.UUID))
	_, err = h.CreateSnapshot(ctx, vm.UUID, hypervisor.SnapshotOptions{Name: "broken"})
	require.NoError(t, err)
	require.NoError(t, h.RevertSnapshot(ctx, vm.UUID, "good"))
	require.NoError(t, h.Start(ctx, vm.UUID))
	require.True(t, answers())
	require.NoError(t, h.Destroy(ctx, vm.UUID))
	require.NoError(t, h.RevertSnapshot(ctx, vm.UUID, "broken"))
	corrupt, err := c.DiskCorrupt("VM1")
	require.NoError(t, err)
	require.True(t, corrupt, "the broken disk was kept")
}

func TestFailingSnapshots(t *testing.T) {
	ctx := t.Context()
	c, h, vm := site(t, simulated.Options{Hosts: 1, VMsPerHost: 1})
	require.NoError(t, h.Destroy(ctx, vm.UUID))
	require.NoError(t, c.FailSnapshots("VM1", 1))
	_, err := h.CreateSnapshot(ctx, vm.UUID, hypervisor.SnapshotOptions{Name: "one"})
	require.ErrorIs(t, err, hypervisor.ErrNoResource)
	_, err = h.CreateSnapshot(ctx, vm.UUID, hypervisor.SnapshotOptions{Name: "one"})
	require.NoError(t, err)
	require.NoError(t, c.MarkDisk("VM1", 'x'))
	require.NoError(t, c.FailReverts("VM1", -1))
	for range 2 {
		require.ErrorIs(t, h.RevertSnapshot(ctx, vm.UUID, "one"), hypervisor.ErrNoResource)
	}
	mark, err := c.DiskMark("VM1")
	require.NoError(t, err)
	require.Equal(t, byte('x'), mark, "a revert that failed changes nothing")
	require.NoError(t, c.FailReverts("VM1", 0))
	require.NoError(t, h.RevertSnapshot(ctx, vm.UUID, "one"))
	for _, lever := range []error{c.FailSnapshots("VM9", 1), c.FailReverts("VM9", 1), c.CorruptDisk("VM9"), c.MarkDisk("VM9", 1)} {
		require.Error(t, lever)
	}
}

func TestLayersAreInTheDefinition(t *testing.T) {
	ctx := t.Context()
	_, h, vm := site(t, simulated.Options{Hosts: 1, VMsPerHost: 1})
	image := func() string {
		t.Helper()
		blocks, err := h.Blocks(ctx, vm.UUID)
		require.NoError(t, err)
		xml, err := h.Definition(ctx, vm.UUID)
		require.NoError(t, err)
		require.Contains(t, xml, "<source file='"+blocks[0].Source+"'/>")
		return blocks[0].Source
	}
	first := image()
	_, err := h.CreateSnapshot(ctx, vm.UUID, hypervisor.SnapshotOptions{Name: "good"})
	require.NoError(t, err)
	layer := image()
	require.NotEqual(t, first, layer)
	require.NoError(t, h.Destroy(ctx, vm.UUID))
	require.NoError(t, h.RevertSnapshot(ctx, vm.UUID, "good"))
	require.NotContains(t, []string{first, layer}, image(), "another one: what was in use stays as it is")
}

func TestSnapshotsKeepAVMFromMigrating(t *testing.T) {
	ctx := t.Context()
	c, h, vm := site(t, simulated.Options{Hosts: 2, VMsPerHost: 1})
	_, err := h.CreateSnapshot(ctx, vm.UUID, hypervisor.SnapshotOptions{Name: "one", Memory: true})
	require.NoError(t, err)
	require.ErrorIs(t, c.MigrateVM("VM1", "B"), hypervisor.ErrInvalidState)
	require.NoError(t, h.DeleteSnapshot(ctx, vm.UUID, "one"))
	require.NoError(t, c.MigrateVM("VM1", "B"))
}
