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

	lv "libvirt.org/go/libvirt"

	"holdfast/internal/hypervisor"
)

// domainFiles is what a domain says of its files; all is empty if the host does
// not have the domain.
type domainFiles struct {
	disks     []imageElement // of the definition that it will start with
	snapshots []snapshot     // all, those of files that it does not have for now, too
	used      map[string]bool
}

// filesOf looks what files a domain uses, or would to get a snapshot back.
func (h *Host) filesOf(ctx context.Context, doing, uuid string) (domainFiles, error) {
	out, err := onDomain(ctx, h, doing, uuid, func(_ *link, d *lv.Domain) (domainFiles, error) {
		var out domainFiles
		var all []imageElement
		for _, flags := range []lv.DomainXMLFlags{0, lv.DOMAIN_XML_INACTIVE} {
			definition, err := d.GetXMLDesc(flags)
			if err != nil {
				return out, err
			}
			if out.disks, err = parseImages(definition); err != nil {
				return out, err
			}
			all = append(all, out.disks...)
		}
		var err error
		out.snapshots, err = readSnapshots(d)
		out.used = family(all, out.snapshots)
		return out, err
	})
	if errors.Is(err, hypervisor.ErrNotFound) {
		return domainFiles{}, nil
	}
	return out, err
}

// chained is a file and those that it is built upon, itself first.
type chained struct {
	whose string // for errors
	files []string
}

