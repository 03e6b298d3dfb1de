//go:build cgo

package libvirt

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	lv "libvirt.org/go/libvirt"
)

// subject is a domain of which a backup is to be made.
type subject struct {
	active, persistent bool
	all                []imageElement // the definition's disks
	disks              []imageElement // those to be copied
	capacity           map[string]uint64
	checkpoints        []checkpointDocument
	// job are the files that a backup job writes to; nil: none is under way.
	job []string
}

// subjectOf looks at a domain.
func subjectOf(d *lv.Domain) (s subject, err error) {
	if s.active, err = d.IsActive(); err != nil {
		return s, err
	}
	if s.persistent, err = d.IsPersistent(); err != nil {
		return s, err
	}
	flags := lv.DomainXMLFlags(0)
	if !s.active {
		flags = lv.DOMAIN_XML_INACTIVE
	}
	definition, err := d.GetXMLDesc(flags)
	if err != nil {
		return s, err
	}
	if s.all, err = parseImages(definition); err != nil {
		return s, err
	}
	if s.disks, err = toCopy(s.all); err != nil || !s.active {
		return s, err
	}
	s.capacity = make(map[string]uint64, len(s.disks))
	for _, disk := range s.disks {
		info, err := d.GetBlockInfo(disk.Target.Dev, 0)
		if err != nil {
			return s, judge(d, err, inactive)
		}
		s.capacity[disk.Target.Dev] = info.Capacity
	}
	if s.checkpoints, err = checkpoints(d); err != nil {
		return s, err
	}
	s.job, err = runningJob(d)
	return s, err
}

// runningJob are the files that a backup job writes to; nil if none is under way.
func runningJob(d *lv.Domain) ([]string, error) {
	text, err := d.BackupGetXMLDesc(0)
	if hasCode(err, lv.ERR_NO_DOMAIN_BACKUP) {
		return nil, nil
	}
	if err != nil {
		return nil, judge(d, err, inactive)
	}
	files, err := jobFiles(text)
	if files == nil {
		files = []string{} // it is to somewhere else
	}
	return files, err
}

// targets of the disks to be copied.
func (s subject) targets() []string {
	var out []string
	for _, d := range s.disks {
		out = append(out, d.Target.Dev)
	}
	slices.Sort(out)
	return out
}

// origins are what is kept of the disks in the manifest.
func (s subject) origins() []diskOrigin {
	var out []diskOrigin
	for _, d := range s.disks {
		out = append(out, diskOrigin{Target: d.Target.Dev, Chain: d.chain(), Capacity: s.capacity[d.Target.Dev]})
	}
	return out
}

// forgetful is why QEMU cannot remember what changes; empty if it can.
func (s subject) forgetful() string {
	if !s.active {
		return "the domain is not active, so that nobody knows what has changed"
	}
	if !s.persistent {
		return "the domain is transient, and libvirt forgets with it what has changed"
	}
	for _, d := range s.disks {
		if d.Driver.Type != "qcow2" {
			return fmt.Sprintf("disk %s is of format %s, in which QEMU cannot keep what has changed", d.Target.Dev, cmp.Or(d.Driver.Type, "raw"))
		}
	}
	return ""
}

// predecessor is the backup that the next one of these whole ones can build
// upon; nil, and why, if there was one before and it cannot.
//
// It has to be the one before, as that is what a person takes it for. Whether
// the bitmaps are good is for libvirt to say: they are in the images, and go with
// them through layers, merges and moves. Holdfast only sees to it that a disk is
// compared with itself: libvirt goes by its target.
func (s subject) predecessor(before []manifest, full bool) (*manifest, string) {
	var last *manifest
	for i := range before {
		if !before[i].Kept {
			last = &before[i]
		}
	}
	if last == nil {
		return nil, ""
	}
	if full {
		return nil, "a full one was asked for"
	}
	if why := s.forgetful(); why != "" {
		return nil, why
	}
	known := slices.ContainsFunc(s.checkpoints, func(c checkpointDocument) bool { return c.Name == last.Checkpoint })
	switch {
	case last.Checkpoint == "":
		return nil, fmt.Sprintf("when the one before, %s, was made, nobody began to remember what changes", last.Name)
	case !known:
		return nil, fmt.Sprintf("the host does not know any more what has changed since the one before, %s", last.Name)
	case !slices.Equal(s.targets(), last.targets()):
		return nil, fmt.Sprintf("the one before, %s, is of other disks: %s", last.Name, strings.Join(last.targets(), ", "))
	}
	for _, d := range s.disks {
		if why := s.differs(d, *last); why != "" {
			return nil, why
		}
	}
	return last, ""
}

// differs is why a disk cannot be compared with what it was in a backup.
func (s subject) differs(d imageElement, last manifest) string {
	was := last.origin(d.Target.Dev)
	if was == nil {
		return fmt.Sprintf("the one before, %s, does not say what disk %s was", last.Name, d.Target.Dev)
	}
	had := func(file string) bool { return slices.Contains(was.Chain, file) }
	for _, other := range s.disks {
		if same := slices.ContainsFunc(other.chain(), had); same != (other.Target.Dev == d.Target.Dev) {
			return fmt.Sprintf("disk %s has other files than it had in the one before, %s", d.Target.Dev, last.Name)
		}
	}
	if was.Capacity != s.capacity[d.Target.Dev] {
		return fmt.Sprintf("disk %s has another size than it had in the one before, %s", d.Target.Dev, last.Name)
	}
	return ""
}
