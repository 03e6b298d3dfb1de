package workflows

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/workflow"

	"holdfast/internal/contract"
	"holdfast/internal/ladder"
)

// actsLimit bounds what people say that an incident keeps.
const actsLimit = 64

// people is what people have told an incident.
type people struct {
	approved []ladder.Rung
	rejected []ladder.Turned
	ordered  ladder.Rung // to be climbed next, whatever its budget
}

// hearActs takes what people tell an incident: an update each, so that what makes no
// sense is refused and leaves nothing behind.
func hearActs(ctx workflow.Context, objects func(contract.Act) error, take func(workflow.Context, contract.Act) contract.ActReply) error {
	for _, verb := range contract.Verbs() {
		err := workflow.SetUpdateHandlerWithOptions(ctx, string(verb),
			func(ctx workflow.Context, a contract.Act) (contract.ActReply, error) {
				a.Verb, a.At = verb, workflow.Now(ctx)
				return take(ctx, a), nil
			},
			workflow.UpdateHandlerOptions{Validator: func(a contract.Act) error {
				a.Verb = verb
				return objects(a)
			}})
		if err != nil {
			return err
		}
	}
	return nil
}

// objects says why an act makes no sense for any incident that stands like this one.
func (r *record) objects(a contract.Act) error {
	switch {
	case a.By == "":
		return errors.New("by is empty: say who it is")
	case strings.TrimSpace(a.Why) == "" && a.Verb != contract.VerbRetry:
		return fmt.Errorf("no reason is given: whoever reads this incident later wants to know why you %s it", a.Verb)
	case r.inc.Outcome != "":
		return fmt.Errorf("%s is over: %s", r.inc.ID, r.inc.Outcome)
	case r.cancelling != "":
		return fmt.Errorf("%s is being cancelled: %s", r.inc.ID, r.cancelling)
	}
	return nil
}

// cancelFor has the incident end because a person wants it so.
func (r *record) cancelFor(a contract.Act) {
	r.cancelling = fmt.Sprintf("%s cancelled it: %s", a.By, a.Why)
	r.cancel()
}

// heardAct adds an act to the record.
func (r *record) heardAct(ctx workflow.Context, a contract.Act) {
	r.inc.Acts = append(roomInside(r.inc.Acts, actsLimit), a)
	if a.Verb != contract.VerbRetry { // which is told when it is heeded
		r.note(ctx, fmt.Sprintf("%s %s%s%s", a.By, a.Verb.Past(), ofRung(a.Rung), because(a.Why)))
	}
}

// objects says why an act makes no sense now.
func (r *recovery) objects(a contract.Act) error {
	if err := r.record.objects(a); err != nil {
		return err
	}
	switch a.Verb {
	case contract.VerbApprove, contract.VerbReject:
		return r.objectsToAnswer(a)
	case contract.VerbHold:
		if r.inc.Held != "" {
			return fmt.Errorf("it is held already: %s", r.inc.Held)
		}
	case contract.VerbResume:
		if r.inc.Held == "" {
			return errors.New("it is not held" + r.soFar(contract.VerbResume))
		}
	case contract.VerbRetry:
		if !r.inc.NeedsPerson && !r.status.Observes && !r.status.Watches {
			return fmt.Errorf("it waits for nobody: it is in stage %s: %s", r.inc.Stage, r.inc.Why)
		}
	}
	return nil
}

// objectsToAnswer says why there is nothing to approve or to reject.
func (r *recovery) objectsToAnswer(a contract.Act) error {
	p := r.inc.Proposal
	if p == nil {
		return fmt.Errorf("nothing waits for approval: it is in stage %s%s", r.inc.Stage, r.soFar(contract.VerbApprove, contract.VerbReject))
	}
	if a.Verb == contract.VerbReject || a.Rung == "" || a.Rung == p.Rung {
		return nil
	}
	switch {
	case a.Rung == ladder.RungPerson || !slices.Contains(ladder.VMRungs(), a.Rung):
		return fmt.Errorf("%q is no rung that could be climbed: use one of %v", a.Rung, ladder.VMRungs())
	case !ladder.Climbable(a.Rung), r.noElsewhere && a.Rung == ladder.RungElsewhere:
		return fmt.Errorf("the rung %s does not exist yet", a.Rung)
	case slices.Contains(r.policy.Forbidden, a.Rung):
		return fmt.Errorf("the policy forbids the rung %s", a.Rung)
	}
	return nil
}

// soFar says who did one of these last, so that the second of two people learns
// of the first.
func (r *recovery) soFar(verbs ...contract.Verb) string {
	for _, a := range slices.Backward(r.inc.Acts) {
		if slices.Contains(verbs, a.Verb) {
			return fmt.Sprintf("; %s %s%s at %s UTC: %s", a.By, a.Verb.Past(), ofRung(a.Rung), a.At.UTC().Format("15:04:05"), a.Why)
		}
	}
	return ""
}

