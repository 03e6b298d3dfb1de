package workflows

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/ladder"
)

type guardian struct {
	keeper
	in         contract.GuardianInput
	annotating workflow.Mutex
	snapping   workflow.Mutex
	copying    string // what is being done to backups, and for whom; empty: nothing
	// What the incident is for which is being opened, if a person wants the VM put back.
	restore   string              // to this snapshot
	restoring *contract.BackupRef // or to this backup
}

// VM is the guardian of one VM: the only one who lets anything be done to it.
// It takes faults and requests, runs one operation at a time, remembers recent
// repairs so that a crash loop is seen as one, and closes after a quiet spell.
func VM(ctx workflow.Context, in contract.GuardianInput) error {
	g := &guardian{in: in, annotating: workflow.NewMutex(ctx), snapping: workflow.NewMutex(ctx)}
	g.keeper = newKeeper(ctx, g, in.Memory)
	if err := workflow.SetQueryHandler(ctx, contract.QueryGuardian, g.state); err != nil {
		return err
	}
	err := workflow.SetUpdateHandlerWithOptions(ctx, contract.UpdateRecover, g.recover,
		workflow.UpdateHandlerOptions{Validator: g.validateRecover})
	if err != nil {
		return err
	}
	err = workflow.SetUpdateHandlerWithOptions(ctx, contract.UpdateAnnotate, g.annotate,
		workflow.UpdateHandlerOptions{Validator: g.validateAnnotate})
	if err != nil {
		return err
	}
	err = workflow.SetUpdateHandlerWithOptions(ctx, contract.UpdateSnapshot, g.snapshot,
		workflow.UpdateHandlerOptions{Validator: g.validateSnapshot})
	if err != nil {
		return err
	}
	err = workflow.SetUpdateHandlerWithOptions(ctx, contract.UpdateBackup, g.backup,
		workflow.UpdateHandlerOptions{Validator: g.validateBackup})
	if err != nil {
		return err
	}
	return g.run(ctx, in.Memory.Open, func() error {
		in.Memory = g.mem
		return workflow.NewContinueAsNewError(ctx, VM, in)
	})
}

// slot is the same for all faults: a VM has one operation at a time.
func (g *guardian) slot(fault.Fault) string { return "" }

func (g *guardian) incidentID(_ fault.Fault, at time.Time) string {
	return contract.IncidentID(g.in.Site, g.in.VM.Name, g.in.VM.UUID, at)
}

func (g *guardian) start(ctx workflow.Context, id string, f fault.Fault) workflow.ChildWorkflowFuture {
	ctx = asIncident(ctx, id, f)
	in := contract.RecoverInput{ID: id, Fault: f, Recent: g.mem.Recent}
	in.Restore, in.Backup = g.restore, g.restoring
	switch {
	case g.restore != "":
		in.Ordered = ladder.RungSnapshot
	case g.restoring != nil:
		in.Ordered = ladder.RungBackup
	}
	if in.Ordered != "" {
		in.Approved = []ladder.Rung{in.Ordered}
	}
	g.restore, g.restoring = "", nil
	return workflow.ExecuteChildWorkflow(ctx, RecoverVM, in)
}

// current is the operation that runs, or nil.
func (g *guardian) current() *operation {
	if len(g.open) == 0 {
		return nil
	}
	return g.open[0]
}

func (g *guardian) validateRecover(req contract.RecoverRequest) error {
	return g.validate(req.Site, req.VM, req.By)
}

// validate refuses what is meant for another guardian, or comes from nobody.
func (g *guardian) validate(site string, vm fault.VM, by string) error {
	switch {
	case vm.UUID != g.in.VM.UUID || site != g.in.Site:
		return fmt.Errorf("this is the guardian of %s at site %s, not of %s at site %s", g.in.VM, g.in.Site, vm, site)
	case by == "":
		return errors.New("by is empty: say who asks")
	}
	return nil
}

// recover answers a person's request: it opens an incident, or says which one
// has the VM already.
func (g *guardian) recover(ctx workflow.Context, req contract.RecoverRequest) (contract.RecoverReply, error) {
	g.lastActive = workflow.Now(ctx)
	if op := g.current(); op != nil {
		// Passed on in any case: the incident knows best whether it waits for a person.
		g.tell(ctx, op, contract.SignalRetry, contract.Retry{By: req.By, Why: req.Why})
		return contract.RecoverReply{
			IncidentID: op.ID, Already: true, Watching: op.Status.Watches,
			Retrying: !op.Status.Watches && (op.Status.NeedsPerson || op.Status.Observes),
		}, nil
	}
	why := fmt.Sprintf("%s asked for a recovery", req.By)
	if req.Why != "" {
		why += ": " + req.Why
	}
	id, err := g.request(ctx, req.VM, req.Host, req.By, why)
	return contract.RecoverReply{IncidentID: id}, err
}

