//go:build cgo

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	lv "libvirt.org/go/libvirt"

	"holdfast/internal/hypervisor"
)

// oldMark is how much older than a new mark one has to be, in seconds, to be taken
// for what a worker which died has left. Nobody looks for a mark that long.
const oldMark = 3600

// errNotLooked: libvirt did not look into the folder, as it is making a volume there.
var errNotLooked = errors.New("libvirt is making a volume in it, and does not look into the folder until that has ended")

// Mark implements [hypervisor.Host]. Marks of workers that have died are harmless:
// nobody looks for their names any more. Those in the folder are removed.
func (h *Host) Mark(ctx context.Context, folder, mark string) error {
	begun := false
	return h.marking(ctx, "mark", folder, mark, func(l *link, pool *lv.StoragePool, _ bool) error {
		text, err := volumeXML(mark, "raw", 0, "", nil)
		if err != nil {
			return err
		}
		again := begun // its pool went, and what is there may be ours
		begun = true
		v, err := pool.StorageVolCreateXML(text, 0)
		if hasCode(err, lv.ERR_STORAGE_VOL_EXIST) && again {
			return nil
		}
		if err != nil {
			return l.notMarked(err, pool)
		}
		defer v.Free() //nolint:errcheck // the reference is gone whatever it says
		l.sweepMarks(pool, v)
		return nil
	})
}

// notMarked finds the sentinel for a mark that could not be made.
func (l *link) notMarked(err error, pool *lv.StoragePool) error {
	var lerr lv.Error
	if !errors.As(err, &lerr) || !l.alive() {
		return err
	}
	said := l.host.said(err)
	switch {
	// The latter of a file that libvirt has not seen yet, if the pool runs.
	case lerr.Code == lv.ERR_STORAGE_VOL_EXIST, lerr.Code == lv.ERR_OPERATION_INVALID:
		return fmt.Errorf("%s: %w", said, hypervisor.ErrExists)
	case noRoom(err), isFull(pool):
		return fmt.Errorf("there is no room for it: %s: %w", said, hypervisor.ErrNoResource)
	case sentinelOf(lerr, true) != nil && !errors.Is(sentinelOf(lerr, true), hypervisor.ErrNoResource):
		return err
	}
	return fmt.Errorf("no file can be made there: %s: see that the folder is mounted, and not read-only: %w", said, hypervisor.ErrNoPool)
}

// isFull: what libvirt says of it may be in the host's own language.
func isFull(pool *lv.StoragePool) bool {
	info, err := pool.GetInfo()
	return err == nil && info.Capacity > 0 && info.Available == 0
}

// Marked implements [hypervisor.Host]. An NFS client may not show what another one has
// made for as long as it keeps its copy of the folder (acdirmax, 60 s).
func (h *Host) Marked(ctx context.Context, folder, mark string) (there bool, err error) {
	err = h.marking(ctx, "look for the mark", folder, mark, func(_ *link, pool *lv.StoragePool, looked bool) error {
		v, err := pool.LookupStorageVolByName(mark)
		switch there = err == nil; {
		case there:
			return v.Free()
		case !hasCode(err, lv.ERR_NO_STORAGE_VOL):
			return err
		case !looked:
			return errNotLooked
		}
		return nil
	})
	return there && err == nil, err
}

// Unmark implements [hypervisor.Host].
func (h *Host) Unmark(ctx context.Context, folder, mark string) error {
	return h.marking(ctx, "remove the mark", folder, mark, func(_ *link, pool *lv.StoragePool, looked bool) error {
		known, err := removeVolume(pool, mark)
		if err == nil && !known && !looked {
			return errNotLooked
		}
		return err
	})
}

// marking runs do with the pool of a folder, after libvirt has looked into that, or
// would not. It does so again as long as do ends with errNotLooked.
func (h *Host) marking(ctx context.Context, doing, folder, mark string, do func(l *link, pool *lv.StoragePool, looked bool) error) error {
	ctx, cancel := h.bounded(ctx)
	defer cancel()
	if err := checkMark(folder, mark); err != nil {
		return fmt.Errorf("%s on %s: %w", doing, h.opts.Name, err)
	}
	doing = fmt.Sprintf("%s %s", doing, path.Join(folder, mark))
	p, err := h.openPlace(ctx, folder)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	defer p.leave(ctx)
	pause := newPause()
	for {
		_, err := in(ctx, p, doing, forBackups, func(l *link, pool *lv.StoragePool) (struct{}, error) {
			looked, err := l.refreshed(pool)
			if err != nil {
				return struct{}{}, err
			}
			return struct{}{}, do(l, pool, looked)
		})
		if !errors.Is(err, errNotLooked) {
			return err
		}
		if pause(ctx) != nil {
			return fmt.Errorf("%w: %w", h.ended(ctx, doing), errNotLooked)
		}
	}
}

// checkMark: a name of somebody else's file must never get as far as Unmark.
func checkMark(folder, mark string) error {
	if !path.IsAbs(folder) || strings.ContainsRune(folder, 0) {
		return fmt.Errorf("%q is no absolute path of a folder", folder)
	}
	odd := func(r rune) bool { return r <= ' ' || r == '/' || r == 0x7f }
	if rest, ok := strings.CutPrefix(mark, hypervisor.MarkPrefix); !ok || rest == "" || strings.ContainsFunc(rest, odd) {
		return fmt.Errorf("%q cannot be the name of a mark: it has to begin with %s, and to go on without a slash or a space", mark, hypervisor.MarkPrefix)
	}
	return nil
}

// sweepMarks removes marks that are much older than a new one, by the clock of the
// storage. That it cannot is no reason to fail.
func (l *link) sweepMarks(pool *lv.StoragePool, made *lv.StorageVol) {
	now, err := markedAt(made)
	if err != nil {
		return
	}
	volumes, err := pool.ListAllStorageVolumes(0)
	if err != nil {
		return
	}
	for i := range volumes {
		v := &volumes[i]
		if name, err := v.GetName(); err == nil && strings.HasPrefix(name, hypervisor.MarkPrefix) {
			if at, err := markedAt(v); err == nil && now-at > oldMark {
				err := v.Delete(0)
				l.host.log.Debug("removed a mark that a worker has left", "mark", name, "error", err)
			}
		}
		_ = v.Free()
	}
}

var errNoMark = errors.New("it is no mark")

// markedAt is when a mark was made, in seconds; errNoMark if there is something in it.
func markedAt(v *lv.StorageVol) (int64, error) {
	info, err := v.GetInfo()
	if err != nil {
		return 0, err
	}
	if info.Capacity > 0 {
		return 0, errNoMark
	}
	text, err := v.GetXMLDesc(0)
	if err != nil {
		return 0, err
	}
	found, err := parseVolume(text)
	if err != nil {
		return 0, err
	}
	seconds, _, _ := strings.Cut(found.Modified, ".")
	return strconv.ParseInt(seconds, 10, 64)
}
