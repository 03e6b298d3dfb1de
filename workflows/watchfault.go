package workflows

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/workflow"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/ladder"
)

// watching is an incident of a host, a storage pool or the site.
type watching struct {
	vigil
	input   contract.WatchInput
	policy  ladder.Policy
	known   bool // the policy
	adopted bool // the record must be told of the end
}

// WatchFault is the incident of a host, a storage pool or the site. No rung for
// those can be climbed yet: it keeps what was found, says what the ladder is,
// and closes when its faults are over. A person may cancel it, which dismisses
// them.
func WatchFault(ctx workflow.Context, in contract.WatchInput) (contract.Incident, error) {
	w := &watching{vigil: newVigil(ctx, contract.SignalAdopted), input: in}
	w.begin(ctx)
	if err := workflow.SetQueryHandler(ctx, contract.QueryIncident, func() (contract.Incident, error) { return w.inc, nil }); err != nil {
		return contract.Incident{}, err
	}
	ctx, w.cancel = workflow.WithCancel(ctx)
	if err := hearActs(ctx, w.objects, w.takeIn); err != nil {
		return contract.Incident{}, err
	}
	workflow.Go(ctx, w.listen)
	err := w.run(ctx)
	switch {
	case errors.Is(err, errDone):
		w.close(ctx)
		w.farewell(ctx)
		return w.inc, nil
	case ctx.Err() != nil:
		dctx, cancel := workflow.NewDisconnectedContext(ctx)
		defer cancel()
		_ = w.done(dctx, contract.OutcomeCancelled, cmp.Or(w.cancelling, "cancelled by a person"))
		w.close(dctx)
		w.farewell(dctx)
		if w.cancelling != "" {
			return w.inc, nil
		}
		return w.inc, ctx.Err()
	}
	return w.inc, err
}

// objects says why an act makes no sense: nothing is done here that a person could
// approve, hold or try again.
func (w *watching) objects(a contract.Act) error {
	if err := w.record.objects(a); err != nil {
		return err
	}
	if a.Verb != contract.VerbCancel {
		return fmt.Errorf("%s is watched, and nothing is done about it that you could %s: mend it, or `holdfast incident cancel %s` to dismiss it", subject(w.inc), a.Verb, w.inc.ID)
	}
	return nil
}

func (w *watching) takeIn(ctx workflow.Context, a contract.Act) contract.ActReply {
	w.heardAct(ctx, a)
	w.cancelFor(a)
	return contract.ActReply{IncidentID: w.inc.ID, Said: "ends, and dismisses its faults"}
}

func (w *watching) begin(ctx workflow.Context) {
	if w.input.Carry != nil {
		w.inc, w.adopted = *w.input.Carry, w.input.Adopted
		w.shown.stage, w.shown.needsPerson, w.shown.host = w.inc.Stage, w.inc.NeedsPerson, w.inc.Host
		return
	}
	f := w.input.Fault
	w.inc = contract.Incident{
		ID: w.input.ID, Site: f.Site, Host: f.Host, Fault: f,
		Stage: contract.StageConfirm, Why: f.Why, Opened: workflow.Now(ctx),
	}
	w.note(ctx, f.Why)
	w.hear(ctx, f.ID)
}

// run waits until all faults are over.
func (w *watching) run(ctx workflow.Context) error {
	var told string // the fault of which was said what can be done
	for {
		if err := w.closing(ctx); err != nil {
			return err
		}
		w.askPolicy(ctx)
		d := ladder.WatchHost(w.inc.Fault, w.policy)
		if told != w.inc.Fault.ID {
			told, w.inc.Stage = w.inc.Fault.ID, contract.StageWatch
			w.note(ctx, "watches: "+d.Why)
		}
		w.inc.Why, w.inc.NeedsPerson = d.Why, d.NeedsPerson
		w.show(ctx, contract.StageWatch, d.NeedsPerson, untilOver)
		if err := w.rest(ctx, staleAfter, "whether a monitor has said it again"); err != nil {
			return err
		}
		if err := w.confirm(ctx); err != nil {
			return err
		}
		if err := w.renew(ctx); err != nil {
			return err
		}
	}
}

// renew continues a history that has grown long as new.
func (w *watching) renew(ctx workflow.Context) error {
	if !workflow.GetInfo(ctx).GetContinueAsNewSuggested() || w.over != "" {
		return nil
	}
	if err := w.drain(ctx); err != nil || w.over != "" {
		return err
	}
	in := w.input
	in.Carry, in.Adopted = &w.inc, w.adopted
	return workflow.NewContinueAsNewError(ctx, WatchFault, in)
}

// untilOver is what comes next in an incident that is watched.
const untilOver = "waits until a monitor says that it is over; cancelling it dismisses the fault"

// policyTime is how long the site's worker may take to say what the site wants.
const policyTime = 10 * time.Second

// askPolicy asks the site's worker whether the site wants anything touched,
// until it was told. It matters only for whether a person is called: as long as
// there is no answer, one is.
func (w *watching) askPolicy(ctx workflow.Context) {
	if w.known {
		return
	}
	in := contract.PolicyInput{Kind: w.inc.Fault.Kind, Labels: w.inc.Fault.Labels}
	actx := onSite(ctx, w.inc.Site, "what the site wants done about "+string(w.inc.Fault.Kind), policyTime)
	err := workflow.ExecuteActivity(actx, act.Policy, in).Get(ctx, &w.policy)
	switch {
	case err == nil:
		w.known = true
	case ctx.Err() == nil && noWorker(err):
		w.note(ctx, "what the site wants done is not known: "+noWorkerText(w.inc.Site))
	case ctx.Err() == nil:
		w.note(ctx, "what the site wants done is not known: "+failureText(err))
	}
}

// listen takes what the record passes on while the incident is open.
func (w *watching) listen(ctx workflow.Context) {
	for ctx.Err() == nil {
		sel := workflow.NewSelector(ctx)
		sel.AddReceive(ctx.Done(), func(workflow.ReceiveChannel, bool) {})
		sel.AddReceive(workflow.GetSignalChannel(ctx, contract.SignalFault), func(c workflow.ReceiveChannel, _ bool) {
			var f fault.Fault
			c.Receive(ctx, &f)
			if !w.again(ctx, f) {
				w.join(ctx, f)
			}
			w.awake()
		})
		w.addClearing(ctx, sel, nil)
		sel.AddReceive(workflow.GetSignalChannel(ctx, contract.SignalAdopted), func(c workflow.ReceiveChannel, _ bool) {
			c.Receive(ctx, nil)
			w.adopted = true
		})
		sel.Select(ctx)
	}
}

// farewell tells a record that adopted the incident how it has ended.
func (w *watching) farewell(ctx workflow.Context) {
	parent := workflow.GetInfo(ctx).ParentWorkflowExecution
	if !w.adopted || parent == nil {
		return
	}
	err := workflow.SignalExternalWorkflow(ctx, parent.ID, "", contract.SignalEnded, endOf(w.inc)).Get(ctx, nil)
	if err != nil {
		workflow.GetLogger(ctx).Warn("record did not take how the incident ended", "error", err)
	}
}
