package monitor

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/contract"
	"holdfast/internal/detect"
	"holdfast/internal/detect/rules"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/simulated"
)

// close watching: everything that takes time takes little.
func closely(o *Options) {
	o.Sweep, o.Sample, o.Pools = quick, quick, quick
	o.Detect = detect.Options{
		HungAfter: 3 * quick, BootWithin: 5 * quick, UnreachableAfter: 3 * quick,
		Rules: slices.Clone(rules.Defaults()),
	}
	for i := range o.Detect.Rules {
		o.Detect.Rules[i].For, o.Detect.Rules[i].Warmup = 0, 0
	}
}

// stands waits for a fault of a kind about a subject, and checks that no fault
// about anything else stands.
func (r *rig) stands(kind fault.Kind, subject string) fault.Fault {
	r.t.Helper()
	var found fault.Fault
	r.eventually(string(kind)+" of "+subject, func() bool {
		for _, f := range r.m.Snapshot().Faults {
			if f.Kind == kind && f.Subject() == subject {
				found = f
				return true
			}
		}
		return false
	})
	require.NoError(r.t, found.Validate())
	require.NotEmpty(r.t, found.Why)
	require.Len(r.t, r.m.Snapshot().Faults, 1)
	return found
}

func (r *rig) calm() {
	r.t.Helper()
	r.eventually("no fault stands", func() bool { return len(r.m.Snapshot().Faults) == 0 })
}

func TestSignsOfTroubleInVMs(t *testing.T) {
	load := func(l simulated.Load) func(*simulated.Cluster) error {
		return func(c *simulated.Cluster) error { return c.SetLoad("VM1", l) }
	}
	for kind, c := range map[fault.Kind]struct {
		breaks, mends func(*simulated.Cluster) error
	}{
		fault.KindHung:    {func(c *simulated.Cluster) error { return c.HangVM("VM1") }, func(c *simulated.Cluster) error { return c.UnhangVM("VM1") }},
		fault.KindIOError: {func(c *simulated.Cluster) error { return c.FailDisk("VM1", false) }, func(c *simulated.Cluster) error { return errors.Join(c.MendDisk("VM1"), c.ResumeVM("VM1")) }},
		fault.KindNoSpace: {func(c *simulated.Cluster) error { return c.FailDisk("VM1", true) }, func(c *simulated.Cluster) error { return errors.Join(c.MendDisk("VM1"), c.ResumeVM("VM1")) }},
		fault.KindPaused:  {func(c *simulated.Cluster) error { return c.PauseVM("VM1", hypervisor.ReasonUnknown) }, func(c *simulated.Cluster) error { return c.ResumeVM("VM1") }},
		fault.KindLost:    {func(c *simulated.Cluster) error { return c.LoseVM("VM1") }, nil},
		fault.KindClock:   {func(c *simulated.Cluster) error { return c.SkewGuestClock("VM1", time.Minute) }, func(c *simulated.Cluster) error { return c.SkewGuestClock("VM1", 0) }},
		fault.KindCPU:     {load(simulated.Load{CPU: 97}), load(simulated.Load{CPU: 5})},
		fault.KindMemory:  {load(simulated.Load{MemoryUsed: 97}), load(simulated.Load{MemoryUsed: 5})},
		fault.KindDiskIO:  {load(simulated.Load{DiskOps: 4000}), load(simulated.Load{})},
		fault.KindNet:     {load(simulated.Load{NetBytes: 1e9}), load(simulated.Load{})},
	} {
		t.Run(string(kind), func(t *testing.T) {
			r := newRig(t, twoHosts, closely).run().watching()
			r.do(c.breaks(r.cluster))
			f := r.stands(kind, "VM1")
			require.Equal(t, "A", f.Host)
			if c.mends != nil {
				r.do(c.mends(r.cluster))
				r.calm()
			}
		})
	}
}

