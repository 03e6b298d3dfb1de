//go:build cgo

package libvirt

import (
	"context"
	"fmt"

	lv "libvirt.org/go/libvirt"

	"holdfast/internal/hypervisor"
)

// hasRoom looks before anything is copied: a backup that fills a pool stops the
// domains that run from it. What an incremental one will take nobody can tell.
func (r *backupRun) hasRoom(ctx context.Context, doing string, full bool) error {
	var need uint64
	if full {
		var err error
		if need, err = r.allocated(ctx, doing); err != nil {
			return err
		}
	}
	_, err := in(ctx, r.place, doing+": see what room there is in "+r.folder, forBackups, func(l *link, pool *lv.StoragePool) (struct{}, error) {
		if err := l.refresh(pool); err != nil {
			return struct{}{}, err
		}
		info, err := pool.GetInfo()
		if err != nil {
			return struct{}{}, err
		}
		return struct{}{}, lacking(need, info.Capacity, info.Available)
	})
	return err
}

// lacking is the error for a pool that has not room for that many bytes and as
// much beside as a trial leaves to those who run from it; nil if it has.
func lacking(need, capacity, available uint64) error {
	spare := min(uint64(leastRoom), capacity/leastShare)
	if need+spare <= available {
		return nil
	}
	const mib = 1 << 20
	return fmt.Errorf("%d MiB are lacking: its disks take %d MiB, %d MiB have to stay free for the others who use the storage pool, and it has %d MiB: make room, or name another one: %w",
		(need+spare-available+mib-1)/mib, need/mib, spare/mib, available/mib, hypervisor.ErrNoResource)
}

// allocated is how many bytes the disks take that are to be copied.
func (r *backupRun) allocated(ctx context.Context, doing string) (total uint64, err error) {
	if r.subject.active {
		return onDomain(ctx, r.host, doing, r.uuid, func(l *link, d *lv.Domain) (uint64, error) {
			return l.allocated(d, r.subject)
		})
	}
	for _, d := range r.subject.disks {
		_, bytes, err := r.host.chainOf(ctx, doing, d.Source.File, d.Driver.Type)
		if err != nil {
			return 0, err
		}
		total += bytes
	}
	return total, nil
}

// allocated asks the domain for what it writes to, and the pools for what is below.
func (l *link) allocated(d *lv.Domain, s subject) (total uint64, err error) {
	for _, disk := range s.disks {
		info, err := d.GetBlockInfo(disk.Target.Dev, 0)
		if err != nil {
			return 0, judge(d, err, inactive)
		}
		bytes := info.Allocation
		for _, file := range disk.chain()[1:] {
			v, err := l.conn.LookupStorageVolByPath(file)
			if hasCode(err, lv.ERR_NO_STORAGE_VOL) {
				continue // no pool has it, so that libvirt does not say
			}
			if err != nil {
				return 0, err
			}
			below, err := v.GetInfo()
			_ = v.Free()
			if err != nil {
				return 0, err
			}
			bytes += below.Allocation
		}
		total += min(bytes, info.Capacity)
	}
	return total, nil
}
