package simulated

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"holdfast/internal/hypervisor"
)

// BackupFolder is one that every host has, on storage that all of them see, and
// that none of their pools has.
const BackupFolder = "/srv/backups"

// storage is what is kept of a VM's disk, on storage that all hosts see. The VM's
// lock guards it.
type storage struct {
	backups []*backup       // oldest first
	aside   map[string]disk // disks that the VM had before a restore, by the file it wrote to
	damaged map[string]bool // files of backups that are not what was written
	since   tracking
	layers  int                 // that reverts and restores have made
	chains  map[string][]string // what each file is built upon, itself first; see layOut
}

// backup is one in a folder.
type backup struct {
	hypervisor.Backup
	folder string
	holds  content // of one that was made
	// Of one that was kept: for which restore, and the file that this made.
	restored, by string
}

// disk is one that no domain uses.
type disk struct {
	content
	chain []string
}

// tracking is since which backup a host knows what has changed on the disk.
type tracking struct {
	host, folder, name string
	lost               string // why no host does any more; empty if there never was one
}

// fullBytes and partBytes are the lengths of the files of a full backup and of
// one that builds upon another.
const fullBytes, partBytes = firstAllocated, 1 << 20

// leastFree is what a backup leaves of a pool, in bytes.
const leastFree = 1 << 30

var backupName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

// Backups implements [hypervisor.Host].
func (h *host) Backups(ctx context.Context, where, uuid string) ([]hypervisor.Backup, error) {
	return inPlace(ctx, h, where, uuid, "list the backups", func(v *vm, folder string) ([]hypervisor.Backup, error) {
		var out []hypervisor.Backup
		for _, b := range v.stored.backups {
			if b.folder == folder {
				out = append(out, b.described())
			}
		}
		return out, nil
	})
}

func (b *backup) described() hypervisor.Backup {
	out := b.Backup
	out.Disks = slices.Clone(b.Disks)
	return out
}

// CheckBackup implements [hypervisor.Host].
func (h *host) CheckBackup(ctx context.Context, where, uuid, name string) error {
	what := fmt.Sprintf("check backup %q", name)
	_, err := inPlace(ctx, h, where, uuid, what, func(v *vm, folder string) (struct{}, error) {
		return struct{}{}, v.stored.check(folder, name)
	})
	return err
}

// inPlace is a call about what is in a place for backups, of a VM that the host
// need not know. The VM's lock is held meanwhile.
func inPlace[T any](ctx context.Context, h *host, where, uuid, what string, serve func(v *vm, folder string) (T, error)) (T, error) {
	return call(ctx, h, func(done func(T, error)) {
		var out T
		folder, err := h.m.place(where)
		if v, ok := h.m.vms[uuid]; err == nil {
			if !ok {
				v = &vm{} // nobody has ever made a backup of it
			}
			v.mu.Lock()
			out, err = serve(v, folder)
			v.mu.Unlock()
		}
		if err != nil {
			err = fmt.Errorf("%s of domain %s on %s in %s: %w", what, uuid, h.m.name, where, err)
		}
		done(out, err)
	})
}

// place is the folder that a pool has, or is.
func (m *machine) place(where string) (string, error) {
	folder := path.Clean(where)
	switch {
	case where == PoolName:
		folder = poolTarget
	case !path.IsAbs(where):
		return "", fmt.Errorf("a simulated host has only the pool %s: %w", PoolName, hypervisor.ErrNoPool)
	case folder != poolTarget && folder != BackupFolder:
		return "", fmt.Errorf("a simulated host has no such folder: take %s: %w", BackupFolder, hypervisor.ErrNoPool)
	}
	if folder == poolTarget && (m.pool.stopped || m.pool.lost) {
		return "", fmt.Errorf("the pool %s does not run: %w", PoolName, hypervisor.ErrNoPool)
	}
	return folder, nil
}

// CreateBackup implements [hypervisor.Host].
func (h *host) CreateBackup(ctx context.Context, uuid string, o hypervisor.BackupOptions) (hypervisor.Backup, error) {
	if !backupName.MatchString(o.Name) {
		return hypervisor.Backup{}, fmt.Errorf("back up domain %s on %s: %q cannot be the name of a backup", uuid, h.m.name, o.Name)
	}
	return about(ctx, h, uuid, func(d *domain, done func(hypervisor.Backup, error)) {
		d.monitor(func() {
			b, err := d.createBackup(o)
			if err != nil {
				done(hypervisor.Backup{}, fmt.Errorf("make backup %q of %s on %s: %w", o.Name, d.vm.name, h.m.name, err))
				return
			}
			done(b.described(), nil)
		})
	})
}

