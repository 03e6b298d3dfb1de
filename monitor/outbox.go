package monitor

import (
	"container/heap"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"holdfast/internal/detect"
	"holdfast/internal/fault"
)

const (
	backoffFirst = 100 * time.Millisecond
	backoffMost  = 5 * time.Second
	// refusals is how often a clearing may fail, while other reports get
	// through, before the VM's next fault stops waiting for it.
	refusals = 8
)

// outbox delivers faults and clearings, however long that takes. It keeps one
// parcel for each place that a fault can take (fault.Fault.Slot), so what it holds
// is bounded by the number of faults that stand. Nothing in it waits for the Reporter but its own workers.
type outbox struct {
	to      Reporter
	o       Options
	log     *slog.Logger
	metrics outboxMetrics
	wake    chan struct{} // capacity 1: look at the queue again
	empty   chan struct{} // closed when flushing and nothing is unsent

	mu       sync.Mutex
	parcels  map[string]*parcel // by slot
	queue    queue              // those that no worker has
	unsent   int
	flushing bool

	failing error     // of the last attempt; nil if it worked
	since   time.Time // the first of the failures
	worked  time.Time // the last attempt that did
	tried   time.Time // the last attempt
}

// parcel is what is to be said about one slot: first that its last fault is
// over, then that there is another.
type parcel struct {
	cleared *clearing
	fault   *fault.Fault // the latest word about it; nil: none stands
	tried   bool         // fault was handed to the Reporter, and may have arrived
	said    bool         // it has arrived

	resay    time.Duration
	failures int       // since something arrived
	failed   time.Time // the first of them
	next     time.Time
	busy     bool // a worker has it
	index    int  // in the queue
	unsent   int
}

// permanent is an error that no repetition can mend.
type permanent interface {
	error
	Permanent() bool
}

// clearing is the end of a fault that was said.
type clearing struct {
	fault fault.Fault
	seen  fault.Sighting
}

func newOutbox(to Reporter, o Options, log *slog.Logger, metrics outboxMetrics) *outbox {
	return &outbox{
		to: to, o: o, log: log, metrics: metrics,
		wake: make(chan struct{}, 1), empty: make(chan struct{}),
		parcels: make(map[string]*parcel),
	}
}

// take notes changes, in their order. It never blocks.
func (b *outbox) take(changes []detect.Change) {
	if len(changes) == 0 {
		return
	}
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range changes {
		slot := c.Fault.Slot()
		p := b.parcels[slot]
		switch {
		case c.Kind == detect.Raised:
			if p == nil {
				p = &parcel{}
				b.parcels[slot] = p
			}
			p.fault, p.tried, p.said, p.resay = &c.Fault, false, false, b.o.ResayInitial
			b.put(slot, p, now)
		case p == nil || p.fault == nil || p.fault.ID != c.Fault.ID:
		case c.Kind == detect.StillTrue:
			p.fault = &c.Fault
		case c.Kind == detect.Cleared:
			p.fault = nil
			if p.tried {
				p.cleared = &clearing{fault: c.Fault, seen: c.By}
			}
			b.put(slot, p, now)
		}
	}
}

// put has p looked at again at that time, or lets go of it if nothing is left
// to say. While a worker has it, that happens when it is done.
func (b *outbox) put(slot string, p *parcel, at time.Time) {
	n := 0
	if p.cleared != nil {
		n++
	}
	if p.fault != nil && !p.said {
		n++
	}
	b.unsent += n - p.unsent
	p.unsent = n
	b.metrics.unsent.Set(float64(b.unsent))
	if b.flushing && b.unsent == 0 {
		b.flushed()
	}
	if p.busy {
		return
	}
	done := p.cleared == nil && p.fault == nil
	switch {
	case done || b.flushing && n == 0:
		b.queue.drop(p)
		if done {
			delete(b.parcels, slot)
		}
	default:
		b.queue.set(slot, p, at)
		b.nudge()
	}
}

func (b *outbox) nudge() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *outbox) flushed() {
	select {
	case <-b.empty:
	default:
		close(b.empty)
	}
}

