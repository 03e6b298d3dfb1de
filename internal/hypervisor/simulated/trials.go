package simulated

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"holdfast/internal/hypervisor"
)

// trialPrefix begins the names of domains on trial and of their files.
const trialPrefix = "holdfast-trial-"

// onTrial is what a domain on trial has besides. It is found by its UUID and is in
// no listing, as its machine has it among its domains and not in their order.
type onTrial struct {
	of    string // UUID of the domain that it stands for
	maker *host  // it ends with its connection
}

// Try implements [hypervisor.Host].
func (h *host) Try(ctx context.Context, uuid string, of hypervisor.TrialOf) (hypervisor.Trial, error) {
	return about(ctx, h, uuid, func(d *domain, done func(hypervisor.Trial, error)) {
		t, err := d.trial(h, of)
		if err != nil {
			done(hypervisor.Trial{}, fmt.Errorf("try %+v of %s on %s: %w", of, d.vm.name, h.m.name, err))
			return
		}
		t.start(func(err error) {
			out := hypervisor.Trial{UUID: t.vm.uuid, Name: t.vm.name, Of: uuid}
			if err != nil {
				h.m.endTrials(func(other *domain) bool { return other == t })
				h.m.removeTrialFiles(trialFile(out))
			}
			done(out, err)
		})
	})
}

// trial is a domain that has what is tried on its disk, and does not run yet.
func (d *domain) trial(maker *host, of hypervisor.TrialOf) (*domain, error) {
	holds, below, err := d.tried(of)
	if err != nil {
		return nil, err
	}
	m := d.on
	m.endTrials(func(t *domain) bool { return t.onTrial.of == d.vm.uuid })
	m.removeTrialFiles(trialPrefix + d.vm.uuid)
	switch free := float64(m.node.MemoryTotal) * (1 - m.node.MemoryUsed/100); {
	case free < memoryBytes:
		return nil, fmt.Errorf("it may use %d MiB of memory, and the host has %d MiB free: %w", memoryBytes>>20, uint64(free)>>20, hypervisor.ErrNoResource)
	case m.pool.stopped || m.pool.lost:
		return nil, fmt.Errorf("no active storage pool of the host has the folder %s: %w", poolTarget, hypervisor.ErrNoResource)
	case !d.hasRoom(poolTarget):
		return nil, fmt.Errorf("no room for what its guest writes: %w", hypervisor.ErrNoResource)
	}
	v := &vm{name: trialPrefix + d.vm.uuid, uuid: uuid.NewString(), disk: holds, storedOn: m.storage()}
	does := CalmLoad()
	if holds.corrupt {
		does = Load{CPU: 50}
	}
	v.load.Store(&does)
	v.allocation.Store(partBytes)
	layer := trialFile(hypervisor.Trial{UUID: v.uuid, Of: d.vm.uuid}) + diskTarget + ".qcow2"
	t := &domain{
		vm: v, on: m, state: hypervisor.StateShutoff, transient: true,
		onTrial: &onTrial{of: d.vm.uuid, maker: maker}, chain: append([]string{poolTarget + "/" + layer}, below...),
	}
	m.domains[v.uuid] = t
	m.trialFiles = append(m.trialFiles, layer)
	return t, nil
}

// tried is what the disk of a trial holds, and the files that it lies upon.
func (d *domain) tried(of hypervisor.TrialOf) (holds content, below []string, err error) {
	if of.Backup == "" {
		switch s := d.findSnapshot(of.Snapshot); {
		case s == nil:
			return holds, nil, hypervisor.ErrNoSnapshot
		case !s.External:
			return holds, nil, fmt.Errorf("it is inside of an image that is in use, which nobody else can read: %w", hypervisor.ErrInvalidState)
		case s.file == d.image():
			return holds, nil, fmt.Errorf("the domain itself writes to its file: %w", hypervisor.ErrInvalidState)
		default:
			return s.kept, s.chain, nil
		}
	}
	folder, err := d.on.place(of.Where)
	if err != nil {
		return holds, nil, err
	}
	d.vm.mu.Lock()
	defer d.vm.mu.Unlock()
	s := &d.vm.stored
	b := s.find(folder, of.Backup)
	if b == nil {
		return holds, nil, hypervisor.ErrNoBackup
	}
	file := b.Disks[0].File
	if !b.Kept {
		holds = b.holds
		holds.corrupt = holds.corrupt || s.check(folder, of.Backup) != nil
		return holds, []string{file}, nil
	}
	kept, ok := s.aside[file]
	switch {
	case file == d.image():
		return holds, nil, fmt.Errorf("the domain itself writes to its file: %w", hypervisor.ErrInvalidState)
	case !ok:
		return holds, nil, fmt.Errorf("%s is gone: %w", file, hypervisor.ErrDamaged)
	}
	return kept.content, kept.chain, nil
}

