//go:build cgo

package libvirt

import (
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	lv "libvirt.org/go/libvirt"

	"holdfast/internal/hypervisor"
)

// link is one connection of libvirt's. One goroutine at a time uses it, and the
// last one closes it: see the rule in the package's documentation.
type link struct {
	host  *Host
	conn  *lv.Connect
	raw   unsafe.Pointer // conn's virConnectPtr, with a reference of its own
	unref func()

	callbacks []int // what DomainEventDeregister needs
}

// Connections opened, closed, and not given back because somebody still
// holds a reference: for the tests, where the last must stay 0.
var opened, closed, leaked atomic.Int64

// openLink connects. It takes as long as libvirt takes, which may be for good.
func openLink(h *Host) (*link, error) {
	conn, err := lv.NewConnectWithAuth(h.addr.uri, refuseToType, 0)
	if err != nil {
		return nil, err
	}
	opened.Add(1)
	l := &link{host: h, conn: conn}
	if err := l.equip(); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *link) equip() error {
	raw, err := l.conn.RawPtr()
	if err != nil {
		return err
	}
	l.raw = unsafe.Pointer(raw)
	l.unref = func() { _, _ = lv.CloseRawPtr(raw) }
	keepalive := l.host.opts.Keepalive
	err = l.conn.SetKeepAlive(int(keepalive.Interval/time.Second), uint(keepalive.Count))
	if err != nil && !noSupport(err) {
		return fmt.Errorf("set keepalive: %w", err)
	}
	return nil
}

// noSupport: libvirt's test driver, and a local connection without a daemon,
// have no keepalive and nothing that could be lost. The binding turns "not
// supported" of the keepalive into an error without a code.
func noSupport(err error) bool {
	return hasCode(err, lv.ERR_NO_SUPPORT) || hasCode(err, lv.ERR_OK)
}

// alive asks libvirt's own books whether the connection stands. It asks nobody.
func (l *link) alive() bool {
	alive, err := l.conn.IsAlive()
	return err == nil && alive
}

// close gives the connection back. It may ask a host that does not answer; the
// keepalive ends that.
func (l *link) close() {
	for _, id := range l.callbacks { // each holds a reference to the connection
		_ = l.conn.DomainEventDeregister(id) // gone on our side even if the host does not hear of it
	}
	_ = l.conn.UnregisterCloseCallback()
	if l.unref != nil {
		l.unref()
	}
	l.waitLast()
	left, err := l.conn.Close()
	closed.Add(1)
	if err != nil || left > 0 {
		leaked.Add(1)
		l.host.log.Warn("libvirt connection was not given back", "references", left, "error", err)
	}
}

// waitLast waits until the event loop has let go of the connection, which it
// holds until it has gone round after the callbacks were taken back. If it were
// the last to let go it would take leave of the host, and make every other host
// wait for this one's answer. virConnectClose does not tell how many hold one.
func (l *link) waitLast() {
	for range 2 { // the first may be the round in which they were taken back
		if err := awaitRound(); err != nil {
			l.host.log.Warn("libvirt's event loop is late", "error", err)
			return
		}
	}
}

// watch has lost called, once, when the connection is lost, and tell for every
// event. Both run on the process's event loop, which serves every host, and must
// not wait.
func (l *link) watch(lost func(why string), tell func(hypervisor.Event)) error {
	err := l.conn.RegisterCloseCallback(func(_ *lv.Connect, why lv.ConnectCloseReason) { lost(closeWords[why]) })
	if err != nil && !noSupport(err) {
		return fmt.Errorf("watch the connection: %w", err)
	}
	// Name and UUID are in the object, so asking for them asks nobody.
	about := func(d *lv.Domain, kind hypervisor.EventKind, why hypervisor.Reason) {
		ev := l.host.event(kind, why)
		ev.UUID, _ = d.GetUUIDString()
		ev.Name, _ = d.GetName()
		tell(ev)
	}
	for _, register := range []func() (int, error){
		func() (int, error) {
			return l.conn.DomainEventLifecycleRegister(nil, func(_ *lv.Connect, d *lv.Domain, ev *lv.DomainEventLifecycle) {
				if words, known := lifecycleWords[ev.Event]; known { // a later libvirt's show in the listing
					about(d, words.kind, at(words.details, ev.Detail))
				}
			})
		},
		func() (int, error) {
			return l.conn.DomainEventRebootRegister(nil, func(_ *lv.Connect, d *lv.Domain) {
				about(d, hypervisor.EventRebooted, "")
			})
		},
		func() (int, error) {
			return l.conn.DomainEventWatchdogRegister(nil, func(_ *lv.Connect, d *lv.Domain, ev *lv.DomainEventWatchdog) {
				about(d, hypervisor.EventWatchdog, at(watchdogWords, int(ev.Action)))
			})
		},
		func() (int, error) {
			return l.conn.DomainEventIOErrorReasonRegister(nil, func(_ *lv.Connect, d *lv.Domain, ev *lv.DomainEventIOErrorReason) {
				about(d, hypervisor.EventIOError, ioErrorWord(ev.Reason))
			})
		},
	} {
		id, err := register()
		if noSupport(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("subscribe to events: %w", err)
		}
		l.callbacks = append(l.callbacks, id)
	}
	return nil
}
