//go:build cgo

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	lv "libvirt.org/go/libvirt"

	"holdfast/internal/hypervisor"
)

// RevertSnapshot implements [hypervisor.Host].
//
// It never forces libvirt (VIR_DOMAIN_SNAPSHOT_REVERT_FORCE). Of a domain that
// is not active, libvirt asks for force in two cases: a managed save image would
// be resumed upon disks that it does not belong to, or the snapshot does not say
// of which definition it was made, so that nobody knows which files it is in.
// Neither is safe. That the definition has changed since is not among them: the
// domain then simply gets that of the snapshot.
func (h *Host) RevertSnapshot(ctx context.Context, uuid, name string) error {
	_, err := call(ctx, h, fmt.Sprintf("revert domain %s to snapshot %q", uuid, name), func(l *link) (struct{}, error) {
		d, err := l.conn.LookupDomainByUUIDString(uuid)
		if err != nil {
			return struct{}{}, err
		}
		defer d.Free() //nolint:errcheck // the reference is gone whatever it says
		return struct{}{}, l.revertSnapshot(ctx, d, name)
	})
	return err
}

func (l *link) revertSnapshot(ctx context.Context, d *lv.Domain, name string) error {
	all, err := presentSnapshots(d)
	if err != nil {
		return err
	}
	s, err := find(all, name)
	if err != nil {
		return err
	}
	if err := stopped(d); err != nil {
		return err
	}
	if err := notSaved(d); err != nil {
		return err
	}
	switch {
	case !s.external():
		if err := s.liesOnTop(all); err != nil {
			return err
		}
		return l.revertInternal(ctx, d, s)
	case s.memory():
		return fmt.Errorf("its memory is in a file of its own, and Holdfast makes and reverts to no such snapshot: %w", hypervisor.ErrInvalidState)
	}
	return l.revertExternal(d, s)
}

// stopped: libvirt would stop an active domain by itself.
func stopped(d *lv.Domain) error {
	number, reason, err := d.GetState()
	if err != nil {
		return err
	}
	if state, _ := stateAndReason(number, reason); state.Active() {
		return fmt.Errorf("it is %s: stop it first: %w", state, hypervisor.ErrAlreadyActive)
	}
	return nil
}

// liesOnTop: an internal revert writes to the image, and libvirt does not look
// whether anything is built upon it. Whatever is would be another's from then on.
func (s snapshot) liesOnTop(all []snapshot) error {
	for _, disk := range s.covered() {
		file := s.file(disk.Name)
		if file == "" {
			return fmt.Errorf("libvirt does not know in which image of %s it is: %w", disk.Name, hypervisor.ErrInvalidState)
		}
		for _, other := range all {
			if other.Name != s.Name && other.builtUpon(file) {
				return fmt.Errorf("it is in %s, which snapshot %q is built upon: revert to that, or delete it first: %w", file, other.Name, hypervisor.ErrInvalidState)
			}
		}
	}
	return nil
}

// builtUpon: the state of the snapshot would change with what is in the file.
func (s snapshot) builtUpon(file string) bool {
	return slices.ContainsFunc(s.covered(), func(d snapshotDisk) bool {
		return d.Snapshot == locationExternal && s.file(d.Name) == file || slices.Contains(s.below(d.Name), file)
	})
}

// revertInternal lets libvirt do it, and puts right what it leaves: the
// definition, which it replaces by the snapshot's before it knows whether the
// revert works, and our own element of it.
func (l *link) revertInternal(ctx context.Context, d *lv.Domain, s snapshot) error {
	const whole = lv.DOMAIN_XML_SECURE | lv.DOMAIN_XML_INACTIVE
	before, err := d.GetXMLDesc(whole)
	if err != nil {
		return err
	}
	annotated, err := annotationOf(d)
	if err != nil {
		return err
	}
	target, err := d.SnapshotLookupByName(s.Name, 0)
	if err != nil {
		return err
	}
	defer target.Free() //nolint:errcheck // the reference is gone whatever it says
	if err := l.forgetChanges(ctx, d, s.files()); err != nil {
		return err
	}
	if err := target.RevertToSnapshot(0); err != nil {
		why := l.refused(err)
		if !l.alive() {
			return why
		}
		if rerr := l.redefine(d, before); rerr != nil {
			return fmt.Errorf("%w, %w", l.spoken(why), rerr)
		}
		return why
	}
	now, err := annotationOf(d)
	if err != nil || now == annotated {
		return err
	}
	element, err := withoutNamespace(annotated)
	if err != nil {
		return err
	}
	return setMetadata(d, element)
}

// annotationOf is Holdfast's element of the persistent definition, or empty.
func annotationOf(d *lv.Domain) (string, error) {
	element, err := d.GetMetadata(lv.DOMAIN_METADATA_ELEMENT, metadataURI, lv.DOMAIN_AFFECT_CONFIG)
	if hasCode(err, lv.ERR_NO_DOMAIN_METADATA) {
		return "", nil
	}
	return element, err
}

