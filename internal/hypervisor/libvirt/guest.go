//go:build cgo

package libvirt

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	lv "libvirt.org/go/libvirt"

	"holdfast/internal/hypervisor"
)

// DiskErrors implements [hypervisor.Host].
func (h *Host) DiskErrors(ctx context.Context, uuid string) ([]hypervisor.DiskError, error) {
	return domain(ctx, h, "read the disk errors of domain", uuid, func(d *lv.Domain) ([]hypervisor.DiskError, error) {
		list, err := d.GetDiskErrors(0)
		if err != nil {
			return nil, judge(d, err, inactive)
		}
		var failed []hypervisor.DiskError
		for _, e := range list { // the binding returns an entry for every disk
			if e.Disk != "" && e.Error != lv.DOMAIN_DISK_ERROR_NONE {
				failed = append(failed, hypervisor.DiskError{Device: e.Disk, NoSpace: e.Error == lv.DOMAIN_DISK_ERROR_NO_SPACE})
			}
		}
		return failed, nil
	})
}

// GuestTime implements [hypervisor.Host]. An agent that is busy with somebody
// else's question, such as to freeze its file systems, counts as one that does
// not answer: libvirt asks one after the other.
func (h *Host) GuestTime(ctx context.Context, uuid string) (time.Time, error) {
	return h.askAgent(ctx, uuid, guestTime)
}

// guestTime asks with an end. Unless it is told otherwise, libvirt waits for
// good for an agent that has answered before and now does not, and meanwhile
// nobody can ask that agent anything: no backup could freeze the guest. It can be
// told for the domain only, not for a call, so libvirt's default is put back at
// once: who would freeze file systems in between has those seconds for it.
func guestTime(d *lv.Domain) (time.Time, error) {
	err := d.AgentSetResponseTimeout(agentTimeout, 0)
	switch {
	case err == nil:
		defer d.AgentSetResponseTimeout(int(lv.DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK), 0) //nolint:errcheck // it is not active any more, or the next time does it
	case !noSupport(err): // libvirt before 5.10 has none
		return time.Time{}, judge(d, err, inactive)
	}
	sec, nsec, err := d.GetTime(0)
	if hasCode(err, lv.ERR_ARGUMENT_UNSUPPORTED) || hasCode(err, lv.ERR_NO_SUPPORT) {
		return time.Time{}, fmt.Errorf("it has none in its definition: %w", hypervisor.ErrNoAgent)
	}
	if err != nil {
		return time.Time{}, judge(d, err, inactive)
	}
	return time.Unix(sec, int64(nsec)), nil
}

// question is one to a guest agent, for all who ask the same meanwhile.
type question struct {
	mute chan struct{} // closed when the agent has been silent for AgentPatience
	done chan struct{} // closed when time and err are set
	time time.Time
	err  error
}

// askAgent asks, or joins those who wait for the same agent's answer: libvirt
// would ask again only after that, and each who waits takes a connection.
func (h *Host) askAgent(ctx context.Context, uuid string, ask func(*lv.Domain) (time.Time, error)) (time.Time, error) {
	ctx, cancel := h.bounded(ctx)
	defer cancel()
	doing := "ask the guest agent of domain " + uuid
	if ctx.Err() != nil {
		return time.Time{}, h.ended(ctx, doing)
	}
	h.mu.Lock()
	q := h.questions[uuid]
	if q == nil {
		q = &question{mute: make(chan struct{}), done: make(chan struct{})}
		h.questions[uuid] = q
		go h.answer(q, uuid, doing, ask)
	}
	h.mu.Unlock()
	select {
	case <-q.done:
		return q.time, q.err
	case <-q.mute:
		return time.Time{}, fmt.Errorf("%s on %s: no answer in %s: %w", doing, h.opts.Name, h.opts.AgentPatience, hypervisor.ErrNoAgent)
	case <-ctx.Done():
		return time.Time{}, h.ended(ctx, doing)
	case <-h.ctx.Done():
		return time.Time{}, h.errClosed()
	}
}

// answer gets q answered. q stays the question of its domain until libvirt has
// returned, or it is clear that libvirt will not be called.
func (h *Host) answer(q *question, uuid, doing string, ask func(*lv.Domain) (time.Time, error)) {
	defer close(q.done)
	ctx, cancel := context.WithTimeout(context.Background(), h.opts.CallTimeout) // of none of those who wait; Close ends it, too
	defer cancel()
	var begun atomic.Bool
	apart := func(s *session) (lane, error) { return s.agents, nil }
	q.time, q.err = callIn(ctx, h, doing, apart, func(l *link) (time.Time, error) {
		begun.Store(true)
		defer h.forget(uuid, q)
		d, err := l.conn.LookupDomainByUUIDString(uuid)
		if err != nil {
			return time.Time{}, err
		}
		defer d.Free() //nolint:errcheck // the reference is gone whatever it says
		// From here on libvirtd has answered, and it is the agent that has to.
		patience := time.AfterFunc(h.opts.AgentPatience, func() { close(q.mute) })
		defer patience.Stop()
		return ask(d)
	})
	if !begun.Load() {
		h.forget(uuid, q)
	}
}

func (h *Host) forget(uuid string, q *question) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.questions[uuid] == q {
		delete(h.questions, uuid)
	}
}
