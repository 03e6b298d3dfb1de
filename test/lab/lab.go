package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Storage says what the hosts of a lab see of each other's disks.
type Storage string

// Kinds of storage. Both are under the same path on every host.
const (
	StorageShared Storage = "shared" // one folder of images, seen by all hosts
	StorageLocal  Storage = "local"  // each host has its own folder of images
)

// Options say what Up builds. The zero value builds two hosts with two guests
// on shared storage, in build/lab of the checkout.
type Options struct {
	Name    string  // default: DefaultName
	Hosts   int     // default 2
	VMs     int     // default 2; -1 for none. VM1 goes on A, VM2 on B and so on, round and round
	Storage Storage // default StorageShared
	Dir     string  // folder that holds the lab's folder; default build/lab in the checkout

	// SmallPool puts the images on a file system of SmallPoolMiB that can be filled
	// (FillPool): one for all hosts, or with StorageLocal one for each. It takes this
	// machine's memory as it is filled.
	SmallPool bool
	// Flaky gives every VM a second disk, vdb, that can be broken (BreakDisk).
	Flaky bool
	// BootDisk has every VM boot only if what its disk holds is right: see
	// CorruptDisk and SetGeneration. It begins with generation 0.
	BootDisk bool
	// Power gives each host in the site file a power command: see [Lab.PowerCommand].
	Power bool

	// Binary is the lab command, which Up runs inside the hosts and as the
	// sampler. Default: this process if it is that, else $LAB_BINARY, else bin/lab in the checkout.
	Binary string
	// NoWaitGuests returns when the guests are started, not when each of them
	// has acknowledged its first write.
	NoWaitGuests bool
	// Guard takes the lab down when the calling process has ended, however that
	// came about. For tests: one that is killed cannot clean up.
	Guard bool
	// KeepFailed leaves what there is of a lab that did not come up.
	KeepFailed bool
	// Progress, if set, is called with one line for each thing done. It may be
	// called by several goroutines at once.
	Progress func(line string)
}

// Host is one libvirt host of a lab.
type Host struct {
	Name    string `json:"name"`
	URI     string `json:"uri"` // for the root namespace
	Address string `json:"address"`
	NetNS   string `json:"netns"`
	Images  string `json:"images"` // the host's images as the root namespace sees them
}

// VM is one guest of a lab.
type VM struct {
	Name string `json:"name"`
	UUID string `json:"uuid"`
	Host string `json:"host"` // the one it was defined and started on
	Disk string `json:"disk"` // path of its image on every host, as it was made
	// Address is where the guest answers, wherever it runs: GET / by HTTP, on port
	// 80, says which boot it is. The root namespace, hosts and vantages reach it,
	// as far as its host's cable reaches.
	Address string `json:"address"`
}

// Info is what Up made.
type Info struct {
	Name      string    `json:"name"`
	Dir       string    `json:"dir"`
	Hosts     []Host    `json:"hosts"`
	VMs       []VM      `json:"vms"`
	SiteFile  string    `json:"siteFile"`
	Storage   Storage   `json:"storage"`
	SmallPool bool      `json:"smallPool,omitempty"` // see Options
	Flaky     bool      `json:"flaky,omitempty"`     // see Options
	BootDisk  bool      `json:"bootDisk,omitempty"`  // see Options
	Subnet    string    `json:"subnet"`
	Created   time.Time `json:"created"`
	// Up is false while the lab is being built, and stays false if that failed.
	Up bool `json:"up"`
	// Binary is the lab command that runs its sampler.
	Binary string `json:"binary"`
}

// Lab is a lab that is up, or the remains of one.
type Lab struct {
	info Info
	id   string
}

// ErrNotFound says that there is no such lab.
var ErrNotFound = errors.New("no such lab")

// Open finds the lab of a name. dir may be empty for the default, as may name.
func Open(dir, name string) (*Lab, error) {
	l, err := locate(dir, name)
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(l.file("lab.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s in %s; `lab list` shows those there are, `lab up --name %s` makes it",
			ErrNotFound, l.info.Name, filepath.Dir(l.info.Dir), l.info.Name)
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, &l.info); err != nil {
		return nil, fmt.Errorf("%s: %w; `lab down --name %s` removes the lab", l.file("lab.json"), err, l.info.Name)
	}
	return l, nil
}

// locate is Open for a lab that may not exist.
func locate(dir, name string) (*Lab, error) {
	if name == "" {
		var err error
		if name, err = DefaultName(); err != nil {
			return nil, err
		}
	}
	path, err := labDir(dir, name)
	if err != nil {
		return nil, err
	}
	return &Lab{info: Info{Name: name, Dir: path}, id: identity(path)}, nil
}

// List opens the labs in dir, which may be empty for the default.
func List(dir string) ([]*Lab, error) {
	sample, err := labDir(dir, "any")
	if err != nil {
		return nil, err
	}
	found, err := filepath.Glob(filepath.Join(filepath.Dir(sample), "*", "lab.json"))
	if err != nil {
		return nil, err
	}
	var labs []*Lab
	for _, file := range found {
		l, err := Open(dir, filepath.Base(filepath.Dir(file)))
		if errors.Is(err, ErrNotFound) {
			continue // taken down meanwhile
		}
		if err != nil {
			return nil, err
		}
		labs = append(labs, l)
	}
	return labs, nil
}

// Info is what the lab was built as. The slices are the caller's to change.
func (l *Lab) Info() Info {
	info := l.info
	info.Hosts = append([]Host(nil), info.Hosts...)
	info.VMs = append([]VM(nil), info.VMs...)
	return info
}

// file is a path in the lab's folder.
func (l *Lab) file(elem ...string) string {
	return filepath.Join(append([]string{l.info.Dir}, elem...)...)
}

// hostFile is a path in a host's part of the lab's folder.
func (l *Lab) hostFile(host string, elem ...string) string {
	return l.file(append([]string{"hosts", host}, elem...)...)
}

// consoleFile is where a VM's console ends up when it runs on a host.
func (l *Lab) consoleFile(host, vm string) string {
	return l.hostFile(host, "var-log-libvirt", "console", vm+".log")
}

// imageDir is where a host's images are.
func (l *Lab) imageDir(host string) string {
	if l.info.Storage == StorageLocal {
		return l.hostFile(host, "images")
	}
	return l.file("images")
}

// imageFile is a VM's image as a host has it.
func (l *Lab) imageFile(host, vm string) string {
	return filepath.Join(l.imageDir(host), vm+".qcow2")
}

// host finds a host by name.
func (l *Lab) host(name string) (Host, error) {
	for _, h := range l.info.Hosts {
		if h.Name == name {
			return h, nil
		}
	}
	return Host{}, fmt.Errorf("lab %s has no host %q; it has %s to %s", l.info.Name, name, hostName(0), hostName(len(l.info.Hosts)-1))
}

// vm finds a VM by name or UUID.
func (l *Lab) vm(name string) (VM, error) {
	for _, v := range l.info.VMs {
		if v.Name == name || v.UUID == name {
			return v, nil
		}
	}
	return VM{}, fmt.Errorf("lab %s has no VM %q; it has %d, from VM1", l.info.Name, name, len(l.info.VMs))
}

// save writes lab.json.
func (l *Lab) save() error { return writeJSON(l.file("lab.json"), l.info) }

// writeJSON replaces a file at one stroke: whoever reads it sees the old or the
// new content, never a part.
func writeJSON(path string, v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, append(raw, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// readJSON is the reverse of writeJSON.
func readJSON(path string, v any) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
