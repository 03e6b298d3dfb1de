package workflows

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/workflow"

	"holdfast/internal/contract"
)

// backupTime is the most that making, checking or restoring a backup may take: as
// long as there are disks to read and to write. Of a VM that runs, `virsh domjobabort`
// ends the making of one before that.
const backupTime = 12 * time.Hour

func (g *guardian) validateBackup(req contract.BackupRequest) error {
	if err := g.validate(req.Site, req.VM, req.By); err != nil {
		return err
	}
	switch req.Verb {
	case contract.BackupList:
		return nil
	case contract.BackupCreate, contract.BackupCheck, contract.BackupDelete, contract.BackupRestore:
	default:
		return fmt.Errorf("nothing is known that is called %q", req.Verb)
	}
	makes := req.Verb == contract.BackupCreate
	switch {
	case req.Name == "":
		return errors.New("name is empty: say which backup")
	case makes && strings.HasPrefix(req.Name, contract.KeptPrefix):
		return fmt.Errorf("names that begin with %s are for what Holdfast keeps before it puts a VM back", contract.KeptPrefix)
	case makes && req.In != "":
		return errors.New("a backup is made where the site file says: the host knows what has changed since the last one there, and nowhere else")
	case req.Verb == contract.BackupCheck && !req.Boot:
		return nil
	}
	if err := checkWithin(req.Within); err != nil {
		return err
	}
	return g.busy()
}

// backup does what a person wants of the VM's backups. To look at them is always
// possible; what changes them is one at a time, and nothing else is done to the VM
// meanwhile that a person asks for. To put the VM back to one is an incident, which
// shows and undoes it.
func (g *guardian) backup(ctx workflow.Context, req contract.BackupRequest) (contract.BackupReply, error) {
	g.lastActive = workflow.Now(ctx)
	switch req.Verb {
	case contract.BackupList, contract.BackupCheck:
		return g.checkBackup(ctx, req)
	case contract.BackupRestore:
		return g.restoreBackup(ctx, req)
	}
	if err := g.take(ctx, false); err != nil {
		return contract.BackupReply{}, err
	}
	err := g.busy() // since it was validated
	if err == nil {
		g.copying = fmt.Sprintf("backup %s of it is being %sd for %s, since %s UTC", req.Name, req.Verb, req.By, workflow.Now(ctx).UTC().Format("15:04:05"))
	}
	// What is asked of snapshots meanwhile is answered at once, not hours later.
	g.snapping.Unlock()
	if err != nil {
		return contract.BackupReply{}, refused("%s", err)
	}
	g.describe(ctx)
	defer func() {
		g.copying, g.lastActive = "", workflow.Now(ctx)
		g.describe(ctx)
	}()
	return g.onBackups(ctx, req)
}

func (g *guardian) onBackups(ctx workflow.Context, req contract.BackupRequest) (contract.BackupReply, error) {
	limit, in := backupTime, req.BackupInput
	if in.Verb == contract.BackupList || in.Verb == contract.BackupRestore {
		limit, in.Verb = time.Minute, contract.BackupList
	}
	actx := onDisks(ctx, g.in.Site, fmt.Sprintf("%s backups of %s on %s for %s", req.Verb, g.in.VM, in.Host, req.By), limit)
	var out contract.BackupReply
	if err := workflow.ExecuteActivity(actx, act.Backup, in).Get(ctx, &out); err != nil {
		return out, g.said(err)
	}
	g.lastActive = workflow.Now(ctx)
	return out, nil
}

func (g *guardian) restoreBackup(ctx workflow.Context, req contract.BackupRequest) (contract.BackupReply, error) {
	if err := g.take(ctx, false); err != nil { // or it would stop the VM in the midst of a snapshot
		return contract.BackupReply{}, err
	}
	defer g.snapping.Unlock()
	have, err := g.onBackups(ctx, req)
	if err != nil {
		return have, err
	}
	i := slices.IndexFunc(have.Backups, func(b contract.Backup) bool { return b.Name == req.Name })
	if i < 0 {
		return contract.BackupReply{}, refused("%s has no backup %q in %s: `holdfast backup list %s` shows what there is", g.in.VM, req.Name, have.In, g.in.VM)
	}
	if err := g.busy(); err != nil { // since it was validated
		return contract.BackupReply{}, refused("%s", err)
	}
	g.restoring = &contract.BackupRef{In: have.In, Name: req.Name}
	id, err := g.request(ctx, req.VM, req.Host, req.By, fmt.Sprintf("%s wants %s restored from backup %s%s", req.By, g.in.VM, req.Name, because(req.Why)))
	have.IncidentID, have.Backups = id, have.Backups[i:i+1]
	return have, err
}
