package hosttest

import (
	"context"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"holdfast/internal/hypervisor"
)

// OnTrial is what the trials of a host are tested with.
type OnTrial struct {
	// Left lists, past the driver under test, the domains on trial that Host has, and
	// their files.
	Left func(context.Context) (domains, files []string, err error)
	// CorruptDisk spoils what VM, which is not active, has on its disk, in the file
	// that it would write to: its guest does not get up from that.
	CorruptDisk func(context.Context) error
	// DownState is what a domain is in whose guest did not get up from such a disk.
	DownState hypervisor.State
	// Again is another connection to the host of Host. The suite closes it.
	Again hypervisor.Host
}

// RunTrials runs the part of the suite that is about trials, for which VM has to
// depend on what its disk holds. As Run it calls newFixture for each subtest.
func RunTrials(t *testing.T, newFixture func(t *testing.T) Fixture) {
	run(t, newFixture, []testCase{
		{"NoTrial", testNoTrial},
		{"Trial", testTrial},
		{"TrialOfCorrupt", testTrialOfCorrupt},
		{"TrialTwice", testTrialTwice},
		{"TrialOfBackup", testTrialOfBackup},
		{"TrialWithoutRoom", testTrialWithoutRoom},
		{"TrialOfMakerThatDied", testTrialOfMakerThatDied},
		{"TrialAndLibvirtdThatDied", testTrialAndLibvirtdThatDied},
	})
}

var ofGood = hypervisor.TrialOf{Snapshot: "good"}

// good is a layer that a guest boots from.
func (s *suite) good(t *testing.T) {
	t.Helper()
	s.waitAgent(t)
	s.snapshot(t, hypervisor.SnapshotOptions{Name: "good", Quiesce: true})
}

func (s *suite) try(t *testing.T, h hypervisor.Host, of hypervisor.TrialOf) hypervisor.Trial {
	t.Helper()
	made, err := h.Try(s.ctx, s.VM.UUID, of)
	require.NoError(t, err)
	require.Equal(t, s.VM.UUID, made.Of)
	require.NotEqual(t, s.VM.UUID, made.UUID)
	_, err = uuid.Parse(made.UUID)
	require.NoError(t, err)
	return made
}

func (s *suite) untriable(t *testing.T, of hypervisor.TrialOf, sentinel error) {
	t.Helper()
	_, err := s.Host.Try(s.ctx, s.VM.UUID, of)
	require.ErrorIs(t, err, sentinel)
}

// waitTrial waits until a domain on trial is in that state.
func (s *suite) waitTrial(t *testing.T, made hypervisor.Trial, state hypervisor.State) {
	t.Helper()
	s.poll(t, func() (bool, any) {
		d, err := s.Host.Domain(s.ctx, made.UUID)
		return err == nil && d.State == state, []any{d, err}
	}, "the trial never became %s", state)
}

// waitBoot waits until the guest on trial has got up.
func (s *suite) waitBoot(t *testing.T, h hypervisor.Host, made hypervisor.Trial) {
	t.Helper()
	s.poll(t, func() (bool, any) {
		_, err := h.GuestTime(s.ctx, made.UUID)
		return err == nil, err
	}, "the guest agent of the trial never answered")
}

func (s *suite) endTrial(t *testing.T, h hypervisor.Host, made hypervisor.Trial) {
	t.Helper()
	require.NoError(t, h.EndTrial(s.ctx, made))
	_, err := h.Domain(s.ctx, made.UUID)
	require.ErrorIs(t, err, hypervisor.ErrNotFound)
	_, err = h.TrialStats(s.ctx, made)
	require.ErrorIs(t, err, hypervisor.ErrNotFound)
	s.nothingLeft(t)
	require.NoError(t, h.EndTrial(s.ctx, made), "twice is once")
}

func (s *suite) left(t *testing.T) (domains, files []string) {
	t.Helper()
	domains, files, err := s.OnTrial.Left(s.ctx)
	require.NoError(t, err)
	return domains, files
}

func (s *suite) nothingLeft(t *testing.T) {
	t.Helper()
	domains, files := s.left(t)
	require.Empty(t, domains)
	require.Empty(t, files)
}

