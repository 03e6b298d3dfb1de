package simulated

import (
	"fmt"
	"time"

	"holdfast/internal/hypervisor"
)

// Faults and what people do beside Holdfast. Each is done when it returns, and
// returns an error only if there is no such host or VM, or if the VM is not in
// a state in which that can happen to it.

// KillVM is a SIGKILL of QEMU: shut off (crashed), and a stopped event that
// says failed.
func (c *Cluster) KillVM(vm string) error {
	return c.activeVM(vm, "kill", func(d *domain) error { d.die(); return nil })
}

// PanicVM is a guest kernel that panics with a pvpanic device and
// on_crash=preserve: crashed (panicked), and QEMU lives.
func (c *Cluster) PanicVM(vm string) error {
	return c.activeVM(vm, "panic", func(d *domain) error {
		d.set(hypervisor.StateCrashed, hypervisor.ReasonPanicked)
		d.on.tell(d, hypervisor.EventCrashed, hypervisor.ReasonPanicked)
		return nil
	})
}

// SuspendVM is a person who stops the vCPUs.
func (c *Cluster) SuspendVM(vm string) error { return c.PauseVM(vm, hypervisor.ReasonUser) }

// ResumeVM is a person who lets them go on, if they do not.
func (c *Cluster) ResumeVM(vm string) error {
	return c.activeVM(vm, "resume", func(d *domain) error {
		switch {
		case d.state.Running():
		case d.state != hypervisor.StatePaused || d.hung:
			return fmt.Errorf("resume %s: it is %s (QEMU hangs: %t): %w", d.vm.name, d.state, d.hung, hypervisor.ErrInvalidState)
		default:
			d.resume()
		}
		return nil
	})
}

// PauseVM stops the vCPUs for a reason: [hypervisor.ReasonUser] is a person,
// [hypervisor.ReasonIOError] a disk that failed once, and works again. One that
// fails for longer is [Cluster.FailDisk]'s.
func (c *Cluster) PauseVM(vm string, why hypervisor.Reason) error {
	return c.activeVM(vm, "pause", func(d *domain) error {
		d.set(hypervisor.StatePaused, why)
		if why == hypervisor.ReasonIOError {
			d.seeDiskError(hypervisor.DiskError{Device: diskTarget})
			d.on.tellOf(d, hypervisor.Event{Kind: hypervisor.EventIOError, Reason: why, Device: diskTarget})
		}
		d.on.tell(d, hypervisor.EventSuspended, why)
		return nil
	})
}

// WatchdogVM is a guest that stopped feeding its watchdog, whose action is none.
func (c *Cluster) WatchdogVM(vm string) error {
	return c.activeVM(vm, "fire the watchdog of", func(d *domain) error {
		d.on.tell(d, hypervisor.EventWatchdog, "none")
		return nil
	})
}

// ShutdownVM is a person's orderly shutdown.
func (c *Cluster) ShutdownVM(vm string) error {
	return c.activeVM(vm, "shut down", func(d *domain) error {
		d.on.tell(d, hypervisor.EventShutdown, "guest request")
		d.stop(hypervisor.ReasonShutdown)
		d.on.tell(d, hypervisor.EventStopped, hypervisor.ReasonShutdown)
		return nil
	})
}

// DestroyVM is a person who pulls the plug, on the host itself: it works
// whether or not anybody can reach the host.
func (c *Cluster) DestroyVM(vm string) error {
	return c.activeVM(vm, "destroy", func(d *domain) error { d.destroy(); return nil })
}

// HangVM is a SIGSTOP of QEMU: still running in every listing, missing from
// the statistics, and whatever needs its monitor waits.
func (c *Cluster) HangVM(vm string) error {
	return c.changeGuest(vm, "hang", func(d *domain) { d.hung = true })
}

// UnhangVM is the SIGCONT.
func (c *Cluster) UnhangVM(vm string) error {
	return c.activeVM(vm, "unhang", func(d *domain) error { d.unhang(); return nil })
}

// FailStarts makes the next n starts of the VM fail, on whichever host; a
// negative n is all of them, 0 none.
func (c *Cluster) FailStarts(nameOrUUID string, n int) error {
	return c.ofVM(nameOrUUID, func(v *vm) { v.failStarts = n })
}

// FailStartsOn is FailStarts for the starts on one host; both count each start.
func (c *Cluster) FailStartsOn(nameOrUUID, host string, n int) error {
	if _, err := c.machine(host); err != nil {
		return err
	}
	return c.ofVM(nameOrUUID, func(v *vm) {
		if v.failOn == nil {
			v.failOn = make(map[string]int)
		}
		v.failOn[host] = n
	})
}

// DefineVM defines the VM on one more host, shut off.
func (c *Cluster) DefineVM(vm, host string) error {
	v, err := c.vm(vm)
	if err != nil {
		return err
	}
	return c.onMachine(host, func(m *machine) {
		m.tell(m.define(v), hypervisor.EventDefined, "added")
	})
}

