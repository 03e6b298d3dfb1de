//go:build cgo

package libvirt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	lv "libvirt.org/go/libvirt"

	"holdfast/internal/hypervisor"
)

// restoreRun is one attempt to put a domain back to a backup.
type restoreRun struct {
	*place
	uuid  string
	o     hypervisor.RestoreOptions
	doing string
	found stored
	from  manifest
	// definition is the domain's, whole; disks are what is in it.
	definition string
	disks      []imageElement
	record     manifest            // of what it had
	files      map[string]diskFile // that it gets, by target
}

// RestoreBackup implements [hypervisor.Host].
//
// The manifest of what is kept comes first, and says so: from it the next attempt
// of the same name knows which files the one before has made. Then the files,
// then the definition, in one call, and last that it has ended.
func (h *Host) RestoreBackup(ctx context.Context, uuid string, o hypervisor.RestoreOptions) error {
	ctx, cancel := h.bounded(ctx)
	defer cancel()
	r := &restoreRun{uuid: strings.ToLower(uuid), o: o, doing: fmt.Sprintf("restore domain %s from backup %q", uuid, o.Name)}
	if o.Keep != "" {
		if err := checkBackupName(o.Keep); err != nil {
			return fmt.Errorf("%s on %s: %w", r.doing, h.opts.Name, err)
		}
	}
	done, err := h.turn(ctx, r.doing, r.uuid)
	if err != nil {
		return err
	}
	defer done()
	state, err := r.read(ctx, h)
	if err != nil {
		return err
	}
	if r.place, err = h.openPlace(ctx, o.Where); err != nil {
		return err
	}
	defer r.leave(ctx)
	if r.found, err = r.settled(ctx, r.uuid); err != nil {
		return err
	}
	ended, err := r.before(ctx, state)
	if ended || err != nil {
		return err
	}
	if state != nil {
		return state
	}
	if r.from, err = r.check(ctx, r.found, r.uuid, o.Name); err != nil {
		return err
	}
	if err := r.plan(); err != nil {
		return r.refuse(err)
	}
	if err := r.liesOnTop(ctx); err != nil {
		return err
	}
	if err := r.write(ctx, r.record); err != nil {
		return err
	}
	if err := r.carryOut(ctx); err != nil {
		if !nobodyKnows(ctx, err) { // else the next attempt finds what became of it
			h.aside(ctx, r.giveUp)
		}
		return err
	}
	return r.end(ctx)
}

func (r *restoreRun) refuse(err error) error {
	return fmt.Errorf("%s on %s: %w", r.doing, r.host.opts.Name, err)
}

// read reads the definition. state is why the domain cannot be restored as it is
// now: it says nothing if the restore has ended already.
func (r *restoreRun) read(ctx context.Context, h *Host) (state, err error) {
	type domain struct {
		definition string
		state      error
	}
	got, err := onDomain(ctx, h, r.doing, r.uuid, func(_ *link, d *lv.Domain) (domain, error) {
		text, err := d.GetXMLDesc(lv.DOMAIN_XML_SECURE | lv.DOMAIN_XML_INACTIVE)
		if err != nil {
			return domain{}, err
		}
		unfit := stopped(d)
		if unfit == nil {
			unfit = notSaved(d)
		}
		if isLibvirt(unfit) {
			return domain{}, unfit
		}
		return domain{text, unfit}, nil
	})
	if err != nil {
		return nil, err
	}
	r.definition = got.definition
	if r.disks, err = parseImages(got.definition); err != nil {
		return nil, fmt.Errorf("%s on %s: %w", r.doing, h.opts.Name, err)
	}
	if got.state != nil {
		got.state = fmt.Errorf("%s on %s: %w", r.doing, h.opts.Name, got.state)
	}
	return got.state, nil
}

func isLibvirt(err error) bool {
	var lerr lv.Error
	return errors.As(err, &lerr)
}

