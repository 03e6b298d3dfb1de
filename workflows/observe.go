package workflows

import (
	"fmt"

	"go.temporal.io/sdk/workflow"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/ladder"
)

// observe says what would be done, does nothing, and looks again now and then.
// A person who asks is obeyed.
func (r *recovery) observe(ctx workflow.Context, d ladder.Decision) error {
	if r.gone != "" && !r.unfinished() {
		return r.done(ctx, contract.OutcomeCleared, r.gone)
	}
	r.waits++
	r.tell(ctx, contract.StageObserve, d.Why, d.Why)
	r.report(ctx, contract.Status{Observes: true})
	r.show(ctx, contract.StageObserve, false, fmt.Sprintf("looks again in %s; `holdfast recover %s` has it done", d.Wait, r.inc.VM))
	if err := r.sleep(ctx, d.Wait, "next look, in observe mode"); err != nil {
		return err
	}
	if r.retry != nil {
		r.note(ctx, r.retry.By+" asked for the repair, which is intent in observe mode too"+because(r.retry.Why))
		r.forgiven, r.retry, r.waits, r.asked = workflow.Now(ctx), nil, 0, true
	}
	return nil
}

// watch waits for a fault to be over that no rung mends.
func (r *recovery) watch(ctx workflow.Context, d ladder.Decision) error {
	r.waits++
	text := "watches: " + d.Why
	if d.State != "" {
		text += " (" + d.State + ")"
	}
	r.tell(ctx, contract.StageWatch, r.inc.Fault.ID+d.State, text)
	r.report(ctx, contract.Status{Watches: true, NeedsPerson: d.NeedsPerson})
	r.show(ctx, contract.StageWatch, d.NeedsPerson, untilOver)
	if r.asked {
		r.note(ctx, "nothing could be tried: "+d.State)
		r.asked = false
	}
	if err := r.sleep(ctx, d.Wait, "whether a person has stopped it meanwhile"); err != nil {
		return err
	}
	if r.retry != nil {
		r.note(ctx, r.retry.By+" asked for the repair"+because(r.retry.Why))
		r.forgiven, r.retry, r.asked = workflow.Now(ctx), nil, true
	}
	return r.confirm(ctx)
}

// closing ends the incident when its last fault is over. A VM that is resumed in
// vain runs for a moment, which a monitor takes for the end of it: where its host
// shows what is wrong, the host is asked.
func (r *recovery) closing(ctx workflow.Context) error {
	if r.over != "" && r.unfinished() {
		// What a monitor saw is our own doing: it calls a fault over whose VM we stopped.
		r.over = ""
		return nil
	}
	if r.over == "" || r.legacy || !ladder.Shows(r.inc.Fault.Kind) {
		return r.vigil.closing(ctx)
	}
	if err := r.inspect(ctx); err != nil {
		return err
	}
	for _, a := range r.inspection.Answers {
		if a.Active && a.State == "paused" && a.Reason != "user" {
			r.over = ""
			return nil
		}
	}
	return r.vigil.closing(ctx)
}

// unfinished: this incident has done something to the VM that did not end well, so
// that nobody's word but an inspection's ends it.
func (r *recovery) unfinished() bool {
	return !r.legacy && (r.oursStopped || len(r.undo.steps) > 0 || r.unwell != "")
}

// tell adds a line to the story, once for each key.
func (r *recovery) tell(ctx workflow.Context, stage contract.Stage, key, text string) {
	r.inc.Stage = stage
	if r.told != key {
		r.told = key
		r.note(ctx, text)
	}
}

// setNeedsPerson tells the guardian, so that a person's request reaches an
// incident that waits for one.
func (r *recovery) setNeedsPerson(ctx workflow.Context, on bool) {
	r.report(ctx, contract.Status{NeedsPerson: on})
}

// report tells the guardian how the incident waits, if that has changed.
func (r *recovery) report(ctx workflow.Context, s contract.Status) {
	s.ID, r.inc.NeedsPerson = r.inc.ID, s.NeedsPerson
	if s == r.status {
		return
	}
	r.status = s
	parent := workflow.GetInfo(ctx).ParentWorkflowExecution
	if parent == nil {
		return
	}
	err := workflow.SignalExternalWorkflow(ctx, parent.ID, "", contract.SignalStatus, s).Get(ctx, nil)
	if err != nil {
		workflow.GetLogger(ctx).Warn("guardian took no status", "error", err)
	}
}

// statusIn is what a guardian knows of an incident that continues as new.
func (r *recovery) statusIn(stage contract.Stage) contract.Status {
	return contract.Status{
		ID: r.inc.ID, NeedsPerson: r.inc.NeedsPerson,
		Watches: stage == contract.StageWatch, Observes: stage == contract.StageObserve,
	}
}

// listen takes what the guardian passes on while the incident is open.
func (r *recovery) listen(ctx workflow.Context) {
	for ctx.Err() == nil {
		sel := workflow.NewSelector(ctx)
		sel.AddReceive(ctx.Done(), func(workflow.ReceiveChannel, bool) {})
		sel.AddReceive(workflow.GetSignalChannel(ctx, contract.SignalFault), func(c workflow.ReceiveChannel, _ bool) {
			var f fault.Fault
			c.Receive(ctx, &f)
			r.another(ctx, f)
		})
		r.addClearing(ctx, sel, func(c contract.Cleared) {
			if c.FaultID == r.inc.Fault.ID {
				r.gone = overText(c)
			}
		})
		sel.AddReceive(workflow.GetSignalChannel(ctx, contract.SignalLook), func(c workflow.ReceiveChannel, _ bool) {
			c.Receive(ctx, nil)
			r.waits = 0
			r.awake()
		})
		sel.AddReceive(workflow.GetSignalChannel(ctx, contract.SignalRetry), func(c workflow.ReceiveChannel, _ bool) {
			var retry contract.Retry
			c.Receive(ctx, &retry)
			r.asks(retry)
		})
		sel.Select(ctx)
	}
}

// asks takes a person's request to this incident.
func (r *recovery) asks(retry contract.Retry) {
	if r.inc.NeedsPerson || r.status.Observes || r.status.Watches { // else it is under way already
		r.retry = &retry
		r.awake()
	}
}

// because adds a person's reason to a sentence, if there is one.
func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

// another takes a further fault of the same VM. It changes what is known, not
// what is being done: the next look decides.
func (r *recovery) another(ctx workflow.Context, f fault.Fault) {
	if r.again(ctx, f) || f.ID == r.inc.Fault.ID && !ladder.Lasts(r.inc.Fault.Kind) {
		return
	}
	was := r.inc.Fault
	if ladder.Lasts(f.Kind) && ladder.Lasts(was.Kind) {
		r.join(ctx, f)
		r.awake()
		return
	}
	r.inc.More++
	r.note(ctx, "meanwhile: "+f.Why)
	switch {
	case ladder.Lasts(f.Kind):
		r.keep(ctx, f)
	case ladder.Lasts(was.Kind):
		// It has come to something that can be mended: that comes first.
		if r.over == "" {
			r.keep(ctx, was)
		}
		r.become(ctx, f)
		r.waits = 0
	case f.Kind.Severity() >= was.Kind.Severity():
		f.ID, f.First = was.ID, was.First
		r.inc.Fault = f
	}
	r.gone = ""
	r.awake()
}
