package simulated_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/simulated"
)

// to is a backup in the pool.
func to(name string) hypervisor.BackupOptions {
	return hypervisor.BackupOptions{Where: simulated.PoolName, Name: name}
}

// from is a restore of one in the pool.
func from(name, keep string) hypervisor.RestoreOptions {
	return hypervisor.RestoreOptions{Where: simulated.PoolName, Name: name, Keep: keep}
}

func backUp(t *testing.T, h hypervisor.Host, vm simulated.VM, name string) hypervisor.Backup {
	t.Helper()
	b, err := h.CreateBackup(t.Context(), vm.UUID, to(name))
	require.NoError(t, err)
	return b
}

func TestCorruptDiskIsRestoredFromABackup(t *testing.T) {
	ctx := t.Context()
	c, h, vm := site(t, simulated.Options{Hosts: 1, VMsPerHost: 1})
	backUp(t, h, vm, "good")
	require.NoError(t, c.CorruptDisk("VM1"))
	backUp(t, h, vm, "bad")
	boots := func(name, keep string) bool {
		t.Helper()
		require.NoError(t, h.Destroy(ctx, vm.UUID))
		require.NoError(t, h.RestoreBackup(ctx, vm.UUID, from(name, keep)))
		require.NoError(t, h.Start(ctx, vm.UUID))
		_, err := h.GuestTime(ctx, vm.UUID)
		return err == nil
	}
	require.True(t, boots("good", "broken"))
	require.False(t, boots("bad", ""), "a backup of a disk that is corrupt is one")
	require.False(t, boots("broken", "restored"), "the broken disk was kept")
	corrupt, err := c.DiskCorrupt("VM1")
	require.NoError(t, err)
	require.True(t, corrupt)
}

func TestFailingBackups(t *testing.T) {
	ctx := t.Context()
	c, h, vm := site(t, simulated.Options{Hosts: 1, VMsPerHost: 1})
	require.NoError(t, c.FailBackups("VM1", 1))
	_, err := h.CreateBackup(ctx, vm.UUID, to("one"))
	require.ErrorIs(t, err, hypervisor.ErrNoResource)
	list, err := h.Backups(ctx, simulated.PoolName, vm.UUID)
	require.NoError(t, err)
	require.Empty(t, list)
	backUp(t, h, vm, "one")
	require.NoError(t, c.MarkDisk("VM1", 'x'))
	require.NoError(t, h.Destroy(ctx, vm.UUID))
	require.NoError(t, c.FailRestores("VM1", -1))
	for range 2 {
		require.ErrorIs(t, h.RestoreBackup(ctx, vm.UUID, from("one", "kept")), hypervisor.ErrNoResource)
	}
	mark, err := c.DiskMark("VM1")
	require.NoError(t, err)
	require.Equal(t, byte('x'), mark, "a restore that failed changes nothing")
	require.NoError(t, c.FailRestores("VM1", 0))

	require.NoError(t, c.DamageBackups("VM1"))
	require.ErrorIs(t, h.RestoreBackup(ctx, vm.UUID, from("one", "kept")), hypervisor.ErrDamaged)
	backUp(t, h, vm, "two") // not active: a full one
	require.NoError(t, h.RestoreBackup(ctx, vm.UUID, from("two", "kept")))
	for _, lever := range []error{
		c.FailBackups("VM9", 1), c.FailRestores("VM9", 1), c.DamageBackups("VM9"), c.DamageFile("VM9", "x"),
		c.DamageFile("VM1", "/srv/backups/none"),
	} {
		require.Error(t, lever)
	}
}

