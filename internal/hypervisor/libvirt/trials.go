//go:build cgo

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	lv "libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"holdfast/internal/hypervisor"
)

// Try implements [hypervisor.Host]. The domain that it makes is transient, and
// libvirt destroys it when the connection that it was made with is closed, by
// whatever. That is one of our links, which stay until their session ends, or this
// process.
func (h *Host) Try(ctx context.Context, domain string, of hypervisor.TrialOf) (hypervisor.Trial, error) {
	ctx, cancel := h.bounded(ctx)
	defer cancel()
	domain = strings.ToLower(domain)
	t := tried{what: fmt.Sprintf("snapshot %q", of.Snapshot)}
	if of.Backup != "" {
		t.what = fmt.Sprintf("backup %q", of.Backup)
		var err error
		if t.bases, err = h.filesOfBackup(ctx, of.Where, domain, of.Backup); err != nil {
			return hypervisor.Trial{}, err
		}
	}
	return trying(ctx, h, fmt.Sprintf("try %s of domain %s", t.what, domain), func(l *link) (hypervisor.Trial, error) {
		d, err := l.conn.LookupDomainByUUIDString(domain)
		if err != nil {
			return hypervisor.Trial{}, err
		}
		defer d.Free() //nolint:errcheck // the reference is gone whatever it says
		if of.Backup == "" {
			if t.bases, err = filesOfSnapshot(d, of.Snapshot); err != nil {
				return hypervisor.Trial{}, err
			}
		}
		if err := l.endTrial(domain, ""); err != nil {
			return hypervisor.Trial{}, fmt.Errorf("remove what is left of an earlier trial: %w", l.spoken(err))
		}
		return l.try(ctx, d, hypervisor.Trial{UUID: uuid.NewString(), Name: trialName(domain), Of: domain}, t)
	})
}

// EndTrial implements [hypervisor.Host].
func (h *Host) EndTrial(ctx context.Context, t hypervisor.Trial) error {
	for _, id := range []string{t.Of, t.UUID} {
		if _, err := uuid.Parse(id); err != nil {
			return fmt.Errorf("end a trial on %s: %q is no UUID", h.opts.Name, id)
		}
	}
	_, err := trying(ctx, h, "end the trial "+t.Name, func(l *link) (struct{}, error) {
		return struct{}{}, l.endTrial(strings.ToLower(t.Of), strings.ToLower(t.UUID))
	})
	return err
}

// TrialStats implements [hypervisor.Host].
func (h *Host) TrialStats(ctx context.Context, t hypervisor.Trial) (hypervisor.DomainStats, error) {
	doing := "sample the trial " + t.Name
	return callWithin(ctx, h, mostStuckForStats, doing, func(l *link) (hypervisor.DomainStats, error) {
		d, err := l.conn.LookupDomainByUUIDString(t.UUID)
		if err != nil {
			return hypervisor.DomainStats{}, err
		}
		_ = d.Free()
		all, err := sampleAll(l)
		if err != nil {
			return hypervisor.DomainStats{}, err
		}
		for _, s := range all {
			if s.UUID == t.UUID {
				return s, nil
			}
		}
		return hypervisor.DomainStats{}, fmt.Errorf("its QEMU does not answer: %w", hypervisor.ErrTimeout)
	})
}

// trying is call in the lane of trials, which take as long as QEMU takes to start
// or to end.
func trying[T any](ctx context.Context, h *Host, doing string, do func(*link) (T, error)) (T, error) {
	return callIn(ctx, h, doing, func(s *session) (lane, error) { return s.trials, nil }, do)
}

