package hosttest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"holdfast/internal/hypervisor"
)

func testName(t *testing.T, s *suite) {
	require.Equal(t, s.HostName, s.Host.Name())
}

func testConnect(t *testing.T, s *suite) {
	require.NoError(t, s.Host.Connect(s.ctx))
	require.NoError(t, s.Host.Connect(s.ctx))
}

func testList(t *testing.T, s *suite) {
	for _, vm := range []VM{s.VM, s.Neighbour} {
		d := s.inList(t, vm.UUID)
		require.Equal(t, vm.Name, d.Name)
		require.Equal(t, hypervisor.StateRunning, d.State)
		require.NotEmpty(t, d.Reason)
		require.NotEqual(t, hypervisor.ReasonUnknown, d.Reason)
		require.True(t, d.Persistent)
		require.False(t, d.ManagedSave)
	}
	require.NoError(t, s.Host.Destroy(s.ctx, s.VM.UUID))
	d := s.inList(t, s.VM.UUID) // a list holds what is not active, too
	require.Equal(t, hypervisor.StateShutoff, d.State)
	require.True(t, d.Persistent)
}

func testLookUp(t *testing.T, s *suite) {
	d := s.domain(t, s.VM.UUID)
	require.Equal(t, s.inList(t, s.VM.UUID), d, "list and look-up agree")

	unknown := uuid.NewString()
	_, err := s.Host.Domain(s.ctx, unknown)
	require.ErrorIs(t, err, hypervisor.ErrNotFound)
	_, err = s.Host.Definition(s.ctx, unknown)
	require.ErrorIs(t, err, hypervisor.ErrNotFound)
	for name, call := range map[string]func(context.Context, string) error{
		"Start": s.Host.Start, "Destroy": s.Host.Destroy, "Reset": s.Host.Reset, "Resume": s.Host.Resume,
	} {
		require.ErrorIs(t, call(s.ctx, unknown), hypervisor.ErrNotFound, name)
	}
	_, err = s.Host.DiskErrors(s.ctx, unknown)
	require.ErrorIs(t, err, hypervisor.ErrNotFound)
	_, err = s.Host.GuestTime(s.ctx, unknown)
	require.ErrorIs(t, err, hypervisor.ErrNotFound)
	require.ErrorIs(t, s.Host.Annotate(s.ctx, unknown, "<vm/>"), hypervisor.ErrNotFound)
}

func testDefinition(t *testing.T, s *suite) {
	xml, err := s.Host.Definition(s.ctx, s.VM.UUID)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(strings.TrimSpace(xml), "<domain"))
	require.Contains(t, xml, s.VM.UUID)
	require.Contains(t, xml, "<name>"+s.VM.Name+"</name>")
	require.NotContains(t, xml, "<alias", "the inactive definition has no aliases")
}

func testStartActive(t *testing.T, s *suite) {
	require.ErrorIs(t, s.Host.Start(s.ctx, s.VM.UUID), hypervisor.ErrAlreadyActive)
	require.Equal(t, hypervisor.StateRunning, s.domain(t, s.VM.UUID).State)
}

func testDestroyAndStart(t *testing.T, s *suite) {
	events := s.events(t)
	require.NoError(t, s.Host.Destroy(s.ctx, s.VM.UUID))
	s.waitState(t, s.VM.UUID, hypervisor.StateShutoff, hypervisor.ReasonDestroyed)
	ev := s.waitEvent(t, events, hypervisor.EventStopped, s.VM.UUID)
	require.Equal(t, hypervisor.ReasonDestroyed, ev.Reason)
	require.Equal(t, s.VM.Name, ev.Name)
	require.Equal(t, s.HostName, ev.Host)

	require.ErrorIs(t, s.Host.Destroy(s.ctx, s.VM.UUID), hypervisor.ErrNotActive)
	require.ErrorIs(t, s.Host.Reset(s.ctx, s.VM.UUID), hypervisor.ErrNotActive)
	err := s.Host.Resume(s.ctx, s.VM.UUID)
	require.ErrorIs(t, err, hypervisor.ErrInvalidState)
	require.ErrorIs(t, err, hypervisor.ErrNotActive)

	require.NoError(t, s.Host.Start(s.ctx, s.VM.UUID))
	ev = s.waitEvent(t, events, hypervisor.EventStarted, s.VM.UUID)
	require.Equal(t, hypervisor.ReasonBooted, ev.Reason)
	s.waitState(t, s.VM.UUID, hypervisor.StateRunning, hypervisor.ReasonBooted)
}