func TestBackupsInAFullPool(t *testing.T) {
	ctx := t.Context()
	c, h, vm := site(t, simulated.Options{Hosts: 1, VMsPerHost: 1})
	require.NoError(t, c.FillPool("A", 100))
	_, err := h.CreateBackup(ctx, vm.UUID, to("one"))
	require.ErrorIs(t, err, hypervisor.ErrNoResource)
	elsewhere := hypervisor.BackupOptions{Where: simulated.BackupFolder, Name: "one"}
	_, err = h.CreateBackup(ctx, vm.UUID, elsewhere)
	require.NoError(t, err, "that is not in the pool")
	require.NoError(t, h.Destroy(ctx, vm.UUID))
	back := hypervisor.RestoreOptions{Where: simulated.BackupFolder, Name: "one"}
	require.ErrorIs(t, h.RestoreBackup(ctx, vm.UUID, back), hypervisor.ErrNoResource, "but the disk is")
	require.NoError(t, c.FillPool("A", 50))
	require.NoError(t, c.StopPool("A"))
	require.ErrorIs(t, h.RestoreBackup(ctx, vm.UUID, back), hypervisor.ErrNoResource, "no pool has its folder")
	require.NoError(t, c.RestorePool("A"))
	require.NoError(t, h.RestoreBackup(ctx, vm.UUID, back))
}

// A backup leaves room for those who run from the pool.
func TestBackupsInAPoolThatIsAlmostFull(t *testing.T) {
	c, h, vm := site(t, simulated.Options{Hosts: 1, VMsPerHost: 1})
	require.NoError(t, c.FillPool("A", 99.85)) // of 1 TiB
	_, err := h.CreateBackup(t.Context(), vm.UUID, to("one"))
	require.ErrorIs(t, err, hypervisor.ErrNoResource)
	require.ErrorContains(t, err, "MiB are lacking")
	require.NoError(t, c.FillPool("A", 99))
	backUp(t, h, vm, "one")
	require.NoError(t, c.FillPool("A", 99.85))
	require.Equal(t, "one", backUp(t, h, vm, "two").Parent, "that is a small one")
	require.NoError(t, c.FillPool("A", 99.95))
	_, err = h.CreateBackup(t.Context(), vm.UUID, to("three"))
	require.ErrorIs(t, err, hypervisor.ErrNoResource)
}

// Whatever makes the host forget what has changed, the next backup is a full one
// that says why.
func TestBackupsThatMustBeFull(t *testing.T) {
	for why, forget := range map[string]func(c *simulated.Cluster, h hypervisor.Host, vm simulated.VM) error{
		"killed": func(c *simulated.Cluster, _ hypervisor.Host, _ simulated.VM) error { return c.KillVM("VM1") },
		"was deleted": func(_ *simulated.Cluster, h hypervisor.Host, vm simulated.VM) error {
			return h.DeleteBackup(t.Context(), simulated.PoolName, vm.UUID, "two")
		},
		"run on host":  func(c *simulated.Cluster, _ hypervisor.Host, _ simulated.VM) error { return moveThereAndBack(c) },
		"put back":     func(_ *simulated.Cluster, h hypervisor.Host, vm simulated.VM) error { return revertTo(t, h, vm) },
		"replaced":     func(_ *simulated.Cluster, h hypervisor.Host, vm simulated.VM) error { return restoreTo(t, h, vm) },
		"is in /srv/b": func(_ *simulated.Cluster, h hypervisor.Host, vm simulated.VM) error { return backUpElsewhere(t, h, vm) },
		"power":        func(c *simulated.Cluster, _ hypervisor.Host, _ simulated.VM) error { return powerCycle(c) },
	} {
		t.Run(why, func(t *testing.T) {
			c, h, vm := site(t, simulated.Options{Hosts: 2, VMsPerHost: 1})
			require.Empty(t, backUp(t, h, vm, "one").Parent)
			require.Equal(t, "one", backUp(t, h, vm, "two").Parent)
			require.NoError(t, forget(c, h, vm))
			d, err := h.Domain(t.Context(), vm.UUID)
			require.NoError(t, err)
			if !d.State.Active() {
				require.NoError(t, h.Start(t.Context(), vm.UUID))
			}
			three := backUp(t, h, vm, "three")
			require.Empty(t, three.Parent)
			if why == "power" {
				why = "killed"
			}
			require.Contains(t, three.Why, why)
			require.Equal(t, "three", backUp(t, h, vm, "four").Parent)
		})
	}
}

