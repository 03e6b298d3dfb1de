package detect

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/detect/rules"
	"holdfast/internal/fault"
)

// world drives an Engine. Every host has one VM: VM-A on A, and so on.
type world struct {
	t *testing.T
	*Engine
	now     int // seconds
	states  map[string]word
	samples map[string]rules.VMSample
	said    []string
}

func newWorld(t *testing.T, hosts ...string) *world {
	o := DefaultOptions()
	o.Site, o.Reporter = "s", "m"
	for _, h := range hosts {
		o.Hosts = append(o.Hosts, HostOptions{Name: h, Points: []string{"tcp", "worker"}})
	}
	e, err := NewEngine(o)
	require.NoError(t, err)
	w := &world{t: t, Engine: e, states: map[string]word{}, samples: map[string]rules.VMSample{}}
	for _, h := range hosts {
		w.states[h] = word{"running", "booted"}
		w.samples[h] = rules.VMSample{VCPUs: 2, MemoryAvailable: 1 << 30, MemoryUnused: 1 << 29}
	}
	w.round(hosts...)
	for _, h := range hosts {
		w.describe(h, Profile{HasAgent: true, Disks: []string{"/images/" + h + ".qcow2"}})
	}
	w.says()
	return w
}

func vmOn(host string) fault.VM { return fault.VM{UUID: "u-" + host, Name: "VM-" + host} }

func (w *world) at() time.Time { return sec(w.now) }

func (w *world) note(changes []Change) {
	for _, c := range changes {
		require.NoError(w.t, c.Fault.Validate())
		if c.Kind != StillTrue {
			w.said = append(w.said, fmt.Sprintf("%s %s %s", c.Kind, c.Fault.Kind, c.Fault.Subject()))
		}
	}
}

// says fails unless since the last call these changes came, besides repeats.
func (w *world) says(want ...string) {
	w.t.Helper()
	require.Equal(w.t, want, w.said)
	w.said = nil
}

func (w *world) list(host string) {
	var seen []Observation
	if s := w.states[host]; s.state != "" {
		seen = append(seen, Observation{VM: vmOn(host), State: s.state, Reason: s.reason})
	}
	w.note(w.Listed(host, w.at(), seen))
}

func (w *world) event(host, state, reason string) {
	w.states[host] = word{state, reason}
	w.note(w.Observed(host, w.at(), Observation{VM: vmOn(host), State: state, Reason: reason}))
}

func (w *world) describe(host string, p Profile) { w.note(w.Described(host, w.at(), vmOn(host), p)) }

// sample samples the host's VM, with half a CPU used since last time.
func (w *world) sample(host string) {
	s := w.samples[host]
	if w.states[host].state == "" || !Active(w.states[host].state) {
		w.note(w.Sampled(host, w.at(), nil))
		return
	}
	s.At = w.at()
	s.CPU += 5 * time.Second
	w.samples[host] = s
	w.note(w.Sampled(host, w.at(), []VMSample{{VM: vmOn(host), VMSample: s}}))
}

// round lists and samples the hosts once.
func (w *world) round(hosts ...string) {
	for _, h := range hosts {
		w.list(h)
		w.sample(h)
	}
	w.note(w.Tick(w.at()))
}

// pass lets seconds go by; every ten, the hosts that are named are asked, and
// those in silent do not answer.
func (w *world) pass(seconds int, hosts, silent []string) {
	for range seconds {
		w.now++
		for _, h := range silent {
			if w.now%10 == 0 {
				w.note(w.Unreachable(h, w.at(), "no answer"))
			}
		}
		if w.now%10 == 0 {
			for _, h := range hosts {
				w.list(h)
				w.sample(h)
			}
		}
		w.note(w.Tick(w.at()))
	}
}

func (w *world) vote(host, from string, says fault.Verdict) {
	w.Voted(host, w.at(), fault.Vote{From: from, Says: says, At: w.at()})
}

func TestHungQEMUIsMissingFromTheStatistics(t *testing.T) {
	w := newWorld(t, "A")
	hang := func(seconds int) {
		for range seconds / 10 {
			w.now += 10
			w.list("A")
			w.note(w.Sampled("A", w.at(), nil))
			for i := range 2 { // it wants to look closely, and both answers come at once
				for _, want := range w.TakeWants() {
					if want.Kind == WantSample {
						w.note(w.Sampled("A", w.at().Add(time.Duration(i+1)*time.Millisecond), nil))
					}
				}
			}
		}
	}
	hang(10)
	w.pass(10, []string{"A"}, nil) // a sample that is lost is none
	hang(30)
	w.says()
	hang(10)
	w.says("raised hung VM-A")
	w.pass(10, []string{"A"}, nil)
	w.says("cleared hung VM-A")
	hang(40)
	w.event("A", "shut off", "failed") // a worse one takes its place
	w.says("raised hung VM-A", "cleared hung VM-A", "raised crashed VM-A")
}

