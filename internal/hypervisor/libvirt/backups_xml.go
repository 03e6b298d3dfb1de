//go:build cgo

package libvirt

import (
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"slices"

	"holdfast/internal/hypervisor"
)

// backupDocument is a backup job as libvirt describes it, and is told of it.
type backupDocument struct {
	XMLName     xml.Name    `xml:"domainbackup"`
	Mode        string      `xml:"mode,attr"`
	Incremental string      `xml:"incremental,omitempty"`
	Disks       []jobMember `xml:"disks>disk"`
}

type jobMember struct {
	Name   string         `xml:"name,attr"`
	Backup string         `xml:"backup,attr"`
	Type   string         `xml:"type,attr,omitempty"`
	Driver *requestDriver `xml:"driver"`
	Target *requestSource `xml:"target"`
}

type checkpointDocument struct {
	XMLName     xml.Name           `xml:"domaincheckpoint"`
	Name        string             `xml:"name"`
	Description string             `xml:"description,omitempty"`
	Created     int64              `xml:"creationTime,omitempty"`
	Disks       []checkpointMember `xml:"disks>disk"`
}

type checkpointMember struct {
	Name       string `xml:"name,attr"`
	Checkpoint string `xml:"checkpoint,attr"`
}

// jobXML is what libvirt is told to copy, and the checkpoint that it is to make
// at the same moment. Each disk is named: one that is not would be copied, too,
// to a file that libvirt names.
func jobXML(disks []imageElement, files map[string]string, incremental, checkpoint, description string) (job, point string, err error) {
	b := backupDocument{Mode: "push", Incremental: incremental}
	c := checkpointDocument{Name: checkpoint, Description: description}
	for _, d := range disks {
		target := d.Target.Dev
		file, ok := files[target]
		if !ok {
			b.Disks = append(b.Disks, jobMember{Name: target, Backup: "no"})
			c.Disks = append(c.Disks, checkpointMember{target, "no"})
			continue
		}
		b.Disks = append(b.Disks, jobMember{Name: target, Backup: "yes", Type: "file", Driver: &requestDriver{"qcow2"}, Target: &requestSource{file}})
		c.Disks = append(c.Disks, checkpointMember{target, "bitmap"})
	}
	text, err := xml.Marshal(b)
	if err != nil || checkpoint == "" {
		return string(text), "", err
	}
	pointText, err := xml.Marshal(c)
	return string(text), string(pointText), err
}

// jobFiles are the files that a job writes to.
func jobFiles(text string) ([]string, error) {
	var b backupDocument
	if err := xml.Unmarshal([]byte(text), &b); err != nil {
		return nil, errors.New("the description of the backup job cannot be read")
	}
	var files []string
	for _, d := range b.Disks {
		if d.Target != nil && d.Target.File != "" {
			files = append(files, d.Target.File)
		}
	}
	return files, nil
}

// newVolume is a volume to be made. Without being told libvirt makes a qcow2 of
// QEMU 0.10, which cannot discard.
type newVolume struct {
	XMLName     xml.Name     `xml:"volume"`
	Name        string       `xml:"name"`
	Capacity    uint64       `xml:"capacity"` // bytes
	Target      volumeTarget `xml:"target"`
	BackingFile *volumeUpon  `xml:"backingStore"`
}

type volumeTarget struct {
	Format      volumeFormat `xml:"format"`
	Permissions *permissions `xml:"permissions"`
	Compat      string       `xml:"compat,omitempty"`
}

type volumeFormat struct {
	Type string `xml:"type,attr"`
}

type volumeUpon struct {
	Path   string       `xml:"path"`
	Format volumeFormat `xml:"format"`
}

// permissions of a volume's file.
type permissions struct {
	Mode  string `xml:"mode"`
	Owner string `xml:"owner"`
	Group string `xml:"group"`
}

// volumeXML describes one: upon is a qcow2 file that it builds upon, or empty.
func volumeXML(name, format string, capacity uint64, upon string, p *permissions) (string, error) {
	v := newVolume{Name: name, Capacity: capacity, Target: volumeTarget{Format: volumeFormat{format}, Permissions: p}}
	if format == "qcow2" {
		v.Target.Compat = "1.1"
	}
	if upon != "" {
		v.BackingFile = &volumeUpon{upon, volumeFormat{"qcow2"}}
	}
	text, err := xml.Marshal(v)
	return string(text), err
}

