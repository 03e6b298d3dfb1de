//go:build cgo

package libvirt

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/hypervisor"
)

// These need no host: libvirt's own test driver lives in the library, and a
// listener that says nothing is a libvirtd that hangs.

func newHost(t *testing.T, opts Options) *Host {
	t.Helper()
	if opts.Name == "" {
		opts.Name = "A"
	}
	h, err := New(opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	return h.(*Host)
}

// waitClosed waits until every connection that was opened is closed, with no
// reference left.
func waitClosed(t *testing.T) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for opened.Load() != closed.Load() {
		select {
		case <-tick.C:
		case <-deadline:
			require.FailNowf(t, "connections were not closed", "opened %d, closed %d", opened.Load(), closed.Load())
		}
	}
	require.Zero(t, leaked.Load(), "connections that somebody still holds")
}

func TestTestDriverLifecycle(t *testing.T) {
	h := newHost(t, Options{URI: "test:///default"})
	ctx := t.Context()
	events, err := h.Events(ctx)
	require.NoError(t, err)
	require.Equal(t, hypervisor.EventConnectionUp, (<-events).Kind)

	domains, err := h.Domains(ctx)
	require.NoError(t, err)
	require.Len(t, domains, 1)
	d := domains[0]
	require.Equal(t, "test", d.Name)
	require.Equal(t, hypervisor.StateRunning, d.State)

	require.NoError(t, h.Destroy(ctx, d.UUID))
	ev := <-events
	require.Equal(t, hypervisor.EventStopped, ev.Kind)
	require.Equal(t, hypervisor.ReasonDestroyed, ev.Reason)
	require.Equal(t, d.UUID, ev.UUID)
	require.ErrorIs(t, h.Destroy(ctx, d.UUID), hypervisor.ErrNotActive)
	require.NoError(t, h.Start(ctx, d.UUID))
	require.ErrorIs(t, h.Start(ctx, d.UUID), hypervisor.ErrAlreadyActive)
	require.ErrorIs(t, h.Resume(ctx, d.UUID), hypervisor.ErrInvalidState)
	_, err = h.Domain(ctx, "00000000-0000-4000-8000-000000000000")
	require.ErrorIs(t, err, hypervisor.ErrNotFound)

	require.NoError(t, h.Close())
	for range events { // ends
	}
	waitClosed(t)
}

// deaf takes connections and never answers, as a stopped libvirtd does.
func deaf(t *testing.T) (uri string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return "qemu+tcp://" + l.Addr().String() + "/system"
}

func TestDeafHostDelaysNobody(t *testing.T) {
	hung := newHost(t, Options{Name: "hung", URI: deaf(t), ConnectTimeout: 2 * time.Second})
	well := newHost(t, Options{Name: "well", URI: "test:///default"})
	require.NoError(t, well.Connect(t.Context()))

	ctx, cancel := context.WithCancel(t.Context())
	results := make(chan error, 32)
	for range cap(results) {
		go func() {
			_, err := hung.Domains(ctx)
			results <- err
		}()
	}
	for range 100 {
		_, err := well.Domains(t.Context())
		require.NoError(t, err)
	}
	select {
	case err := <-results:
		require.ErrorIs(t, err, hypervisor.ErrUnreachable)
	default:
	}
	cancel()
}

func TestDownHostFailsFastAndSaysWhen(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	uri := "qemu+tcp://" + l.Addr().String() + "/system"
	require.NoError(t, l.Close()) // refused from now on
	h := newHost(t, Options{URI: uri})
	for range 6 { // 100 ms, 200, 400 …: after these the next try is a while off
		err := h.Connect(t.Context())
		require.ErrorIs(t, err, hypervisor.ErrUnreachable)
		h.mu.Lock()
		h.nextTry = time.Time{}
		h.mu.Unlock()
	}
	require.ErrorIs(t, h.Connect(t.Context()), hypervisor.ErrUnreachable)
	_, err = h.Domains(t.Context())
	require.ErrorIs(t, err, hypervisor.ErrUnreachable)
	require.ErrorContains(t, err, "next attempt in")
	require.ErrorContains(t, err, "refused")
	h.mu.Lock()
	failures := h.failures
	h.mu.Unlock()
	require.Equal(t, 7, failures, "the last call did not try")
}