// run delivers until ctx ends.
func (b *outbox) run(ctx context.Context) {
	work := make(chan entry)
	var workers sync.WaitGroup
	defer workers.Wait()
	defer close(work)
	for range b.o.Concurrency {
		workers.Go(func() {
			for e := range work {
				b.send(ctx, e)
			}
		})
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		e, wait := b.next(time.Now())
		if e.parcel != nil {
			select {
			case work <- e:
				continue
			case <-ctx.Done():
				return
			}
		}
		timer.Reset(wait)
		select {
		case <-b.wake:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

// next is the parcel that is due, or how long until one is.
func (b *outbox) next(now time.Time) (entry, time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		return entry{}, time.Hour
	}
	first := b.queue[0]
	if wait := first.parcel.next.Sub(now); wait > 0 {
		return entry{}, wait
	}
	heap.Pop(&b.queue)
	first.parcel.busy = true
	return first, 0
}

// send says the first thing that is to be said about a slot, as it stands now.
func (b *outbox) send(ctx context.Context, e entry) {
	p := e.parcel
	b.mu.Lock()
	c, f := p.cleared, p.fault
	if c == nil && f != nil {
		p.tried = true
	}
	b.mu.Unlock()

	var err error
	call, cancel := context.WithTimeout(ctx, b.o.CallTimeout)
	defer cancel()
	switch {
	case c != nil:
		err = b.to.ReportCleared(call, c.fault, c.seen)
	case f != nil:
		err = b.to.ReportFault(call, *f)
	}

	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	p.busy = false
	if err != nil && ctx.Err() != nil {
		return // we stopped, it did not fail
	}
	if last := permanent(nil); errors.As(err, &last) && last.Permanent() {
		// It was reached, and saying the same again would bring the same answer.
		b.metrics.failures.Inc()
		b.log.Error("a report was refused and is dropped", "error", err)
		err = nil
	}
	if c != nil || f != nil {
		b.health(now, err)
	}
	if err != nil {
		b.metrics.failures.Inc()
		b.put(e.slot, p, b.retry(p, now, err))
		return
	}
	p.failures = 0
	at := now
	switch {
	case c != nil:
		p.cleared = nil
	case f != nil && p.fault != nil && p.fault.ID == f.ID: // else it is over since
		p.said = true
		at = now.Add(p.resay)
		p.resay = min(2*p.resay, b.o.ResayMax)
	}
	b.put(e.slot, p, at)
}

// retry says when to try again, after an error.
func (b *outbox) retry(p *parcel, now time.Time, err error) time.Time {
	if p.failures == 0 {
		p.failed = now
	}
	p.failures++
	if p.cleared != nil && p.fault != nil && p.failures >= refusals && b.worked.After(p.failed) {
		b.log.Error("gave up on saying that a fault is over, because there is a new one in its place and only this report is refused",
			"about", p.fault.Subject(), "fault", p.cleared.fault.ID, "next", p.fault.ID, "error", err)
		p.cleared, p.failures = nil, 0
		return now
	}
	wait := min(backoffFirst<<min(p.failures-1, 10), backoffMost)
	return now.Add(wait/2 + rand.N(wait/2+1))
}

// health notes whether an attempt to reach Temporal worked. When it is back,
// everything that waits goes at once.
func (b *outbox) health(now time.Time, err error) {
	was := b.failing
	b.failing, b.tried = err, now
	switch {
	case err == nil:
		b.worked = now
		b.metrics.up.Set(1)
		if was == nil {
			return
		}
		b.log.Info("reports get through again", "unsent", b.unsent)
		for slot, p := range b.parcels {
			if p.failures > 0 && !p.busy {
				b.put(slot, p, now)
			}
		}
	case was == nil:
		b.since = now
		b.metrics.up.Set(0)
		b.log.Warn("reports do not get through: watching on, and keeping them until they do; check the address and that something runs there",
			"unsent", b.unsent, "error", err)
	}
}

// ping tries the way to Temporal while there is nothing to report, if the
// Reporter knows how.
func (b *outbox) ping(ctx context.Context) {
	pinger, ok := b.to.(Pinger)
	if !ok {
		return
	}
	tick := time.NewTicker(b.o.ResayInitial)
	defer tick.Stop()
	for {
		b.mu.Lock()
		quiet := time.Since(b.tried) >= b.o.ResayInitial
		b.mu.Unlock()
		if quiet {
			call, cancel := context.WithTimeout(ctx, b.o.CallTimeout)
			err := pinger.Ping(call)
			cancel()
			if ctx.Err() != nil {
				return
			}
			b.mu.Lock()
			b.health(time.Now(), err)
			b.mu.Unlock()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// flush tries everything unsent at once and until it is sent or time is up,
// says nothing again, and returns how much was left.
func (b *outbox) flush(limit time.Duration) int {
	b.mu.Lock()
	b.flushing = true
	if b.unsent == 0 {
		b.flushed()
	}
	now := time.Now()
	for slot, p := range b.parcels {
		b.put(slot, p, now)
	}
	b.mu.Unlock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-b.empty:
	case <-timer.C:
	}
	return b.waiting()
}

func (b *outbox) waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.unsent
}

// trouble is why the last attempt to reach the Reporter failed, or nil.
func (b *outbox) trouble() error {
	_, err := b.away()
	return err
}

// away is since when the Reporter cannot be reached, and why.
func (b *outbox) away() (time.Time, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.since, b.failing
}
