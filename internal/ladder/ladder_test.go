package ladder_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"holdfast/internal/fault"
	"holdfast/internal/ladder"
	"holdfast/internal/proof"
)

var now = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

// says is the answer of a host: "absent", "silent", or a state and a reason.
func says(host, state, reason string) proof.Answer {
	a := proof.Answer{Sighting: fault.Sighting{Host: host, At: now}}
	switch state {
	case "absent":
		a.Absent = true
	case "silent":
		a.Error = "no answer in time"
	default:
		a.State, a.Reason, a.Active = state, reason, state != "shut off"
	}
	return a
}

func failedAgo(ago ...time.Duration) (out []ladder.Attempt) {
	for _, d := range ago {
		out = append(out, ladder.Attempt{Rung: ladder.RungRestart, Host: "A", Began: now.Add(-d), Ended: now.Add(-d), Error: "no such disk"})
	}
	return out
}

func situation(kind fault.Kind, answers ...proof.Answer) ladder.Situation {
	return ladder.Situation{
		Fault:   fault.Fault{ID: "1", Kind: kind, Site: "s", VM: fault.VM{UUID: "u", Name: "VM1"}, Host: "A"},
		Policy:  ladder.DefaultPolicy(),
		Answers: answers, Now: now, Stock: &ladder.Stock{}, Places: &ladder.Places{},
	}
}

func TestNext(t *testing.T) {
	type test struct {
		s      ladder.Situation
		change func(*ladder.Situation)
		action ladder.Action
		host   string
		wait   time.Duration
		why    string
	}
	crash := func(answers ...proof.Answer) ladder.Situation { return situation(fault.KindCrashed, answers...) }
	request := func(answers ...proof.Answer) ladder.Situation { return situation(fault.KindRequested, answers...) }
	nowhere := func(s *ladder.Situation) { s.Fault.Host = "" }
	for name, tc := range map[string]test{
		"crashed":                       {s: crash(says("A", "shut off", "crashed"), says("B", "absent", "")), action: ladder.ActClimb, host: "A"},
		"failed to start":               {s: crash(says("A", "shut off", "failed")), action: ladder.ActClimb, host: "A"},
		"lost with its host":            {s: crash(says("A", "shut off", "unknown")), action: ladder.ActClimb, host: "A"},
		"panicked":                      {s: crash(says("A", "crashed", "panicked")), action: ladder.ActClimb, host: "A"},
		"half started":                  {s: crash(says("A", "paused", "starting up")), action: ladder.ActClimb, host: "A"},
		"running again":                 {s: crash(says("A", "running", "booted")), action: ladder.ActVerify, host: "A"},
		"running elsewhere":             {s: crash(says("A", "shut off", "crashed"), says("B", "running", "migrated")), action: ladder.ActVerify, host: "B"},
		"running twice":                 {s: crash(says("A", "running", "booted"), says("B", "running", "booted")), action: ladder.ActPerson, why: "active on 2 hosts at once"},
		"a person paused it":            {s: crash(says("A", "paused", "user")), action: ladder.ActStandDown},
		"paused for a migration":        {s: crash(says("A", "paused", "migrating")), action: ladder.ActWait, wait: time.Second},
		"paused by an I/O error":        {s: crash(says("A", "paused", "I/O error")), action: ladder.ActClimb, host: "A", why: "resume it on A"},
		"going down":                    {s: crash(says("A", "in shutdown", "user")), action: ladder.ActWait, wait: time.Second},
		"shut down in order":            {s: crash(says("A", "shut off", "shutdown")), action: ladder.ActStandDown, why: "intent"},
		"a person destroyed it":         {s: crash(says("A", "shut off", "destroyed")), action: ladder.ActStandDown, why: "stays stopped"},
		"we destroyed it":               {s: crash(says("A", "shut off", "destroyed")), change: func(s *ladder.Situation) { s.OursStopped = true }, action: ladder.ActClimb, host: "A"},
		"destroyed, and asked for":      {s: request(says("A", "shut off", "destroyed")), action: ladder.ActClimb, host: "A"},
		"migrated away":                 {s: crash(says("A", "shut off", "migrated")), action: ladder.ActStandDown},
		"its host is silent":            {s: crash(says("A", "silent", ""), says("B", "absent", "")), action: ladder.ActWait, wait: time.Second, why: "may still run VM1"},
		"its host is long silent":       {s: crash(says("A", "silent", "")), change: func(s *ladder.Situation) { s.Waits = 40 }, action: ladder.ActWait, wait: 30 * time.Second},
		"its host is not in the site":   {s: crash(says("B", "absent", "")), action: ladder.ActPerson, why: "host A is not in the site file"},
		"gone from its host, home is B": {s: crash(says("A", "absent", ""), says("B", "shut off", "crashed")), action: ladder.ActClimb, host: "B"},
		"lost by A, and B has it from before": {s: situation(fault.KindLost, says("A", "absent", ""), says("B", "shut off", "migrated")),
			change: func(s *ladder.Situation) { s.Fault.Seen.Absent = true }, action: ladder.ActPerson, why: "knows it from earlier"},
		"defined nowhere":                {s: crash(says("A", "absent", ""), says("B", "absent", "")), action: ladder.ActPerson, why: "no host of the site has VM1 defined"},
		"known nowhere, one host silent": {s: crash(says("A", "absent", ""), says("B", "silent", "")), action: ladder.ActWait, wait: time.Second},
		"asked for, no host named":       {s: request(says("A", "absent", ""), says("B", "shut off", "shutdown")), change: nowhere, action: ladder.ActClimb, host: "B"},
		"asked for, defined twice":       {s: request(says("A", "shut off", "crashed"), says("B", "shut off", "crashed")), change: nowhere, action: ladder.ActPerson, why: "defined on 2 hosts"},
		"second try waits": {s: crash(says("A", "shut off", "failed")), change: func(s *ladder.Situation) { s.Tried = failedAgo(0) },
			action: ladder.ActClimb, host: "A", wait: time.Second, why: "try 2 of 5 after: no such disk"},
		"third try waits longer": {s: crash(says("A", "shut off", "failed")), change: func(s *ladder.Situation) { s.Tried = failedAgo(5*time.Second, 0) },
			action: ladder.ActClimb, host: "A", wait: 2 * time.Second},
		"the backoff counts from the failure": {s: crash(says("A", "shut off", "failed")), change: func(s *ladder.Situation) { s.Tried = failedAgo(time.Minute) },
			action: ladder.ActClimb, host: "A"},
		"budget used up": {s: crash(says("A", "shut off", "failed")), change: func(s *ladder.Situation) { s.Tried = failedAgo(5, 4, 3, 2, 1) },
			action: ladder.ActPerson, host: "A", why: "5 failed repairs within 10m0s; the last: no such disk"},
		"old failures are forgotten": {s: crash(says("A", "shut off", "failed")), change: func(s *ladder.Situation) {
			s.Tried = failedAgo(11*time.Minute, 11*time.Minute, 11*time.Minute, 11*time.Minute, time.Minute)
		}, action: ladder.ActClimb, host: "A"},
		"a crash loop uses up the budget too": {s: crash(says("A", "shut off", "crashed")), change: func(s *ladder.Situation) {
			s.Tried = failedAgo(5, 4, 3, 2, 1)
			for i := range s.Tried {
				s.Tried[i].OK = true
			}
		}, action: ladder.ActPerson, host: "A", why: "repaired, but failed again"},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.change != nil {
				tc.change(&tc.s)
			}
			d := ladder.Next(tc.s)
			require.Equal(t, tc.action, d.Action, d.Why)
			require.NotEmpty(t, d.Why, "every decision says why")
			require.Contains(t, d.Why, tc.why)
			require.Equal(t, tc.wait, d.Wait)
			if tc.host != "" {
				require.Equal(t, tc.host, d.Host)
			}
		})
	}
}

