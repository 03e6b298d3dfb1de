package activities

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/activity"

	"holdfast/internal/contract"
	"holdfast/internal/hypervisor"
	"holdfast/internal/ladder"
	"holdfast/internal/proof"
)

// Snapshot lists the snapshots of a VM, makes one, or deletes one.
func (a *Activities) Snapshot(ctx context.Context, in contract.SnapshotInput) (contract.SnapshotReply, error) {
	h, err := a.host(in.Host)
	if err != nil {
		return contract.SnapshotReply{}, err
	}
	defer keepAlive(ctx)()
	ctx, cancel := toTheEnd(ctx)
	defer cancel()
	var out contract.SnapshotReply
	began := time.Now()
	switch in.Verb {
	case contract.SnapshotCreate:
		err = a.createSnapshot(ctx, h, in, &out)
	case contract.SnapshotDelete:
		err = a.deleteSnapshot(ctx, h, in, &out)
	case contract.SnapshotList:
	default:
		return out, badInput("snapshot: verb %q is not known", in.Verb)
	}
	out.Took = time.Since(began)
	if err != nil {
		return out, a.snapshotRefused(in.Host, err)
	}
	out.Snapshots, err = a.snapshots(ctx, h, in.VM.UUID)
	if err != nil {
		return out, a.snapshotRefused(in.Host, err)
	}
	return out, nil
}

// notFrozen is the note on a snapshot or a backup of a guest without an agent.
const notFrozen = "no guest agent answers, so that its file systems were not frozen: it is as after a power cut"

// createSnapshot makes one, unless it is there: a worker may have died after it.
func (a *Activities) createSnapshot(ctx context.Context, h hypervisor.Host, in contract.SnapshotInput, out *contract.SnapshotReply) error {
	o := hypervisor.SnapshotOptions{Name: in.Name, Description: in.Description, Memory: in.Memory, External: in.External}
	have, err := a.snapshots(ctx, h, in.VM.UUID)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(have, func(s contract.Snapshot) bool { return s.Name == in.Name }); i >= 0 {
		if in.Description == "" || have[i].Description != in.Description {
			return fmt.Errorf("%s has a snapshot %q already: choose another name, or delete it first", in.VM, in.Name)
		}
		out.Already = true
		return nil
	}
	at := a.look(ctx, h, in.VM.UUID)
	o.Quiesce = running(at) && !in.Memory && !in.NoFreeze
	_, err = h.CreateSnapshot(ctx, in.VM.UUID, o)
	if o.Quiesce && errors.Is(err, hypervisor.ErrNoAgent) {
		out.Note, o.Quiesce = notFrozen, false
		_, err = h.CreateSnapshot(ctx, in.VM.UUID, o)
	}
	return err
}

func (a *Activities) deleteSnapshot(ctx context.Context, h hypervisor.Host, in contract.SnapshotInput, out *contract.SnapshotReply) error {
	err := h.DeleteSnapshot(ctx, in.VM.UUID, in.Name)
	if errors.Is(err, hypervisor.ErrNoSnapshot) && triedBefore(ctx) {
		out.Already = true // by a worker that died
		return nil
	}
	return err
}

// triedBefore reports that this was begun before, and may have been done.
func triedBefore(ctx context.Context) bool {
	return activity.IsActivity(ctx) && activity.GetInfo(ctx).Attempt > 1
}

// snapshots are those of a VM, oldest first.
func (a *Activities) snapshots(ctx context.Context, h hypervisor.Host, uuid string) ([]contract.Snapshot, error) {
	list, err := h.Snapshots(ctx, uuid)
	if err != nil {
		return nil, err
	}
	out := make([]contract.Snapshot, len(list))
	for i, s := range list {
		out[i] = contract.Snapshot{
			Name: s.Name, Description: s.Description, Parent: s.Parent, Created: s.Created, Memory: s.Memory, External: s.External,
			Current: s.Current, State: string(s.State), Disks: s.Disks, Host: h.Name(), Kept: strings.HasPrefix(s.Name, contract.KeptPrefix),
		}
	}
	return out, nil
}

