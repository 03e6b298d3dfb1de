package workflows

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/workflow"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/ladder"
	"holdfast/internal/proof"
)

// climb takes a rung once, and verifies what came of it.
func (r *recovery) climb(ctx workflow.Context, d ladder.Decision) error {
	// The story has told the fault, and how earlier tries failed.
	if n := len(r.inc.Attempts); n > 0 {
		r.note(ctx, fmt.Sprintf("try %d: %s it on %s", n+1, verb(d.Rung), d.Host))
	} else {
		r.note(ctx, strings.TrimPrefix(d.Why, r.inc.Fault.Why+": "))
	}
	ordered := r.people.ordered
	r.people.ordered, r.unwell = "", ""
	r.show(ctx, contract.StageOf(d.Rung), r.inc.NeedsPerson, fmt.Sprintf("%ss %s on %s", verb(d.Rung), r.inc.VM, d.Host))
	if err := r.witness(ctx, d); err != nil {
		return err
	}
	began := workflow.Now(ctx)
	err := r.step(ctx, d)
	if err != nil {
		if !counts(err) {
			r.people.ordered = ordered // it was not tried yet
		}
		return r.stumbled(ctx, d, began, err)
	}
	r.waits = 0
	r.setNeedsPerson(ctx, false)
	found, err := r.verify(ctx, d.Host)
	if err != nil {
		return r.stumbled(ctx, d, began, err)
	}
	if why := r.wanted(d, found); why != "" {
		return r.leftAs(ctx, d, began, why)
	}
	if !found.OK {
		// What the undo is about to destroy is ours; what was shut off before it is not.
		r.oursStopped = d.Rung.PutsBack() || d.Rung == ladder.RungElsewhere || d.Rung == ladder.RungRestart && found.Active && !found.Found.Running()
		r.thinkUnwell(found)
		return r.failed(ctx, d, began, notWell(found))
	}
	r.undo.keep()
	r.inc.Attempts = append(r.inc.Attempts, ladder.Attempt{Rung: d.Rung, Host: d.Host, Began: began, Ended: workflow.Now(ctx), OK: true})
	return r.verified(ctx, found, contract.OutcomeRecovered)
}

// wanted says why a VM that did not verify is as somebody wants it; empty: nothing
// says so. One that was put back and powers itself off was put back to just that.
func (r *recovery) wanted(d ladder.Decision, found contract.VerifyResult) string {
	if found.OK || r.noBackup || d.Rung.PutsBack() && found.Found.Reason == "shutdown" {
		return ""
	}
	return ladder.Intent(r.inc.VM, found.Found, false)
}

// leftAs ends the incident because somebody has stopped or paused the VM while it was
// verified: it stays as they want it.
func (r *recovery) leftAs(ctx workflow.Context, d ladder.Decision, began time.Time, why string) error {
	r.undo.keep()
	r.spend(d.Rung)
	r.inc.Attempts = append(r.inc.Attempts, ladder.Attempt{Rung: d.Rung, Host: d.Host, Began: began, Ended: workflow.Now(ctx), Error: "not verified: " + why})
	return r.done(ctx, contract.OutcomeStoodDown, why)
}

// verb is what climbing a rung is called.
func verb(r ladder.Rung) string {
	switch r {
	case ladder.RungRestart, ladder.RungElsewhere:
		return "start"
	case ladder.RungSnapshot:
		return "revert"
	case ladder.RungBackup:
		return "restore"
	}
	return string(r)
}

// step does what the rung is, up to where the VM should run.
func (r *recovery) step(ctx workflow.Context, d ladder.Decision) error {
	switch d.Rung {
	case ladder.RungResume:
		return r.press(ctx, d, act.Resume, "resumed")
	case ladder.RungReset:
		return r.press(ctx, d, act.Reset, "reset")
	case ladder.RungElsewhere:
		return r.elsewhere(ctx, d)
	case ladder.RungSnapshot:
		return r.revert(ctx, d)
	case ladder.RungBackup:
		return r.restore(ctx, d)
	}
	return r.restart(ctx, d)
}

