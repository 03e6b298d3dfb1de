package hosttest

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"holdfast/internal/hypervisor"
)

// damage flips a byte of a file, in the middle of what backups are trusted for.
func (s *suite) damage(t *testing.T, file string) {
	t.Helper()
	require.NotNil(t, s.DamageBackup, "the fixture has no lever DamageBackup: give it one, this test cannot do without")
	require.NoError(t, s.DamageBackup(s.ctx, file))
}

// A domain that is not active has full backups. And one that is damaged is found
// out, whoever builds upon it, before anything is done with it.
func testDamagedBackup(t *testing.T, s *suite) {
	folder := s.folder(t, s.BackupPool)
	s.stop(t)
	s.mark(t, 'a')
	pools := s.pools(t)
	s.backup(t, hypervisor.BackupOptions{Name: "one", Where: s.BackupFolder})
	require.Equal(t, pools, s.pools(t), "of a folder that has no pool none is left")
	require.Empty(t, s.backups(t, s.BackupPool), "another place")
	// There is no guest whose file systems could be frozen.
	one := s.backup(t, hypervisor.BackupOptions{Name: "one", Where: folder, Quiesce: true})
	s.backup(t, hypervisor.BackupOptions{Name: "two"})
	require.Equal(t, s.backups(t, s.BackupPool), s.backups(t, folder), "a pool and its folder are the same place")
	require.NoError(t, s.Host.CheckBackup(s.ctx, folder, s.VM.UUID, "two"))
	s.mark(t, 'b')
	s.start(t)
	three := s.backup(t, hypervisor.BackupOptions{Name: "three"})
	require.Equal(t, "three", s.backup(t, hypervisor.BackupOptions{Name: "four"}).Parent)
	s.stop(t)

	s.damage(t, one.Disks[0].File)
	s.damaged(t, "one", one.Disks[0].File)
	s.damage(t, three.Disks[0].File)
	s.damaged(t, "three", three.Disks[0].File)
	s.damaged(t, "four", three.Disks[0].File)
	require.Equal(t, []string{"one", "two", "three", "four"}, s.backupNames(t), "they are still there")

	s.requireMark(t, 'b')
	require.NoError(t, s.Host.RestoreBackup(s.ctx, s.VM.UUID, hypervisor.RestoreOptions{Where: folder, Name: "two"}))
	s.requireMark(t, 'a')
	s.start(t)
	s.waitAgent(t)
	s.deleteBackup(t, "four")
	s.deleteBackup(t, "three")
	require.NoError(t, s.Host.DeleteBackup(s.ctx, folder, s.VM.UUID, "one"))
	require.Equal(t, []string{"two"}, s.backupNames(t))
}

// damaged: a backup is not restored, and the error names the file.
func (s *suite) damaged(t *testing.T, name, file string) {
	t.Helper()
	err := s.Host.CheckBackup(s.ctx, s.BackupPool, s.VM.UUID, name)
	require.ErrorIs(t, err, hypervisor.ErrDamaged)
	require.ErrorContains(t, err, file)
	s.refused(t, s.back(name, "kept"), hypervisor.ErrDamaged, file)
}

// Where there is no room, nothing is half done.
func testBackupWithoutRoom(t *testing.T, s *suite) {
	s.backup(t, hypervisor.BackupOptions{Name: "one"})
	s.pull(t, "FailDisk", s.FailDisk)
	s.waitState(t, s.VM.UUID, hypervisor.StatePaused, hypervisor.ReasonIOError)
	before := s.backups(t, s.Pool)
	_, err := s.Host.CreateBackup(s.ctx, s.VM.UUID, hypervisor.BackupOptions{Where: s.Pool, Name: "big"})
	require.ErrorIs(t, err, hypervisor.ErrNoResource)
	require.Equal(t, before, s.backups(t, s.Pool))
	s.waitState(t, s.VM.UUID, hypervisor.StatePaused, hypervisor.ReasonIOError)
	s.stop(t)
	s.refused(t, s.back("one", "kept"), hypervisor.ErrNoResource)

	s.pull(t, "MendDisk", s.MendDisk)
	s.restore(t, "one", "kept")
	s.start(t)
	s.waitAgent(t)
	s.backup(t, hypervisor.BackupOptions{Where: s.Pool, Name: "big"}) // what the first try has left is in nobody's way
	require.NoError(t, s.Host.DeleteBackup(s.ctx, s.Pool, s.VM.UUID, "big"))
}