func testNoTrial(t *testing.T, s *suite) {
	s.untriable(t, ofGood, hypervisor.ErrNoSnapshot)
	s.untriable(t, hypervisor.TrialOf{Backup: "one", Where: s.BackupPool}, hypervisor.ErrNoBackup)
	s.untriable(t, hypervisor.TrialOf{Backup: "one", Where: "no-such-pool"}, hypervisor.ErrNoPool)
	_, err := s.Host.Try(s.ctx, uuid.NewString(), ofGood)
	require.ErrorIs(t, err, hypervisor.ErrNotFound)
	require.NoError(t, s.Host.EndTrial(s.ctx, hypervisor.Trial{UUID: uuid.NewString(), Of: s.VM.UUID}), "one that has ended")
	require.Error(t, s.Host.EndTrial(s.ctx, hypervisor.Trial{UUID: s.Neighbour.UUID, Of: s.VM.UUID}), "it is a VM")
	require.Equal(t, hypervisor.StateRunning, s.domain(t, s.Neighbour.UUID).State)

	s.stop(t)
	s.snapshot(t, hypervisor.SnapshotOptions{Name: "inside"})
	s.untriable(t, hypervisor.TrialOf{Snapshot: "inside"}, hypervisor.ErrInvalidState)
	s.nothingLeft(t)

	ended, cancel := context.WithCancel(s.ctx)
	cancel()
	_, err = s.Host.Try(ended, s.VM.UUID, ofGood)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, s.Host.Close())
	s.untriable(t, ofGood, hypervisor.ErrClosed)
	require.ErrorIs(t, s.Host.EndTrial(s.ctx, hypervisor.Trial{UUID: uuid.NewString(), Of: s.VM.UUID}), hypervisor.ErrClosed)
}

// The guest on trial gets up beside the real one, which does not notice, and
// nobody hears of it.
func testTrial(t *testing.T, s *suite) {
	s.stop(t)
	s.mark(t, 'a')
	s.start(t)
	s.good(t)
	before, definition := s.domainUUIDs(t), s.definitionOf(t, s.VM.UUID)
	events := s.events(t)
	made := s.try(t, s.Host, ofGood)
	d := s.domain(t, made.UUID)
	require.Equal(t, made.Name, d.Name)
	require.False(t, d.Persistent)
	require.NotContains(t, s.definitionOf(t, made.UUID), "<interface")
	s.waitBoot(t, s.Host, made)
	s.waitAgent(t) // that of the real one
	stats, err := s.Host.TrialStats(s.ctx, made)
	require.NoError(t, err)
	require.Equal(t, made.UUID, stats.UUID)
	require.Positive(t, stats.CPUTime)
	require.Equal(t, s.VM.Memory, stats.MemoryMax)
	require.Empty(t, stats.Nets)
	_, err = s.Host.Screenshot(s.ctx, made.UUID)
	require.NoError(t, err)

	require.Equal(t, before, s.domainUUIDs(t), "it is nobody's VM")
	all, err := s.Host.Stats(s.ctx)
	require.NoError(t, err)
	for _, one := range all {
		require.NotEqual(t, made.UUID, one.UUID)
	}
	domains, files := s.left(t)
	require.Equal(t, []string{made.Name}, domains)
	require.Len(t, files, 1)
	require.Contains(t, files[0], s.VM.UUID)
	s.endTrial(t, s.Host, made)

	require.Equal(t, definition, s.definitionOf(t, s.VM.UUID))
	s.destroyed(t, events, made)
	s.stop(t)
	s.requireMark(t, 'a')
	s.mark(t, 'b')
	s.revert(t, "good")
	s.requireMark(t, 'a')
}

// destroyed has the real one destroyed, and looks at all events up to that.
func (s *suite) destroyed(t *testing.T, events <-chan hypervisor.Event, made hypervisor.Trial) {
	t.Helper()
	s.stop(t)
	for {
		ev := s.next(t, events)
		require.NotEqual(t, made.UUID, ev.UUID, "%+v", ev)
		require.NotEqual(t, made.Name, ev.Name, "%+v", ev)
		if ev.Kind == hypervisor.EventStopped && ev.UUID == s.VM.UUID {
			break
		}
	}
	s.start(t)
}

func (s *suite) definitionOf(t *testing.T, uuid string) string {
	t.Helper()
	text, err := s.Host.Definition(s.ctx, uuid)
	require.NoError(t, err)
	return text
}

func (s *suite) domainUUIDs(t *testing.T) []string {
	t.Helper()
	list, err := s.Host.Domains(s.ctx)
	require.NoError(t, err)
	var out []string
	for _, d := range list {
		out = append(out, d.UUID)
	}
	return out
}

