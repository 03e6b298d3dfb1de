package activities

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"holdfast/internal/contract"
	"holdfast/internal/hypervisor"
	"holdfast/internal/ladder"
)

// backupsListed is how long a pool may take to say which backups are in it. A
// repair does not wait for one that hangs.
const backupsListed = 20 * time.Second

// Stock says what a VM could be put back to: the newest snapshot and the newest
// backup from before it failed, or those that a person wants.
func (a *Activities) Stock(ctx context.Context, in contract.StockInput) (ladder.Stock, error) {
	var out ladder.Stock
	h, err := a.host(in.Host)
	if err != nil {
		return out, err
	}
	defer keepAlive(ctx)()
	if err := a.stockSnapshot(ctx, h, in, &out); err != nil {
		return out, err
	}
	if err := a.stockBackup(ctx, h, in, &out); err != nil {
		// The host has answered for its snapshots: it is the pool that does not.
		if errors.Is(err, hypervisor.ErrUnreachable) {
			return out, a.backupRefused(in.Host, err)
		}
		out.BackupWhy = brief(err)
	}
	return out, nil
}

func (a *Activities) stockBackup(ctx context.Context, h hypervisor.Host, in contract.StockInput, out *ladder.Stock) error {
	ctx, cancel := context.WithTimeout(ctx, backupsListed)
	defer cancel()
	said := ""
	if in.Backup != nil {
		said = in.Backup.In
	}
	where, err := a.backupsIn(ctx, h, in.VM.UUID, said)
	if err != nil {
		return err
	}
	all, err := h.Backups(ctx, where, in.VM.UUID)
	if err != nil {
		return err
	}
	fits := func(b hypervisor.Backup) bool { return !b.Kept && (in.Before.IsZero() || !b.Created.After(in.Before)) }
	lacking := fmt.Sprintf("there is no backup of it in %s from before it failed", where)
	if in.Backup != nil {
		fits = func(b hypervisor.Backup) bool { return b.Name == in.Backup.Name }
		lacking = fmt.Sprintf("%s has no backup %q in %s", in.VM, in.Backup.Name, where)
	}
	good := slices.DeleteFunc(all, func(b hypervisor.Backup) bool { return !fits(b) })
	if len(good) == 0 {
		return errors.New(lacking)
	}
	newest := slices.MaxFunc(good, func(x, y hypervisor.Backup) int {
		return cmp.Or(x.Created.Compare(y.Created), cmp.Compare(x.Name, y.Name))
	})
	out.Backup, out.BackupAt, out.BackupIn = newest.Name, newest.Created, where
	return nil
}