func testPersonDestroys(t *testing.T, s *suite) {
	events := s.events(t)
	s.pull(t, "Destroy", s.Destroy)
	ev := s.waitEvent(t, events, hypervisor.EventStopped, s.VM.UUID)
	require.Equal(t, hypervisor.ReasonDestroyed, ev.Reason)
	s.waitState(t, s.VM.UUID, hypervisor.StateShutoff, hypervisor.ReasonDestroyed)
}

func testReset(t *testing.T, s *suite) {
	events := s.events(t)
	require.NoError(t, s.Host.Reset(s.ctx, s.VM.UUID))
	s.waitEvent(t, events, hypervisor.EventRebooted, s.VM.UUID)
	require.Equal(t, hypervisor.StateRunning, s.domain(t, s.VM.UUID).State)
}

func testResumeRunning(t *testing.T, s *suite) {
	require.ErrorIs(t, s.Host.Resume(s.ctx, s.VM.UUID), hypervisor.ErrInvalidState)
	require.Equal(t, hypervisor.StateRunning, s.domain(t, s.VM.UUID).State)
}

func testResumePaused(t *testing.T, s *suite) {
	events := s.events(t)
	s.pull(t, "Pause", s.Pause)
	ev := s.waitEvent(t, events, hypervisor.EventSuspended, s.VM.UUID)
	require.Equal(t, hypervisor.ReasonUser, ev.Reason)
	s.waitState(t, s.VM.UUID, hypervisor.StatePaused, hypervisor.ReasonUser)
	require.NoError(t, s.Host.Resume(s.ctx, s.VM.UUID))
	s.waitEvent(t, events, hypervisor.EventResumed, s.VM.UUID)
	s.waitState(t, s.VM.UUID, hypervisor.StateRunning, "unpaused")
}

// A QEMU that was killed: libvirt's state says crashed and its event failed.
func testKill(t *testing.T, s *suite) {
	events := s.events(t)
	s.pull(t, "Kill", s.Kill)
	ev := s.waitEvent(t, events, hypervisor.EventStopped, s.VM.UUID)
	require.Equal(t, hypervisor.ReasonFailed, ev.Reason)
	s.waitState(t, s.VM.UUID, hypervisor.StateShutoff, hypervisor.ReasonCrashed)
	require.NoError(t, s.Host.Start(s.ctx, s.VM.UUID))
	s.waitState(t, s.VM.UUID, hypervisor.StateRunning, hypervisor.ReasonBooted)
}

func testPanic(t *testing.T, s *suite) {
	events := s.events(t)
	s.pull(t, "Panic", s.Panic)
	ev := s.waitEvent(t, events, hypervisor.EventCrashed, s.VM.UUID)
	require.Equal(t, hypervisor.ReasonPanicked, ev.Reason)
	s.waitState(t, s.VM.UUID, hypervisor.StateCrashed, hypervisor.ReasonPanicked)
	require.ErrorIs(t, s.Host.Start(s.ctx, s.VM.UUID), hypervisor.ErrAlreadyActive, "QEMU lives")
	require.ErrorIs(t, s.Host.Resume(s.ctx, s.VM.UUID), hypervisor.ErrInvalidState)
	require.NoError(t, s.Host.Destroy(s.ctx, s.VM.UUID))
	require.NoError(t, s.Host.Start(s.ctx, s.VM.UUID))
	s.waitState(t, s.VM.UUID, hypervisor.StateRunning, hypervisor.ReasonBooted)
}

