package detect

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"holdfast/internal/fault"
)

// word is a state and a reason that a host may give.
type word struct{ state, reason string }

var (
	words = []word{
		{"running", "booted"}, {"running", "migrated"}, {"blocked", "unknown"},
		{"paused", "user"}, {"paused", "starting up"}, {"paused", "migrating"}, {"paused", "crashed"},
		{"in shutdown", "user"}, {"crashed", "panicked"}, {"no state", "unknown"},
		{"shut off", "crashed"}, {"shut off", "failed"}, {"shut off", "daemon"}, {"shut off", "unknown"},
		{"shut off", "shutdown"}, {"shut off", "destroyed"}, {"shut off", "saved"},
		{"shut off", "from snapshot"}, {"shut off", "migrated"},
	}
	intents = []word{
		{"shut off", "shutdown"}, {"shut off", "destroyed"}, {"shut off", "saved"}, {"shut off", "from snapshot"},
	}
	hostNames = []string{"A", "B", "C"}
	vms       = []fault.VM{{UUID: "1", Name: "VM1"}, {UUID: "2", Name: "VM2"}}
)

func (w word) active() bool   { return Active(w.state) }
func (w word) panicked() bool { return w.state == "crashed" || w == word{"paused", "crashed"} }

// seen is what the model has of one VM on one host.
type seen struct {
	word
	at time.Time
}

// model is what the hosts said, without any conclusion.
type model struct {
	now      int
	last     map[string]map[string]seen // host, UUID
	listed   map[string]time.Time
	lost     map[string]time.Time
	tracker  *Tracker
	standing map[string]fault.Fault // by UUID, from the changes alone
}

func newModel() *model {
	m := &model{
		last: map[string]map[string]seen{}, listed: map[string]time.Time{}, lost: map[string]time.Time{},
		tracker: NewTracker("s", "m", hostNames), standing: map[string]fault.Fault{},
	}
	for _, h := range hostNames {
		m.last[h] = map[string]seen{}
	}
	return m
}

func (m *model) tick() time.Time { m.now++; return sec(m.now) }

// list is a listing asked for at that time, which may be before the last event.
func (m *model) list(t *rapid.T, host string, at time.Time, of map[string]word) {
	var obs []Observation
	for _, vm := range vms {
		w, ok := of[vm.UUID]
		if ok {
			obs = append(obs, Observation{VM: vm, State: w.state, Reason: w.reason})
		}
		switch was, known := m.last[host][vm.UUID]; {
		case at.Before(m.listed[host]) || known && was.at.After(at):
		case ok:
			m.last[host][vm.UUID] = seen{w, at}
		default:
			delete(m.last[host], vm.UUID)
		}
	}
	if !at.Before(m.listed[host]) {
		m.listed[host] = at
	}
	m.check(t, m.tracker.Listed(host, at, obs))
}

func (m *model) event(t *rapid.T, host, uuid string, w word) {
	at := m.tick()
	m.last[host][uuid] = seen{w, at}
	vm := vms[slices.IndexFunc(vms, func(v fault.VM) bool { return v.UUID == uuid })]
	m.check(t, m.tracker.Observed(host, at, Observation{VM: vm, State: w.state, Reason: w.reason}))
}

func (m *model) unreachable(t *rapid.T, host string) {
	at := m.tick()
	m.lost[host] = at
	m.check(t, m.tracker.Unreachable(host, at))
}

// step does one arbitrary thing.
func (m *model) step(t *rapid.T) {
	host := rapid.SampledFrom(hostNames).Draw(t, "host")
	switch rapid.SampledFrom([]string{"list", "list", "event", "event", "event", "unreachable"}).Draw(t, "what") {
	case "list":
		at := m.tick().Add(-time.Duration(rapid.IntRange(0, 4).Draw(t, "late"))*time.Second - time.Second/2)
		if !at.After(m.listed[host]) {
			at = sec(m.now).Add(-time.Second / 2) // no clock gives the same time twice
		}
		m.list(t, host, at, drawListing(t))
	case "event":
		uuid := rapid.SampledFrom(vms).Draw(t, "vm").UUID
		m.event(t, host, uuid, rapid.SampledFrom(words).Draw(t, "word"))
	case "unreachable":
		m.unreachable(t, host)
	}
}

func drawListing(t *rapid.T) map[string]word {
	of := map[string]word{}
	for _, vm := range vms {
		if rapid.Bool().Draw(t, "there") {
			of[vm.UUID] = rapid.SampledFrom(words).Draw(t, "word")
		}
	}
	return of
}

// check holds every change, and what stands after it, against the model.
func (m *model) check(t *rapid.T, changes []Change) {
	for _, c := range changes {
		cur, standing := m.standing[c.Fault.VM.UUID]
		if err := c.Fault.Validate(); err != nil {
			t.Fatal(err)
		}
		if c.Fault.Last.Before(c.Fault.First) {
			t.Fatalf("%s: last %s is before first %s", c.Fault.ID, c.Fault.Last, c.Fault.First)
		}
		switch c.Kind {
		case Raised:
			if standing {
				t.Fatalf("raised %s while %s stands", c.Fault.ID, cur.ID)
			}
			m.standing[c.Fault.VM.UUID] = c.Fault
		case StillTrue, Cleared:
			if !standing || cur.ID != c.Fault.ID {
				t.Fatalf("%s %s, while %q stands", c.Kind, c.Fault.ID, cur.ID)
			}
			m.standing[c.Fault.VM.UUID] = c.Fault
			if c.Kind == Cleared {
				delete(m.standing, c.Fault.VM.UUID)
			}
		case Doubted:
			if standing {
				t.Fatalf("doubted %s while %s stands", c.Fault.ID, cur.ID)
			}
		}
		if c.Kind == Raised || c.Kind == StillTrue {
			m.checkElsewhere(t, c.Fault)
		}
	}
	m.checkStanding(t)
}

