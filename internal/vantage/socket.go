package vantage

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/url"
	"strings"
	"syscall"

	"holdfast/internal/fault"
)

// sockets are where libvirt's daemons listen on the machine they run on: the
// modular one for QEMU, and the one that does everything.
var sockets = []string{"/run/libvirt/virtqemud-sock", "/run/libvirt/libvirt-sock"}

// SocketsFromURI returns the sockets that a libvirt URI of this machine may mean;
// ok is false where it goes to another one.
func SocketsFromURI(uri string) (paths []string, ok bool) {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme == "" || u.Hostname() != "" {
		return nil, false
	}
	if _, transport, given := strings.Cut(u.Scheme, "+"); given && transport != "unix" {
		return nil, false
	}
	if own := u.Query().Get("socket"); own != "" {
		return []string{own}, true
	}
	return sockets, true
}

// Socket looks at a libvirtd on this machine, whose kernel lives for certain.
func Socket(paths []string) Point { return &socket{paths} }

type socket struct{ paths []string }

func (p *socket) Name() string { return "socket" }

func (p *socket) Look(ctx context.Context) fault.Vote {
	var dialer net.Dialer
	why := "nothing listens on " + strings.Join(p.paths, " or ")
	for _, path := range p.paths {
		conn, err := dialer.DialContext(ctx, "unix", path)
		switch {
		case err == nil:
			_ = conn.Close()
			return vote(p.Name(), fault.HostAccepts, path+" accepts")
		case errors.Is(err, syscall.EAGAIN):
			return vote(p.Name(), fault.HostAccepts, path+" accepts no more: whoever listens there has not for long")
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		default:
			return vote(p.Name(), fault.HostAlive, path+" cannot be tried: "+oneLine(err.Error()))
		}
	}
	return vote(p.Name(), fault.HostRefuses, why)
}
