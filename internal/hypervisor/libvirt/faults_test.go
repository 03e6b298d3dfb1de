//go:build cgo && lab

package libvirt

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/hypervisor"
	"holdfast/test/lab"
)

// Faults of the real thing that the simulated one does not have, and that the
// suite for both cannot ask for.
func TestFaults(t *testing.T) {
	l := labUp(t, lab.Options{Hosts: 2, VMs: 6}) // VM1, VM3 and VM5 on A
	b := &bench{Lab: l, host: "A", vm: "VM1"}
	for _, c := range []struct {
		name string
		test func(*testing.T, *bench)
	}{
		{"HangUnderLoad", testHangUnderLoad},
		{"PowerCycleUnderLoad", testPowerCycleUnderLoad},
		{"ManyHungDomains", testManyHungDomains},
		{"DestroyOfHungDomain", testDestroyOfHungDomain},
		{"FailedStart", testFailedStart},
		{"ManagedSave", testManagedSave},
		{"PoolWithoutStorage", testPoolWithoutStorage},
		{"AnnotationIsLive", testAnnotationIsLive},
		{"MuteAgent", testMuteAgent},
		{"GuestClock", testGuestClock},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.repair(t)
			c.test(t, b)
			waitClosed(t)
		})
	}
}

// crowd is callers that keep a host busy.
type crowd struct {
	answered atomic.Int64
	end      context.CancelFunc
	wg       sync.WaitGroup
}

func load(t *testing.T, h *Host, callers int) *crowd {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c := &crowd{end: cancel}
	for i := range callers {
		c.wg.Go(func() {
			for ctx.Err() == nil {
				call, done := context.WithTimeout(ctx, 2*time.Second)
				var err error
				if i%2 == 0 {
					_, err = h.Domains(call)
				} else {
					_, err = h.Stats(call)
				}
				done()
				if err == nil {
					c.answered.Add(1)
				}
			}
		})
	}
	return c
}

// waitAnswers waits until they got some more.
func (c *crowd) waitAnswers(t *testing.T) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for before := c.answered.Load(); c.answered.Load() < before+10; {
		select {
		case <-tick.C:
		case <-deadline:
			require.FailNow(t, "the host answers nobody")
		}
	}
}

func (c *crowd) stop() {
	c.end()
	c.wg.Wait()
}

func waitEventKind(t *testing.T, events <-chan hypervisor.Event, kind hypervisor.EventKind) {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case ev := <-events:
			if ev.Kind == kind {
				return
			}
		case <-deadline:
			require.FailNowf(t, "the event never came", "%s", kind)
		}
	}
}

// Two calls under way as the keepalive ran out was the end of the process.
func testHangUnderLoad(t *testing.T, b *bench) {
	h := b.connect(t, "A")
	events, err := h.Events(t.Context())
	require.NoError(t, err)
	waitEventKind(t, events, hypervisor.EventConnectionUp)
	callers := load(t, h, 8)
	for range 3 {
		callers.waitAnswers(t)
		_, err := b.HangLibvirtd(t.Context(), "A")
		require.NoError(t, err)
		waitEventKind(t, events, hypervisor.EventConnectionDown)
		_, err = b.StartLibvirtd(t.Context(), "A")
		require.NoError(t, err)
		waitEventKind(t, events, hypervisor.EventConnectionUp)
	}
	callers.waitAnswers(t)
	callers.stop()
	require.NoError(t, h.Close())
}

// What was under way on a host that lost its power ends, and nothing is left.
func testPowerCycleUnderLoad(t *testing.T, b *bench) {
	h := b.connect(t, "A")
	events, err := h.Events(t.Context())
	require.NoError(t, err)
	waitEventKind(t, events, hypervisor.EventConnectionUp)
	callers := load(t, h, 8)
	callers.waitAnswers(t)
	_, err = b.PowerOff(t.Context(), "A")
	require.NoError(t, err)
	waitEventKind(t, events, hypervisor.EventConnectionDown)
	_, err = b.PowerOn(t.Context(), "A")
	require.NoError(t, err)
	waitEventKind(t, events, hypervisor.EventConnectionUp)
	callers.waitAnswers(t)
	callers.stop()

	domains, err := h.Domains(t.Context())
	require.NoError(t, err)
	for _, d := range domains {
		require.Equal(t, hypervisor.StateShutoff, d.State, d.Name)
		require.Equal(t, hypervisor.ReasonUnknown, d.Reason, "what libvirtd knew of it went with /run")
		require.NoError(t, h.Start(t.Context(), d.UUID))
	}
	require.NoError(t, h.Close())
}

