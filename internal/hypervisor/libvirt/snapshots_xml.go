//go:build cgo

package libvirt

import (
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"time"

	"holdfast/internal/hypervisor"
)

// snapshot is one as libvirt describes it.
type snapshot struct {
	Name        string `xml:"name"`
	Description string `xml:"description"`
	State       string `xml:"state"`
	Parent      string `xml:"parent>name"`
	Created     int64  `xml:"creationTime"`
	Memory      struct {
		Snapshot string `xml:"snapshot,attr"`
	} `xml:"memory"`
	Disks  []snapshotDisk `xml:"disks>disk"`
	Images []imageElement `xml:"domain>devices>disk"` // of the definition that it was made of

	Current bool `xml:"-"`
}

// snapshotDisk says what a snapshot did with a disk.
type snapshotDisk struct {
	Name     string     `xml:"name,attr"`
	Snapshot string     `xml:"snapshot,attr"`
	Layer    diskSource `xml:"source"`                   // the new file of an external one
	Deleting *struct{}  `xml:"snapshotDeleteInProgress"` // libvirt has begun to merge it
}

// imageElement is a disk of a definition, as far as snapshots care.
type imageElement struct {
	Type     string `xml:"type,attr"`
	Device   string `xml:"device,attr"`
	Snapshot string `xml:"snapshot,attr"`
	Driver   struct {
		Type string `xml:"type,attr"`
	} `xml:"driver"`
	Source struct {
		diskSource
		Encrypted *struct{} `xml:"encryption"`
	} `xml:"source"`
	Target struct {
		Dev string `xml:"dev,attr"`
	} `xml:"target"`
	ReadOnly  *struct{}     `xml:"readonly"`
	Shareable *struct{}     `xml:"shareable"`
	Encrypted *struct{}     `xml:"encryption"`
	Mirror    *struct{}     `xml:"mirror"`
	Below     *backingStore `xml:"backingStore"`
}

const (
	locationNo       = "no"
	locationInternal = "internal"
	locationExternal = "external"
)

// parseSnapshot reads a description. Its error quotes nothing of it.
func parseSnapshot(text string) (snapshot, error) {
	var s snapshot
	if err := xml.Unmarshal([]byte(text), &s); err != nil {
		return s, errors.New("the description of a snapshot cannot be read")
	}
	return s, nil
}

func parseImages(definition string) ([]imageElement, error) {
	var d struct {
		Disks []imageElement `xml:"devices>disk"`
	}
	if err := xml.Unmarshal([]byte(definition), &d); err != nil {
		return nil, errors.New("the definition cannot be read")
	}
	return d.Disks, nil
}

// image finds a disk by its target.
func image(disks []imageElement, target string) *imageElement {
	i := slices.IndexFunc(disks, func(d imageElement) bool { return d.Target.Dev == target })
	if i < 0 {
		return nil
	}
	return &disks[i]
}

// chain is the files of a disk, the one that is written to first.
func (d imageElement) chain() []string {
	files := []string{d.Source.String()}
	for below := d.Below; below != nil && len(files) < longestChain; below = below.Below {
		if file := below.Source.String(); file != "" {
			files = append(files, file)
		}
	}
	return files
}

// covered are the disks of which there is something in the snapshot.
func (s snapshot) covered() []snapshotDisk {
	return slices.DeleteFunc(slices.Clone(s.Disks), func(d snapshotDisk) bool {
		return d.Snapshot != locationInternal && d.Snapshot != locationExternal
	})
}

// file is the image that has the state of a disk in it; empty if libvirt does
// not say.
func (s snapshot) file(target string) string {
	if d := image(s.Images, target); d != nil {
		return d.Source.String()
	}
	return ""
}

// files are the images that the state is in.
func (s snapshot) files() []string {
	var out []string
	for _, d := range s.covered() {
		if file := s.file(d.Name); file != "" {
			out = append(out, file)
		}
	}
	return out
}

// below are the files that the state of a disk is built upon.
func (s snapshot) below(target string) []string {
	if d := image(s.Images, target); d != nil {
		return d.chain()[1:]
	}
	return nil
}

func (s snapshot) external() bool {
	return s.Memory.Snapshot == locationExternal ||
		slices.ContainsFunc(s.Disks, func(d snapshotDisk) bool { return d.Snapshot == locationExternal })
}

// memory: libvirt before 1.0 did not say of an internal one where it is.
func (s snapshot) memory() bool {
	switch s.Memory.Snapshot {
	case locationInternal, locationExternal:
		return true
	case locationNo:
		return false
	}
	return s.State == "running" || s.State == "paused"
}

// view is the snapshot in the interface's words.
func (s snapshot) view() hypervisor.Snapshot {
	out := hypervisor.Snapshot{
		Name: s.Name, Description: s.Description, Parent: s.Parent, Created: time.Unix(s.Created, 0),
		Memory: s.memory(), External: s.external(), Current: s.Current,
		State: hypervisor.StateShutoff, Disks: []string{},
	}
	if out.Memory {
		out.State = hypervisor.StateRunning
		if s.State == "paused" {
			out.State = hypervisor.StatePaused
		}
	}
	for _, d := range s.covered() {
		out.Disks = append(out.Disks, d.Name)
	}
	return out
}

