package lab

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"holdfast/test/lab/internal/record"
)

// outside is a path of a host as the root namespace sees it, whether or not the
// host has power.
func (l *Lab) outside(host, file string) (string, error) {
	for _, place := range []struct{ inside, outside string }{
		{hostImages, l.imageDir(host)},
		{"/var/lib/libvirt", l.hostFile(host, "var-lib-libvirt")},
	} {
		if rest, is := strings.CutPrefix(path.Clean(file), place.inside+"/"); is {
			return filepath.Join(place.outside, rest), nil
		}
	}
	return "", fmt.Errorf("%s of host %s is in no folder that belongs to the lab", file, host)
}

// definedDisk is the image that a VM has for vda by its definition on a host,
// as libvirt keeps it: after an external snapshot another than it was made with.
// fs.ErrNotExist if the host has no definition of it.
func (l *Lab) definedDisk(host, vm string) (string, error) {
	raw, err := os.ReadFile(l.hostFile(host, "etc-libvirt", "qemu", vm+".xml"))
	if err != nil {
		return "", err
	}
	var definition struct {
		Disks []struct {
			Source struct {
				File string `xml:"file,attr"`
			} `xml:"source"`
			Target struct {
				Dev string `xml:"dev,attr"`
			} `xml:"target"`
		} `xml:"devices>disk"`
	}
	if err := xml.Unmarshal(raw, &definition); err != nil {
		return "", fmt.Errorf("definition of %s on host %s: %w", vm, host, err)
	}
	for _, disk := range definition.Disks {
		if disk.Target.Dev == "vda" && disk.Source.File != "" {
			return disk.Source.File, nil
		}
	}
	return "", fmt.Errorf("definition of %s on host %s: vda is no file: %w", vm, host, fs.ErrNotExist)
}

// activeDisk is the image that a VM has for vda, on a host; with shared storage
// any host's definition will do.
func (l *Lab) activeDisk(vm VM, host string) (string, error) {
	hosts := []string{host}
	if l.info.Storage == StorageShared {
		for _, h := range l.info.Hosts {
			hosts = append(hosts, h.Name)
		}
	}
	for _, h := range hosts {
		disk, err := l.definedDisk(h, vm.Name)
		if !errors.Is(err, fs.ErrNotExist) {
			return disk, err
		}
	}
	return vm.Disk, nil
}

// image is an image on a host, and what it is built upon, as the root namespace
// sees them.
type image struct {
	format  string
	file    string
	backing *image // nil: none
}

// name is what QEMU's programs take in place of a file's name. What an image says
// of others does not lead there from the root namespace.
func (i image) name() (string, error) {
	raw, err := json.Marshal(i.options())
	return "json:" + string(raw), err
}

func (i image) options() map[string]any {
	options := map[string]any{"driver": i.format, "file": map[string]any{"driver": "file", "filename": i.file}}
	switch {
	case i.backing != nil:
		options["backing"] = i.backing.options()
	case i.format == "qcow2": // raw takes no word about it
		options["backing"] = nil
	}
	return options
}

// maxChain is how many images are followed; libvirt has a like limit.
const maxChain = 200

// image finds out about an image of a host. fs.ErrNotExist if it is not there.
func (l *Lab) image(host, file string) (image, error) {
	var whole image
	below := &whole
	for range maxChain {
		name, err := l.outside(host, file)
		if err != nil {
			return image{}, err
		}
		format, backing, err := readHeader(name)
		if err != nil {
			return image{}, err
		}
		*below = image{format: format, file: name}
		if backing == "" {
			return whole, nil
		}
		if !path.IsAbs(backing) {
			backing = path.Join(path.Dir(file), backing)
		}
		file = backing
		below.backing = &image{}
		below = below.backing
	}
	return image{}, fmt.Errorf("image %s of host %s is built upon more than %d others", file, host, maxChain)
}