func TestAStuckGuestIsHung(t *testing.T) {
	r := newRig(t, twoHosts, closely).run().watching()
	r.eventually("the agent has answered", func() bool {
		x, err := r.m.Explain(t.Context(), contract.ExplainInput{Name: "VM1"})
		return err == nil && slices.ContainsFunc(x.Facts, func(e fault.Evidence) bool { return e.What == "guest agent" && e.Value == "answers" })
	})
	r.do(r.cluster.HangGuest("VM1"))
	f := r.stands(fault.KindHung, "VM1")
	require.Len(t, f.Evidence, 2, "progress and agent")
	r.do(r.cluster.UnhangGuest("VM1"))
	r.calm()
}

func TestSignsOfTroubleInHosts(t *testing.T) {
	t.Run("memory-errors", func(t *testing.T) {
		r := newRig(t, twoHosts, closely).run().watching()
		r.do(r.cluster.MemoryFailure("VM1", "hypervisor: action required"))
		r.stands(fault.KindMemoryErrors, "A")
	})
	for kind, change := range map[fault.Kind]func(*simulated.Node){
		fault.KindHostCPU:    func(n *simulated.Node) { n.CPU = 97 },
		fault.KindHostMemory: func(n *simulated.Node) { n.MemoryUsed = 97 },
	} {
		t.Run(string(kind), func(t *testing.T) {
			r := newRig(t, twoHosts, closely).run().watching()
			n := simulated.CalmNode()
			change(&n)
			r.do(r.cluster.SetNode("A", n))
			r.stands(kind, "A")
			r.do(r.cluster.SetNode("A", simulated.CalmNode()))
			r.calm()
		})
	}
	t.Run("pool-lost", func(t *testing.T) {
		r := newRig(t, twoHosts, closely).run().watching()
		r.do(r.cluster.LosePool("A"))
		f := r.stands(fault.KindPoolLost, "images")
		require.Equal(t, "A", f.Host)
		r.do(r.cluster.FailDisk("VM1", false)) // only a consequence
		r.eventually("it is counted", func() bool { return r.m.Snapshot().Faults[0].Inhibits == 1 })
		require.Len(t, r.m.Snapshot().Faults, 1)
	})
	t.Run("pool-full", func(t *testing.T) {
		r := newRig(t, twoHosts, closely).run().watching()
		r.do(r.cluster.FillPool("A", 96))
		r.stands(fault.KindPoolFull, "images")
		r.do(r.cluster.FillPool("A", 10))
		r.calm()
	})
}

// figures is an agent whose figures the test writes.
type figures struct {
	mu     sync.Mutex
	sample rules.AgentSample
	memory uint64
}

func (f *figures) Figures(context.Context) (rules.AgentSample, uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sample.At = time.Now()
	f.sample.DiskOps *= 2
	return f.sample, f.memory, nil
}

func TestSignsOnlyAnAgentSees(t *testing.T) {
	calm := rules.AgentSample{PSICPU: math.NaN(), PSIMemory: math.NaN(), PSIIO: math.NaN(), ClockSkew: math.NaN()}
	for kind, change := range map[fault.Kind]func(*figures){
		fault.KindHostPSI:      func(f *figures) { f.sample.PSIIO = 99 },
		fault.KindHostClock:    func(f *figures) { f.sample.ClockSkew = 60 },
		fault.KindHostDiskIO:   func(f *figures) { f.sample.DiskOps = 1 << 20 },
		fault.KindMemoryErrors: func(f *figures) { f.memory = 3 },
	} {
		t.Run(string(kind), func(t *testing.T) {
			agent := &figures{sample: calm}
			r := newRig(t, twoHosts, func(o *Options) {
				closely(o)
				o.Agents = map[string]Agent{"A": agent}
			}).run().watching()
			r.eventually("two samples", func() bool { return !r.m.Snapshot().Hosts[0].Sampled.IsZero() })
			first := r.m.Snapshot().Hosts[0].Sampled
			r.eventually("another sample", func() bool { return r.m.Snapshot().Hosts[0].Sampled.After(first) })
			agent.mu.Lock()
			change(agent)
			agent.mu.Unlock()
			r.stands(kind, "A")
		})
	}
}