// A QEMU that was killed has not said what changed under it.
func testBackupAfterKill(t *testing.T, s *suite) {
	s.stop(t)
	s.mark(t, 'a')
	s.start(t)
	s.backup(t, hypervisor.BackupOptions{Name: "one"})
	s.backup(t, hypervisor.BackupOptions{Name: "two"})
	s.pull(t, "Kill", s.Kill)
	s.waitState(t, s.VM.UUID, hypervisor.StateShutoff, hypervisor.ReasonCrashed)
	s.mark(t, 'b')
	s.start(t)
	s.backup(t, hypervisor.BackupOptions{Name: "three"})
	require.Equal(t, "three", s.backup(t, hypervisor.BackupOptions{Name: "four"}).Parent, "it knows again")
	s.stop(t)
	s.mark(t, 'c')
	s.restore(t, "three", "kept")
	s.requireMark(t, 'b')
	s.restore(t, "two", "")
	s.requireMark(t, 'a')
	s.restore(t, "kept", "")
	s.requireMark(t, 'c')
}

func testQuiescedBackup(t *testing.T, s *suite) {
	s.waitAgent(t)
	quiesced := func(name string) hypervisor.BackupOptions {
		return hypervisor.BackupOptions{Where: s.BackupPool, Name: name, Quiesce: true}
	}
	s.backup(t, quiesced("one"))
	s.waitAgent(t)
	require.Equal(t, "one", s.backup(t, quiesced("two")).Parent, "it could be frozen again, so that it was thawed")

	s.pull(t, "HangGuest", s.HangGuest)
	_, err := s.Host.CreateBackup(s.ctx, s.VM.UUID, quiesced("three"))
	require.ErrorIs(t, err, hypervisor.ErrNoAgent)
	s.pull(t, "UnhangGuest", s.UnhangGuest)
	s.waitAgent(t)
	require.NoError(t, s.pauseAnd(t, func() {
		_, err := s.Host.CreateBackup(s.ctx, s.VM.UUID, quiesced("three"))
		require.ErrorIs(t, err, hypervisor.ErrNoAgent, "a guest that stands still freezes nothing")
		require.ErrorIs(t, err, hypervisor.ErrInvalidState)
		require.Equal(t, []string{"one", "two"}, s.backupNames(t))
		s.backup(t, hypervisor.BackupOptions{Name: "paused"})
		s.waitState(t, s.VM.UUID, hypervisor.StatePaused, hypervisor.ReasonUser)
	}))
	s.backup(t, quiesced("three"))
	s.waitAgent(t)
}

// Snapshots and backups are in each other's way in libvirt, and must not be here:
// it refuses snapshots, and reverts to them, while it tracks what changes.
func testBackupsAndSnapshots(t *testing.T, s *suite) {
	s.stop(t)
	s.mark(t, 'a')
	s.start(t)
	s.backup(t, hypervisor.BackupOptions{Name: "one"})
	s.snapshot(t, hypervisor.SnapshotOptions{Name: "layer"})
	s.stop(t)
	s.mark(t, 'b')
	s.start(t)
	s.backup(t, hypervisor.BackupOptions{Name: "two"})
	s.snapshot(t, hypervisor.SnapshotOptions{Name: "memory", Memory: true})
	s.backup(t, hypervisor.BackupOptions{Name: "three"})
	s.stop(t)
	s.mark(t, 'c')
	s.revert(t, "memory")
	s.waitState(t, s.VM.UUID, hypervisor.StateRunning, hypervisor.ReasonFromSnapshot)
	require.Empty(t, s.backup(t, hypervisor.BackupOptions{Name: "four"}).Parent, "the disk was put back")
	require.Equal(t, "four", s.backup(t, hypervisor.BackupOptions{Name: "five"}).Parent)
	s.stop(t)
	s.snapshot(t, hypervisor.SnapshotOptions{Name: "off"})
	s.mark(t, 'd')
	snapshots := s.snapshots(t)

	// Those of the files that it had are not listed while it has others.
	s.restore(t, "five", "kept")
	s.requireMark(t, 'b')
	require.Empty(t, s.snapshots(t))
	require.ErrorIs(t, s.Host.RevertSnapshot(s.ctx, s.VM.UUID, "off"), hypervisor.ErrNoSnapshot)
	s.restore(t, "three", "")
	s.requireMark(t, 'b')
	s.restore(t, "one", "")
	s.requireMark(t, 'a')
	s.restore(t, "kept", "")
	s.requireMark(t, 'd')
	require.Equal(t, snapshots, s.snapshots(t))
	s.start(t)
	s.undoneAmongSnapshots(t)
}

