package monitor

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"holdfast/internal/detect"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor/simulated"
)

func TestKeptWhileTemporalIsAway(t *testing.T) {
	r := newRig(t, simulated.Options{Hosts: 2, VMsPerHost: 5}, sweeping).run().watching()
	r.to.setAway(errAway)
	for _, vm := range r.cluster.VMs() {
		r.do(r.cluster.KillVM(vm.Name))
	}
	r.eventually("all wait", func() bool { return r.metric("holdfast_monitor_unsent_signals") == 10 })
	r.eventually("each was tried and tried again", func() bool { return r.to.tried() > 20 })
	assert.Zero(t, r.metric("holdfast_monitor_temporal_up"))
	assert.GreaterOrEqual(t, r.metric("holdfast_monitor_signal_failures_total"), 10.0)
	require.ErrorIs(t, r.m.Ready(), errAway)
	assert.Contains(t, r.m.Snapshot().ReportError, "away")
	assert.Equal(t, 10, r.m.Snapshot().Unsent)

	r.swept() // it watches on
	r.to.setAway(nil)
	r.eventually("all arrive", func() bool {
		for _, vm := range r.cluster.VMs() {
			if len(r.to.faults(vm.Name)) != 1 {
				return false
			}
		}
		return true
	})
	r.eventually("and the metrics say so", func() bool {
		return r.metric("holdfast_monitor_unsent_signals") == 0 && r.metric("holdfast_monitor_temporal_up") == 1
	})
	require.NoError(t, r.m.Ready())
}

func TestOverBeforeItWasEverSaid(t *testing.T) {
	// One worker, and it is held up: VM2's fault is over before its turn comes.
	r := newRig(t, twoHosts, func(o *Options) { o.Concurrency = 1 }).run().watching()
	hold := make(chan struct{})
	r.to.mu.Lock()
	r.to.hold = hold
	r.to.mu.Unlock()
	r.do(r.cluster.KillVM("VM1"))
	r.eventually("VM1's report is under way", func() bool { return r.to.tried() == 1 })
	r.do(r.cluster.KillVM("VM2"))
	r.eventually("VM2's waits", func() bool { return r.metric("holdfast_monitor_unsent_signals") == 2 })
	r.start("VM2", "B")
	r.eventually("and is dropped", func() bool { return r.metric("holdfast_monitor_unsent_signals") == 1 })
	close(hold)
	r.eventually("VM1's arrives", func() bool { return len(r.to.faults("VM1")) == 1 })
	r.stop()
	assert.Empty(t, r.to.about("VM2"))
}

func TestOverWhileItIsBeingSaid(t *testing.T) {
	r := newRig(t, twoHosts, nil).run().watching()
	hold := make(chan struct{})
	r.to.mu.Lock()
	r.to.hold = hold
	r.to.mu.Unlock()
	r.do(r.cluster.KillVM("VM1"))
	r.eventually("its report is under way", func() bool { return r.to.tried() == 1 })
	r.start("VM1", "A")
	r.eventually("it is over", func() bool { return len(r.m.Snapshot().Faults) == 0 })
	r.do(r.cluster.KillVM("VM1"))
	r.eventually("and there is another", func() bool { return len(r.m.Snapshot().Faults) == 1 })
	close(hold)
	r.eventually("all of it arrives", func() bool { return len(r.to.about("VM1")) == 3 })
	all := r.to.about("VM1")
	assert.False(t, all[0].cleared)
	assert.True(t, all[1].cleared)
	assert.Equal(t, all[0].fault.ID, all[1].fault.ID)
	assert.False(t, all[2].cleared)
	assert.NotEqual(t, all[0].fault.ID, all[2].fault.ID)
}

func TestClearingIsKeptToo(t *testing.T) {
	r := newRig(t, twoHosts, nil).run().watching()
	r.do(r.cluster.KillVM("VM1"))
	r.eventually("the fault arrives", func() bool { return len(r.to.faults("VM1")) == 1 })
	r.to.setAway(errAway)
	r.start("VM1", "A")
	r.eventually("its end waits", func() bool {
		return r.metric("holdfast_monitor_unsent_signals") == 1 && r.metric("holdfast_monitor_temporal_up") == 0
	})
	r.do(r.cluster.KillVM("VM1"))
	r.eventually("with the next fault", func() bool { return r.metric("holdfast_monitor_unsent_signals") == 2 })
	r.to.setAway(nil)
	r.eventually("both arrive, in order", func() bool {
		all := r.to.about("VM1")
		return len(all) == 3 && all[1].cleared && !all[2].cleared
	})
}

