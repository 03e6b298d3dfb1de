//go:build cgo

package libvirt

import (
	"context"
	"encoding/xml"
	"errors"
	"slices"

	lv "libvirt.org/go/libvirt"

	"holdfast/internal/hypervisor"
)

// Pools implements [hypervisor.Host].
//
// libvirt reads a pool's figures anew only if it is asked to refresh it, and
// keeps the pool locked meanwhile. If its storage does not answer, the refresh
// hangs, and with it every later listing of pools: so one listing at a time is
// under way on a host, in a lane that nothing else needs.
//
// A refresh that fails stops the pool. It is then reported as inactive, with
// the error; a domain that runs from a folder does not notice. What our look has
// stopped is started again by a later one, as soon as that works: to look must
// not do harm that stays.
func (h *Host) Pools(ctx context.Context) ([]hypervisor.Pool, error) {
	apart := func(s *session) (lane, error) { return s.pools, nil }
	return callIn(ctx, h, "list storage pools", apart, func(l *link) ([]hypervisor.Pool, error) {
		list, err := l.conn.ListAllStoragePools(0)
		if hasCode(err, lv.ERR_NO_SUPPORT) {
			return nil, nil // a host without the storage driver has none
		}
		if err != nil {
			return nil, err
		}
		defer func() {
			for i := range list {
				_ = list[i].Free()
			}
		}()
		pools := make([]hypervisor.Pool, 0, len(list))
		for i := range list {
			p, err := l.pool(&list[i])
			if errors.Is(err, errPoolGone) {
				continue
			}
			if err != nil {
				return nil, err
			}
			pools = append(pools, p)
		}
		return pools, nil
	})
}

var errPoolGone = errors.New("the pool was undefined meanwhile")

// pool describes one. What is wrong with it alone goes into its Error; the
// error is of the connection, or says that there is no such pool any more.
func (l *link) pool(p *lv.StoragePool) (out hypervisor.Pool, err error) {
	if out.Name, err = p.GetName(); err != nil {
		return out, err
	}
	if out.UUID, err = p.GetUUIDString(); err != nil {
		return out, err
	}
	out.State = hypervisor.PoolInactive
	if err := l.readPool(p, &out); err != nil {
		switch {
		case hasCode(err, lv.ERR_NO_STORAGE_POOL):
			return out, errPoolGone
		case !l.alive():
			return out, err
		}
		out.Error = l.host.addr.clean(err.Error())
	}
	return out, nil
}

func (l *link) readPool(p *lv.StoragePool, out *hypervisor.Pool) (err error) {
	if out.Autostart, err = p.GetAutostart(); err != nil {
		return err
	}
	text, err := p.GetXMLDesc(0)
	if err != nil {
		return err
	}
	var def poolDefinition
	if err := xml.Unmarshal([]byte(text), &def); err != nil {
		return err
	}
	out.Target = def.Target
	active, err := p.IsActive()
	if err != nil {
		return err
	}
	var failed error
	switch {
	case !active && l.host.hasStopped(out.UUID):
		if failed = p.Create(0); failed == nil {
			l.host.noteStopped(out.UUID, false)
		}
	case active && def.refreshable():
		failed = p.Refresh(0)
		l.host.noteStopped(out.UUID, failed != nil)
	}
	info, err := p.GetInfo() // of one whose refresh failed, too: it may have been stopped
	if err != nil {
		return errors.Join(failed, err)
	}
	if word, known := poolWords[info.State]; known {
		out.State = word
	}
	if out.State == hypervisor.PoolRunning || out.State == hypervisor.PoolDegraded {
		out.Capacity, out.Available = info.Capacity, info.Available
	}
	return failed
}

func (h *Host) hasStopped(pool string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stopped[pool]
}

// noteStopped notes that a failed refresh may have stopped a pool, or that it is
// active again.
func (h *Host) noteStopped(pool string, stopped bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if stopped {
		h.stopped[pool] = true
		return
	}
	delete(h.stopped, pool)
}

type poolDefinition struct {
	Type   string `xml:"type,attr"`
	Target string `xml:"target>path"`
}

// refreshable: a refresh that fails ends with what `virsh pool-destroy` does,
// and to look must not do harm. For these that is to log out of the target, to
// remove the virtual adapter, to switch off every volume that is not open. Their
// figures change only when somebody makes or removes a volume, and libvirt knows
// of those that were made with it. A file system is unmounted, unless something
// is open on it.
func (d poolDefinition) refreshable() bool {
	return !slices.Contains([]string{"iscsi", "scsi", "logical"}, d.Type)
}
