package monitor

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"holdfast/internal/detect"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/simulated"
)

const quick = 20 * time.Millisecond

var twoHosts = simulated.Options{Hosts: 2, VMsPerHost: 1} // VM1 on A, VM2 on B

func sweeping(o *Options) { o.Sweep = quick }

func TestKilledVMIsReportedByEvent(t *testing.T) {
	r := newRig(t, twoHosts, nil).run().watching()
	r.do(r.cluster.KillVM("VM1"))
	r.eventually("the fault arrives", func() bool { return len(r.to.about("VM1")) == 1 })
	f := r.to.about("VM1")[0].fault
	require.NoError(t, f.Validate())
	assert.Equal(t, fault.KindCrashed, f.Kind)
	assert.Equal(t, "A", f.Host)
	assert.Equal(t, "test", f.Site)
	assert.Equal(t, "monitor-1", f.Reporter)
	assert.Equal(t, "A: shut off (failed)", f.Seen.String())
	require.Len(t, f.Elsewhere, 1)
	assert.Equal(t, "B: not there", f.Elsewhere[0].String())
	assert.Empty(t, r.to.about("VM2"))
	assert.Equal(t, []fault.Fault{f}, r.m.Snapshot().Faults)
	assert.Equal(t, 1.0, r.metric("holdfast_monitor_faults_total", "kind", "crashed"))
	assert.Equal(t, 1.0, r.metric("holdfast_monitor_faults_current", "kind", "crashed"))
	assert.Equal(t, 1.0, r.metric("holdfast_monitor_events_total", "kind", "stopped"))

	r.start("VM1", "A")
	r.eventually("its end arrives", func() bool { return len(r.to.cleared("VM1")) == 1 })
	c := r.to.cleared("VM1")[0]
	assert.Equal(t, f.ID, c.fault.ID)
	assert.Equal(t, "running", c.seen.State)
	assert.Equal(t, "A", c.seen.Host)
	assert.Zero(t, r.metric("holdfast_monitor_faults_current", "kind", "crashed"))
}

// deaf is a host that answers no listing after the first, though its events
// come: what must be fast must not need an answer.
type deaf struct {
	hypervisor.Host
	asked chan struct{} // capacity 1: the one listing that is answered
}

func (d deaf) Domains(ctx context.Context) ([]hypervisor.Domain, error) {
	select {
	case d.asked <- struct{}{}:
		return d.Host.Domains(ctx)
	default:
		<-ctx.Done()
		return nil, fmt.Errorf("%w: %w", hypervisor.ErrTimeout, ctx.Err())
	}
}

func TestEventNeedsNoCall(t *testing.T) {
	r := newRig(t, twoHosts, func(o *Options) {
		o.Hosts = wrap(t, o.Hosts, func(h hypervisor.Host) hypervisor.Host { return deaf{h, make(chan struct{}, 1)} })
		o.Sweep, o.CallTimeout = quick, never
	}).run().watching()
	r.do(r.cluster.PanicVM("VM1"))
	r.do(r.cluster.KillVM("VM2"))
	r.eventually("both arrive", func() bool { return len(r.to.about("VM1")) == 1 && len(r.to.about("VM2")) == 1 })
	assert.Equal(t, fault.KindPanicked, r.to.about("VM1")[0].fault.Kind)
	assert.Equal(t, fault.KindCrashed, r.to.about("VM2")[0].fault.Kind)
}

func TestDroppedEventIsCaughtBySweep(t *testing.T) {
	r := newRig(t, twoHosts, sweeping).run().watching()
	r.do(r.cluster.DropEvents("A", true))
	r.do(r.cluster.KillVM("VM1"))
	r.eventually("the sweep finds it", func() bool { return len(r.to.faults("VM1")) == 1 })
	assert.Equal(t, "A: shut off (crashed)", r.to.about("VM1")[0].fault.Seen.String())
	r.start("VM1", "A")
	r.eventually("and its end", func() bool { return len(r.to.cleared("VM1")) == 1 })
}

