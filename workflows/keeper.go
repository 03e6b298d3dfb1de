package workflows

import (
	"errors"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
)

const (
	// quietSpell is how long a guardian stays after the last thing that happened
	// to its VM. It must outlast a budget's window and the longest time between
	// two sayings of the same fault, or both would be forgotten.
	quietSpell = 15 * time.Minute
	// memoryLimit bounds each list that a guardian remembers.
	memoryLimit = 32
	// repeatEvery is the least between two times that an incident is told that its
	// fault is still true: monitors say it more often, and there may be several. It
	// is told often enough not to ask a monitor, see staleAfter.
	repeatEvery = 5 * time.Minute
)

// operation is an incident that is open.
type operation struct {
	contract.OpenIncident
	child   workflow.ChildWorkflowFuture // nil: an earlier run of this workflow started it
	started bool
	// repeated is when it was last told that a fault of its is still true, and
	// frozen what it was told then about why nothing may be done.
	repeated time.Time
	frozen   string
}

// ending is an operation that has ended, and how.
type ending struct {
	op  *operation
	how contract.Ended
}

// owner is what differs between the guardian of a VM and the records of a host
// and of a site.
type owner interface {
	// slot is the place that a fault takes: each has one incident at a time.
	slot(fault.Fault) string
	// incidentID names an incident for the fault that would be opened then.
	incidentID(fault.Fault, time.Time) string
	// start starts an incident.
	start(ctx workflow.Context, id string, f fault.Fault) workflow.ChildWorkflowFuture
	// describe keeps the workflow readable in the Temporal UI.
	describe(workflow.Context)
}

// keeper is what guardian and records share: they take faults, have one
// incident a slot, remember those that closed, and close after a quiet spell.
type keeper struct {
	owner
	mem        contract.Memory
	open       []*operation
	ended      workflow.Channel // of ending
	lastActive time.Time
	quiet      workflow.Future // nil when no timer runs
	// leaves: incidents that are open need not keep it from continuing as new.
	// They go on by themselves, as nobody else acts on their subject, and are
	// adopted by the next run.
	leaves bool
}

func newKeeper(ctx workflow.Context, o owner, mem contract.Memory) keeper {
	k := keeper{owner: o, mem: mem, ended: workflow.NewBufferedChannel(ctx, 1), lastActive: workflow.Now(ctx)}
	k.mem.Open = nil
	return k
}

// run serves until the quiet spell is over. again is called to continue as new.
func (k *keeper) run(ctx workflow.Context, left []contract.OpenIncident, again func() error) error {
	k.adopt(ctx, left)
	for {
		k.describe(ctx)
		k.next(ctx)
		switch {
		case ctx.Err() != nil:
			return k.cancelled(ctx)
		case k.pending(ctx):
		case workflow.GetInfo(ctx).GetContinueAsNewSuggested() && k.mayLeave(ctx):
			for _, op := range k.open {
				k.mem.Open = append(k.mem.Open, op.OpenIncident)
			}
			return again()
		case len(k.open) > 0:
		case workflow.Now(ctx).Sub(k.lastActive) >= quietSpell:
			return nil
		}
	}
}

// mayLeave reports whether nothing keeps the workflow from continuing as new.
func (k *keeper) mayLeave(ctx workflow.Context) bool {
	if len(k.open) == 0 {
		return true
	}
	if !k.leaves || k.find(func(op *operation) bool { return !op.started }) != nil {
		return false
	}
	return workflow.GetSignalChannel(ctx, contract.SignalStatus).Len() == 0 &&
		workflow.GetSignalChannel(ctx, contract.SignalEnded).Len() == 0
}

// adopt takes over the incidents of an earlier run, which must say by
// themselves how they end from now on.
func (k *keeper) adopt(ctx workflow.Context, left []contract.OpenIncident) {
	for _, o := range left {
		op := &operation{OpenIncident: o, started: true}
		k.open = append(k.open, op)
		k.tell(ctx, op, contract.SignalAdopted, contract.Adopted{ID: o.ID})
	}
}

