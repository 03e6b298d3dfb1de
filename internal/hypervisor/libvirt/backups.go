//go:build cgo

package libvirt

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	lv "libvirt.org/go/libvirt"

	"holdfast/internal/hypervisor"
)

// Backups implements [hypervisor.Host].
func (h *Host) Backups(ctx context.Context, where, uuid string) ([]hypervisor.Backup, error) {
	ctx, cancel := h.bounded(ctx)
	defer cancel()
	uuid = strings.ToLower(uuid)
	p, err := h.openPlace(ctx, where)
	if err != nil {
		return nil, err
	}
	defer p.leave(ctx)
	found, err := p.settled(ctx, uuid)
	if err != nil {
		return nil, err
	}
	for file, err := range found.odd {
		h.log.Warn("a manifest among the backups is left out", "file", path.Join(p.folder, file), "error", err)
	}
	out := []hypervisor.Backup{}
	for _, m := range found.whole() {
		out = append(out, m.Backup)
	}
	return out, nil
}

// CheckBackup implements [hypervisor.Host].
func (h *Host) CheckBackup(ctx context.Context, where, uuid, name string) error {
	ctx, cancel := h.bounded(ctx)
	defer cancel()
	uuid = strings.ToLower(uuid)
	p, err := h.openPlace(ctx, where)
	if err != nil {
		return err
	}
	defer p.leave(ctx)
	found, err := p.settled(ctx, uuid)
	if err != nil {
		return err
	}
	_, err = p.check(ctx, found, uuid, name)
	return err
}

// check reads a backup and all that it builds upon.
func (p *place) check(ctx context.Context, found stored, uuid, name string) (manifest, error) {
	doing := fmt.Sprintf("check backup %q of domain %s on %s", name, uuid, p.host.opts.Name)
	if err := found.odd[manifestFile(uuid, name)]; err != nil {
		return manifest{}, fmt.Errorf("%s: %s: %s: %w", doing, path.Join(p.folder, manifestFile(uuid, name)), p.host.said(err), hypervisor.ErrDamaged)
	}
	m, err := findManifest(found.whole(), name)
	if err != nil {
		return m, fmt.Errorf("%s: %w", doing, err)
	}
	if m.Kept {
		return m, p.checkKept(ctx, doing, m)
	}
	line, err := lineage(found.whole(), m)
	if err != nil {
		return m, fmt.Errorf("%s: %w", doing, err)
	}
	for _, one := range line {
		for _, d := range one.Disks {
			if err := p.checkFile(ctx, doing, found.files, d); err != nil {
				return m, err
			}
		}
	}
	return m, nil
}

func (p *place) checkFile(ctx context.Context, doing string, files []string, d hypervisor.BackupDisk) error {
	file := path.Base(d.File)
	damaged := func(why string) error {
		return fmt.Errorf("%s: %s %s: %w", doing, path.Join(p.folder, file), why, hypervisor.ErrDamaged)
	}
	if !slices.Contains(files, file) {
		return damaged("is not there")
	}
	bytes, sum, err := p.sum(ctx, file)
	switch {
	case err != nil:
		return err
	case bytes != d.Bytes:
		return damaged(fmt.Sprintf("has %d bytes instead of %d", bytes, d.Bytes))
	case sum != d.SHA256:
		return damaged("is not what was written: its sum is another one")
	}
	return nil
}

// checkKept: of the files that a domain had nobody knows what they should be.
func (p *place) checkKept(ctx context.Context, doing string, m manifest) error {
	for _, d := range m.Disks {
		there, err := p.host.isThere(ctx, doing, d.File)
		if err != nil {
			return err
		}
		if !there {
			return fmt.Errorf("%s: %s is not there: %w", doing, d.File, hypervisor.ErrDamaged)
		}
	}
	return nil
}

