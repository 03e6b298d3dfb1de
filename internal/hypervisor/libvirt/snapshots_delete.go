//go:build cgo

package libvirt

import (
	"context"
	"fmt"
	"slices"

	lv "libvirt.org/go/libvirt"

	"holdfast/internal/hypervisor"
)

// DeleteSnapshot implements [hypervisor.Host].
//
// libvirt merges the layer of an external snapshot by a block commit, and has
// been able to since 9.0. It does not look what is lost with it, so that is done
// here: internal snapshots in the file that goes, and what a revert has left
// beside the chain, upon the file that changes. And it merges while the domain
// is not active, too, by a QEMU of its own: but that looks like a start and an
// orderly shutdown to whoever watches, and a domain that crashed has then been
// shut down. So it has to be active.
func (h *Host) DeleteSnapshot(ctx context.Context, uuid, name string) error {
	_, err := snapshotting(ctx, h, fmt.Sprintf("delete snapshot %q of domain", name), uuid, func(l *link, d *lv.Domain) (struct{}, error) {
		return struct{}{}, l.deleteSnapshot(d, name)
	})
	return err
}

func (l *link) deleteSnapshot(d *lv.Domain, name string) error {
	all, err := readSnapshots(d)
	if err != nil {
		return err
	}
	present, err := presentSnapshots(d)
	if err != nil {
		return err
	}
	s, err := find(present, name)
	if _, hidden := find(all, name); err != nil && hidden == nil {
		return l.drop(d, name, lv.DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY)
	}
	if err != nil {
		return err
	}
	active, err := d.IsActive()
	if err != nil {
		return err
	}
	definition, err := d.GetXMLDesc(0) // of an active domain with its whole chains
	if err != nil {
		return err
	}
	disks, err := parseImages(definition)
	if err != nil {
		return err
	}
	how, err := s.deletion(all, disks, active)
	if err != nil {
		return err
	}
	return l.drop(d, name, how)
}

func (l *link) drop(d *lv.Domain, name string, how lv.DomainSnapshotDeleteFlags) error {
	target, err := d.SnapshotLookupByName(name, 0)
	if err != nil {
		return err
	}
	defer target.Free() //nolint:errcheck // the reference is gone whatever it says
	if err := target.Delete(how); err != nil {
		return l.refused(err)
	}
	return nil
}

// deletion says how to delete a snapshot, or why not.
func (s snapshot) deletion(all []snapshot, disks []imageElement, active bool) (lv.DomainSnapshotDeleteFlags, error) {
	switch {
	case !s.external() && active:
		return s.internalDeletion(disks)
	case !s.external():
		return 0, nil // from the files that it was made in, whichever are in use
	case s.Memory.Snapshot == locationExternal:
		return 0, fmt.Errorf("its memory is in a file of its own, and Holdfast makes and deletes no such snapshot: %w", hypervisor.ErrInvalidState)
	case !active:
		return 0, fmt.Errorf("its layer can only be merged while the domain runs: start it first: %w", hypervisor.ErrInvalidState)
	}
	inUse := 0
	for _, disk := range s.covered() {
		if s.isInChain(disk, disks) {
			inUse++
		}
	}
	switch {
	case inUse == 0: // it lies beside, and a later libvirt would remove what others lie upon
		return lv.DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY, nil
	case inUse < len(s.covered()):
		return 0, fmt.Errorf("only some of its disks are upon its layers, so that it cannot be merged: %w", hypervisor.ErrInvalidState)
	}
	return 0, s.mergeable(all, disks)
}

// internalDeletion: a running QEMU removes a snapshot from the files on top, and
// says nothing if it is in none of them.
func (s snapshot) internalDeletion(disks []imageElement) (lv.DomainSnapshotDeleteFlags, error) {
	for _, disk := range s.covered() {
		d, file := image(disks, disk.Name), s.file(disk.Name)
		if d != nil && file != "" && slices.Index(d.chain(), file) > 0 {
			return 0, fmt.Errorf("it is in %s, upon which the domain runs, and QEMU does not write to that: stop the domain first: %w", file, hypervisor.ErrInvalidState)
		}
	}
	return 0, nil
}

// isInChain: the domain runs upon the layer of the snapshot.
func (s snapshot) isInChain(disk snapshotDisk, disks []imageElement) bool {
	d := image(disks, disk.Name)
	return d != nil && slices.Contains(d.chain(), disk.Layer.String())
}

// mergeable says what would be lost if the layers were merged into what they lie
// upon.
func (s snapshot) mergeable(all []snapshot, disks []imageElement) error {
	leaf := true
	for _, other := range all {
		if other.Name == s.Name {
			continue
		}
		leaf = leaf && other.Parent != s.Name
		if file := s.takesAway(other, disks); file != "" {
			return fmt.Errorf("the state of snapshot %q is in or upon %s, which the merge would change: delete that one first: %w", other.Name, file, hypervisor.ErrInvalidState)
		}
	}
	if parent, err := find(all, s.Parent); err == nil && !parent.external() {
		return fmt.Errorf("the one before it, %q, is internal, and libvirt merges no layer that came after such a one: stop the domain and delete that first: %w", parent.Name, hypervisor.ErrInvalidState)
	}
	for _, disk := range s.covered() {
		files := image(disks, disk.Name).chain()
		if i := slices.Index(files, disk.Layer.String()); i+1 >= len(files) || files[i+1] != s.file(disk.Name) {
			return fmt.Errorf("its layer of disk %s lies upon another file than it did: %w", disk.Name, hypervisor.ErrInvalidState)
		}
	}
	if leaf && !s.Current {
		// libvirt takes such a one for a branch that nobody is on.
		return fmt.Errorf("libvirt does not take it for the one that the domain is on: make it current (virsh snapshot-current), then delete it: %w", hypervisor.ErrInvalidState)
	}
	return nil
}

// takesAway is the file through which another snapshot would lose its state, or
// empty.
func (s snapshot) takesAway(other snapshot, disks []imageElement) string {
	for _, disk := range s.covered() {
		layer, upon := disk.Layer.String(), s.file(disk.Name)
		for _, theirs := range other.covered() {
			file := other.file(theirs.Name)
			inside, below := theirs.Snapshot == locationInternal, other.below(theirs.Name)
			switch {
			case inside && file == layer:
				return layer // it goes, with all that is in it
			case inside && s.runsUpon(file, disks), !inside && other.isInChain(theirs, disks):
				continue // of the same line: what is below stays the same to it
			case !inside && file == layer, slices.Contains(below, layer):
				return layer
			case !inside && file == upon, slices.Contains(below, upon):
				return upon
			}
		}
	}
	return ""
}

// runsUpon: the domain has the file in one of its chains.
func (s snapshot) runsUpon(file string, disks []imageElement) bool {
	return slices.ContainsFunc(disks, func(d imageElement) bool { return slices.Contains(d.chain(), file) })
}