func testTrialOfCorrupt(t *testing.T, s *suite) {
	s.good(t)
	s.stop(t)
	s.pull(t, "OnTrial.CorruptDisk", s.OnTrial.CorruptDisk)
	s.snapshot(t, hypervisor.SnapshotOptions{Name: "bad", External: true})
	s.revert(t, "good")
	s.start(t)
	s.waitAgent(t)

	made := s.try(t, s.Host, hypervisor.TrialOf{Snapshot: "bad"})
	s.waitTrial(t, made, s.OnTrial.DownState)
	_, err := s.Host.GuestTime(s.ctx, made.UUID)
	require.Error(t, err)
	_, err = s.Host.Screenshot(s.ctx, made.UUID)
	require.NoError(t, err, "to see why")
	s.waitAgent(t)
	s.endTrial(t, s.Host, made)

	made = s.try(t, s.Host, ofGood)
	s.waitBoot(t, s.Host, made)
	s.endTrial(t, s.Host, made)
	s.stop(t)
	made = s.try(t, s.Host, ofGood) // of one that does not run
	s.waitBoot(t, s.Host, made)
	require.Equal(t, hypervisor.StateShutoff, s.domain(t, s.VM.UUID).State)
	s.endTrial(t, s.Host, made)
}

func testTrialTwice(t *testing.T, s *suite) {
	s.good(t)
	first := s.try(t, s.Host, ofGood)
	second := s.try(t, s.OnTrial.Again, ofGood)
	_, err := s.Host.Domain(s.ctx, first.UUID)
	require.ErrorIs(t, err, hypervisor.ErrNotFound)
	domains, files := s.left(t)
	require.Equal(t, []string{second.Name}, domains)
	require.Len(t, files, 1)
	require.NoError(t, s.Host.EndTrial(s.ctx, first))
	s.waitTrial(t, second, hypervisor.StateRunning)
	s.endTrial(t, s.Host, second) // by another connection than its maker's
}

func testTrialOfBackup(t *testing.T, s *suite) {
	s.waitAgent(t)
	s.backup(t, hypervisor.BackupOptions{Name: "one", Quiesce: true})
	s.backup(t, hypervisor.BackupOptions{Name: "two"})
	for _, name := range []string{"one", "two"} {
		made := s.try(t, s.Host, hypervisor.TrialOf{Backup: name, Where: s.BackupPool})
		s.waitBoot(t, s.Host, made)
		s.endTrial(t, s.Host, made)
		require.NoError(t, s.Host.CheckBackup(s.ctx, s.BackupPool, s.VM.UUID, name), "it was only read")
	}
	require.Equal(t, "two", s.backup(t, hypervisor.BackupOptions{Name: "three"}).Parent)
}

func testTrialWithoutRoom(t *testing.T, s *suite) {
	s.good(t)
	s.pull(t, "FailDisk", s.FailDisk)
	s.waitState(t, s.VM.UUID, hypervisor.StatePaused, hypervisor.ReasonIOError)
	s.untriable(t, ofGood, hypervisor.ErrNoResource)
	s.nothingLeft(t)
	s.pull(t, "MendDisk", s.MendDisk)
	s.endTrial(t, s.Host, s.try(t, s.Host, ofGood))
	require.Equal(t, hypervisor.StatePaused, s.domain(t, s.VM.UUID).State, "that is another's")
}

// It ends with its maker, and the next one removes the files.
func testTrialOfMakerThatDied(t *testing.T, s *suite) {
	s.good(t)
	made := s.try(t, s.OnTrial.Again, ofGood)
	require.NoError(t, s.OnTrial.Again.Close())
	s.poll(t, func() (bool, any) {
		domains, _ := s.left(t)
		return len(domains) == 0, domains
	}, "the trial never ended")
	_, err := s.Host.Domain(s.ctx, made.UUID)
	require.ErrorIs(t, err, hypervisor.ErrNotFound)
	_, files := s.left(t)
	require.Len(t, files, 1)
	again := s.try(t, s.Host, ofGood)
	_, files = s.left(t)
	require.Len(t, files, 1)
	require.False(t, strings.Contains(files[0], strings.Split(made.UUID, "-")[0]), files)
	s.endTrial(t, s.Host, again)
}

// A libvirtd that was killed has forgotten who made it.
func testTrialAndLibvirtdThatDied(t *testing.T, s *suite) {
	s.good(t)
	made := s.try(t, s.Host, ofGood)
	s.pull(t, "KillLibvirtd", s.KillLibvirtd)
	s.pull(t, "StartLibvirtd", s.StartLibvirtd)
	s.waitAnswer(t)
	s.waitState(t, s.VM.UUID, hypervisor.StateRunning, "")
	again := s.try(t, s.Host, ofGood)
	_, err := s.Host.Domain(s.ctx, made.UUID)
	require.ErrorIs(t, err, hypervisor.ErrNotFound)
	s.waitBoot(t, s.Host, again)
	s.endTrial(t, s.Host, again)
}