func TestStuckGuestNeedsASilentAgentToo(t *testing.T) {
	w := newWorld(t, "A")
	w.note(w.GuestAnswered("A", w.at(), vmOn("A"), 0, nil))
	stuck := func(seconds int, agent error) {
		for range seconds / 10 {
			w.now += 10
			w.list("A")
			s := w.samples["A"]
			s.At = w.at()
			w.note(w.Sampled("A", w.at(), []VMSample{{VM: vmOn("A"), VMSample: s}}))
			for _, want := range w.TakeWants() {
				if want.Kind == WantGuest {
					w.note(w.GuestAnswered("A", w.at(), vmOn("A"), 0, agent))
				}
			}
		}
	}
	stuck(120, nil) // idle, and its agent answers
	w.says()
	stuck(60, errors.New("no answer"))
	w.says("raised hung VM-A")
	stuck(10, nil)
	stuck(10, nil)
	w.says("cleared hung VM-A")
}

func TestPauseThatNobodyAskedFor(t *testing.T) {
	for reason, kind := range map[string]string{"unknown": "raised paused VM-A", "user": "", "migrating": "", "saving": ""} {
		t.Run(reason, func(t *testing.T) {
			w := newWorld(t, "A")
			w.event("A", "paused", reason)
			w.pass(20, []string{"A"}, nil)
			w.says()
			w.pass(30, []string{"A"}, nil)
			if kind == "" {
				w.says()
				return
			}
			w.says(kind)
			w.event("A", "running", "unpaused")
			w.says("cleared paused VM-A")
		})
	}
}

func TestIOErrorSaysWhy(t *testing.T) {
	pools := func(w *world, running bool) {
		w.note(w.PoolsListed("A", w.at(), []PoolState{{Name: "images", State: "x", Running: running, Autostart: true, Target: "/images", Capacity: 100, Available: 50}}))
	}
	t.Run("no space", func(t *testing.T) {
		w := newWorld(t, "A")
		w.note(w.DiskFailed("A", w.at(), vmOn("A"), "vda", true))
		w.event("A", "paused", "I/O error")
		w.note(w.DisksTold("A", w.at(), vmOn("A"), true))
		w.says("raised no-space VM-A")
		w.event("A", "running", "unpaused")
		w.says("cleared no-space VM-A")
	})
	t.Run("the disk itself", func(t *testing.T) {
		w := newWorld(t, "A")
		w.event("A", "paused", "I/O error")
		w.note(w.Tick(w.at()))
		w.says()
		require.Contains(t, w.TakeWants(), Want{WantDisks, "A", vmOn("A")})
		pools(w, true)
		w.note(w.DisksTold("A", w.at(), vmOn("A"), false))
		w.says("raised io-error VM-A")
	})
	t.Run("nobody can tell", func(t *testing.T) {
		w := newWorld(t, "A")
		w.event("A", "paused", "I/O error")
		w.pass(9, []string{"A"}, nil)
		w.says("raised io-error VM-A")
	})
	t.Run("its pool turns out to be lost at the first look for it", func(t *testing.T) {
		w := newWorld(t, "A")
		pools(w, true)
		w.now++
		w.event("A", "paused", "I/O error")
		for range 2 { // the look that it wants, and the one that is to confirm it
			require.Contains(t, w.TakeWants(), Want{Kind: WantPools, Host: "A"})
			pools(w, false)
		}
		w.note(w.DisksTold("A", w.at(), vmOn("A"), false))
		w.says("raised pool-lost images")
	})
	t.Run("its pool is lost", func(t *testing.T) {
		w := newWorld(t, "A")
		pools(w, true)
		w.now++
		w.event("A", "paused", "I/O error")
		w.note(w.DisksTold("A", w.at(), vmOn("A"), false))
		w.now++
		pools(w, false)
		w.says()
		w.now += 2
		pools(w, false)
		w.says("raised pool-lost images")
		require.Equal(t, 1, w.Faults()[0].Inhibits)
		w.now += 60
		pools(w, true) // the VM stays paused when the pool is back
		w.says("cleared pool-lost images", "raised io-error VM-A")
	})
}