// Each QEMU that hangs costs one statistics call, once; the list and the others
// go on.
func testManyHungDomains(t *testing.T, b *bench) {
	h := b.connect(t, "A")
	for _, vm := range []string{"VM1", "VM3"} {
		_, err := b.Hang(t.Context(), vm)
		require.NoError(t, err)
	}
	deadline := time.Now().Add(patience)
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		stats, err := h.Stats(ctx)
		cancel()
		if err == nil {
			require.Len(t, stats, 1)
			require.Equal(t, "VM5", stats[0].Name)
			break
		}
		require.ErrorIs(t, err, hypervisor.ErrTimeout)
		require.True(t, time.Now().Before(deadline), "statistics never came: %v", err)
		domains, err := h.Domains(t.Context())
		require.NoError(t, err)
		require.Len(t, domains, 3)
	}
	for _, vm := range []string{"VM1", "VM3"} {
		_, err := b.Unhang(t.Context(), vm)
		require.NoError(t, err)
	}
	require.NoError(t, h.Close())
}

// libvirt asks a QEMU to go, gives it 10 s, and holds up every listing of the
// host that long. It is slow, and no reason to believe the host lost.
func testDestroyOfHungDomain(t *testing.T, b *bench) {
	h := b.connect(t, "A")
	events, err := h.Events(t.Context())
	require.NoError(t, err)
	waitEventKind(t, events, hypervisor.EventConnectionUp)
	vm := b.describe(t, "VM1")
	_, err = b.Hang(t.Context(), "VM1")
	require.NoError(t, err)
	destroyed := make(chan error, 1)
	go func() { destroyed <- h.Destroy(t.Context(), vm.UUID) }()
	for done := false; !done; {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		_, err := h.Domains(ctx)
		cancel()
		if err != nil {
			require.ErrorIs(t, err, hypervisor.ErrTimeout)
		}
		select {
		case err := <-destroyed:
			require.NoError(t, err)
			done = true
		default:
		}
	}
	for {
		ev := <-events
		require.NotEqual(t, hypervisor.EventConnectionDown, ev.Kind)
		if ev.Kind == hypervisor.EventStopped {
			require.Equal(t, hypervisor.ReasonDestroyed, ev.Reason)
			break
		}
	}
	require.NoError(t, h.Close())
}

func testFailedStart(t *testing.T, b *bench) {
	h := b.connect(t, "A")
	vm := b.describe(t, "VM1")
	require.NoError(t, h.Destroy(t.Context(), vm.UUID))
	disk := ""
	for _, v := range b.Info().VMs {
		if v.Name == "VM1" {
			disk = b.Info().Hosts[0].Images + "/VM1.qcow2"
		}
	}
	require.FileExists(t, disk)
	require.NoError(t, hide(t, disk))
	err := h.Start(t.Context(), vm.UUID)
	require.ErrorIs(t, err, hypervisor.ErrNoResource)
	require.NotErrorIs(t, err, hypervisor.ErrUnreachable)
	d, err := h.Domain(t.Context(), vm.UUID)
	require.NoError(t, err)
	require.Equal(t, hypervisor.StateShutoff, d.State)
	require.Equal(t, hypervisor.ReasonFailed, d.Reason)
	require.NoError(t, h.Close())
}

func testManagedSave(t *testing.T, b *bench) {
	h := b.connect(t, "A")
	vm := b.describe(t, "VM1")
	_, err := b.Virsh(t.Context(), "A", "managedsave", "VM1")
	require.NoError(t, err)
	d, err := h.Domain(t.Context(), vm.UUID)
	require.NoError(t, err)
	require.Equal(t, hypervisor.Domain{
		UUID: vm.UUID, Name: "VM1", State: hypervisor.StateShutoff, Reason: hypervisor.ReasonSaved,
		Persistent: true, ManagedSave: true,
	}, d)
	list, err := h.Domains(t.Context())
	require.NoError(t, err)
	require.Contains(t, list, d)
	require.NoError(t, h.Start(t.Context(), vm.UUID))
	d, err = h.Domain(t.Context(), vm.UUID)
	require.NoError(t, err)
	require.False(t, d.ManagedSave)
	require.NoError(t, h.Close())
}

