package workflows

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"holdfast/activities"
	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/ladder"
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
	people      people
	vital       *ladder.Vital // of this look
	stock       *ladder.Stock
	places      *ladder.Places
	legacy      bool // it was opened before there were rungs besides restart
	// noBackup: it was opened before a VM could be restored from a backup, and goes on
	// as incidents did then.
	noBackup bool
	// noElsewhere: it was opened before a VM could be taken to another host.
	noElsewhere bool
	// down: this incident has stopped the VM, and asked for no start since that might
	// have taken effect. undoing: what has not verified could not be undone yet, and comes
	// before anything else.
	down, undoing bool
	calledOff     bool            // it was cancelled
	been          []string        // hosts between which this incident has moved the VM
	unwell        string          // why it did not verify the last time that it ran
	status        contract.Status // as the guardian knows it
	told          string          // what was said last while nothing is done
	gone          string          // why the fault is over, as whoever raised it says
	inspection    contract.Inspection
}

// ladderChange marks incidents that know more rungs than restart.
const ladderChange = "ladder"

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
	ctx, r.cancel = workflow.WithCancel(ctx)
	if err := hearActs(ctx, r.objects, r.takeIn); err != nil {
		return contract.Incident{}, err
	}
	r.legacy = workflow.GetVersion(ctx, ladderChange, workflow.DefaultVersion, 1) == workflow.DefaultVersion
	r.noBackup = workflow.GetVersion(ctx, backupChange, workflow.DefaultVersion, 1) == workflow.DefaultVersion
	r.noElsewhere = workflow.GetVersion(ctx, elsewhereChange, workflow.DefaultVersion, 1) == workflow.DefaultVersion
	if !r.legacy && in.Carry == nil && in.Fault.Kind == fault.KindRequested {
		r.forgiven = workflow.Now(ctx).Add(-1) // who asks has a budget of their own
	}
	workflow.Go(ctx, r.listen)
	err := r.run(ctx)
	switch {
	case errors.Is(err, errDone):
		r.close(ctx)
		return r.inc, nil
	case ctx.Err() != nil && r.cancelling != "":
		r.cancelled(ctx, r.cancelling)
		return r.inc, nil
	case ctx.Err() != nil:
		r.cancelled(ctx, "cancelled by a person")
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
		r.undo.steps, r.down, r.undoing, r.been = in.Undo, in.Down, in.Undoing, in.Been
		r.people.approved, r.people.rejected, r.people.ordered = in.Approved, in.Rejected, in.Ordered
		r.shown.stage, r.shown.needsPerson, r.shown.host = r.inc.Stage, r.inc.NeedsPerson, r.inc.Host
		r.status = r.statusIn(r.inc.Stage)
		return r
	}
	r.inc = contract.Incident{
		ID: in.ID, Site: in.Fault.Site, VM: in.Fault.VM, Host: in.Fault.Host, Fault: in.Fault,
		Stage: contract.StageConfirm, Why: in.Fault.Why, Opened: workflow.Now(ctx),
	}
	r.people.ordered = in.Ordered
	r.status = r.statusIn(r.inc.Stage)
	r.asked = in.Fault.Kind == fault.KindRequested
	r.note(ctx, in.Fault.Why)
	r.hear(ctx, in.Fault.ID)
	return r
}

// run looks, decides and acts until the incident is done.
func (r *recovery) run(ctx workflow.Context) error {
	if r.inc.NeedsPerson && r.inc.Stage == contract.StageNeedsPerson && r.inc.Proposal == nil {
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
		r.startedByOthers(ctx)
		if r.undoing && !r.handsOff() {
			if err := r.undoFirst(ctx); err != nil {
				return err
			}
			continue
		}
		d, err := r.decide(ctx)
		if err != nil {
			return err
		}
		if err := r.carryOut(ctx, d); err != nil {
			return err
		}
	}
}

// handsOff: a person wants nothing done to the VM, or by this incident.
func (r *recovery) handsOff() bool { return r.policy.Held != "" || r.inc.Held != "" }

// decide asks the ladder, finds out what it has to know besides, and writes down
// what it says.
func (r *recovery) decide(ctx workflow.Context) (ladder.Decision, error) {
	d, s := r.next(ctx)
	for d.Action == ladder.ActLook {
		if err := r.look(ctx, d); err != nil {
			return d, err
		}
		d, s = r.next(ctx)
	}
	r.inc.Why = d.Why
	if at := d.At(); at != "" {
		r.inc.Host = at
	}
	for _, t := range d.Turned {
		r.note(ctx, fmt.Sprintf("turned down %s: %s", t.Rung, t.Why))
		if t.Rung == r.people.ordered {
			r.people.ordered = "" // or it would be climbed once it suits, hours later
			r.spend(t.Rung)       // nor is anything else in its place
		}
	}
	r.remember(ctx, s, d)
	return d, nil
}