func (m *model) checkStanding(t *rapid.T) {
	got := m.tracker.Faults()
	if len(got) != len(m.standing) {
		t.Fatalf("the tracker has %d faults, its changes make %d", len(got), len(m.standing))
	}
	tried := 0
	for _, h := range hostNames {
		if !m.listed[h].IsZero() || !m.lost[h].IsZero() {
			tried++
		}
	}
	if len(got) > 0 && tried < len(hostNames) {
		t.Fatalf("raised after only %d of %d hosts were tried", tried, len(hostNames))
	}
	for _, f := range got {
		for _, h := range hostNames {
			s, ok := m.last[h][f.VM.UUID]
			if !ok || !s.active() {
				continue
			}
			if h == f.Host && s.panicked() {
				continue
			}
			if h != f.Host && m.lost[h].After(s.at) {
				continue // it was lost since: the VM may have been seen elsewhere
			}
			t.Fatalf("%s of %s on %s stands while it is %s on %s", f.Kind, f.VM, f.Host, s.state, h)
		}
		if own := m.last[f.Host][f.VM.UUID]; f.Seen.State != own.state || f.Seen.Reason != own.reason {
			t.Fatalf("the fault says %s, the host last said %v", f.Seen, own.word)
		}
	}
}

// checkElsewhere: proof must be exact.
func (m *model) checkElsewhere(t *rapid.T, f fault.Fault) {
	var want []fault.Sighting
	for _, h := range hostNames {
		s, ok := m.last[h][f.VM.UUID]
		switch {
		case h == f.Host:
		case ok:
			want = append(want, fault.Sighting{Host: h, State: s.state, Reason: s.reason, At: s.at})
		case !m.listed[h].IsZero():
			want = append(want, fault.Sighting{Host: h, Absent: true, At: m.listed[h]})
		}
	}
	if !slices.Equal(want, f.Elsewhere) {
		t.Fatalf("elsewhere is %v, the hosts said %v", f.Elsewhere, want)
	}
}

func TestAnyHistoryKeepsTheRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel()
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			m.step(t)
		}
	})
}

// Whatever came before: a VM that was seen running and was then stopped on
// purpose raises nothing, however often the hosts repeat themselves, restart
// their libvirtd, drop away or forget the domain.
func TestAnIntentStopNeverRaises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel()
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			m.step(t)
		}
		uuid, home := vms[0].UUID, rapid.SampledFrom(hostNames).Draw(t, "home")
		for _, h := range hostNames {
			if h != home && m.last[h][uuid].active() {
				m.event(t, h, uuid, word{"shut off", "migrated"})
			}
		}
		m.event(t, home, uuid, word{"running", "booted"})
		m.event(t, home, uuid, rapid.SampledFrom(intents).Draw(t, "intent"))
		for range rapid.IntRange(1, 12).Draw(t, "after") {
			if f, ok := m.standing[uuid]; ok {
				t.Fatalf("%s stands: %s", f.ID, f.Why)
			}
			m.repeat(t, rapid.SampledFrom(hostNames).Draw(t, "host"))
		}
	})
}

// repeat lets a host say what it said before, or forget some of it.
func (m *model) repeat(t *rapid.T, host string) {
	how := rapid.SampledFrom([]string{"same", "restarted", "gone", "silent"}).Draw(t, "how")
	if how == "silent" {
		m.unreachable(t, host)
		return
	}
	of := map[string]word{}
	for uuid, s := range m.last[host] {
		w := s.word
		if how == "restarted" && w.state == "shut off" {
			w.reason = "unknown"
		}
		if how != "gone" || w.active() {
			of[uuid] = w
		}
	}
	m.list(t, host, m.tick(), of)
}

func TestListingTwiceIsListingOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel()
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			m.step(t)
		}
		host, of := rapid.SampledFrom(hostNames).Draw(t, "host"), drawListing(t)
		m.list(t, host, m.tick(), of)
		for range 2 {
			var obs []Observation
			for _, vm := range vms {
				if w, ok := of[vm.UUID]; ok {
					obs = append(obs, Observation{VM: vm, State: w.state, Reason: w.reason})
				}
			}
			for _, c := range m.tracker.Listed(host, m.tick(), obs) {
				if c.Kind != StillTrue {
					t.Fatalf("the same listing again: %s %s", c.Kind, c.Fault.ID)
				}
			}
		}
	})
}

// Hosts are asked at their own times and answer in any order.
func TestOrderOfHostsDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var rounds [][]map[string]word
		for range rapid.IntRange(1, 3).Draw(t, "rounds") {
			round := []map[string]word{}
			for range hostNames {
				round = append(round, drawListing(t))
			}
			rounds = append(rounds, round)
		}
		outcome := func(order []int) string {
			tr := NewTracker("s", "m", hostNames)
			for n, round := range rounds {
				for _, i := range order {
					var obs []Observation
					for _, vm := range vms {
						if w, ok := round[i][vm.UUID]; ok {
							obs = append(obs, Observation{VM: vm, State: w.state, Reason: w.reason})
						}
					}
					tr.Listed(hostNames[i], sec(10*n+i), obs)
				}
			}
			out := ""
			for _, f := range tr.Faults() {
				out += fmt.Sprintf("%s %s %s, ", f.VM, f.Kind, f.Host)
			}
			return out
		}
		order := rapid.Permutation([]int{0, 1, 2}).Draw(t, "order")
		if a, b := outcome([]int{0, 1, 2}), outcome(order); a != b {
			t.Fatalf("in order: %q, in the order %v: %q", a, order, b)
		}
	})
}