// isThere looks for a file through the pool of its folder.
func (h *Host) isThere(ctx context.Context, doing, file string) (bool, error) {
	p, err := h.openPlace(ctx, path.Dir(file))
	if err != nil {
		return false, err
	}
	defer p.leave(ctx)
	return in(ctx, p, doing, forBackups, func(l *link, pool *lv.StoragePool) (bool, error) {
		if err := l.refresh(pool); err != nil {
			return false, err
		}
		v, err := pool.LookupStorageVolByName(path.Base(file))
		if hasCode(err, lv.ERR_NO_STORAGE_VOL) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		return true, v.Free()
	})
}

// DeleteBackup implements [hypervisor.Host]. The manifest goes last, so that
// what could not be removed is still found.
func (h *Host) DeleteBackup(ctx context.Context, where, uuid, name string) error {
	ctx, cancel := h.bounded(ctx)
	defer cancel()
	uuid = strings.ToLower(uuid)
	doing := fmt.Sprintf("delete backup %q of domain %s", name, uuid)
	p, err := h.openPlace(ctx, where)
	if err != nil {
		return err
	}
	defer p.leave(ctx)
	found, err := p.settled(ctx, uuid)
	if err != nil {
		return err
	}
	refuse := func(err error) error { return fmt.Errorf("%s on %s: %w", doing, h.opts.Name, err) }
	m, err := findManifest(found.whole(), name)
	if err != nil {
		return refuse(err)
	}
	child, err := p.child(ctx, doing, uuid, name, found)
	if err != nil {
		return err
	}
	if child != "" {
		return refuse(fmt.Errorf("%s builds upon it: delete that one first: %w", child, hypervisor.ErrInvalidState))
	}
	if err := h.unused(ctx, doing, found, m); err != nil {
		return err
	}
	for _, d := range m.Disks {
		if found.named(d.File, name) {
			continue // who undoes a restore and restores again has kept it twice
		}
		if err := h.removeFile(ctx, d.File, p, m.Kept); err != nil {
			return err
		}
	}
	return p.remove(ctx, manifestFile(uuid, name))
}

// unused: no file of a backup is in use, by the domain or by what others keep.
func (h *Host) unused(ctx context.Context, doing string, found stored, m manifest) error {
	has, err := h.filesOf(ctx, doing, m.Domain)
	if err != nil {
		return err
	}
	for _, d := range m.Disks {
		if has.used[d.File] {
			return fmt.Errorf("%s on %s: the domain, or a snapshot of it, uses %s: %w", doing, h.opts.Name, d.File, hypervisor.ErrInvalidState)
		}
	}
	if !m.Kept {
		return nil
	}
	others := slices.DeleteFunc(slices.Clone(found.manifests), func(other manifest) bool { return other.Name == m.Name })
	chains, err := h.chains(ctx, doing, has.disks, others)
	if err != nil {
		return err
	}
	for _, d := range m.Disks {
		if whose := upon(d.File, chains); whose != "" {
			return fmt.Errorf("%s on %s: %s is built upon %s: delete that one first: %w", doing, h.opts.Name, whose, d.File, hypervisor.ErrInvalidState)
		}
	}
	return nil
}

// removeFile removes a file of a backup, or one that was kept where it was.
func (h *Host) removeFile(ctx context.Context, file string, p *place, kept bool) error {
	if kept {
		there, err := h.openPlace(ctx, path.Dir(file))
		if err != nil {
			return err
		}
		defer there.leave(ctx)
		if _, err := h.isThere(ctx, "look for "+file, file); err != nil { // has libvirt look into the folder
			return err
		}
		p = there
	}
	return p.remove(ctx, path.Base(file))
}

// usedFiles are those that a domain uses, or would to get a snapshot back; none if
// it does not exist any more.
func (h *Host) usedFiles(ctx context.Context, doing, uuid string) (map[string]bool, error) {
	has, err := h.filesOf(ctx, doing, uuid)
	return has.used, err
}
