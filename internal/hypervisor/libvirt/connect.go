//go:build cgo

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	lv "libvirt.org/go/libvirt"

	"holdfast/internal/hypervisor"
)

const (
	firstBackoff = 100 * time.Millisecond
	maxBackoff   = 10 * time.Second
	// Attempts that libvirt does not come back from hold a thread each. From
	// this many on, new ones get rare.
	fewHungAttempts = 2
	maxHungBackoff  = 10 * time.Minute
)

// refuseToType: user and password come from libvirt's auth file. Whatever is
// asked beyond it gets no answer, because there is nobody at the keyboard.
var refuseToType = &lv.ConnectAuth{
	CredType: []lv.ConnectCredentialType{
		lv.CRED_USERNAME, lv.CRED_AUTHNAME, lv.CRED_PASSPHRASE, lv.CRED_NOECHOPROMPT, lv.CRED_ECHOPROMPT, lv.CRED_REALM,
	},
	Callback: func(creds []*lv.ConnectCredential) {
		for _, c := range creds {
			c.ResultLen = -1
		}
	},
}

// attempt is one try to connect that callers wait for.
type attempt struct {
	done    chan struct{} // closed when session and err are set
	session *session
	err     error
}

// session returns the one that stands. If there is none it opens one, or joins
// whoever is opening one; but while the host is known to be down, all but one
// fail at once, and before the next try is due that one does too. Patient
// callers join in any case.
func (h *Host) session(ctx context.Context, patient bool) (*session, error) {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil, h.errClosed()
	}
	if h.current != nil {
		s := h.current
		h.mu.Unlock()
		return s, nil
	}
	a := h.attempt
	switch {
	case a == nil && time.Now().Before(h.nextTry):
		err := h.downLocked()
		h.mu.Unlock()
		return nil, err
	case a == nil:
		a = h.beginLocked()
	case h.failures > 0 && !patient:
		err := h.downLocked()
		h.mu.Unlock()
		return nil, err
	}
	h.mu.Unlock()
	select {
	case <-a.done:
		return a.session, a.err
	case <-ctx.Done():
		return nil, h.ended(ctx, "connect")
	case <-h.ctx.Done():
		return nil, h.errClosed()
	}
}

// downLocked says that the host is down, since what, and until when it is no
// use to ask.
func (h *Host) downLocked() error {
	wait := "a new attempt is under way"
	if h.attempt == nil {
		wait = "next attempt in " + time.Until(h.nextTry).Round(time.Millisecond).String()
	}
	return fmt.Errorf("host %s is down (%s): %w", h.opts.Name, wait, h.lastErr)
}

// beginLocked starts an attempt.
func (h *Host) beginLocked() *attempt {
	a := &attempt{done: make(chan struct{})}
	h.attempt = a
	go func() {
		s, err := h.dial()
		h.settle(a, s, err)
	}()
	return a
}

// dial opens a session, or returns after ConnectTimeout or Close. A session that
// libvirt brings later is not lost: it is used, if one is still needed.
func (h *Host) dial() (*session, error) {
	ctx, cancel := context.WithTimeout(h.ctx, h.opts.ConnectTimeout)
	defer cancel()
	if err := h.addr.reach(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", err, hypervisor.ErrUnreachable)
	}
	type opening struct {
		session *session
		err     error
	}
	result := make(chan opening)
	h.mu.Lock()
	h.dialing++
	h.mu.Unlock()
	go func() {
		s, err := openSession(h)
		h.mu.Lock()
		h.dialing--
		h.mu.Unlock()
		select {
		case result <- opening{s, err}:
		case <-ctx.Done():
			if err == nil {
				h.settle(nil, s, nil)
			}
		}
	}()
	select {
	case o := <-result:
		if o.err != nil {
			return nil, h.explain("connect to "+h.addr.shown, o.err, false)
		}
		return o.session, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("connect to %s: no answer in %s: %w", h.addr.shown, h.opts.ConnectTimeout, hypervisor.ErrUnreachable)
	}
}

// settle ends attempt a (nil: one that was given up before), with a session or
// an error.
func (h *Host) settle(a *attempt, s *session, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s != nil {
		err = h.installLocked(s)
	}
	if a == nil {
		return
	}
	if err != nil {
		h.failedLocked(err)
	}
	a.session, a.err = h.current, err
	h.attempt = nil
	close(a.done)
}

// installLocked makes s the current session, if none stands and s is still good.
func (h *Host) installLocked(s *session) error {
	switch {
	case h.closed:
		s.end()
		return h.errClosed()
	case h.current != nil: // an older attempt came through late
		s.end()
		return nil
	case s.isGone():
		s.end()
		return fmt.Errorf("connect to %s: the connection broke at once: %w", h.addr.shown, hypervisor.ErrUnreachable)
	}
	h.current = s
	h.failures, h.lastErr = 0, nil
	h.log.Info("connected to host", "uri", h.addr.shown)
	h.hub.Publish(h.event(hypervisor.EventConnectionUp, ""))
	h.changedLocked()
	return nil
}

// failedLocked books a failed attempt or a lost connection and sets the next try.
func (h *Host) failedLocked(err error) {
	if h.closed {
		return
	}
	if !errors.Is(err, hypervisor.ErrUnreachable) && !errors.Is(err, hypervisor.ErrAccess) {
		err = fmt.Errorf("%w: %w", hypervisor.ErrUnreachable, err)
	}
	h.failures++
	h.lastErr = err
	h.nextTry = time.Now().Add(h.backoffLocked())
	if h.failures == 1 {
		h.log.Warn("no connection to host", "uri", h.addr.shown, "error", err)
	} else {
		h.log.Debug("still no connection to host", "uri", h.addr.shown, "error", err, "attempt", h.failures)
	}
	h.hub.Publish(h.event(hypervisor.EventConnectionDown, hypervisor.Reason(err.Error())))
}

// backoffLocked doubles from 100 ms to 10 s, plus or minus a quarter, so that
// the hosts of a site that came back together are not asked together.
func (h *Host) backoffLocked() time.Duration {
	wait := maxBackoff
	if n := h.failures - 1; n < 7 {
		wait = min(firstBackoff<<n, maxBackoff)
	}
	if over := h.dialing - fewHungAttempts; over >= 0 {
		wait = min(time.Minute<<min(over, 4), maxHungBackoff)
	}
	return wait*3/4 + rand.N(wait/2)
}

// drop gives s up, if it is still the current session. It never waits, so it
// may be called from the event loop.
func (h *Host) drop(s *session, why string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.isGone() {
		return
	}
	close(s.gone)
	if h.current != s {
		return // not settled yet, or over already
	}
	s.end()
	h.current = nil
	h.failures = 0
	h.failedLocked(fmt.Errorf("%s: %w", why, hypervisor.ErrUnreachable))
	h.changedLocked()
}

// changedLocked wakes the keeper.
func (h *Host) changedLocked() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// keep holds the connection up for those who listen to events. It ends with the Host.
func (h *Host) keep() {
	for h.ctx.Err() == nil {
		_, _ = h.session(h.ctx, true) // the failure is booked, logged and published where it happens
		h.mu.Lock()
		changed, up, wait := h.changed, h.current != nil, time.Until(h.nextTry)
		h.mu.Unlock()
		var due <-chan time.Time
		if !up {
			due = time.After(wait)
		}
		select {
		case <-due:
		case <-changed:
		case <-h.ctx.Done():
		}
	}
}