// press climbs a rung that leaves the VM's QEMU as it is.
func (r *recovery) press(ctx workflow.Context, d ladder.Decision, activity any, done string) error {
	actx := r.onSite(ctx, fmt.Sprintf("%s %s on %s", d.Rung, r.inc.VM, d.Host), 30*time.Second)
	var out contract.StepResult
	if err := workflow.ExecuteActivity(actx, activity, contract.StepInput{VM: r.inc.VM, Host: d.Host, Elsewhere: r.earlier()}).Get(ctx, &out); err != nil {
		return err
	}
	r.inc.Started = out.At
	if out.Already {
		r.note(ctx, fmt.Sprintf("%s already ran on %s", r.inc.VM, d.Host))
	} else {
		r.note(ctx, fmt.Sprintf("%s on %s in %s; it was %s", done, d.Host, out.Took.Round(time.Millisecond), out.Found))
	}
	return nil
}

// restart removes what is left of the VM, and starts it.
func (r *recovery) restart(ctx workflow.Context, d ladder.Decision) error {
	r.undo.before(contract.Undo{Rung: ladder.RungRestart, Host: d.Host})
	if err := r.clearAway(ctx, d.Host); err != nil {
		return err
	}
	started, err := r.start(ctx, d.Host)
	if err != nil {
		return err
	}
	r.began(ctx, d.Host, started)
	return nil
}

// clearAway removes what is left of the VM. Of one that seems to run the ladder has found
// that it is not well.
func (r *recovery) clearAway(ctx workflow.Context, host string) error {
	at, _ := proof.AnswerOf(r.inspection.Answers, host)
	if !at.Active {
		return nil
	}
	return r.stop(ctx, host, at.Running() && !r.legacy)
}

// began takes note of a start that took.
func (r *recovery) began(ctx workflow.Context, host string, started contract.StartResult) {
	r.oursStopped, r.inc.Started = false, started.At
	if started.Already {
		r.note(ctx, fmt.Sprintf("%s already ran on %s", r.inc.VM, host))
		return
	}
	r.note(ctx, fmt.Sprintf("started on %s in %s; %s", host, started.Took.Round(time.Millisecond), proofText(started.Proofs)))
}

// stumbled sorts out an activity that returned an error. Only a hypervisor that
// said no counts as a failed try; where nothing is known, it looks again.
func (r *recovery) stumbled(ctx workflow.Context, d ladder.Decision, began time.Time, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	text := failureText(err)
	switch kind := failureType(err); {
	case kind == contract.ErrTypeTwoCopies:
		// Doubt stops the machine. It goes on by itself when the doubt is gone.
		// Nothing was started, so there is nothing to undo, and nothing that keeps
		// a long wait from continuing as new.
		r.down = r.down || r.oursStopped
		r.undo.forget(contract.Undo{Rung: ladder.RungRestart, Host: d.Host})
		return r.doubt(ctx, text)
	case counts(err):
		// A half-made start may have to be removed.
		r.oursStopped = r.oursStopped || kind != contract.ErrTypeStepFailed
		return r.failed(ctx, d, began, text)
	}
	return r.notNow(ctx, r.inc.Stage, err)
}

// counts reports an error after which a try has failed: somebody said no.
func counts(err error) bool {
	switch failureType(err) {
	case contract.ErrTypeStepFailed, contract.ErrTypeStartFailed, contract.ErrTypeNotFound:
		return true
	}
	return false
}

// spend takes back the approval of a rung that was climbed: each time is asked for.
func (r *recovery) spend(rung ladder.Rung) {
	if r.inc.Fault.Kind != fault.KindRequested {
		r.input.Restore, r.input.Backup = "", nil
	}
	r.people.approved = slices.DeleteFunc(r.people.approved, func(a ladder.Rung) bool { return a == rung })
}

