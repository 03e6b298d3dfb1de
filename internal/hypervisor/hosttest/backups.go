package hosttest

import (
	"context"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"holdfast/internal/hypervisor"
)

// backup makes one of VM in BackupPool, unless the options say where, and looks
// whether it is what the list says, whole, and right about its parent.
func (s *suite) backup(t *testing.T, o hypervisor.BackupOptions) hypervisor.Backup {
	t.Helper()
	if o.Where == "" {
		o.Where = s.BackupPool
	}
	before := s.backups(t, o.Where)
	active := s.domain(t, s.VM.UUID).State.Active()
	made, err := s.Host.CreateBackup(s.ctx, s.VM.UUID, o)
	require.NoError(t, err)
	require.Equal(t, o.Name, made.Name)
	require.Equal(t, o.Description, made.Description)
	require.Equal(t, o.Quiesce && active, made.Quiesced)
	require.False(t, made.Kept)
	require.WithinDuration(t, time.Now(), made.Created, time.Minute)
	require.Len(t, made.Disks, 1)
	disk := made.Disks[0]
	require.Equal(t, "vda", disk.Target)
	require.Equal(t, "qcow2", disk.Format)
	require.Equal(t, s.folder(t, o.Where), path.Dir(disk.File))
	require.Greater(t, disk.Bytes, uint64(4<<10))
	require.Regexp(t, "^[0-9a-f]{64}$", disk.SHA256)

	there := func(b hypervisor.Backup) bool { return b.Name == made.Parent && !b.Kept }
	switch {
	case made.Parent != "":
		require.True(t, slices.ContainsFunc(before, there), "it builds upon %q, which is not there", made.Parent)
		require.False(t, o.Full)
		require.True(t, active, "nobody knows what has changed")
		require.Empty(t, made.Why)
	case len(before) == 0:
		require.Empty(t, made.Why, "there was none before")
	case !o.Full:
		require.NotEmpty(t, made.Why, "why it is a full one")
	}
	list := s.backups(t, o.Where)
	require.Len(t, list, len(before)+1)
	last := list[len(list)-1]
	require.True(t, made.Created.Equal(last.Created), "%s and %s", made.Created, last.Created)
	last.Created = made.Created
	require.Equal(t, made, last, "the newest comes last, and nothing differs")
	require.NoError(t, s.Host.CheckBackup(s.ctx, o.Where, s.VM.UUID, o.Name))
	return made
}

func (s *suite) backups(t *testing.T, where string) []hypervisor.Backup {
	t.Helper()
	require.NotEmpty(t, s.BackupPool, "the fixture has no BackupPool: give it one, this test cannot do without")
	list, err := s.Host.Backups(s.ctx, where, s.VM.UUID)
	require.NoError(t, err)
	return list
}

func (s *suite) backupNames(t *testing.T) []string {
	t.Helper()
	names := []string{}
	for _, one := range s.backups(t, s.BackupPool) {
		names = append(names, one.Name)
	}
	return names
}

// pools are the names of all that the host has.
func (s *suite) pools(t *testing.T) []string {
	t.Helper()
	pools, err := s.Host.Pools(s.ctx)
	require.NoError(t, err)
	names := []string{}
	for _, p := range pools {
		names = append(names, p.Name)
	}
	return names
}

// folder is the one that a place for backups is.
func (s *suite) folder(t *testing.T, where string) string {
	t.Helper()
	if path.IsAbs(where) {
		return path.Clean(where)
	}
	pools, err := s.Host.Pools(s.ctx)
	require.NoError(t, err)
	i := slices.IndexFunc(pools, func(p hypervisor.Pool) bool { return p.Name == where })
	require.GreaterOrEqual(t, i, 0, "the host has no pool %s", where)
	return pools[i].Target
}

// image is the file that vda of VM is.
func (s *suite) image(t *testing.T) string {
	t.Helper()
	blocks, err := s.Host.Blocks(s.ctx, s.VM.UUID)
	require.NoError(t, err)
	require.NotEmpty(t, blocks)
	return blocks[0].Source
}