func TestARefusedClearingDoesNotHoldUpTheNextFault(t *testing.T) {
	r := newRig(t, twoHosts, func(o *Options) { o.ResayInitial, o.ResayMax = quick, quick }).run().watching()
	r.to.mu.Lock()
	r.to.refuse = func(s said) error {
		if s.cleared {
			return errAway
		}
		return nil
	}
	r.to.mu.Unlock()
	r.do(r.cluster.KillVM("VM2")) // said again and again: Temporal is there
	r.do(r.cluster.KillVM("VM1"))
	r.eventually("the fault arrives", func() bool { return len(r.to.faults("VM1")) == 1 })
	r.start("VM1", "A")
	r.eventually("it is over", func() bool { return len(r.m.Snapshot().Faults) == 1 })
	r.do(r.cluster.KillVM("VM1"))
	r.eventually("the next fault arrives", func() bool { return len(r.to.faults("VM1")) == 2 })
}

func TestPingFindsTemporalAway(t *testing.T) {
	r := newRig(t, twoHosts, func(o *Options) { o.ResayInitial, o.ResayMax = quick, quick })
	r.to.setAway(errAway)
	r.run()
	r.eventually("it is noticed with nothing to report", func() bool { return r.metric("holdfast_monitor_temporal_up") == 0 })
	assert.Zero(t, r.to.tried())
	r.to.setAway(nil)
	r.eventually("and that it is back", func() bool { return r.metric("holdfast_monitor_temporal_up") == 1 })
}

func TestUnsentIsFlushedAtTheEnd(t *testing.T) {
	r := newRig(t, twoHosts, nil).run().watching()
	r.to.setAway(errAway)
	r.do(r.cluster.KillVM("VM1"))
	r.eventually("it waits", func() bool { return r.to.tried() > 0 })
	r.to.setAway(nil)
	r.stop()
	assert.Len(t, r.to.faults("VM1"), 1)
	assert.Zero(t, r.m.Snapshot().Unsent)
	select {
	case <-r.m.reports.incidents.empty:
	default:
		t.Error("Run waited for its flush to time out, though all was sent")
	}
}

func TestFlushGivesUp(t *testing.T) {
	r := newRig(t, twoHosts, nil).run().watching()
	r.to.setAway(errAway)
	r.do(r.cluster.KillVM("VM1"))
	r.eventually("it waits", func() bool { return r.to.tried() > 0 })
	r.stop()
	assert.Equal(t, 1, r.m.Snapshot().Unsent)
}

func TestOutboxForgetsWhatIsOver(t *testing.T) {
	r := newRig(t, twoHosts, nil).run().watching()
	for range 20 {
		r.do(r.cluster.KillVM("VM1"))
		r.start("VM1", "A")
	}
	r.eventually("all are seen", func() bool {
		return r.metric("holdfast_monitor_faults_total", "kind", "crashed") == 20 && len(r.m.Snapshot().Faults) == 0
	})
	r.eventually("nothing is kept", func() bool {
		r.m.reports.incidents.mu.Lock()
		defer r.m.reports.incidents.mu.Unlock()
		return len(r.m.reports.incidents.parcels) == 0 && len(r.m.reports.incidents.queue) == 0
	})
}

// bare is an outbox that nobody runs.
func bare(t *testing.T, to Reporter, o Options) *outbox {
	t.Helper()
	metrics, err := NewMetrics(nil)
	require.NoError(t, err)
	o.setDefaults()
	return newOutbox(to, o, o.Logger, metrics.temporal())
}

func crash(id, uuid string) fault.Fault {
	return fault.Fault{ID: id, Kind: fault.KindCrashed, Site: "s", VM: fault.VM{UUID: uuid}}
}

// deliver sends what is due first, and returns when that VM's turn is next.
func deliver(t *testing.T, b *outbox) time.Duration {
	t.Helper()
	e, wait := b.next(time.Now())
	require.NotNil(t, e.parcel, "nothing is due for %s", wait)
	before := time.Now()
	b.send(t.Context(), e)
	return e.parcel.next.Sub(before)
}

func TestBackoffGrowsToItsMost(t *testing.T) {
	b, p, now := bare(t, &reporter{}, Options{}), &parcel{}, time.Now()
	for want := backoffFirst; p.failures < 40; want = min(2*want, backoffMost) {
		got := b.retry(p, now, errAway).Sub(now)
		assert.LessOrEqual(t, got, want)
		assert.GreaterOrEqual(t, got, want/2)
	}
}

