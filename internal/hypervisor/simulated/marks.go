package simulated

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"holdfast/internal/hypervisor"
)

// LocalFolder is one that every host has, each its own.
const LocalFolder = "/srv/local"

// mark is an empty file. Storage is the host that alone has the folder; empty: all
// that share it.
type mark struct{ storage, folder, name string }

// marks are those of all hosts.
type marks struct {
	mu  sync.Mutex
	all map[mark]bool
}

func (m *marks) there(one mark) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.all[one]
}

// make says false if it is there already.
func (m *marks) make(one mark) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all[one] {
		return false
	}
	if m.all == nil {
		m.all = make(map[mark]bool)
	}
	m.all[one] = true
	return true
}

func (m *marks) remove(one mark) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.all, one)
}

// Mark implements [hypervisor.Host].
func (h *host) Mark(ctx context.Context, folder, name string) error {
	_, err := h.inFolder(ctx, "mark", folder, name, func(one mark) (bool, error) {
		switch {
		case one.folder == poolTarget && h.m.pool.used >= 100 && !h.m.marks.there(one):
			return false, fmt.Errorf("no space left on device: %w", hypervisor.ErrNoResource)
		case !h.m.marks.make(one):
			return false, fmt.Errorf("there is a file of that name: %w", hypervisor.ErrExists)
		}
		return true, nil
	})
	return err
}

// Marked implements [hypervisor.Host].
func (h *host) Marked(ctx context.Context, folder, name string) (bool, error) {
	return h.inFolder(ctx, "look for a mark in", folder, name, func(one mark) (bool, error) {
		return h.m.marks.there(one), nil
	})
}

// Unmark implements [hypervisor.Host].
func (h *host) Unmark(ctx context.Context, folder, name string) error {
	_, err := h.inFolder(ctx, "remove a mark from", folder, name, func(one mark) (bool, error) {
		h.m.marks.remove(one)
		return false, nil
	})
	return err
}

// inFolder is a call about a mark.
func (h *host) inFolder(ctx context.Context, what, folder, name string, serve func(mark) (bool, error)) (bool, error) {
	return call(ctx, h, func(done func(bool, error)) {
		var out bool
		one, err := h.m.mark(folder, name)
		if err == nil {
			out, err = serve(one)
		}
		if err != nil {
			err = fmt.Errorf("%s folder %q on %s: %w", what, folder, h.m.name, err)
		}
		done(out, err)
	})
}

// mark is one that can be.
func (m *machine) mark(folder, name string) (mark, error) {
	out := mark{storage: m.storage(), folder: path.Clean(folder), name: name}
	switch {
	case !strings.HasPrefix(name, hypervisor.MarkPrefix) || strings.Contains(name, "/"):
		return out, fmt.Errorf("%q cannot be the name of a mark: it begins with %s, and has no slash", name, hypervisor.MarkPrefix)
	case !path.IsAbs(folder):
		return out, fmt.Errorf("it is not the whole path of a folder")
	case out.folder == LocalFolder:
		out.storage = m.name
		return out, nil
	}
	_, err := m.place(out.folder)
	return out, err
}

// storage is what the host's folders are on.
func (m *machine) storage() string {
	if m.own {
		return m.name
	}
	return ""
}

// reaches: the host has the storage that the VM's disk is on.
func (m *machine) reaches(v *vm) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.storedOn == m.storage()
}

// noFile is what a host says that does not reach the VM's disk.
func (d *domain) noFile() error {
	return fmt.Errorf("cannot access storage file '%s': No such file or directory: %w", d.image(), hypervisor.ErrNoResource)
}

// OwnStorage says whether the folders of a host are its own, and not the storage that
// the others share. The disks of the VMs that run there, or nowhere while it has them
// defined, are then on it alone; when it is shared again, so are they. What was
// backed up stays where all hosts see it.
func (c *Cluster) OwnStorage(host string, own bool) error {
	return c.onMachine(host, func(m *machine) {
		m.own = own
		for _, v := range c.vms {
			v.mu.Lock()
			_, known := m.domains[v.uuid]
			here := known && (len(v.activeOn) == 0 || slices.Contains(v.activeOn, m.name))
			if v.storedOn == m.name || here {
				v.storedOn = m.storage()
			}
			v.mu.Unlock()
		}
		for _, d := range m.domains {
			if d.onTrial != nil {
				d.vm.mu.Lock()
				d.vm.storedOn = m.storage()
				d.vm.mu.Unlock()
			}
		}
	})
}

// Marks are the files that marks are, as a host sees them, sorted.
func (c *Cluster) Marks(host string) ([]string, error) {
	var out []string
	err := c.onMachine(host, func(m *machine) {
		m.marks.mu.Lock()
		defer m.marks.mu.Unlock()
		for one := range m.marks.all {
			if one.storage == m.storage() || one.storage == m.name {
				out = append(out, path.Join(one.folder, one.name))
			}
		}
	})
	slices.Sort(out)
	return out, err
}
