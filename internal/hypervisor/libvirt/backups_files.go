//go:build cgo

package libvirt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"slices"

	lv "libvirt.org/go/libvirt"

	"holdfast/internal/hypervisor"
)

const (
	// pieceSize is how much of a file one stream brings, in bytes. libvirt's client
	// takes what comes, and keeps what has not been read yet in memory: this is the
	// most that it ever keeps.
	pieceSize = 32 << 20
	// longestManifest bounds what is read of one, in bytes.
	longestManifest = 1 << 20
)

// stored is what is found in a place of a domain.
type stored struct {
	files     []string // by name, all that begin with its UUID
	manifests []manifest
	// odd are manifests that say nothing, by their file's name. Only of one that is
	// errCutOff can it be said that nobody ended it.
	odd map[string]error
}

// whole are the backups that are, oldest first.
func (s stored) whole() []manifest {
	var out []manifest
	for _, m := range s.manifests {
		if m.whole() {
			out = append(out, m)
		}
	}
	return out
}

// named reports that another backup than the one of this name has the file as well.
func (s stored) named(file, but string) bool {
	return slices.ContainsFunc(s.manifests, func(m manifest) bool {
		return m.Name != but && slices.ContainsFunc(m.Disks, func(d hypervisor.BackupDisk) bool { return d.File == file })
	})
}

// look lists what a place has of a domain.
func (p *place) look(ctx context.Context, uuid string) (stored, error) {
	return in(ctx, p, "list the backups of domain "+uuid+" in "+p.folder, forBackups, func(l *link, pool *lv.StoragePool) (stored, error) {
		if err := l.refresh(pool); err != nil {
			return stored{}, err
		}
		files, err := filesIn(pool, uuid)
		if err != nil {
			return stored{}, err
		}
		out := stored{files: files, odd: make(map[string]error)}
		for _, file := range files {
			name, ok := isManifest(uuid, file)
			if !ok {
				continue
			}
			m, err := l.readManifest(ctx, pool, file)
			if err == nil && (m.Name != name || m.Domain != uuid) {
				err = fmt.Errorf("%w: it is of another backup", errNoManifest)
			}
			switch {
			case err == nil:
				out.manifests = append(out.manifests, m)
			case errors.Is(err, errCutOff) || errors.Is(err, errNoManifest):
				out.odd[file] = err
			case l.alive() && l.isGone(pool, file):
				continue // deleted meanwhile
			default:
				return stored{}, fmt.Errorf("%s could not be read: %w", path.Join(p.folder, file), l.spoken(err))
			}
		}
		sortManifests(out.manifests)
		return out, nil
	})
}

// isGone: a file that could not be read is not there any more.
func (l *link) isGone(pool *lv.StoragePool, file string) bool {
	if err := l.refresh(pool); err != nil {
		return false
	}
	v, err := pool.LookupStorageVolByName(file)
	if err == nil {
		_ = v.Free()
	}
	return hasCode(err, lv.ERR_NO_STORAGE_VOL)
}

func (l *link) readManifest(ctx context.Context, pool *lv.StoragePool, file string) (manifest, error) {
	v, err := pool.LookupStorageVolByName(file)
	if err != nil {
		return manifest{}, err
	}
	defer v.Free() //nolint:errcheck // the reference is gone whatever it says
	info, err := v.GetInfo()
	if err != nil {
		return manifest{}, err
	}
	if info.Capacity > longestManifest {
		return manifest{}, fmt.Errorf("%w: it is too long", errNoManifest)
	}
	var text []byte
	n, err := l.download(ctx, v, 0, info.Capacity, func(piece []byte) { text = append(text, piece...) })
	if hasCode(err, lv.ERR_OPERATION_INVALID) { // libvirt is making it
		return manifest{}, fmt.Errorf("%w: somebody is about to write it", errNoManifest)
	}
	if err != nil {
		return manifest{}, err
	}
	if n < info.Capacity {
		return manifest{}, fmt.Errorf("%d of its %d bytes came", n, info.Capacity)
	}
	return parseManifest(text)
}

// download reads up to length bytes of a volume from an offset on.
func (l *link) download(ctx context.Context, v *lv.StorageVol, offset, length uint64, take func([]byte)) (n uint64, err error) {
	if length == 0 {
		return 0, nil // libvirt would take that for all there is
	}
	stream, err := l.conn.NewStream(0)
	if err != nil {
		return 0, err
	}
	defer stream.Free() //nolint:errcheck // the reference is gone whatever it says
	if err := v.Download(stream, offset, length, 0); err != nil {
		return 0, err
	}
	chunk := make([]byte, 256<<10)
	for {
		got, err := stream.Recv(chunk)
		switch {
		case errors.Is(err, io.EOF):
			return n, stream.Finish()
		case err == nil && got < 0:
			err = errors.New("the stream broke off")
		case err == nil:
			err = ctx.Err()
		}
		if err != nil {
			_ = stream.Abort()
			return n, err
		}
		take(chunk[:got])
		n += uint64(got)
	}
}

