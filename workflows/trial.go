package workflows

import (
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"holdfast/internal/contract"
)

// aroundTrial is what a trial takes beside the time that its guest has: to be made
// and removed, twice if it is gone the first time.
const aroundTrial = 5 * time.Minute

// checkWithin refuses a time for a trial that makes no sense.
func checkWithin(within time.Duration) error {
	if within < 0 || within > contract.LongestTrial {
		return fmt.Errorf("within %s: allowed: 0 to %s", within, contract.LongestTrial)
	}
	return nil
}

// verify boots a copy of the VM from a snapshot.
func (g *guardian) verify(ctx workflow.Context, req contract.SnapshotRequest) (contract.SnapshotReply, error) {
	in := contract.TrialInput{VM: req.VM, Host: req.Host, Snapshot: req.Name, Within: req.Within}
	out, err := g.try(ctx, req.By, false, in)
	if err != nil {
		return contract.SnapshotReply{}, err
	}
	return contract.SnapshotReply{Snapshots: []contract.Snapshot{}, Took: out.Took, Trial: &out}, nil
}

// checkBackup looks at backups, and boots a copy of the VM from the one that is
// checked, if that is wanted and it is as it was written.
func (g *guardian) checkBackup(ctx workflow.Context, req contract.BackupRequest) (contract.BackupReply, error) {
	have, err := g.onBackups(ctx, req)
	if err != nil || req.Verb != contract.BackupCheck || !req.Boot {
		return have, err
	}
	in := contract.TrialInput{VM: req.VM, Host: req.Host, Backup: &contract.BackupRef{In: have.In, Name: req.Name}, Within: req.Within}
	out, err := g.try(ctx, req.By, false, in)
	if err != nil {
		return contract.BackupReply{}, err
	}
	have.Trial = &out
	return have, nil
}

// try has a copy of the VM booted. Nothing else is done meanwhile that a person asks
// for: what is tried must not go. An incident comes first, and ends the trial, which
// takes memory and room that the VM may need.
func (g *guardian) try(ctx workflow.Context, by string, patient bool, in contract.TrialInput) (contract.TrialResult, error) {
	var out contract.TrialResult
	if err := g.take(ctx, patient); err != nil {
		return out, err
	}
	err := g.busy() // since it was validated
	if err == nil {
		g.copying = fmt.Sprintf("%s of it is being booted for %s, since %s UTC", in.Of(), by, workflow.Now(ctx).UTC().Format("15:04:05"))
	}
	g.snapping.Unlock()
	if err != nil {
		return out, refused("%s", err)
	}
	g.describe(ctx)
	defer func() {
		g.copying, g.lastActive = "", workflow.Now(ctx)
		g.describe(ctx)
	}()
	limit := in.Within
	if limit == 0 {
		limit = contract.DefaultTrialWithin
	}
	tctx, cancel := workflow.WithCancel(ctx)
	over, incident := false, ""
	workflow.Go(ctx, func(ctx workflow.Context) {
		if workflow.Await(ctx, func() bool { return over || g.current() != nil }) == nil && !over {
			incident = g.current().ID
			cancel()
		}
	})
	actx := onDisks(tctx, g.in.Site, fmt.Sprintf("boot a copy of %s on %s from %s for %s", g.in.VM, in.Host, in.Of(), by), 2*limit+aroundTrial)
	err = workflow.ExecuteActivity(actx, act.Trial, in).Get(ctx, &out)
	over = true
	cancel()
	var cancelled *temporal.CanceledError
	if incident != "" && errors.As(err, &cancelled) {
		return out, refused("%s wanted the VM, and the trial was ended for it: try again when that is over", incident)
	}
	if err != nil {
		return out, g.said(err)
	}
	return out, nil
}
