//go:build cgo

package libvirt

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
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

// A checkpoint is libvirt's name for a moment since which QEMU remembers what has
// changed, by a bitmap in each of the domain's qcow2 files. Every bitmap makes
// each write dearer, so that only the newest of a place is kept, and of few places.
const (
	ourCheckpoints = "holdfast-"
	mostPlaces     = 3
)

// checkpointFor is the name of the checkpoint that a backup makes.
func checkpointFor(folder, attempt string) string { return checkpointsOf(folder) + attempt }

// checkpointsOf is how the names of those begin that are of backups in a folder.
func checkpointsOf(folder string) string {
	sum := sha256.Sum256([]byte(folder))
	return ourCheckpoints + hex.EncodeToString(sum[:4]) + "-"
}

// superfluous are the checkpoints of ours that no backup needs any more once
// there is the newest, which is of that folder. Those of other programs stay.
func superfluous(all []checkpointDocument, folder, newest string) []string {
	var out []string
	elsewhere := map[string]checkpointDocument{} // the newest of each other place
	sorted := slices.SortedFunc(slices.Values(all), func(a, b checkpointDocument) int { return cmp.Compare(a.Created, b.Created) })
	for _, c := range sorted {
		switch i := strings.LastIndex(c.Name, "-"); {
		case !strings.HasPrefix(c.Name, ourCheckpoints) || c.Name == newest || i < len(ourCheckpoints):
		case strings.HasPrefix(c.Name, checkpointsOf(folder)):
			out = append(out, c.Name)
		default:
			if older, ok := elsewhere[c.Name[:i]]; ok {
				out = append(out, older.Name)
			}
			elsewhere[c.Name[:i]] = c
		}
	}
	for _, c := range sorted {
		if len(elsewhere) < mostPlaces {
			break
		}
		if i := strings.LastIndex(c.Name, "-"); i > 0 && elsewhere[c.Name[:i]].Name == c.Name {
			delete(elsewhere, c.Name[:i])
			out = append(out, c.Name)
		}
	}
	return out
}

