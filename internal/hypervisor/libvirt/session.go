//go:build cgo

package libvirt

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/internal/hypervisor"
)

// session is what there is of a host from the moment it was reached until it is
// lost: one link that carries the events and, having nothing else to do, tells
// by its keepalive whether the host lives; and links for calls, made as needed.
type session struct {
	host  *Host
	watch *link
	gone  chan struct{} // closed when the host is lost: callers need not wait

	calls  lane         // all but those of the others
	stuck  atomic.Int32 // calls of that lane under way that nobody waits for any more
	agents lane         // questions to guest agents
	pools  lane         // listings of storage pools
	dumps  lane         // of guests' memory, which take minutes
	// snapshots that are made or deleted, which take as long as there is memory or
	// disk. A revert is a repair: it goes with the calls.
	snapshots lane
	backups   lane // their steps: what reads or writes a piece, or looks how far a job is
	copies    lane // of whole disks, which take as long as they are big
	trials    lane // that are begun or ended

	mu   sync.Mutex
	over bool    // no link is kept any more
	idle []*link // for calls, and alive when they were put here

	probing atomic.Bool
	probed  atomic.Int64 // Unix time in ns when the last probe ended
}

// lane bounds the calls of one sort that are under way at once.
type lane struct {
	slots chan struct{} // one for each call that somebody waits for
	// keeps: a call keeps its slot until libvirt returns, so that no more than
	// there are slots ever hang, and what hangs here is in nobody else's way.
	keeps bool
}

// Calls that do not return each hold one of libvirtd's workers, of which there
// are 20 by default, and only their domain's end gives it back. Statistics,
// which nobody needs to act, stop first. A guest agent and storage that is gone
// hang by themselves, while QEMU and libvirtd are well: so these have lanes of
// their own, with a slot for the clocks that are read one after the other, and
// some for the guests that are suspected.
const (
	mostStuckForStats = 4
	mostStuck         = 12
	agentsAtOnce      = 3
	poolsAtOnce       = 1
	dumpsAtOnce       = 1
	snapshotsAtOnce   = 2
	backupsAtOnce     = 3
	copiesAtOnce      = 2
	trialsAtOnce      = 2
)

// openSession reaches the host and subscribes to its events. Like openLink, it
// may take for good.
func openSession(h *Host) (*session, error) {
	l, err := openLink(h)
	if err != nil {
		return nil, err
	}
	s := &session{
		host: h, watch: l,
		gone:   make(chan struct{}),
		calls:  lane{slots: make(chan struct{}, h.opts.MaxInFlight)},
		agents: lane{slots: make(chan struct{}, agentsAtOnce), keeps: true},
		pools:  lane{slots: make(chan struct{}, poolsAtOnce), keeps: true},
		dumps:  lane{slots: make(chan struct{}, dumpsAtOnce), keeps: true},

		snapshots: lane{slots: make(chan struct{}, snapshotsAtOnce), keeps: true},
		backups:   lane{slots: make(chan struct{}, backupsAtOnce), keeps: true},
		copies:    lane{slots: make(chan struct{}, copiesAtOnce), keeps: true},
		trials:    lane{slots: make(chan struct{}, trialsAtOnce), keeps: true},
	}
	lost := func(why string) { h.drop(s, why) }
	if err := l.watch(lost, func(ev hypervisor.Event) { h.publish(s, ev) }); err != nil {
		l.close()
		return nil, err
	}
	return s, nil
}

// isGone is to be asked with the Host's lock held, as gone is closed with it.
func (s *session) isGone() bool {
	select {
	case <-s.gone:
		return true
	default:
		return false
	}
}

// end gives back what nobody uses, aside, and sees to it that the rest is
// given back by whoever uses it. It is called once, and not before the session
// has been settled.
func (s *session) end() {
	s.mu.Lock()
	s.over = true
	idle := s.idle
	s.idle = nil
	s.mu.Unlock()
	go s.watch.close()
	for _, l := range idle {
		go l.close()
	}
}

// borrow returns a link that nobody else uses. Its user gives it back.
func (s *session) borrow(ctx context.Context) (*link, error) {
	for {
		s.mu.Lock()
		var l *link
		if n := len(s.idle); n > 0 {
			l, s.idle = s.idle[n-1], s.idle[:n-1]
		}
		s.mu.Unlock()
		if l == nil {
			break
		}
		if l.alive() {
			return l, nil
		}
		l.close()
	}
	// libvirt's connect has no end if nobody answers, and no keepalive yet.
	if err := s.host.addr.reach(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", err, hypervisor.ErrUnreachable)
	}
	return openLink(s.host)
}

func (s *session) giveBack(l *link) {
	keep := l.alive()
	s.mu.Lock()
	if keep = keep && !s.over; keep {
		s.idle = append(s.idle, l)
	}
	s.mu.Unlock()
	if !keep {
		l.close()
	}
}

// suspect is told of a call that came to nothing. That may be its domain's
// fault, whose QEMU hangs, or the host's: so the host is asked something that
// takes nothing but libvirtd itself. Where that cannot be asked, the keepalive
// finds out, a little later.
func (s *session) suspect() {
	h := s.host
	const often = time.Second // callers in a hurry must not make a probe of every call
	if !h.addr.speaks || time.Since(time.Unix(0, s.probed.Load())) < often || !s.probing.CompareAndSwap(false, true) {
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(h.ctx, h.opts.ProbeTimeout)
		defer cancel()
		err := h.addr.reach(ctx)
		if err != nil && h.ctx.Err() == nil {
			h.drop(s, h.addr.clean(err.Error()))
		}
		s.probed.Store(time.Now().UnixNano())
		s.probing.Store(false)
	}()
}
