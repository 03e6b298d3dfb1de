package simulated

import (
	"context"
	"encoding/xml"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/google/uuid"

	"holdfast/internal/hypervisor"
)

// Network is the virtual network that every host has, active.
const Network = "default"

// Needs implements [hypervisor.Host].
func (h *host) Needs(ctx context.Context, uuid string) (hypervisor.Needs, error) {
	return about(ctx, h, uuid, func(d *domain, done func(hypervisor.Needs, error)) {
		out := hypervisor.Needs{
			Memory: memoryBytes, VCPUs: vcpus, Networks: []string{}, Pinned: d.pinned(), Autostart: d.autostart,
		}
		for _, file := range d.files() {
			out.Folders = append(out.Folders, path.Dir(file))
		}
		slices.Sort(out.Folders)
		out.Folders = slices.Compact(out.Folders)
		if err := d.readable(out.Folders); err != nil {
			done(hypervisor.Needs{}, fmt.Errorf("find out what %s on %s needs: %w", d.vm.name, h.m.name, err))
			return
		}
		done(out, nil)
	})
}

// readable: the files of the disk can be read.
func (d *domain) readable(folders []string) error {
	for _, folder := range folders {
		if _, err := d.on.place(folder); err != nil {
			return err
		}
	}
	if !d.on.reaches(d.vm) {
		return d.noFile()
	}
	return nil
}

// pinned are the snapshots, for they are in the books of this host alone.
func (d *domain) pinned() []string {
	out := []string{}
	for _, s := range d.snapshots {
		out = append(out, fmt.Sprintf("snapshot %q is known to this host alone", s.Name))
	}
	for file, on := range d.shelves {
		for _, s := range on.snapshots {
			out = append(out, fmt.Sprintf("snapshot %q of %s is known to this host alone", s.Name, file))
		}
	}
	slices.Sort(out)
	return out
}

// Networks implements [hypervisor.Host].
func (h *host) Networks(ctx context.Context) ([]string, error) {
	return call(ctx, h, func(done func([]string, error)) { done([]string{Network}, nil) })
}

// described is what a definition says of a VM, as far as a simulated host reads it.
type described struct {
	XMLName  xml.Name `xml:"domain"`
	Name     string   `xml:"name"`
	UUID     string   `xml:"uuid"`
	Metadata struct {
		Text string `xml:",innerxml"`
	} `xml:"metadata"`
	Disks []struct {
		Source struct {
			File string `xml:"file,attr"`
		} `xml:"source"`
		Target struct {
			Device string `xml:"dev,attr"`
		} `xml:"target"`
	} `xml:"devices>disk"`
}

// Define implements [hypervisor.Host]. A simulated host refuses domains that are no
// VM of its site.
func (h *host) Define(ctx context.Context, definition string) error {
	_, err := call(ctx, h, func(done func(struct{}, error)) {
		err := h.m.defineAs(definition)
		if err != nil {
			err = fmt.Errorf("define a domain on %s: %w", h.m.name, err)
		}
		done(struct{}{}, err)
	})
	return err
}

// defineAs has no error from the parser: it holds parts of the text.
func (m *machine) defineAs(definition string) error {
	var says described
	if xml.Unmarshal([]byte(definition), &says) != nil {
		return fmt.Errorf("the definition is not the XML of a domain: %w", hypervisor.ErrInvalidState)
	}
	id, err := uuid.Parse(strings.TrimSpace(says.UUID))
	if err != nil {
		return fmt.Errorf("the definition has no UUID: %w", hypervisor.ErrInvalidState)
	}
	if _, ok := m.domains[id.String()]; ok || slices.ContainsFunc(m.order, func(d *domain) bool { return d.vm.name == says.Name }) {
		return fmt.Errorf("it knows a domain of that UUID or name: %w", hypervisor.ErrExists)
	}
	v, ok := m.vms[id.String()]
	file := says.file()
	switch {
	case !ok || v.name != says.Name:
		return fmt.Errorf("a simulated host takes the VMs of its site only, and the definition is of none: %w", hypervisor.ErrInvalidState)
	case file == "":
		return fmt.Errorf("the definition has no file for %s: %w", diskTarget, hypervisor.ErrInvalidState)
	}
	d := m.define(v)
	d.annotation = strings.TrimSpace(says.Metadata.Text)
	d.chain = v.builtUpon(file)
	m.tell(d, hypervisor.EventDefined, "added")
	return nil
}

// file is that of the disk.
func (says described) file() string {
	for _, disk := range says.Disks {
		if disk.Target.Device == diskTarget {
			return disk.Source.File
		}
	}
	return ""
}

// Undefine implements [hypervisor.Host]. What has changed since a backup is forgotten
// with the domain, so that the next backup is a full one.
func (h *host) Undefine(ctx context.Context, uuid string) error {
	return h.act(ctx, uuid, func(d *domain, done func(error)) {
		snapshots := len(d.snapshots) + d.shelved()
		refuse := func(why string, sentinel error) {
			done(fmt.Errorf("undefine %s on %s: %s: %w", d.vm.name, h.m.name, why, sentinel))
		}
		switch {
		case d.state.Active():
			refuse(fmt.Sprintf("it is %s: stop it first", d.state), hypervisor.ErrAlreadyActive)
		case snapshots > 0:
			refuse(fmt.Sprintf("its %d snapshots would be lost: delete them first", snapshots), hypervisor.ErrInvalidState)
		default:
			d.vm.forgottenBy(h.m.name)
			h.m.forget(d)
			h.m.tell(d, hypervisor.EventUndefined, "removed")
			done(nil)
		}
	})
}

// forgottenBy: a host does not know any more what has changed since the last backup.
func (v *vm) forgottenBy(host string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.stored.since.host == host {
		v.stored.since = tracking{lost: "host " + host + ", which made the last one, has forgotten the domain since"}
	}
}

// Autostart implements [hypervisor.Host].
func (h *host) Autostart(ctx context.Context, uuid string) (bool, error) {
	return about(ctx, h, uuid, func(d *domain, done func(bool, error)) {
		done(d.autostart, d.noAutostart())
	})
}

// SetAutostart implements [hypervisor.Host].
func (h *host) SetAutostart(ctx context.Context, uuid string, on bool) error {
	return h.act(ctx, uuid, func(d *domain, done func(error)) {
		err := d.noAutostart()
		if err == nil {
			d.autostart = on
		}
		done(err)
	})
}

func (d *domain) noAutostart() error {
	if d.transient {
		return fmt.Errorf("domain %s on %s is transient, and has no autostart: %w", d.vm.name, d.on.name, hypervisor.ErrInvalidState)
	}
	return nil
}

// layOut says of which files the disk is from now on. What a file is built upon is
// in the file, so that another host finds it, too. The VM's lock is held.
func (d *domain) layOut(chain []string) {
	d.chain = chain
	if d.vm.stored.chains == nil {
		d.vm.stored.chains = make(map[string][]string)
	}
	d.vm.stored.chains[chain[0]] = chain
}

// layAnew is layOut for who does not hold the VM's lock.
func (d *domain) layAnew(chain []string) {
	d.vm.mu.Lock()
	defer d.vm.mu.Unlock()
	d.layOut(chain)
}

// builtUpon is a file and what it is built upon.
func (v *vm) builtUpon(file string) []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if chain, ok := v.stored.chains[file]; ok {
		return chain
	}
	return []string{file}
}