func TestLostEventsAreMadeUpForAtOnce(t *testing.T) {
	// The sweep never comes: only ConnectionUp can make up for the events.
	r := newRig(t, twoHosts, nil).run().watching()
	r.do(r.cluster.KillLibvirtd("A"))
	r.do(r.cluster.KillVM("VM1"))
	r.eventually("A is seen to be away", func() bool { return r.metric("holdfast_monitor_hosts_connected") == 1 })
	assert.Empty(t, r.to.about("VM1"))
	r.do(r.cluster.StartLibvirtd("A"))
	r.eventually("the crash is found", func() bool { return len(r.to.faults("VM1")) == 1 })
	assert.Equal(t, 2.0, r.metric("holdfast_monitor_hosts_connected"))
}

func TestCrashWhileNoMonitorRan(t *testing.T) {
	r := newRig(t, twoHosts, nil)
	r.do(r.cluster.KillVM("VM1"))
	r.run().watching()
	r.eventually("it is found at the start", func() bool { return len(r.to.faults("VM1")) == 1 })
	assert.Equal(t, "B: not there", r.to.about("VM1")[0].fault.Elsewhere[0].String())
}

func TestStaleCrashOfAVMThatMovedIsNotReported(t *testing.T) {
	r := newRig(t, twoHosts, sweeping)
	r.do(r.cluster.KillVM("VM1"))
	r.do(r.cluster.DefineVM("VM1", "B"))
	r.start("VM1", "B")
	r.run().watching().swept()
	r.do(r.cluster.ShutdownVM("VM1"))
	r.swept()
	r.stop()
	assert.Zero(t, r.to.tried(), "it moved to B and was stopped there on purpose: %v", r.to.attempts)
}

func TestPeopleMayStopVMs(t *testing.T) {
	r := newRig(t, simulated.Options{Hosts: 2, VMsPerHost: 3}, sweeping).run().watching()
	r.do(r.cluster.ShutdownVM("VM1"))
	r.do(r.cluster.DestroyVM("VM2"))
	r.do(r.cluster.PauseVM("VM3", hypervisor.ReasonUser))
	r.do(r.cluster.DropEvents("B", true))
	r.do(r.cluster.DestroyVM("VM4"))
	r.do(r.cluster.HangVM("VM5"))
	r.do(r.cluster.WatchdogVM("VM6"))
	r.swept()
	r.swept()
	r.stop()
	assert.Zero(t, r.to.tried(), "%v", r.to.attempts)
	assert.Empty(t, r.m.Snapshot().Faults)
}

func TestPowerCutAndReturn(t *testing.T) {
	r := newRig(t, simulated.Options{Hosts: 2, VMsPerHost: 2}, nil).run().watching()
	r.do(r.cluster.ShutdownVM("VM3"))
	r.eventually("its stop is seen", func() bool { return r.metric("holdfast_monitor_events_total", "kind", "stopped") == 1 })
	r.do(r.cluster.PowerOffHost("A"))
	r.eventually("A is seen to be away", func() bool { return !r.m.Snapshot().Hosts[0].Connected })
	r.do(r.cluster.PowerOnHost("A"))
	r.eventually("VM1 is found lost", func() bool { return len(r.to.faults("VM1")) == 1 })
	assert.Equal(t, fault.KindLost, r.to.about("VM1")[0].fault.Kind)
	r.stop()
	assert.Empty(t, r.to.about("VM3"), "it was stopped on purpose before")
}

func TestHungLibvirtdDelaysNobodyElse(t *testing.T) {
	r := newRig(t, twoHosts, func(o *Options) { o.Sweep, o.CallTimeout = quick, never }).run().watching()
	r.do(r.cluster.HangLibvirtd("A"))
	r.do(r.cluster.KillVM("VM2"))
	r.eventually("VM2 is reported", func() bool { return len(r.to.faults("VM2")) == 1 })
	r.do(r.cluster.DropEvents("B", true))
	r.start("VM2", "B")
	r.eventually("and swept", func() bool { return len(r.to.cleared("VM2")) == 1 })
}

