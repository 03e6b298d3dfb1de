package monitor

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/internal/detect"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor"
)

// soon is how long a hint waits for more of its kind before the host is listed
// because of them.
const soon = 200 * time.Millisecond

// watch follows one host. A host that hangs holds up its own watch only, and
// not even that: listings run beside the events.
type watch struct {
	m     *Monitor
	host  hypervisor.Host
	panel Panel // nil: nobody else looks at it
	agent Agent // nil: none runs on it
	log   *slog.Logger
	asks  asks

	looking, pooling   atomic.Bool   // those questions are under way
	poolsWanted        atomic.Bool   // and that one is to be asked once more
	listNow, sampleNow chan struct{} // capacity 1: not at the next period, but now

	// The goroutine of sampling alone uses these.
	buffer       []detect.VMSample
	memoryErrors uint64
	memoryKnown  bool

	// The goroutine of run alone uses these.
	listings sync.WaitGroup
	done     chan listing // capacity 1: there is never more than one
	listing  bool         // one is under way
	again    bool         // and is already overtaken
	timer    *time.Timer  // for the next
	due      time.Time    // when timer fires
	phased   bool         // the sweeps of this host have their place in the period
	lostAt   time.Time    // when it was last found not to answer

	mu     sync.Mutex
	status HostStatus
}

// listing is the answer to one listing.
type listing struct {
	asked, ended time.Time
	domains      []hypervisor.Domain
	err          error
}

func newWatch(m *Monitor, h hypervisor.Host) *watch {
	w := &watch{
		m: m, host: h, panel: m.opts.Panels[h.Name()], agent: m.opts.Agents[h.Name()], log: m.log.With("host", h.Name()),
		done:    make(chan listing, 1),
		listNow: make(chan struct{}, 1), sampleNow: make(chan struct{}, 1),
		status: HostStatus{Host: h.Name()},
	}
	w.asks.w = w
	return w
}

// run follows the host until ctx ends.
func (w *watch) run(ctx context.Context) {
	defer w.listings.Wait()
	defer w.asks.close()
	w.listings.Go(func() { w.sampling(ctx) })
	// A host that connects is listed at once; this is for one that does not.
	w.timer = time.NewTimer(time.Hour)
	defer w.timer.Stop()
	w.in(rand.N(w.m.opts.Sweep/10 + 1))
	events := w.subscribe(ctx)
	for {
		select {
		case ev, ok := <-events:
			if !ok {
				events = nil // the next sweep subscribes again
				continue
			}
			w.event(ctx, ev)
		case <-w.timer.C:
			if events == nil {
				events = w.subscribe(ctx)
			}
			w.list(ctx)
		case <-w.listNow:
			w.list(ctx)
		case l := <-w.done:
			w.listed(ctx, l)
		case <-ctx.Done():
			return
		}
	}
}

func (w *watch) subscribe(ctx context.Context) <-chan hypervisor.Event {
	events, err := w.host.Events(ctx)
	if err != nil && ctx.Err() == nil {
		w.log.Error("no events from this host: faults are found by sweep only, trying again", "error", err)
		return nil
	}
	return events
}

// in lists the host that much later, unless that is to happen sooner.
func (w *watch) in(d time.Duration) {
	due := time.Now().Add(d)
	if !w.due.IsZero() && w.due.Before(due) {
		return
	}
	w.due = due
	w.timer.Reset(d)
}

// list asks the host for its domains, aside. An answer that is already on its
// way may be older than the reason for asking, so then it is asked once more.
func (w *watch) list(ctx context.Context) {
	w.due = time.Time{}
	w.timer.Stop()
	if w.listing {
		w.again = true
		return
	}
	w.listing, w.again = true, false
	w.listings.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, w.m.opts.CallTimeout)
		defer cancel()
		l := listing{asked: time.Now()}
		l.domains, l.err = w.host.Domains(ctx)
		l.ended = time.Now()
		w.done <- l
	})
}

func (w *watch) listed(ctx context.Context, l listing) {
	w.listing = false
	if ctx.Err() != nil {
		return
	}
	name := w.host.Name()
	if l.err != nil {
		w.m.metrics.sweepFailures.WithLabelValues(name).Inc()
		w.lost(ctx, l.ended, l.err.Error())
	} else {
		w.m.metrics.sweepSeconds.Observe(l.ended.Sub(l.asked).Seconds())
		w.m.metrics.lastSweep.WithLabelValues(name).Set(float64(l.asked.UnixMilli()) / 1e3)
		w.up(l.asked)
		seen := make([]detect.Observation, 0, len(l.domains))
		for _, d := range l.domains {
			seen = append(seen, detect.Observation{
				VM:    fault.VM{UUID: d.UUID, Name: d.Name},
				State: string(d.State), Reason: string(d.Reason), Transient: !d.Persistent,
			})
		}
		// The time of asking, not of the answer: an event that came in between is
		// newer, and as evidence a listing may be younger than it says, never older.
		w.m.tell(ctx, func(e *detect.Engine) []detect.Change { return e.Listed(name, l.asked, seen) })
	}
	switch {
	case w.again:
		w.list(ctx)
	case !w.phased:
		// All hosts were listed as they connected, which may be at once: from here
		// on they are spread over the period.
		w.phased = true
		w.in(rand.N(w.m.opts.Sweep) + 1)
	default:
		w.in(w.m.opts.Sweep)
	}
}

