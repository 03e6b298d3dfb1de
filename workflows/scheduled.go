package workflows

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"holdfast/internal/contract"
)

// validateTurn refuses what makes no sense. That an incident has the VM is no
// mistake of a schedule's: that is answered.
func (g *guardian) validateTurn(req contract.SnapshotRequest) error {
	switch {
	case req.Turn == nil:
		return errors.New("turn is empty")
	case req.Verb == contract.SnapshotTurn && (req.Name == "" || req.Turn.Schedule == ""):
		return errors.New("name or schedule is empty: say which snapshot, and for whom")
	case req.Verb == contract.SnapshotPrune && !req.Turn.DryRun:
		return g.busy()
	}
	return nil
}

// turn makes the snapshot that a schedule wants, if it does, and then lets those go
// that its rule no longer keeps, one at a time. Nothing goes once an incident has
// the VM: it might want just that.
func (g *guardian) turn(ctx workflow.Context, req contract.SnapshotRequest) (contract.SnapshotReply, error) {
	var out contract.Turn
	asked := req.Verb == contract.SnapshotPrune
	if err := g.busy(); err != nil && !req.Turn.DryRun {
		if asked {
			return contract.SnapshotReply{}, refused("%s", err)
		}
		out.Passed, out.Why = contract.PassedBusy, err.Error()
		return contract.SnapshotReply{Turn: &out}, nil
	}
	what := fmt.Sprintf("snapshot %s of %s on %s for %s", req.Name, g.in.VM, req.Host, req.By)
	if asked {
		what = fmt.Sprintf("which snapshots of %s on %s may go, for %s", g.in.VM, req.Host, req.By)
	}
	actx := onDisks(ctx, g.in.Site, what, snapshotTime)
	err := workflow.ExecuteActivity(actx, act.ScheduledSnapshot, req.SnapshotInput).Get(ctx, &out)
	g.lastActive = workflow.Now(ctx)
	switch {
	case err != nil && asked:
		return contract.SnapshotReply{}, g.said(err)
	case err != nil:
		out = contract.Turn{Failed: failureText(explain(err, g.in.Site)), Unanswered: unanswered(err)}
	case !req.Turn.DryRun:
		g.prune(ctx, req, &out)
	}
	return contract.SnapshotReply{Turn: &out}, nil
}

// verifyTurn tries the newest snapshot that a schedule has made, if the VM may have
// its turn.
func (g *guardian) verifyTurn(ctx workflow.Context, req contract.SnapshotRequest) (contract.SnapshotReply, error) {
	var out contract.Turn
	reply := contract.SnapshotReply{Turn: &out}
	if err := g.busy(); err != nil {
		out.Passed, out.Why = contract.PassedBusy, err.Error()
		return reply, nil
	}
	failed := func(err error) (contract.SnapshotReply, error) {
		out.Failed, out.Unanswered = failureText(explain(err, g.in.Site)), unanswered(err)
		return reply, nil
	}
	actx := onSite(ctx, g.in.Site, fmt.Sprintf("which snapshot of %s on %s to try for %s", g.in.VM, req.Host, req.By), time.Minute)
	err := workflow.ExecuteActivity(actx, act.ScheduledSnapshot, req.SnapshotInput).Get(ctx, &out)
	g.lastActive = workflow.Now(ctx)
	switch {
	case err != nil:
		return failed(err)
	case out.Passed != "":
		return reply, nil
	}
	found, err := g.try(ctx, req.By, true, contract.TrialInput{VM: req.VM, Host: req.Host, Snapshot: out.Newest})
	switch {
	case err != nil && g.busy() != nil: // an incident wanted the VM, and has ended the trial
		out.Passed, out.Why = contract.PassedBusy, failureText(err)
	case err != nil:
		return failed(err)
	case !found.Booted:
		out.Failed = fmt.Sprintf("snapshot %s does not boot: %s", out.Newest, found.Why)
	default:
		out.Verified, out.Note = out.Newest, found.Why
	}
	return reply, nil
}

// unanswered reports an error that may be gone at another try.
func unanswered(err error) bool {
	return noWorker(err) || failureType(err) == "" || failureType(err) == contract.ErrTypeUnreachable
}

// prune lets go what is planned to, the oldest first. One that cannot be pruned is
// noted, and holds up no other, unless nobody answers any more.
func (g *guardian) prune(ctx workflow.Context, req contract.SnapshotRequest, out *contract.Turn) {
	for _, s := range slices.Backward(out.Plan) {
		if s.Keep {
			continue
		}
		if err := g.busy(); err != nil {
			out.NotPruned = append(out.NotPruned, contract.NotPruned{Name: s.Name, Why: err.Error()})
			return
		}
		actx := onDisks(ctx, g.in.Site, fmt.Sprintf("prune snapshot %s of %s on %s: %s", s.Name, g.in.VM, req.Host, s.Why), snapshotTime)
		in := contract.SnapshotInput{VM: req.VM, Host: req.Host, Verb: contract.SnapshotDelete, Name: s.Name}
		err := workflow.ExecuteActivity(actx, act.Snapshot, in).Get(ctx, nil)
		g.lastActive = workflow.Now(ctx)
		if err == nil {
			out.Pruned = append(out.Pruned, s.Name)
			continue
		}
		out.NotPruned = append(out.NotPruned, contract.NotPruned{Name: s.Name, Why: failureText(explain(err, g.in.Site))})
		if unanswered(err) || ctx.Err() != nil {
			return
		}
	}
}