// request opens an incident because a person wants one, and returns its ID.
func (g *guardian) request(ctx workflow.Context, vm fault.VM, host, by, why string) (string, error) {
	now := workflow.Now(ctx)
	op := g.begin(ctx, fault.Fault{
		ID: fmt.Sprintf("requested/%s/%d", vm.UUID, now.UnixNano()), Kind: fault.KindRequested,
		Site: g.in.Site, VM: vm, Host: host, First: now, Last: now, Reporter: by, Why: why,
	})
	if err := workflow.Await(ctx, func() bool { return op.started }); err != nil {
		return "", err
	}
	return op.ID, nil
}

// tryLockChange marks guardians that tell a person at once what is in the way.
const tryLockChange = "try-lock"

// take gets hold of the VM's snapshots and backups: one thing is done to them at a
// time. A schedule waits for its turn; a person is told at once, and not obeyed when
// they have long done something else.
func (g *guardian) take(ctx workflow.Context, patient bool) error {
	if patient || workflow.GetVersion(ctx, tryLockChange, workflow.DefaultVersion, 1) == workflow.DefaultVersion {
		return g.snapping.Lock(ctx)
	}
	if !g.snapping.TryLock(ctx) {
		return refused("a snapshot of it is being made, pruned or looked at: try again when that is over; %s shows by whom", contract.GuardianID(g.in.Site, g.in.VM.UUID))
	}
	return nil
}

// busy says which incident has the VM, or what is being done to its backups; nil:
// neither.
func (g *guardian) busy() error {
	if op := g.current(); op != nil {
		return fmt.Errorf("%s has the VM: wait until it is over, or cancel it", op.ID)
	}
	if g.copying != "" {
		return errors.New(g.copying + ": wait until it is over")
	}
	return nil
}

// refused is an answer to a person that trying again does not change.
func refused(format string, args ...any) error {
	return temporal.NewNonRetryableApplicationError(fmt.Sprintf(format, args...), contract.ErrTypeBadInput, nil)
}

// said is what an activity's error tells the person who asked for it.
func (g *guardian) said(err error) error {
	return temporal.NewNonRetryableApplicationError(failureText(explain(err, g.in.Site)), failureType(err), nil)
}

func (g *guardian) state() (contract.GuardianState, error) {
	s := contract.GuardianState{Site: g.in.Site, VM: g.in.VM, Memory: g.mem}
	if op := g.current(); op != nil {
		s.Current = op.ID
	}
	return s, nil
}

// describe keeps the workflow readable in the Temporal UI.
func (g *guardian) describe(ctx workflow.Context) {
	text := fmt.Sprintf("Guards **%s** at site %s. ", g.in.VM, g.in.Site)
	switch op := g.current(); {
	case op != nil:
		text += fmt.Sprintf("Running now: `%s`.", op.ID)
	case g.copying != "":
		text += fmt.Sprintf("Running now: %s.", inMarkdown(g.copying))
	default:
		text += fmt.Sprintf("Idle; closes %s after the last event. Last incident: `%s`.", quietSpell, g.mem.LastID)
	}
	workflow.SetCurrentDetails(ctx, text)
}

// annotateTime is how long reading or changing an annotation may take.
const annotateTime = time.Minute

func (g *guardian) validateAnnotate(req contract.AnnotateRequest) error {
	if err := g.validate(req.Site, req.VM, req.By); err != nil {
		return err
	}
	for _, c := range req.Changes {
		if key, _, sets := strings.Cut(c, "="); key == "" || !sets && (c == "-" || !strings.HasSuffix(c, "-")) {
			return fmt.Errorf("change %q: write key=value to set and key- to remove", c)
		}
	}
	return nil
}

// annotate reads or changes what the VM's definition says to Holdfast, on every
// host that has it. One at a time: it reads before it writes.
func (g *guardian) annotate(ctx workflow.Context, req contract.AnnotateRequest) (contract.AnnotateReply, error) {
	g.lastActive = workflow.Now(ctx)
	var out contract.AnnotateReply
	if err := g.annotating.Lock(ctx); err != nil {
		return out, err
	}
	defer g.annotating.Unlock()
	what := "read the annotation of " + g.in.VM.String()
	if len(req.Changes) > 0 {
		what = fmt.Sprintf("annotate %s for %s", g.in.VM, req.By)
	}
	ctx = onSite(ctx, g.in.Site, what, annotateTime)
	err := workflow.ExecuteActivity(ctx, act.Annotate, req.AnnotateInput).Get(ctx, &out)
	if err == nil {
		holds := func(change string) bool { return change == "hold-" || strings.HasPrefix(change, "hold=") }
		if op := g.current(); op != nil && !req.DryRun && slices.ContainsFunc(req.Changes, holds) {
			g.tell(ctx, op, contract.SignalLook, nil)
		}
		return out, nil
	}
	return out, g.said(err)
}
