//go:build cgo

package libvirt

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	lv "libvirt.org/go/libvirt"

	"holdfast/internal/hypervisor"
)

// forgotten: QEMU does not know what has changed since a checkpoint.
type forgotten struct{ said string }

func (f forgotten) Error() string { return f.said }

// push has libvirt copy the disks of an active domain.
func (r *backupRun) push(ctx context.Context, doing string, parent *manifest) error {
	for _, d := range r.subject.disks {
		if err := r.makeTarget(ctx, d, parent); err != nil {
			return err
		}
	}
	since := ""
	if parent != nil {
		since = parent.Checkpoint
	}
	job, point, err := jobXML(r.subject.all, r.files, since, r.m.Checkpoint, fmt.Sprintf("backup %s in %s", r.o.Name, r.folder))
	if err != nil {
		return err
	}
	r.began = true
	created, err := onDomain(ctx, r.host, doing, r.uuid, func(l *link, d *lv.Domain) (time.Time, error) {
		if err := l.beginJob(d, job, point, r.o.Quiesce); err != nil {
			return time.Time{}, err
		}
		return createdAt(d, r.m.Checkpoint), nil
	})
	if err != nil {
		return err
	}
	if !created.IsZero() {
		r.m.Created = created
	}
	return r.awaitJob(ctx, doing)
}

// makeTarget makes the file that a disk is copied to, as big as the disk, and
// upon that of the parent.
func (r *backupRun) makeTarget(ctx context.Context, d imageElement, parent *manifest) error {
	file, upon := r.files[d.Target.Dev], ""
	if parent != nil {
		upon = parent.disk(d.Target.Dev).File
	}
	text, err := volumeXML(path.Base(file), "qcow2", r.subject.capacity[d.Target.Dev], upon, nil)
	if err != nil {
		return err
	}
	_, err = in(ctx, r.place, "make "+file, forBackups, func(l *link, pool *lv.StoragePool) (struct{}, error) {
		v, err := pool.StorageVolCreateXML(text, 0)
		if err != nil {
			return struct{}{}, l.refused(err)
		}
		return struct{}{}, v.Free()
	})
	return err
}

// beginJob begins it, with the guest's file systems frozen for the moment if that
// was asked for.
func (l *link) beginJob(d *lv.Domain, job, point string, quiesce bool) (err error) {
	if quiesce {
		restore, err := patientAgent(d)
		if err != nil {
			return err
		}
		defer restore()
		if err := d.FSFreeze(nil, 0); err != nil {
			_ = d.FSThaw(nil, 0) // it may freeze later, or have frozen some
			return l.notFrozen(err)
		}
		defer func() {
			if terr := d.FSThaw(nil, 0); terr != nil && err == nil {
				err = fmt.Errorf("its file systems may be frozen still, as to thaw them failed: %s: %w", l.host.said(terr), hypervisor.ErrNoAgent)
			}
		}()
	}
	err = d.BackupBegin(job, point, lv.DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL)
	if hasCode(err, lv.ERR_CHECKPOINT_INCONSISTENT) || hasCode(err, lv.ERR_NO_DOMAIN_CHECKPOINT) {
		return forgotten{l.host.said(err)}
	}
	if err != nil {
		return l.refused(err)
	}
	return nil
}

func (l *link) notFrozen(err error) error {
	if !l.alive() {
		return err
	}
	return fmt.Errorf("its file systems were not frozen: %s: %w", l.host.said(err), hypervisor.ErrNoAgent)
}

// createdAt is when the host made the checkpoint; zero if there is none.
func createdAt(d *lv.Domain, name string) time.Time {
	if name == "" {
		return time.Time{}
	}
	all, err := checkpoints(d)
	if err != nil {
		return time.Time{}
	}
	for _, c := range all {
		if c.Name == name {
			return time.Unix(c.Created, 0).UTC()
		}
	}
	return time.Time{}
}

// awaitJob waits until libvirt says how the job ended. It asks anew each time, so
// that a connection is held only for the moment.
func (r *backupRun) awaitJob(ctx context.Context, doing string) error {
	var paths []string
	for _, file := range r.files {
		paths = append(paths, file)
	}
	pause := newPause()
	for {
		over, err := onDomain(ctx, r.host, doing, r.uuid, func(l *link, d *lv.Domain) (bool, error) {
			now, err := runningJob(d)
			if err != nil {
				return false, err
			}
			if sameFiles(now, paths) {
				return false, nil
			}
			if err := r.noOtherSince(d); err != nil {
				return false, err
			}
			return true, l.outcome(d, r.subject.disks[0].Target.Dev)
		})
		if over || err != nil {
			return err
		}
		if err := pause(ctx); err != nil {
			return r.host.ended(ctx, doing)
		}
	}
}

// noOtherSince: libvirt tells only how the last job ended, so that ours must be
// the last. Whoever has begun one meanwhile has made a checkpoint, too.
func (r *backupRun) noOtherSince(d *lv.Domain) error {
	now, err := checkpoints(d)
	if err != nil {
		return judge(d, err, inactive)
	}
	for _, c := range now {
		before := slices.ContainsFunc(r.subject.checkpoints, func(b checkpointDocument) bool { return b.Name == c.Name })
		if !before && c.Name != r.m.Checkpoint {
			return fmt.Errorf("somebody else has begun a backup of it meanwhile, so that nobody can tell how this one ended: try again: %w", hypervisor.ErrInvalidState)
		}
	}
	return nil
}

// outcome says how the last job ended. Only a job that libvirt calls completed
// has written all: one that nobody knows of, as libvirtd was restarted since, may
// have failed.
func (l *link) outcome(d *lv.Domain, target string) error {
	info, err := d.GetJobStats(lv.DOMAIN_JOB_STATS_COMPLETED | lv.DOMAIN_JOB_STATS_KEEP_COMPLETED)
	if err != nil {
		return judge(d, err, inactive)
	}
	switch {
	case info.Type == lv.DOMAIN_JOB_COMPLETED && (!info.OperationSet || info.Operation == lv.DOMAIN_JOB_OPERATION_BACKUP):
		return settled(d, target)
	case info.Type == lv.DOMAIN_JOB_FAILED:
		why := "libvirt does not say why"
		if info.ErrorMessageSet {
			why = l.host.addr.clean(info.ErrorMessage)
		}
		if strings.Contains(why, "No space left on device") {
			return fmt.Errorf("the job failed: there is no room for it: %s: %w", why, hypervisor.ErrNoResource)
		}
		return fmt.Errorf("the job failed: %s: see what room there is, and QEMU's log: %w", why, hypervisor.ErrNoResource)
	case info.Type == lv.DOMAIN_JOB_CANCELLED:
		return fmt.Errorf("somebody has aborted the job: try again: %w", hypervisor.ErrInvalidState)
	}
	return fmt.Errorf("nobody knows how the job ended, for libvirtd was restarted: try again: %w", hypervisor.ErrUnreachable)
}

// settled returns when QEMU has closed the files: libvirt has it do so after it
// has called the job completed, but before it lets go of the domain, which whoever
// asks of a disk waits for. What closing writes would be missing from the sums.
func settled(d *lv.Domain, target string) error {
	_, err := d.GetBlockInfo(target, 0)
	return judge(d, err, inactive)
}