// What was kept and then undone is in use again, and others may be built upon it:
// then nobody may write to it, nor remove it.
func testRestoreUnderALayer(t *testing.T, s *suite) {
	s.backup(t, hypervisor.BackupOptions{Name: "one"})
	s.stop(t)
	s.mark(t, 'a')
	file := s.image(t)
	s.restore(t, "one", "below")
	s.restore(t, "below", "tried")
	require.Equal(t, file, s.image(t))
	s.start(t)
	s.snapshot(t, hypervisor.SnapshotOptions{Name: "layer"})
	s.stop(t)
	s.mark(t, 'b')
	layer := s.image(t)
	s.refused(t, s.back("below", "more"), hypervisor.ErrInvalidState, `"layer"`, file)
	s.restore(t, "one", "above")
	s.refused(t, s.back("below", ""), hypervisor.ErrInvalidState, file)
	err := s.Host.DeleteBackup(s.ctx, s.BackupPool, s.VM.UUID, "below")
	require.ErrorIs(t, err, hypervisor.ErrInvalidState)
	require.ErrorContains(t, err, `"above"`)
	require.ErrorContains(t, err, file)

	s.restore(t, "above", "")
	s.requireMark(t, 'b')
	s.restore(t, "tried", "")
	require.Empty(t, s.snapshots(t))
	require.NoError(t, s.Host.DeleteSnapshot(s.ctx, s.VM.UUID, "layer"), "its name is free again")
	require.ErrorIs(t, s.Host.DeleteSnapshot(s.ctx, s.VM.UUID, "layer"), hypervisor.ErrNoSnapshot)
	s.deleteBackup(t, "above")
	require.Error(t, s.DamageBackup(s.ctx, layer), "the file of one that was kept and deleted is there")
	s.restore(t, "below", "") // nothing is built upon it any more
	s.requireMark(t, 'a')
}

// undoneAmongSnapshots: a restore was undone, and snapshots and backups are as
// good as before. The snapshots are layer, and upon it memory and off.
func (s *suite) undoneAmongSnapshots(t *testing.T) {
	t.Helper()
	s.backup(t, hypervisor.BackupOptions{Name: "six"})
	s.stop(t)
	s.revert(t, "off")
	s.requireMark(t, 'b')
	s.start(t)
	s.backup(t, hypervisor.BackupOptions{Name: "seven"})
	require.NoError(t, s.Host.DeleteSnapshot(s.ctx, s.VM.UUID, "memory"))
	s.stop(t)
	require.NoError(t, s.Host.DeleteSnapshot(s.ctx, s.VM.UUID, "off"))
	s.revert(t, "layer") // another file
	s.requireMark(t, 'a')
	s.start(t)
	require.Empty(t, s.backup(t, hypervisor.BackupOptions{Name: "eight"}).Parent)
	s.stop(t)
	for name, mark := range map[string]byte{"six": 'd', "seven": 'b', "eight": 'a'} {
		s.restore(t, name, "")
		s.requireMark(t, mark)
	}
}

// Backups are files: what libvirtd has forgotten of them is in nobody's way. One
// that timed out is found by listing, or made by another try.
func testBackupsOutliveLibvirtd(t *testing.T, s *suite) {
	s.stop(t)
	s.mark(t, 'a')
	s.start(t)
	s.backup(t, hypervisor.BackupOptions{Name: "one"})
	before := s.backups(t, s.BackupPool)
	s.pull(t, "KillLibvirtd", s.KillLibvirtd)
	s.pull(t, "StartLibvirtd", s.StartLibvirtd)
	s.waitAnswer(t)
	require.Equal(t, before, s.backups(t, s.BackupPool))
	require.Equal(t, "one", s.backup(t, hypervisor.BackupOptions{Name: "two"}).Parent)

	late := hypervisor.BackupOptions{Where: s.BackupPool, Name: "late"}
	s.pull(t, "HangLibvirtd", s.HangLibvirtd)
	ctx, cancel := s.brief()
	defer cancel()
	_, err := s.Host.CreateBackup(ctx, s.VM.UUID, late)
	require.ErrorIs(t, err, hypervisor.ErrTimeout)
	s.pull(t, "ResumeLibvirtd", s.ResumeLibvirtd)
	s.waitAnswer(t)
	s.poll(t, func() (bool, any) {
		_, err := s.Host.CreateBackup(s.ctx, s.VM.UUID, late)
		return err == nil || errors.Is(err, hypervisor.ErrExists), err
	}, "neither this try nor the one that had timed out made the backup")
	require.Equal(t, []string{"one", "two", "late"}, s.backupNames(t))
	s.stop(t)
	s.mark(t, 'b')
	s.restore(t, "late", "")
	s.requireMark(t, 'a')
}