// next waits for one thing to happen and handles it.
func (k *keeper) next(ctx workflow.Context) {
	sel := workflow.NewSelector(ctx)
	sel.AddReceive(ctx.Done(), func(workflow.ReceiveChannel, bool) {})
	sel.AddReceive(workflow.GetSignalChannel(ctx, contract.SignalFault), func(c workflow.ReceiveChannel, _ bool) {
		var f fault.Fault
		c.Receive(ctx, &f)
		k.fault(ctx, f)
	})
	sel.AddReceive(workflow.GetSignalChannel(ctx, contract.SignalCleared), func(c workflow.ReceiveChannel, _ bool) {
		var cleared contract.Cleared
		c.Receive(ctx, &cleared)
		k.cleared(ctx, cleared)
	})
	sel.AddReceive(workflow.GetSignalChannel(ctx, contract.SignalStatus), func(c workflow.ReceiveChannel, _ bool) {
		var status contract.Status
		c.Receive(ctx, &status)
		if op := k.find(func(op *operation) bool { return op.ID == status.ID }); op != nil {
			op.Status = status
		}
	})
	sel.AddReceive(k.ended, func(c workflow.ReceiveChannel, _ bool) {
		var e ending
		c.Receive(ctx, &e)
		k.close(ctx, e)
	})
	k.addAdoptedEnd(ctx, sel)
	if len(k.open) == 0 && k.quiet == nil {
		left := quietSpell - workflow.Now(ctx).Sub(k.lastActive)
		if left <= 0 && !workflow.AllHandlersFinished(ctx) {
			left = quietSpell // what a person asked for takes as long as it takes
		}
		k.quiet = workflow.NewTimerWithOptions(ctx, left, workflow.TimerOptions{Summary: "quiet spell before it closes"})
	}
	if k.quiet != nil {
		// One timer is left running over new operations and checked against
		// lastActive when it fires: cheaper than one a signal.
		sel.AddFuture(k.quiet, func(workflow.Future) { k.quiet = nil })
	}
	sel.Select(ctx)
}

// addAdoptedEnd hears of the end of an incident that was adopted.
func (k *keeper) addAdoptedEnd(ctx workflow.Context, sel workflow.Selector) {
	sel.AddReceive(workflow.GetSignalChannel(ctx, contract.SignalEnded), func(c workflow.ReceiveChannel, _ bool) {
		var how contract.Ended
		c.Receive(ctx, &how)
		if op := k.find(func(op *operation) bool { return op.ID == how.ID && op.child == nil }); op != nil {
			k.close(ctx, ending{op, how})
		}
	})
}

// pending reports whether something is waiting to be handled, so that the
// workflow must not close or continue as new yet.
func (k *keeper) pending(ctx workflow.Context) bool {
	return !workflow.AllHandlersFinished(ctx) || k.ended.Len() > 0 ||
		workflow.GetSignalChannel(ctx, contract.SignalFault).Len() > 0 ||
		workflow.GetSignalChannel(ctx, contract.SignalCleared).Len() > 0
}

func (k *keeper) find(which func(*operation) bool) *operation {
	if i := slices.IndexFunc(k.open, which); i >= 0 {
		return k.open[i]
	}
	return nil
}

// fault takes one report from a monitor.
func (k *keeper) fault(ctx workflow.Context, f fault.Fault) {
	log := workflow.GetLogger(ctx)
	if err := f.Validate(); err != nil {
		log.Error("dropped a fault that makes no sense", "error", err)
		return
	}
	k.lastActive = workflow.Now(ctx)
	slot := k.slot(f)
	op := k.find(func(op *operation) bool { return op.Slot == slot })
	switch {
	case slices.Contains(k.mem.Dismissed, f.ID):
		log.Info("a person dismissed this fault", "fault", f.ID)
	case op != nil && slices.Contains(op.Faults, f.ID):
		// Said again because it is still true. Only who waits for it to end cares.
		now := workflow.Now(ctx)
		if op.Status.Watches && (now.Sub(op.repeated) >= repeatEvery || f.Frozen != op.frozen) {
			op.repeated, op.frozen = now, f.Frozen
			k.tell(ctx, op, contract.SignalFault, f)
		}
	case op != nil:
		k.add(op, f)
		k.tell(ctx, op, contract.SignalFault, f)
	case slices.Contains(k.mem.Handled, f.ID) && !f.Last.After(k.mem.LastClosed):
		// A late repeat of what the last incident already dealt with.
	default:
		k.begin(ctx, f)
	}
}

// add notes that an incident knows of a fault.
func (k *keeper) add(op *operation, f fault.Fault) {
	op.Faults, op.Kind = lastOf(append(op.Faults, f.ID)), f.Kind
	if f.Source != "" {
		op.Alerts = lastOf(append(op.Alerts, f.ID))
	}
}

// cleared passes on that a fault is over: to the incident that knows it, or, of
// a guardian that has one for all, to that.
func (k *keeper) cleared(ctx workflow.Context, c contract.Cleared) {
	for _, op := range k.open {
		if op.Slot == "" || slices.Contains(op.Faults, c.FaultID) {
			k.tell(ctx, op, contract.SignalCleared, c)
		}
	}
}

