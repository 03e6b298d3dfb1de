package simulated

import (
	"context"
	"fmt"
	"slices"
	"time"

	"holdfast/internal/hypervisor"
)

// shelf is what a host knows of snapshots in files that the domain does not use.
type shelf struct {
	snapshots  []*snapshot
	onSnapshot *snapshot
}

// RestoreBackup implements [hypervisor.Host].
func (h *host) RestoreBackup(ctx context.Context, uuid string, o hypervisor.RestoreOptions) error {
	return h.act(ctx, uuid, func(d *domain, done func(error)) {
		if err := d.restoreBackup(o); err != nil {
			done(fmt.Errorf("restore %s on %s from backup %q: %w", d.vm.name, h.m.name, o.Name, err))
			return
		}
		done(nil)
	})
}

func (d *domain) restoreBackup(o hypervisor.RestoreOptions) error {
	if d.state.Active() {
		return fmt.Errorf("it is %s: stop it first: %w", d.state, hypervisor.ErrAlreadyActive)
	}
	folder, err := d.on.place(o.Where)
	if err != nil {
		return err
	}
	if done, err := d.restorable(folder, o); done || err != nil {
		return err
	}
	if d.vm.takeFailure(&d.vm.failRestores) {
		return fmt.Errorf("no space left on device: %w", hypervisor.ErrNoResource)
	}
	d.vm.mu.Lock()
	s := &d.vm.stored
	b := s.find(folder, o.Name)
	was, err := d.files(), error(nil)
	switch {
	case b.Kept:
		d.takeBack(b.Disks[0].File)
	case d.on.pool.stopped || d.on.pool.lost:
		err = fmt.Errorf("no active storage pool of the host has the folder %s: %w", poolTarget, hypervisor.ErrNoResource)
	case !d.hasRoom(poolTarget):
		err = fmt.Errorf("no space left on device: %w", hypervisor.ErrNoResource)
	default:
		s.layers++
		d.putAside()
		d.vm.disk = b.holds
		d.layOut([]string{fmt.Sprintf("%s/%s.restored-%d", poolTarget, d.vm.name, s.layers)})
	}
	if err == nil && o.Keep != "" {
		s.backups = append(s.backups, &backup{folder: folder, restored: o.Name, by: d.image(), Backup: hypervisor.Backup{
			Name: o.Keep, Created: time.Now().Truncate(time.Millisecond), Kept: true,
			Disks: []hypervisor.BackupDisk{{Target: diskTarget, File: was[0], Format: "qcow2"}},
		}})
	}
	d.vm.mu.Unlock()
	if err != nil {
		return err
	}
	d.vm.forgetChanges(fmt.Sprintf("the disk was replaced when backup %q was restored", o.Name))
	d.on.tell(d, hypervisor.EventDefined, "updated")
	return nil
}

// restorable says whether a backup can be restored, or has been.
func (d *domain) restorable(folder string, o hypervisor.RestoreOptions) (done bool, err error) {
	d.vm.mu.Lock()
	defer d.vm.mu.Unlock()
	s := &d.vm.stored
	if kept := s.find(folder, o.Keep); o.Keep != "" && kept != nil {
		if kept.Kept && kept.restored == o.Name && kept.by == d.image() {
			return true, nil
		}
		return false, fmt.Errorf("keep its files as backup %q: there is one of that name: %w", o.Keep, hypervisor.ErrExists)
	}
	if err := s.check(folder, o.Name); err != nil {
		return false, err
	}
	b := s.find(folder, o.Name)
	if !b.Kept {
		return false, nil
	}
	file := b.Disks[0].File
	if file == d.image() {
		return false, fmt.Errorf("it has those files: there is nothing to restore: %w", hypervisor.ErrInvalidState)
	}
	if whose := d.buildsUpon(file); whose != "" {
		return false, fmt.Errorf("%s is built upon %s, to which the domain would write: %w", whose, file, hypervisor.ErrInvalidState)
	}
	if _, ok := s.aside[file]; !ok {
		return false, fmt.Errorf("%s is gone: %w", file, hypervisor.ErrDamaged)
	}
	return false, nil
}

// buildsUpon says what would change with a file; empty: nothing. The VM's lock is
// held.
func (d *domain) buildsUpon(file string) string {
	all := slices.Clone(d.snapshots)
	for _, s := range d.shelves {
		all = append(all, s.snapshots...)
	}
	for _, s := range all {
		if s.External && s.file == file || slices.Contains(s.chain[1:], file) {
			return fmt.Sprintf("snapshot %q", s.Name)
		}
	}
	if slices.Contains(d.files()[1:], file) {
		return "the disk of the domain"
	}
	return d.vm.stored.upon(file, "")
}