func (s *suite) definition(t *testing.T) string {
	t.Helper()
	xml, err := s.Host.Definition(s.ctx, s.VM.UUID)
	require.NoError(t, err)
	return xml
}

// restore puts VM back to a backup, and looks whether that is what the
// definition and the list say.
func (s *suite) restore(t *testing.T, name, keep string) {
	t.Helper()
	before, was := s.backups(t, s.BackupPool), s.image(t)
	require.NoError(t, s.Host.RestoreBackup(s.ctx, s.VM.UUID, s.back(name, keep)))
	require.NotEqual(t, was, s.image(t), "what it had must stay as it is")
	require.NotContains(t, s.definition(t), "'"+was+"'")
	require.Equal(t, hypervisor.StateShutoff, s.domain(t, s.VM.UUID).State)
	after := s.backups(t, s.BackupPool)
	if keep == "" {
		require.Equal(t, before, after)
		return
	}
	require.Len(t, after, len(before)+1)
	kept := after[len(after)-1]
	require.Equal(t, keep, kept.Name)
	require.True(t, kept.Kept)
	require.Empty(t, kept.Parent)
	require.WithinDuration(t, time.Now(), kept.Created, time.Minute)
	require.Len(t, kept.Disks, 1)
	require.Equal(t, "vda", kept.Disks[0].Target)
	require.Equal(t, was, kept.Disks[0].File)
	require.Zero(t, kept.Disks[0].Bytes)
	require.Empty(t, kept.Disks[0].SHA256)
	require.NoError(t, s.Host.CheckBackup(s.ctx, s.BackupPool, s.VM.UUID, keep))
}

func (s *suite) back(name, keep string) hypervisor.RestoreOptions {
	return hypervisor.RestoreOptions{Where: s.BackupPool, Name: name, Keep: keep}
}

// refused is a restore that must fail, say so, and change nothing.
func (s *suite) refused(t *testing.T, o hypervisor.RestoreOptions, want error, says ...string) {
	t.Helper()
	definition, list, snapshots := s.definition(t), s.backups(t, s.BackupPool), s.snapshots(t)
	err := s.Host.RestoreBackup(s.ctx, s.VM.UUID, o)
	require.ErrorIs(t, err, want)
	require.Equal(t, definition, s.definition(t))
	require.Equal(t, list, s.backups(t, s.BackupPool))
	require.Equal(t, snapshots, s.snapshots(t))
	for _, part := range says {
		require.ErrorContains(t, err, part)
	}
}

func (s *suite) deleteBackup(t *testing.T, name string) {
	t.Helper()
	require.NoError(t, s.Host.DeleteBackup(s.ctx, s.BackupPool, s.VM.UUID, name))
	require.NotContains(t, s.backupNames(t), name)
	require.ErrorIs(t, s.Host.DeleteBackup(s.ctx, s.BackupPool, s.VM.UUID, name), hypervisor.ErrNoBackup)
}

