package simulated_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/simulated"
)

// site is one host A, connected, with n VMs.
func site(t *testing.T, opts simulated.Options) (*simulated.Cluster, hypervisor.Host, simulated.VM) {
	t.Helper()
	c := simulated.New(opts)
	vm, ok := c.VM("VM1")
	require.True(t, ok)
	h := c.Host("A")
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	return c, h, vm
}

func sample(t *testing.T, h hypervisor.Host, vm simulated.VM) hypervisor.DomainStats {
	t.Helper()
	all, err := h.Stats(t.Context())
	require.NoError(t, err)
	for _, s := range all {
		if s.UUID == vm.UUID {
			return s
		}
	}
	require.FailNow(t, "the statistics lack it", vm.Name)
	return hypervisor.DomainStats{}
}

// pass lets time go by in the bubble.
func pass(d time.Duration) { <-time.After(d) }

func TestLoadMakesTheCountersGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, h, vm := site(t, simulated.Options{Hosts: 1, VMsPerHost: 2})
		require.NoError(t, c.SetLoad("VM1", simulated.Load{
			CPU: 75, Steal: 10, MemoryUsed: 90, DiskOps: 300, DiskLatency: 20 * time.Millisecond, NetBytes: 1000, NetDrops: 4,
		}))
		require.NoError(t, c.SetAllocation("VM1", 9<<30))
		before := sample(t, h, vm)
		pass(10 * time.Second)
		after := sample(t, h, vm)
		require.Equal(t, 15*time.Second, after.VCPUTime-before.VCPUTime, "75% of two")
		require.Equal(t, 15*time.Second, after.CPUTime-before.CPUTime)
		require.Equal(t, 2*time.Second, after.VCPUDelay-before.VCPUDelay)
		require.InDelta(t, 0.9, 1-float64(after.MemoryUnused)/float64(after.MemoryAvailable), 1e-6)
		b, was := after.Blocks[0], before.Blocks[0]
		require.Equal(t, []uint64{2000, 1000}, []uint64{b.ReadOps - was.ReadOps, b.WriteOps - was.WriteOps})
		require.InDelta(t, 40*time.Second, b.ReadTime-was.ReadTime, float64(time.Millisecond))
		require.InDelta(t, 20*time.Second, b.WriteTime-was.WriteTime, float64(time.Millisecond))
		require.Equal(t, []uint64{9 << 30, 9 << 30, 10 << 30}, []uint64{b.Allocation, b.Physical, b.Capacity})
		n, wasNet := after.Nets[0], before.Nets[0]
		require.Equal(t, []uint64{6000, 4000, 20, 20},
			[]uint64{n.RxBytes - wasNet.RxBytes, n.TxBytes - wasNet.TxBytes, n.RxDrops - wasNet.RxDrops, n.TxDrops - wasNet.TxDrops})
	})
}

func TestCountersNeverGoBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, h, vm := site(t, simulated.Options{Hosts: 2, VMsPerHost: 1})
		last := sample(t, h, vm)
		grows := func(want time.Duration) {
			t.Helper()
			pass(time.Second)
			now := sample(t, h, vm)
			require.Equal(t, want, now.VCPUTime-last.VCPUTime)
			require.GreaterOrEqual(t, now.Blocks[0].ReadTime, last.Blocks[0].ReadTime)
			require.GreaterOrEqual(t, now.Blocks[0].WriteOps, last.Blocks[0].WriteOps)
			require.GreaterOrEqual(t, now.Nets[0].RxBytes, last.Nets[0].RxBytes)
			last = now
		}
		grows(time.Second / 4)
		require.NoError(t, c.SetLoad("VM1", simulated.Load{CPU: 100}))
		grows(2 * time.Second)
		require.NoError(t, c.SetLoad("VM1", simulated.Load{}))
		grows(0)
		require.NoError(t, c.SetLoad("VM1", simulated.CalmLoad()))
		grows(time.Second / 4)
		require.NoError(t, c.SuspendVM("VM1"))
		grows(0)
		require.NoError(t, c.ResumeVM("VM1"))
		grows(time.Second / 4)
		require.NoError(t, c.HangGuest("VM1"))
		grows(0)
		require.NoError(t, c.UnhangGuest("VM1"))
		grows(time.Second / 4)
		require.NoError(t, c.HangVM("VM1"))
		pass(time.Minute)
		require.NoError(t, c.UnhangVM("VM1"))
		grows(time.Second / 4)
		require.NoError(t, h.Reset(t.Context(), vm.UUID))
		grows(time.Second / 4)

		require.NoError(t, c.KillVM("VM1")) // another QEMU counts from its own start
		require.NoError(t, h.Start(t.Context(), vm.UUID))
		require.Zero(t, sample(t, h, vm).VCPUTime)
	})
}

func TestLoadIsChecked(t *testing.T) {
	c, _, _ := site(t, simulated.Options{Hosts: 1, VMsPerHost: 1})
	for _, l := range []simulated.Load{{CPU: 101}, {CPU: -1}, {CPU: 60, Steal: 60}, {MemoryUsed: 200}, {NetDrops: -1}, {DiskLatency: -1}} {
		require.Error(t, c.SetLoad("VM1", l))
	}
	require.Error(t, c.SetLoad("VM9", simulated.Load{}))
	require.Error(t, c.SetNode("A", simulated.Node{CPUs: 0}))
	require.Error(t, c.SetNode("A", simulated.Node{CPUs: 1, CPU: 101}))
	require.Error(t, c.FillPool("A", 101))
}

func TestNodeCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, h, _ := site(t, simulated.Options{Hosts: 1, VMsPerHost: 1})
		require.NoError(t, c.SetNode("A", simulated.Node{CPUs: 4, CPU: 90, MemoryTotal: 100 << 20, MemoryUsed: 75}))
		before, err := h.Node(t.Context())
		require.NoError(t, err)
		pass(10 * time.Second)
		after, err := h.Node(t.Context())
		require.NoError(t, err)
		require.Equal(t, 36*time.Second, after.CPUTime-before.CPUTime)
		require.InDelta(t, 4*time.Second, after.CPUIdle-before.CPUIdle, float64(time.Microsecond))
		require.Equal(t, []uint64{100 << 20, 25 << 20}, []uint64{after.MemoryTotal, after.MemoryAvailable})
		require.NoError(t, c.PowerOffHost("A"))
		require.NoError(t, c.PowerOnHost("A"))
		booted, err := h.Node(t.Context())
		require.NoError(t, err)
		require.Zero(t, booted.CPUTime, "since its boot")
	})
}

func TestResetCuresTheGuest(t *testing.T) {
	c, h, vm := site(t, simulated.Options{Hosts: 1, VMsPerHost: 1})
	require.NoError(t, c.HangGuest("VM1"))
	require.NoError(t, c.SkewGuestClock("VM1", time.Hour))
	_, err := h.GuestTime(t.Context(), vm.UUID)
	require.ErrorIs(t, err, hypervisor.ErrNoAgent)
	require.NoError(t, c.UnhangGuest("VM1"))
	now, err := h.GuestTime(t.Context(), vm.UUID)
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(time.Hour), now, 10*time.Minute)
	require.NoError(t, c.HangGuest("VM1"))
	require.NoError(t, h.Reset(t.Context(), vm.UUID))
	now, err = h.GuestTime(t.Context(), vm.UUID)
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), now, 10*time.Minute)
}

// As libvirt does: only the look that fails says why.
func TestLostPoolSaysWhyOnce(t *testing.T) {
	c, h, _ := site(t, simulated.Options{Hosts: 1, VMsPerHost: 1})
	read := func() hypervisor.Pool {
		pools, err := h.Pools(t.Context())
		require.NoError(t, err)
		require.Len(t, pools, 1)
		return pools[0]
	}
	require.NoError(t, c.FillPool("A", 75))
	require.Equal(t, []any{hypervisor.PoolRunning, uint64(1 << 38)}, []any{read().State, read().Available})
	require.NoError(t, c.LosePool("A"))
	p := read()
	require.Equal(t, hypervisor.PoolInactive, p.State)
	require.NotEmpty(t, p.Error)
	p = read()
	require.Equal(t, hypervisor.PoolInactive, p.State)
	require.Empty(t, p.Error)
	require.NoError(t, c.RestorePool("A"))
	require.Equal(t, hypervisor.PoolRunning, read().State)
	require.NoError(t, c.StopPool("A"))
	require.Equal(t, hypervisor.PoolInactive, read().State)
}

func TestNoAgents(t *testing.T) {
	_, h, vm := site(t, simulated.Options{Hosts: 1, VMsPerHost: 1, NoAgents: true})
	xml, err := h.Definition(t.Context(), vm.UUID)
	require.NoError(t, err)
	require.NotContains(t, xml, "guest_agent")
	_, err = h.GuestTime(t.Context(), vm.UUID)
	require.ErrorIs(t, err, hypervisor.ErrNoAgent)
}

func TestADiskThatFailedOnceIsWellAfterResume(t *testing.T) {
	c, h, vm := site(t, simulated.Options{Hosts: 1, VMsPerHost: 1})
	require.NoError(t, c.PauseVM("VM1", hypervisor.ReasonIOError))
	failed, err := h.DiskErrors(t.Context(), vm.UUID)
	require.NoError(t, err)
	require.Equal(t, []hypervisor.DiskError{{Device: "vda"}}, failed)
	require.NoError(t, h.Resume(t.Context(), vm.UUID))
	d, err := h.Domain(t.Context(), vm.UUID)
	require.NoError(t, err)
	require.Equal(t, hypervisor.StateRunning, d.State)
}

func BenchmarkStats(b *testing.B) {
	c := simulated.New(simulated.Options{Hosts: 1000, VMsPerHost: 20})
	h := c.Host("A")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Stats(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func TestAgentThatIsMuteAndOneThatIsGone(t *testing.T) {
	c, h, vm := site(t, simulated.Options{Hosts: 1, VMsPerHost: 1})
	events := listen(t, h)
	silent := func() {
		t.Helper()
		_, err := h.GuestTime(t.Context(), vm.UUID)
		require.ErrorIs(t, err, hypervisor.ErrNoAgent)
		require.Equal(t, hypervisor.StateRunning, sample(t, h, vm).State)
	}
	require.NoError(t, c.MuteAgent("VM1")) // nobody is told
	silent()
	require.NoError(t, c.UnmuteAgent("VM1"))
	require.NoError(t, c.StopAgent("VM1"))
	requireTold(t, events, told{hypervisor.EventAgent, hypervisor.ReasonAgentDisconnected})
	silent()
	require.NoError(t, c.StartAgent("VM1"))
	requireTold(t, events, told{hypervisor.EventAgent, hypervisor.ReasonAgentConnected})
	require.NoError(t, h.Reset(t.Context(), vm.UUID))
	requireTold(t, events, told{hypervisor.EventRebooted, ""}, told{hypervisor.EventAgent, hypervisor.ReasonAgentDisconnected},
		told{hypervisor.EventAgent, hypervisor.ReasonAgentConnected})
	_, err := h.GuestTime(t.Context(), vm.UUID)
	require.NoError(t, err)

	require.NoError(t, c.MemoryFailure("VM1", "guest (inject)"))
	requireTold(t, events, told{hypervisor.EventMemory, "guest (inject)"})
}