// filesOfSnapshot are the files that a snapshot is in.
func filesOfSnapshot(d *lv.Domain, name string) (map[string]base, error) {
	all, err := presentSnapshots(d)
	if err != nil {
		return nil, err
	}
	s, err := find(all, name)
	if err != nil {
		return nil, err
	}
	if !s.external() {
		return nil, fmt.Errorf("it is inside of an image that is in use, which nobody else can read: only a layer can be tried: %w", hypervisor.ErrInvalidState)
	}
	definition, err := d.GetXMLDesc(lv.DOMAIN_XML_INACTIVE)
	if err != nil {
		return nil, err
	}
	disks, err := parseImages(definition)
	if err != nil {
		return nil, err
	}
	layers, err := s.layers(disks, time.Now()) // what a revert would make
	if err != nil {
		return nil, err
	}
	out := make(map[string]base, len(layers))
	for target, y := range layers {
		out[target] = base{file: y.upon, format: y.format, below: s.below(target)}
	}
	return out, nil
}

// filesOfBackup are the files that a backup is in.
func (h *Host) filesOfBackup(ctx context.Context, where, domain, name string) (map[string]base, error) {
	p, err := h.openPlace(ctx, where)
	if err != nil {
		return nil, err
	}
	defer p.leave(ctx)
	found, err := p.look(ctx, domain)
	if err != nil {
		return nil, err
	}
	refuse := func(err error) error {
		return fmt.Errorf("try backup %q of domain %s on %s: %w", name, domain, h.opts.Name, err)
	}
	m, err := findManifest(found.whole(), name)
	if err != nil {
		return nil, refuse(err)
	}
	line, err := lineage(found.whole(), m)
	if err != nil {
		return nil, refuse(err)
	}
	out := make(map[string]base, len(m.Disks))
	for i, one := range line {
		for _, d := range one.Disks {
			file := d.File
			if !m.Kept {
				file = path.Join(p.folder, path.Base(d.File))
				if !slices.Contains(found.files, path.Base(d.File)) {
					return nil, refuse(fmt.Errorf("%s is not there: %w", file, hypervisor.ErrDamaged))
				}
			}
			b, known := out[d.Target]
			switch {
			case i == 0:
				b = base{file: file, format: d.Format}
			case known:
				b.below = append(b.below, file)
			default:
				continue
			}
			out[d.Target] = b
		}
	}
	return out, nil
}

// try makes a trial. What it has made before it fails goes again.
func (l *link) try(ctx context.Context, d *lv.Domain, trial hypervisor.Trial, t tried) (hypervisor.Trial, error) {
	text, layers, err := l.planTrial(d, trial, t)
	if err != nil {
		return trial, err
	}
	for _, folder := range foldersOf(layers) {
		if err := l.hasRoomFor(folder, trialFiles(trial.Of, "")); err != nil {
			return trial, err
		}
	}
	giveUp := func(why error) (hypervisor.Trial, error) {
		if l.alive() {
			if err := l.endTrial(trial.Of, trial.UUID); err != nil {
				l.host.log.Warn("what is left of a trial is removed by the next one", "trial", trial.Name, "error", l.host.said(err))
			}
		}
		return trial, why
	}
	for target, y := range layers {
		if err := l.makeLayer(y); err != nil {
			return giveUp(fmt.Errorf("make a layer for disk %s upon %s: %w", target, y.upon, l.spoken(l.untriable(err, t))))
		}
	}
	if ctx.Err() != nil {
		return giveUp(ctx.Err())
	}
	made, err := l.conn.DomainCreateXML(text, lv.DOMAIN_START_AUTODESTROY)
	if err != nil {
		return giveUp(l.untriable(err, t))
	}
	_ = made.Free()
	if ctx.Err() != nil { // nobody waits for it any more
		return giveUp(ctx.Err())
	}
	return trial, nil
}

// planTrial looks at the domain and says what to make of it.
func (l *link) planTrial(d *lv.Domain, trial hypervisor.Trial, t tried) (text string, layers map[string]layer, err error) {
	definition, err := d.GetXMLDesc(lv.DOMAIN_XML_INACTIVE)
	if err != nil {
		return "", nil, err
	}
	live, err := d.GetXMLDesc(0)
	if err != nil {
		return "", nil, err
	}
	disks, err := parseImages(definition)
	if err != nil {
		return "", nil, err
	}
	inUse, err := parseImages(live)
	if err != nil {
		return "", nil, err
	}
	if err := t.untouched(append(inUse, disks...)); err != nil {
		return "", nil, err
	}
	if layers, err = t.layersFor(trial, disks); err != nil {
		return "", nil, err
	}
	if err := l.hasMemoryFor(definition); err != nil {
		return "", nil, err
	}
	text, err = trialXML(definition, live, trial, t, layers)
	return text, layers, err
}

