package workflows

import (
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"holdfast/internal/contract"
	"holdfast/internal/ladder"
)

// backupChange marks incidents that may restore a VM from a backup.
const backupChange = "backup"

// restore stops the VM, puts it upon disks made from a backup, and starts it. The
// disks that it had stay what they are, under a name of their own. If it does not
// verify, it gets them back.
func (r *recovery) restore(ctx workflow.Context, d ladder.Decision) error {
	from := contract.BackupRef{In: r.stock.BackupIn, Name: r.stock.Backup}
	kept := r.keptName()
	r.undo.before(contract.Undo{Rung: ladder.RungBackup, Host: d.Host, In: from.In, Kept: kept, Running: r.asked && r.ranOn(d.Host)})
	if err := r.stop(ctx, d.Host, true); err != nil {
		return err
	}
	in := contract.RestoreBackupInput{Host: d.Host, BackupRef: from, Keep: kept}
	out, err := r.putUpon(ctx, in)
	if err != nil {
		return err
	}
	r.note(ctx, fmt.Sprintf("restored from backup %s of %s in %s; its disks from before are kept as %s, and `holdfast backup restore %s %s` brings them back; %s",
		from.Name, r.stock.BackupAt.UTC().Format("2006-01-02 15:04:05 MST"), out.Took.Round(time.Millisecond), kept, r.inc.VM, kept, proofText(out.Proofs)))
	started, err := r.start(ctx, d.Host)
	if err != nil {
		return err
	}
	r.began(ctx, d.Host, started)
	return nil
}

// putUpon puts the stopped VM upon disks made from a backup.
func (r *recovery) putUpon(ctx workflow.Context, in contract.RestoreBackupInput) (contract.RestoreBackupResult, error) {
	in.VM, in.Elsewhere = r.inc.VM, r.earlier()
	actx := r.onDisks(ctx, fmt.Sprintf("restore %s on %s from backup %s", r.inc.VM, in.Host, in.Name), backupTime)
	var out contract.RestoreBackupResult
	err := workflow.ExecuteActivity(actx, act.RestoreBackup, in).Get(ctx, &out)
	return out, err
}

// unrestore gives the VM the disks that it had before a restore that did not verify,
// if it came to that. It is left stopped, as it was then.
func (r *recovery) unrestore(ctx workflow.Context, u contract.Undo) error {
	if there, err := r.hasBackup(ctx, u); err != nil || !there {
		return err
	}
	if err := r.stopRemains(ctx, u.Host, true); err != nil {
		return err
	}
	r.oursStopped = true
	tried := u.Kept + "-tried"
	in := contract.RestoreBackupInput{Host: u.Host, BackupRef: contract.BackupRef{In: u.In, Name: u.Kept}, Keep: tried, IfThere: true}
	out, err := r.putUpon(ctx, in)
	if err != nil || out.Nothing {
		return err
	}
	r.note(ctx, fmt.Sprintf("%s has the disks from before the restore again", r.inc.VM))
	// What did not verify takes as much room as they do, and the backup that it came from is there.
	actx := r.onDisks(ctx, fmt.Sprintf("give up %s of %s on %s", tried, r.inc.VM, u.Host), backupTime)
	give := contract.BackupInput{VM: r.inc.VM, Host: u.Host, Verb: contract.BackupDelete, In: u.In, Name: tried}
	if err := workflow.ExecuteActivity(actx, act.Backup, give).Get(ctx, nil); err != nil {
		r.note(ctx, fmt.Sprintf("backup %s is left behind: %s", tried, failureText(err)))
	}
	return nil
}

func (r *recovery) hasBackup(ctx workflow.Context, u contract.Undo) (bool, error) {
	actx := r.onSite(ctx, fmt.Sprintf("look whether %s on %s has backup %s", r.inc.VM, u.Host, u.Kept), time.Minute)
	var out contract.BackupReply
	in := contract.BackupInput{VM: r.inc.VM, Host: u.Host, Verb: contract.BackupList, In: u.In}
	err := workflow.ExecuteActivity(actx, act.Backup, in).Get(ctx, &out)
	return slices.ContainsFunc(out.Backups, func(b contract.Backup) bool { return b.Name == u.Kept }), err
}
