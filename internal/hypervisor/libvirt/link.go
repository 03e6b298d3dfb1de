//go:build cgo

package libvirt

import (
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	lv "libvirt.org/go/libvirt"
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
