package simulated

import (
	"fmt"
	"time"

	"holdfast/internal/hypervisor"
)

// domain is a VM as one machine has it. The machine's lock guards it, and
// every method expects the caller to hold it.
type domain struct {
	vm     *vm
	on     *machine
	state  hypervisor.State
	reason hypervisor.Reason
	life   int  // how often it was booted or stopped: tells an old start from a new one
	hung   bool // QEMU is stopped: its monitor answers nothing
	// waiting is what was asked of the monitor of a hung QEMU.
	waiting []func()

	annotation string
	transient  bool     // the host forgets it when it stops
	onTrial    *onTrial // nil: it is a VM
	autostart  bool
	counters   counters
	guest      guest
	badDisk    *hypervisor.DiskError // what every write of the guest ends in; nil: its disk is well
	diskError  *hypervisor.DiskError // the first that this QEMU has seen

	snapshots  []*snapshot      // oldest first
	onSnapshot *snapshot        // the current one
	chain      []string         // files of its disk; see files
	shelves    map[string]shelf // by the file that was written to
}

func (d *domain) view() hypervisor.Domain {
	return hypervisor.Domain{
		UUID: d.vm.uuid, Name: d.vm.name, State: d.state, Reason: d.reason, Persistent: !d.transient,
	}
}

func (d *domain) set(s hypervisor.State, r hypervisor.Reason) {
	d.settle(time.Now())
	d.state, d.reason = s, r
}

// boot makes d run at once, without counting it as a start.
func (d *domain) boot() {
	d.life++
	d.set(hypervisor.StateRunning, hypervisor.ReasonBooted)
	d.counters = fresh(d.counters.at)
	d.guest, d.diskError = d.booted(), nil
	if d.guest.down {
		d.counters = counters{at: d.counters.at} // its firmware found little to read
	}
	d.vm.activated(d.on.name)
}

// booted is the guest after its boot from what is on the disk.
func (d *domain) booted() guest { return guest{down: d.vm.onDisk().corrupt} }

// start boots d as libvirt does: it is active, paused (starting up), from the
// first moment, and runs or is shut off (failed) after the start latency.
func (d *domain) start(done func(error)) {
	fails, reached := d.vm.takeStart(d.on.name), d.on.reaches(d.vm)
	d.life++
	d.set(hypervisor.StatePaused, hypervisor.ReasonStartingUp)
	d.vm.activated(d.on.name)
	life := d.life
	finish := func() {
		switch {
		case d.life != life:
			done(fmt.Errorf("start %s on %s: it was stopped while starting: %w", d.vm.name, d.on.name, hypervisor.ErrNotActive))
		case d.on.libvirtd == daemonDead:
			d.stop(hypervisor.ReasonFailed) // the next libvirtd kills what is half started
			done(d.notActive("start"))
		case !reached:
			d.stop(hypervisor.ReasonFailed)
			done(fmt.Errorf("start %s on %s: %w", d.vm.name, d.on.name, d.noFile()))
		case fails:
			d.stop(hypervisor.ReasonFailed)
			done(fmt.Errorf("start %s on %s: cannot access its disk: %w", d.vm.name, d.on.name, hypervisor.ErrNoResource))
		default:
			d.boot()
			d.tellAgent(hypervisor.ReasonAgentDisconnected)       // a new QEMU, whose channel is closed until the guest opens it
			d.on.tell(d, hypervisor.EventResumed, reasonUnpaused) // libvirt lets the vCPUs go before it says started
			d.on.tell(d, hypervisor.EventStarted, hypervisor.ReasonBooted)
			d.openAgent()
			d.write()
			done(nil)
		}
	}
	if d.on.opts.StartLatency <= 0 {
		finish()
		return
	}
	time.AfterFunc(d.on.opts.StartLatency, func() {
		m := d.on
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.libvirtd == daemonHangs && !m.off {
			m.pending = append(m.pending, finish) // libvirtd does the rest when it goes on
			return
		}
		finish()
	})
}

// stop takes d down and says nothing about it.
func (d *domain) stop(why hypervisor.Reason) {
	d.life++
	d.set(hypervisor.StateShutoff, why)
	d.vm.deactivated(d.on.name)
	if d.transient {
		d.on.forget(d)
	}
	d.unhang()
}

// destroy is the plug pulled, by whomever.
func (d *domain) destroy() {
	d.on.tell(d, hypervisor.EventShutdown, "host request")
	d.stop(hypervisor.ReasonDestroyed)
	d.on.tell(d, hypervisor.EventStopped, hypervisor.ReasonDestroyed)
}

// die is a QEMU that ended: the state is crashed while the event says failed,
// as with the real one.
func (d *domain) die() {
	d.vm.forgetChanges(qemuKilled)
	d.stop(hypervisor.ReasonCrashed)
	d.on.tell(d, hypervisor.EventStopped, hypervisor.ReasonFailed)
}

const qemuKilled = "its QEMU was killed, and what had changed since the last one was known to that alone"

// resume continues the vCPUs, and says so in libvirt's words.
func (d *domain) resume() {
	fresh := d.reason == hypervisor.ReasonCrashed // it was reset meanwhile
	d.set(hypervisor.StateRunning, reasonUnpaused)
	d.on.tell(d, hypervisor.EventResumed, reasonUnpaused)
	if fresh {
		d.openAgent()
	}
	d.write()
}

const reasonUnpaused hypervisor.Reason = "unpaused"

// reset boots the guest anew, in the QEMU that there is.
func (d *domain) reset() {
	d.settle(time.Now())
	before := d.guest
	d.guest = d.booted()
	d.on.tell(d, hypervisor.EventRebooted, "")
	if d.state == hypervisor.StateCrashed {
		// Its QEMU stays stopped, and libvirt calls that so.
		d.set(hypervisor.StatePaused, hypervisor.ReasonCrashed)
	}
	if !d.state.Running() {
		return
	}
	if !before.noAgent && !before.down {
		d.tellAgent(hypervisor.ReasonAgentDisconnected)
	}
	d.openAgent()
	d.write()
}

// monitor runs serve once QEMU's monitor answers or QEMU is gone.
func (d *domain) monitor(serve func()) {
	if d.hung {
		d.waiting = append(d.waiting, serve)
		return
	}
	serve()
}

func (d *domain) unhang() {
	d.settle(time.Now())
	d.hung = false
	waited := d.waiting
	d.waiting = nil
	for _, serve := range waited {
		serve()
	}
}

func (d *domain) notActive(what string) error {
	return fmt.Errorf("%s %s on %s: it is %s: %w", what, d.vm.name, d.on.name, d.state, hypervisor.ErrNotActive)
}