// failed records a try that failed and cleans up after it.
func (r *recovery) failed(ctx workflow.Context, d ladder.Decision, began time.Time, text string) error {
	r.spend(d.Rung)
	if left := r.undo.unwind(ctx, r.undoOne); len(left) > 0 {
		text += "; and could not " + left[0]
		r.undoing = !r.noBackup
	}
	r.inc.Attempts = append(r.inc.Attempts, ladder.Attempt{Rung: d.Rung, Host: d.Host, Began: began, Ended: workflow.Now(ctx), Error: text})
	r.note(ctx, fmt.Sprintf("try %d failed: %s", len(r.inc.Attempts), text))
	return nil
}

// thinkUnwell remembers that a VM runs and is not well, so that the next rung is
// climbed: that it runs is not enough.
func (r *recovery) thinkUnwell(found contract.VerifyResult) {
	if !r.legacy && found.Why != "" && found.Found.Running() {
		r.unwell = found.Why
	}
}

// notWell is why a VM did not verify.
func notWell(found contract.VerifyResult) string {
	if found.Why != "" {
		return found.Why
	}
	return "it did not stay running: " + found.Found.String()
}

// look finds out what the ladder has to know before it can decide.
func (r *recovery) look(ctx workflow.Context, d ladder.Decision) error {
	for {
		err := r.lookFor(ctx, d)
		if err == nil {
			return nil
		}
		if err := r.notNow(ctx, contract.StageWait, err); err != nil {
			return err
		}
		// Much may have changed meanwhile.
		if err := r.closing(ctx); err != nil {
			return err
		}
		if err := r.inspect(ctx); err != nil {
			return err
		}
		if again, _ := r.next(ctx); again.Action != ladder.ActLook || again.Look != d.Look || again.Host != d.Host {
			return nil
		}
	}
}

func (r *recovery) lookFor(ctx workflow.Context, d ladder.Decision) error {
	switch d.Look {
	case ladder.LookVital:
		actx := r.onSite(ctx, fmt.Sprintf("look at the guest of %s on %s", r.inc.VM, d.Host), time.Minute)
		in := contract.VitalInput{VM: r.inc.VM, Host: d.Host, Kind: r.inc.Fault.Kind}
		var found ladder.Vital
		if err := workflow.ExecuteActivity(actx, act.Vital, in).Get(ctx, &found); err != nil {
			return err
		}
		r.vital = &found
		r.note(ctx, fmt.Sprintf("looked at its guest: %s", found.Why))
	case ladder.LookPlaces:
		return r.lookElsewhere(ctx, d.Host)
	case ladder.LookStock:
		actx := r.onSite(ctx, fmt.Sprintf("look for snapshots and backups of %s on %s", r.inc.VM, d.Host), time.Minute)
		in := contract.StockInput{VM: r.inc.VM, Host: d.Host, Before: r.inc.Fault.First, Name: r.input.Restore, Backup: r.input.Backup}
		var found ladder.Stock
		if err := workflow.ExecuteActivity(actx, act.Stock, in).Get(ctx, &found); err != nil {
			return err
		}
		r.stock = &found
	}
	return nil
}

// decisionLimit bounds the decisions that an incident keeps: its first and its last.
const decisionLimit = 40

// answersKept is how many hosts' answers of nothing a decision keeps.
const answersKept = 8

// remember keeps a decision that differs from the one before, with what it was
// made from, for those who ask why, or what another policy would have done.
func (r *recovery) remember(ctx workflow.Context, s ladder.Situation, d ladder.Decision) {
	if n := len(r.inc.Decisions); n > 0 {
		last := r.inc.Decisions[n-1].Decision
		if last.Action == d.Action && last.Rung == d.Rung && last.Host == d.Host && last.Why == d.Why {
			return
		}
	}
	s.Fault.Labels, s.Fault.Mode = r.inspection.Labels, r.inspection.Mode
	s.Fault.Elsewhere, s.Fault.Votes, s.Fault.Evidence = nil, nil, nil
	var kept []proof.Answer
	for _, a := range s.Answers {
		if !a.Absent || a.Host == s.Fault.Host || len(kept) < answersKept {
			kept = append(kept, a)
		}
	}
	s.Answers = kept
	r.inc.Decisions = append(roomInside(r.inc.Decisions, decisionLimit), contract.Decided{At: workflow.Now(ctx), Situation: s, Decision: d})
}
