//go:build cgo

package libvirt

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	lv "libvirt.org/go/libvirt"

	"holdfast/internal/hypervisor"
)

// layer is a qcow2 file to be made upon an image.
type layer struct {
	file   string
	upon   string
	format string // of upon
}

// layerFiles names a new file beside each image, as libvirt would: vm.qcow2 gets
// vm.NAME. Dots in the name become hyphens, or each layer would have a longer name
// than the one below. Two images of which that would be the same name get their
// target, too.
func layerFiles(files map[string]string, name string) map[string]string {
	stem := func(file string) string {
		base := path.Base(file)
		if ext := path.Ext(base); ext != base {
			return strings.TrimSuffix(file, ext)
		}
		return file
	}
	users := make(map[string]int, len(files))
	for _, file := range files {
		users[stem(file)]++
	}
	out := make(map[string]string, len(files))
	name = strings.ReplaceAll(name, ".", "-")
	for target, file := range files {
		out[target] = stem(file) + "." + name
		if users[stem(file)] > 1 {
			out[target] = stem(file) + "." + target + "-" + name
		}
	}
	return out
}

// poolOf finds the storage pool of a folder. libvirt finds only those that run.
func (l *link) poolOf(folder string) (*lv.StoragePool, error) {
	pool, err := l.conn.LookupStoragePoolByTargetPath(folder)
	if hasCode(err, lv.ERR_NO_STORAGE_POOL) || hasCode(err, lv.ERR_NO_SUPPORT) {
		return nil, fmt.Errorf("no active storage pool of the host has the folder %s, in which a layer has to be made: start the one that has (virsh pool-start), or define one (virsh pool-define-as NAME dir --target %s): %w",
			folder, folder, hypervisor.ErrNoResource)
	}
	return pool, err
}

type volume struct {
	XMLName xml.Name `xml:"volume"`
	Name    string   `xml:"name"`
	Format  struct {
		Type string `xml:"type,attr"`
	} `xml:"target>format"`
	Compat string `xml:"target>compat"`
	Upon   struct {
		Path   string `xml:"path"`
		Format struct {
			Type string `xml:"type,attr"`
		} `xml:"format"`
	} `xml:"backingStore"`
}

// makeLayer makes the file, through the pool that its folder belongs to. It has
// the capacity of what it is built upon. Without being told libvirt makes a
// qcow2 of QEMU 0.10, which cannot discard.
func (l *link) makeLayer(y layer) (err error) {
	pool, err := l.poolOf(path.Dir(y.file))
	if err != nil {
		return err
	}
	defer pool.Free() //nolint:errcheck // the reference is gone whatever it says
	v := volume{Name: path.Base(y.file), Compat: "1.1"}
	v.Format.Type, v.Upon.Path, v.Upon.Format.Type = "qcow2", y.upon, y.format
	text, err := xml.Marshal(v)
	if err != nil {
		return err
	}
	made, err := pool.StorageVolCreateXML(string(text), 0)
	if err != nil {
		return err
	}
	return made.Free()
}

// removeLayer removes a file that was just made, and that nothing uses.
func (l *link) removeLayer(y layer) error {
	v, err := l.conn.LookupStorageVolByPath(y.file)
	if err != nil {
		return err
	}
	defer v.Free() //nolint:errcheck // the reference is gone whatever it says
	return v.Delete(0)
}

// useLayers returns the definition with the layers in place of the files of
// these disks, and each other byte of it as it was.
func useLayers(definition string, layers map[string]layer) (string, error) {
	disks, err := locateDisks(definition)
	if err != nil {
		return "", err
	}
	var edits []edit
	missing := maps.Clone(layers)
	for _, d := range disks {
		y, ok := layers[d.target]
		if !ok {
			continue
		}
		if d.source == nil {
			return "", fmt.Errorf("disk %s has no source: %w", d.target, hypervisor.ErrInvalidState)
		}
		delete(missing, d.target)
		edits = append(edits, d.edits(y)...)
	}
	if len(missing) > 0 {
		return "", fmt.Errorf("disk %s is not in its definition: %w", slices.Min(slices.Collect(maps.Keys(missing))), hypervisor.ErrInvalidState)
	}
	slices.SortFunc(edits, func(a, b edit) int { return int(b.from - a.from) }) // the last first: the others stay where they are
	for _, e := range edits {
		definition = definition[:e.from] + e.text + definition[e.to:]
	}
	return definition, nil
}