func testNoBackups(t *testing.T, s *suite) {
	require.Empty(t, s.backups(t, s.BackupPool))
	unknown := uuid.NewString()
	list, err := s.Host.Backups(s.ctx, s.BackupPool, unknown)
	require.NoError(t, err, "the domain need not exist any more")
	require.Empty(t, list)
	_, err = s.Host.CreateBackup(s.ctx, unknown, hypervisor.BackupOptions{Where: s.BackupPool, Name: "one", Quiesce: true})
	require.ErrorIs(t, err, hypervisor.ErrNotFound)
	require.ErrorIs(t, s.Host.CheckBackup(s.ctx, s.BackupPool, s.VM.UUID, "none"), hypervisor.ErrNoBackup)
	require.ErrorIs(t, s.Host.DeleteBackup(s.ctx, s.BackupPool, s.VM.UUID, "none"), hypervisor.ErrNoBackup)
	for _, name := range []string{"", ".one", "one/two", "-one", "o ne", "<one>", strings.Repeat("x", 101)} {
		_, err := s.Host.CreateBackup(s.ctx, s.VM.UUID, hypervisor.BackupOptions{Where: s.BackupPool, Name: name})
		require.Error(t, err, name)
	}
	require.Empty(t, s.backups(t, s.BackupPool))

	s.noPool(t, "no-such-pool")
	s.noPool(t, path.Join(s.BackupFolder, "no-such-folder"))
	s.stop(t)
	s.refused(t, s.back("none", "kept"), hypervisor.ErrNoBackup)
	require.ErrorIs(t, s.Host.RestoreBackup(s.ctx, unknown, s.back("none", "kept")), hypervisor.ErrNotFound)
	s.refused(t, hypervisor.RestoreOptions{Where: "no-such-pool", Name: "none"}, hypervisor.ErrNoPool)
	s.pull(t, "LosePool", s.LosePool)
	p, err := s.pool(s.ctx) // makes the host look
	require.NoError(t, err)
	require.Equal(t, hypervisor.PoolInactive, p.State)
	s.noPool(t, s.Pool)
	s.pull(t, "RestorePool", s.RestorePool)
	require.Empty(t, s.backups(t, s.Pool))

	ended, cancel := context.WithCancel(s.ctx)
	cancel()
	_, err = s.Host.Backups(ended, s.BackupPool, s.VM.UUID)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, s.Host.Close())
	_, err = s.Host.Backups(s.ctx, s.BackupPool, s.VM.UUID)
	require.ErrorIs(t, err, hypervisor.ErrClosed)
	require.ErrorIs(t, s.Host.RestoreBackup(s.ctx, s.VM.UUID, s.back("none", "")), hypervisor.ErrClosed)
}

// noPool: there is none, whatever is asked of it.
func (s *suite) noPool(t *testing.T, where string) {
	t.Helper()
	_, err := s.Host.Backups(s.ctx, where, s.VM.UUID)
	require.ErrorIs(t, err, hypervisor.ErrNoPool)
	_, err = s.Host.CreateBackup(s.ctx, s.VM.UUID, hypervisor.BackupOptions{Where: where, Name: "one"})
	require.ErrorIs(t, err, hypervisor.ErrNoPool)
	require.ErrorIs(t, s.Host.CheckBackup(s.ctx, where, s.VM.UUID, "none"), hypervisor.ErrNoPool)
	require.ErrorIs(t, s.Host.DeleteBackup(s.ctx, where, s.VM.UUID, "none"), hypervisor.ErrNoPool)
}

// Full ones, those that build upon them, and what may be deleted in which order.
func testBackups(t *testing.T, s *suite) {
	s.stop(t)
	s.mark(t, 'a')
	s.start(t)
	one := s.backup(t, hypervisor.BackupOptions{Name: "one", Description: "it <works> & runs"})
	require.Empty(t, one.Parent)
	_, err := s.Host.CreateBackup(s.ctx, s.VM.UUID, hypervisor.BackupOptions{Where: s.BackupPool, Name: "one"})
	require.ErrorIs(t, err, hypervisor.ErrExists)
	require.Equal(t, "one", s.backup(t, hypervisor.BackupOptions{Name: "two"}).Parent)
	s.waitState(t, s.VM.UUID, hypervisor.StateRunning, "")
	s.stop(t)
	s.mark(t, 'b')
	s.start(t)
	require.Equal(t, "two", s.backup(t, hypervisor.BackupOptions{Name: "three.1"}).Parent, "a stop in order is no reason to forget")
	for _, name := range []string{"c", "b", "a"} { // more than one in a second of the host's clock
		require.Empty(t, s.backup(t, hypervisor.BackupOptions{Name: name, Full: true}).Parent)
	}
	require.Equal(t, "a", s.backup(t, hypervisor.BackupOptions{Name: "five"}).Parent)
	require.Equal(t, []string{"one", "two", "three.1", "c", "b", "a", "five"}, s.backupNames(t))
	list, err := s.Host.Backups(s.ctx, s.BackupPool, s.Neighbour.UUID)
	require.NoError(t, err)
	require.Empty(t, list, "it has its own")

	s.refused(t, s.back("one", "kept"), hypervisor.ErrAlreadyActive)
	require.Equal(t, hypervisor.StateRunning, s.domain(t, s.VM.UUID).State)
	err = s.Host.DeleteBackup(s.ctx, s.BackupPool, s.VM.UUID, "one")
	require.ErrorIs(t, err, hypervisor.ErrInvalidState)
	require.ErrorContains(t, err, `"two"`)
	s.deleteBackup(t, "five")
	s.stop(t)
	s.mark(t, 'c')
	s.start(t)
	// Whatever the host knows, it is not what has changed since "a" alone.
	require.NotEqual(t, "five", s.backup(t, hypervisor.BackupOptions{Name: "six"}).Parent)
	s.stop(t)
	files := []string{}
	for name, mark := range map[string]byte{"one": 'a', "two": 'a', "three.1": 'b', "a": 'b', "six": 'c'} {
		s.restore(t, name, "")
		s.requireMark(t, mark)
		files = append(files, s.image(t))
	}
	s.start(t)
	for _, file := range files[:len(files)-1] {
		require.NoError(t, s.DamageBackup(s.ctx, file), "what the domain had before a restore stays where it is")
	}
	for _, name := range []string{"six", "c", "b", "a", "three.1", "two", "one"} {
		s.deleteBackup(t, name)
	}
	require.Empty(t, s.backups(t, s.BackupPool))
	require.Error(t, s.DamageBackup(s.ctx, one.Disks[0].File), "the file of one that was deleted is there")
}