// before looks what became of an attempt that kept the same: if it came through
// this ends it, and otherwise takes away what it has left, unless the domain cannot
// be restored as it is now.
func (r *restoreRun) before(ctx context.Context, state error) (done bool, err error) {
	name := cmp.Or(r.o.Keep, namelessKeep)
	file := manifestFile(r.uuid, name)
	if odd := r.found.odd[file]; odd != nil {
		if !errors.Is(odd, errCutOff) || len(leftovers(r.uuid, name, r.found.files)) > 0 {
			return false, r.refuse(fmt.Errorf("%s may be of a backup: %w: keep what the domain has under another name: %w", path.Join(r.folder, file), odd, hypervisor.ErrExists))
		}
		if state != nil {
			return false, state
		}
		return false, r.remove(ctx, file)
	}
	m, err := findManifest(r.found.manifests, name)
	if err != nil {
		return false, nil // there was none
	}
	through := m.Restored != nil && m.Restored.From == r.o.Name && r.has(m.Restored.Files)
	if m.whole() && !through {
		return false, r.refuse(fmt.Errorf("there is a backup called %q already: keep what the domain has under another name: %w", name, hypervisor.ErrExists))
	}
	if m.whole() {
		return true, nil
	}
	r.record = m
	if through && r.o.Keep != "" {
		return true, r.end(ctx)
	}
	if state != nil {
		return false, state
	}
	if r.has(m.Restored.Files) { // it came through, and was to keep nothing
		return false, r.remove(ctx, file)
	}
	return false, r.takeAway(ctx)
}

// has: the definition has these files.
func (r *restoreRun) has(files map[string]string) bool {
	for target, file := range files {
		if d := image(r.disks, target); d == nil || d.Source.File != file {
			return false
		}
	}
	return len(files) > 0
}

// plan says what files the domain gets, and what it had.
func (r *restoreRun) plan() error {
	attempt := newAttempt()
	r.files = make(map[string]diskFile)
	r.record = manifest{Version: manifestVersion, Domain: r.uuid, Restored: &restored{
		From: r.from.Name, Attempt: attempt, Files: make(map[string]string), Made: !r.from.Kept,
	}}
	r.record.Name, r.record.Kept = cmp.Or(r.o.Keep, namelessKeep), true
	r.record.Description = fmt.Sprintf("what the domain had before it was restored from %s", r.from.Name)
	r.record.Created = afterAll(r.found.whole(), time.Now().UTC().Truncate(time.Millisecond))
	for _, b := range r.from.Disks {
		d := image(r.disks, b.Target)
		if d == nil {
			return fmt.Errorf("the backup is of a disk %s, which the domain does not have: define it with that disk first: %w", b.Target, hypervisor.ErrInvalidState)
		}
		if err := d.forbids(""); err != nil {
			return fmt.Errorf("disk %s %w", b.Target, err)
		}
		f := diskFile{file: b.File, format: b.Format}
		if r.from.Kept {
			if o := r.from.origin(b.Target); o != nil && len(o.Chain) > 1 && o.Below != "" {
				f.upon, f.uponFormat = o.Chain[1], o.Below
			}
		} else {
			f.format = cmp.Or(d.Driver.Type, "raw")
			if f.format != "raw" && f.format != "qcow2" {
				return fmt.Errorf("disk %s is of format %s, and Holdfast restores to raw and qcow2: %w", b.Target, f.format, hypervisor.ErrInvalidState)
			}
			f.file = path.Join(path.Dir(d.Source.File), restoredFile(r.uuid, r.o.Keep, attempt, b.Target))
		}
		r.files[b.Target], r.record.Restored.Files[b.Target] = f, f.file
		r.keep(*d)
	}
	if r.from.Kept && r.has(r.record.Restored.Files) {
		return fmt.Errorf("it has those files: there is nothing to restore: %w", hypervisor.ErrInvalidState)
	}
	return nil
}

// keep records a disk as it is.
func (r *restoreRun) keep(d imageElement) {
	target := d.Target.Dev
	r.record.Disks = append(r.record.Disks, hypervisor.BackupDisk{Target: target, File: d.Source.File, Format: cmp.Or(d.Driver.Type, "raw")})
	o := diskOrigin{Target: target, Chain: d.chain()}
	if len(o.Chain) > 1 {
		o.Below = d.Below.Format.Type
	}
	r.record.Sources = append(r.record.Sources, o)
}