// A reset wakes no guest that panicked: its QEMU stays stopped until it is resumed.
func testResetOfPanicked(t *testing.T, s *suite) {
	s.pull(t, "Panic", s.Panic)
	s.waitState(t, s.VM.UUID, hypervisor.StateCrashed, hypervisor.ReasonPanicked)
	require.NoError(t, s.Host.Reset(s.ctx, s.VM.UUID))
	s.waitState(t, s.VM.UUID, hypervisor.StatePaused, hypervisor.ReasonCrashed)
	require.NoError(t, s.Host.Resume(s.ctx, s.VM.UUID))
	s.waitState(t, s.VM.UUID, hypervisor.StateRunning, "unpaused")
}

func testStats(t *testing.T, s *suite) {
	before := time.Now()
	st, ok := s.stats(t, s.VM.UUID)
	require.True(t, ok, "the statistics lack the domain")
	require.Equal(t, s.VM.Name, st.Name)
	require.Equal(t, hypervisor.StateRunning, st.State)
	require.False(t, st.At.Before(before), "taken now, not from a store")
	require.Equal(t, s.VM.VCPUs, st.VCPUs)
	require.Equal(t, s.VM.Memory, st.MemoryMax, "bytes")
	require.Positive(t, st.MemoryCurrent)
	require.LessOrEqual(t, st.MemoryCurrent, st.MemoryMax)
	require.Greater(t, st.CPUTime, time.Millisecond, "nanoseconds, not milliseconds")
	require.Less(t, st.CPUTime, 24*time.Hour)
	require.NotEmpty(t, st.Blocks)
	for _, b := range st.Blocks {
		require.NotEmpty(t, b.Device)
		require.Positive(t, b.Capacity)
		require.Positive(t, b.Physical)
	}
	for _, n := range st.Nets {
		require.NotEmpty(t, n.Device)
	}

	s.poll(t, func() (bool, any) {
		later, _ := s.stats(t, s.VM.UUID)
		return later.VCPUTime > st.VCPUTime, []any{st, later}
	}, "its virtual CPUs execute nothing")

	require.NoError(t, s.Host.Destroy(s.ctx, s.VM.UUID))
	_, ok = s.stats(t, s.VM.UUID)
	require.False(t, ok, "what is not active has no statistics")
}

func (s *suite) stats(t *testing.T, uuid string) (hypervisor.DomainStats, bool) {
	t.Helper()
	all, err := s.Host.Stats(s.ctx)
	require.NoError(t, err)
	for _, st := range all {
		if st.UUID == uuid {
			return st, true
		}
	}
	return hypervisor.DomainStats{}, false
}

// A QEMU that hangs must not hide its neighbours, and not itself in the list.
func testHungDomain(t *testing.T, s *suite) {
	_, ok := s.stats(t, s.VM.UUID)
	require.True(t, ok)
	s.pull(t, "Hang", s.Hang)
	s.poll(t, func() (bool, any) {
		ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
		defer cancel()
		all, err := s.Host.Stats(ctx)
		has := map[string]bool{}
		for _, st := range all {
			has[st.UUID] = true
		}
		return err == nil && has[s.Neighbour.UUID] && !has[s.VM.UUID], []any{has, err}
	}, "the statistics never were those of the neighbour alone")
	require.Equal(t, hypervisor.StateRunning, s.inList(t, s.VM.UUID).State)

	ctx, cancel := s.brief()
	defer cancel()
	require.ErrorIs(t, s.Host.Reset(ctx, s.VM.UUID), hypervisor.ErrTimeout)
	require.NoError(t, s.Host.Connect(s.ctx), "libvirtd is well")
	ctx, cancel = s.brief()
	defer cancel()
	_, err := s.Host.DiskErrors(ctx, s.VM.UUID)
	require.ErrorIs(t, err, hypervisor.ErrTimeout)
	_, err = s.Host.GuestTime(s.ctx, s.VM.UUID)
	require.ErrorIs(t, err, hypervisor.ErrNoAgent)

	s.pull(t, "Unhang", s.Unhang)
	s.poll(t, func() (bool, any) {
		_, ok := s.stats(t, s.VM.UUID)
		return ok, ok
	}, "the domain never came back into the statistics")
}