// tell passes something on to an open incident.
func (k *keeper) tell(ctx workflow.Context, op *operation, signal string, arg any) {
	workflow.Go(ctx, func(ctx workflow.Context) {
		var err error
		if op.child != nil {
			err = op.child.SignalChildWorkflow(ctx, signal, arg).Get(ctx, nil)
		} else {
			err = workflow.SignalExternalWorkflow(ctx, op.ID, "", signal, arg).Get(ctx, nil)
		}
		if err == nil {
			return
		}
		// The incident has just closed. The monitor says the fault again.
		workflow.GetLogger(ctx).Info("incident took no signal", "incident", op.ID, "signal", signal, "error", err)
		var unknown *temporal.UnknownExternalWorkflowExecutionError
		if op.child == nil && errors.As(err, &unknown) {
			k.ended.Send(ctx, ending{op, contract.Ended{ID: op.ID}})
		}
	})
}

// begin starts an incident for a fault.
func (k *keeper) begin(ctx workflow.Context, f fault.Fault) *operation {
	at := workflow.Now(ctx)
	id := k.incidentID(f, at)
	for k.taken(id) {
		at = at.Add(time.Second)
		id = k.incidentID(f, at)
	}
	k.mem.LastID = id
	op := &operation{OpenIncident: contract.OpenIncident{ID: id, Slot: k.slot(f)}}
	k.add(op, f)
	op.Status = contract.Status{ID: id, Watches: f.Kind.Subject() != fault.SubjectVM}
	op.child = k.start(ctx, id, f)
	k.open = append(k.open, op)
	workflow.Go(ctx, func(ctx workflow.Context) { k.follow(ctx, op) })
	return op
}

// taken reports that an incident has, or had, this ID: two of one subject would
// in the same second.
func (k *keeper) taken(id string) bool {
	subject := func(id string) string { return id[:strings.LastIndexByte(id, '/')+1] }
	return subject(id) == subject(k.mem.LastID) && id <= k.mem.LastID ||
		k.find(func(op *operation) bool { return op.ID == id }) != nil
}

// follow waits for an operation to end.
func (k *keeper) follow(ctx workflow.Context, op *operation) {
	ctx, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	err := op.child.GetChildWorkflowExecution().Get(ctx, nil)
	op.started = true
	var inc contract.Incident
	if err == nil {
		err = op.child.Get(ctx, &inc)
	}
	how := endOf(inc)
	if err != nil {
		how = contract.Ended{}
		if temporal.IsCanceledError(err) || temporal.IsTerminatedError(err) {
			how.Outcome = contract.OutcomeCancelled
		} else {
			workflow.GetLogger(ctx).Error("incident failed", "incident", op.ID, "error", err)
		}
	}
	k.ended.Send(ctx, ending{op, how})
}

// endOf is what a guardian keeps of an incident that has ended.
func endOf(inc contract.Incident) contract.Ended {
	return contract.Ended{ID: inc.ID, Source: inc.Fault.Source, Outcome: inc.Outcome, Attempts: inc.Attempts}
}

// close remembers what an operation did.
func (k *keeper) close(ctx workflow.Context, e ending) {
	k.lastActive = workflow.Now(ctx)
	i := slices.Index(k.open, e.op)
	if i < 0 {
		return
	}
	k.open = slices.Delete(k.open, i, i+1)
	k.mem.LastClosed = workflow.Now(ctx)
	k.mem.Recent = lastOf(append(k.mem.Recent, e.how.Attempts...))
	k.mem.Handled = lastOf(append(k.mem.Handled, e.op.Faults...))
	switch {
	case e.how.Outcome == contract.OutcomeCancelled:
		k.mem.Dismissed = lastOf(append(k.mem.Dismissed, e.op.Faults...))
	case e.how.Outcome != "" && e.how.Source != "":
		// An alert that somebody else raises may go on whatever was done, as where
		// its VM was stopped. It has had its incident.
		k.mem.Dismissed = lastOf(append(k.mem.Dismissed, e.op.Alerts...))
	}
}

// cancelled ends the workflow in order: its operations first.
func (k *keeper) cancelled(ctx workflow.Context) error {
	dctx, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	for _, op := range slices.Clone(k.open) {
		if op.child == nil && workflow.RequestCancelExternalWorkflow(dctx, op.ID, "").Get(dctx, nil) != nil {
			k.close(dctx, ending{op, contract.Ended{ID: op.ID}})
		}
	}
	for len(k.open) > 0 {
		sel := workflow.NewSelector(dctx)
		sel.AddReceive(k.ended, func(c workflow.ReceiveChannel, _ bool) {
			var e ending
			c.Receive(dctx, &e)
			k.close(dctx, e)
		})
		k.addAdoptedEnd(dctx, sel)
		sel.Select(dctx)
	}
	// What a person has asked for goes on, and must not meet another guardian.
	_ = workflow.Await(dctx, func() bool { return workflow.AllHandlersFinished(dctx) })
	return ctx.Err()
}

// lastOf keeps the newest entries of a list that must not grow for ever.
func lastOf[T any](list []T) []T {
	if len(list) > memoryLimit {
		list = list[len(list)-memoryLimit:]
	}
	return slices.Clone(list)
}
