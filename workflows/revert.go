package workflows

import (
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"holdfast/internal/contract"
	"holdfast/internal/ladder"
	"holdfast/internal/proof"
)

// snapshotTime is the most that a snapshot, or putting one back, may take: both
// take as long as there is memory and disk to write.
const snapshotTime = 30 * time.Minute

// revert stops the VM, keeps its disks as they are as a snapshot, puts the good one
// back, and starts it. If that does not verify, what was kept is put back.
func (r *recovery) revert(ctx workflow.Context, d ladder.Decision) error {
	name := r.stock.Snapshot
	kept := r.keptName()
	undo := contract.Undo{Rung: ladder.RungSnapshot, Host: d.Host, Kept: kept, Running: r.asked && r.ranOn(d.Host)}
	if !r.noBackup {
		r.undo.before(undo)
	}
	if err := r.stop(ctx, d.Host, true); err != nil {
		return err
	}
	if err := r.keepDisks(ctx, d.Host, kept); err != nil {
		return err
	}
	r.undo.before(undo)
	r.down = false // a snapshot with memory starts it
	out, err := r.putBack(ctx, d.Host, name)
	if err != nil {
		return err
	}
	r.note(ctx, fmt.Sprintf("put back to snapshot %s of %s in %s; its disks from before are kept as %s; %s",
		name, r.stock.SnapshotAt.UTC().Format("2006-01-02 15:04:05 MST"), out.Took.Round(time.Millisecond), kept, proofText(out.Proofs)))
	if out.Running {
		r.oursStopped, r.inc.Started = false, out.At
		return nil
	}
	started, err := r.start(ctx, d.Host)
	if err != nil {
		return err
	}
	r.began(ctx, d.Host, started)
	return nil
}

// keptName is what the VM's disks of before this try are called.
func (r *recovery) keptName() string {
	return fmt.Sprintf("%s-%d", contract.KeptName(r.inc.ID), len(r.inc.Attempts)+1)
}

// ranOn reports that a host said, when it was last asked, that the VM runs there.
func (r *recovery) ranOn(host string) bool {
	at, _ := proof.AnswerOf(r.inspection.Answers, host)
	return at.Error == "" && at.Running()
}

// keepDisks makes a snapshot of a stopped VM as it is, of the kind of the one that
// is put back: libvirt cannot mix them.
func (r *recovery) keepDisks(ctx workflow.Context, host, name string) error {
	actx := r.onDisks(ctx, fmt.Sprintf("keep the disks of %s on %s as %s", r.inc.VM, host, name), snapshotTime)
	in := contract.SnapshotInput{VM: r.inc.VM, Host: host, Verb: contract.SnapshotCreate, Name: name, Description: "kept by " + r.inc.ID, External: r.stock.External}
	return workflow.ExecuteActivity(actx, act.Snapshot, in).Get(ctx, nil)
}

func (r *recovery) putBack(ctx workflow.Context, host, name string) (contract.RevertResult, error) {
	actx := r.onDisks(ctx, fmt.Sprintf("put %s on %s back to snapshot %s", r.inc.VM, host, name), snapshotTime)
	var out contract.RevertResult
	in := contract.RevertInput{VM: r.inc.VM, Host: host, Elsewhere: r.earlier(), Name: name}
	err := workflow.ExecuteActivity(actx, act.Revert, in).Get(ctx, &out)
	return out, err
}

// unrevert puts back what was kept before a revert that did not verify, if it came to
// that. The VM is left stopped, as it was then.
func (r *recovery) unrevert(ctx workflow.Context, u contract.Undo) error {
	host, kept := u.Host, u.Kept
	if !r.noBackup {
		if there, err := r.hasSnapshot(ctx, host, kept); err != nil || !there {
			return err
		}
	}
	if err := r.stopRemains(ctx, host, true); err != nil {
		return err
	}
	r.oursStopped = true
	if _, err := r.putBack(ctx, host, kept); err != nil {
		return err
	}
	// It is the present state again, and needs no second place.
	actx := r.onDisks(ctx, fmt.Sprintf("give up %s of %s on %s", kept, r.inc.VM, host), snapshotTime)
	in := contract.SnapshotInput{VM: r.inc.VM, Host: host, Verb: contract.SnapshotDelete, Name: kept}
	if err := workflow.ExecuteActivity(actx, act.Snapshot, in).Get(ctx, nil); err != nil {
		r.note(ctx, fmt.Sprintf("snapshot %s is left behind: %s", kept, failureText(err)))
	}
	return nil
}

func (r *recovery) hasSnapshot(ctx workflow.Context, host, name string) (bool, error) {
	actx := r.onSite(ctx, fmt.Sprintf("look whether %s on %s has snapshot %s", r.inc.VM, host, name), time.Minute)
	var out contract.SnapshotReply
	in := contract.SnapshotInput{VM: r.inc.VM, Host: host, Verb: contract.SnapshotList}
	err := workflow.ExecuteActivity(actx, act.Snapshot, in).Get(ctx, &out)
	return slices.ContainsFunc(out.Snapshots, func(s contract.Snapshot) bool { return s.Name == name }), err
}
