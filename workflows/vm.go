package workflows

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
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
)

// operation is what is being done to the VM now.
type operation struct {
	id          string
	faults      []string // IDs of the faults it knows of
	needsPerson bool
	child       workflow.ChildWorkflowFuture
	started     bool
}

type guardian struct {
	in         contract.GuardianInput
	mem        contract.Memory
	current    *operation
	ended      workflow.Channel // of contract.Incident: an operation has ended
	lastActive time.Time
	quiet      workflow.Future // nil when no timer runs
}

// VM is the guardian of one VM: the only one who lets anything be done to it.
// It takes faults and requests, runs one operation at a time, remembers recent
// repairs so that a crash loop is seen as one, and closes after a quiet spell.
func VM(ctx workflow.Context, in contract.GuardianInput) error {
	g := &guardian{in: in, mem: in.Memory, ended: workflow.NewBufferedChannel(ctx, 1), lastActive: workflow.Now(ctx)}
	if err := workflow.SetQueryHandler(ctx, contract.QueryGuardian, g.state); err != nil {
		return err
	}
	err := workflow.SetUpdateHandlerWithOptions(ctx, contract.UpdateRecover, g.recover,
		workflow.UpdateHandlerOptions{Validator: g.validateRecover})
	if err != nil {
		return err
	}
	for {
		g.describe(ctx)
		g.next(ctx)
		switch {
		case ctx.Err() != nil:
			return g.cancelled(ctx)
		case g.current != nil || g.pending(ctx):
		case workflow.GetInfo(ctx).GetContinueAsNewSuggested():
			in.Memory = g.mem
			return workflow.NewContinueAsNewError(ctx, VM, in)
		case workflow.Now(ctx).Sub(g.lastActive) >= quietSpell:
			return nil
		}
	}
}

// next waits for one thing to happen and handles it.
func (g *guardian) next(ctx workflow.Context) {
	sel := workflow.NewSelector(ctx)
	sel.AddReceive(ctx.Done(), func(workflow.ReceiveChannel, bool) {})
	sel.AddReceive(workflow.GetSignalChannel(ctx, contract.SignalFault), func(c workflow.ReceiveChannel, _ bool) {
		var f fault.Fault
		c.Receive(ctx, &f)
		g.fault(ctx, f)
	})
	sel.AddReceive(workflow.GetSignalChannel(ctx, contract.SignalCleared), func(c workflow.ReceiveChannel, _ bool) {
		var cleared contract.Cleared
		c.Receive(ctx, &cleared)
		g.tell(ctx, contract.SignalCleared, cleared)
	})
	sel.AddReceive(workflow.GetSignalChannel(ctx, contract.SignalStatus), func(c workflow.ReceiveChannel, _ bool) {
		var status contract.Status
		c.Receive(ctx, &status)
		if g.current != nil && g.current.id == status.ID {
			g.current.needsPerson = status.NeedsPerson
		}
	})
	sel.AddReceive(g.ended, func(c workflow.ReceiveChannel, _ bool) {
		var inc contract.Incident
		c.Receive(ctx, &inc)
		g.close(ctx, inc)
	})
	if g.current == nil && g.quiet == nil {
		left := quietSpell - workflow.Now(ctx).Sub(g.lastActive)
		g.quiet = workflow.NewTimerWithOptions(ctx, left, workflow.TimerOptions{Summary: "quiet spell before the guardian closes"})
	}
	if g.quiet != nil {
		// One timer is left running over new operations and checked against
		// lastActive when it fires: cheaper than one a signal.
		sel.AddFuture(g.quiet, func(workflow.Future) { g.quiet = nil })
	}
	sel.Select(ctx)
}

// pending reports whether something is waiting to be handled, so that the
// workflow must not close or continue as new yet.
func (g *guardian) pending(ctx workflow.Context) bool {
	return !workflow.AllHandlersFinished(ctx) || g.ended.Len() > 0 ||
		workflow.GetSignalChannel(ctx, contract.SignalFault).Len() > 0 ||
		workflow.GetSignalChannel(ctx, contract.SignalCleared).Len() > 0
}

