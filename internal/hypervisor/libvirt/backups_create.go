//go:build cgo

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	lv "libvirt.org/go/libvirt"

	"holdfast/internal/hypervisor"
)

// backupRun is one attempt to make a backup.
type backupRun struct {
	*place
	uuid    string
	o       hypervisor.BackupOptions
	subject subject
	before  []manifest // the whole ones
	m       manifest   // to be written
	files   map[string]string
	// began: libvirt has been told to begin, so that there may be a job and a
	// checkpoint.
	began bool
	// wrote: the manifest was to be written, so that it may be there.
	wrote bool
}

// CreateBackup implements [hypervisor.Host].
//
// libvirt copies the disks of an active domain by a job of its own (push mode),
// into files that were made for it, each of which already names the file of the
// parent that it builds upon: so a file tells its whole chain to whoever reads it
// with qemu-img, and RestoreBackup can have libvirt copy it flat.
func (h *Host) CreateBackup(ctx context.Context, uuid string, o hypervisor.BackupOptions) (hypervisor.Backup, error) {
	ctx, cancel := h.bounded(ctx)
	defer cancel()
	uuid = strings.ToLower(uuid)
	doing := fmt.Sprintf("back domain %s up as %q", uuid, o.Name)
	if err := checkBackupName(o.Name); err != nil {
		return hypervisor.Backup{}, fmt.Errorf("%s on %s: %w", doing, h.opts.Name, err)
	}
	done, err := h.turn(ctx, doing, uuid)
	if err != nil {
		return hypervisor.Backup{}, err
	}
	defer done()
	r := &backupRun{uuid: uuid, o: o}
	if r.subject, err = h.subject(ctx, doing, uuid); err != nil {
		return hypervisor.Backup{}, err
	}
	if r.o.Quiesce = o.Quiesce && r.subject.active; r.o.Quiesce {
		if err := h.askToFreeze(ctx, uuid); err != nil {
			return hypervisor.Backup{}, err
		}
	}
	if r.place, err = h.openPlace(ctx, o.Where); err != nil {
		return hypervisor.Backup{}, err
	}
	defer r.leave(ctx)
	if err := r.prepare(ctx, doing); err != nil {
		return hypervisor.Backup{}, err
	}
	if err := r.make(ctx, doing); err != nil {
		// What was asked for may be written later: then the backup is whole, and the next
		// try finds it; or it finds what is left.
		if !r.wrote || !nobodyKnows(ctx, err) {
			h.aside(ctx, r.giveUp)
		}
		return hypervisor.Backup{}, err
	}
	h.aside(ctx, r.tidy)
	return r.m.Backup, nil
}

// nobodyKnows: what was asked of the host last may have taken effect, or may yet.
func nobodyKnows(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, hypervisor.ErrUnreachable) || errors.Is(err, hypervisor.ErrTimeout) ||
		errors.Is(err, hypervisor.ErrClosed)
}

// turn waits until nobody else in this process makes a backup of a domain, or
// restores it. done must be called.
func (h *Host) turn(ctx context.Context, doing, uuid string) (done func(), err error) {
	for {
		h.mu.Lock()
		busy := h.turns[uuid]
		if busy == nil {
			over := make(chan struct{})
			h.turns[uuid] = over
			h.mu.Unlock()
			return func() {
				h.mu.Lock()
				defer h.mu.Unlock()
				delete(h.turns, uuid)
				close(over)
			}, nil
		}
		h.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, h.ended(ctx, doing+", behind another backup or restore of it,")
		case <-h.ctx.Done():
			return nil, h.errClosed()
		}
	}
}

func (h *Host) subject(ctx context.Context, doing, uuid string) (subject, error) {
	return onDomain(ctx, h, doing, uuid, func(_ *link, d *lv.Domain) (subject, error) { return subjectOf(d) })
}

// onDomain runs do on a domain, in the lane of backups.
func onDomain[T any](ctx context.Context, h *Host, doing, uuid string, do func(*link, *lv.Domain) (T, error)) (T, error) {
	return backing(ctx, h, doing, func(l *link) (T, error) {
		d, err := l.conn.LookupDomainByUUIDString(uuid)
		if err != nil {
			var none T
			return none, err
		}
		defer d.Free() //nolint:errcheck // the reference is gone whatever it says
		return do(l, d)
	})
}

