package activities

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"

	"holdfast/internal/annotation"
	"holdfast/internal/contract"
	"holdfast/internal/hypervisor"
	"holdfast/internal/proof"
)

// Backup lists the backups of a VM, makes one, checks one, or deletes one.
func (a *Activities) Backup(ctx context.Context, in contract.BackupInput) (contract.BackupReply, error) {
	h, err := a.host(in.Host)
	if err != nil {
		return contract.BackupReply{}, err
	}
	note, stop := keepNoting(ctx)
	defer stop()
	out := contract.BackupReply{}
	if out.In, err = a.backupsIn(ctx, h, in.VM.UUID, in.In); err != nil {
		return out, a.backupRefused(in.Host, err)
	}
	began := time.Now()
	switch in.Verb {
	case contract.BackupCreate:
		err = a.createBackup(ctx, h, in, note, &out)
	case contract.BackupCheck:
		err = h.CheckBackup(ctx, out.In, in.VM.UUID, in.Name)
	case contract.BackupDelete:
		err = a.deleteBackup(ctx, h, in, &out)
	case contract.BackupList:
	default:
		return out, badInput("backup: verb %q is not known", in.Verb)
	}
	out.Took = time.Since(began)
	if err == nil {
		out.Backups, err = a.backups(ctx, h, out.In, in.VM.UUID)
	}
	return out, a.backupRefused(in.Host, err)
}

// errNoPlace: there are no backups of a VM, because nobody said where.
var errNoPlace = errors.New("the site file says no place for backups of it: set backups.to, there or in its class, to a storage pool of the hosts or a folder on them")

// backupsIn is the pool or the folder that the backups of a VM are in, unless a
// person says another.
func (a *Activities) backupsIn(ctx context.Context, h hypervisor.Host, uuid, said string) (string, error) {
	if said != "" {
		return said, nil
	}
	if a.opts.BackupsTo == nil {
		return "", errNoPlace
	}
	have, err := a.annotationOn(ctx, h, uuid)
	// Backups may outlive their VM, and a mistake in an annotation is none of theirs.
	if err != nil && !isNotFound(err) && !errors.As(err, new(annotation.Problem)) {
		return "", err
	}
	if where := a.opts.BackupsTo(have.Labels); where != "" {
		return where, nil
	}
	return "", errNoPlace
}

// making is what createBackup notes before it acts.
func making(name string) string { return "making " + name }

// createBackup makes one, unless it is there: a worker may have died after it.
func (a *Activities) createBackup(ctx context.Context, h hypervisor.Host, in contract.BackupInput, note func(string), out *contract.BackupReply) error {
	have, err := h.Backups(ctx, out.In, in.VM.UUID)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(have, func(b hypervisor.Backup) bool { return b.Name == in.Name }); i >= 0 {
		ours := notedBefore(ctx) == making(in.Name) || in.Description != "" && have[i].Description == in.Description
		if !ours {
			return fmt.Errorf("%s has a backup %q already: choose another name, or delete it first", in.VM, in.Name)
		}
		out.Already = true
		return nil
	}
	at, err := a.standsStill(ctx, in)
	if err != nil {
		return err
	}
	note(making(in.Name))
	o := hypervisor.BackupOptions{
		Where: out.In, Name: in.Name, Description: in.Description, Full: in.Full, Quiesce: running(at) && !in.NoFreeze,
	}
	made, err := h.CreateBackup(ctx, in.VM.UUID, o)
	if o.Quiesce && errors.Is(err, hypervisor.ErrNoAgent) {
		out.Note, o.Quiesce = notFrozen, false
		made, err = h.CreateBackup(ctx, in.VM.UUID, o)
	}
	if err != nil {
		return err
	}
	if made.Why != "" && !in.Full {
		out.Note = strings.TrimPrefix(out.Note+"; it is a full one: "+made.Why, "; ")
	}
	if at.Active {
		return nil
	}
	return a.stoodStill(ctx, h, in, out.In)
}

// stoodStill takes a backup back of disks that may have been written to meanwhile.
func (a *Activities) stoodStill(ctx context.Context, h hypervisor.Host, in contract.BackupInput, where string) error {
	after, err := a.standsStill(ctx, in)
	if err == nil && !after.Active {
		return nil
	}
	why := "it was started while its disks were copied"
	if err != nil {
		why = "it may have been started while its disks were copied: " + brief(err)
	}
	uncut, cancel := toTheEnd(ctx)
	defer cancel()
	if err := h.DeleteBackup(uncut, where, in.VM.UUID, in.Name); err != nil {
		return fmt.Errorf("%s; delete backup %q, which is of no use and could not be removed: %w", why, in.Name, err)
	}
	return stepFailed(why + "; that copy was of no use and is gone: make another one")
}

// standsStill makes sure that a VM which the host says is not active is active
// nowhere else: its disks may be on storage that others reach, and a copy of what
// changes meanwhile is none.
func (a *Activities) standsStill(ctx context.Context, in contract.BackupInput) (proof.Answer, error) {
	here, answers, err := a.defined(ctx, in.VM, in.Host, nil)
	if err != nil || here.Active {
		return here, err
	}
	var doubt *proof.Refusal
	if _, err := proof.MayStart(in.VM.String(), in.Host, answers, nil); errors.As(err, &doubt) {
		return here, twoCopies(fmt.Errorf("%s is shut off on %s, and its disks may be written to all the same: %s", in.VM, in.Host, doubt.Why()))
	}
	return here, nil
}