// volumeDocument is a volume as libvirt describes it.
type volumeDocument struct {
	Key    string `xml:"key"`
	Format struct {
		Type string `xml:"type,attr"`
	} `xml:"target>format"`
	Permissions permissions `xml:"target>permissions"`
	Upon        string      `xml:"backingStore>path"`
	UponFormat  struct {
		Type string `xml:"type,attr"`
	} `xml:"backingStore>format"`
	Modified string `xml:"target>timestamps>mtime"` // seconds, a dot, nanoseconds
}

func parseVolume(text string) (volumeDocument, error) {
	var v volumeDocument
	if err := xml.Unmarshal([]byte(text), &v); err != nil {
		return v, errors.New("the description of a volume cannot be read")
	}
	return v, nil
}

// toCopy are the disks that a backup is of, or why one of them cannot be copied.
func toCopy(disks []imageElement) ([]imageElement, error) {
	var out []imageElement
	for _, d := range disks {
		if d.removable() {
			continue
		}
		if err := d.forbids(""); err != nil {
			return nil, fmt.Errorf("disk %s %w", d.Target.Dev, err)
		}
		out = append(out, d)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("it has no disk that a backup could be made of: %w", hypervisor.ErrInvalidState)
	}
	return out, nil
}

// diskFile is a file that a disk is to be.
type diskFile struct {
	file, format     string
	upon, uponFormat string // the file below it; empty: none
}

// useFiles returns the definition with other files in place of those of these
// disks, and each other byte of it as it was.
func useFiles(definition string, files map[string]diskFile) (string, error) {
	disks, err := locateDisks(definition)
	if err != nil {
		return "", err
	}
	var edits []edit
	for target, f := range files {
		i := slices.IndexFunc(disks, func(d located) bool { return d.target == target })
		if i < 0 || disks[i].source == nil {
			return "", fmt.Errorf("disk %s is not in its definition, or has no source: %w", target, hypervisor.ErrInvalidState)
		}
		edits = append(edits, disks[i].become(f)...)
	}
	slices.SortFunc(edits, func(a, b edit) int { return int(b.from - a.from) }) // the last first: the others stay where they are
	for _, e := range edits {
		definition = definition[:e.from] + e.text + definition[e.to:]
	}
	return definition, nil
}

// become is edits for a file that may be of any format, and have nothing below.
func (d located) become(f diskFile) []edit {
	if f.upon != "" {
		return d.edits(layer{file: f.file, upon: f.upon, format: f.uponFormat})
	}
	out := append(slices.Clone(d.backing), edit{d.source.from, d.source.to, d.source.with("file", f.file)})
	switch {
	case d.driver == nil && f.format != "raw":
		out[len(out)-1].text = fmt.Sprintf("<driver name='qemu' type='%s'/>", escape(f.format)) + out[len(out)-1].text
	case d.driver != nil && cmp.Or(attribute(d.driver.element, "type"), "raw") != f.format:
		out = append(out, edit{d.driver.from, d.driver.to, d.driver.with("type", f.format)})
	}
	return out
}

// family are the files that hang together with what the definition names: they
// lie in its chains, or in that of a snapshot which has a file of the family.
func family(disks []imageElement, all []snapshot) map[string]bool {
	in := make(map[string]bool)
	for _, d := range disks {
		for _, file := range d.chain() {
			in[file] = file != ""
		}
	}
	for grown := true; grown; {
		grown = false
		for _, s := range all {
			for _, d := range s.covered() {
				files := append([]string{s.file(d.Name), d.Layer.String()}, s.below(d.Name)...)
				files = slices.DeleteFunc(files, func(f string) bool { return f == "" })
				if !slices.ContainsFunc(files, func(f string) bool { return in[f] }) {
					continue
				}
				for _, file := range files {
					grown = grown || !in[file]
					in[file] = true
				}
			}
		}
	}
	return in
}

// ofTheirFiles are the snapshots whose state is in files that hang together with
// those of the definition. After a restore from a backup the others are about
// files that the domain does not have for now.
func ofTheirFiles(disks []imageElement, all []snapshot) []snapshot {
	in := family(disks, all)
	return slices.DeleteFunc(slices.Clone(all), func(s snapshot) bool {
		return slices.ContainsFunc(s.covered(), func(d snapshotDisk) bool {
			there, file := image(disks, d.Name), s.file(d.Name)
			return there != nil && there.Source.String() != "" && file != "" && !in[file]
		})
	})
}
