package workflows

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"holdfast/activities"
	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/ladder"
	"holdfast/internal/proof"
)

// act gives the names of activities; it is never called.
var act *activities.Activities

// recovery is one incident being handled.
type recovery struct {
	vigil
	input  contract.RecoverInput
	policy ladder.Policy
	undo   saga
	// oursStopped: this incident stopped the VM and has not started it since.
	oursStopped bool
	waits       int       // in a row, for their backoff
	forgiven    time.Time // attempts that ended before count no more: a person said to try again
	asked       bool      // a person asked for this repair
	retry       *contract.Retry
	status      contract.Status // as the guardian knows it
	told        string          // what was said last while nothing is done
	gone        string          // why the fault is over, as whoever raised it says
	inspection  contract.Inspection
}

// errDone ends the climb: the incident's outcome is set.
var errDone = errors.New("incident is done")

// RecoverVM climbs the ladder for one fault of one VM until the VM verifiably
// runs, a person wants it as it is, or a person is needed. It then waits for
// that person, as long as it takes.
func RecoverVM(ctx workflow.Context, in contract.RecoverInput) (contract.Incident, error) {
	r := newRecovery(ctx, in)
	if err := workflow.SetQueryHandler(ctx, contract.QueryIncident, func() (contract.Incident, error) { return r.inc, nil }); err != nil {
		return contract.Incident{}, err
	}
	workflow.Go(ctx, r.listen)
	err := r.run(ctx)
	switch {
	case errors.Is(err, errDone):
		r.close(ctx)
		return r.inc, nil
	case ctx.Err() != nil:
		r.cancelled(ctx)
		return r.inc, ctx.Err()
	case workflow.IsContinueAsNewError(err):
		return r.inc, err
	}
	r.note(ctx, "failed: "+failureText(err))
	return r.inc, err
}

func newRecovery(ctx workflow.Context, in contract.RecoverInput) *recovery {
	r := &recovery{vigil: newVigil(ctx, contract.SignalRetry), input: in}
	if in.Carry != nil {
		r.inc, r.oursStopped, r.forgiven, r.asked = *in.Carry, in.OursStopped, in.Forgiven, in.Asked
		r.shown.stage, r.shown.needsPerson, r.shown.host = r.inc.Stage, r.inc.NeedsPerson, r.inc.Host
		r.status = r.statusIn(r.inc.Stage)
		return r
	}
	r.inc = contract.Incident{
		ID: in.ID, Site: in.Fault.Site, VM: in.Fault.VM, Host: in.Fault.Host, Fault: in.Fault,
		Stage: contract.StageConfirm, Why: in.Fault.Why, Opened: workflow.Now(ctx),
	}
	r.status = r.statusIn(r.inc.Stage)
	r.asked = in.Fault.Kind == fault.KindRequested
	r.note(ctx, in.Fault.Why)
	r.hear(ctx, in.Fault.ID)
	return r
}

// run looks, decides and acts until the incident is done.
func (r *recovery) run(ctx workflow.Context) error {
	if r.inc.NeedsPerson && r.inc.Stage == contract.StageNeedsPerson {
		if err := r.awaitPerson(ctx); err != nil {
			return err
		}
	}
	for {
		if err := r.closing(ctx); err != nil {
			return err
		}
		if err := r.inspect(ctx); err != nil {
			return err
		}
		d := r.decide(ctx)
		if err := r.carryOut(ctx, d); err != nil {
			return err
		}
	}
}

// decide asks the ladder, and writes down what it says.
func (r *recovery) decide(ctx workflow.Context) ladder.Decision {
	d := r.next(ctx)
	r.inc.Why = d.Why
	if d.Host != "" {
		r.inc.Host = d.Host
	}
	for _, t := range d.Turned {
		r.note(ctx, fmt.Sprintf("turned down %s: %s", t.Rung, t.Why))
	}
	return d
}

func (r *recovery) next(ctx workflow.Context) ladder.Decision {
	var tried []ladder.Attempt
	for _, a := range append(append([]ladder.Attempt{}, r.input.Recent...), r.inc.Attempts...) {
		if a.Ended.After(r.forgiven) {
			tried = append(tried, a)
		}
	}
	return ladder.Next(ladder.Situation{
		Fault: r.inc.Fault, Policy: r.policy, Answers: r.inspection.Answers, Tried: tried,
		OursStopped: r.oursStopped, Asked: r.asked, Waits: r.waits, Now: workflow.Now(ctx),
	})
}