// What the ladder does: the files that it had are kept, and can be had again.
func testRestoreAndUndo(t *testing.T, s *suite) {
	s.stop(t)
	s.mark(t, 'a')
	s.start(t)
	s.backup(t, hypervisor.BackupOptions{Name: "one"})
	s.stop(t)
	s.mark(t, 'b')
	broken, definition := s.image(t), s.definition(t)
	s.refused(t, s.back("one", "one"), hypervisor.ErrExists)
	s.restore(t, "one", "broken")
	s.requireMark(t, 'a')
	restored, again := s.image(t), s.backups(t, s.BackupPool)
	require.Equal(t, definition, strings.ReplaceAll(s.definition(t), restored, broken), "nothing but the file has changed")
	// Twice is once, though somebody has written since.
	s.mark(t, 'c')
	require.NoError(t, s.Host.RestoreBackup(s.ctx, s.VM.UUID, s.back("one", "broken")))
	require.Equal(t, restored, s.image(t))
	require.Equal(t, again, s.backups(t, s.BackupPool))
	s.requireMark(t, 'c')
	s.start(t)
	s.waitAgent(t)
	made := s.backup(t, hypervisor.BackupOptions{Name: "two"})
	require.Empty(t, made.Parent, "the disk is another")
	s.stop(t)

	s.restore(t, "broken", "tried") // undone
	s.requireMark(t, 'b')
	require.Equal(t, broken, s.image(t), "without a copy")
	require.Equal(t, definition, s.definition(t))
	require.NoError(t, s.Host.RestoreBackup(s.ctx, s.VM.UUID, s.back("broken", "tried")))
	require.Equal(t, broken, s.image(t))
	s.refused(t, s.back("broken", "more"), hypervisor.ErrInvalidState) // there is nothing to restore
	require.ErrorIs(t, s.Host.DeleteBackup(s.ctx, s.BackupPool, s.VM.UUID, "broken"), hypervisor.ErrInvalidState, "the domain uses it")
	s.deleteBackup(t, "tried")
	require.Error(t, s.DamageBackup(s.ctx, restored), "the file of one that was kept and deleted is there")
	// The last backup is of another disk, and differs from this one where nobody
	// has written to it since.
	s.start(t)
	s.backup(t, hypervisor.BackupOptions{Name: "three"})
	s.stop(t)
	s.mark(t, 'd')
	s.restore(t, "three", "broken-too")
	s.requireMark(t, 'b')
	s.deleteBackup(t, "broken") // of the file that the other one keeps, too
	s.restore(t, "broken-too", "")
	s.requireMark(t, 'd')
}