// snapshotRefused sorts out why something could not be done to a snapshot.
func (a *Activities) snapshotRefused(host string, err error) error {
	switch {
	case isNotFound(err):
		return notFound("%s", brief(err))
	case isUnanswered(err):
		return unreachable(host, brief(err))
	}
	return stepFailed(brief(err))
}

// stockSnapshot finds the newest snapshot from before a VM failed, or the one that a
// person wants.
func (a *Activities) stockSnapshot(ctx context.Context, h hypervisor.Host, in contract.StockInput, out *ladder.Stock) error {
	all, err := a.snapshots(ctx, h, in.VM.UUID)
	switch {
	case err != nil && (isNotFound(err) || isUnanswered(err)):
		return a.snapshotRefused(in.Host, err)
	case err != nil: // it will say so the next time as well
		out.SnapshotWhy = brief(err)
		return nil
	}
	if in.Name != "" {
		i := slices.IndexFunc(all, func(s contract.Snapshot) bool { return s.Name == in.Name })
		if i < 0 {
			out.SnapshotWhy = fmt.Sprintf("%s has no snapshot %q on %s", in.VM, in.Name, in.Host)
			return nil
		}
		out.Snapshot, out.SnapshotAt, out.External = all[i].Name, all[i].Created, all[i].External
		return nil
	}
	good := slices.DeleteFunc(all, func(s contract.Snapshot) bool { return s.Kept || !in.Before.IsZero() && s.Created.After(in.Before) })
	if len(good) == 0 {
		out.SnapshotWhy = fmt.Sprintf("there is no snapshot of it on %s from before it failed", in.Host)
		return nil
	}
	newest := slices.MaxFunc(good, func(x, y contract.Snapshot) int {
		return cmp.Or(x.Created.Compare(y.Created), cmp.Compare(x.Name, y.Name))
	})
	out.Snapshot, out.SnapshotAt, out.External = newest.Name, newest.Created, newest.External
	return nil
}

// reverting is what Revert notes before it acts.
const reverting = "reverting"

// Revert puts the disks of a VM back to a snapshot. It does so only when the VM
// can be running nowhere: its disks may be on storage that others reach, and a
// snapshot with memory starts it. To put back twice is the same as once.
func (a *Activities) Revert(ctx context.Context, in contract.RevertInput) (contract.RevertResult, error) {
	h, err := a.host(in.Host)
	if err != nil {
		return contract.RevertResult{}, err
	}
	before := notedBefore(ctx)
	note, stop := keepNoting(ctx)
	defer stop()
	here, answers, err := a.defined(ctx, in.VM, in.Host, in.Elsewhere)
	switch {
	case err != nil:
		return contract.RevertResult{}, err
	case here.Active && before == reverting && running(here):
		return contract.RevertResult{Running: true, At: here.At}, nil // by a worker that died
	case here.Active:
		return contract.RevertResult{}, stepFailed(fmt.Sprintf("%s is in the way: %s", in.VM, here.Sighting))
	}
	proofs, err := proof.MayStart(in.VM.String(), in.Host, answers, in.Elsewhere)
	if err != nil {
		return contract.RevertResult{}, twoCopies(err)
	}
	note(reverting)
	began := time.Now()
	uncut, cancel := toTheEnd(ctx)
	defer cancel()
	err = h.RevertSnapshot(uncut, in.VM.UUID, in.Name)
	out := contract.RevertResult{Took: time.Since(began), At: time.Now().UTC(), Proofs: proofs}
	if err != nil {
		return out, a.snapshotRefused(in.Host, err)
	}
	after := a.look(uncut, h, in.VM.UUID)
	if after.Error != "" {
		return out, unreachable(in.Host, after.Error)
	}
	out.Running = running(after)
	return out, nil
}