// carryOut does what was decided. errDone when the incident is over.
func (r *recovery) carryOut(ctx workflow.Context, d ladder.Decision) error {
	idle := d.Action == ladder.ActObserve || d.Action == ladder.ActWatch
	if !idle && (r.status.Observes || r.status.Watches) {
		r.report(ctx, contract.Status{})
	}
	switch d.Action {
	case ladder.ActStandDown:
		return r.done(ctx, contract.OutcomeStoodDown, d.Why)
	case ladder.ActVerify:
		r.note(ctx, d.Why)
		return r.settle(ctx, d.Host, contract.OutcomeCleared)
	case ladder.ActWait:
		return r.hold(ctx, contract.StageWait, d.Wait, d.Why)
	case ladder.ActClimb:
		if d.Wait > 0 {
			r.note(ctx, fmt.Sprintf("waits %s before it tries again", d.Wait.Round(time.Millisecond)))
			r.show(ctx, contract.StageOf(d.Rung), r.inc.NeedsPerson, fmt.Sprintf("tries again in %s", d.Wait.Round(time.Millisecond)))
			return r.sleep(ctx, d.Wait, "backoff before the next try")
		}
		return r.climb(ctx, d)
	case ladder.ActPerson:
		return r.askPerson(ctx, d.Why)
	case ladder.ActObserve:
		return r.observe(ctx, d)
	case ladder.ActWatch:
		return r.watch(ctx, d)
	}
	return temporal.NewNonRetryableApplicationError(fmt.Sprintf("no such action %q", d.Action), contract.ErrTypeBadInput, nil)
}

// climb takes the restart rung once: remove what is left, start, verify.
func (r *recovery) climb(ctx workflow.Context, d ladder.Decision) error {
	// The story has told the fault, and how earlier tries failed.
	if n := len(r.inc.Attempts); n > 0 {
		r.note(ctx, fmt.Sprintf("try %d: start it again on %s", n+1, d.Host))
	} else {
		r.note(ctx, strings.TrimPrefix(d.Why, r.inc.Fault.Why+": "))
	}
	r.show(ctx, contract.StageOf(d.Rung), r.inc.NeedsPerson, fmt.Sprintf("starts %s on %s", r.inc.VM, d.Host))
	began := workflow.Now(ctx)
	r.undo.before("remove a start that did not verify on "+d.Host, func(ctx workflow.Context) error {
		return r.stopRemains(ctx, d.Host)
	})
	if at, _ := proof.AnswerOf(r.inspection.Answers, d.Host); at.Active {
		r.oursStopped = true // from here on it may have taken effect, whatever the answer
		if err := r.stopRemains(ctx, d.Host); err != nil {
			return r.stumbled(ctx, d, began, err)
		}
	}
	started, err := r.start(ctx, d.Host)
	if err != nil {
		return r.stumbled(ctx, d, began, err)
	}
	r.oursStopped = false
	r.inc.Started = started.At
	r.waits = 0
	r.setNeedsPerson(ctx, false)
	if started.Already {
		r.note(ctx, fmt.Sprintf("%s already ran on %s", r.inc.VM, d.Host))
	} else {
		r.note(ctx, fmt.Sprintf("started on %s in %s; %s", d.Host, started.Took.Round(time.Millisecond), proofText(started.Proofs)))
	}
	found, err := r.verify(ctx, d.Host)
	if err != nil {
		return r.stumbled(ctx, d, began, err)
	}
	if !found.OK {
		// What the undo is about to destroy is ours; what was shut off before it is not.
		r.oursStopped = found.Active
		return r.failed(ctx, d, began, "it did not stay running: "+found.Found.String())
	}
	r.undo.keep()
	r.inc.Attempts = append(r.inc.Attempts, ladder.Attempt{Rung: d.Rung, Host: d.Host, Began: began, Ended: workflow.Now(ctx), OK: true})
	return r.verified(ctx, found, contract.OutcomeRecovered)
}

// stumbled sorts out an activity that returned an error. Only a hypervisor that
// said no counts as a failed try; where nothing is known, it looks again.
func (r *recovery) stumbled(ctx workflow.Context, d ladder.Decision, began time.Time, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	text := failureText(err)
	switch {
	case noWorker(err):
		return r.hold(ctx, r.inc.Stage, r.backoff(), noWorkerText(r.inc.Site))
	case failureType(err) == contract.ErrTypeTwoCopies:
		// Doubt stops the machine. It goes on by itself when the doubt is gone.
		// Nothing was started, so there is nothing to undo, and nothing that keeps
		// a long wait from continuing as new.
		r.undo.keep()
		return r.doubt(ctx, text)
	case failureType(err) == contract.ErrTypeStartFailed, failureType(err) == contract.ErrTypeNotFound:
		r.oursStopped = true // a half-made start may have to be removed
		return r.failed(ctx, d, began, text)
	}
	return r.hold(ctx, r.inc.Stage, r.backoff(), text)
}

