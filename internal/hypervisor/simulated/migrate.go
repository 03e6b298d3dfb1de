package simulated

import (
	"fmt"
	"time"

	"holdfast/internal/hypervisor"
)

// Migration is a live migration under way: the VM runs where it was, and where
// it goes to there is a domain that is paused (migrating) and persists only if
// it did before.
type Migration struct {
	from, to *domain
	// how often they had been booted or stopped, to tell whether that has happened since
	fromLife, toLife int
	added            bool // the target did not know it
}

// MigrateVM moves a running VM to another host, live, as `virsh migrate --live
// --persistent` does: it stays defined where it was, shut off (migrated).
func (c *Cluster) MigrateVM(vm, toHost string) error {
	m, err := c.BeginMigration(vm, toHost)
	if err != nil {
		return err
	}
	return m.Finish(false)
}

// MoveVM is MigrateVM with `--undefinesource`: the host where it was forgets it,
// and says nothing of that.
func (c *Cluster) MoveVM(vm, toHost string) error {
	m, err := c.BeginMigration(vm, toHost)
	if err != nil {
		return err
	}
	return m.Finish(true)
}

// BeginMigration starts to move a running VM to another host. Both hosts have
// to be well.
func (c *Cluster) BeginMigration(vm, toHost string) (*Migration, error) {
	v, err := c.vm(vm)
	if err != nil {
		return nil, err
	}
	target, err := c.machine(toHost)
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	on := append([]string(nil), v.activeOn...)
	v.mu.Unlock()
	if len(on) != 1 || on[0] == toHost {
		return nil, fmt.Errorf("migrate %s to %s: it is active on %v: it has to be so on one other host: %w", v.name, toHost, on, hypervisor.ErrInvalidState)
	}
	source := c.byName[on[0]]
	defer lockBoth(source, target)()
	from := source.domains[v.uuid]
	if err := migratable(v, from, source, target); err != nil {
		return nil, err
	}
	_, known := target.domains[v.uuid]
	to := target.define(v)
	to.annotation, to.chain = from.annotation, from.chain
	to.transient = !known
	to.life++
	to.set(hypervisor.StatePaused, hypervisor.ReasonMigrating)
	to.tellAgent(hypervisor.ReasonAgentDisconnected)
	target.tell(to, hypervisor.EventStarted, hypervisor.ReasonMigrated)
	return &Migration{from: from, to: to, fromLife: from.life, toLife: to.life, added: !known}, nil
}

func migratable(v *vm, from *domain, source, target *machine) error {
	switch there := target.domains[v.uuid]; {
	case from == nil || !from.state.Running() || from.hung:
		return fmt.Errorf("migrate %s from %s: it does not run there, or its QEMU hangs: %w", v.name, source.name, hypervisor.ErrInvalidState)
	case len(from.snapshots)+from.shelved() > 0:
		return fmt.Errorf("migrate %s from %s: cannot migrate domain with %d snapshots: %w", v.name, source.name, len(from.snapshots)+from.shelved(), hypervisor.ErrInvalidState)
	case there != nil && there.state.Active():
		return fmt.Errorf("migrate %s to %s: it is %s there: %w", v.name, target.name, there.state, hypervisor.ErrAlreadyActive)
	case !target.reaches(v):
		return fmt.Errorf("migrate %s to %s: %w", v.name, target.name, from.noFile())
	}
	for _, m := range []*machine{source, target} {
		if m.silent() || m.libvirtd != daemonRuns {
			return fmt.Errorf("migrate %s: %w", v.name, m.unreachable())
		}
	}
	return nil
}

// Finish hands the VM over, if both hosts and both domains are still there;
// otherwise the domain at the target is gone, and the VM runs where it was if it
// still does. With undefine the source forgets it.
func (m *Migration) Finish(undefine bool) error {
	from, to := m.from, m.to
	defer lockBoth(from.on, to.on)()
	if to.life != m.toLife {
		return fmt.Errorf("migrate %s to %s: the target gave it up: %w", to.vm.name, to.on.name, hypervisor.ErrInvalidState)
	}
	var err error
	if from.life != m.fromLife {
		err = fmt.Errorf("migrate %s from %s: it was stopped there: %w", from.vm.name, from.on.name, hypervisor.ErrNotActive)
	} else {
		err = m.stillPossible()
	}
	if err != nil {
		to.stop(hypervisor.ReasonFailed)
		to.on.tell(to, hypervisor.EventStopped, hypervisor.ReasonFailed)
		return err
	}
	from.set(hypervisor.StatePaused, hypervisor.ReasonMigrating)
	from.on.tell(from, hypervisor.EventSuspended, hypervisor.ReasonMigrating)

	to.transient = false
	defined := hypervisor.Reason("updated")
	if m.added {
		defined = "added"
	}
	to.on.tell(to, hypervisor.EventDefined, defined)
	to.vm.moved(from.on.name, to.on.name)
	to.set(hypervisor.StateRunning, hypervisor.ReasonMigrated)
	to.counters = counters{at: time.Now()} // of another QEMU, and the same guest
	to.guest, to.diskError = from.guest, nil
	to.on.tell(to, hypervisor.EventResumed, hypervisor.ReasonMigrated)
	if !to.guest.noAgent {
		to.tellAgent(hypervisor.ReasonAgentConnected)
	}
	to.write()

	from.stop(hypervisor.ReasonMigrated)
	from.on.tell(from, hypervisor.EventStopped, hypervisor.ReasonMigrated)
	if undefine {
		from.on.forget(from)
	}
	return nil
}

func (m *Migration) stillPossible() error {
	for _, d := range []*domain{m.from, m.to} {
		if d.on.silent() || d.on.libvirtd != daemonRuns {
			return fmt.Errorf("migrate %s: %w", d.vm.name, d.on.unreachable())
		}
	}
	if !m.from.state.Running() || m.from.hung {
		return fmt.Errorf("migrate %s from %s: it is %s (QEMU hangs: %t): %w",
			m.from.vm.name, m.from.on.name, m.from.state, m.from.hung, hypervisor.ErrInvalidState)
	}
	return nil
}

// lockBoth locks two machines, always in the same order, and returns what
// unlocks them.
func lockBoth(a, b *machine) (unlock func()) {
	if a.index > b.index {
		a, b = b, a
	}
	a.mu.Lock()
	b.mu.Lock()
	return func() {
		b.mu.Unlock()
		a.mu.Unlock()
	}
}
