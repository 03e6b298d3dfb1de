//go:build cgo && lab

package monitor

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"holdfast/internal/fault"
	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/libvirt"
	"holdfast/test/lab"
)

// The monitor against real hosts. Build the lab command first:
//
//	go build -o bin/lab ./test/lab/cmd/lab
//	go test -race -tags 'libvirt_dlopen lab' ./monitor

// labPatience: guests are emulated, and the machine has others to serve.
const labPatience = 90 * time.Second

func labUp(t *testing.T) *lab.Lab {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	const name = "monitor"
	// What a run that crashed has left goes first.
	if _, err := lab.Down(ctx, "", name); err != nil && !errors.Is(err, lab.ErrNotFound) {
		require.NoError(t, err)
	}
	l, err := lab.Up(ctx, lab.Options{Name: name, Hosts: 2, VMs: 3, NoWaitGuests: true, Guard: true})
	require.NoError(t, err, "this test needs root, QEMU and libvirt, and bin/lab: go build -o bin/lab ./test/lab/cmd/lab")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		require.NoError(t, l.Down(ctx))
	})
	return l
}

// labRig is a monitor on the lab's hosts. Its sweeps are too far apart to help
// with anything.
func labRig(t *testing.T, l *lab.Lab) *rig {
	t.Helper()
	var hosts []hypervisor.Host
	for _, name := range []string{"A", "B"} {
		uri, err := l.URI(name)
		require.NoError(t, err)
		h, err := libvirt.New(libvirt.Options{
			Name: name, URI: uri, Keepalive: libvirt.Keepalive{Interval: time.Second, Count: 3},
		})
		require.NoError(t, err)
		hosts = append(hosts, h)
	}
	site, err := hypervisor.NewSite(hosts...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, site.Close()) })
	r := &rig{t: t, to: &reporter{}, reg: prometheus.NewRegistry()}
	metrics, err := NewMetrics(r.reg)
	require.NoError(t, err)
	r.m, err = New(Options{
		Site: "lab", Hosts: site, Reporter: r.to, Metrics: metrics, Sweep: never,
		CallTimeout: 5 * time.Second, ResayInitial: never, ResayMax: never,
	})
	require.NoError(t, err)
	return r.run()
}

func (r *rig) within(d time.Duration, what string, cond func() bool) {
	r.t.Helper()
	require.Eventually(r.t, cond, d, 5*time.Millisecond, what)
}

func TestRealHosts(t *testing.T) {
	l := labUp(t)
	r := labRig(t, l)
	ctx := t.Context()
	r.within(labPatience, "both hosts are listed", func() bool {
		s := r.m.Snapshot()
		return s.Hosts[0].Connected && s.Hosts[1].Connected
	})
	virsh := func(host string, args ...string) {
		t.Helper()
		_, err := l.Virsh(ctx, host, args...)
		require.NoError(t, err)
	}

	t.Run("a killed QEMU, and its restart", func(t *testing.T) {
		at, err := l.Kill(ctx, "VM1")
		require.NoError(t, err)
		r.within(labPatience, "the crash arrives", func() bool { return len(r.to.about("VM1")) == 1 })
		f := r.to.about("VM1")[0].fault
		t.Logf("SIGKILL to fault: %s", f.First.Sub(at))
		assert.Equal(t, fault.KindCrashed, f.Kind)
		assert.Equal(t, "A", f.Host)
		require.Len(t, f.Elsewhere, 1)
		assert.True(t, f.Elsewhere[0].Absent)
		virsh("A", "start", "VM1")
		r.within(labPatience, "its end arrives", func() bool { return len(r.to.cleared("VM1")) == 1 })
		assert.Equal(t, "running", r.to.cleared("VM1")[0].seen.State)
	})
	t.Run("people stop and pause VMs", func(t *testing.T) {
		virsh("B", "suspend", "VM2")
		virsh("B", "resume", "VM2")
		virsh("B", "destroy", "VM2")
		virsh("B", "start", "VM2")
		n := r.m.Snapshot().Hosts[1].Listed
		virsh("B", "destroy", "VM2")
		// Whatever those did is known once a later restart of libvirtd is.
		_, err := l.KillLibvirtd(ctx, "B")
		require.NoError(t, err)
		r.within(labPatience, "B is away", func() bool { return !r.m.Snapshot().Hosts[1].Connected })
		_, err = l.StartLibvirtd(ctx, "B")
		require.NoError(t, err)
		r.within(labPatience, "B is listed again", func() bool {
			h := r.m.Snapshot().Hosts[1]
			return h.Connected && h.Listed.After(n)
		})
		assert.Empty(t, r.to.about("VM2"), "stopped on purpose, and libvirtd has since forgotten why")
	})
	t.Run("a crash while libvirtd is dead", func(t *testing.T) {
		_, err := l.KillLibvirtd(ctx, "A")
		require.NoError(t, err)
		r.within(labPatience, "A is away", func() bool { return !r.m.Snapshot().Hosts[0].Connected })
		_, err = l.Kill(ctx, "VM3")
		require.NoError(t, err)
		_, err = l.StartLibvirtd(ctx, "A")
		require.NoError(t, err)
		r.within(labPatience, "it is found", func() bool { return len(r.to.about("VM3")) == 1 })
		t.Logf("libvirtd says of it: %s", r.to.about("VM3")[0].fault.Seen)
		virsh("A", "start", "VM3")
		r.within(labPatience, "its end arrives", func() bool { return len(r.to.cleared("VM3")) == 1 })
	})
	t.Run("a power cut", func(t *testing.T) {
		before := len(r.to.faults("VM1"))
		_, err := l.PowerOff(ctx, "A")
		require.NoError(t, err)
		r.within(labPatience, "A is away", func() bool { return !r.m.Snapshot().Hosts[0].Connected })
		_, err = l.PowerOn(ctx, "A")
		require.NoError(t, err)
		r.within(labPatience, "VM1 is found lost", func() bool { return len(r.to.faults("VM1")) == before+1 })
		all := r.to.about("VM1")
		assert.Equal(t, fault.KindLost, all[len(all)-1].fault.Kind)
	})
}