// failed records a try that failed and cleans up after it.
func (r *recovery) failed(ctx workflow.Context, d ladder.Decision, began time.Time, text string) error {
	if left := r.undo.unwind(ctx); len(left) > 0 {
		text += "; and could not " + left[0]
	}
	r.inc.Attempts = append(r.inc.Attempts, ladder.Attempt{Rung: d.Rung, Host: d.Host, Began: began, Ended: workflow.Now(ctx), Error: text})
	r.note(ctx, fmt.Sprintf("try %d failed: %s", len(r.inc.Attempts), text))
	return nil
}

// settle verifies a VM that runs without our doing and closes the incident.
func (r *recovery) settle(ctx workflow.Context, host string, outcome contract.Outcome) error {
	found, err := r.verify(ctx, host)
	switch {
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return r.hold(ctx, r.inc.Stage, r.backoff(), failureText(err))
	case !found.OK:
		r.note(ctx, "it did not stay running: "+found.Found.String())
		return nil
	}
	if len(r.inc.Attempts) > 0 || !r.inc.Started.IsZero() {
		outcome = contract.OutcomeRecovered
	}
	if r.inc.Stage == contract.StageNeedsPerson {
		outcome = contract.OutcomeHandBack
	}
	return r.verified(ctx, found, outcome)
}

func (r *recovery) verified(ctx workflow.Context, found contract.VerifyResult, outcome contract.Outcome) error {
	r.inc.Verified = found.At
	return r.done(ctx, outcome, fmt.Sprintf("%s is running on %s and stayed so for %s", r.inc.VM, found.Found.Host, r.policy.StableFor))
}

// doubt says that a start was refused, and looks again after a while.
func (r *recovery) doubt(ctx workflow.Context, text string) error {
	text += ". Bring that host back, or make sure that it is off and take it out of the site file; then this goes on by itself"
	r.note(ctx, "in doubt: "+text)
	r.inc.Why = text
	r.setNeedsPerson(ctx, true)
	return r.hold(ctx, r.inc.Stage, r.backoff(), text)
}

// askPerson stops, says why, and waits.
func (r *recovery) askPerson(ctx workflow.Context, why string) error {
	r.inc.Why = why
	r.note(ctx, "needs a person: "+why)
	r.retry = nil
	r.setNeedsPerson(ctx, true)
	return r.awaitPerson(ctx)
}

// awaitPerson returns nil when a person wants another try, and errDone when the
// VM runs again or is meant to stay down. It looks now and then by itself, for
// a VM that was mended by hand.
func (r *recovery) awaitPerson(ctx workflow.Context) error {
	r.show(ctx, contract.StageNeedsPerson, true, fmt.Sprintf("waits for a person: mend it by hand, or `holdfast recover %s` to try again", r.inc.VM))
	for looks := 0; ; looks++ {
		every := min(10*time.Second<<min(looks, 7), 15*time.Minute)
		if err := r.sleep(ctx, every, "next look while a person is awaited"); err != nil {
			return err
		}
		if r.retry != nil {
			r.note(ctx, fmt.Sprintf("%s wants another try. %s", r.retry.By, r.retry.Why))
			r.forgiven, r.retry, r.waits = workflow.Now(ctx), nil, 0
			r.setNeedsPerson(ctx, false)
			return nil
		}
		if err := r.inspect(ctx); err != nil {
			return err
		}
		switch d := r.next(ctx); d.Action {
		case ladder.ActVerify:
			if err := r.settle(ctx, d.Host, contract.OutcomeHandBack); err != nil {
				return err
			}
		case ladder.ActStandDown:
			return r.done(ctx, contract.OutcomeStoodDown, d.Why)
		}
	}
}

// cancelled cleans up after an incident that a person cancelled.
func (r *recovery) cancelled(ctx workflow.Context) {
	dctx, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	if left := r.undo.unwind(dctx); len(left) > 0 {
		r.note(dctx, "could not "+left[0])
	}
	_ = r.done(dctx, contract.OutcomeCancelled, "cancelled by a person")
	r.close(dctx)
}