// carryOut makes the files, and puts the domain upon them.
func (r *restoreRun) carryOut(ctx context.Context) error {
	if r.record.Restored.Made {
		for _, target := range slices.Sorted(maps.Keys(r.files)) {
			if err := r.copyBack(ctx, target); err != nil {
				return err
			}
		}
	}
	changed, err := useFiles(r.definition, r.files)
	if err != nil {
		return r.refuse(err)
	}
	if err := r.stillMine(ctx); err != nil {
		return err
	}
	// Whoever cancels it looks next which files the domain has: that must not change
	// any more after that look.
	until, _ := ctx.Deadline() // it has one: see RestoreBackup
	uncut, cancel := context.WithDeadline(context.WithoutCancel(ctx), until)
	defer cancel()
	_, err = onDomain(uncut, r.host, r.doing, r.uuid, func(l *link, d *lv.Domain) (struct{}, error) {
		return struct{}{}, l.redefineIdle(d, r.definition, changed)
	})
	return err
}

// redefineIdle changes the definition of a domain that is not active, unless
// somebody has changed it meanwhile.
func (l *link) redefineIdle(d *lv.Domain, before, after string) error {
	if err := stopped(d); err != nil {
		return err
	}
	if err := notSaved(d); err != nil {
		return err
	}
	now, err := d.GetXMLDesc(lv.DOMAIN_XML_SECURE | lv.DOMAIN_XML_INACTIVE)
	if err != nil {
		return err
	}
	if now != before {
		return fmt.Errorf("its definition was changed meanwhile: try again: %w", hypervisor.ErrInvalidState)
	}
	if err := l.define(after); err != nil {
		return err
	}
	if err := stopped(d); err != nil { // somebody has started it meanwhile, upon the files of before
		if derr := l.define(before); derr != nil {
			return fmt.Errorf("%w, and it will use other files from its next start on, as that could not be undone: %s", err, l.host.said(derr))
		}
		return err
	}
	return nil
}

// copyBack makes the file of a disk from the backup, flat, with the permissions
// that the one it takes the place of has.
func (r *restoreRun) copyBack(ctx context.Context, target string) error {
	f, b, had := r.files[target], r.from.disk(target), image(r.disks, target).Source.File
	doing := fmt.Sprintf("%s: make %s", r.doing, f.file)
	_, err := callIn(ctx, r.host, doing, forCopies, func(l *link) (struct{}, error) {
		pool, err := l.conn.LookupStoragePoolByTargetPath(path.Dir(f.file))
		if hasCode(err, lv.ERR_NO_STORAGE_POOL) || hasCode(err, lv.ERR_NO_SUPPORT) {
			folder := path.Dir(f.file)
			return struct{}{}, fmt.Errorf("no active storage pool of the host has the folder %s of disk %s: start the one that has (virsh pool-start), or define one (virsh pool-define-as NAME dir --target %s): %w",
				folder, target, folder, hypervisor.ErrNoResource)
		}
		if err != nil {
			return struct{}{}, err
		}
		defer pool.Free() //nolint:errcheck // the reference is gone whatever it says
		source, err := l.poolAt(r.place)
		if err != nil {
			return struct{}{}, err
		}
		defer source.Free() //nolint:errcheck // the reference is gone whatever it says
		v, err := source.LookupStorageVolByName(path.Base(b.File))
		if err != nil {
			return struct{}{}, err
		}
		defer v.Free() //nolint:errcheck // the reference is gone whatever it says
		text, err := volumeXML(path.Base(f.file), f.format, 0, "", l.permissionsOf(pool, path.Base(had)))
		if err != nil {
			return struct{}{}, err
		}
		return struct{}{}, l.copyVolume(pool, text, v)
	})
	return err
}

// permissionsOf a file; nil if they are not known.
func (l *link) permissionsOf(pool *lv.StoragePool, file string) *permissions {
	v, err := l.volumeAt(pool, file)
	if err != nil {
		return nil
	}
	defer v.Free() //nolint:errcheck // the reference is gone whatever it says
	text, err := v.GetXMLDesc(0)
	if err != nil {
		return nil
	}
	found, err := parseVolume(text)
	if err != nil || found.Permissions.Mode == "" {
		return nil
	}
	return &found.Permissions
}
