package hosttest

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"holdfast/internal/hypervisor"
)

// Disk is how to see what is on the disk of VM, past the driver under test.
type Disk struct {
	// Mark writes a byte where the guest of VM leaves its disk alone, and ReadMark
	// reads it. VM is not active, and what they look at is the disk that it would
	// start from.
	Mark     func(ctx context.Context, mark byte) error
	ReadMark func(ctx context.Context) (byte, error)
}

func (s *suite) mark(t *testing.T, mark byte) {
	t.Helper()
	require.NotNil(t, s.Disk.Mark, "the fixture has no Disk.Mark: give it one, this test cannot do without")
	require.NoError(t, s.Disk.Mark(s.ctx, mark))
}

func (s *suite) requireMark(t *testing.T, want byte) {
	t.Helper()
	got, err := s.Disk.ReadMark(s.ctx)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got), "what is on the disk")
}

// snapshot makes one, and looks whether it is what the list says.
func (s *suite) snapshot(t *testing.T, o hypervisor.SnapshotOptions) hypervisor.Snapshot {
	t.Helper()
	before := s.snapshots(t)
	made, err := s.Host.CreateSnapshot(s.ctx, s.VM.UUID, o)
	require.NoError(t, err)
	require.Equal(t, o.Name, made.Name)
	require.Equal(t, o.Description, made.Description)
	require.Equal(t, o.Memory, made.Memory)
	require.True(t, made.Current)
	require.Equal(t, []string{"vda"}, made.Disks)
	require.WithinDuration(t, time.Now(), made.Created, time.Minute)
	list := s.snapshots(t)
	require.Len(t, list, len(before)+1)
	require.Equal(t, made, list[len(list)-1], "the newest comes last, and nothing differs")
	for _, other := range list[:len(list)-1] {
		require.False(t, other.Current, "one is current at a time")
	}
	return made
}

func (s *suite) snapshots(t *testing.T) []hypervisor.Snapshot {
	t.Helper()
	list, err := s.Host.Snapshots(s.ctx, s.VM.UUID)
	require.NoError(t, err)
	return list
}

func (s *suite) names(t *testing.T) []string {
	t.Helper()
	names := []string{}
	for _, one := range s.snapshots(t) {
		names = append(names, one.Name)
	}
	return names
}

// stop pulls the plug of VM.
func (s *suite) stop(t *testing.T) {
	t.Helper()
	require.NoError(t, s.Host.Destroy(s.ctx, s.VM.UUID))
}

func (s *suite) start(t *testing.T) {
	t.Helper()
	require.NoError(t, s.Host.Start(s.ctx, s.VM.UUID))
}

func (s *suite) revert(t *testing.T, name string) {
	t.Helper()
	require.NoError(t, s.Host.RevertSnapshot(s.ctx, s.VM.UUID, name))
	for _, one := range s.snapshots(t) {
		require.Equal(t, one.Name == name, one.Current, "the current one after a revert: %+v", one)
	}
}

func testNoSnapshots(t *testing.T, s *suite) {
	require.Empty(t, s.snapshots(t))
	s.stop(t)
	require.ErrorIs(t, s.Host.RevertSnapshot(s.ctx, s.VM.UUID, "none"), hypervisor.ErrNoSnapshot)
	require.ErrorIs(t, s.Host.DeleteSnapshot(s.ctx, s.VM.UUID, "none"), hypervisor.ErrNoSnapshot)
	_, err := s.Host.CreateSnapshot(s.ctx, s.VM.UUID, hypervisor.SnapshotOptions{Name: "one", Memory: true})
	require.ErrorIs(t, err, hypervisor.ErrNotActive, "there is no memory")
	for _, name := range []string{"", ".one", "one/two"} {
		_, err := s.Host.CreateSnapshot(s.ctx, s.VM.UUID, hypervisor.SnapshotOptions{Name: name})
		require.Error(t, err, name)
	}
	require.Empty(t, s.snapshots(t))

	unknown := uuid.NewString()
	_, err = s.Host.Snapshots(s.ctx, unknown)
	require.ErrorIs(t, err, hypervisor.ErrNotFound)
	_, err = s.Host.CreateSnapshot(s.ctx, unknown, hypervisor.SnapshotOptions{Name: "one", Quiesce: true})
	require.ErrorIs(t, err, hypervisor.ErrNotFound)
	require.ErrorIs(t, s.Host.RevertSnapshot(s.ctx, unknown, "one"), hypervisor.ErrNotFound)
	require.ErrorIs(t, s.Host.DeleteSnapshot(s.ctx, unknown, "one"), hypervisor.ErrNotFound)

	ended, cancel := context.WithCancel(s.ctx)
	cancel()
	_, err = s.Host.Snapshots(ended, s.VM.UUID)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, s.Host.Close())
	_, err = s.Host.Snapshots(s.ctx, s.VM.UUID)
	require.ErrorIs(t, err, hypervisor.ErrClosed)
	require.ErrorIs(t, s.Host.RevertSnapshot(s.ctx, s.VM.UUID, "one"), hypervisor.ErrClosed)
}

