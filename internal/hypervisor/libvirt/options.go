// Package libvirt drives a host through libvirt. It is the only importer of
// libvirt.org/go/libvirt; with CGO_ENABLED=0 it compiles to a stub whose New
// says so.
//
// Three things about libvirt shape it, and each was seen on a real one:
//
//   - A call ignores the context, and a call to a host that hangs may never
//     return. So every call runs on a goroutine of its own, which outlives its
//     caller if it must.
//   - What was sent to a libvirtd that hangs is carried out when it goes on,
//     even if the connection was closed meanwhile. So ErrTimeout and
//     ErrUnreachable of a call say nothing about its effect, not even later.
//   - A connection on which one thread waits for an answer while another sends
//     a call may end the process: libvirt before 10.4, Debian 12's among them,
//     then writes to a stack that is gone (CVE-2024-4418), and does so every
//     time a keepalive runs out with two calls under way. So no two threads ever
//     use one connection: a host has one for events, and one for each call
//     under way, kept for the next. It also keeps clear of libvirtd's bound on
//     calls per connection (max_client_requests), beyond which it reads no
//     keepalive either.
package libvirt

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"
)

// Options say how to reach one host. Name and URI are needed; a zero anywhere
// else means the default.
type Options struct {
	// Name is the host's name in the site file.
	Name string
	// URI is libvirt's connection URI, such as qemu+tls://kvm1.example.net/system.
	URI string
	// Keepalive finds a connection that died without a word.
	Keepalive Keepalive
	// CallTimeout bounds a call whose context has no deadline. Default 30 s.
	CallTimeout time.Duration
	// ConnectTimeout bounds one attempt to connect. Default 5 s.
	ConnectTimeout time.Duration
	// ProbeTimeout is how long libvirtd has to answer a question that needs
	// nothing but itself, after a call has run into its deadline; if it does not,
	// the host is lost. It can be asked over plain TCP and a named Unix socket;
	// elsewhere the keepalive has to find out. Default 3 s.
	ProbeTimeout time.Duration
	// StatsPatience is how long a statistics call may take before a second one is
	// sent that leaves out the domain the first one hangs on. Default 1 s.
	StatsPatience time.Duration
	// AgentPatience is how long a guest agent has to answer, less than the 10 s
	// after which libvirt itself gives it up. Default 3 s.
	AgentPatience time.Duration
	// MaxInFlight bounds the calls under way at once, each on a connection of its
	// own. Calls that nobody waits for any more do not count, and neither do
	// storage pools and guest agents, which have up to 4 more. Default 4.
	MaxInFlight int
	// EventBuffer is how many unread events one subscriber may have. Default 1024.
	EventBuffer int
	// Logger gets what happens to the connection. Default slog.Default().
	Logger *slog.Logger
}

// agentTimeout is how many seconds libvirt gives a guest agent, and with it the
// longest that a question which nobody waits for any more is in others' way.
const agentTimeout = 10

// Keepalive asks the other end every Interval, in whole seconds, and gives the
// connection up after Count questions without an answer.
type Keepalive struct {
	Interval time.Duration // default 2 s
	Count    int           // default 3
}

func (o Options) withDefaults() (Options, error) {
	if o.Name == "" {
		return o, errors.New("a libvirt host needs a name: give it one in the site file")
	}
	u, err := url.Parse(o.URI)
	if err != nil || u.Scheme == "" {
		// The parser's error quotes the URI, which may hold a password.
		return o, fmt.Errorf("host %s: its URI cannot be read: write it like qemu+tls://kvm1.example.net/system", o.Name)
	}
	defaults(&o.Keepalive.Interval, 2*time.Second)
	defaults(&o.Keepalive.Count, 3)
	defaults(&o.CallTimeout, 30*time.Second)
	defaults(&o.ConnectTimeout, 5*time.Second)
	defaults(&o.ProbeTimeout, 3*time.Second)
	defaults(&o.StatsPatience, time.Second)
	defaults(&o.AgentPatience, 3*time.Second)
	defaults(&o.MaxInFlight, 4)
	if o.Keepalive.Interval%time.Second != 0 {
		return o, fmt.Errorf("host %s: keepalive interval %s: libvirt counts in whole seconds", o.Name, o.Keepalive.Interval)
	}
	if o.AgentPatience >= agentTimeout*time.Second {
		return o, fmt.Errorf("host %s: AgentPatience %s: libvirt gives an agent no more than %d s", o.Name, o.AgentPatience, agentTimeout)
	}
	if o.MaxInFlight < 2 {
		return o, fmt.Errorf("host %s: MaxInFlight %d: needs 2 or more, or a statistics call that hangs finds no way around", o.Name, o.MaxInFlight)
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o, nil
}

func defaults[T time.Duration | int](v *T, otherwise T) {
	if *v <= 0 {
		*v = otherwise
	}
}