// LoseVM makes the host of a running VM forget it, without a word: its QEMU is
// gone, and so is its definition.
func (c *Cluster) LoseVM(vm string) error {
	return c.activeVM(vm, "lose", func(d *domain) error {
		d.vm.forgetChanges(qemuKilled)
		d.stop(hypervisor.ReasonUnknown)
		d.on.forget(d)
		d.vm.mu.Lock()
		defer d.vm.mu.Unlock()
		d.vm.lostBy = d.on
		return nil
	})
}

// FindVM defines a VM that was lost anew, on the host that lost it, shut off.
func (c *Cluster) FindVM(vm string) error {
	v, err := c.vm(vm)
	if err != nil {
		return err
	}
	v.mu.Lock()
	m := v.lostBy
	v.mu.Unlock()
	if m == nil {
		return nil // no host has lost it
	}
	return c.DefineVM(vm, m.name)
}

// PowerOffHost pulls the plug of the host and of every VM on it.
func (c *Cluster) PowerOffHost(host string) error {
	return c.onMachine(host, func(m *machine) {
		m.off = true
		m.pending = nil
		for _, d := range m.order {
			if d.state.Active() {
				d.vm.forgetChanges(qemuKilled)
				d.stop(hypervisor.ReasonUnknown)
			}
			d.reason = hypervisor.ReasonUnknown // the reason lives in libvirtd's memory
		}
		m.endTrials(everyTrial)
		m.linkChanged()
	})
}

// PowerOnHost boots the host; libvirtd runs, and it starts the VMs that are marked
// for autostart. No other does.
func (c *Cluster) PowerOnHost(host string) error {
	return c.onMachine(host, func(m *machine) {
		if !m.off {
			return
		}
		m.lose() // even if nobody has noticed yet: the other end of every connection is gone
		m.off, m.libvirtd = false, daemonRuns
		m.node.boot(time.Now())
		for _, d := range m.order {
			if d.autostart {
				d.start(func(error) {}) // one that fails is shut off
			}
		}
		m.linkChanged()
	})
}

// CutHost takes the host off the network; its VMs run on.
func (c *Cluster) CutHost(host string) error {
	return c.onMachine(host, func(m *machine) { m.cut = true; m.linkChanged() })
}

// HealHost brings it back.
func (c *Cluster) HealHost(host string) error {
	return c.onMachine(host, func(m *machine) { m.cut = false; m.linkChanged() })
}

// HangLibvirtd is a SIGSTOP of libvirtd: calls wait for their context.
func (c *Cluster) HangLibvirtd(host string) error {
	return c.daemon(host, daemonHangs, daemonRuns)
}

// ResumeLibvirtd is the SIGCONT. Calls that were sent meanwhile are carried
// out now, even those whose callers have gone.
func (c *Cluster) ResumeLibvirtd(host string) error {
	return c.daemon(host, daemonRuns, daemonHangs)
}

// KillLibvirtd is a SIGKILL of libvirtd; the VMs run on.
func (c *Cluster) KillLibvirtd(host string) error {
	return c.daemon(host, daemonDead, daemonRuns, daemonHangs)
}

// StartLibvirtd starts it again; it finds its VMs.
func (c *Cluster) StartLibvirtd(host string) error {
	return c.daemon(host, daemonRuns, daemonDead)
}

// DropEvents loses every event about a domain of the host while on is true.
func (c *Cluster) DropEvents(host string, on bool) error {
	return c.onMachine(host, func(m *machine) { m.dropEvents = on })
}

func (c *Cluster) daemon(host string, to daemon, from ...daemon) error {
	return c.onMachine(host, func(m *machine) {
		if m.off {
			return
		}
		for _, f := range from {
			if m.libvirtd == f {
				if m.libvirtd == daemonDead {
					m.lose() // even if the host was cut and nobody has noticed yet
				}
				m.libvirtd = to
				m.linkChanged()
				return
			}
		}
	})
}

func (c *Cluster) onMachine(host string, do func(*machine)) error {
	m, err := c.machine(host)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	do(m)
	return nil
}

// activeVM runs do on the host where the VM is active; the newest, if there
// are two.
func (c *Cluster) activeVM(nameOrUUID, what string, do func(*domain) error) error {
	v, err := c.vm(nameOrUUID)
	if err != nil {
		return err
	}
	return c.whereActive(v, func(d *domain) error {
		if d == nil {
			return fmt.Errorf("%s %s: no host runs it: %w", what, v.name, hypervisor.ErrNotActive)
		}
		return do(d)
	})
}

// whereActive runs do on the domain that runs the VM, the newest if there are
// two, or with nil if there is none.
func (c *Cluster) whereActive(v *vm, do func(*domain) error) error {
	v.mu.Lock()
	var host string
	if n := len(v.activeOn); n > 0 {
		host = v.activeOn[n-1]
	}
	v.mu.Unlock()
	m, ok := c.byName[host]
	if !ok {
		return do(nil)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.domains[v.uuid]
	if d != nil && !d.state.Active() { // it has just stopped
		d = nil
	}
	return do(d)
}