func TestAVMThatItsHostForgot(t *testing.T) {
	w := newWorld(t, "A", "B")
	w.states["A"] = word{}
	w.now += 10
	w.list("A")
	w.says()
	w.now++
	w.list("B")
	w.says("raised lost VM-A")
	w.states["A"] = word{"running", "booted"}
	w.now += 10
	w.list("A")
	w.says("cleared lost VM-A")

	// One that lives on elsewhere is not lost, whoever is heard first.
	w.states["A"] = word{}
	w.now += 10
	w.list("A")
	w.now++
	w.note(w.Listed("B", w.at(), []Observation{{VM: vmOn("B"), State: "running"}, {VM: vmOn("A"), State: "running", Reason: "migrated"}}))
	w.note(w.Tick(w.at()))
	w.says()
}

func TestAgentThatDoesNotComeUp(t *testing.T) {
	w := newWorld(t, "A")
	boot := func(expected bool, seconds int, agent error) {
		w.event("A", "shut off", "shutdown")
		w.now++
		w.event("A", "running", "booted")
		w.describe("A", Profile{HasAgent: true, AgentExpected: expected})
		for range seconds / 10 {
			w.now += 10
			w.list("A")
			w.sample("A")
			for _, want := range w.TakeWants() {
				if want.Kind == WantGuest {
					w.note(w.GuestAnswered("A", w.at(), vmOn("A"), 0, agent))
				}
			}
		}
	}
	boot(false, 400, errors.New("no answer"))
	w.says()
	boot(true, 290, errors.New("no answer"))
	w.says()
	boot(true, 330, errors.New("no answer"))
	w.says("raised boot-failed VM-A")
	w.note(w.GuestAnswered("A", w.at(), vmOn("A"), 0, nil))
	w.says("cleared boot-failed VM-A")
}

func TestWatchdogAndClock(t *testing.T) {
	w := newWorld(t, "A")
	w.now += 400
	w.note(w.WatchdogFired("A", w.at(), vmOn("A"), "none"))
	w.says("raised watchdog VM-A")
	w.pass(130, []string{"A"}, nil)
	w.says("cleared watchdog VM-A")
	w.note(w.WatchdogFired("A", w.at(), vmOn("A"), "reset"))
	w.note(w.Rebooted("A", w.at(), vmOn("A")))
	w.says("raised watchdog VM-A", "cleared watchdog VM-A")
	w.now += 400
	w.note(w.GuestAnswered("A", w.at(), vmOn("A"), -time.Minute, nil))
	w.says("raised clock-skew VM-A")
	w.now += 300
	w.note(w.GuestAnswered("A", w.at(), vmOn("A"), time.Second, nil))
	w.says("cleared clock-skew VM-A")
}

func TestAFaultKeepsTheVMsAnnotation(t *testing.T) {
	w := newWorld(t, "A")
	w.describe("A", Profile{Labels: map[string]string{"tier": "db"}, Mode: "observe"})
	w.event("A", "shut off", "failed")
	w.says("raised crashed VM-A")
	w.pass(20, []string{"A"}, nil) // said again from listings, when no guest is there
	require.Equal(t, "observe", w.Faults()[0].Mode)
	require.Equal(t, "db", w.Faults()[0].Labels["tier"])
	changes := w.Listed("A", w.at().Add(time.Second), []Observation{{VM: vmOn("A"), State: "shut off", Reason: "crashed"}})
	require.Len(t, changes, 1)
	require.Equal(t, "observe", changes[0].Fault.Mode)
}

func TestRulesFollowTheVMsOwnAnnotation(t *testing.T) {
	w := newWorld(t, "A", "B")
	off := true
	w.describe("B", Profile{Overrides: map[string]rules.Override{"memory": {Off: &off}}})
	for _, h := range []string{"A", "B"} {
		s := w.samples[h]
		s.MemoryUnused = 1 << 27 // 87.5 % used
		w.samples[h] = s
	}
	w.pass(310, []string{"A", "B"}, nil)
	w.says("raised memory-pressure VM-A")
	require.Equal(t, fault.RespondAlarm, w.Faults()[0].Respond())
	require.NotEmpty(t, w.Faults()[0].Evidence)
	w.event("A", "shut off", "shutdown")
	w.says("cleared memory-pressure VM-A")
}
