package hosttest

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"holdfast/internal/hypervisor"
)

func testNode(t *testing.T, s *suite) {
	before := time.Now()
	n, err := s.Host.Node(s.ctx)
	require.NoError(t, err)
	require.False(t, n.At.Before(before), "taken now, not from a store")
	require.Positive(t, n.CPUs)
	require.Greater(t, n.MemoryTotal, uint64(1<<27), "bytes, not KiB")
	require.Positive(t, n.MemoryAvailable)
	require.LessOrEqual(t, n.MemoryAvailable, n.MemoryTotal)
	s.poll(t, func() (bool, any) {
		later, err := s.Host.Node(s.ctx)
		require.NoError(t, err)
		require.GreaterOrEqual(t, later.CPUTime, n.CPUTime, "a counter")
		require.GreaterOrEqual(t, later.CPUIdle, n.CPUIdle, "a counter")
		return later.CPUTime > n.CPUTime, []any{n, later}
	}, "the host's processors execute nothing")
}

// pool finds the fixture's, with the patience of the suite.
func (s *suite) pool(ctx context.Context) (hypervisor.Pool, error) {
	pools, err := s.Host.Pools(ctx)
	if err != nil {
		return hypervisor.Pool{}, err
	}
	for _, p := range pools {
		if p.Name == s.Pool {
			return p, nil
		}
	}
	return hypervisor.Pool{}, errors.New("the pool is missing from the list")
}

func testPools(t *testing.T, s *suite) {
	p, err := s.pool(s.ctx)
	require.NoError(t, err)
	s.requireRunning(t, p)
	_, err = uuid.Parse(p.UUID)
	require.NoError(t, err)
	require.True(t, p.Autostart)
	require.True(t, filepath.IsAbs(p.Target), p.Target)
}

func (s *suite) requireRunning(t *testing.T, p hypervisor.Pool) {
	t.Helper()
	require.Equal(t, hypervisor.PoolRunning, p.State)
	require.Empty(t, p.Error)
	require.Greater(t, p.Capacity, uint64(1<<20), "bytes")
	require.LessOrEqual(t, p.Available, p.Capacity)
}

// A pool whose storage is gone is inactive until somebody starts it. Why it is
// so is told to whoever makes the host look first, and that may be another.
func testLostPool(t *testing.T, s *suite) {
	s.pull(t, "LosePool", s.LosePool)
	for range 2 {
		p, err := s.pool(s.ctx)
		require.NoError(t, err, "one pool that fails is no reason to hide the others")
		require.Equal(t, hypervisor.PoolInactive, p.State)
		require.True(t, p.Autostart)
		require.Zero(t, p.Capacity)
		require.Zero(t, p.Available)
	}
	require.Equal(t, hypervisor.StateRunning, s.domain(t, s.VM.UUID).State)

	s.pull(t, "RestorePool", s.RestorePool)
	p, err := s.pool(s.ctx)
	require.NoError(t, err)
	s.requireRunning(t, p)
}

func testDiskErrors(t *testing.T, s *suite) {
	failed, err := s.Host.DiskErrors(s.ctx, s.VM.UUID)
	require.NoError(t, err)
	require.Empty(t, failed)
	require.NoError(t, s.Host.Destroy(s.ctx, s.VM.UUID))
	_, err = s.Host.DiskErrors(s.ctx, s.VM.UUID)
	require.ErrorIs(t, err, hypervisor.ErrNotActive)
}