// A VM whose every start fails always ends with a person, after exactly the
// budget, whatever the policy.
func TestLadderEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := ladder.Policy{
			MaxFailures: rapid.IntRange(1, 10).Draw(t, "maxFailures"), Window: 24 * time.Hour,
			BackoffInitial: time.Duration(rapid.IntRange(0, 1000).Draw(t, "initial")) * time.Millisecond,
			BackoffMax:     time.Minute, BackoffFactor: rapid.Float64Range(1, 4).Draw(t, "factor"),
		}
		s := situation(fault.KindCrashed, says("A", "shut off", "failed"))
		s.Policy = p
		for range p.MaxFailures {
			d := ladder.Next(s)
			if d.Action != ladder.ActClimb || d.Wait < 0 || d.Wait > p.BackoffMax {
				t.Fatalf("%+v", d)
			}
			s.Now = s.Now.Add(d.Wait + time.Second)
			s.Tried = append(s.Tried, ladder.Attempt{Rung: d.Rung, Host: d.Host, Ended: s.Now, Error: "again"})
		}
		if d := ladder.Next(s); d.Action != ladder.ActPerson {
			t.Fatalf("after %d failures: %+v", p.MaxFailures, d)
		}
	})
}

// The same situation gives the same decision, and no decision starts a VM that
// some host has active and running.
func TestNextIsSafeAndPure(t *testing.T) {
	states := []string{"running", "paused", "in shutdown", "shut off", "crashed", "pmsuspended", "absent", "silent"}
	reasons := []string{"", "unknown", "booted", "user", "crashed", "panicked", "failed", "destroyed", "shutdown", "migrated", "starting up", "I/O error"}
	rapid.Check(t, func(t *rapid.T) {
		s := situation(rapid.SampledFrom(fault.Kinds()).Draw(t, "kind"))
		running := false
		for i := range rapid.IntRange(0, 3).Draw(t, "hosts") {
			state := rapid.SampledFrom(states).Draw(t, "state")
			running = running || state == "running"
			s.Answers = append(s.Answers, says(string(rune('A'+i)), state, rapid.SampledFrom(reasons).Draw(t, "reason")))
		}
		d := ladder.Next(s)
		if fmt.Sprint(d) != fmt.Sprint(ladder.Next(s)) {
			t.Fatal("not pure")
		}
		if d.Why == "" {
			t.Fatal("no reason given")
		}
		if running && (d.Action == ladder.ActClimb || d.Action == ladder.ActApprove) {
			t.Fatalf("would act on a VM that runs, whose guest nobody has looked at: %+v", d)
		}
	})
}

func TestPolicyValidate(t *testing.T) {
	require.NoError(t, ladder.DefaultPolicy().Validate())
	for field, breakIt := range map[string]func(*ladder.Policy){
		"maxFailures":      func(p *ladder.Policy) { p.MaxFailures = 0 },
		"window":           func(p *ladder.Policy) { p.Window = 0 },
		"backoff must":     func(p *ladder.Policy) { p.BackoffMax = 0 },
		"backoff.factor":   func(p *ladder.Policy) { p.BackoffFactor = 0.5 },
		"verify.stableFor": func(p *ladder.Policy) { p.StableFor = -1 },
	} {
		p := ladder.DefaultPolicy()
		breakIt(&p)
		require.ErrorContains(t, p.Validate(), field)
	}
}
