//go:build cgo

package libvirt

import (
	"cmp"
	"context"
	"fmt"
	"path"

	lv "libvirt.org/go/libvirt"

	"holdfast/internal/hypervisor"
)

// copyIdle copies a disk of a domain that is not active, by qemu-img: libvirt
// follows the chain of its files, and makes a flat one. While it reads, QEMU's
// lock on the file keeps the domain from being started upon it.
func (r *backupRun) copyIdle(ctx context.Context, doing string, d imageElement) error {
	file := d.Source.File
	source, err := r.host.openPlace(ctx, path.Dir(file))
	if err != nil {
		return err
	}
	defer source.leave(ctx)
	target := r.files[d.Target.Dev]
	text, err := volumeXML(path.Base(target), "qcow2", 0, "", nil)
	if err != nil {
		return err
	}
	_, err = in(ctx, r.place, doing+": copy "+file, forCopies, func(l *link, pool *lv.StoragePool) (struct{}, error) {
		v, err := l.sourceVolume(source, d)
		if err != nil {
			return struct{}{}, err
		}
		defer v.Free() //nolint:errcheck // the reference is gone whatever it says
		return struct{}{}, l.copyVolume(pool, text, v)
	})
	return err
}

// copyVolume has libvirt make a volume from another one.
func (l *link) copyVolume(pool *lv.StoragePool, text string, from *lv.StorageVol) error {
	v, err := pool.StorageVolCreateXMLFrom(text, from, 0)
	if err != nil {
		return l.refused(err)
	}
	return v.Free()
}

// sourceVolume finds the volume of a disk. libvirt takes its format from what it
// finds in the file, which for a raw one is what the guest has written there: it
// must be the definition's.
func (l *link) sourceVolume(p *place, d imageElement) (*lv.StorageVol, error) {
	pool, err := l.poolAt(p)
	if err != nil {
		return nil, err
	}
	defer pool.Free() //nolint:errcheck // the reference is gone whatever it says
	if err := l.refresh(pool); err != nil {
		return nil, err
	}
	v, err := pool.LookupStorageVolByName(path.Base(d.Source.File))
	if err != nil {
		return nil, err
	}
	text, err := v.GetXMLDesc(0)
	if err != nil {
		_ = v.Free()
		return nil, err
	}
	found, err := parseVolume(text)
	want := cmp.Or(d.Driver.Type, "raw")
	alike := found.Format.Type == want || want == "raw" && found.Format.Type == "iso" // libvirt reads that as raw
	if err == nil && !alike {
		err = fmt.Errorf("disk %s is of format %s by the definition, and libvirt takes what is in it for %s: start the domain, and back it up then: %w",
			d.Target.Dev, want, found.Format.Type, hypervisor.ErrInvalidState)
	}
	if err != nil {
		_ = v.Free()
		return nil, err
	}
	return v, nil
}

// stillIdle: what was copied while the domain was being written to is worth
// nothing.
func (r *backupRun) stillIdle(ctx context.Context, doing string) error {
	_, err := onDomain(ctx, r.host, doing, r.uuid, func(_ *link, d *lv.Domain) (struct{}, error) {
		active, err := d.IsActive()
		if err == nil && active {
			err = fmt.Errorf("it was started while it was copied: try again: %w", hypervisor.ErrInvalidState)
		}
		return struct{}{}, err
	})
	return err
}
