//go:build cgo

package libvirt

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode"

	lv "libvirt.org/go/libvirt"

	"holdfast/internal/hypervisor"
)

// freezeTimeout is how many seconds a guest agent has to freeze or thaw its file
// systems: it writes what is in the guest's caches first.
const freezeTimeout = 60

// Snapshots implements [hypervisor.Host].
func (h *Host) Snapshots(ctx context.Context, uuid string) ([]hypervisor.Snapshot, error) {
	return domain(ctx, h, "list the snapshots of domain", uuid, func(d *lv.Domain) ([]hypervisor.Snapshot, error) {
		list, err := presentSnapshots(d)
		if err != nil {
			return nil, err
		}
		out := make([]hypervisor.Snapshot, 0, len(list))
		for _, s := range list {
			out = append(out, s.view())
		}
		return out, nil
	})
}

// presentSnapshots reads those whose state is in the files that the domain has.
func presentSnapshots(d *lv.Domain) ([]snapshot, error) {
	list, err := readSnapshots(d)
	if err != nil {
		return nil, err
	}
	definition, err := d.GetXMLDesc(lv.DOMAIN_XML_INACTIVE)
	if err != nil {
		return nil, err
	}
	disks, err := parseImages(definition)
	if err != nil {
		return nil, err
	}
	return ofTheirFiles(disks, list), nil
}

// readSnapshots reads all of a domain, oldest first. One that is deleted
// meanwhile is left out.
func readSnapshots(d *lv.Domain) ([]snapshot, error) {
	found, err := d.ListAllSnapshots(0)
	if err != nil {
		return nil, err
	}
	defer func() {
		for i := range found {
			_ = found[i].Free()
		}
	}()
	current, err := currentSnapshot(d)
	if err != nil {
		return nil, err
	}
	list := make([]snapshot, 0, len(found))
	for i := range found {
		text, err := found[i].GetXMLDesc(0)
		if hasCode(err, lv.ERR_NO_DOMAIN_SNAPSHOT) {
			continue
		}
		if err != nil {
			return nil, err
		}
		s, err := parseSnapshot(text)
		if err != nil {
			return nil, err
		}
		s.Current = s.Name == current
		list = append(list, s)
	}
	sortSnapshots(list)
	return list, nil
}

// currentSnapshot is the name of the last that was made or reverted to, or empty.
func currentSnapshot(d *lv.Domain) (string, error) {
	s, err := d.SnapshotCurrent(0)
	if hasCode(err, lv.ERR_NO_DOMAIN_SNAPSHOT) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer s.Free() //nolint:errcheck // the reference is gone whatever it says
	return s.GetName()
}

// CreateSnapshot implements [hypervisor.Host].
//
// An agent that is to freeze is asked for its clock first, as in GuestExec: while
// libvirt waits for one that is silent nobody can do anything to the domain, not
// even destroy it.
func (h *Host) CreateSnapshot(ctx context.Context, uuid string, o hypervisor.SnapshotOptions) (hypervisor.Snapshot, error) {
	ctx, cancel := h.bounded(ctx)
	defer cancel()
	if err := checkName(o.Name); err != nil {
		return hypervisor.Snapshot{}, fmt.Errorf("snapshot domain %s on %s: %w", uuid, h.opts.Name, err)
	}
	if o.Quiesce = o.Quiesce && !o.Memory; o.Quiesce {
		_, err := h.GuestTime(ctx, uuid)
		switch {
		case errors.Is(err, hypervisor.ErrNotActive):
			o.Quiesce = false
		case errors.Is(err, hypervisor.ErrInvalidState):
			return hypervisor.Snapshot{}, fmt.Errorf("%w: %w", err, hypervisor.ErrNoAgent)
		case err != nil:
			return hypervisor.Snapshot{}, err
		}
	}
	return snapshotting(ctx, h, fmt.Sprintf("make snapshot %q of domain", o.Name), uuid, func(l *link, d *lv.Domain) (hypervisor.Snapshot, error) {
		s, err := l.createSnapshot(ctx, d, o)
		return s.view(), err
	})
}

