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
	since  time.Time // when it was booted
	life   int       // how often it was booted or stopped: tells an old start from a new one
	hung   bool      // QEMU is stopped: its monitor answers nothing
	// waiting is what was asked of the monitor of a hung QEMU.
	waiting []func()
}

func (d *domain) view() hypervisor.Domain {
	return hypervisor.Domain{
		UUID: d.vm.uuid, Name: d.vm.name, State: d.state, Reason: d.reason, Persistent: true,
	}
}

func (d *domain) set(s hypervisor.State, r hypervisor.Reason) { d.state, d.reason = s, r }

// boot makes d run at once, without counting it as a start.
func (d *domain) boot() {
	d.life++
	d.set(hypervisor.StateRunning, hypervisor.ReasonBooted)
	d.since = time.Now()
	d.vm.activated(d.on.name)
}

// start boots d as libvirt does: it is active, paused (starting up), from the
// first moment, and runs or is shut off (failed) after the start latency.
func (d *domain) start(done func(error)) {
	fails := d.vm.takeStart()
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
		case fails:
			d.stop(hypervisor.ReasonFailed)
			done(fmt.Errorf("start %s on %s: cannot access its disk: %w", d.vm.name, d.on.name, hypervisor.ErrNoResource))
		default:
			d.boot()
			d.on.tell(d, hypervisor.EventResumed, reasonUnpaused) // libvirt lets the vCPUs go before it says started
			d.on.tell(d, hypervisor.EventStarted, hypervisor.ReasonBooted)
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
	d.stop(hypervisor.ReasonCrashed)
	d.on.tell(d, hypervisor.EventStopped, hypervisor.ReasonFailed)
}

// resume continues the vCPUs, and says so in libvirt's words.
func (d *domain) resume() {
	d.set(hypervisor.StateRunning, reasonUnpaused)
	d.on.tell(d, hypervisor.EventResumed, reasonUnpaused)
}

const reasonUnpaused hypervisor.Reason = "unpaused"

func (d *domain) reset() {
	d.since = time.Now()
	d.on.tell(d, hypervisor.EventRebooted, "")
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

// definition is what a host needs to know of the VM, as libvirt writes it.
func (v *vm) definition() string {
	return fmt.Sprintf(`<domain type='kvm'>
  <name>%s</name>
  <uuid>%s</uuid>
  <memory unit='KiB'>%d</memory>
  <currentMemory unit='KiB'>%d</currentMemory>
  <vcpu placement='static'>%d</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>preserve</on_crash>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='/var/lib/libvirt/images/%s.qcow2'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <interface type='bridge'>
      <source bridge='br0'/>
      <model type='virtio'/>
    </interface>
    <panic model='pvpanic'/>
  </devices>
</domain>
`, v.name, v.uuid, memoryBytes>>10, memoryBytes>>10, vcpus, v.name)
}

const (
	vcpus       = 2
	memoryBytes = 1 << 30
	diskBytes   = 10 << 30
)

// stats is a guest that uses a quarter of a CPU and reads and writes a little.
func (d *domain) stats(now time.Time) hypervisor.DomainStats {
	up := now.Sub(d.since)
	if !d.state.Running() {
		up = 0
	}
	ops := uint64(up / (10 * time.Millisecond))
	return hypervisor.DomainStats{
		UUID: d.vm.uuid, Name: d.vm.name, State: d.state, At: now,
		VCPUs: vcpus, CPUTime: up/4 + time.Second,
		MemoryMax: memoryBytes, MemoryCurrent: memoryBytes,
		MemoryAvailable: memoryBytes - 32<<20, MemoryUnused: memoryBytes / 2,
		Blocks: []hypervisor.BlockStats{{
			Device: "vda", ReadOps: 1000 + ops, WriteOps: 200 + ops/2,
			ReadBytes: (1000 + ops) * 4096, WriteBytes: (200 + ops/2) * 4096,
			ReadTime: time.Duration(1000+ops) * 100 * time.Microsecond, WriteTime: time.Duration(200+ops/2) * 200 * time.Microsecond,
			Allocation: 1 << 30, Capacity: diskBytes,
		}},
		Nets: []hypervisor.NetStats{{Device: "vnet-" + d.vm.name, RxBytes: ops * 120, TxBytes: ops * 80}},
	}
}
