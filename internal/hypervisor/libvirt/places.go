//go:build cgo

package libvirt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	lv "libvirt.org/go/libvirt"

	"holdfast/internal/hypervisor"
)

// ourPools is how the storage pools begin that are made for a folder which has
// none, and removed after use.
const ourPools = "holdfast-"

// mostPoolTries is how often a step is tried anew because somebody who was done
// with the same folder has removed its pool under us.
const mostPoolTries = 10

// place is a folder of a host, and the storage pool through which it is reached: one for
// backups, or with files of a domain.
type place struct {
	host   *Host
	folder string
	pool   string // name
	ours   bool   // to be removed when nobody uses it any more
}

// backing is call in the lane of backups.
func backing[T any](ctx context.Context, h *Host, doing string, do func(*link) (T, error)) (T, error) {
	apart := func(s *session) (lane, error) { return s.backups, nil }
	return callIn(ctx, h, doing, apart, do)
}

// openPlace finds where backups are: a pool by its name, or a folder. The caller
// leaves it. Who looks for a folder that has no pool makes one for the time.
func (h *Host) openPlace(ctx context.Context, where string) (*place, error) {
	if !strings.HasPrefix(where, "/") {
		return backing(ctx, h, fmt.Sprintf("look at storage pool %q", where), func(l *link) (*place, error) {
			pool, err := l.conn.LookupStoragePoolByName(where)
			if hasCode(err, lv.ERR_NO_STORAGE_POOL) {
				return nil, fmt.Errorf("the host has none of that name (virsh pool-list --all): name another, or a folder: %w", hypervisor.ErrNoPool)
			}
			if err != nil {
				return nil, err
			}
			defer pool.Free() //nolint:errcheck // the reference is gone whatever it says
			p, err := l.placeOf(pool)
			if err == nil {
				p.ours = false // whoever named it takes care of it
			}
			return p, err
		})
	}
	folder := path.Clean(where)
	h.useFolder(folder, 1)
	p, err := backing(ctx, h, fmt.Sprintf("look at the folder %s", folder), func(l *link) (*place, error) {
		return l.reachFolder(folder)
	})
	if err != nil {
		(&place{host: h, folder: folder, ours: true}).leave(ctx)
		return nil, err
	}
	if !p.ours {
		h.useFolder(folder, -1)
	}
	return p, nil
}

// useFolder counts who uses a folder through a pool of ours, and returns how many
// there are.
func (h *Host) useFolder(folder string, more int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.folders[folder] += more
	n := h.folders[folder]
	if n == 0 {
		delete(h.folders, folder)
	}
	return n
}

// reachFolder finds the pool of a folder, or makes one. It does not make the
// folder: that of a file system which is not mounted would be the wrong one.
func (l *link) reachFolder(folder string) (*place, error) {
	for range mostPoolTries {
		pool, err := l.conn.LookupStoragePoolByTargetPath(folder)
		if hasCode(err, lv.ERR_NO_STORAGE_POOL) && ofKernel(folder) {
			return nil, fmt.Errorf("the folder %s has devices in it, and no files: %w", folder, hypervisor.ErrNoPool)
		}
		if hasCode(err, lv.ERR_NO_STORAGE_POOL) {
			pool, err = l.makePool(folder)
			if hasCode(err, lv.ERR_OPERATION_FAILED) || hasCode(err, lv.ERR_STORAGE_POOL_BUILT) {
				if stopped := l.stoppedPool(folder); stopped != "" {
					return nil, fmt.Errorf("the storage pool of the folder %s, %s, does not run: start it (virsh pool-start %s): %w", folder, stopped, stopped, hypervisor.ErrNoPool)
				}
				continue // somebody else has made one meanwhile
			}
			if err != nil && l.alive() {
				return nil, fmt.Errorf("the folder %s cannot be used: %s: make it, or mount what it is on: %w", folder, l.host.said(err), hypervisor.ErrNoPool)
			}
		}
		if err != nil {
			return nil, err
		}
		p, err := l.placeOf(pool)
		_ = pool.Free()
		if hasCode(err, lv.ERR_NO_STORAGE_POOL) {
			continue // somebody else was done with it
		}
		return p, err
	}
	return nil, fmt.Errorf("its storage pool comes and goes: %w", hypervisor.ErrNoPool)
}

// ofKernel: a file or folder there is no storage. libvirt opens all that is in the
// folder of a pool, and who opens a watchdog has the machine rebooted.
func ofKernel(file string) bool {
	return slices.ContainsFunc([]string{"/dev/", "/proc/", "/sys/"}, func(top string) bool { return strings.HasPrefix(file+"/", top) })
}