// edit puts text in place of the bytes from from to to.
type edit struct {
	from, to int64
	text     string
}

// tag is a start tag, and where it is in the text.
type tag struct {
	from, to int64
	element  xml.StartElement
	closed   bool // by itself
}

// located is where the parts of a disk are that a layer changes.
type located struct {
	target  string
	driver  *tag
	source  *tag
	backing []edit // removes each
}

func (d located) edits(y layer) []edit {
	backing := fmt.Sprintf("<backingStore type='file'><format type='%s'/><source file='%s'/></backingStore>", escape(y.format), escape(y.upon))
	// Before the source, as it may have children.
	source := edit{d.source.from, d.source.to, backing + d.source.with("file", y.file)}
	out := append(slices.Clone(d.backing), source)
	if d.driver != nil {
		return append(out, edit{d.driver.from, d.driver.to, d.driver.with("type", "qcow2")})
	}
	out[len(out)-1].text = "<driver name='qemu' type='qcow2'/>" + source.text
	return out
}

// with is the tag with another value of an attribute.
func (t tag) with(name, value string) string {
	var out strings.Builder
	out.WriteString("<" + t.element.Name.Local)
	found := false
	for _, a := range t.element.Attr {
		if a.Name.Local == name && a.Name.Space == "" {
			a.Value, found = value, true
		}
		out.WriteString(" " + raw(a.Name) + "='" + escape(a.Value) + "'")
	}
	if !found {
		out.WriteString(" " + name + "='" + escape(value) + "'")
	}
	if t.closed {
		out.WriteString("/")
	}
	out.WriteString(">")
	return out.String()
}

// raw is a name as RawToken found it.
func raw(n xml.Name) string {
	if n.Space == "" {
		return n.Local
	}
	return n.Space + ":" + n.Local
}

func escape(s string) string {
	var out strings.Builder
	_ = xml.EscapeText(&out, []byte(s)) // a Builder takes everything
	return out.String()
}

// locateDisks finds the disks of a definition. Its error quotes nothing of it.
func locateDisks(definition string) ([]located, error) {
	in := xml.NewDecoder(strings.NewReader(definition))
	var disks []located
	var at []string // the names of the elements around
	var backing int64
	for {
		from := in.InputOffset()
		token, err := in.RawToken()
		if errors.Is(err, io.EOF) && len(at) == 0 {
			return disks, nil
		}
		if err != nil {
			return nil, errors.New("the definition cannot be read")
		}
		to := in.InputOffset()
		switch t := token.(type) {
		case xml.StartElement:
			at = append(at, raw(t.Name))
			where := strings.Join(at, ">")
			if where == "domain>devices>disk" {
				disks = append(disks, located{})
			}
			if !strings.HasPrefix(where, "domain>devices>disk>") || len(at) != 4 {
				continue
			}
			d, found := &disks[len(disks)-1], &tag{from, to, t.Copy(), strings.HasSuffix(definition[from:to], "/>")}
			switch at[3] {
			case "driver":
				d.driver = found
			case "source":
				d.source = found
			case "target":
				d.target = attribute(t, "dev")
			case "backingStore":
				backing = from
			}
		case xml.EndElement:
			if strings.Join(at, ">") == "domain>devices>disk>backingStore" {
				d := &disks[len(disks)-1]
				d.backing = append(d.backing, edit{from: backing, to: to})
			}
			if len(at) == 0 {
				return nil, errors.New("the definition cannot be read")
			}
			at = at[:len(at)-1]
		}
	}
}

func attribute(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name && a.Name.Space == "" {
			return a.Value
		}
	}
	return ""
}
