// Package broadcast hands the events of one host to any number of readers
// without ever waiting for one of them: the publisher may be libvirt's event
// loop, which serves every host of the process.
package broadcast

import (
	"context"
	"fmt"
	"sync"

	"holdfast/internal/hypervisor"
)

// DefaultBuffer is how many undelivered events a reader may have before it
// loses some. A host of 200 VMs that all restart makes about 600.
const DefaultBuffer = 1024

// Hub is the events of one host. The zero value is ready, with [DefaultBuffer].
type Hub struct {
	// Buffer is how many undelivered events one reader may have; less than 4
	// means DefaultBuffer. Set it before the first use.
	Buffer int

	mu      sync.Mutex
	closed  bool
	subs    map[*subscriber]struct{}
	current *hypervisor.Event // latest connection event
}

type subscriber struct {
	mu    sync.Mutex
	queue []hypervisor.Event
	wake  chan struct{} // capacity 1: there is something in queue
	end   chan struct{} // closed by Hub.Close
}

// Subscribe delivers events until ctx ends or the Hub is closed; then the
// channel is closed. The latest connection event, if there was one, comes first.
// It returns ctx's error if ctx has ended, and [hypervisor.ErrClosed] after Close.
func (h *Hub) Subscribe(ctx context.Context) (<-chan hypervisor.Event, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("subscribe to events: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, hypervisor.ErrClosed
	}
	s := &subscriber{wake: make(chan struct{}, 1), end: make(chan struct{})}
	if h.current != nil {
		s.push(*h.current, h.buffer())
	}
	if h.subs == nil {
		h.subs = make(map[*subscriber]struct{})
	}
	h.subs[s] = struct{}{}
	out := make(chan hypervisor.Event)
	go func() {
		defer close(out)
		s.pump(ctx, out)
		h.mu.Lock()
		delete(h.subs, s)
		h.mu.Unlock()
	}()
	return out, nil
}

// Publish hands ev to every reader and never blocks. A connection event that
// repeats the one before it is dropped.
func (h *Hub) Publish(ev hypervisor.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	if isConnection(ev) {
		if h.current != nil && h.current.Kind == ev.Kind {
			return
		}
		h.current = &ev
	}
	for s := range h.subs {
		s.push(ev, h.buffer())
	}
}

// Close ends every subscription. What was not read by then is dropped.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	h.closed = true
	for s := range h.subs {
		close(s.end)
	}
}

func (h *Hub) buffer() int {
	if h.Buffer < 4 {
		return DefaultBuffer
	}
	return h.Buffer
}

// push adds ev, and makes room first if there is none: every event about a
// domain goes, because whoever missed one must list again anyway, and an
// Overflow says so.
func (s *subscriber) push(ev hypervisor.Event, limit int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) >= limit {
		s.shed(ev)
	}
	s.queue = append(s.queue, ev)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *subscriber) shed(next hypervisor.Event) {
	kept := make([]hypervisor.Event, 0, 4)
	for _, ev := range s.queue {
		if isConnection(ev) {
			kept = append(kept, ev)
		}
	}
	// A host that flaps for hours against a reader that is stuck: the last loss
	// and where it stands now is all that can still matter.
	if len(kept) > len(s.queue)/2 {
		kept = kept[len(kept)-2:]
	}
	kept = append(kept, hypervisor.Event{Host: next.Host, Kind: hypervisor.EventOverflow, At: next.At})
	s.queue = kept
}

func (s *subscriber) pump(ctx context.Context, out chan<- hypervisor.Event) {
	for {
		ev, ok := s.pop()
		if !ok {
			select {
			case <-s.wake:
				continue
			case <-s.end:
				return
			case <-ctx.Done():
				return
			}
		}
		select {
		case out <- ev:
		case <-s.end:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (s *subscriber) pop() (hypervisor.Event, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return hypervisor.Event{}, false
	}
	ev := s.queue[0]
	s.queue = s.queue[1:]
	if len(s.queue) == 0 {
		s.queue = nil // a burst must not pin its memory for good
	}
	return ev, true
}

func isConnection(ev hypervisor.Event) bool {
	return ev.Kind == hypervisor.EventConnectionUp || ev.Kind == hypervisor.EventConnectionDown
}