// deleteBackup gives one up.
func (a *Activities) deleteBackup(ctx context.Context, h hypervisor.Host, in contract.BackupInput, out *contract.BackupReply) error {
	ctx, cancel := toTheEnd(ctx)
	defer cancel()
	if err := a.usedNowhere(ctx, h, in, out.In); err != nil {
		return err
	}
	err := h.DeleteBackup(ctx, out.In, in.VM.UUID, in.Name)
	if errors.Is(err, hypervisor.ErrNoBackup) && triedBefore(ctx) {
		out.Already = true // by a worker that died
		return nil
	}
	return err
}

// usedNowhere makes sure that no other host uses what a backup keeps of a VM's own
// files: the one that removes them knows only what it has itself.
func (a *Activities) usedNowhere(ctx context.Context, h hypervisor.Host, in contract.BackupInput, where string) error {
	have, err := h.Backups(ctx, where, in.VM.UUID)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(have, func(b hypervisor.Backup) bool { return b.Name == in.Name && b.Kept })
	if i < 0 {
		return nil
	}
	answers := a.survey(ctx, in.VM.UUID, in.Host, nil)
	here, asked := proof.AnswerOf(answers, in.Host)
	switch {
	case !asked:
		return unreachable(in.Host, "was not asked")
	case here.Error != "":
		return unreachable(in.Host, here.Error)
	case here.Active:
		return nil // the host itself knows what it uses
	}
	var doubt *proof.Refusal
	if _, err := proof.MayStart(in.VM.String(), in.Host, answers, nil); errors.As(err, &doubt) {
		return twoCopies(fmt.Errorf("backup %q is files that %s has had, and they may be in use: %s", in.Name, in.VM, doubt.Why()))
	}
	for _, other := range answers {
		if other.Host == in.Host || other.Absent {
			continue
		}
		if here.Absent {
			return stepFailed(fmt.Sprintf("backup %q is files that %s has had, and host %s, which has it, knows whether it uses them: delete it there", in.Name, in.VM, other.Host))
		}
		if err := a.doesNotUse(ctx, other.Host, in, have[i]); err != nil {
			return err
		}
	}
	return nil
}

// doesNotUse: a host that has the VM, too, would not start it upon these files.
func (a *Activities) doesNotUse(ctx context.Context, host string, in contract.BackupInput, kept hypervisor.Backup) error {
	h, err := a.host(host)
	if err != nil {
		return err
	}
	blocks, err := h.Blocks(ctx, in.VM.UUID)
	if err != nil {
		return unreachable(host, brief(err))
	}
	for _, d := range kept.Disks {
		below := func(b hypervisor.Backing) bool { return b.Source == d.File }
		if slices.ContainsFunc(blocks, func(b hypervisor.Block) bool { return b.Source == d.File || slices.ContainsFunc(b.Backing, below) }) {
			return stepFailed(fmt.Sprintf("backup %q is files that %s has on host %s: it uses %s", in.Name, in.VM, host, d.File))
		}
	}
	return nil
}

// backups are those of a VM, oldest first.
func (a *Activities) backups(ctx context.Context, h hypervisor.Host, where, uuid string) ([]contract.Backup, error) {
	list, err := h.Backups(ctx, where, uuid)
	if err != nil {
		return nil, err
	}
	out := make([]contract.Backup, len(list))
	for i, b := range list {
		out[i] = contract.Backup{
			Name: b.Name, Description: b.Description, Created: b.Created, Parent: b.Parent, Kept: b.Kept,
			Quiesced: b.Quiesced, Why: b.Why, Disks: make([]contract.BackupDisk, len(b.Disks)),
		}
		for j, d := range b.Disks {
			out[i].Disks[j] = contract.BackupDisk(d)
		}
	}
	return out, nil
}

// backupRefused sorts out why something could not be done to a backup; nil: it could.
func (a *Activities) backupRefused(host string, err error) error {
	switch {
	case err == nil:
		return nil
	case temporal.IsApplicationError(err):
		return err
	case errors.Is(err, errNoPlace):
		return badInput("%s", err)
	case errors.Is(err, hypervisor.ErrNoPool):
		return stepFailed(brief(err) + ": backups.to in the site file says where, unless --where does")
	}
	return a.snapshotRefused(host, err)
}

// RestoreBackup puts a VM upon disks made from a backup, and keeps those it had. It
// does so only when the VM can be running nowhere, for its disks may be on storage
// that others reach. To restore twice is the same as once.
func (a *Activities) RestoreBackup(ctx context.Context, in contract.RestoreBackupInput) (contract.RestoreBackupResult, error) {
	h, err := a.host(in.Host)
	if err != nil {
		return contract.RestoreBackupResult{}, err
	}
	defer keepAlive(ctx)()
	here, answers, err := a.defined(ctx, in.VM, in.Host, in.Elsewhere)
	switch {
	case err != nil:
		return contract.RestoreBackupResult{}, err
	case here.Active:
		return contract.RestoreBackupResult{}, stepFailed(fmt.Sprintf("%s is in the way: %s", in.VM, here.Sighting))
	}
	proofs, err := proof.MayStart(in.VM.String(), in.Host, answers, in.Elsewhere)
	if err != nil {
		return contract.RestoreBackupResult{}, twoCopies(err)
	}
	began := time.Now()
	err = h.RestoreBackup(ctx, in.VM.UUID, hypervisor.RestoreOptions{Where: in.In, Name: in.Name, Keep: in.Keep})
	out := contract.RestoreBackupResult{Took: time.Since(began), At: time.Now().UTC(), Proofs: proofs}
	switch {
	case in.IfThere && errors.Is(err, hypervisor.ErrNoBackup):
		out.Nothing = true
		return out, nil
	case err != nil:
		return out, a.backupRefused(in.Host, err)
	}
	if after := a.look(ctx, h, in.VM.UUID); after.Error != "" {
		return out, unreachable(in.Host, after.Error)
	}
	return out, nil
}
