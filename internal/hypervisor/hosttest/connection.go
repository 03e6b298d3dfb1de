package hosttest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/hypervisor"
)

func testHungLibvirtd(t *testing.T, s *suite) {
	require.NoError(t, s.Host.Connect(s.ctx))
	require.NoError(t, s.Other.Connect(s.ctx))
	s.pull(t, "HangLibvirtd", s.HangLibvirtd)

	ctx, cancel := context.WithTimeout(s.ctx, 2*time.Second)
	defer cancel()
	hung := make(chan error, 1)
	go func() {
		_, err := s.Host.Domains(ctx)
		hung <- err
	}()
	for range 10 { // another host answers all the while
		_, err := s.Other.Domains(s.ctx)
		require.NoError(t, err)
	}
	select {
	case err := <-hung:
		// Only if it took the 2 s: otherwise it did not wait for the hung one.
		require.True(t, gone(err), "%v", err)
		require.Error(t, ctx.Err(), "ten calls to another host took longer than a call to the hung one may take")
	default:
	}
	select {
	case err := <-hung:
		require.True(t, gone(err), "%v", err)
	case <-time.After(s.Patience):
		require.FailNow(t, "the call did not return by its deadline")
	}
	// Until it goes on, nothing works and nothing hangs.
	for name, call := range map[string]func(context.Context) error{
		"Domain":    func(ctx context.Context) error { _, err := s.Host.Domain(ctx, s.VM.UUID); return err },
		"Node":      func(ctx context.Context) error { _, err := s.Host.Node(ctx); return err },
		"Pools":     func(ctx context.Context) error { _, err := s.Host.Pools(ctx); return err },
		"GuestTime": func(ctx context.Context) error { _, err := s.Host.GuestTime(ctx, s.VM.UUID); return err },
	} {
		ctx, cancel := s.brief()
		err := call(ctx)
		cancel()
		require.True(t, gone(err), "%s: %v", name, err)
		require.NotErrorIs(t, err, hypervisor.ErrNoAgent, "nobody asked an agent")
	}
	s.pull(t, "ResumeLibvirtd", s.ResumeLibvirtd)
	s.waitAnswer(t)
	require.Equal(t, hypervisor.StateRunning, s.domain(t, s.VM.UUID).State)
}

// waitAnswer polls until the host answers.
func (s *suite) waitAnswer(t *testing.T) {
	t.Helper()
	s.poll(t, func() (bool, any) {
		ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
		defer cancel()
		_, err := s.Host.Domains(ctx)
		return err == nil, err
	}, "the host never answered again")
}

// What was sent to a libvirtd that hangs is carried out when it goes on, though
// the caller has left: whoever got ErrTimeout must not take it for a no.
func testHungLibvirtdCatchesUp(t *testing.T, s *suite) {
	require.NoError(t, s.Host.Destroy(s.ctx, s.VM.UUID))
	s.pull(t, "HangLibvirtd", s.HangLibvirtd)
	ctx, cancel := s.brief()
	defer cancel()
	err := s.Host.Start(ctx, s.VM.UUID)
	require.ErrorIs(t, err, hypervisor.ErrTimeout)
	s.pull(t, "ResumeLibvirtd", s.ResumeLibvirtd)
	s.waitAnswer(t)
	s.poll(t, func() (bool, any) {
		d, err := s.Host.Domain(s.ctx, s.VM.UUID)
		return err == nil && d.State == hypervisor.StateRunning, []any{d, err}
	}, "the start that had timed out never took effect")
}

