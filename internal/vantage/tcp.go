package vantage

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"holdfast/internal/fault"
)

const (
	// shortestSilence is how long nothing must answer to be called silence. Linux
	// sends a SYN that was lost again after a second.
	shortestSilence = 1200 * time.Millisecond
	// mostAddresses of one name are tried.
	mostAddresses = 8
)

// TCP is the point "tcp". It opens a connection to the address and closes it
// again, without a word.
//
// At libvirtd's own port a host accepts, or its kernel refuses because nothing
// listens. At another's, such as sshd's, both mean only that the host lives. It is
// silent if nobody answers, or the network says that it is not there. What goes
// wrong on this machine, such as a name that is not known or a route that is
// missing, is no verdict. With several addresses to a name, one that answers is
// enough.
//
// A process that does not take connections looks as if it did until its backlog
// is full, and every look takes a place in it, closed or not; after that the port
// is as silent as that of a dead host. libvirtd's backlog is max_queued_clients.
func TCP(addr Address) Point { return &tcp{addr: addr, shortest: shortestSilence} }

type tcp struct {
	addr     Address
	shortest time.Duration
}

func (p *tcp) Name() string { return "tcp" }

func (p *tcp) Look(ctx context.Context) fault.Vote {
	host, port, err := net.SplitHostPort(p.addr.HostPort)
	if err != nil {
		return vote(p.Name(), fault.NoVerdict, fmt.Sprintf("%q is not host:port", p.addr.HostPort))
	}
	all, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return vote(p.Name(), fault.NoVerdict, "cannot look: "+reason(err))
	}
	all = all[:min(len(all), mostAddresses)]
	ctx, enough := context.WithCancel(ctx)
	defer enough()
	began := time.Now()
	tried := make(chan error, len(all))
	for _, ip := range all {
		go func() { tried <- dial(ctx, net.JoinHostPort(ip.Unmap().String(), port)) }()
	}
	best := finding{rank: rankNone}
	for range all { // dials end when ctx does
		if best = best.better(find(<-tried, time.Since(began), p.shortest)); best.rank == rankAccepts {
			enough()
		}
	}
	says := best.says
	if !p.addr.Libvirtd && says.Alive() {
		says = fault.HostAlive
	}
	return vote(p.Name(), says, p.addr.HostPort+" "+best.why)
}

func dial(ctx context.Context, address string) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// rank orders findings: of several addresses of one host, the higher counts.
type rank int

const (
	rankNone    rank = iota
	rankUnknown      // it could not be tried
	rankSilent       // nothing answered
	rankRefuses      // its kernel answered
	rankAccepts      // it accepted
)

type finding struct {
	rank rank
	says fault.Verdict
	why  string
}

func (f finding) better(other finding) finding {
	if other.rank > f.rank {
		return other
	}
	return f
}

// find says what the outcome of an attempt to connect means, after so long.
// Anything that is not surely the other side's doing is no verdict.
func find(err error, took, shortest time.Duration) finding {
	took = took.Round(time.Millisecond)
	var name *net.DNSError
	switch {
	case err == nil:
		return finding{rankAccepts, fault.HostAccepts, "accepts"}
	case errors.Is(err, syscall.ECONNREFUSED):
		return finding{rankRefuses, fault.HostRefuses, "refuses: its kernel lives, and nothing listens"}
	case errors.As(err, &name): // before the timeout, which may be the name server's
		return finding{rankUnknown, fault.NoVerdict, "cannot be looked up: " + reason(err)}
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.EHOSTDOWN), errors.Is(err, syscall.ETIMEDOUT):
		return finding{rankSilent, fault.HostSilent, fmt.Sprintf("does not answer: %s after %s", reason(err), took)}
	case !outOfTime(err):
		return finding{rankUnknown, fault.NoVerdict, "cannot be looked at: " + reason(err)}
	case took < shortest:
		return finding{rankUnknown, fault.NoVerdict,
			fmt.Sprintf("did not answer within %s, which is too short to tell: look for at least %s", took, shortest)}
	}
	return finding{rankSilent, fault.HostSilent, fmt.Sprintf("does not answer within %s", took)}
}

func outOfTime(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

// reason is the innermost part of an error, which is what people look for.
func reason(err error) string {
	var number syscall.Errno
	var name *net.DNSError
	switch {
	case errors.As(err, &number):
		return number.Error()
	case errors.As(err, &name):
		return oneLine(name.Err + " (" + name.Name + ")")
	}
	return oneLine(err.Error())
}