// tried are the tries that count, of this and of recent incidents, oldest first.
func (r *recovery) tried() []ladder.Attempt {
	all := slices.Concat(r.input.Recent, r.inc.Attempts)
	return slices.DeleteFunc(all, func(a ladder.Attempt) bool { return !a.Ended.After(r.forgiven) })
}

func (r *recovery) next(ctx workflow.Context) (ladder.Decision, ladder.Situation) {
	s := ladder.Situation{
		Fault: r.inc.Fault, Policy: r.policy, Answers: r.inspection.Answers, Tried: r.tried(),
		OursStopped: r.oursStopped, Asked: r.asked, Waits: r.waits, Now: workflow.Now(ctx),
		Vital: r.vital, Stock: r.stock, Places: r.places, Unwell: r.unwell,
		Legacy: r.legacy, NoBackup: r.noBackup, NoElsewhere: r.noElsewhere,
		Approved: r.people.approved, Rejected: r.people.rejected, Ordered: r.people.ordered,
	}
	if r.inc.Proposal != nil && !r.noBackup {
		s.CountedFrom = r.inc.Proposal.At
	}
	if s.Policy.Held == "" {
		s.Policy.Held = r.inc.Held
	}
	return ladder.Next(s), s
}

// carryOut does what was decided. errDone when the incident is over.
func (r *recovery) carryOut(ctx workflow.Context, d ladder.Decision) error {
	idle := d.Action == ladder.ActObserve || d.Action == ladder.ActWatch
	if !idle && (r.status.Observes || r.status.Watches) {
		r.report(ctx, contract.Status{})
	}
	if p := r.inc.Proposal; p != nil && (d.Action != ladder.ActApprove || d.Rung != p.Rung || d.From != p.From && !r.noBackup) {
		r.inc.Proposal = nil
		r.setNeedsPerson(ctx, false)
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
		return r.askPerson(ctx, d)
	case ladder.ActApprove:
		return r.propose(ctx, d)
	case ladder.ActHold:
		return r.heldBack(ctx, d)
	case ladder.ActObserve:
		return r.observe(ctx, d)
	case ladder.ActWatch:
		return r.watch(ctx, d)
	}
	return temporal.NewNonRetryableApplicationError(fmt.Sprintf("no such action %q", d.Action), contract.ErrTypeBadInput, nil)
}

// settle verifies a VM that runs without our doing and closes the incident.
func (r *recovery) settle(ctx workflow.Context, host string, outcome contract.Outcome) error {
	found, err := r.verify(ctx, host)
	switch {
	case err != nil:
		return r.notNow(ctx, r.inc.Stage, err)
	case !found.OK:
		r.note(ctx, notWell(found))
		r.thinkUnwell(found)
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

// cancelled cleans up after an incident that a person cancelled.
func (r *recovery) cancelled(ctx workflow.Context, why string) {
	dctx, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	r.calledOff = true
	restart := slices.ContainsFunc(r.undo.steps, func(u contract.Undo) bool { return u.Running })
	if left := r.undoAll(dctx); len(left) > 0 {
		r.note(dctx, "could not "+left[0])
		restart = false
	}
	r.leaveStopped(dctx, restart)
	_ = r.done(dctx, contract.OutcomeCancelled, why)
	r.close(dctx)
}

// leaveStopped says that a cancelled incident has left the VM stopped, or starts it
// again if it ran before a person wanted it put back.
func (r *recovery) leaveStopped(ctx workflow.Context, restart bool) {
	if !r.oursStopped || r.noBackup {
		return
	}
	why := "this incident has stopped it"
	if restart {
		started, err := r.start(ctx, r.inc.Host)
		if err == nil {
			r.oursStopped, r.inc.Started = false, started.At
			r.note(ctx, fmt.Sprintf("started on %s again, as it was before", r.inc.Host))
			return
		}
		why = failureText(err)
	}
	r.note(ctx, fmt.Sprintf("%s is left stopped on %s (%s): `holdfast recover %s` starts it", r.inc.VM, r.inc.Host, why, r.inc.VM))
}
