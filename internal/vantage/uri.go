package vantage

import (
	"net"
	"net/url"
	"strings"
)

// Address is where a host can be reached by TCP.
type Address struct {
	HostPort string // as net.Dial takes it
	// Libvirtd: it is libvirtd that listens there. Otherwise it is sshd, say, and
	// the port tells nothing about libvirtd.
	Libvirtd bool
}

// remotePorts are those of libvirt's transports that cross a network. Test
// TestPortsAreThoseOfTheSiteFile holds them against the site file's reader.
var remotePorts = map[string]Address{
	"tcp":     {HostPort: "16509", Libvirtd: true},
	"tls":     {HostPort: "16514", Libvirtd: true},
	"ssh":     {HostPort: "22"},
	"libssh":  {HostPort: "22"},
	"libssh2": {HostPort: "22"},
}

// FromURI returns where the connection of a libvirt URI goes, as a site file has
// it. ok is false where it crosses no network (unix), or nobody knows which (ext),
// or what is given is no URI: then there is nothing to look at.
func FromURI(uri string) (addr Address, ok bool) {
	u, err := url.Parse(uri)
	if err != nil || u.Hostname() == "" {
		return Address{}, false
	}
	_, transport, given := strings.Cut(u.Scheme, "+")
	if !given {
		transport = "tls" // of a URI with a host
	}
	addr, ok = remotePorts[transport]
	if !ok {
		return Address{}, false
	}
	port := u.Port()
	if port == "" {
		port = addr.HostPort
	}
	addr.HostPort = net.JoinHostPort(u.Hostname(), port)
	return addr, true
}