// fault takes one report from a monitor.
func (g *guardian) fault(ctx workflow.Context, f fault.Fault) {
	log := workflow.GetLogger(ctx)
	if err := f.Validate(); err != nil {
		log.Error("dropped a fault that makes no sense", "error", err)
		return
	}
	g.lastActive = workflow.Now(ctx)
	switch {
	case slices.Contains(g.mem.Dismissed, f.ID):
		log.Info("a person dismissed this fault", "fault", f.ID)
	case g.current != nil && slices.Contains(g.current.faults, f.ID):
		// Said again because it is still true: the incident knows.
	case g.current != nil:
		g.current.faults = append(g.current.faults, f.ID)
		g.tell(ctx, contract.SignalFault, f)
	case slices.Contains(g.mem.Handled, f.ID) && !f.Last.After(g.mem.LastClosed):
		// A late repeat of what the last incident already dealt with.
	default:
		g.open(ctx, f)
	}
}

// tell passes something on to the running incident, if there is one.
func (g *guardian) tell(ctx workflow.Context, signal string, arg any) {
	op := g.current
	if op == nil {
		return
	}
	workflow.Go(ctx, func(ctx workflow.Context) {
		if err := op.child.SignalChildWorkflow(ctx, signal, arg).Get(ctx, nil); err != nil {
			// The incident has just closed. The monitor says the fault again.
			workflow.GetLogger(ctx).Info("incident took no signal", "incident", op.id, "signal", signal, "error", err)
		}
	})
}

// open starts an incident for a fault.
func (g *guardian) open(ctx workflow.Context, f fault.Fault) {
	at := workflow.Now(ctx)
	id := contract.IncidentID(g.in.Site, g.in.VM.Name, g.in.VM.UUID, at)
	for id <= g.mem.LastID {
		at = at.Add(time.Second)
		id = contract.IncidentID(g.in.Site, g.in.VM.Name, g.in.VM.UUID, at)
	}
	g.mem.LastID = id
	ctx = workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID:          id,
		WorkflowTaskTimeout: taskTimeout,
		// A guardian that a person ends takes its operation with it, in order:
		// an operation without a guardian could meet a second one.
		ParentClosePolicy:   enumspb.PARENT_CLOSE_POLICY_REQUEST_CANCEL,
		WaitForCancellation: true,
		StaticSummary:       fmt.Sprintf("%s: %s on %s", f.Kind, f.VM, orUnknown(f.Host)),
		StaticDetails:       details(f),
		TypedSearchAttributes: temporal.NewSearchAttributes(
			contract.AttrSite.ValueSet(g.in.Site),
			contract.AttrHost.ValueSet(orUnknown(f.Host)),
			contract.AttrVM.ValueSet(f.VM.String()),
			contract.AttrFaultKind.ValueSet(string(f.Kind)),
			contract.AttrStage.ValueSet(string(contract.StageConfirm)),
			contract.AttrNeedsApproval.ValueSet(false),
		),
	})
	op := &operation{id: id, faults: []string{f.ID}}
	op.child = workflow.ExecuteChildWorkflow(ctx, RecoverVM, contract.RecoverInput{ID: id, Fault: f, Recent: g.mem.Recent})
	g.current = op
	workflow.Go(ctx, func(ctx workflow.Context) { g.follow(ctx, op, f) })
}

// follow waits for an operation to end.
func (g *guardian) follow(ctx workflow.Context, op *operation, f fault.Fault) {
	ctx, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	err := op.child.GetChildWorkflowExecution().Get(ctx, nil)
	op.started = true
	var inc contract.Incident
	if err == nil {
		err = op.child.Get(ctx, &inc)
	}
	if err != nil {
		inc = contract.Incident{ID: op.id, Fault: f, Closed: workflow.Now(ctx)}
		if temporal.IsCanceledError(err) || temporal.IsTerminatedError(err) {
			inc.Outcome = contract.OutcomeCancelled
		} else {
			workflow.GetLogger(ctx).Error("incident failed", "incident", op.id, "error", err)
		}
	}
	g.ended.Send(ctx, inc)
}

// close remembers what an operation did.
func (g *guardian) close(ctx workflow.Context, inc contract.Incident) {
	op := g.current
	g.current = nil
	g.lastActive = workflow.Now(ctx)
	if op == nil {
		return
	}
	g.mem.LastClosed = workflow.Now(ctx)
	g.mem.Recent = lastOf(append(g.mem.Recent, inc.Attempts...))
	g.mem.Handled = lastOf(append(g.mem.Handled, op.faults...))
	if inc.Outcome == contract.OutcomeCancelled {
		g.mem.Dismissed = lastOf(append(g.mem.Dismissed, op.faults...))
	}
}