// askToFreeze asks the agent for its clock, as CreateSnapshot does. One whose
// file systems were left frozen, as a worker died in the middle, answers nothing
// but that: it is told to thaw them.
func (h *Host) askToFreeze(ctx context.Context, uuid string) error {
	_, err := h.GuestTime(ctx, uuid)
	for _, plain := range []error{
		hypervisor.ErrNotFound, hypervisor.ErrNotActive, hypervisor.ErrNoAgent, hypervisor.ErrInvalidState,
		hypervisor.ErrTimeout, hypervisor.ErrUnreachable, hypervisor.ErrClosed, context.Canceled,
	} {
		if errors.Is(err, plain) {
			if errors.Is(err, hypervisor.ErrInvalidState) && !errors.Is(err, hypervisor.ErrNotActive) {
				return fmt.Errorf("%w: %w", err, hypervisor.ErrNoAgent)
			}
			return err
		}
	}
	if err == nil {
		return nil
	}
	_, terr := onDomain(ctx, h, "thaw the file systems of domain "+uuid, uuid, func(_ *link, d *lv.Domain) (struct{}, error) {
		return struct{}{}, d.FSThaw(nil, 0)
	})
	if terr != nil {
		return fmt.Errorf("%w: %w", err, hypervisor.ErrNoAgent)
	}
	_, err = h.GuestTime(ctx, uuid)
	return err
}

// prepare looks what is there, and takes away what an earlier try has left.
func (r *backupRun) prepare(ctx context.Context, doing string) error {
	found, err := r.look(ctx, r.uuid)
	if err != nil {
		return err
	}
	refuse := func(err error) error { return fmt.Errorf("%s on %s: %w", doing, r.host.opts.Name, err) }
	if slices.ContainsFunc(found.manifests, func(m manifest) bool { return m.Name == r.o.Name }) {
		return refuse(fmt.Errorf("there is one of that name: %w", hypervisor.ErrExists))
	}
	if err := r.endJob(ctx, doing); err != nil {
		return err
	}
	old := leftovers(r.uuid, r.o.Name, found.files)
	file := manifestFile(r.uuid, r.o.Name)
	if odd := found.odd[file]; errors.Is(odd, errCutOff) {
		old = append(old, file)
	} else if odd != nil {
		return refuse(fmt.Errorf("%s: %w: look what it is, and remove it, or choose another name: %w", path.Join(r.folder, file), odd, hypervisor.ErrInvalidState))
	}
	if len(old) > 0 {
		child, err := r.child(ctx, doing, r.uuid, r.o.Name, found)
		if err != nil {
			return err
		}
		if child != "" {
			return refuse(fmt.Errorf("there are files of one of that name without a manifest that can be read, and %s builds upon it: choose another name: %w", child, hypervisor.ErrInvalidState))
		}
	}
	if err := r.remove(ctx, old...); err != nil {
		return err
	}
	r.before = found.whole()
	return nil
}

// endJob aborts the job of an earlier try, of which nobody knows what became.
func (r *backupRun) endJob(ctx context.Context, doing string) error {
	if r.subject.job == nil {
		return nil
	}
	mine := len(r.subject.job) > 0 && !slices.ContainsFunc(r.subject.job, func(file string) bool {
		return path.Dir(file) != r.folder || !isCopy(r.uuid, r.o.Name, path.Base(file))
	})
	if !mine {
		return fmt.Errorf("%s on %s: another backup is under way, to %s: wait for its end, or abort it (virsh domjobabort): %w",
			doing, r.host.opts.Name, strings.Join(r.subject.job, ", "), hypervisor.ErrInvalidState)
	}
	return r.abort(ctx, doing, r.subject.job)
}