func testMemorySnapshot(t *testing.T, s *suite) {
	s.stop(t)
	s.mark(t, 'a')
	s.start(t)
	s.waitAgent(t)
	made := s.snapshot(t, hypervisor.SnapshotOptions{Name: "good", Description: "it <works> & runs", Memory: true})
	require.False(t, made.External)
	require.Empty(t, made.Parent)
	require.Equal(t, hypervisor.StateRunning, made.State)
	s.waitState(t, s.VM.UUID, hypervisor.StateRunning, "")
	_, err := s.Host.CreateSnapshot(s.ctx, s.VM.UUID, hypervisor.SnapshotOptions{Name: "good", Memory: true})
	require.ErrorIs(t, err, hypervisor.ErrExists)
	_, err = s.Host.CreateSnapshot(s.ctx, s.VM.UUID, hypervisor.SnapshotOptions{Name: "two", Memory: true, External: true})
	require.ErrorIs(t, err, hypervisor.ErrInvalidState)
	require.Equal(t, []string{"good"}, s.names(t))

	require.ErrorIs(t, s.Host.RevertSnapshot(s.ctx, s.VM.UUID, "good"), hypervisor.ErrAlreadyActive)
	require.Equal(t, hypervisor.StateRunning, s.domain(t, s.VM.UUID).State)
	s.stop(t)
	s.mark(t, 'b')
	events := s.events(t)
	s.revert(t, "good")
	ev := s.waitEvent(t, events, hypervisor.EventStarted, s.VM.UUID)
	require.Equal(t, hypervisor.ReasonFromSnapshot, ev.Reason)
	s.waitState(t, s.VM.UUID, hypervisor.StateRunning, hypervisor.ReasonFromSnapshot)
	s.waitAgent(t) // the guest goes on where it was, without a boot
	s.stop(t)
	s.requireMark(t, 'a')

	s.start(t)
	require.NoError(t, s.Host.DeleteSnapshot(s.ctx, s.VM.UUID, "good"))
	require.Empty(t, s.snapshots(t))
	require.Equal(t, hypervisor.StateRunning, s.domain(t, s.VM.UUID).State)
}

// A domain that is paused goes back to being paused.
func testMemorySnapshotOfPaused(t *testing.T, s *suite) {
	require.NoError(t, s.pauseAnd(t, func() {
		require.Equal(t, hypervisor.StatePaused, s.snapshot(t, hypervisor.SnapshotOptions{Name: "paused", Memory: true}).State)
		s.waitState(t, s.VM.UUID, hypervisor.StatePaused, hypervisor.ReasonUser)
		_, err := s.Host.CreateSnapshot(s.ctx, s.VM.UUID, hypervisor.SnapshotOptions{Name: "frozen", Quiesce: true})
		require.ErrorIs(t, err, hypervisor.ErrNoAgent, "a guest that stands still freezes nothing")
		require.ErrorIs(t, err, hypervisor.ErrInvalidState)
	}))
	s.stop(t)
	s.revert(t, "paused")
	s.waitState(t, s.VM.UUID, hypervisor.StatePaused, hypervisor.ReasonFromSnapshot)
	require.NoError(t, s.Host.Resume(s.ctx, s.VM.UUID))
	s.waitState(t, s.VM.UUID, hypervisor.StateRunning, "")
}