// cancelled ends the guardian in order: its operation first.
func (g *guardian) cancelled(ctx workflow.Context) error {
	dctx, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	if g.current != nil {
		var inc contract.Incident
		g.ended.Receive(dctx, &inc)
		g.close(dctx, inc)
	}
	return ctx.Err()
}

func (g *guardian) validateRecover(req contract.RecoverRequest) error {
	switch {
	case req.VM.UUID != g.in.VM.UUID || req.Site != g.in.Site:
		return fmt.Errorf("this is the guardian of %s at site %s, not of %s at site %s", g.in.VM, g.in.Site, req.VM, req.Site)
	case req.By == "":
		return errors.New("by is empty: say who asks")
	}
	return nil
}

// recover answers a person's request: it opens an incident, or says which one
// has the VM already.
func (g *guardian) recover(ctx workflow.Context, req contract.RecoverRequest) (contract.RecoverReply, error) {
	g.lastActive = workflow.Now(ctx)
	if op := g.current; op != nil {
		// Passed on in any case: the incident knows best whether it waits for a person.
		g.tell(ctx, contract.SignalRetry, contract.Retry{By: req.By, Why: req.Why})
		return contract.RecoverReply{IncidentID: op.id, Already: true, Retrying: op.needsPerson}, nil
	}
	now := workflow.Now(ctx)
	why := fmt.Sprintf("%s asked for a recovery", req.By)
	if req.Why != "" {
		why += ": " + req.Why
	}
	g.open(ctx, fault.Fault{
		ID: fmt.Sprintf("requested/%s/%d", req.VM.UUID, now.UnixNano()), Kind: fault.KindRequested,
		Site: g.in.Site, VM: req.VM, Host: req.Host, First: now, Last: now, Reporter: req.By, Why: why,
	})
	op := g.current
	if err := workflow.Await(ctx, func() bool { return op.started }); err != nil {
		return contract.RecoverReply{}, err
	}
	return contract.RecoverReply{IncidentID: op.id}, nil
}

func (g *guardian) state() (contract.GuardianState, error) {
	s := contract.GuardianState{Site: g.in.Site, VM: g.in.VM, Memory: g.mem}
	if g.current != nil {
		s.Current = g.current.id
	}
	return s, nil
}

// describe keeps the workflow readable in the Temporal UI.
func (g *guardian) describe(ctx workflow.Context) {
	text := fmt.Sprintf("Guards **%s** at site %s. ", g.in.VM, g.in.Site)
	if g.current != nil {
		text += fmt.Sprintf("Running now: `%s`.", g.current.id)
	} else {
		text += fmt.Sprintf("Idle; closes %s after the last event. Last incident: `%s`.", quietSpell, g.mem.LastID)
	}
	workflow.SetCurrentDetails(ctx, text)
}

// lastOf keeps the newest entries of a list that must not grow for ever.
func lastOf[T any](list []T) []T {
	if len(list) > memoryLimit {
		list = list[len(list)-memoryLimit:]
	}
	return slices.Clone(list)
}

func orUnknown(host string) string {
	if host == "" {
		return "unknown"
	}
	return host
}

// sightingsShown is how many hosts' sightings the details of an incident spell out.
const sightingsShown = 8

// details say what a fault was concluded from.
func details(f fault.Fault) string {
	text := fmt.Sprintf("%s\n\nSeen by %s at %s.", inMarkdown(f.Why), inMarkdown(f.Reporter), f.First.UTC().Format("2006-01-02 15:04:05.000 MST"))
	var seen []string
	for _, s := range append([]fault.Sighting{f.Seen}, f.Elsewhere...) {
		if s.Host != "" {
			seen = append(seen, inMarkdown(s.String()))
		}
	}
	if more := len(seen) - sightingsShown; more > 0 {
		seen = append(seen[:sightingsShown], fmt.Sprintf("and %d more hosts", more))
	}
	if len(seen) > 0 {
		text += "\n\nEvidence: " + strings.Join(seen, "; ")
	}
	return text + lastLine
}