// readHeader says whether an image is qcow2, or else raw, and what it is built
// upon. A raw image whose guest wrote such a header to it would be taken for
// qcow2; the lab's guests do not.
func readHeader(name string) (format, backing string, err error) {
	file, err := os.Open(name)
	if err != nil {
		return "", "", err
	}
	defer file.Close()
	var header [20]byte
	if _, err := io.ReadFull(file, header[:]); err != nil || string(header[:4]) != "QFI\xfb" {
		return "raw", "", nil
	}
	at, size := binary.BigEndian.Uint64(header[8:]), binary.BigEndian.Uint32(header[16:])
	if at == 0 || size == 0 {
		return "qcow2", "", nil
	}
	if size > 1023 { // as the format has it
		return "", "", fmt.Errorf("image %s: the name of what it is built upon has %d bytes", name, size)
	}
	raw := make([]byte, size)
	if _, err := file.ReadAt(raw, int64(at)); err != nil {
		return "", "", fmt.Errorf("image %s: %w", name, err)
	}
	return "qcow2", string(raw), nil
}

// readImage reads a part of what a guest sees, from an image that it may be
// writing to, until what was read is good: an image may be caught in the middle
// of a change.
func readImage[T any](ctx context.Context, i image, at, size int, parse func([]byte) (T, error)) (found T, err error) {
	name, err := i.name()
	if err != nil {
		return found, err
	}
	for range 3 {
		cmd := exec.CommandContext(ctx, "qemu-io", "-r", "-U", "-c", fmt.Sprintf("read -v %d %d", at, size), name)
		var said bytes.Buffer // warnings, too, which come between the lines of what is read
		cmd.Stderr = &said
		out, runErr := cmd.Output()
		if runErr != nil {
			err = fmt.Errorf("read %s: %w: %s%s", i.file, runErr, bytes.TrimSpace(out), bytes.TrimSpace(said.Bytes()))
			continue
		}
		content := parseDump(out)
		if len(content) != size {
			err = fmt.Errorf("read %s: %d bytes, want %d: %s", i.file, len(content), size, out[:min(len(out), 200)])
			continue
		}
		if found, err = parse(content); err == nil {
			return found, nil
		}
	}
	return found, err
}

// readDisk reads the witness's number from an image. 0 is a disk that was never
// written.
func readDisk(ctx context.Context, i image) (uint64, error) {
	newest, err := readImage(ctx, i, 0, record.Size, record.Newest)
	if errors.Is(err, record.ErrBlank) {
		return 0, nil
	}
	return newest.N, err
}

// onDisk reads the witness's number from each image of a VM that there is.
func (l *Lab) onDisk(ctx context.Context, vm VM) (map[string]uint64, error) {
	found := map[string]uint64{}
	for _, host := range l.info.Hosts {
		if l.info.Storage == StorageShared && host.Name != vm.Host {
			continue
		}
		n, err := l.onDiskOf(ctx, vm, host.Name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found[host.Name] = n
	}
	return found, nil
}

func (l *Lab) onDiskOf(ctx context.Context, vm VM, host string) (uint64, error) {
	disk, err := l.activeDisk(vm, host)
	if err != nil {
		return 0, err
	}
	i, err := l.image(host, disk)
	if err != nil {
		return 0, err
	}
	return readDisk(ctx, i)
}

// ErrBroken says that an image holds no generation, or a broken one.
var ErrBroken = errors.New("no guest can boot from this image")

// ImageGeneration is the generation on an image of a host, such as one that was
// kept aside, with what it is built upon. The path is the host's own, as libvirt
// has it; the host need not have power. ErrBroken if a guest could not boot from
// it.
func (l *Lab) ImageGeneration(ctx context.Context, host, path string) (uint64, error) {
	i, err := l.image(host, path)
	if err != nil {
		return 0, err
	}
	generation, err := readImage(ctx, i, record.SystemStart, record.SystemSize, record.ParseSystem)
	if errors.Is(err, record.ErrNoSystem) || errors.Is(err, record.ErrSystemBroken) {
		err = fmt.Errorf("%w: %s: %w", ErrBroken, path, err)
	}
	return generation, err
}

// Disk is the image that a VM has for vda now, as its host names it, by the
// definition that libvirt keeps: the one it was made with, until an external
// snapshot or a restore gives it another. onHost says whose definition, where
// that matters.
func (l *Lab) Disk(vm string, onHost ...string) (string, error) {
	guest, err := l.vm(vm)
	if err != nil {
		return "", err
	}
	return l.activeDisk(guest, cmp.Or(append(slices.Clone(onHost), guest.Host)...))
}