func testExternalSnapshot(t *testing.T, s *suite) {
	s.stop(t)
	s.mark(t, 'a')
	s.start(t)
	s.waitAgent(t)
	made := s.snapshot(t, hypervisor.SnapshotOptions{Name: "good", Quiesce: true})
	require.True(t, made.External, "there is no other of a domain that is active, without its memory")
	require.Equal(t, hypervisor.StateShutoff, made.State)
	s.waitState(t, s.VM.UUID, hypervisor.StateRunning, "")
	_, ok := s.stats(t, s.VM.UUID)
	require.True(t, ok)
	s.waitAgent(t)
	second := s.snapshot(t, hypervisor.SnapshotOptions{Name: "second.1", Quiesce: true})
	require.Equal(t, "good", second.Parent, "it could be frozen again, so that it was thawed")

	s.stop(t)
	s.mark(t, 'b')
	require.ErrorIs(t, s.Host.DeleteSnapshot(s.ctx, s.VM.UUID, "second.1"), hypervisor.ErrInvalidState, "a merge takes a domain that runs")
	s.revert(t, "good")
	require.Equal(t, hypervisor.StateShutoff, s.domain(t, s.VM.UUID).State)
	s.requireMark(t, 'a')
	s.mark(t, 'c')
	s.revert(t, "good")
	s.requireMark(t, 'a') // what was written upon it did not change it
	s.start(t)
	// Both are beside what the domain runs upon now.
	require.NoError(t, s.Host.DeleteSnapshot(s.ctx, s.VM.UUID, "second.1"))
	require.NoError(t, s.Host.DeleteSnapshot(s.ctx, s.VM.UUID, "good"))
	require.Empty(t, s.snapshots(t))
	s.waitAgent(t)
	s.stop(t)
	s.requireMark(t, 'a')
}

func testQuiesceOfSilent(t *testing.T, s *suite) {
	s.waitAgent(t)
	s.pull(t, "HangGuest", s.HangGuest)
	_, err := s.Host.CreateSnapshot(s.ctx, s.VM.UUID, hypervisor.SnapshotOptions{Name: "frozen", Quiesce: true})
	require.ErrorIs(t, err, hypervisor.ErrNoAgent)
	require.Empty(t, s.snapshots(t))
	s.pull(t, "UnhangGuest", s.UnhangGuest)
	s.waitAgent(t)
	s.snapshot(t, hypervisor.SnapshotOptions{Name: "frozen", Quiesce: true})
}

// Layers are merged into what they lie upon, on top and in between.
func testMerge(t *testing.T, s *suite) {
	s.snapshot(t, hypervisor.SnapshotOptions{Name: "one"})
	s.snapshot(t, hypervisor.SnapshotOptions{Name: "two"})
	s.snapshot(t, hypervisor.SnapshotOptions{Name: "three"})
	s.stop(t)
	s.mark(t, 'a')
	s.start(t)
	require.NoError(t, s.Host.DeleteSnapshot(s.ctx, s.VM.UUID, "two"))
	require.Equal(t, []string{"one", "three"}, s.names(t))
	require.Equal(t, "one", s.snapshots(t)[1].Parent)
	require.NoError(t, s.Host.DeleteSnapshot(s.ctx, s.VM.UUID, "three"))
	require.NoError(t, s.Host.DeleteSnapshot(s.ctx, s.VM.UUID, "one"))
	require.Empty(t, s.snapshots(t))
	s.waitAgent(t)
	s.stop(t)
	s.requireMark(t, 'a')
}

// What the ladder does: the broken state is kept before the good one is put
// back, and can be had again.
func testKeepAside(t *testing.T, s *suite) {
	for name, external := range map[string]bool{"internal": false, "external": true} {
		good, keep := "good-"+name, "keep-"+name
		require.NoError(t, s.Host.Annotate(s.ctx, s.VM.UUID, annotation))
		s.stop(t)
		s.mark(t, 'a')
		made := s.snapshot(t, hypervisor.SnapshotOptions{Name: good, External: external, Quiesce: true})
		require.Equal(t, external, made.External)
		require.Equal(t, hypervisor.StateShutoff, made.State)
		s.mark(t, 'b')
		require.NoError(t, s.Host.Annotate(s.ctx, s.VM.UUID, otherAnnotation))

		require.Equal(t, good, s.snapshot(t, hypervisor.SnapshotOptions{Name: keep, External: external}).Parent)
		s.revert(t, good)
		s.requireMark(t, 'a')
		s.requireAnnotated(t, `mode="repair"`)
		s.start(t)
		s.stop(t)
		s.mark(t, 'c')
		s.revert(t, keep) // undone
		s.requireMark(t, 'b')
		s.requireAnnotated(t, `mode="repair"`)
		s.revert(t, good) // and done again
		s.requireMark(t, 'a')
		s.start(t)
		require.NoError(t, s.Host.DeleteSnapshot(s.ctx, s.VM.UUID, keep))
		require.NoError(t, s.Host.DeleteSnapshot(s.ctx, s.VM.UUID, good))
		require.Empty(t, s.snapshots(t))
		s.waitAgent(t)
		s.stop(t)
		s.requireMark(t, 'a')
		s.start(t)
	}
}

