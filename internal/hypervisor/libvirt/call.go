//go:build cgo

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	lv "libvirt.org/go/libvirt"

	"holdfast/internal/hypervisor"
)

// call runs do on a link of its own, aside, and returns its result or leaves
// when ctx ends, the host is lost or the Host is closed. doing says what it is
// for, in errors. do gives back every object it gets from libvirt, for it may
// end after its caller has left, and what it returns holds none.
func call[T any](ctx context.Context, h *Host, doing string, do func(*link) (T, error)) (T, error) {
	return callWithin(ctx, h, mostStuck, doing, do)
}

// callWithin is call, unless that many calls hang already.
func callWithin[T any](ctx context.Context, h *Host, most int32, doing string, do func(*link) (T, error)) (T, error) {
	return callIn(ctx, h, doing, func(s *session) (lane, error) {
		if n := s.stuck.Load(); n >= most {
			return lane{}, fmt.Errorf("%s on %s: %d earlier calls hang there, each on a domain whose QEMU does not answer: resume or destroy those: %w",
				doing, h.opts.Name, n, hypervisor.ErrTimeout)
		}
		return s.calls, nil
	}, do)
}

// callIn is call in the lane that choose names.
func callIn[T any](ctx context.Context, h *Host, doing string, choose func(*session) (lane, error), do func(*link) (T, error)) (T, error) {
	var none T
	ctx, cancel := h.bounded(ctx)
	defer cancel()
	if ctx.Err() != nil {
		return none, h.ended(ctx, doing)
	}
	s, err := h.session(ctx, false)
	if err != nil {
		return none, fmt.Errorf("%s: %w", doing, err)
	}
	in, err := choose(s)
	if err != nil {
		return none, err
	}
	select {
	case in.slots <- struct{}{}:
	case <-s.gone:
		return none, h.lost(doing)
	case <-ctx.Done():
		s.suspect()
		return none, h.ended(ctx, doing+", behind others that are not answered yet,")
	case <-h.ctx.Done():
		return none, h.errClosed()
	}
	replies, abandon := run(ctx, s, in, do)
	select {
	case r := <-replies:
		return finish(s, doing, r)
	case <-s.gone:
		abandon()
		return none, h.lost(doing)
	case <-ctx.Done():
		abandon()
		if errors.Is(ctx.Err(), context.DeadlineExceeded) { // else the caller changed its mind
			s.suspect()
		}
		return none, h.ended(ctx, doing)
	case <-h.ctx.Done():
		abandon()
		return none, h.errClosed()
	}
}

type reply[T any] struct {
	value T
	err   error
	alive bool // the link stood when err came
}

// run starts do on a goroutine of its own, which ends when libvirt returns. The
// slot that the caller took goes back when somebody has had the reply, or with
// abandon, which says that nobody waits for it any more; in a lane that keeps,
// when libvirt returns.
func run[T any](ctx context.Context, s *session, in lane, do func(*link) (T, error)) (replies <-chan reply[T], abandon func()) {
	out := make(chan reply[T], 1)
	if in.keeps {
		go func() {
			out <- onLink(ctx, s, do)
			<-in.slots
		}()
		return out, func() {}
	}
	var over atomic.Bool // the first who sets it gives back the slot
	go func() {
		out <- onLink(ctx, s, do)
		if over.CompareAndSwap(false, true) {
			<-in.slots
		} else {
			s.stuck.Add(-1)
		}
	}()
	return out, func() {
		s.stuck.Add(1) // first, so that it never sinks below zero
		if over.CompareAndSwap(false, true) {
			<-in.slots
		} else {
			s.stuck.Add(-1)
		}
	}
}

func onLink[T any](ctx context.Context, s *session, do func(*link) (T, error)) (r reply[T]) {
	l, err := s.borrow(ctx)
	if err != nil {
		r.err = err
		return r
	}
	if r.value, r.err = do(l); r.err != nil {
		r.alive = l.alive()
	}
	s.giveBack(l)
	return r
}

func finish[T any](s *session, doing string, r reply[T]) (T, error) {
	if r.err == nil {
		return r.value, nil
	}
	if !r.alive {
		s.suspect()
	}
	var none T
	return none, s.host.explain(doing, r.err, r.alive)
}

// bounded gives a context without a deadline the default one.
func (h *Host) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, h.opts.CallTimeout)
}

// ended is the error for a context that ended.
func (h *Host) ended(ctx context.Context, doing string) error {
	err := ctx.Err()
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s on %s: %w: %w", doing, h.opts.Name, hypervisor.ErrTimeout, err)
	}
	return fmt.Errorf("%s on %s: %w", doing, h.opts.Name, err)
}

// lost is the error for a call that was under way as the host was lost.
func (h *Host) lost(doing string) error {
	h.mu.Lock()
	why := h.lastErr
	h.mu.Unlock()
	if why == nil {
		why = hypervisor.ErrUnreachable // it is back already
	}
	return fmt.Errorf("%s on %s: the connection was lost before the answer came: %w", doing, h.opts.Name, why)
}

// domain runs do on a domain, and gives it back.
func domain[T any](ctx context.Context, h *Host, doing, uuid string, do func(*lv.Domain) (T, error)) (T, error) {
	return call(ctx, h, doing+" "+uuid, func(l *link) (T, error) {
		d, err := l.conn.LookupDomainByUUIDString(uuid)
		if err != nil {
			var none T
			return none, err
		}
		defer d.Free() //nolint:errcheck // the reference is gone whatever it says
		return do(d)
	})
}