// redefine puts a definition back if it has changed.
func (l *link) redefine(d *lv.Domain, definition string) error {
	now, err := d.GetXMLDesc(lv.DOMAIN_XML_SECURE | lv.DOMAIN_XML_INACTIVE)
	if err == nil && now == definition {
		return nil
	}
	if err := l.define(definition); err != nil {
		return fmt.Errorf("and its definition is now that of the snapshot, as the one before could not be put back: %w", l.spoken(err))
	}
	return nil
}

func (l *link) define(definition string) error {
	d, err := l.conn.DomainDefineXML(definition)
	if err != nil {
		return err
	}
	return d.Free()
}

// revertExternal puts a new layer upon the snapshot's file of each disk, which
// libvirt before 9.9 cannot do and later ones do otherwise: they remove what was
// in use. The definition changes at one stroke, so that either all disks are put
// back or none.
func (l *link) revertExternal(d *lv.Domain, s snapshot) error {
	definition, err := d.GetXMLDesc(lv.DOMAIN_XML_SECURE | lv.DOMAIN_XML_INACTIVE)
	if err != nil {
		return err
	}
	disks, err := parseImages(definition)
	if err != nil {
		return err
	}
	layers, err := s.layers(disks, time.Now())
	if err != nil {
		return err
	}
	changed, err := useLayers(definition, layers)
	if err != nil {
		return err
	}
	var made []layer
	giveUp := func(why error) error {
		for _, y := range made {
			if err := l.removeLayer(y); err != nil {
				l.host.log.Warn("a layer that is not used was not removed", "file", y.file, "error", err)
			}
		}
		return why
	}
	for target, y := range layers {
		if err := l.makeLayer(y); err != nil {
			return giveUp(fmt.Errorf("make a layer for disk %s: %w", target, l.spoken(l.refused(err))))
		}
		made = append(made, y)
	}
	if err := l.define(changed); err != nil {
		if !l.alive() {
			return err // it may have come through
		}
		return giveUp(err)
	}
	if err := stopped(d); err != nil { // somebody has started it meanwhile, upon the files of before
		if derr := l.define(definition); derr != nil {
			return fmt.Errorf("%w, and it will use other files from its next start on, as that could not be undone: %s", err, l.host.said(derr))
		}
		return giveUp(err)
	}
	if s.Current {
		return nil
	}
	if err := makeCurrent(d, s.Name); err != nil {
		l.host.log.Warn("libvirt does not take the snapshot for the current one", "snapshot", s.Name, "error", l.host.said(err))
	}
	return nil
}

// spoken finds the sentinel for an error of libvirt's that is told with more
// than itself.
func (l *link) spoken(err error) error {
	var lerr lv.Error
	if !errors.As(err, &lerr) {
		return err
	}
	if sentinel := sentinelOf(lerr, l.alive()); sentinel != nil {
		return fmt.Errorf("%s: %w", l.host.said(err), sentinel)
	}
	return errors.New(l.host.said(err))
}

// layers are the files to be made for a revert, by disk.
func (s snapshot) layers(disks []imageElement, now time.Time) (map[string]layer, error) {
	files := make(map[string]string)
	for _, disk := range s.covered() {
		there, kept := image(disks, disk.Name), image(s.Images, disk.Name)
		switch {
		case disk.Deleting != nil:
			return nil, fmt.Errorf("it is being merged into what it lies upon: delete it: %w", hypervisor.ErrInvalidState)
		case disk.Snapshot != locationExternal || kept == nil || kept.Type != "file" || kept.Source.File == "":
			return nil, fmt.Errorf("its disk %s is not a file: %w", disk.Name, hypervisor.ErrInvalidState)
		case there == nil:
			return nil, fmt.Errorf("its disk %s is not in the domain's definition any more: %w", disk.Name, hypervisor.ErrInvalidState)
		case there.Source.File == kept.Source.File:
			return nil, fmt.Errorf("the domain itself writes to %s, so that the state of disk %s is lost: %w", kept.Source.File, disk.Name, hypervisor.ErrInvalidState)
		}
		files[disk.Name] = kept.Source.File
	}
	out := make(map[string]layer, len(files))
	for target, file := range layerFiles(files, s.Name+now.UTC().Format("-20060102T150405.000Z")) {
		out[target] = layer{file: file, upon: files[target], format: image(s.Images, target).Driver.Type}
	}
	return out, nil
}

// makeCurrent tells libvirt which snapshot the domain is on. With what it knows
// of it, secrets included, libvirt takes the place of what it knew.
func makeCurrent(d *lv.Domain, name string) error {
	s, err := d.SnapshotLookupByName(name, 0)
	if err != nil {
		return err
	}
	defer s.Free() //nolint:errcheck // the reference is gone whatever it says
	text, err := s.GetXMLDesc(lv.DOMAIN_SNAPSHOT_XML_SECURE)
	if err != nil {
		return err
	}
	again, err := d.CreateSnapshotXML(text, lv.DOMAIN_SNAPSHOT_CREATE_REDEFINE|lv.DOMAIN_SNAPSHOT_CREATE_CURRENT)
	if err != nil {
		return err
	}
	return again.Free()
}