// What would take the state of another snapshot with it is refused.
func testEntangledSnapshots(t *testing.T, s *suite) {
	refused := func(err error, name string) {
		t.Helper()
		require.ErrorIs(t, err, hypervisor.ErrInvalidState)
		require.ErrorContains(t, err, name)
	}
	s.stop(t)
	s.mark(t, 'a')
	s.snapshot(t, hypervisor.SnapshotOptions{Name: "inside-base"})
	s.snapshot(t, hypervisor.SnapshotOptions{Name: "layer", External: true})
	s.mark(t, 'b')
	refused(s.Host.RevertSnapshot(s.ctx, s.VM.UUID, "inside-base"), `"layer"`)
	s.snapshot(t, hypervisor.SnapshotOptions{Name: "inside-layer"})
	s.mark(t, 'c')
	s.start(t)
	refused(s.Host.DeleteSnapshot(s.ctx, s.VM.UUID, "layer"), `"inside-layer"`)
	require.ErrorIs(t, s.Host.DeleteSnapshot(s.ctx, s.VM.UUID, "inside-base"), hypervisor.ErrInvalidState)
	require.Equal(t, []string{"inside-base", "layer", "inside-layer"}, s.names(t))

	// In the right order all of it can be had, and given up.
	s.stop(t)
	s.revert(t, "inside-layer")
	s.requireMark(t, 'b')
	s.start(t)
	require.NoError(t, s.Host.DeleteSnapshot(s.ctx, s.VM.UUID, "inside-layer"))
	refused(s.Host.DeleteSnapshot(s.ctx, s.VM.UUID, "layer"), `"inside-base"`)
	s.stop(t)
	require.NoError(t, s.Host.DeleteSnapshot(s.ctx, s.VM.UUID, "inside-base"))
	s.start(t)
	require.NoError(t, s.Host.DeleteSnapshot(s.ctx, s.VM.UUID, "layer"))
	require.Empty(t, s.snapshots(t))
	s.stop(t)
	s.requireMark(t, 'b')
}

func testSnapshotsOutliveLibvirtd(t *testing.T, s *suite) {
	s.snapshot(t, hypervisor.SnapshotOptions{Name: "one"})
	s.snapshot(t, hypervisor.SnapshotOptions{Name: "two", Description: "in the layer", Memory: true})
	before := s.snapshots(t)
	s.pull(t, "KillLibvirtd", s.KillLibvirtd)
	s.pull(t, "StartLibvirtd", s.StartLibvirtd)
	s.waitAnswer(t)
	require.Equal(t, before, s.snapshots(t))
	require.NoError(t, s.Host.DeleteSnapshot(s.ctx, s.VM.UUID, "two"))
	require.NoError(t, s.Host.DeleteSnapshot(s.ctx, s.VM.UUID, "one"))
	require.Empty(t, s.snapshots(t))
}

// A snapshot that timed out is found by listing.
func testSnapshotCatchesUp(t *testing.T, s *suite) {
	require.Empty(t, s.snapshots(t))
	s.pull(t, "HangLibvirtd", s.HangLibvirtd)
	ctx, cancel := s.brief()
	defer cancel()
	_, err := s.Host.CreateSnapshot(ctx, s.VM.UUID, hypervisor.SnapshotOptions{Name: "late"})
	require.ErrorIs(t, err, hypervisor.ErrTimeout)
	s.pull(t, "ResumeLibvirtd", s.ResumeLibvirtd)
	s.waitAnswer(t)
	s.poll(t, func() (bool, any) {
		names := s.names(t)
		return len(names) == 1, names
	}, "the snapshot that had timed out was never there")
}