// trialFile begins the names of a trial's files.
func trialFile(t hypervisor.Trial) string {
	first, _, _ := strings.Cut(t.UUID, "-")
	return trialPrefix + t.Of + "." + first + "."
}

// EndTrial implements [hypervisor.Host].
func (h *host) EndTrial(ctx context.Context, t hypervisor.Trial) error {
	_, err := call(ctx, h, func(done func(struct{}, error)) {
		if d, ok := h.m.domains[t.UUID]; ok && d.onTrial == nil {
			done(struct{}{}, fmt.Errorf("domain %s on %s is no trial, and stays", t.UUID, h.m.name))
			return
		}
		h.m.endTrials(func(d *domain) bool { return d.vm.uuid == t.UUID })
		h.m.removeTrialFiles(trialFile(t))
		done(struct{}{}, nil)
	})
	return err
}

// TrialStats implements [hypervisor.Host].
func (h *host) TrialStats(ctx context.Context, t hypervisor.Trial) (hypervisor.DomainStats, error) {
	return about(ctx, h, t.UUID, func(d *domain, done func(hypervisor.DomainStats, error)) {
		if d.hung {
			done(hypervisor.DomainStats{}, fmt.Errorf("sample the trial %s on %s: its QEMU does not answer: %w", t.Name, h.m.name, hypervisor.ErrTimeout))
			return
		}
		var out hypervisor.DomainStats
		d.sample(time.Now(), &out, make([]hypervisor.BlockStats, 1), make([]hypervisor.NetStats, 1))
		out.Nets = nil
		done(out, nil)
	})
}

// endTrials destroys the trials that are meant. What they have left of files stays.
func (m *machine) endTrials(meant func(*domain) bool) {
	for _, d := range m.domains { // in whichever order: nobody hears of it
		if d.onTrial != nil && meant(d) {
			d.stop(hypervisor.ReasonDestroyed)
		}
	}
}

func everyTrial(*domain) bool { return true }

func (m *machine) removeTrialFiles(prefix string) {
	m.trialFiles = slices.DeleteFunc(m.trialFiles, func(f string) bool { return strings.HasPrefix(f, prefix) })
}

// Trials are the domains on trial that a host has, and their files, by name.
func (c *Cluster) Trials(host string) ([]string, error) {
	var out []string
	err := c.onMachine(host, func(m *machine) {
		for _, d := range m.domains {
			if d.onTrial != nil {
				out = append(out, d.vm.name)
			}
		}
		out = append(out, m.trialFiles...)
	})
	slices.Sort(out)
	return out, err
}

// CorruptSnapshot spoils what a snapshot of the VM holds, on each host that knows of
// it: no guest boots from it.
func (c *Cluster) CorruptSnapshot(nameOrUUID, name string) error {
	v, err := c.vm(nameOrUUID)
	if err != nil {
		return err
	}
	found := false
	for _, m := range c.machines {
		m.mu.Lock()
		if d, ok := m.domains[v.uuid]; ok {
			if s := d.findSnapshot(name); s != nil {
				s.kept.corrupt, found = true, true
			}
		}
		m.mu.Unlock()
	}
	if !found {
		return fmt.Errorf("corrupt snapshot %q of %s: %w", name, v.name, hypervisor.ErrNoSnapshot)
	}
	return nil
}

// TrialOf is the UUID of the domain on trial for a VM, or empty.
func (c *Cluster) TrialOf(nameOrUUID string) (string, error) {
	v, err := c.vm(nameOrUUID)
	if err != nil {
		return "", err
	}
	found := ""
	for _, m := range c.machines {
		m.mu.Lock()
		for uuid, d := range m.domains {
			if d.onTrial != nil && d.onTrial.of == v.uuid {
				found = uuid
			}
		}
		m.mu.Unlock()
	}
	return found, nil
}
