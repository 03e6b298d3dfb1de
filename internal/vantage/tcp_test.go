package vantage

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"holdfast/internal/fault"
)

// listen takes connections and never says a word.
func listen(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// refuses is an address that nobody listens at.
func refuses(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

// blackhole is an address that answers nothing: a socket whose backlog is full,
// for which the kernel drops every attempt to connect.
func blackhole(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	syscall.CloseOnExec(fd)
	t.Cleanup(func() { syscall.Close(fd) })
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, syscall.Listen(fd, 0))
	name, err := syscall.Getsockname(fd)
	require.NoError(t, err)
	addr := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	for range 16 {
		c, err := net.DialTimeout("tcp", addr, 200*time.Millisecond)
		if err != nil {
			require.True(t, outOfTime(err), err)
			return addr
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Fatal("the kernel does not drop connections to a full backlog: there is no other silent address on loopback")
	return ""
}

// quick is a point that takes a short silence for one.
func quick(addr string, libvirtd bool) Point {
	return &tcp{addr: Address{HostPort: addr, Libvirtd: libvirtd}, shortest: 50 * time.Millisecond}
}

func TestTCPThatAcceptsAndIsSilent(t *testing.T) {
	addr := listen(t)
	v := TCP(Address{HostPort: addr, Libvirtd: true}).Look(within(t, patience))
	assert.Equal(t, fault.HostAccepts, v.Says)
	assert.Equal(t, "tcp", v.From)
	assert.Equal(t, addr+" accepts", v.Why)
	assert.WithinDuration(t, time.Now(), v.At, patience)

	v = TCP(Address{HostPort: addr}).Look(within(t, patience))
	assert.Equal(t, fault.HostAlive, v.Says, "sshd says nothing about libvirtd")
}

func TestTCPThatRefuses(t *testing.T) {
	addr := refuses(t)
	v := TCP(Address{HostPort: addr, Libvirtd: true}).Look(within(t, patience))
	assert.Equal(t, fault.HostRefuses, v.Says)
	assert.Contains(t, v.Why, "its kernel lives, and nothing listens")

	v = TCP(Address{HostPort: addr}).Look(within(t, patience))
	assert.Equal(t, fault.HostAlive, v.Says)
}

func TestTCPThatIsSilent(t *testing.T) {
	addr := blackhole(t)
	v := quick(addr, true).Look(within(t, 300*time.Millisecond))
	assert.Equal(t, fault.HostSilent, v.Says)
	assert.Contains(t, v.Why, addr+" does not answer within ")

	v = TCP(Address{HostPort: addr, Libvirtd: true}).Look(within(t, 300*time.Millisecond))
	assert.Equal(t, fault.NoVerdict, v.Says, "a packet that was lost is no dead host")
	assert.Contains(t, v.Why, "look for at least 1.2s")

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	v = quick(addr, true).Look(ctx)
	assert.Equal(t, fault.NoVerdict, v.Says, "nobody looked")
}

// noName is longer than a name may be, so that nobody is asked for it.
var noName = strings.Repeat("x", 64)

func TestTCPThatCannotLook(t *testing.T) {
	for addr, why := range map[string]string{
		noName + ":16509": "no such host",
		"kvm1":            "is not host:port",
		"224.0.0.1:16509": "network is unreachable", // multicast: no packet leaves
	} {
		v := quick(addr, true).Look(within(t, patience))
		assert.Equal(t, fault.NoVerdict, v.Says, "%s: %s", addr, v.Why)
		assert.Contains(t, v.Why, why)
	}
}

// What no loopback can show: how the answers of networks and name servers count.
func TestWhatAttemptsMean(t *testing.T) {
	call := func(number syscall.Errno) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", number)}
	}
	const long, shortest = 3 * time.Second, time.Second
	for _, c := range []struct {
		err  error
		took time.Duration
		says fault.Verdict
		why  string
	}{
		{nil, 0, fault.HostAccepts, "accepts"},
		{call(syscall.ECONNREFUSED), 0, fault.HostRefuses, "refuses"},
		{call(syscall.EHOSTUNREACH), long, fault.HostSilent, "no route to host after 3s"},
		{call(syscall.EHOSTUNREACH), 0, fault.HostSilent, "no route to host"}, // a router says so
		{call(syscall.ETIMEDOUT), long, fault.HostSilent, "connection timed out"},
		{&net.OpError{Op: "dial", Err: context.DeadlineExceeded}, long, fault.HostSilent, "does not answer within 3s"},
		{&net.OpError{Op: "dial", Err: context.DeadlineExceeded}, 0, fault.NoVerdict, "too short to tell"},
		{&net.OpError{Op: "dial", Err: context.Canceled}, long, fault.NoVerdict, "canceled"},
		{call(syscall.ENETUNREACH), long, fault.NoVerdict, "network is unreachable"},
		{call(syscall.ENETDOWN), long, fault.NoVerdict, "network is down"},
		{call(syscall.EPERM), long, fault.NoVerdict, "not permitted"},
		{call(syscall.EMFILE), long, fault.NoVerdict, "too many open files"},
		{call(syscall.EADDRNOTAVAIL), long, fault.NoVerdict, "cannot assign"},
		{&net.DNSError{Err: "i/o timeout", Name: "kvm1", IsTimeout: true}, long, fault.NoVerdict, "i/o timeout (kvm1)"},
	} {
		f := find(c.err, c.took, shortest)
		assert.Equal(t, c.says, f.says, "%v", c.err)
		assert.Contains(t, f.why, c.why)
	}
}

// Of several addresses to a name, the one that tells most counts.
func TestTheBestOfSeveralAddresses(t *testing.T) {
	silent := find(context.DeadlineExceeded, time.Minute, time.Second)
	refuses := find(syscall.ECONNREFUSED, 0, time.Second)
	accepts := find(nil, 0, time.Second)
	unknown := find(syscall.ENETUNREACH, 0, time.Second)
	order := []finding{{}, unknown, silent, refuses, accepts}
	for i, low := range order {
		for _, high := range order[i:] {
			assert.Equal(t, high, low.better(high))
			assert.Equal(t, high, high.better(low))
		}
	}
}