func TestBackoffGrowsAndEnds(t *testing.T) {
	h := newHost(t, Options{URI: "test:///default"})
	h.mu.Lock()
	defer h.mu.Unlock()
	for n, want := range []time.Duration{100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000} {
		h.failures = n + 1
		got := h.backoffLocked()
		require.InDelta(t, want*time.Millisecond, got, float64(want*time.Millisecond)/4+1, "failure %d", n+1)
	}
	h.failures = 1 << 20
	require.LessOrEqual(t, h.backoffLocked(), 13*time.Second)
	h.dialing = 5 // attempts that libvirt does not come back from
	require.Greater(t, h.backoffLocked(), 3*time.Minute)
	h.dialing = 0
}

func TestDownIsReportedOnTheChannel(t *testing.T) {
	h := newHost(t, Options{URI: deaf(t), ConnectTimeout: 200 * time.Millisecond})
	events, err := h.Events(t.Context())
	require.NoError(t, err)
	ev := <-events
	require.Equal(t, hypervisor.EventConnectionDown, ev.Kind)
	require.Contains(t, ev.Reason, "nobody answers")
}

func TestOptionsAreChecked(t *testing.T) {
	_, err := New(Options{URI: "test:///default"})
	require.ErrorContains(t, err, "name")
	_, err = New(Options{Name: "A", URI: "qemu+tcp://u:hunter2@%zz/system"})
	require.Error(t, err)
	require.NotContains(t, err.Error(), "hunter2")
	_, err = New(Options{Name: "A", URI: "test:///default", Keepalive: Keepalive{Interval: 1500 * time.Millisecond}})
	require.ErrorContains(t, err, "whole seconds")
	_, err = New(Options{Name: "A", URI: "test:///default", MaxInFlight: 1})
	require.ErrorContains(t, err, "MaxInFlight")
	_, err = New(Options{Name: "A", URI: "test:///default", AgentPatience: time.Minute})
	require.ErrorContains(t, err, "AgentPatience")
}

func TestSecretsStayOut(t *testing.T) {
	h := newHost(t, Options{URI: "qemu+tcp://bob:hunter2@127.0.0.1:1/system?authfile=/etc/hunter3"})
	err := h.Connect(t.Context())
	require.ErrorIs(t, err, hypervisor.ErrUnreachable)
	require.NotContains(t, err.Error(), "hunter2")
	require.NotContains(t, err.Error(), "hunter3")
	require.Equal(t, "qemu+tcp://bob@127.0.0.1:1/system", h.addr.shown)
	require.Equal(t, "cannot open …", h.addr.clean("cannot open hunter2\nand a log of QEMU"))
}

func TestAddresses(t *testing.T) {
	for uri, want := range map[string]address{
		"qemu+tcp://kvm1/system":               {network: "tcp", probe: "kvm1:16509", speaks: true},
		"qemu+tcp://[fd00::1]:99/system":       {network: "tcp", probe: "[fd00::1]:99", speaks: true},
		"qemu+tls://kvm1/system":               {network: "tcp", probe: "kvm1:16514"},
		"qemu://kvm1/system":                   {network: "tcp", probe: "kvm1:16514"},
		"qemu+unix:///system?socket=/run/sock": {network: "unix", probe: "/run/sock", speaks: true},
		"qemu:///system":                       {},
		"test:///default":                      {},
	} {
		got := parseAddress(uri)
		require.Equal(t, uri, got.uri)
		require.Equal(t, []any{want.network, want.probe, want.speaks}, []any{got.network, got.probe, got.speaks}, uri)
	}
	require.Equal(t, "qemu+ssh://kvm1/system?no_tty=1", parseAddress("qemu+ssh://kvm1/system").uri)
	require.Equal(t, "qemu+ssh://kvm1/system?no_tty=0", parseAddress("qemu+ssh://kvm1/system?no_tty=0").uri)
}