func (l *link) makePool(folder string) (*lv.StoragePool, error) {
	text, err := xml.Marshal(struct {
		XMLName xml.Name `xml:"pool"`
		Type    string   `xml:"type,attr"`
		Name    string   `xml:"name"`
		Path    string   `xml:"target>path"`
	}{Type: "dir", Name: poolFor(folder), Path: folder})
	if err != nil {
		return nil, err
	}
	return l.conn.StoragePoolCreateXML(string(text), 0)
}

// poolFor is the name of our pool for a folder.
func poolFor(folder string) string {
	sum := sha256.Sum256([]byte(folder))
	return ourPools + hex.EncodeToString(sum[:6])
}

// stoppedPool is the name of the pool that has the folder and does not run.
func (l *link) stoppedPool(folder string) string {
	list, err := l.conn.ListAllStoragePools(lv.CONNECT_LIST_STORAGE_POOLS_INACTIVE)
	if err != nil {
		return ""
	}
	found := ""
	for i := range list {
		var def poolDefinition
		text, err := list[i].GetXMLDesc(0)
		if err == nil && xml.Unmarshal([]byte(text), &def) == nil && def.Target == folder {
			found, _ = list[i].GetName()
		}
		_ = list[i].Free()
	}
	return found
}

// placeOf says what a pool is, if it is one for files and runs.
func (l *link) placeOf(pool *lv.StoragePool) (*place, error) {
	name, err := pool.GetName()
	if err != nil {
		return nil, err
	}
	text, err := pool.GetXMLDesc(0)
	if err != nil {
		return nil, err
	}
	var def poolDefinition
	if err := xml.Unmarshal([]byte(text), &def); err != nil {
		return nil, errors.New("the description of the storage pool cannot be read")
	}
	if !slices.Contains([]string{"dir", "fs", "netfs"}, def.Type) {
		return nil, fmt.Errorf("storage pool %s is of type %s, and backups are files: name one of type dir, fs or netfs: %w", name, def.Type, hypervisor.ErrNoPool)
	}
	if err := running(pool, name); err != nil {
		return nil, err
	}
	persistent, err := pool.IsPersistent()
	if err != nil {
		return nil, err
	}
	return &place{host: l.host, folder: def.Target, pool: name, ours: !persistent && name == poolFor(def.Target)}, nil
}

func running(pool *lv.StoragePool, name string) error {
	active, err := pool.IsActive()
	if err == nil && !active {
		err = fmt.Errorf("storage pool %s does not run: start it (virsh pool-start %s): %w", name, name, hypervisor.ErrNoPool)
	}
	return err
}

// leave gives the place back, and removes its pool if it is ours and nobody else
// of this process uses it. Who of another process does makes it anew.
func (p *place) leave(ctx context.Context) {
	if !p.ours || p.host.useFolder(p.folder, -1) > 0 {
		return
	}
	p.host.aside(ctx, func(ctx context.Context) {
		pause := newPause()
		for try := 1; ; try++ {
			err := p.removePool(ctx)
			if err == nil {
				return
			}
			// As long as somebody of another process has a volume made there it cannot be
			// removed, and who does will do that.
			if try == mostPoolTries || pause(ctx) != nil || errors.Is(err, hypervisor.ErrUnreachable) || errors.Is(err, hypervisor.ErrClosed) {
				p.host.log.Warn("a storage pool that was made for a while is still there; the next backup there removes it", "pool", poolFor(p.folder), "error", err)
				return
			}
		}
	})
}

// removePool removes our pool of a folder, unless it is in use again.
func (p *place) removePool(ctx context.Context) error {
	_, err := backing(ctx, p.host, "remove the storage pool of "+p.folder, func(l *link) (struct{}, error) {
		pool, err := l.conn.LookupStoragePoolByName(poolFor(p.folder))
		if hasCode(err, lv.ERR_NO_STORAGE_POOL) {
			return struct{}{}, nil
		}
		if err != nil {
			return struct{}{}, err
		}
		defer pool.Free() //nolint:errcheck // the reference is gone whatever it says
		if p.host.useFolder(p.folder, 0) > 0 {
			return struct{}{}, nil
		}
		if err := pool.Destroy(); err != nil && !hasCode(err, lv.ERR_NO_STORAGE_POOL) {
			return struct{}{}, err
		}
		return struct{}{}, nil
	})
	return err
}

// aside does what has to be done even if the caller's time is over: then on a
// goroutine of its own, which ends with the Host, or after CallTimeout.
func (h *Host) aside(ctx context.Context, do func(context.Context)) {
	if ctx.Err() == nil {
		do(ctx)
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(h.ctx, h.opts.CallTimeout)
		defer cancel()
		do(ctx)
	}()
}