func (d *domain) createBackup(o hypervisor.BackupOptions) (*backup, error) {
	folder, err := d.on.place(o.Where)
	if err != nil {
		return nil, err
	}
	active := d.state.Active()
	if o.Quiesce && active {
		if err := d.agentSilent(); err != nil {
			return nil, fmt.Errorf("its file systems were not frozen: %w: %w", err, hypervisor.ErrNoAgent)
		}
	}
	d.vm.mu.Lock()
	taken := d.vm.stored.find(folder, o.Name) != nil
	parent, why := d.vm.stored.parent(d.on.name, folder, active, o.Full)
	d.vm.mu.Unlock()
	if taken {
		return nil, fmt.Errorf("there is one of that name: %w", hypervisor.ErrExists)
	}
	if d.vm.takeFailure(&d.vm.failBackups) || !d.hasRoom(folder) {
		return nil, fmt.Errorf("no space left on device: %w", hypervisor.ErrNoResource)
	}
	if lacks := d.on.pool.lacks(d.vm.allocation.Load(), parent == ""); lacks > 0 && folder == poolTarget {
		return nil, fmt.Errorf("%d MiB are lacking: %w", lacks>>20, hypervisor.ErrNoResource)
	}
	d.vm.mu.Lock()
	defer d.vm.mu.Unlock()
	s := &d.vm.stored
	b := &backup{folder: folder, holds: d.vm.disk, Backup: hypervisor.Backup{
		Name: o.Name, Description: o.Description, Created: time.Now().Truncate(time.Millisecond), Quiesced: o.Quiesce && active,
	}}
	b.Parent, b.Why = parent, why
	file, bytes := fmt.Sprintf("%s/%s.%s.%s.qcow2", folder, d.vm.name, o.Name, diskTarget), uint64(fullBytes)
	if b.Parent != "" {
		bytes = partBytes
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %+v", file, b.holds))
	b.Disks = []hypervisor.BackupDisk{{Target: diskTarget, File: file, Format: "qcow2", Bytes: bytes, SHA256: hex.EncodeToString(sum[:])}}
	s.backups = append(s.backups, b)
	s.since = tracking{host: d.on.name, folder: folder, name: o.Name}
	if !active {
		s.since = tracking{lost: "the domain was not active at the last one, so that no host knows what has changed since"}
	}
	return b, nil
}

// hasRoom: a disk that fails for want of space is in the pool.
func (d *domain) hasRoom(folder string) bool {
	full := d.on.pool.used >= 100 || d.badDisk != nil && d.badDisk.NoSpace
	return folder != poolTarget || !full
}

// lacks is how many bytes a backup of a disk that takes so many would leave too few.
func (p *pool) lacks(bytes uint64, full bool) uint64 {
	need, free := uint64(leastFree), uint64(poolBytes*(1-p.used/100))
	if full {
		need += bytes
	}
	return max(need, free) - free
}

// parent is the backup that the next one builds upon; if that is none, it says why.
func (s *storage) parent(host, folder string, active, full bool) (parent, why string) {
	first := !slices.ContainsFunc(s.backups, func(b *backup) bool { return b.folder == folder && !b.Kept })
	switch {
	case first:
		return "", ""
	case full:
		return "", "it was asked for"
	case !active:
		return "", "the domain is not active, so that its host does not know what has changed"
	case s.since.lost != "":
		return "", s.since.lost
	case s.since.host != host:
		return "", "the last one was made by host " + s.since.host
	case s.since.folder != folder:
		return "", "the last one is in " + s.since.folder
	}
	return s.since.name, ""
}

// forgetChanges: no host knows any more what has changed since the last backup.
func (v *vm) forgetChanges(why string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.stored.since.host != "" {
		v.stored.since = tracking{lost: why}
	}
}

func (s *storage) find(folder, name string) *backup {
	i := slices.IndexFunc(s.backups, func(b *backup) bool { return b.folder == folder && b.Name == name })
	if i < 0 {
		return nil
	}
	return s.backups[i]
}

// check looks at the files of a backup and of those that it builds upon.
func (s *storage) check(folder, name string) error {
	b := s.find(folder, name)
	if b == nil {
		return hypervisor.ErrNoBackup
	}
	for ; b != nil; b = s.find(folder, b.Parent) {
		for _, d := range b.Disks {
			if s.damaged[d.File] {
				return fmt.Errorf("the sum of %s is not that of what was written: %w", d.File, hypervisor.ErrDamaged)
			}
		}
	}
	return nil
}

// FailBackups makes the next n backups of the VM fail, for want of room; a
// negative n is all of them, 0 none.
func (c *Cluster) FailBackups(nameOrUUID string, n int) error {
	return c.ofVM(nameOrUUID, func(v *vm) { v.failBackups = n })
}

// FailRestores makes the next n restores of the VM from a backup fail, for want of
// room; a negative n is all of them, 0 none.
func (c *Cluster) FailRestores(nameOrUUID string, n int) error {
	return c.ofVM(nameOrUUID, func(v *vm) { v.failRestores = n })
}

// DamageBackups damages the files of all backups that the VM has now, but not of
// those that were kept by a restore: nobody knows what these should be.
func (c *Cluster) DamageBackups(nameOrUUID string) error {
	return c.ofVM(nameOrUUID, func(v *vm) {
		for _, b := range v.stored.backups {
			if !b.Kept {
				v.stored.damage(b.Disks[0].File)
			}
		}
	})
}

// DamageFile damages one: of a backup, or of a disk that the VM had before a restore.
// What is in use has [Cluster.CorruptDisk].
func (c *Cluster) DamageFile(nameOrUUID, file string) error {
	found := false
	err := c.ofVM(nameOrUUID, func(v *vm) {
		for _, b := range v.stored.backups {
			if !b.Kept && b.Disks[0].File == file {
				found = true
				v.stored.damage(file)
			}
		}
		if kept, ok := v.stored.aside[file]; ok {
			found = true
			kept.corrupt = true
			v.stored.aside[file] = kept
		}
	})
	if err == nil && !found {
		err = fmt.Errorf("no backup of %s has a file %s: it may be in use, or removed", nameOrUUID, strings.TrimSpace(file))
	}
	return err
}

func (s *storage) damage(file string) {
	if s.damaged == nil {
		s.damaged = make(map[string]bool)
	}
	s.damaged[file] = true
}
