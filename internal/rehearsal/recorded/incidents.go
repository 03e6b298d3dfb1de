package recorded

import (
	"time"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/ladder"
	"holdfast/internal/proof"
)

// Panicked was reset in vain, and then restarted.
func Panicked() contract.Incident {
	r := New(fault.KindPanicked, "web panicked on kvm1")
	r.After(20*time.Millisecond).Answers("crashed", "panicked", true)
	r.Try(2*time.Second, "it panicked again: kvm1: crashed (panicked)")
	r.After(50 * time.Millisecond)
	r.Try(8*time.Second, "")
	return r.Inc
}

// CrashLoop failed until a person was asked, who had the disk brought back.
func CrashLoop() contract.Incident {
	r := New(fault.KindCrashed, "web crashed on kvm1")
	r.Situation.Policy.MaxFailures = 3
	r.After(20*time.Millisecond).Answers("shut off", "crashed", false)
	for range 3 {
		r.Try(300*time.Millisecond, "cannot open disk vda")
		r.After(10 * time.Millisecond)
	}
	d := r.Decide()
	r.Inc.Stage = contract.StageNeedsPerson
	r.Note("needs a person: " + d.Why)
	r.After(3*time.Hour + 25*time.Minute)
	r.Act(contract.VerbRetry, "", "the disk is back")
	r.After(20 * time.Millisecond)
	r.Try(6*time.Second, "")
	return r.Inc
}

// Approved asked for approval of a restart, and got it after a while.
func Approved() contract.Incident {
	r := asking()
	r.After(5 * time.Minute)
	r.Act(contract.VerbApprove, ladder.RungRestart, "the database team agrees")
	r.Inc.Proposal, r.Inc.NeedsPerson, r.Inc.Next = nil, false, ""
	r.Situation.Approved = []ladder.Rung{ladder.RungRestart}
	r.Try(7*time.Second, "")
	return r.Inc
}

// Asking waits for approval of a restart.
func Asking() contract.Incident { return asking().Inc }

func asking() *Recorder {
	r := New(fault.KindHung, "web hangs on kvm1")
	r.Situation.Policy.Approval = []ladder.Rung{ladder.RungRestart}
	r.Situation.Policy.ApprovalTimeout = time.Hour
	r.Situation.Vital = &ladder.Vital{Reachable: true, Why: "its guest agent does not answer, and it uses no CPU"}
	r.After(90*time.Millisecond).Answers("running", "booted", true)
	r.Try(31*time.Second, "its guest agent did not answer within 30s")
	r.After(10 * time.Millisecond)
	d := r.Decide()
	r.Inc.Stage, r.Inc.NeedsPerson = contract.StageNeedsPerson, true
	r.Note("asks for approval: " + d.Why)
	r.Inc.Proposal = &contract.Proposal{Rung: d.Rung, Host: d.Host, Why: d.Why, At: r.now, Until: r.Situation.Policy.Until(r.now), Then: ladder.FallbackEscalate}
	r.Inc.Next = "waits for approval of restart: `holdfast incident approve " + r.Inc.ID + " --reason ...`, or reject"
	return r
}

// Observed is seen and told, and nothing is done.
func Observed() contract.Incident {
	r := New(fault.KindCrashed, "web crashed on kvm1")
	r.Situation.Policy.Observe, r.Situation.Policy.ObserveWhy = true, "the site says observe"
	r.After(20*time.Millisecond).Answers("shut off", "crashed", false)
	d := r.Decide()
	r.Inc.Stage = contract.StageObserve
	r.Note(d.Why)
	return r.Inc
}

// Silent waits for a host that does not answer.
func Silent() contract.Incident {
	r := New(fault.KindLost, "web was lost with kvm1")
	r.Situation.Answers = []proof.Answer{
		{Sighting: fault.Sighting{Host: "kvm1", At: r.now}, Error: "no route to host"},
		{Sighting: fault.Sighting{Host: "kvm2", Absent: true, At: r.now}},
	}
	r.Inc.Stage = contract.StageWait
	d := r.Decide()
	r.Note(d.Why)
	return r.Inc
}

// Host is about a host, for which nothing is decided yet.
func Host() contract.Incident {
	at := First.Add
	f := fault.Fault{
		ID: "f2", Kind: fault.KindHostUnreachable, Site: "lab", Host: "kvm1", First: First, Last: First.Add(time.Minute),
		Reporter: "monitor@here", Why: "nothing reaches kvm1", Inhibits: 12,
		Votes: []fault.Vote{{From: "libvirt", Says: fault.HostSilent, Why: "no route to host", At: First}, {From: "agent", Says: fault.NoVerdict, At: First}},
	}
	return contract.Incident{
		ID: "incident/lab/kvm1/20260102-030405", Site: "lab", Host: "kvm1", Fault: f, Stage: contract.StageWatch,
		Outcome: contract.OutcomeCleared, Why: "kvm1 answers again", Opened: at(time.Second), Closed: at(73 * time.Hour),
		Timeline: []contract.Entry{
			{At: at(time.Second), Stage: contract.StageWatch, Text: "nothing reaches kvm1"},
			{At: at(73 * time.Hour), Stage: contract.StageWatch, Text: "cleared: kvm1 answers again"},
		},
	}
}

// All are all of them, by name.
func All() map[string]contract.Incident {
	return map[string]contract.Incident{
		"panicked": Panicked(), "crash-loop": CrashLoop(), "approved": Approved(), "asking": Asking(),
		"observed": Observed(), "silent": Silent(), "host": Host(),
	}
}