func testLibvirtdRestart(t *testing.T, s *suite) {
	events := s.events(t)
	s.pull(t, "KillLibvirtd", s.KillLibvirtd)
	down := s.waitEvent(t, events, hypervisor.EventConnectionDown, "")
	require.NotEmpty(t, down.Reason, "a lost connection says why")
	ctx, cancel := context.WithTimeout(s.ctx, s.Patience)
	defer cancel()
	require.ErrorIs(t, s.Host.Start(ctx, s.VM.UUID), hypervisor.ErrUnreachable)
	s.pull(t, "StartLibvirtd", s.StartLibvirtd)
	s.waitEvent(t, events, hypervisor.EventConnectionUp, "")
	s.waitAnswer(t)
	require.Equal(t, hypervisor.StateRunning, s.domain(t, s.VM.UUID).State, "the VM ran on")

	// And events come over the new connection. It takes a start to see it: while
	// a new libvirtd takes hold of its QEMUs, one that dies is stopped without an
	// event, and one that is destroyed may be reported as not active.
	if err := s.Host.Destroy(s.ctx, s.VM.UUID); err != nil {
		require.ErrorIs(t, err, hypervisor.ErrNotActive)
	}
	require.NoError(t, s.Host.Start(s.ctx, s.VM.UUID))
	s.waitEvent(t, events, hypervisor.EventStarted, s.VM.UUID)
}

func testCut(t *testing.T, s *suite) {
	events := s.events(t)
	s.pull(t, "Cut", s.Cut)
	s.waitEvent(t, events, hypervisor.EventConnectionDown, "")
	ctx, cancel := s.brief()
	_, err := s.Host.Domains(ctx)
	cancel()
	require.True(t, gone(err), "%v", err)
	_, err = s.Other.Domains(s.ctx)
	require.NoError(t, err)
	s.pull(t, "Heal", s.Heal)
	s.waitEvent(t, events, hypervisor.EventConnectionUp, "")
	s.waitAnswer(t)
	require.Equal(t, hypervisor.StateRunning, s.domain(t, s.VM.UUID).State, "the VM ran on")
}

// A host that is down when the first one asks is reported on the channel.
func testDownAtTheStart(t *testing.T, s *suite) {
	s.pull(t, "KillLibvirtd", s.KillLibvirtd)
	events, err := s.Host.Events(s.ctx)
	require.NoError(t, err)
	require.Equal(t, hypervisor.EventConnectionDown, s.next(t, events).Kind)
	require.ErrorIs(t, s.Host.Connect(s.ctx), hypervisor.ErrUnreachable)
	s.pull(t, "StartLibvirtd", s.StartLibvirtd)
	require.Equal(t, hypervisor.EventConnectionUp, s.next(t, events).Kind)
}

func testCancel(t *testing.T, s *suite) {
	require.NoError(t, s.Host.Connect(s.ctx))
	ended, cancel := context.WithCancel(s.ctx)
	cancel()
	_, err := s.Host.Domains(ended)
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.Host.Events(ended)
	require.ErrorIs(t, err, context.Canceled)

	s.pull(t, "HangLibvirtd", s.HangLibvirtd)
	ctx, cancel := context.WithCancel(s.ctx)
	result := make(chan error, 1)
	go func() { result <- s.Host.Connect(ctx) }()
	cancel()
	select {
	case err = <-result:
	case <-time.After(s.Patience):
		require.FailNow(t, "the call outlived its context")
	}
	require.True(t, errors.Is(err, context.Canceled), "%v", err)
	require.NotErrorIs(t, err, hypervisor.ErrTimeout, "cancelled is not timed out")
	s.pull(t, "ResumeLibvirtd", s.ResumeLibvirtd)
	s.waitAnswer(t)
}

