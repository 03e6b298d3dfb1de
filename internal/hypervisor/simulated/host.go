package simulated

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/internal/hypervisor"
)

// host is one connection to a machine.
type host struct {
	m    *machine
	done context.Context // ends with Close
	end  context.CancelFunc
}

var _ hypervisor.Host = (*host)(nil)

func newHost(m *machine) *host {
	h := &host{m: m}
	h.done, h.end = context.WithCancel(context.Background())
	return h
}

func (h *host) Name() string { return h.m.name }

func (h *host) Connect(ctx context.Context) error {
	_, err := call(ctx, h, func(done func(struct{}, error)) { done(struct{}{}, nil) })
	return err
}

func (h *host) Domains(ctx context.Context) ([]hypervisor.Domain, error) {
	return call(ctx, h, func(done func([]hypervisor.Domain, error)) {
		out := make([]hypervisor.Domain, 0, len(h.m.order))
		for _, d := range h.m.order {
			out = append(out, d.view())
		}
		done(out, nil)
	})
}

func (h *host) Domain(ctx context.Context, uuid string) (hypervisor.Domain, error) {
	return about(ctx, h, uuid, func(d *domain, done func(hypervisor.Domain, error)) { done(d.view(), nil) })
}

func (h *host) Definition(ctx context.Context, uuid string) (string, error) {
	return about(ctx, h, uuid, func(d *domain, done func(string, error)) { done(d.definition(), nil) })
}

func (h *host) Start(ctx context.Context, uuid string) error {
	return h.act(ctx, uuid, func(d *domain, done func(error)) {
		if d.state.Active() {
			done(fmt.Errorf("start %s on %s: it is %s: %w", d.vm.name, h.m.name, d.state, hypervisor.ErrAlreadyActive))
			return
		}
		d.start(done)
	})
}

func (h *host) Destroy(ctx context.Context, uuid string) error {
	return h.act(ctx, uuid, func(d *domain, done func(error)) {
		if !d.state.Active() {
			done(d.notActive("destroy"))
			return
		}
		d.destroy()
		done(nil)
	})
}

func (h *host) Reset(ctx context.Context, uuid string) error {
	return h.act(ctx, uuid, func(d *domain, done func(error)) {
		d.monitor(func() {
			if !d.state.Active() {
				done(d.notActive("reset"))
				return
			}
			d.reset()
			done(nil)
		})
	})
}

func (h *host) Resume(ctx context.Context, uuid string) error {
	return h.act(ctx, uuid, func(d *domain, done func(error)) {
		d.monitor(func() {
			switch {
			case !d.state.Active():
				done(fmt.Errorf("%w: %w", d.notActive("resume"), hypervisor.ErrInvalidState))
			case d.state != hypervisor.StatePaused:
				done(fmt.Errorf("resume %s on %s: it is %s, not paused: %w",
					d.vm.name, h.m.name, d.state, hypervisor.ErrInvalidState))
			default:
				d.resume()
				done(nil)
			}
		})
	})
}

// Stats makes three pieces of memory, however many domains there are: a site
// may have tens of thousands that are sampled every few seconds.
func (h *host) Stats(ctx context.Context) ([]hypervisor.DomainStats, error) {
	return call(ctx, h, func(done func([]hypervisor.DomainStats, error)) {
		now := time.Now()
		n := len(h.m.order)
		out := make([]hypervisor.DomainStats, 0, n)
		blocks, nics := make([]hypervisor.BlockStats, n), make([]hypervisor.NetStats, n)
		for i, d := range h.m.order {
			if d.state.Active() && !d.hung {
				out = out[:len(out)+1]
				d.sample(now, &out[len(out)-1], blocks[i:i+1:i+1], nics[i:i+1:i+1])
			}
		}
		done(out, nil)
	})
}

func (h *host) Events(ctx context.Context) (<-chan hypervisor.Event, error) {
	if h.done.Err() != nil {
		return nil, h.closed()
	}
	// The subscription ends with whichever of the two contexts ends first; the
	// hub's reader then lets go of both.
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(h.done, cancel)
	context.AfterFunc(ctx, func() { stop() })
	return h.m.hub.Subscribe(ctx)
}

func (h *host) Close() error {
	h.end()
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	h.m.endTrials(func(d *domain) bool { return d.onTrial.maker == h })
	return nil
}

func (h *host) closed() error {
	return fmt.Errorf("host %s: %w", h.m.name, hypervisor.ErrClosed)
}

// about is a call about one domain.
func about[T any](ctx context.Context, h *host, uuid string, serve func(d *domain, done func(T, error))) (T, error) {
	return call(ctx, h, func(done func(T, error)) {
		d, err := h.m.find(uuid)
		if err != nil {
			var none T
			done(none, err)
			return
		}
		serve(d, done)
	})
}

// act is a call that does something to one domain.
func (h *host) act(ctx context.Context, uuid string, serve func(d *domain, done func(error))) error {
	_, err := about(ctx, h, uuid, func(d *domain, done func(struct{}, error)) {
		serve(d, func(err error) { done(struct{}{}, err) })
	})
	return err
}

type reply[T any] struct {
	value T
	err   error
}

// call sends a request to the machine and waits for its reply, the end of ctx,
// or the loss of the connection. serve runs under the machine's lock and calls
// done once, at any time. As with a real libvirtd, a request that was sent is
// carried out whether or not its caller still waits.
func call[T any](ctx context.Context, h *host, serve func(done func(T, error))) (T, error) {
	var none T
	if err := h.latency(ctx); err != nil {
		return none, err
	}
	replies := make(chan reply[T], 1) // never blocks whoever answers
	h.m.mu.Lock()
	err := h.m.submit(func() {
		serve(func(v T, err error) { replies <- reply[T]{v, err} })
	})
	gone := h.m.gone
	h.m.mu.Unlock()
	if err != nil {
		return none, err
	}
	select {
	case r := <-replies: // an answer that is there beats a connection that just went
		return r.value, r.err
	default:
	}
	select {
	case r := <-replies:
		return r.value, r.err
	case <-gone:
		h.m.mu.Lock()
		defer h.m.mu.Unlock()
		return none, h.m.unreachable()
	case <-ctx.Done():
		return none, h.ended(ctx)
	case <-h.done.Done():
		return none, h.closed()
	}
}

// latency is the way to the host and back. It also finds a context or a Host
// that has already ended.
func (h *host) latency(ctx context.Context) error {
	if h.done.Err() != nil {
		return h.closed()
	}
	if ctx.Err() != nil {
		return h.ended(ctx)
	}
	if h.m.opts.CallLatency <= 0 {
		return nil
	}
	timer := time.NewTimer(h.m.opts.CallLatency)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return h.ended(ctx)
	case <-h.done.Done():
		return h.closed()
	}
}

func (h *host) ended(ctx context.Context) error {
	err := ctx.Err()
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("host %s: %w: %w", h.m.name, hypervisor.ErrTimeout, err)
	}
	return fmt.Errorf("host %s: %w", h.m.name, err)
}