func testNoSpace(t *testing.T, s *suite) {
	events := s.events(t)
	s.pull(t, "FailDisk", s.FailDisk)
	ev := s.waitEvent(t, events, hypervisor.EventIOError, s.VM.UUID)
	require.Equal(t, "vda", ev.Device)
	require.Equal(t, hypervisor.Reason("enospc"), ev.Reason)
	ev = s.waitEvent(t, events, hypervisor.EventSuspended, s.VM.UUID)
	require.Equal(t, hypervisor.ReasonIOError, ev.Reason)
	s.waitState(t, s.VM.UUID, hypervisor.StatePaused, hypervisor.ReasonIOError)
	failed, err := s.Host.DiskErrors(s.ctx, s.VM.UUID)
	require.NoError(t, err)
	require.Equal(t, []hypervisor.DiskError{{Device: "vda", NoSpace: true}}, failed)

	// As long as there is no room, it does not go on for long.
	require.NoError(t, s.Host.Resume(s.ctx, s.VM.UUID))
	s.waitEvent(t, events, hypervisor.EventIOError, s.VM.UUID)
	s.waitState(t, s.VM.UUID, hypervisor.StatePaused, hypervisor.ReasonIOError)

	s.pull(t, "MendDisk", s.MendDisk)
	require.Equal(t, hypervisor.StatePaused, s.domain(t, s.VM.UUID).State, "nobody has resumed it")
	require.NoError(t, s.Host.Resume(s.ctx, s.VM.UUID))
	s.waitState(t, s.VM.UUID, hypervisor.StateRunning, "unpaused")
	failed, err = s.Host.DiskErrors(s.ctx, s.VM.UUID)
	require.NoError(t, err)
	require.Len(t, failed, 1, "QEMU remembers")
	require.NoError(t, s.Host.Destroy(s.ctx, s.VM.UUID))
	require.NoError(t, s.Host.Start(s.ctx, s.VM.UUID))
	failed, err = s.Host.DiskErrors(s.ctx, s.VM.UUID)
	require.NoError(t, err)
	require.Empty(t, failed, "another QEMU")
}

// waitAgent polls until the guest has booted and its agent answers.
func (s *suite) waitAgent(t *testing.T) time.Time {
	t.Helper()
	var now time.Time
	s.poll(t, func() (bool, any) {
		var err error
		now, err = s.Host.GuestTime(s.ctx, s.VM.UUID)
		if err != nil {
			require.ErrorIs(t, err, hypervisor.ErrNoAgent)
		}
		return err == nil, err
	}, "the guest's agent never answered")
	return now
}

func testGuestTime(t *testing.T, s *suite) {
	require.WithinDuration(t, time.Now(), s.waitAgent(t), time.Hour, "neither seconds for nanoseconds nor a time zone")
	require.NoError(t, s.pauseAnd(t, func() {
		_, err := s.Host.GuestTime(s.ctx, s.VM.UUID)
		require.ErrorIs(t, err, hypervisor.ErrInvalidState)
		require.NotErrorIs(t, err, hypervisor.ErrNoAgent, "it was not asked")
	}))
	require.NoError(t, s.Host.Destroy(s.ctx, s.VM.UUID))
	_, err := s.Host.GuestTime(s.ctx, s.VM.UUID)
	require.ErrorIs(t, err, hypervisor.ErrNotActive)
}

func (s *suite) pauseAnd(t *testing.T, do func()) error {
	t.Helper()
	s.pull(t, "Pause", s.Pause)
	s.waitState(t, s.VM.UUID, hypervisor.StatePaused, hypervisor.ReasonUser)
	do()
	return s.Host.Resume(s.ctx, s.VM.UUID)
}

// A guest that hangs is silent, and in nobody's way: QEMU answers for it.
func testHungGuest(t *testing.T, s *suite) {
	s.waitAgent(t)
	s.pull(t, "HangGuest", s.HangGuest)
	asked := make(chan error, 1)
	go func() {
		_, err := s.Host.GuestTime(s.ctx, s.VM.UUID)
		asked <- err
	}()
	stood, ok := s.stats(t, s.VM.UUID)
	require.True(t, ok, "the statistics lack it")
	for range 3 {
		st, ok := s.stats(t, s.VM.UUID)
		require.True(t, ok, "the statistics lack it")
		require.Equal(t, stood.VCPUTime, st.VCPUTime, "its virtual CPUs stand still")
		_, err := s.Host.DiskErrors(s.ctx, s.VM.UUID)
		require.NoError(t, err)
		require.Equal(t, hypervisor.StateRunning, s.domain(t, s.VM.UUID).State)
	}
	require.ErrorIs(t, <-asked, hypervisor.ErrNoAgent)
	_, err := s.Host.GuestTime(s.ctx, s.VM.UUID)
	require.ErrorIs(t, err, hypervisor.ErrNoAgent)

	s.pull(t, "UnhangGuest", s.UnhangGuest)
	s.waitAgent(t)
}