// upon names a backup, but for that one, which keeps a file that is built upon this
// one; empty: none does.
func (s *storage) upon(file, but string) string {
	for _, other := range s.backups {
		if other.Kept && other.Name != but && slices.Index(s.aside[other.Disks[0].File].chain, file) > 0 {
			return fmt.Sprintf("what backup %q keeps", other.Name)
		}
	}
	return ""
}

// layUpon: a layer was made upon a file. If that is a backup that was kept, it can be
// had back when nothing is built upon it any more.
func (v *vm) layUpon(file string, was disk) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if slices.ContainsFunc(v.stored.backups, func(b *backup) bool { return b.Kept && b.Disks[0].File == file }) {
		v.stored.aside[file] = was
	}
}

// putAside leaves the disk where it is, for others to be used. The VM's lock is
// held, as in takeBack.
func (d *domain) putAside() {
	file := d.image()
	if d.vm.stored.aside == nil {
		d.vm.stored.aside = make(map[string]disk)
	}
	d.vm.stored.aside[file] = disk{content: d.vm.disk, chain: d.files()}
	if d.shelves == nil {
		d.shelves = make(map[string]shelf)
	}
	d.shelves[file] = shelf{snapshots: d.snapshots, onSnapshot: d.onSnapshot}
	d.snapshots, d.onSnapshot = nil, nil
}

// takeBack uses a disk that was put aside.
func (d *domain) takeBack(file string) {
	d.putAside()
	back, known := d.vm.stored.aside[file], d.shelves[file]
	d.vm.disk = back.content
	d.layOut(back.chain)
	d.snapshots, d.onSnapshot = known.snapshots, known.onSnapshot
	delete(d.vm.stored.aside, file)
	delete(d.shelves, file)
}

// shelved counts the snapshots in files that the domain does not use: its host
// knows them all the same.
func (d *domain) shelved() int {
	n := 0
	for _, s := range d.shelves {
		n += len(s.snapshots)
	}
	return n
}

// dropShelved forgets a snapshot in files that the domain does not use.
func (d *domain) dropShelved(name string) error {
	for file, on := range d.shelves {
		i := slices.IndexFunc(on.snapshots, func(s *snapshot) bool { return s.Name == name })
		if i < 0 {
			continue
		}
		gone := on.snapshots[i]
		on.snapshots = slices.Delete(slices.Clone(on.snapshots), i, i+1)
		for _, other := range on.snapshots {
			if other.Parent == name {
				other.Parent = gone.Parent
			}
		}
		if on.onSnapshot == gone {
			on.onSnapshot = nil
		}
		d.shelves[file] = on
		return nil
	}
	return hypervisor.ErrNoSnapshot
}

// DeleteBackup implements [hypervisor.Host].
func (h *host) DeleteBackup(ctx context.Context, where, uuid, name string) error {
	what := fmt.Sprintf("delete backup %q", name)
	_, err := inPlace(ctx, h, where, uuid, what, func(v *vm, folder string) (struct{}, error) {
		return struct{}{}, v.stored.remove(folder, name, h.m.domains[uuid])
	})
	return err
}

// remove gives up a backup; d is the VM as the host has it, or nil.
func (s *storage) remove(folder, name string, d *domain) error {
	b := s.find(folder, name)
	if b == nil {
		return hypervisor.ErrNoBackup
	}
	for _, other := range s.backups {
		if other.folder == folder && other.Parent == name {
			return fmt.Errorf("backup %q builds upon it: delete that one first: %w", other.Name, hypervisor.ErrInvalidState)
		}
	}
	file := b.Disks[0].File
	if d != nil && slices.Contains(d.files(), file) {
		return fmt.Errorf("the domain uses its file %s: %w", file, hypervisor.ErrInvalidState)
	}
	if whose := s.upon(file, name); b.Kept && whose != "" {
		return fmt.Errorf("%s is built upon %s: delete that one first: %w", whose, file, hypervisor.ErrInvalidState)
	}
	s.backups = slices.DeleteFunc(s.backups, func(other *backup) bool { return other == b })
	// Who undoes a restore and restores again has kept it twice.
	if slices.ContainsFunc(s.backups, func(other *backup) bool { return other.Disks[0].File == file }) {
		return nil
	}
	delete(s.damaged, file)
	delete(s.aside, file)
	if d != nil {
		delete(d.shelves, file)
	}
	if s.since.folder == folder && s.since.name == name {
		s.since = tracking{lost: fmt.Sprintf("backup %q, which it would build upon, was deleted", name)}
	}
	return nil
}