func foldersOf(layers map[string]layer) []string {
	folders := make(map[string]bool)
	for _, y := range layers {
		folders[path.Dir(y.file)] = true
	}
	return slices.Sorted(maps.Keys(folders))
}

// hasMemoryFor: one more guest must not push those out that have to run.
func (l *link) hasMemoryFor(definition string) error {
	var d libvirtxml.Domain
	if err := d.Unmarshal(definition); err != nil || d.Memory == nil {
		return errors.New("the definition cannot be read")
	}
	stats, err := l.conn.GetMemoryStats(lv.NODE_MEMORY_STATS_ALL_CELLS, 0)
	if err != nil {
		return err
	}
	const kib = 1024 // libvirt's own unit, whatever a person has written
	need, free := uint64(d.Memory.Value)*kib, (stats.Free+stats.Buffers+stats.Cached)*kib
	if need > free {
		return fmt.Errorf("it may use %d MiB of memory, and the host has %d MiB free: %w", need>>20, free>>20, hypervisor.ErrNoResource)
	}
	return nil
}

// leastRoom is how much of a pool has to be free for a trial, in bytes, and
// leastShare which share of it, if that is less: a guest that boots writes, and the
// domains that run from the same pool must not be stopped by that.
const (
	leastRoom  = 1 << 30
	leastShare = 10
)

// hasRoomFor looks into a folder. What an earlier trial has left there beside the
// storage pool, which only now knows of it, goes first.
func (l *link) hasRoomFor(folder, leftovers string) error {
	pool, err := l.poolOf(folder)
	if err != nil {
		return err
	}
	defer pool.Free() //nolint:errcheck // the reference is gone whatever it says
	if err := l.refresh(pool); err != nil {
		return err
	}
	if err := removeFilesIn(pool, leftovers); err != nil {
		return err
	}
	info, err := pool.GetInfo()
	if err != nil {
		return err
	}
	if need := min(uint64(leastRoom), info.Capacity/leastShare); info.Available < need {
		return fmt.Errorf("the storage pool of %s has %d MiB free, and %d MiB have to be for what the guest writes: %w", folder, info.Available>>20, need>>20, hypervisor.ErrNoResource)
	}
	return nil
}

// untriable finds the sentinel for a layer or a domain that could not be made. The
// programs that libvirt runs speak English.
func (l *link) untriable(err error, t tried) error {
	var lerr lv.Error
	if !errors.As(err, &lerr) {
		return err
	}
	says := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(lerr.Message, w) })
	}
	sentinel := error(nil)
	switch {
	case says("Cannot allocate memory", "cannot set up guest memory", "No space left on device"):
		sentinel = hypervisor.ErrNoResource
	case says(`Failed to get "`, "Failed to get shared", "Is another process using the image"):
		sentinel = hypervisor.ErrInvalidState
	case says(t.files()...) && says("No such file or directory", "not in qcow2 format", "corrupt", "Invalid", "invalid", "Could not read qcow2 header", "Unsupported"):
		sentinel = hypervisor.ErrDamaged
	default:
		return l.refused(err)
	}
	return fmt.Errorf("%s: %w", l.host.addr.clean(lastWords(lerr.Message)), sentinel)
}

// lastWords are what a program said that libvirt ran, without the command line.
func lastWords(message string) string {
	message = strings.TrimSpace(message)
	if i := strings.LastIndex(message, "unexpected exit status"); i >= 0 {
		if _, said, ok := strings.Cut(message[i:], ": "); ok {
			message = said
		}
	}
	return message
}