func moveThereAndBack(c *simulated.Cluster) error {
	if err := c.MigrateVM("VM1", "B"); err != nil {
		return err
	}
	return c.MigrateVM("VM1", "A")
}

func powerCycle(c *simulated.Cluster) error {
	if err := c.PowerOffHost("A"); err != nil {
		return err
	}
	return c.PowerOnHost("A")
}

func revertTo(t *testing.T, h hypervisor.Host, vm simulated.VM) error {
	_, err := h.CreateSnapshot(t.Context(), vm.UUID, hypervisor.SnapshotOptions{Name: "good"})
	require.NoError(t, err)
	require.NoError(t, h.Destroy(t.Context(), vm.UUID))
	return h.RevertSnapshot(t.Context(), vm.UUID, "good")
}

func restoreTo(t *testing.T, h hypervisor.Host, vm simulated.VM) error {
	require.NoError(t, h.Destroy(t.Context(), vm.UUID))
	return h.RestoreBackup(t.Context(), vm.UUID, from("one", ""))
}

func backUpElsewhere(t *testing.T, h hypervisor.Host, vm simulated.VM) error {
	_, err := h.CreateBackup(t.Context(), vm.UUID, hypervisor.BackupOptions{Where: simulated.BackupFolder, Name: "one"})
	return err
}

// Backups are on storage that all hosts see, and outlive the domain.
func TestBackupsAreSeenByEveryHost(t *testing.T) {
	ctx := t.Context()
	c, h, vm := site(t, simulated.Options{Hosts: 2, VMsPerHost: 1})
	backUp(t, h, vm, "one")
	require.NoError(t, c.LoseVM("VM1"))
	for _, host := range c.Hosts() {
		list, err := host.Backups(ctx, simulated.PoolName, vm.UUID)
		require.NoError(t, err)
		require.Len(t, list, 1)
		require.NoError(t, host.CheckBackup(ctx, simulated.PoolName, vm.UUID, "one"))
		require.NoError(t, host.Close())
	}
	require.NoError(t, c.DefineVM("VM1", "B"))
	require.NoError(t, c.CorruptDisk("VM1"))
	other := c.Host("B")
	defer func() { require.NoError(t, other.Close()) }()
	require.NoError(t, other.RestoreBackup(ctx, vm.UUID, from("one", "broken")))
	require.NoError(t, other.Start(ctx, vm.UUID))
	_, err := other.GuestTime(ctx, vm.UUID)
	require.NoError(t, err)
}

// The snapshots of a disk that was put aside are still the host's.
func TestShelvedSnapshotsKeepAVMFromMigrating(t *testing.T) {
	ctx := t.Context()
	c, h, vm := site(t, simulated.Options{Hosts: 2, VMsPerHost: 1})
	backUp(t, h, vm, "one")
	require.NoError(t, h.Destroy(ctx, vm.UUID))
	_, err := h.CreateSnapshot(ctx, vm.UUID, hypervisor.SnapshotOptions{Name: "off"})
	require.NoError(t, err)
	require.NoError(t, h.RestoreBackup(ctx, vm.UUID, from("one", "kept")))
	require.NoError(t, h.Start(ctx, vm.UUID))
	require.ErrorIs(t, c.MigrateVM("VM1", "B"), hypervisor.ErrInvalidState)
	require.NoError(t, h.DeleteBackup(ctx, simulated.PoolName, vm.UUID, "kept"))
	require.NoError(t, c.MigrateVM("VM1", "B"))
	blocks, err := c.Host("B").Blocks(ctx, vm.UUID)
	require.NoError(t, err)
	require.Contains(t, blocks[0].Source, "restored", "it takes its disk along")
}
