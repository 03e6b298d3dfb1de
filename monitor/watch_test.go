package monitor

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"holdfast/internal/detect"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/simulated"
)

func TestObservation(t *testing.T) {
	for _, c := range []struct {
		kind          hypervisor.EventKind
		reason        hypervisor.Reason
		state, became string
	}{
		{hypervisor.EventStarted, "booted", "running", "booted"},
		{hypervisor.EventStarted, "migrated", "paused", "migrating"}, // the guest is not here yet
		{hypervisor.EventResumed, "migrated", "running", "migrated"},
		{hypervisor.EventSuspended, "user", "paused", "user"},
		{hypervisor.EventShutdown, "user", "in shutdown", "user"},
		{hypervisor.EventCrashed, "panicked", "crashed", "panicked"},
		{hypervisor.EventStopped, "failed", "shut off", "failed"},
		{hypervisor.EventStopped, "destroyed", "shut off", "destroyed"},
	} {
		o, ok := observation(hypervisor.Event{Kind: c.kind, UUID: "u", Name: "n", Reason: c.reason})
		require.True(t, ok, c.kind)
		assert.Equal(t, detect.Observation{VM: fault.VM{UUID: "u", Name: "n"}, State: c.state, Reason: c.became}, o)
	}
	for _, k := range []hypervisor.EventKind{
		hypervisor.EventWatchdog, hypervisor.EventIOError, hypervisor.EventRebooted, hypervisor.EventDefined,
	} {
		_, ok := observation(hypervisor.Event{Kind: k, UUID: "u"})
		assert.False(t, ok, k)
	}
}

// scripted is a host whose events and listings the test writes.
type scripted struct {
	hypervisor.Host // a simulated one without VMs, for whatever else is asked
	name            string

	mu         sync.Mutex
	domains    []hypervisor.Domain
	listings   int
	events     chan hypervisor.Event
	subscribed int
}

func (s *scripted) Name() string { return s.name }

func (s *scripted) Domains(context.Context) ([]hypervisor.Domain, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listings++
	return append([]hypervisor.Domain(nil), s.domains...), nil
}

func (s *scripted) Events(context.Context) (<-chan hypervisor.Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subscribed++
	if s.events == nil {
		return nil, hypervisor.ErrClosed
	}
	return s.events, nil
}

func (s *scripted) Close() error { return nil }

func (s *scripted) set(domains ...hypervisor.Domain) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.domains = domains
}

func (s *scripted) listed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listings
}

func (s *scripted) say(kind hypervisor.EventKind, reason hypervisor.Reason) {
	ev := hypervisor.Event{Host: s.name, Kind: kind, Reason: reason, At: time.Now()}
	if kind != hypervisor.EventOverflow && kind != hypervisor.EventConnectionUp {
		ev.UUID, ev.Name = "u1", "VM1"
	}
	s.mu.Lock()
	events := s.events
	s.mu.Unlock()
	select {
	case events <- ev:
	case <-time.After(patience): // the test then fails for want of what follows
	}
}

func vm1(state hypervisor.State, reason hypervisor.Reason) hypervisor.Domain {
	return hypervisor.Domain{UUID: "u1", Name: "VM1", State: state, Reason: reason}
}

// scriptedRig is a monitor on one scripted host that was listed once.
func scriptedRig(t *testing.T, tune func(*Options)) (*rig, *scripted) {
	t.Helper()
	h := &scripted{Host: simulated.New(simulated.Options{Hosts: 1}).Host("A"), name: "A", events: make(chan hypervisor.Event)}
	h.set(vm1(hypervisor.StateRunning, hypervisor.ReasonBooted))
	r := newRig(t, twoHosts, func(o *Options) {
		site, err := hypervisor.NewSite(h)
		require.NoError(t, err)
		o.Hosts = site
		if tune != nil {
			tune(o)
		}
	}).run()
	h.say(hypervisor.EventConnectionUp, "")
	return r.watching(), h
}

func TestAStopWithoutAReasonIsLookedUp(t *testing.T) {
	r, h := scriptedRig(t, nil)
	h.set(vm1(hypervisor.StateShutoff, hypervisor.ReasonDestroyed))
	n := h.listed()
	h.say(hypervisor.EventStopped, hypervisor.ReasonUnknown)
	r.eventually("the host is asked", func() bool { return h.listed() > n })
	h.set(vm1(hypervisor.StateRunning, hypervisor.ReasonBooted))
	h.say(hypervisor.EventStarted, hypervisor.ReasonBooted)
	n = h.listed()
	h.say(hypervisor.EventCrashed, "crashloaded") // it runs on in its crash kernel
	r.eventually("the host is asked again", func() bool { return h.listed() > n })
	h.set(vm1(hypervisor.StateShutoff, hypervisor.ReasonCrashed))
	h.say(hypervisor.EventStopped, "")
	r.eventually("and says that it crashed", func() bool { return len(r.to.faults("VM1")) == 1 })
	r.stop()
	assert.Equal(t, "A: shut off (crashed)", r.to.about("VM1")[0].fault.Seen.String())
	assert.Len(t, r.to.faults("VM1"), 1)
}