// checkName refuses what libvirt refuses, but after it has begun.
func checkName(name string) error {
	odd := func(r rune) bool { return r == '/' || unicode.IsControl(r) }
	if name == "" || strings.HasPrefix(name, ".") || strings.ContainsFunc(name, odd) {
		return fmt.Errorf("%q cannot be the name of a snapshot: take one that is not empty, does not begin with a dot and has no slash", name)
	}
	return nil
}

// snapshotting is domain in the lane of what changes snapshots.
func snapshotting[T any](ctx context.Context, h *Host, doing, uuid string, do func(*link, *lv.Domain) (T, error)) (T, error) {
	apart := func(s *session) (lane, error) { return s.snapshots, nil }
	return callIn(ctx, h, doing+" "+uuid, apart, func(l *link) (T, error) {
		d, err := l.conn.LookupDomainByUUIDString(uuid)
		if err != nil {
			var none T
			return none, err
		}
		defer d.Free() //nolint:errcheck // the reference is gone whatever it says
		return do(l, d)
	})
}

func (l *link) createSnapshot(ctx context.Context, d *lv.Domain, o hypervisor.SnapshotOptions) (snapshot, error) {
	if err := nameIsFree(d, o.Name); err != nil {
		return snapshot{}, err
	}
	request, flags, err := l.planSnapshot(d, o)
	if err != nil {
		return snapshot{}, err
	}
	text, err := xml.Marshal(request)
	if err != nil {
		return snapshot{}, err
	}
	if err := l.forgetBeforeIdle(ctx, d, request); err != nil {
		return snapshot{}, err
	}
	if o.Quiesce {
		restore, err := patientAgent(d)
		if err != nil {
			return snapshot{}, err
		}
		defer restore()
		flags |= lv.DOMAIN_SNAPSHOT_CREATE_QUIESCE
	}
	made, err := d.CreateSnapshotXML(string(text), flags)
	if err != nil {
		return snapshot{}, l.whyNotCreated(d, o, err)
	}
	defer made.Free() //nolint:errcheck // the reference is gone whatever it says
	described, err := made.GetXMLDesc(0)
	if err != nil {
		return snapshot{}, err
	}
	s, err := parseSnapshot(described)
	s.Current = true
	return s, err
}

// planSnapshot looks at the domain and says what to ask of libvirt.
func (l *link) planSnapshot(d *lv.Domain, o hypervisor.SnapshotOptions) (request, lv.DomainSnapshotCreateFlags, error) {
	active, err := d.IsActive()
	if err != nil {
		return request{}, 0, err
	}
	if err := keepable(d, active); err != nil {
		return request{}, 0, err
	}
	definition, err := d.GetXMLDesc(0)
	if err != nil {
		return request{}, 0, err
	}
	disks, err := parseImages(definition)
	if err != nil {
		return request{}, 0, err
	}
	r, err := plan(o, active, disks)
	if err != nil {
		return r, 0, err
	}
	flags := lv.DOMAIN_SNAPSHOT_CREATE_ATOMIC
	for _, disk := range r.Disks {
		if disk.Snapshot != locationExternal {
			continue
		}
		flags |= lv.DOMAIN_SNAPSHOT_CREATE_DISK_ONLY
		// A revert will make a layer there.
		pool, err := l.poolOf(path.Dir(disk.Source.File))
		if err != nil {
			return r, 0, fmt.Errorf("disk %s: %w", disk.Name, err)
		}
		_ = pool.Free()
	}
	if flags&lv.DOMAIN_SNAPSHOT_CREATE_DISK_ONLY == 0 {
		flags = 0 // libvirt knows that flag of layers only
	}
	return r, flags, nil
}