func TestHungHostAtTheStartHoldsFaultsBackOnlyUntilItsTimeout(t *testing.T) {
	r := newRig(t, twoHosts, func(o *Options) { o.Sweep, o.CallTimeout = quick, quick })
	r.do(r.cluster.HangLibvirtd("A"))
	r.do(r.cluster.KillVM("VM2"))
	r.run()
	r.eventually("VM2 is reported", func() bool { return len(r.to.faults("VM2")) == 1 })
	assert.Empty(t, r.to.about("VM2")[0].fault.Elsewhere, "A never said anything: no proof")
	assert.Positive(t, r.metric("holdfast_monitor_sweep_failures_total", "host", "A"))
	assert.NotEmpty(t, r.m.Snapshot().Hosts[0].Error)
}

func TestSaidAgainUntilItIsGone(t *testing.T) {
	r := newRig(t, twoHosts, func(o *Options) {
		o.Sweep, o.ResayInitial, o.ResayMax = quick, time.Millisecond, 4*time.Millisecond
	}).run().watching()
	r.do(r.cluster.KillVM("VM1"))
	r.eventually("it is said again, with newer sightings", func() bool {
		all := r.to.about("VM1")
		return len(all) > 5 && all[len(all)-1].fault.Last.After(all[0].fault.Last)
	})
	require.Len(t, r.to.faults("VM1"), 1, "under one ID")
	r.start("VM1", "A")
	r.eventually("its end arrives", func() bool { return len(r.to.cleared("VM1")) == 1 })
	n := len(r.to.about("VM1"))
	r.swept()
	r.stop()
	assert.Len(t, r.to.about("VM1"), n, "then it is not said any more")
}

func TestSaidAgainDoesNotMakeItNewer(t *testing.T) {
	// Nobody looks at the host again, so Last must stay.
	r := newRig(t, twoHosts, func(o *Options) { o.ResayInitial, o.ResayMax = time.Millisecond, time.Millisecond }).run().watching()
	r.do(r.cluster.KillVM("VM1"))
	r.eventually("it is said again", func() bool { return len(r.to.about("VM1")) > 5 })
	r.stop()
	for _, s := range r.to.about("VM1") {
		assert.Equal(t, r.to.about("VM1")[0].fault, s.fault)
	}
}

func TestManyAtOnce(t *testing.T) {
	r := newRig(t, simulated.Options{Hosts: 4, VMsPerHost: 50}, nil).run().watching()
	for _, vm := range r.cluster.VMs() {
		r.do(r.cluster.KillVM(vm.Name))
	}
	r.eventually("all are reported", func() bool {
		for _, vm := range r.cluster.VMs() {
			if len(r.to.faults(vm.Name)) != 1 {
				return false
			}
		}
		return true
	})
	assert.Equal(t, 200.0, r.metric("holdfast_monitor_faults_current"))
	r.eventually("nothing is left to send", func() bool { return r.metric("holdfast_monitor_unsent_signals") == 0 })
}

func TestManyAtOnceThroughASmallBuffer(t *testing.T) {
	// Events are lost on the way, and Overflow makes up for them.
	r := newRig(t, simulated.Options{Hosts: 2, VMsPerHost: 100, EventBuffer: 8}, nil).run().watching()
	for _, vm := range r.cluster.VMs() {
		r.do(r.cluster.KillVM(vm.Name))
	}
	r.eventually("all are reported", func() bool {
		for _, vm := range r.cluster.VMs() {
			if len(r.to.faults(vm.Name)) != 1 {
				return false
			}
		}
		return true
	})
}

func TestRunLeavesNothingBehind(t *testing.T) {
	before := goroutines(t)
	r := newRig(t, simulated.Options{Hosts: 5, VMsPerHost: 4}, sweeping).run().watching()
	r.do(r.cluster.HangLibvirtd("C")) // one call is under way when it ends
	r.do(r.cluster.KillVM("VM1"))
	r.eventually("the fault arrives", func() bool { return len(r.to.faults("VM1")) == 1 })
	require.Greater(t, goroutines(t), before)
	r.stop()
	r.eventually("all goroutines have ended", func() bool { return goroutines(t) == before })
	require.Error(t, r.m.Run(context.Background()), "a second Run")
}