func testConcurrent(t *testing.T, s *suite) {
	events := s.events(t)
	var wg sync.WaitGroup
	failures := make(chan error, 64)
	for range 8 {
		wg.Go(func() {
			for range 5 {
				_, errs1 := s.Host.Domains(s.ctx)
				_, errs2 := s.Host.Domain(s.ctx, s.Neighbour.UUID)
				_, errs3 := s.Host.Stats(s.ctx)
				_, errs4 := s.Host.Definition(s.ctx, s.Neighbour.UUID)
				_, errs5 := s.Host.Node(s.ctx)
				_, errs6 := s.Host.Pools(s.ctx)
				if err := errors.Join(errs1, errs2, errs3, errs4, errs5, errs6); err != nil {
					select {
					case failures <- err:
					default:
					}
				}
			}
		})
	}
	// Of many who start or destroy at once exactly one does it.
	race := func(call func(context.Context, string) error, lost error) {
		results := make(chan error, 4)
		for range cap(results) {
			go func() { results <- call(s.ctx, s.VM.UUID) }()
		}
		won := 0
		for range cap(results) {
			if err := <-results; err == nil {
				won++
			} else {
				require.ErrorIs(t, err, lost)
			}
		}
		require.Equal(t, 1, won)
	}
	race(s.Host.Destroy, hypervisor.ErrNotActive)
	race(s.Host.Start, hypervisor.ErrAlreadyActive)
	wg.Wait()
	close(failures)
	for err := range failures {
		require.NoError(t, err)
	}
	s.waitEvent(t, events, hypervisor.EventStopped, s.VM.UUID)
	s.waitEvent(t, events, hypervisor.EventStarted, s.VM.UUID)
}

func testTwoReaders(t *testing.T, s *suite) {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	leaving, err := s.Host.Events(ctx)
	require.NoError(t, err)
	staying := s.events(t)
	s.waitEvent(t, leaving, hypervisor.EventConnectionUp, "")
	cancel()
	s.waitEnd(t, leaving)
	require.NoError(t, s.Host.Destroy(s.ctx, s.VM.UUID))
	s.waitEvent(t, staying, hypervisor.EventStopped, s.VM.UUID)
}

func testClose(t *testing.T, s *suite) {
	events := s.events(t)
	require.NoError(t, s.Host.Close())
	s.waitEnd(t, events)
	require.NoError(t, s.Host.Close(), "a second Close is none")
	s.requireClosed(t)
}

func testCloseOfHung(t *testing.T, s *suite) {
	events := s.events(t)
	s.pull(t, "HangLibvirtd", s.HangLibvirtd)
	waiting := make(chan error, 1)
	go func() {
		_, err := s.Host.Domains(s.ctx)
		waiting <- err
	}()
	ended := make(chan error, 1)
	go func() { ended <- s.Host.Close() }()
	select {
	case err := <-ended:
		require.NoError(t, err)
	case <-time.After(s.Patience):
		require.FailNow(t, "Close waits for a host that does not answer")
	}
	s.waitEnd(t, events)
	require.ErrorIs(t, <-waiting, hypervisor.ErrClosed)
	s.requireClosed(t)
	s.pull(t, "ResumeLibvirtd", s.ResumeLibvirtd)
}

func (s *suite) requireClosed(t *testing.T) {
	t.Helper()
	_, err := s.Host.Domains(s.ctx)
	require.ErrorIs(t, err, hypervisor.ErrClosed)
	require.ErrorIs(t, s.Host.Connect(s.ctx), hypervisor.ErrClosed)
	require.ErrorIs(t, s.Host.Start(s.ctx, s.VM.UUID), hypervisor.ErrClosed)
	_, err = s.Host.Stats(s.ctx)
	require.ErrorIs(t, err, hypervisor.ErrClosed)
	_, err = s.Host.Pools(s.ctx)
	require.ErrorIs(t, err, hypervisor.ErrClosed)
	_, err = s.Host.GuestTime(s.ctx, s.VM.UUID)
	require.ErrorIs(t, err, hypervisor.ErrClosed)
	_, err = s.Host.Events(s.ctx)
	require.ErrorIs(t, err, hypervisor.ErrClosed)
}

func (s *suite) waitEnd(t *testing.T, events <-chan hypervisor.Event) {
	t.Helper()
	timer := time.NewTimer(s.Patience)
	defer timer.Stop()
	for {
		select {
		case _, ok := <-events:
			if !ok {
				return
			}
		case <-timer.C:
			require.FailNow(t, "the channel did not end")
		}
	}
}