func TestResayDoublesToItsMost(t *testing.T) {
	b := bare(t, &reporter{}, Options{ResayInitial: time.Hour, ResayMax: 3 * time.Hour})
	b.take([]detect.Change{{Kind: detect.Raised, Fault: crash("f1", "u1")}})
	for _, want := range []time.Duration{time.Hour, 2 * time.Hour, 3 * time.Hour, 3 * time.Hour} {
		assert.InDelta(t, want.Minutes(), deliver(t, b).Minutes(), 30)
		b.queue.set("vm/u1", b.parcels["vm/u1"], time.Now())
	}
	// The next fault begins anew.
	b.take([]detect.Change{
		{Kind: detect.Cleared, Fault: crash("f1", "u1")}, {Kind: detect.Raised, Fault: crash("f2", "u1")},
	})
	deliver(t, b)
	assert.InDelta(t, time.Hour.Minutes(), deliver(t, b).Minutes(), 30)
}

func TestClearingIsNotGivenUpWhileTemporalIsAway(t *testing.T) {
	to := &reporter{}
	b := bare(t, to, Options{})
	b.take([]detect.Change{{Kind: detect.Raised, Fault: crash("f1", "u1")}})
	deliver(t, b)
	to.setAway(errAway)
	b.take([]detect.Change{
		{Kind: detect.Cleared, Fault: crash("f1", "u1")}, {Kind: detect.Raised, Fault: crash("f2", "u1")},
	})
	for range 5 * refusals {
		deliver(t, b)
		b.queue.set("vm/u1", b.parcels["vm/u1"], time.Now())
	}
	to.setAway(nil)
	deliver(t, b)
	deliver(t, b)
	require.Len(t, to.got, 3)
	assert.True(t, to.got[1].cleared)
	assert.Equal(t, "f2", to.got[2].fault.ID)
}

func TestFlushSaysOnlyWhatIsUnsentAndThatAtOnce(t *testing.T) {
	b := bare(t, &reporter{}, Options{ResayInitial: time.Minute})
	b.take([]detect.Change{{Kind: detect.Raised, Fault: crash("f1", "u1")}})
	deliver(t, b)
	b.take([]detect.Change{{Kind: detect.Raised, Fault: crash("f2", "u2")}})
	b.queue.set("vm/u2", b.parcels["vm/u2"], time.Now().Add(time.Hour))
	require.Equal(t, 1, b.flush(0))
	require.Len(t, b.queue, 1)
	assert.LessOrEqual(t, deliver(t, b), time.Minute+patience)
	assert.Empty(t, b.queue)
	assert.Zero(t, b.flush(patience))
}

func TestEverythingGoesOnceTemporalIsBack(t *testing.T) {
	to := &reporter{}
	b := bare(t, to, Options{})
	to.setAway(errAway)
	b.take([]detect.Change{{Kind: detect.Raised, Fault: crash("f1", "u1")}, {Kind: detect.Raised, Fault: crash("f2", "u2")}})
	deliver(t, b)
	deliver(t, b)
	to.setAway(nil)
	later := time.Now().Add(time.Hour)
	b.queue.set("vm/u1", b.parcels["vm/u1"], time.Now())
	b.queue.set("vm/u2", b.parcels["vm/u2"], later)
	deliver(t, b)
	assert.True(t, b.parcels["vm/u2"].next.Before(later), "u2 need not wait for its turn")
}

func BenchmarkEventToReporter(b *testing.B) {
	got := make(chan struct{})
	metrics, err := NewMetrics(nil)
	require.NoError(b, err)
	c := simulated.New(simulated.Options{Hosts: 1, VMsPerHost: 1})
	m, err := New(Options{Site: "s", Hosts: c.Site(), Reporter: signal(got), Sweep: never, Metrics: metrics})
	require.NoError(b, err)
	ctx := b.Context()
	go func() { _ = m.Run(ctx) }()
	require.Eventually(b, func() bool { return m.Ready() == nil }, patience, time.Millisecond)
	vm := c.VMs()[0]
	h := c.Host("A")
	b.ResetTimer()
	for b.Loop() {
		require.NoError(b, c.KillVM(vm.Name))
		<-got
		b.StopTimer()
		require.NoError(b, h.Start(ctx, vm.UUID))
		<-got
		b.StartTimer()
	}
}