// chains are those of the files that the domain has, and of the files that these
// records keep, as they are on disk: a definition need not name what is below.
func (h *Host) chains(ctx context.Context, doing string, disks []imageElement, records []manifest) ([]chained, error) {
	var out []chained
	add := func(whose, file, format string) error {
		files, _, err := h.chainOf(ctx, doing, file, format)
		out = append(out, chained{whose, files})
		return err
	}
	for _, d := range disks {
		if d.removable() || d.forbids("") != nil {
			continue
		}
		if err := add("disk "+d.Target.Dev+" of the domain", d.Source.File, d.Driver.Type); err != nil {
			return nil, err
		}
	}
	for _, m := range records {
		if !m.Kept {
			continue
		}
		for _, d := range m.Disks {
			if err := add(fmt.Sprintf("what backup %q keeps of disk %s", m.Name, d.Target), d.File, d.Format); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// upon says whose file lies upon this one; empty: nobody's.
func upon(file string, chains []chained) string {
	for _, c := range chains {
		if slices.Index(c.files, file) > 0 {
			return c.whose
		}
	}
	return ""
}

// liesOnTop: the domain writes into the files of a kept backup, and what is built
// upon them by now would be another's from then on.
func (r *restoreRun) liesOnTop(ctx context.Context) error {
	if !r.from.Kept {
		return nil
	}
	has, err := r.host.filesOf(ctx, r.doing, r.uuid)
	if err != nil {
		return err
	}
	chains, err := r.host.chains(ctx, r.doing, r.disks, r.found.manifests)
	if err != nil {
		return err
	}
	for _, d := range r.from.Disks {
		if whose := buildsUpon(d.File, has.snapshots, chains); whose != "" {
			return r.refuse(fmt.Errorf("%s is built upon %s, to which the domain would write: %w", whose, d.File, hypervisor.ErrInvalidState))
		}
	}
	return nil
}

// buildsUpon says what would change with a file; empty: nothing.
func buildsUpon(file string, snapshots []snapshot, chains []chained) string {
	for _, s := range snapshots {
		if s.builtUpon(file) {
			return fmt.Sprintf("snapshot %q", s.Name)
		}
	}
	return upon(file, chains)
}

// chainOf reads which files one is built upon, itself first, and how many bytes
// all of them take. What is in a raw one says nothing: its guest has written it.
// What is reached over the network ends it, and is there as the image names it. So
// does a device that holds a raw image.
func (h *Host) chainOf(ctx context.Context, doing, file, format string) (files []string, bytes uint64, err error) {
	return h.chain(ctx, doing, file, format, false)
}

// chain is chainOf. whole: it is an error if one of them was not found, for nobody can
// say then what is below it.
func (h *Host) chain(ctx context.Context, doing, file, format string, whole bool) (files []string, bytes uint64, err error) {
	if format == "" {
		format = "raw"
	}
	for file != "" && len(files) < longestChain {
		files = append(files, file)
		if !path.IsAbs(file) || format == "raw" && ofKernel(file) {
			break
		}
		v, err := h.below(ctx, doing, file)
		if err != nil {
			return files, bytes, err
		}
		if whole && !v.there {
			return files, bytes, fmt.Errorf("%s on %s: %s is not there, or its folder could not be read: %w", doing, h.opts.Name, file, hypervisor.ErrNoResource)
		}
		bytes += v.bytes
		if format == "raw" {
			break
		}
		file, format = v.upon, v.format
	}
	return files, bytes, nil
}

// child is a backup that builds upon the one of this name, be it by what its files
// say if its manifest says nothing; empty: none.
func (p *place) child(ctx context.Context, doing, uuid, name string, found stored) (string, error) {
	for _, m := range found.manifests {
		if m.Parent == name {
			return fmt.Sprintf("%q", m.Name), nil
		}
	}
	for _, file := range slices.Sorted(maps.Keys(found.odd)) {
		other, _ := isManifest(uuid, file)
		if other == name {
			continue
		}
		for _, one := range leftovers(uuid, other, found.files) {
			files, _, err := p.host.chainOf(ctx, doing, path.Join(p.folder, one), "qcow2")
			if err != nil {
				return "", err
			}
			if len(leftovers(uuid, name, files[1:])) > 0 {
				return fmt.Sprintf("%q, whose manifest %s is damaged,", other, file), nil
			}
		}
	}
	return "", nil
}

// volumeFacts is what is asked of a volume.
type volumeFacts struct {
	upon, format string // the file below it, and the format of that; empty: none
	bytes        uint64 // that it takes
	there        bool
}

// below reads the file that one is built upon, and how many bytes this one takes.
// One that is not there takes none, and has nothing below.
func (h *Host) below(ctx context.Context, doing, file string) (volumeFacts, error) {
	p, err := h.openPlace(ctx, path.Dir(file))
	if err != nil {
		return volumeFacts{}, err
	}
	defer p.leave(ctx)
	return in(ctx, p, doing+": look at "+file, forBackups, func(l *link, pool *lv.StoragePool) (volumeFacts, error) {
		if err := l.refresh(pool); err != nil {
			return volumeFacts{}, err
		}
		v, err := pool.LookupStorageVolByName(path.Base(file))
		if hasCode(err, lv.ERR_NO_STORAGE_VOL) {
			return volumeFacts{}, nil
		}
		if err != nil {
			return volumeFacts{}, err
		}
		defer v.Free() //nolint:errcheck // the reference is gone whatever it says
		return factsOf(v, file)
	})
}

func factsOf(v *lv.StorageVol, file string) (volumeFacts, error) {
	info, err := v.GetInfo()
	if err != nil {
		return volumeFacts{}, err
	}
	text, err := v.GetXMLDesc(0)
	if err != nil {
		return volumeFacts{}, err
	}
	found, err := parseVolume(text)
	if err != nil {
		return volumeFacts{}, err
	}
	network := strings.Contains(found.Upon, "://") || strings.HasPrefix(found.Upon, "json:")
	if found.Upon != "" && !path.IsAbs(found.Upon) && !network { // as seen from the file that names it
		found.Upon = path.Join(path.Dir(file), found.Upon)
	}
	return volumeFacts{found.Upon, found.UponFormat.Type, info.Allocation, true}, nil
}

// settled is look, with the end put to restores that came through: who carried
// one out may have died, or lost the host, before it could say so.
func (p *place) settled(ctx context.Context, uuid string) (stored, error) {
	found, err := p.look(ctx, uuid)
	open := func(m manifest) bool { return !m.whole() && m.Name != namelessKeep }
	if err != nil || !slices.ContainsFunc(found.manifests, open) {
		return found, err
	}
	has, err := p.host.filesOf(ctx, "list the backups of domain "+uuid, uuid)
	if err != nil {
		return found, err
	}
	for i := range found.manifests {
		m := &found.manifests[i]
		if !open(*m) || !m.Restored.cameThrough(has) {
			continue
		}
		m.Restored.Ended = true
		if err := p.rewrite(ctx, *m); err != nil { // the next who looks does it
			p.host.log.Warn("a restore that came through could not be noted", "domain", uuid, "keep", m.Name, "error", err)
		}
	}
	return found, nil
}

// cameThrough: the domain has the files of the restore. It may have got layers
// upon those that were made for it since.
func (r *restored) cameThrough(has domainFiles) bool {
	for target, file := range r.Files {
		d := image(has.disks, target)
		if d == nil || d.Source.File != file && (!r.Made || !has.used[file]) {
			return false
		}
	}
	return len(r.Files) > 0
}