func TestReadyNamesWhatIsMissing(t *testing.T) {
	r := newRig(t, twoHosts, func(o *Options) { o.CallTimeout = never })
	require.ErrorContains(t, r.m.Ready(), "2 of 2 hosts not tried yet: A, B")
	r.do(r.cluster.HangLibvirtd("B"))
	r.run()
	r.eventually("A is tried", func() bool { return r.m.Snapshot().Hosts[0].Tried })
	require.ErrorContains(t, r.m.Ready(), "1 of 2 hosts not tried yet: B")
	r.do(r.cluster.ResumeLibvirtd("B"))
	r.watching()
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	site := simulated.New(twoHosts).Site()
	for want, o := range map[string]Options{
		"site has no name": {Hosts: site, Reporter: &reporter{}},
		"has no hosts":     {Site: "s", Reporter: &reporter{}},
		"report to":        {Site: "s", Hosts: site},
	} {
		_, err := New(o)
		require.ErrorContains(t, err, want)
	}
	m, err := New(Options{Site: "s", Hosts: site, Reporter: &reporter{}})
	require.NoError(t, err)
	assert.Equal(t, 10*time.Second, m.opts.Sweep)
	assert.Equal(t, 5*time.Minute, m.opts.ResayMax)
	assert.Equal(t, 16, m.opts.Concurrency)
	assert.NotEmpty(t, m.opts.Identity)
}

// detect may not import hypervisor, so it has libvirt's words as its own. They
// must stay the same words.
func TestDetectKnowsTheDriversWords(t *testing.T) {
	for _, s := range []hypervisor.State{
		hypervisor.StateRunning, hypervisor.StateBlocked, hypervisor.StatePaused, hypervisor.StateShutdown,
		hypervisor.StateShutoff, hypervisor.StateCrashed, hypervisor.StatePMSuspended, hypervisor.StateUnknown,
	} {
		assert.Equal(t, s.Active(), detect.Active(string(s)), string(s))
	}
	for _, c := range []struct {
		state  hypervisor.State
		reason hypervisor.Reason
		want   detect.Meaning
	}{
		{hypervisor.StateRunning, hypervisor.ReasonBooted, detect.Healthy},
		{hypervisor.StateBlocked, hypervisor.ReasonUnknown, detect.Healthy},
		{hypervisor.StateShutdown, hypervisor.ReasonUser, detect.Transition},
		{hypervisor.StatePaused, hypervisor.ReasonStartingUp, detect.Transition},
		{hypervisor.StatePaused, hypervisor.ReasonMigrating, detect.Transition},
		{hypervisor.StatePaused, hypervisor.ReasonUser, detect.Held},
		{hypervisor.StatePaused, hypervisor.ReasonIOError, detect.Held},
		{hypervisor.StatePMSuspended, hypervisor.ReasonUnknown, detect.Held},
		{hypervisor.StateCrashed, hypervisor.ReasonPanicked, detect.Faulty},
		{hypervisor.StatePaused, hypervisor.ReasonCrashed, detect.Faulty},
		{hypervisor.StateShutoff, hypervisor.ReasonCrashed, detect.Faulty},
		{hypervisor.StateShutoff, hypervisor.ReasonFailed, detect.Faulty},
		{hypervisor.StateShutoff, hypervisor.ReasonDaemon, detect.Faulty},
		{hypervisor.StateShutoff, hypervisor.ReasonShutdown, detect.Intent},
		{hypervisor.StateShutoff, hypervisor.ReasonDestroyed, detect.Intent},
		{hypervisor.StateShutoff, hypervisor.ReasonSaved, detect.Intent},
		{hypervisor.StateShutoff, hypervisor.ReasonFromSnapshot, detect.Intent},
		{hypervisor.StateShutoff, hypervisor.ReasonMigrated, detect.Moved},
		{hypervisor.StateShutoff, hypervisor.ReasonUnknown, detect.Doubt},
		{hypervisor.StateUnknown, hypervisor.ReasonUnknown, detect.Doubt},
	} {
		got := detect.Classify(detect.Observation{State: string(c.state), Reason: string(c.reason)}, detect.Listing, detect.Verdict{})
		assert.Equal(t, c.want, got.Meaning, "%s (%s)", c.state, c.reason)
	}
}