// upload writes data over a volume from an offset on.
func (l *link) upload(v *lv.StorageVol, offset uint64, data []byte) error {
	stream, err := l.conn.NewStream(0)
	if err != nil {
		return err
	}
	defer stream.Free() //nolint:errcheck // the reference is gone whatever it says
	if err := v.Upload(stream, offset, uint64(len(data)), 0); err != nil {
		return err
	}
	for len(data) > 0 {
		n, err := stream.Send(data)
		if err == nil && n <= 0 {
			err = errors.New("the stream broke off")
		}
		if err != nil {
			_ = stream.Abort()
			return err
		}
		data = data[n:]
	}
	return stream.Finish()
}

// sum reads a file of the place to its end. ErrNoResource if it is not there.
func (p *place) sum(ctx context.Context, file string) (bytes uint64, sum string, err error) {
	doing := "read " + path.Join(p.folder, file)
	digest := sha256.New()
	for {
		n, err := in(ctx, p, doing, forBackups, func(l *link, pool *lv.StoragePool) (uint64, error) {
			v, err := pool.LookupStorageVolByName(file)
			if err != nil {
				return 0, err
			}
			defer v.Free() //nolint:errcheck // the reference is gone whatever it says
			return l.piece(ctx, v, bytes, digest)
		})
		if err != nil {
			return bytes, "", err
		}
		bytes += n
		if n < pieceSize {
			return bytes, hex.EncodeToString(digest.Sum(nil)), nil
		}
	}
}

// piece is read whole before it goes into the digest, so that to try again does
// not put it in twice.
func (l *link) piece(ctx context.Context, v *lv.StorageVol, offset uint64, into hash.Hash) (uint64, error) {
	data := make([]byte, 0, pieceSize)
	n, err := l.download(ctx, v, offset, pieceSize, func(part []byte) { data = append(data, part...) })
	if err != nil {
		return 0, err
	}
	_, err = into.Write(data)
	return n, err
}

// write makes the manifest. ErrExists if there is one of that name.
func (p *place) write(ctx context.Context, m manifest) error {
	data, err := m.bytes()
	if err != nil {
		return err
	}
	file, ours := manifestFile(m.Domain, m.Name), false
	_, err = in(ctx, p, "write "+path.Join(p.folder, file), forBackups, func(l *link, pool *lv.StoragePool) (struct{}, error) {
		text, err := volumeXML(file, "raw", uint64(len(data)), "", nil)
		if err != nil {
			return struct{}{}, err
		}
		v, err := pool.StorageVolCreateXML(text, 0)
		switch exists := hasCode(err, lv.ERR_STORAGE_VOL_EXIST); {
		case exists && ours: // its pool went before there was anything in it
			v, err = pool.LookupStorageVolByName(file)
		case exists:
			return struct{}{}, fmt.Errorf("somebody else has made one of that name meanwhile: %w", hypervisor.ErrExists)
		}
		if err != nil {
			return struct{}{}, l.refused(err)
		}
		defer v.Free() //nolint:errcheck // the reference is gone whatever it says
		ours = true
		if err := l.upload(v, 0, data); err != nil {
			if l.alive() {
				_ = v.Delete(0)
			}
			return struct{}{}, l.refused(err)
		}
		return struct{}{}, nil
	})
	return err
}

// rewrite writes a manifest over the one of that name, which is of the same
// length.
func (p *place) rewrite(ctx context.Context, m manifest) error {
	data, err := m.bytes()
	if err != nil {
		return err
	}
	file := manifestFile(m.Domain, m.Name)
	_, err = in(ctx, p, "write "+path.Join(p.folder, file), forBackups, func(l *link, pool *lv.StoragePool) (struct{}, error) {
		now, err := l.readManifest(ctx, pool, file)
		if err != nil {
			return struct{}{}, err
		}
		if !now.sameAttempt(m) {
			return struct{}{}, fmt.Errorf("it is of another restore by now: %w", hypervisor.ErrInvalidState)
		}
		v, err := pool.LookupStorageVolByName(file)
		if err != nil {
			return struct{}{}, err
		}
		defer v.Free() //nolint:errcheck // the reference is gone whatever it says
		return struct{}{}, l.upload(v, 0, data)
	})
	return err
}

// remove removes files of the place that are there. It waits for those that
// libvirt is still making: an attempt that was given up goes on with its copy,
// which cannot be aborted.
func (p *place) remove(ctx context.Context, files ...string) error {
	for _, file := range files {
		doing, pause := "remove "+path.Join(p.folder, file), newPause()
		for {
			_, err := in(ctx, p, doing, forBackups, func(l *link, pool *lv.StoragePool) (struct{}, error) {
				_, err := removeVolume(pool, file)
				return struct{}{}, err
			})
			if err == nil {
				break
			}
			if !errors.Is(err, hypervisor.ErrInvalidState) {
				return err
			}
			if pause(ctx) != nil {
				return fmt.Errorf("%w: libvirt has not let go of it", p.host.ended(ctx, doing))
			}
		}
	}
	return nil
}

// removeVolume says whether libvirt knew of the file. One that it does not know is no
// error.
func removeVolume(pool *lv.StoragePool, file string) (known bool, err error) {
	v, err := pool.LookupStorageVolByName(file)
	if hasCode(err, lv.ERR_NO_STORAGE_VOL) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer v.Free() //nolint:errcheck // the reference is gone whatever it says
	if err := v.Delete(0); err != nil && !hasCode(err, lv.ERR_NO_STORAGE_VOL) {
		return true, err
	}
	return true, nil
}