func ofRung(r ladder.Rung) string {
	if r == "" {
		return ""
	}
	return " " + string(r)
}

// takeIn takes an act that makes sense.
func (r *recovery) takeIn(ctx workflow.Context, a contract.Act) contract.ActReply {
	reply := contract.ActReply{IncidentID: r.inc.ID}
	switch p := r.inc.Proposal; a.Verb {
	case contract.VerbApprove:
		reply.Said = r.approve(p, &a)
	case contract.VerbReject:
		a.Rung = p.Rung
		r.people.rejected = append(r.people.rejected, ladder.Turned{Rung: p.Rung, Why: fmt.Sprintf("%s rejected it: %s", a.By, a.Why)})
		r.inc.Proposal = nil
		reply.Said = fmt.Sprintf("passes %s over, and looks for what else to do", p.Rung)
	case contract.VerbHold:
		r.inc.Held = fmt.Sprintf("%s holds this incident: %s", a.By, a.Why)
		reply.Said = "does nothing more, after what is under way, until it is resumed"
	case contract.VerbResume:
		r.inc.Held = ""
		reply.Said = "goes on"
	case contract.VerbCancel:
		reply.Said = "ends, and undoes what has not verified"
		r.cancelFor(a)
	case contract.VerbRetry:
		r.people.rejected, r.inc.Proposal = nil, nil
		r.retry = &contract.Retry{By: a.By, Why: a.Why}
		reply.Said = "tries again with a new budget"
	}
	r.heardAct(ctx, a)
	r.waits = 0
	r.awake()
	return reply
}

func (r *recovery) approve(p *contract.Proposal, a *contract.Act) string {
	r.inc.Proposal = nil
	if a.Rung == "" || a.Rung == p.Rung {
		a.Rung = p.Rung
		r.people.approved = append(r.people.approved, p.Rung)
		// Lighter rungs may have a new budget meanwhile: that is not what was approved.
		r.people.ordered = p.Rung
		r.pin(p)
		return fmt.Sprintf("climbs %s now", p.Rung)
	}
	r.people.ordered = a.Rung
	return fmt.Sprintf("climbs %s now, instead of %s", a.Rung, p.Rung)
}

// pin holds on to what was approved: that, and no older one, is what the VM is put
// back to.
func (r *recovery) pin(p *contract.Proposal) {
	switch p.Rung {
	case ladder.RungSnapshot:
		r.input.Restore = p.From
	case ladder.RungBackup:
		r.input.Backup = &contract.BackupRef{In: p.In, Name: p.From}
	}
}

// propose asks a person whether a rung may be climbed, and waits for an answer.
func (r *recovery) propose(ctx workflow.Context, d ladder.Decision) error {
	now := workflow.Now(ctx)
	p := r.inc.Proposal
	if p == nil {
		p = &contract.Proposal{Rung: d.Rung, Host: d.Host, From: d.From, Why: d.Why, At: now, Until: r.policy.Until(now), Then: r.policy.ApprovalThen}
		if d.Rung == ladder.RungBackup {
			p.In = r.stock.BackupIn
		}
		r.inc.Proposal = p
		r.note(ctx, "asks for approval: "+d.Why)
		r.setNeedsPerson(ctx, true)
	}
	wait := ladder.LookAgain(r.waits)
	if due := !p.Until.IsZero() && !p.Escalated; due && !now.Before(p.Until) {
		return r.unanswered(ctx, p)
	} else if due {
		wait = min(wait, p.Until.Sub(now))
	}
	r.waits++
	next := fmt.Sprintf("waits for approval of %s: `holdfast incident approve %s --reason ...`, or reject", p.Rung, r.inc.ID)
	if !p.Until.IsZero() && !p.Escalated {
		next += fmt.Sprintf("; at %s UTC: %s", p.Until.UTC().Format("15:04:05"), p.Then)
	}
	r.show(ctx, contract.StageNeedsPerson, true, next)
	if err := r.sleep(ctx, wait, "next look while approval is awaited"); err != nil {
		return err
	}
	r.heed(ctx)
	return nil
}

// unanswered does what the policy says about a proposal that nobody answered.
func (r *recovery) unanswered(ctx workflow.Context, p *contract.Proposal) error {
	after := workflow.Now(ctx).Sub(p.At).Round(time.Second)
	switch p.Then {
	case ladder.FallbackReject:
		r.people.rejected = append(r.people.rejected, ladder.Turned{Rung: p.Rung, Why: fmt.Sprintf("nobody approved it within %s", after)})
		r.inc.Proposal = nil
	case ladder.FallbackApprove:
		r.people.approved = append(r.people.approved, p.Rung)
		r.people.ordered = p.Rung
		r.pin(p)
		r.inc.Proposal = nil
	default:
		p.Escalated = true
		workflow.GetMetricsHandler(ctx).Counter("holdfast_approvals_overdue").Inc(1)
	}
	r.note(ctx, fmt.Sprintf("nobody answered within %s: the policy says %s", after, orEscalate(p.Then)))
	return nil
}