// abort ends the job that writes to these files, and returns when it is over.
func (r *backupRun) abort(ctx context.Context, doing string, files []string) error {
	pause := newPause()
	for {
		over, err := onDomain(ctx, r.host, doing+": abort its job", r.uuid, func(_ *link, d *lv.Domain) (bool, error) {
			now, err := runningJob(d)
			if errors.Is(err, hypervisor.ErrNotActive) {
				return true, nil
			}
			if err != nil || !sameFiles(now, files) {
				return err == nil, err
			}
			if err := d.AbortJob(); err != nil && !hasCode(err, lv.ERR_OPERATION_INVALID) {
				return false, err
			}
			return false, nil
		})
		if over || err != nil {
			return err
		}
		if err := pause(ctx); err != nil {
			return r.host.ended(ctx, doing)
		}
	}
}

func sameFiles(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return len(a) > 0 && slices.Equal(a, b)
}

// newPause returns what waits a little longer each time, up to a second.
func newPause() func(context.Context) error {
	wait := 20 * time.Millisecond
	return func(ctx context.Context) error {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		wait = min(2*wait, time.Second)
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// make makes the backup: the disks, their sums, the manifest.
func (r *backupRun) make(ctx context.Context, doing string) error {
	parent, why := r.subject.predecessor(r.before, r.o.Full)
	r.begin(parent, why)
	err := r.copyDisks(ctx, doing, parent)
	var lost forgotten
	if parent != nil && errors.As(err, &lost) {
		why = fmt.Sprintf("the host does not know any more what has changed since the one before, %s: %s", parent.Name, lost.said)
		r.giveUp(ctx)
		parent = nil
		r.begin(nil, why)
		err = r.copyDisks(ctx, doing, nil)
	}
	if err != nil {
		return err
	}
	for i := range r.m.Disks {
		d := &r.m.Disks[i]
		if d.Bytes, d.SHA256, err = r.sum(ctx, path.Base(d.File)); err != nil {
			return err
		}
	}
	r.m.Created = afterAll(r.before, r.m.Created)
	r.wrote = true
	if err := r.write(ctx, r.m); err != nil {
		return err
	}
	return r.stillThere(ctx, doing)
}

// begin starts an attempt, in whose manifest there is all but what comes of it.
func (r *backupRun) begin(parent *manifest, why string) {
	attempt := newAttempt()
	r.files, r.began = make(map[string]string), false
	r.m = manifest{Version: manifestVersion, Domain: r.uuid, Sources: r.subject.origins()}
	r.m.Name, r.m.Description, r.m.Quiesced, r.m.Why = r.o.Name, r.o.Description, r.o.Quiesce, why
	r.m.Created = time.Now().UTC().Truncate(time.Millisecond)
	if parent != nil {
		r.m.Parent = parent.Name
	}
	if r.subject.forgetful() == "" {
		r.m.Checkpoint = checkpointFor(r.folder, attempt)
	}
	for _, target := range r.subject.targets() {
		file := path.Join(r.folder, copyFile(r.uuid, r.o.Name, attempt, target))
		r.files[target] = file
		r.m.Disks = append(r.m.Disks, hypervisor.BackupDisk{Target: target, File: file, Format: "qcow2"})
	}
}

func (r *backupRun) copyDisks(ctx context.Context, doing string, parent *manifest) error {
	if err := r.hasRoom(ctx, doing, parent == nil); err != nil {
		return err
	}
	if r.subject.active {
		return r.push(ctx, doing, parent)
	}
	for _, d := range r.subject.disks {
		if err := r.copyIdle(ctx, doing, d); err != nil {
			return err
		}
	}
	return r.stillIdle(ctx, doing)
}

// stillThere: another try of the same name takes the files of one without
// manifest for leftovers, and may have looked just before that was written.
func (r *backupRun) stillThere(ctx context.Context, doing string) error {
	found, err := r.look(ctx, r.uuid)
	if err != nil {
		return err
	}
	for _, d := range r.m.Disks {
		if !slices.Contains(found.files, path.Base(d.File)) {
			return fmt.Errorf("%s on %s: another try of the same name has removed %s: make one at a time", doing, r.host.opts.Name, d.File)
		}
	}
	return nil
}