// checkpoints lists those of a domain.
func checkpoints(d *lv.Domain) ([]checkpointDocument, error) {
	list, err := d.ListAllCheckpoints(0)
	if hasCode(err, lv.ERR_NO_SUPPORT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []checkpointDocument
	for i := range list {
		text, gerr := list[i].GetXMLDesc(lv.DOMAIN_CHECKPOINT_XML_NO_DOMAIN)
		_ = list[i].Free()
		var c checkpointDocument
		switch {
		case hasCode(gerr, lv.ERR_NO_DOMAIN_CHECKPOINT):
			continue
		case gerr != nil:
			err = gerr
		case xml.Unmarshal([]byte(text), &c) != nil:
			err = errors.New("the description of a checkpoint cannot be read")
		}
		out = append(out, c)
	}
	return out, err
}

// forgetCheckpoint deletes one. libvirt refuses to if a bitmap of it is not there,
// as after a QEMU was killed: then there is nothing to delete but what libvirt
// knows of it.
func forgetCheckpoint(d *lv.Domain, name string) error {
	return deleteCheckpoint(d, name, 0, lv.DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY)
}

// deleteCheckpoint tries one way after the other. One that is gone is no error.
func deleteCheckpoint(d *lv.Domain, name string, ways ...lv.DomainCheckpointDeleteFlags) error {
	c, err := d.CheckpointLookupByName(name, 0)
	if hasCode(err, lv.ERR_NO_DOMAIN_CHECKPOINT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer c.Free() //nolint:errcheck // the reference is gone whatever it says
	for _, way := range ways {
		if err = c.Delete(way); err == nil {
			return nil
		}
	}
	return err
}

// forgetChanges makes a domain that is not active forget what has changed since
// its backups: neither QEMU nor qemu-img reverts an image with a bitmap in it to
// an internal snapshot ("Device has active dirty bitmaps"). files are its qcow2
// images.
//
// libvirt deletes the bitmaps of a running domain only. So they are made void as
// the qcow2 specification says that a program does which knows nothing of bitmaps:
// bit 0 of the header's autoclear features is cleared. QEMU then drops them at the
// next start; a few of their clusters stay behind without use.
func (l *link) forgetChanges(ctx context.Context, d *lv.Domain, files []string) error {
	all, err := checkpoints(d)
	if err != nil {
		return err
	}
	for _, c := range all {
		if err := forgetCheckpoint(d, c.Name); err != nil {
			return err
		}
	}
	for _, file := range files {
		if err := l.dropBitmaps(ctx, file); err != nil {
			return fmt.Errorf("take the memory of what has changed since a backup out of %s: %w", file, l.spoken(err))
		}
	}
	return nil
}

// forgetBeforeIdle: libvirt makes no snapshot of a domain that is not active and
// has a checkpoint, as it could not go on remembering what changes. The next
// backup is a full one then. An active one remembers across its snapshots.
func (l *link) forgetBeforeIdle(ctx context.Context, d *lv.Domain, r request) error {
	if active, err := d.IsActive(); err != nil || active {
		return err
	}
	if all, err := checkpoints(d); err != nil || len(all) == 0 {
		return err
	}
	definition, err := d.GetXMLDesc(lv.DOMAIN_XML_INACTIVE)
	if err != nil {
		return err
	}
	disks, err := parseImages(definition)
	if err != nil {
		return err
	}
	var files []string
	for _, one := range r.Disks {
		if there := image(disks, one.Name); one.Snapshot != locationNo && there != nil {
			files = append(files, there.Source.File)
		}
	}
	return l.forgetChanges(ctx, d, files)
}

// What is used of a qcow2 header, by offset in bytes; its numbers are big endian.
const (
	qcow2Version   = 4
	qcow2Autoclear = 88
	qcow2Header    = 96
	bitmapsBit     = 1 << 0
)

// withoutBitmaps is the value of the autoclear features that makes the bitmaps of
// an image void; false: it has none.
func withoutBitmaps(header []byte) ([]byte, bool) {
	if len(header) < qcow2Header || !bytes.HasPrefix(header, []byte("QFI\xfb")) || binary.BigEndian.Uint32(header[qcow2Version:]) < 3 {
		return nil, false
	}
	features := binary.BigEndian.Uint64(header[qcow2Autoclear:])
	return binary.BigEndian.AppendUint64(nil, features&^bitmapsBit), features&bitmapsBit != 0
}

func (l *link) dropBitmaps(ctx context.Context, file string) error {
	p, err := l.reachFolder(path.Dir(file))
	if errors.Is(err, hypervisor.ErrNoPool) {
		l.host.log.Warn("nobody can tell whether an image has bitmaps in it: no storage pool has its folder", "file", file, "error", err)
		return nil
	}
	if err != nil {
		return err
	}
	if p.ours {
		l.host.useFolder(p.folder, 1)
		defer p.leave(ctx)
	}
	pool, err := l.poolAt(p)
	if err != nil {
		return err
	}
	defer pool.Free() //nolint:errcheck // the reference is gone whatever it says
	v, err := l.volumeAt(pool, path.Base(file))
	if hasCode(err, lv.ERR_NO_STORAGE_VOL) {
		return nil // the revert will say so
	}
	if err != nil {
		return err
	}
	defer v.Free() //nolint:errcheck // the reference is gone whatever it says
	var header []byte
	if _, err := l.download(ctx, v, 0, qcow2Header, func(part []byte) { header = append(header, part...) }); err != nil {
		return err
	}
	features, has := withoutBitmaps(header)
	if !has {
		return nil
	}
	return l.upload(v, qcow2Autoclear, features)
}

// volumeAt looks a file up, and has libvirt look into the folder if it does not
// know it: layers are made without the pool.
func (l *link) volumeAt(pool *lv.StoragePool, name string) (*lv.StorageVol, error) {
	v, err := pool.LookupStorageVolByName(name)
	if !hasCode(err, lv.ERR_NO_STORAGE_VOL) {
		return v, err
	}
	if err := l.refresh(pool); err != nil {
		return nil, err
	}
	return pool.LookupStorageVolByName(name)
}