// in runs do with the pool of a place. If the pool is ours, and somebody of
// another process has removed it meanwhile, it is made anew.
func in[T any](ctx context.Context, p *place, doing string, choose func(*session) (lane, error), do func(*link, *lv.StoragePool) (T, error)) (T, error) {
	return callIn(ctx, p.host, doing, choose, func(l *link) (T, error) {
		var none T
		for try := 1; ; try++ {
			pool, err := l.poolAt(p)
			if err != nil {
				return none, err
			}
			out, err := do(l, pool)
			if err == nil {
				_ = pool.Free()
				return out, nil
			}
			gone := running(pool, p.pool)
			_ = pool.Free()
			switch {
			case !l.alive() || gone == nil:
				return none, err
			case !p.ours:
				return none, fmt.Errorf("%w: %s", gone, l.host.said(err))
			case try == mostPoolTries:
				return none, err
			}
		}
	})
}

func (l *link) poolAt(p *place) (*lv.StoragePool, error) {
	for range mostPoolTries {
		pool, err := l.conn.LookupStoragePoolByName(p.pool)
		if !hasCode(err, lv.ERR_NO_STORAGE_POOL) {
			return pool, err
		}
		if !p.ours {
			return nil, fmt.Errorf("storage pool %s is not there any more: %w", p.pool, hypervisor.ErrNoPool)
		}
		if _, err := l.reachFolder(p.folder); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("the storage pool of %s comes and goes: %w", p.folder, hypervisor.ErrNoPool)
}

func forBackups(s *session) (lane, error) { return s.backups, nil }
func forCopies(s *session) (lane, error)  { return s.copies, nil }

// refresh has libvirt look what is in the folder: others may have written there,
// beside this pool. It may be refused while libvirt makes a volume in it, which
// is no reason to give up. One that failed has stopped the pool.
func (l *link) refresh(pool *lv.StoragePool) error {
	_, err := l.refreshed(pool)
	return err
}

// refreshed is refresh that says whether libvirt has looked.
func (l *link) refreshed(pool *lv.StoragePool) (looked bool, err error) {
	failed := pool.Refresh(0)
	if failed == nil {
		return true, nil
	}
	active, err := pool.IsActive()
	if err != nil {
		return false, err
	}
	if active {
		return false, nil
	}
	if uuid, err := pool.GetUUIDString(); err == nil {
		l.host.noteStopped(uuid, true)
	}
	return false, fmt.Errorf("its folder cannot be read, and libvirt has stopped the storage pool: %s: mount what is not mounted, and start it (virsh pool-start): %w", l.host.said(failed), hypervisor.ErrNoPool)
}

// filesIn lists the files of a domain, by name.
func filesIn(pool *lv.StoragePool, uuid string) ([]string, error) {
	volumes, err := pool.ListAllStorageVolumes(0)
	if err != nil {
		return nil, err
	}
	var out []string
	for i := range volumes {
		name, nerr := volumes[i].GetName()
		if nerr == nil && strings.HasPrefix(name, uuid+".") {
			out = append(out, name)
		}
		_ = volumes[i].Free()
	}
	slices.Sort(out)
	return out, nil
}

// warmUpBackups is the part of warmUp that is used here.
func warmUpBackups(conn *lv.Connect, dom *lv.Domain, pool *lv.StoragePool) {
	vol, point, stream := &lv.StorageVol{}, &lv.DomainCheckpoint{}, &lv.Stream{}
	_, _ = conn.LookupStoragePoolByName("")
	_, _ = conn.StoragePoolCreateXML("", 0)
	_, _ = pool.IsPersistent()
	_ = pool.Destroy()
	_, _ = pool.ListAllStorageVolumes(0)
	_, _ = pool.LookupStorageVolByName("")
	_, _ = pool.StorageVolCreateXMLFrom("", vol, 0)
	_, _ = vol.GetName()
	_, _ = vol.GetInfo()
	_, _ = vol.GetXMLDesc(0)
	_ = vol.Download(stream, 0, 0, 0)
	_ = vol.Upload(stream, 0, 0, 0)
	_, _ = stream.Send([]byte{0})
	_ = dom.BackupBegin("", "", 0)
	_, _ = dom.BackupGetXMLDesc(0)
	_ = dom.AbortJob()
	_ = dom.FSFreeze(nil, 0)
	_, _ = dom.ListAllCheckpoints(0)
	_, _ = dom.CheckpointLookupByName("", 0)
	_, _ = point.GetXMLDesc(0)
	_ = point.Delete(0)
	_ = point.Free()
}
