package workflows

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
)

func (g *guardian) validateSnapshot(req contract.SnapshotRequest) error {
	if err := g.validate(req.Site, req.VM, req.By); err != nil {
		return err
	}
	switch req.Verb {
	case contract.SnapshotList:
		return nil
	case contract.SnapshotCreate, contract.SnapshotDelete, contract.SnapshotRestore:
	default:
		return fmt.Errorf("nothing is known that is called %q", req.Verb)
	}
	switch {
	case req.Name == "":
		return errors.New("name is empty: say which snapshot")
	case req.Verb == contract.SnapshotCreate && strings.HasPrefix(req.Name, contract.KeptPrefix):
		return fmt.Errorf("names that begin with %s are for what Holdfast keeps before it puts a VM back", contract.KeptPrefix)
	case g.current() != nil:
		return fmt.Errorf("%s has the VM: wait until it is over, or cancel it", g.current().ID)
	}
	return nil
}

// snapshot does what a person wants of the VM's snapshots, one thing at a time.
// To put the VM back to one is an incident, which shows and undoes it.
func (g *guardian) snapshot(ctx workflow.Context, req contract.SnapshotRequest) (contract.SnapshotReply, error) {
	g.lastActive = workflow.Now(ctx)
	var out contract.SnapshotReply
	if err := g.snapping.Lock(ctx); err != nil {
		return out, err
	}
	defer g.snapping.Unlock()
	if op := g.current(); op != nil && req.Verb != contract.SnapshotList { // since it was validated
		return out, temporal.NewNonRetryableApplicationError(op.ID+" has the VM: wait until it is over, or cancel it", contract.ErrTypeBadInput, nil)
	}
	in := req.SnapshotInput
	if req.Verb == contract.SnapshotRestore {
		in.Verb = contract.SnapshotList
	}
	actx := onSite(ctx, g.in.Site, fmt.Sprintf("%s snapshots of %s on %s for %s", req.Verb, g.in.VM, in.Host, req.By), snapshotTime)
	if err := workflow.ExecuteActivity(actx, act.Snapshot, in).Get(ctx, &out); err != nil {
		return out, temporal.NewNonRetryableApplicationError(failureText(explain(err, g.in.Site)), failureType(err), nil)
	}
	g.lastActive = workflow.Now(ctx)
	if req.Verb != contract.SnapshotRestore {
		return out, nil
	}
	return g.restoreSnapshot(ctx, req, out)
}

func (g *guardian) restoreSnapshot(ctx workflow.Context, req contract.SnapshotRequest, have contract.SnapshotReply) (contract.SnapshotReply, error) {
	refuse := func(format string, args ...any) (contract.SnapshotReply, error) {
		return contract.SnapshotReply{}, temporal.NewNonRetryableApplicationError(fmt.Sprintf(format, args...), contract.ErrTypeBadInput, nil)
	}
	i := slices.IndexFunc(have.Snapshots, func(s contract.Snapshot) bool { return s.Name == req.Name })
	if i < 0 {
		return refuse("%s has no snapshot %q on %s: `holdfast snapshot list %s` shows what there is", g.in.VM, req.Name, req.Host, g.in.VM)
	}
	if op := g.current(); op != nil { // since it was validated
		return refuse("%s has the VM: wait until it is over, or cancel it", op.ID)
	}
	now := workflow.Now(ctx)
	g.restore = req.Name
	op := g.begin(ctx, fault.Fault{
		ID: fmt.Sprintf("requested/%s/%d", req.VM.UUID, now.UnixNano()), Kind: fault.KindRequested,
		Site: g.in.Site, VM: req.VM, Host: req.Host, First: now, Last: now, Reporter: req.By,
		Why: fmt.Sprintf("%s wants %s put back to snapshot %s%s", req.By, g.in.VM, req.Name, because(req.Why)),
	})
	if err := workflow.Await(ctx, func() bool { return op.started }); err != nil {
		return contract.SnapshotReply{}, err
	}
	have.IncidentID, have.Snapshots = op.ID, have.Snapshots[i:i+1]
	return have, nil
}