// keepable: what a snapshot of it would be good for. libvirt makes one of a
// domain with a managed save image without a word, and then resumes that image
// upon the disks of before, under the new layer.
func keepable(d *lv.Domain, active bool) error {
	persistent, err := d.IsPersistent()
	if err != nil {
		return err
	}
	if !persistent {
		return fmt.Errorf("it is transient, and its snapshots would be forgotten with it: %w", hypervisor.ErrInvalidState)
	}
	if active {
		return nil
	}
	return notSaved(d)
}

func notSaved(d *lv.Domain) error {
	saved, err := d.HasManagedSaveImage(0)
	if err != nil {
		return err
	}
	if saved {
		return fmt.Errorf("it has a managed save image, which would be resumed upon the wrong disks: start the domain, or remove the image (virsh managedsave-remove): %w", hypervisor.ErrInvalidState)
	}
	return nil
}

func nameIsFree(d *lv.Domain, name string) error {
	s, err := d.SnapshotLookupByName(name, 0)
	switch {
	case hasCode(err, lv.ERR_NO_DOMAIN_SNAPSHOT):
		return nil
	case err != nil:
		return err
	}
	_ = s.Free()
	return fmt.Errorf("there is one of that name: %w", hypervisor.ErrExists)
}

// patientAgent gives the agent its time to freeze, for until restore is called.
func patientAgent(d *lv.Domain) (restore func(), err error) {
	err = d.AgentSetResponseTimeout(freezeTimeout, 0)
	if err != nil && !noSupport(err) {
		return nil, judge(d, err, inactive)
	}
	return func() {
		_ = d.AgentSetResponseTimeout(int(lv.DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK), 0) // it is not active any more, or the next does it
	}, nil
}

// whyNotCreated finds the sentinel for a snapshot that could not be made.
func (l *link) whyNotCreated(d *lv.Domain, o hypervisor.SnapshotOptions, err error) error {
	if taken := nameIsFree(d, o.Name); errors.Is(taken, hypervisor.ErrExists) {
		return taken // somebody else was faster: ours would be none
	}
	if o.Quiesce {
		var lerr lv.Error
		silent := hasCode(err, lv.ERR_AGENT_UNRESPONSIVE) || hasCode(err, lv.ERR_AGENT_COMMAND_TIMEOUT) || hasCode(err, lv.ERR_AGENT_UNSYNCED)
		if silent {
			// It may freeze later, and libvirt thaws only what it has seen frozen.
			_ = d.FSThaw(nil, 0)
		}
		// The name of the command is the same in all languages.
		if silent || errors.As(err, &lerr) && strings.Contains(lerr.Message, "guest-fsfreeze") {
			return fmt.Errorf("its file systems were not frozen: %s: %w", l.host.said(err), hypervisor.ErrNoAgent)
		}
	}
	return l.refused(err)
}

// refused: of a snapshot, what libvirt does not support lies in the domain and
// its disks, and seldom in the host.
func (l *link) refused(err error) error {
	for _, code := range []lv.ErrorNumber{lv.ERR_CONFIG_UNSUPPORTED, lv.ERR_OPERATION_UNSUPPORTED, lv.ERR_ARGUMENT_UNSUPPORTED, lv.ERR_SNAPSHOT_REVERT_RISKY} {
		if hasCode(err, code) {
			return fmt.Errorf("%s: %w", l.host.said(err), hypervisor.ErrInvalidState)
		}
	}
	if noRoom(err) {
		return fmt.Errorf("there is no room for it: %s: %w", l.host.said(err), hypervisor.ErrNoResource)
	}
	return err
}

// noRoom looks into what QEMU and qemu-img said, for libvirt passes it on under
// codes that mean anything. Both speak English, as libvirt has them run.
func noRoom(err error) bool {
	var lerr lv.Error
	return errors.As(err, &lerr) &&
		(strings.Contains(lerr.Message, "No space left on device") || strings.Contains(lerr.Message, "Error while writing VM state"))
}
