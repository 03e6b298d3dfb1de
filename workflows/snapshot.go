package workflows

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.temporal.io/sdk/workflow"

	"holdfast/internal/contract"
)

func (g *guardian) validateSnapshot(req contract.SnapshotRequest) error {
	if err := g.validate(req.Site, req.VM, req.By); err != nil {
		return err
	}
	switch req.Verb {
	case contract.SnapshotList:
		return nil
	case contract.SnapshotTurn, contract.SnapshotPrune:
		return g.validateTurn(req)
	case contract.SnapshotCreate, contract.SnapshotDelete, contract.SnapshotRestore:
	case contract.SnapshotVerify:
		if err := checkWithin(req.Within); err != nil {
			return err
		}
	default:
		return fmt.Errorf("nothing is known that is called %q", req.Verb)
	}
	switch {
	case req.Name == "":
		return errors.New("name is empty: say which snapshot")
	case req.Verb == contract.SnapshotCreate && strings.HasPrefix(req.Name, contract.KeptPrefix):
		return fmt.Errorf("names that begin with %s are for what Holdfast keeps before it puts a VM back", contract.KeptPrefix)
	case req.Verb == contract.SnapshotCreate && strings.HasPrefix(req.Name, contract.ScheduledPrefix):
		return fmt.Errorf("names that begin with %s are for what schedules make, and prune", contract.ScheduledPrefix)
	}
	return g.busy()
}

// snapshot does what a person wants of the VM's snapshots, one thing at a time.
// To put the VM back to one is an incident, which shows and undoes it.
func (g *guardian) snapshot(ctx workflow.Context, req contract.SnapshotRequest) (contract.SnapshotReply, error) {
	g.lastActive = workflow.Now(ctx)
	if req.Verb == contract.SnapshotVerify {
		return g.verify(ctx, req)
	}
	if req.Verb == contract.SnapshotTurn && req.Turn.Verify {
		return g.verifyTurn(ctx, req)
	}
	var out contract.SnapshotReply
	looks := req.Verb == contract.SnapshotList && workflow.GetVersion(ctx, tryLockChange, workflow.DefaultVersion, 1) != workflow.DefaultVersion
	if !looks {
		if err := g.take(ctx, req.Verb == contract.SnapshotTurn); err != nil {
			return out, err
		}
		defer g.snapping.Unlock()
	}
	if req.Verb == contract.SnapshotTurn || req.Verb == contract.SnapshotPrune {
		return g.turn(ctx, req)
	}
	if err := g.busy(); err != nil && req.Verb != contract.SnapshotList { // since it was validated
		return out, refused("%s", err)
	}
	in := req.SnapshotInput
	if req.Verb == contract.SnapshotRestore {
		in.Verb = contract.SnapshotList
	}
	actx := onDisks(ctx, g.in.Site, fmt.Sprintf("%s snapshots of %s on %s for %s", req.Verb, g.in.VM, in.Host, req.By), snapshotTime)
	if err := workflow.ExecuteActivity(actx, act.Snapshot, in).Get(ctx, &out); err != nil {
		return out, g.said(err)
	}
	g.lastActive = workflow.Now(ctx)
	if req.Verb != contract.SnapshotRestore {
		return out, nil
	}
	return g.restoreSnapshot(ctx, req, out)
}

func (g *guardian) restoreSnapshot(ctx workflow.Context, req contract.SnapshotRequest, have contract.SnapshotReply) (contract.SnapshotReply, error) {
	i := slices.IndexFunc(have.Snapshots, func(s contract.Snapshot) bool { return s.Name == req.Name })
	if i < 0 {
		return contract.SnapshotReply{}, refused("%s has no snapshot %q on %s: `holdfast snapshot list %s` shows what there is", g.in.VM, req.Name, req.Host, g.in.VM)
	}
	if err := g.busy(); err != nil { // since it was validated
		return contract.SnapshotReply{}, refused("%s", err)
	}
	g.restore = req.Name
	id, err := g.request(ctx, req.VM, req.Host, req.By, fmt.Sprintf("%s wants %s put back to snapshot %s%s", req.By, g.in.VM, req.Name, because(req.Why)))
	have.IncidentID, have.Snapshots = id, have.Snapshots[i:i+1]
	return have, err
}