// slow takes long for its statistics.
type slow struct{ hypervisor.Host }

func (s slow) Stats(ctx context.Context) ([]hypervisor.DomainStats, error) {
	select {
	case <-time.After(4 * quick):
	case <-ctx.Done():
	}
	return s.Host.Stats(ctx)
}

// elsewhere is a panel that the test writes.
type elsewhere struct {
	mu    sync.Mutex
	votes map[string]fault.Verdict
}

func (e *elsewhere) Points() []string { return []string{"tcp", "worker"} }

func (e *elsewhere) Look(context.Context) []fault.Vote {
	e.mu.Lock()
	defer e.mu.Unlock()
	var votes []fault.Vote
	for from, says := range e.votes {
		votes = append(votes, fault.Vote{From: from, Says: says, At: time.Now()})
	}
	return votes
}

func TestHostsThatDoNotAnswer(t *testing.T) {
	for kind, c := range map[fault.Kind]struct {
		breaks func(*simulated.Cluster) error
		votes  map[string]fault.Verdict
	}{
		fault.KindHostUnreachable: {func(c *simulated.Cluster) error { return c.CutHost("A") }, map[string]fault.Verdict{"tcp": fault.HostSilent, "worker": fault.HostSilent}},
		fault.KindHostOff:         {func(c *simulated.Cluster) error { return c.PowerOffHost("A") }, map[string]fault.Verdict{"power": fault.HostOff}},
		fault.KindLibvirtdDead:    {func(c *simulated.Cluster) error { return c.KillLibvirtd("A") }, map[string]fault.Verdict{"tcp": fault.HostRefuses}},
		fault.KindLibvirtdHung:    {func(c *simulated.Cluster) error { return c.HangLibvirtd("A") }, map[string]fault.Verdict{"tcp": fault.HostAccepts}},
	} {
		t.Run(string(kind), func(t *testing.T) {
			r := newRig(t, simulated.Options{Hosts: 3, VMsPerHost: 2, DownAfter: quick}, func(o *Options) {
				closely(o)
				o.CallTimeout = 5 * quick
				o.Panels = map[string]Panel{"A": &elsewhere{votes: c.votes}}
			}).run().watching()
			r.do(c.breaks(r.cluster))
			f := r.stands(kind, "A")
			require.NotEmpty(t, f.Votes)
			require.Empty(t, r.to.about("VM1"), "no VM is blamed")
		})
	}
}

func TestTemporalAwayIsAnAlarm(t *testing.T) {
	alarm := &reporter{}
	r := newRig(t, twoHosts, func(o *Options) {
		closely(o)
		o.ResayInitial, o.ResayMax, o.TemporalAfter = quick, quick, quick
		o.Alarms = []Alarm{{Name: "am", To: alarm}}
	})
	r.to.setAway(errAway)
	r.run().watchingAlone()
	r.stands(fault.KindTemporalAway, "test")
	r.eventually("the alarm is sent", func() bool { return alarm.tried() > 0 })
	r.to.setAway(nil)
	r.calm()
}

// watchingAlone is watching, while Temporal is away.
func (r *rig) watchingAlone() {
	r.t.Helper()
	r.eventually("every host is tried", func() bool {
		return !slices.ContainsFunc(r.m.Snapshot().Hosts, func(h HostStatus) bool { return !h.Tried })
	})
}

func TestSamplingThatIsLate(t *testing.T) {
	r := newRig(t, twoHosts, func(o *Options) {
		closely(o)
		o.Hosts = wrap(t, o.Hosts, func(h hypervisor.Host) hypervisor.Host { return slow{h} })
	}).run().watching()
	r.stands(fault.KindLate, "test")
}
