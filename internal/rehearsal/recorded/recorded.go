// Package recorded holds incidents as they are recorded, for tests of what reads
// them. Their decisions are made by the ladder itself.
package recorded

import (
	"fmt"
	"strings"
	"time"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/ladder"
	"holdfast/internal/proof"
)

// First is when the faults of all incidents were first seen.
var First = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// VM is whom they befell.
var VM = fault.VM{UUID: "11111111-1111-4111-8111-111111111111", Name: "web"}

// Policy is what they were decided under.
func Policy() ladder.Policy {
	p := ladder.DefaultPolicy()
	p.Ladder = []ladder.Rung{ladder.RungResume, ladder.RungReset, ladder.RungRestart, ladder.RungPerson}
	return p
}

// Recorder makes an incident, step by step.
type Recorder struct {
	Inc contract.Incident
	// Situation is what the next decision is made from, besides Tried and Now.
	Situation ladder.Situation
	now       time.Time
}

// New opens an incident 40 ms after the first sign of the fault.
func New(kind fault.Kind, why string) *Recorder {
	f := fault.Fault{
		ID: "f1", Kind: kind, Site: "lab", VM: VM, Host: "kvm1", First: First, Last: First,
		Reporter: "monitor@here", Why: why, Labels: map[string]string{"tier": "db"}, Mode: "repair",
	}
	r := &Recorder{now: First}
	r.Inc = contract.Incident{
		ID: "incident/lab/web/20260102-030405", Site: "lab", VM: VM, Host: "kvm1", Fault: f,
		Stage: contract.StageConfirm, Why: why,
	}
	r.Situation = ladder.Situation{Fault: f, Policy: Policy()}
	r.After(40 * time.Millisecond)
	r.Inc.Opened = r.now
	r.Note(why)
	return r
}

// After lets time pass.
func (r *Recorder) After(d time.Duration) *Recorder {
	r.now = r.now.Add(d)
	return r
}

// Note tells the story.
func (r *Recorder) Note(text string) {
	r.Inc.Timeline = append(r.Inc.Timeline, contract.Entry{At: r.now, Stage: r.Inc.Stage, Text: text})
}

// Answers sets what kvm1, where the VM is, and kvm2 say from now on.
func (r *Recorder) Answers(state, reason string, active bool) *Recorder {
	r.Situation.Answers = []proof.Answer{
		{Sighting: fault.Sighting{Host: "kvm1", State: state, Reason: reason, At: r.now}, Active: active},
		{Sighting: fault.Sighting{Host: "kvm2", Absent: true, At: r.now}},
	}
	r.Inc.Fault.Seen = r.Situation.Answers[0].Sighting
	return r
}

// Decide has the ladder decide, and writes that down as the workflow does.
func (r *Recorder) Decide() ladder.Decision {
	s := r.Situation
	s.Now, s.Tried = r.now, append([]ladder.Attempt(nil), r.Inc.Attempts...)
	d := ladder.Next(s)
	r.Inc.Why = d.Why
	for _, t := range d.Turned {
		r.Note(fmt.Sprintf("turned down %s: %s", t.Rung, t.Why))
	}
	r.Inc.Decisions = append(r.Inc.Decisions, contract.Decided{At: r.now, Situation: s, Decision: d})
	return d
}

// Try decides to climb, waits its backoff, and takes so long; failed is empty for a
// try that worked.
func (r *Recorder) Try(took time.Duration, failed string) {
	d := r.Decide()
	r.After(d.Wait)
	verb := string(d.Rung)
	if d.Rung == ladder.RungRestart {
		verb = "start"
	}
	if n := len(r.Inc.Attempts); n > 0 {
		r.Note(fmt.Sprintf("try %d: %s it on %s", n+1, verb, d.Host))
	} else {
		r.Note(strings.TrimPrefix(d.Why, r.Inc.Fault.Why+": "))
	}
	r.Inc.Stage = contract.StageOf(d.Rung)
	began := r.now
	r.After(took)
	a := ladder.Attempt{Rung: d.Rung, Host: d.Host, Began: began, Ended: r.now, OK: failed == "", Error: failed}
	r.Inc.Attempts = append(r.Inc.Attempts, a)
	if failed != "" {
		r.Note(fmt.Sprintf("try %d failed: %s", len(r.Inc.Attempts), failed))
		return
	}
	r.Inc.Started = began.Add(took / 4)
	r.Inc.Verified = r.now
	r.Close(contract.OutcomeRecovered, "web is running on kvm1 and stayed so for 5s")
}

// Act has a person say something.
func (r *Recorder) Act(verb contract.Verb, rung ladder.Rung, why string) {
	r.Inc.Acts = append(r.Inc.Acts, contract.Act{Verb: verb, By: "ann@desk", Why: why, At: r.now, Rung: rung})
	if verb == contract.VerbRetry {
		r.Note("ann@desk wants another try. " + why)
		return
	}
	r.Note(fmt.Sprintf("ann@desk %s %s: %s", verb.Past(), rung, why))
}

// Close ends it.
func (r *Recorder) Close(o contract.Outcome, why string) {
	r.After(10 * time.Millisecond)
	r.Inc.Outcome, r.Inc.Closed, r.Inc.Why = o, r.now, why
	r.Note(fmt.Sprintf("%s: %s", o, why))
}