// sortSnapshots puts the oldest first, and a parent before its children when
// they were made in the same second.
func sortSnapshots(list []snapshot) {
	parents := make(map[string]string, len(list))
	for _, s := range list {
		parents[s.Name] = s.Parent
	}
	depth := func(name string) (n int) {
		for ; name != "" && n <= len(list); name = parents[name] {
			n++
		}
		return n
	}
	slices.SortFunc(list, func(a, b snapshot) int {
		return cmp.Or(cmp.Compare(a.Created, b.Created), cmp.Compare(depth(a.Name), depth(b.Name)), cmp.Compare(a.Name, b.Name))
	})
}

// find looks a snapshot up by name.
func find(list []snapshot, name string) (snapshot, error) {
	i := slices.IndexFunc(list, func(s snapshot) bool { return s.Name == name })
	if i < 0 {
		return snapshot{}, fmt.Errorf("there is none called %q: %w", name, hypervisor.ErrNoSnapshot)
	}
	return list[i], nil
}

// request is what libvirt is told to make.
type request struct {
	XMLName     xml.Name `xml:"domainsnapshot"`
	Name        string   `xml:"name"`
	Description string   `xml:"description,omitempty"`
	Memory      struct {
		Snapshot string `xml:"snapshot,attr"`
	} `xml:"memory"`
	Disks []requestDisk `xml:"disks>disk"`
}

type requestDisk struct {
	Name     string         `xml:"name,attr"`
	Snapshot string         `xml:"snapshot,attr"`
	Type     string         `xml:"type,attr,omitempty"`
	Driver   *requestDriver `xml:"driver"`
	Source   *requestSource `xml:"source"`
}

type requestDriver struct {
	Type string `xml:"type,attr"`
}

type requestSource struct {
	File string `xml:"file,attr"`
}

// plan says what snapshot to make of a domain with these disks, or which of them
// forbids it. Every disk is named: one that is not would get libvirt's default,
// which is internal for one and external for another.
func plan(o hypervisor.SnapshotOptions, active bool, disks []imageElement) (request, error) {
	r := request{Name: o.Name, Description: o.Description}
	r.Memory.Snapshot = locationNo
	how := locationInternal
	switch {
	case o.Memory && !active:
		return r, fmt.Errorf("it has no memory to keep: %w", hypervisor.ErrNotActive)
	case o.Memory && o.External:
		return r, fmt.Errorf("memory is kept inside of the images, and layers have none: ask for one of the two: %w", hypervisor.ErrInvalidState)
	case o.Memory:
		r.Memory.Snapshot = locationInternal
	case active, o.External:
		how = locationExternal
	}
	var layered []string
	for _, d := range disks {
		// A disk that its definition keeps out of snapshots can be left out of layers
		// only: what is internal has all of them or libvirt refuses it.
		if d.removable() || d.Snapshot == locationNo && how == locationExternal {
			r.Disks = append(r.Disks, requestDisk{Name: d.Target.Dev, Snapshot: locationNo})
			continue
		}
		if err := d.forbids(how); err != nil {
			return r, fmt.Errorf("disk %s %w", d.Target.Dev, err)
		}
		r.Disks = append(r.Disks, requestDisk{Name: d.Target.Dev, Snapshot: how})
		layered = append(layered, d.Target.Dev)
	}
	if len(layered) == 0 {
		return r, fmt.Errorf("it has no disk that a snapshot could be made of: %w", hypervisor.ErrInvalidState)
	}
	if how == locationExternal {
		r.addLayers(disks, layered)
	}
	return r, nil
}

func (r *request) addLayers(disks []imageElement, targets []string) {
	files := make(map[string]string, len(targets))
	for _, target := range targets {
		files[target] = image(disks, target).Source.File
	}
	layers := layerFiles(files, r.Name)
	for i := range r.Disks {
		d := &r.Disks[i]
		if d.Snapshot == locationExternal {
			d.Type, d.Driver, d.Source = "file", &requestDriver{"qcow2"}, &requestSource{layers[d.Name]}
		}
	}
}

// removable: what the domain cannot write to, or what holds no medium.
func (d imageElement) removable() bool {
	return d.kind() == "cdrom" || d.kind() == "floppy" || d.ReadOnly != nil || d.Source.String() == ""
}

// kind is disk unless the definition says otherwise.
func (d imageElement) kind() string { return cmp.Or(d.Device, "disk") }

// forbids is why no snapshot of that kind can be made of the disk.
func (d imageElement) forbids(how string) error {
	why := ""
	switch {
	case d.Shareable != nil:
		why = "is shared with other domains"
	case d.Encrypted != nil || d.Source.Encrypted != nil:
		why = "is encrypted"
	case d.kind() != "disk" || d.Type != "file":
		why = fmt.Sprintf("is not a file but of type %s (%s)", d.Type, d.kind())
	case d.Mirror != nil:
		why = "is under a block job"
	case how == locationInternal && d.Snapshot == locationNo:
		why = "is kept out of snapshots by the definition (snapshot='no'), and an internal one needs all"
	case how == locationInternal && d.Driver.Type != "qcow2":
		why = fmt.Sprintf("is of format %s, and an internal snapshot needs qcow2: make an external one", cmp.Or(d.Driver.Type, "raw"))
	default:
		return nil
	}
	return fmt.Errorf("%s: %w", why, hypervisor.ErrInvalidState)
}