func orEscalate(f ladder.Fallback) ladder.Fallback {
	if f == "" {
		return ladder.FallbackEscalate
	}
	return f
}

// heldBack does nothing, because a person wants it so, and looks now and then.
func (r *recovery) heldBack(ctx workflow.Context, d ladder.Decision) error {
	if r.gone != "" && len(r.inc.Also) == 0 && !r.unfinished() {
		return r.done(ctx, contract.OutcomeCleared, r.gone)
	}
	r.waits++
	r.tell(ctx, contract.StageHeld, d.Why, d.Why)
	r.setNeedsPerson(ctx, false)
	next := fmt.Sprintf("waits for `holdfast vm release %s`", r.inc.VM)
	if r.inc.Held != "" {
		next = fmt.Sprintf("waits for `holdfast incident resume %s`", r.inc.ID)
	}
	r.show(ctx, contract.StageHeld, false, next)
	if err := r.sleep(ctx, d.Wait, "next look, while it is held"); err != nil {
		return err
	}
	r.heed(ctx)
	return nil
}

// heed takes a person's wish for another try.
func (r *recovery) heed(ctx workflow.Context) bool {
	if r.retry == nil {
		return false
	}
	r.note(ctx, fmt.Sprintf("%s wants another try. %s", r.retry.By, r.retry.Why))
	r.forgiven, r.retry, r.waits = workflow.Now(ctx), nil, 0
	r.people.rejected = nil
	r.setNeedsPerson(ctx, false)
	return true
}

// askPerson stops, says why, and waits.
func (r *recovery) askPerson(ctx workflow.Context, d ladder.Decision) error {
	r.inc.Why = d.Why
	r.note(ctx, "needs a person: "+d.Why)
	r.retry = nil
	r.setNeedsPerson(ctx, true)
	return r.awaitPerson(ctx)
}

// awaitPerson returns nil when a person wants another try or a hold, and errDone
// when the VM runs again or is meant to stay down. It looks now and then by
// itself, for a VM that was mended by hand.
func (r *recovery) awaitPerson(ctx workflow.Context) error {
	r.show(ctx, contract.StageNeedsPerson, true, fmt.Sprintf("waits for a person: mend it by hand, or `holdfast recover %s` to try again", r.inc.VM))
	longest := 15 * time.Minute
	for looks := 0; ; looks++ {
		every := min(10*time.Second<<min(looks, 7), longest)
		if err := r.sleep(ctx, every, "next look while a person is awaited"); err != nil {
			return err
		}
		if r.heed(ctx) {
			return nil
		}
		if err := r.closing(ctx); err != nil {
			return err
		}
		if err := r.inspect(ctx); err != nil {
			return err
		}
		r.unwell = "" // somebody may have mended it
		d, _ := r.next(ctx)
		if d.Action == ladder.ActLook {
			var err error
			if d, err = r.decide(ctx); err != nil {
				return err
			}
		}
		switch d.Action {
		case ladder.ActVerify:
			if err := r.settle(ctx, d.Host, contract.OutcomeHandBack); err != nil {
				return err
			}
		case ladder.ActStandDown:
			return r.done(ctx, contract.OutcomeStoodDown, d.Why)
		case ladder.ActHold:
			return nil
		case ladder.ActApprove:
			if !r.noBackup {
				return nil // there is something again that a person could want
			}
		case ladder.ActPerson:
			if d.Meanwhile == "" || r.legacy {
				continue
			}
			longest = time.Minute
			if err := r.tryMeanwhile(ctx, d); err != nil {
				return err
			}
		}
	}
}

// tryMeanwhile climbs a rung that does no harm, while a person is waited for. That
// it fails again is nothing new.
func (r *recovery) tryMeanwhile(ctx workflow.Context, d ladder.Decision) error {
	again := d
	again.Rung = d.Meanwhile
	began := workflow.Now(ctx)
	err := r.step(ctx, again)
	if err != nil {
		if ctx.Err() == nil && failureType(err) == contract.ErrTypeTwoCopies {
			r.note(ctx, "in doubt: "+failureText(err))
		}
		return ctx.Err()
	}
	found, err := r.verify(ctx, d.Host)
	if err != nil || !found.OK {
		r.show(ctx, contract.StageNeedsPerson, true, fmt.Sprintf("tries to %s it every minute; waits for a person", d.Meanwhile))
		return ctx.Err()
	}
	r.inc.Stage = contract.StageOf(d.Meanwhile)
	r.inc.Attempts = append(r.inc.Attempts, ladder.Attempt{Rung: d.Meanwhile, Host: d.Host, Began: began, Ended: workflow.Now(ctx), OK: true})
	return r.verified(ctx, found, contract.OutcomeRecovered)
}