// A pool whose storage is gone is none of the others' business. libvirt stops it
// when it is asked to look, and so whoever looks starts it again.
func testPoolWithoutStorage(t *testing.T, b *bench) {
	ctx := t.Context()
	h := b.connect(t, "A")
	const name, target = "passing", "/run/hypervisor-passing"
	for _, args := range [][]string{
		{"pool-define-as", name, "dir", "--target", target}, {"pool-build", name}, {"pool-start", name},
	} {
		_, err := b.Virsh(ctx, "A", args...)
		require.NoError(t, err)
	}
	read := func() (other, passing hypervisor.Pool) {
		pools, err := h.Pools(ctx)
		require.NoError(t, err)
		require.Len(t, pools, 2)
		if pools[0].Name == name {
			pools[0], pools[1] = pools[1], pools[0]
		}
		require.Equal(t, hypervisor.PoolRunning, pools[0].State)
		require.Equal(t, []any{name, target, false}, []any{pools[1].Name, pools[1].Target, pools[1].Autostart})
		return pools[0], pools[1]
	}
	_, p := read()
	require.Equal(t, hypervisor.PoolRunning, p.State)
	require.NoError(t, os.Remove(filepath.Join(b.root(t), target)))
	_, p = read()
	require.Equal(t, hypervisor.PoolInactive, p.State)
	require.Contains(t, p.Error, target)
	require.Zero(t, p.Capacity)
	_, p = read()
	require.Equal(t, hypervisor.PoolInactive, p.State)
	require.Contains(t, p.Error, target, "it was to be started again")

	// What our look has stopped it starts again, when the storage is back.
	require.NoError(t, os.Mkdir(filepath.Join(b.root(t), target), 0o755))
	_, p = read()
	require.Equal(t, hypervisor.PoolRunning, p.State)
	require.Empty(t, p.Error)
	// What a person has stopped stays so.
	_, err := b.Virsh(ctx, "A", "pool-destroy", name)
	require.NoError(t, err)
	_, p = read()
	require.Equal(t, hypervisor.PoolInactive, p.State)
	_, err = b.Virsh(ctx, "A", "pool-undefine", name)
	require.NoError(t, err)
	pools, err := h.Pools(ctx)
	require.NoError(t, err)
	require.Len(t, pools, 1)
	require.NoError(t, h.Close())
}

// root is where the host's files are, as any QEMU on it sees them.
func (b *bench) root(t *testing.T) string {
	t.Helper()
	status, err := b.Status(t.Context())
	require.NoError(t, err)
	for _, vm := range status.VMs {
		for _, c := range vm.Copies {
			if c.Host == b.host {
				return fmt.Sprintf("/proc/%d/root", c.PID)
			}
		}
	}
	require.FailNow(t, "no guest runs on the host, whose files could be reached", b.host)
	return ""
}

func testAnnotationIsLive(t *testing.T, b *bench) {
	ctx := t.Context()
	h := b.connect(t, "A")
	vm := b.describe(t, "VM1")
	for _, c := range []struct {
		element string
		there   bool
	}{{`<vm xmlns="` + metadataURI + `" mode="repair"/>`, true}, {"", false}} {
		require.NoError(t, h.Annotate(ctx, vm.UUID, c.element))
		for _, args := range [][]string{{"dumpxml", "VM1"}, {"dumpxml", "VM1", "--inactive"}} {
			out, err := b.Virsh(ctx, "A", args...)
			require.NoError(t, err)
			require.Equal(t, c.there, strings.Contains(out, `<holdfast:vm xmlns:holdfast="`+metadataURI+`" mode="repair"/>`), args)
		}
	}
	require.NoError(t, h.Close())
}

// hide moves a file away until the test is over.
func hide(t *testing.T, file string) error {
	t.Helper()
	t.Cleanup(func() { require.NoError(t, os.Rename(file+".hidden", file)) })
	return os.Rename(file, file+".hidden")
}