func TestHintsAreFollowedUpSoon(t *testing.T) {
	r, h := scriptedRig(t, nil) // the sweep never comes
	h.set(vm1(hypervisor.StateShutoff, hypervisor.ReasonCrashed))
	h.say(hypervisor.EventRebooted, "")
	r.eventually("the crash is found", func() bool { return len(r.to.faults("VM1")) == 1 })
	h.set()
	h.say(hypervisor.EventUndefined, "")
	r.eventually("its end is found", func() bool { return len(r.to.cleared("VM1")) == 1 })
	assert.Equal(t, "A: not there", r.to.cleared("VM1")[0].seen.String())
	h.set(vm1(hypervisor.StateShutoff, hypervisor.ReasonCrashed))
	h.say(hypervisor.EventDefined, "")
	r.eventually("the next is found", func() bool { return len(r.to.faults("VM1")) == 2 })
	n := h.listed()
	h.say(hypervisor.EventSuspended, hypervisor.ReasonUser)
	r.eventually("who paused it is looked up", func() bool { return h.listed() > n })
}

func TestEventsThatEndAreAskedForAgain(t *testing.T) {
	r, h := scriptedRig(t, sweeping)
	h.mu.Lock()
	broken := h.events
	h.events = nil
	h.mu.Unlock()
	close(broken)
	r.eventually("it asks again, and is refused", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.subscribed > 2
	})
	r.swept() // the sweep goes on meanwhile
	h.mu.Lock()
	h.events = make(chan hypervisor.Event)
	h.mu.Unlock()
	h.say(hypervisor.EventCrashed, hypervisor.ReasonPanicked)
	r.eventually("an event gets through", func() bool {
		return r.metric("holdfast_monitor_events_total", "kind", "crashed") == 1
	})
}

// slowRig is a monitor on one host that was listed once, and that has taken a
// second listing, with VM1 running, but not answered it yet.
func slowRig(t *testing.T) (*rig, *slowHost) {
	t.Helper()
	h := &slowHost{
		scripted: &scripted{Host: simulated.New(simulated.Options{Hosts: 1}).Host("A"), name: "A", events: make(chan hypervisor.Event)},
		slow:     make(chan struct{}),
	}
	h.set(vm1(hypervisor.StateRunning, hypervisor.ReasonBooted))
	r := newRig(t, twoHosts, func(o *Options) {
		site, err := hypervisor.NewSite(h)
		require.NoError(t, err)
		o.Hosts, o.CallTimeout = site, never
	}).run()
	h.say(hypervisor.EventConnectionUp, "")
	h.let(r)
	r.watching()
	h.say(hypervisor.EventOverflow, "")
	h.let(r)
	return r, h
}

// answer lets the listing that is under way be answered.
func (s *slowHost) answer(r *rig) {
	r.t.Helper()
	listed := r.m.Snapshot().Hosts[0].Listed
	s.let(r)
	r.eventually("the answer is in", func() bool { return r.m.Snapshot().Hosts[0].Listed.After(listed) })
}

// A listing that was asked for before an event must not undo it.
func TestAListingOvertakenByAnEvent(t *testing.T) {
	r, h := slowRig(t)
	h.say(hypervisor.EventStopped, hypervisor.ReasonFailed)
	r.eventually("the fault arrives", func() bool { return len(r.to.faults("VM1")) == 1 })
	h.answer(r)
	r.stop()
	assert.Empty(t, r.to.cleared("VM1"))
	assert.Len(t, r.m.Snapshot().Faults, 1)
}

func TestAListingOvertakenByAnOverflowIsRepeated(t *testing.T) {
	r, h := slowRig(t)
	h.set(vm1(hypervisor.StateShutoff, hypervisor.ReasonCrashed))
	h.say(hypervisor.EventOverflow, "") // that event was lost
	h.answer(r)
	h.let(r)
	h.let(r)
	r.eventually("the fault arrives", func() bool { return len(r.to.faults("VM1")) == 1 })
}

func TestAListingOvertakenByALostConnection(t *testing.T) {
	r, h := slowRig(t)
	h.say(hypervisor.EventConnectionDown, "keepalive not answered")
	h.answer(r)
	assert.False(t, r.m.Snapshot().Hosts[0].Connected)
	assert.Contains(t, r.m.Snapshot().Hosts[0].Error, "keepalive not answered")
	assert.Zero(t, r.metric("holdfast_monitor_hosts_connected"))
	h.say(hypervisor.EventConnectionUp, "")
	h.let(r)
	h.answer(r)
	assert.True(t, r.m.Snapshot().Hosts[0].Connected)
	assert.Equal(t, 1.0, r.metric("holdfast_monitor_hosts_connected"))
}

// slowHost lists when it is let, and answers when it is let again; the first
// listing is answered at once.
type slowHost struct {
	*scripted
	slow chan struct{}
	once sync.Once
}

func (s *slowHost) Domains(ctx context.Context) ([]hypervisor.Domain, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	domains, err := s.scripted.Domains(ctx)
	first := false
	s.once.Do(func() { first = true })
	if !first {
		if err := s.wait(ctx); err != nil {
			return nil, err
		}
	}
	return domains, err
}

func (s *slowHost) wait(ctx context.Context) error {
	select {
	case <-s.slow:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// let lets the listing go one step on.
func (s *slowHost) let(r *rig) {
	r.t.Helper()
	select {
	case s.slow <- struct{}{}:
	case <-time.After(patience):
		r.t.Fatal("no listing is under way")
	}
}