// event takes one event in.
func (w *watch) event(ctx context.Context, ev hypervisor.Event) {
	w.m.metrics.events.WithLabelValues(string(ev.Kind)).Inc()
	switch ev.Kind {
	case hypervisor.EventConnectionUp, hypervisor.EventOverflow:
		w.list(ctx)
	case hypervisor.EventConnectionDown:
		w.lost(ctx, ev.At, fmt.Sprintf("connection lost: %s", ev.Reason))
	case hypervisor.EventDefined:
		vm := fault.VM{UUID: ev.UUID, Name: ev.Name}
		w.m.tell(ctx, func(e *detect.Engine) []detect.Change { return e.Defined(w.host.Name(), ev.At, vm) })
		w.in(soon)
	case hypervisor.EventUndefined:
		w.in(soon) // it does not say what state the domain is in now
	case hypervisor.EventRebooted:
		w.in(soon)
		w.sign(ctx, ev)
	case hypervisor.EventWatchdog, hypervisor.EventIOError, hypervisor.EventAgent, hypervisor.EventMemory, hypervisor.EventAnnotated:
		w.sign(ctx, ev)
	default:
		o, ok := observation(ev)
		if !ok {
			return
		}
		if !decisive(ev) {
			w.list(ctx)
			return
		}
		if ev.Kind == hypervisor.EventSuspended {
			w.in(soon) // libvirt says that a person did it, also while it migrates or saves
		}
		w.m.tell(ctx, func(e *detect.Engine) []detect.Change { return e.Observed(w.host.Name(), ev.At, o) })
	}
}

// sign takes an event that says something else than a state.
func (w *watch) sign(ctx context.Context, ev hypervisor.Event) {
	vm, host := fault.VM{UUID: ev.UUID, Name: ev.Name}, w.host.Name()
	w.m.tell(ctx, func(e *detect.Engine) []detect.Change {
		switch ev.Kind {
		case hypervisor.EventRebooted:
			return e.Rebooted(host, ev.At, vm)
		case hypervisor.EventWatchdog:
			return e.WatchdogFired(host, ev.At, vm, string(ev.Reason))
		case hypervisor.EventIOError:
			return e.DiskFailed(host, ev.At, vm, ev.Device, ev.Reason == hypervisor.ReasonNoSpace)
		case hypervisor.EventMemory:
			return e.MemoryFailed(host, ev.At, string(ev.Reason))
		case hypervisor.EventAnnotated:
			e.Annotated(host, ev.At, vm)
		case hypervisor.EventAgent:
			e.AgentChanged(host, ev.At, vm, ev.Reason == hypervisor.ReasonAgentConnected)
		}
		return nil
	})
}

// decisive reports whether an event that may mean a fault says enough to tell.
// A stop without a reason may have been on purpose, and a crash that is no panic
// may be a guest that runs on in its crash kernel: the host knows better.
func decisive(ev hypervisor.Event) bool {
	switch ev.Kind {
	case hypervisor.EventStopped:
		return ev.Reason != "" && ev.Reason != hypervisor.ReasonUnknown
	case hypervisor.EventCrashed:
		return ev.Reason == hypervisor.ReasonPanicked
	}
	return true
}

// observation puts an event as the state that it led to; false for one that
// says nothing about the state.
func observation(ev hypervisor.Event) (detect.Observation, bool) {
	var state hypervisor.State
	reason := ev.Reason
	switch ev.Kind {
	case hypervisor.EventStarted:
		state = hypervisor.StateRunning
		if reason == hypervisor.ReasonMigrated {
			// QEMU waits for the guest to come in; it runs when Resumed says so.
			state, reason = hypervisor.StatePaused, hypervisor.ReasonMigrating
		}
	case hypervisor.EventResumed:
		state = hypervisor.StateRunning
	case hypervisor.EventSuspended:
		state = hypervisor.StatePaused
	case hypervisor.EventShutdown:
		state = hypervisor.StateShutdown
	case hypervisor.EventCrashed:
		state = hypervisor.StateCrashed
	case hypervisor.EventStopped:
		state = hypervisor.StateShutoff
	default:
		return detect.Observation{}, false
	}
	return detect.Observation{
		VM:    fault.VM{UUID: ev.UUID, Name: ev.Name},
		State: string(state), Reason: string(reason),
	}, true
}

func (w *watch) up(at time.Time) {
	w.mu.Lock()
	was := w.status
	w.status.Tried, w.status.Listed = true, at
	back := !was.Connected && at.After(w.lostAt) // else it was lost after it was asked
	if back {
		w.status.Connected, w.status.Error = true, ""
	}
	w.mu.Unlock()
	if back {
		w.m.metrics.connected.Inc()
		w.log.Info("host answers")
	}
}

func (w *watch) lost(ctx context.Context, at time.Time, why string) {
	w.lostAt = at
	w.mu.Lock()
	was := w.status
	w.status.Tried, w.status.Connected, w.status.Error, w.status.Failed = true, false, why, at
	w.mu.Unlock()
	if was.Connected {
		w.m.metrics.connected.Dec()
	}
	if was.Connected || !was.Tried {
		w.log.Warn("host does not answer", "error", why)
	}
	w.m.tell(ctx, func(e *detect.Engine) []detect.Change { return e.Unreachable(w.host.Name(), at, why) })
}

func (w *watch) now() HostStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status
}