// The channel of an agent opens as the guest boots.
func testAgentEvents(t *testing.T, s *suite) {
	require.NoError(t, s.Host.Destroy(s.ctx, s.VM.UUID))
	events := s.events(t)
	require.NoError(t, s.Host.Start(s.ctx, s.VM.UUID))
	for {
		ev := s.waitEvent(t, events, hypervisor.EventAgent, s.VM.UUID)
		if ev.Reason == hypervisor.ReasonAgentConnected {
			break
		}
		require.Equal(t, hypervisor.ReasonAgentDisconnected, ev.Reason)
	}
	s.waitAgent(t)
}

const (
	annotation = `<holdfast:vm xmlns:holdfast="https://holdfast.dev/xmlns/domain/1" mode="observe">` +
		`<holdfast:label name="tier" value="a &amp; b"/></holdfast:vm>`
	otherAnnotation = `<holdfast:vm xmlns:holdfast="https://holdfast.dev/xmlns/domain/1" mode="repair"/>`
)

func testAnnotate(t *testing.T, s *suite) {
	events := s.events(t)
	before := s.bareDefinition(t)
	require.NoError(t, s.Host.Annotate(s.ctx, s.VM.UUID, annotation))
	ev := s.waitEvent(t, events, hypervisor.EventAnnotated, s.VM.UUID)
	require.Equal(t, s.VM.Name, ev.Name)
	s.requireAnnotated(t, `mode="observe"`, `<holdfast:label name="tier" value="a &amp; b"/>`)

	require.Error(t, s.Host.Annotate(s.ctx, s.VM.UUID, "<vm"))
	s.requireAnnotated(t, `mode="observe"`)

	require.NoError(t, s.Host.Destroy(s.ctx, s.VM.UUID))
	require.NoError(t, s.Host.Annotate(s.ctx, s.VM.UUID, otherAnnotation)) // of one that is not active
	s.waitEvent(t, events, hypervisor.EventAnnotated, s.VM.UUID)
	s.requireAnnotated(t, `mode="repair"`)
	require.NoError(t, s.Host.Start(s.ctx, s.VM.UUID))
	s.requireAnnotated(t, `mode="repair"`)

	require.NoError(t, s.Host.Annotate(s.ctx, s.VM.UUID, ""))
	require.NoError(t, s.Host.Annotate(s.ctx, s.VM.UUID, ""), "there is nothing left to remove")
	require.Equal(t, before, s.bareDefinition(t), "nothing else has changed")
}

func (s *suite) requireAnnotated(t *testing.T, parts ...string) {
	t.Helper()
	xml, err := s.Host.Definition(s.ctx, s.VM.UUID)
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(xml, "<holdfast:vm"), "exactly one element of ours")
	require.Contains(t, xml, `xmlns:holdfast="https://holdfast.dev/xmlns/domain/1"`)
	for _, part := range parts {
		require.Contains(t, xml, part)
	}
}

// bareDefinition is the definition without space, and without the empty
// metadata that libvirt leaves behind.
func (s *suite) bareDefinition(t *testing.T) string {
	t.Helper()
	xml, err := s.Host.Definition(s.ctx, s.VM.UUID)
	require.NoError(t, err)
	require.NotContains(t, xml, "holdfast.dev")
	return strings.ReplaceAll(strings.Join(strings.Fields(xml), ""), "<metadata/>", "")
}
