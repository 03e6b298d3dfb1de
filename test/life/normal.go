package life

import "holdfast/internal/fault"

// Normal life, a day of it, per site of 4,000 VMs: what people and programs do
// that is no fault.
const (
	guestReboots = 600
	restarts     = 300 // shut down by a person, and started again later
	migrations   = 1200
	peaks        = 4000 // short bursts of load
	longPeaks    = 60   // an hour of load: worth an alarm, no incident
	suspensions  = 100  // by a person
	snapshots    = 800  // libvirt pauses the VM for a while
	upgrades     = 200  // of libvirtd: it is away for seconds
	blips        = 400  // of a host's network
	agentStops   = 100  // a guest's agent is upgraded, while the guest idles
	monitorStops = 6
)

// Live plans a day of normal life.
func (w *World) Live() {
	for what, plan := range map[string]struct {
		times int
		do    func()
	}{
		"guest reboots":     {guestReboots, func() { w.withVM(w.reboot) }},
		"restarts":          {restarts, func() { w.withVM(w.shutDownAndStart) }},
		"migrations":        {migrations, func() { w.withVM(w.migrate) }},
		"load peaks":        {peaks, func() { w.withVM(func(v *vm) { w.peak(v, 30+w.rnd.IntN(200)) }) }},
		"long load peaks":   {longPeaks, func() { w.withVM(func(v *vm) { w.peak(v, 3600) }) }},
		"suspensions":       {suspensions, func() { w.withVM(w.suspend) }},
		"snapshots":         {snapshots, func() { w.withVM(w.snapshot) }},
		"libvirtd upgrades": {upgrades, func() { w.withHost(func(h *host) { w.away(h, 1+w.rnd.IntN(10), fault.HostRefuses) }) }},
		"network blips":     {blips, func() { w.withHost(func(h *host) { w.away(h, 1+w.rnd.IntN(10), fault.HostSilent) }) }},
		"agent stops":       {agentStops, func() { w.withVM(w.stopAgent) }},
		"monitor restarts":  {monitorStops, w.restartMonitor},
	} {
		w.Counts[what] = plan.times
		w.planned = append(w.planned, planned{what, plan.times, plan.do})
	}
	w.schedulePlanned()
}

// withVM does something with a VM that runs and is nobody's concern.
func (w *World) withVM(do func(*vm)) {
	for range 100 {
		v := w.vms[w.rnd.IntN(len(w.vms))]
		if v.on != nil && !v.engaged && !v.on.engaged && v.on.silent == "" && v.domain().state == "running" {
			do(v)
			return
		}
	}
}

func (w *World) withHost(do func(*host)) {
	for range 100 {
		h := w.hosts[w.rnd.IntN(len(w.hosts))]
		busy := h.engaged || h.silent != ""
		for _, d := range h.domains {
			busy = busy || d.vm.engaged
		}
		if !busy {
			do(h)
			return
		}
	}
}

// reboot is done in the guest: QEMU goes on.
func (w *World) reboot(v *vm) {
	v.since = w.now
	w.take(w.engine.Rebooted(v.on.name, w.time(), v.VM))
}

func (w *World) shutDownAndStart(v *vm) {
	h := v.on
	v.engaged = true
	w.event(h, v, "in shutdown", "user")
	w.later(1+w.rnd.IntN(20), func() {
		if v.on == nil {
			return
		}
		w.stop(v, "shutdown")
		w.event(h, v, "shut off", "shutdown")
		w.later(10+w.rnd.IntN(7200), func() { w.start(v, h); v.engaged = false })
	})
}

// start is what libvirt shows of a start.
func (w *World) start(v *vm, h *host) {
	w.boot(v, h, "running", "booted")
	w.event(h, v, "running", "booted")
}

// migrate moves a VM as libvirt does, its events in their real order.
func (w *World) migrate(v *vm) {
	from := v.on
	to := w.hosts[w.rnd.IntN(len(w.hosts))]
	if to == from || to.engaged || to.silent != "" {
		return
	}
	v.engaged, from.engaged, to.engaged = true, true, true
	in := to.define(v)
	in.state, in.reason = "paused", "migrating"
	w.event(to, v, "paused", "migrating")
	w.later(1+w.rnd.IntN(40), func() {
		out := v.domain()
		out.state, out.reason = "paused", "migrating"
		w.event(from, v, "paused", "user") // what the event says; the listing knows better
		out.state, out.reason = "shut off", "migrated"
		cpu := v.cpu
		w.boot(v, to, "running", "migrated")
		v.since = -1e6
		v.cpu = cpu / 1e6 // another QEMU, another count
		w.event(to, v, "running", "migrated")
		w.event(from, v, "shut off", "migrated")
		if w.rnd.IntN(2) == 0 {
			from.undefine(v)
		}
		v.engaged, from.engaged, to.engaged = false, false, false
	})
}

func (w *World) peak(v *vm, seconds int) {
	v.peak, v.peakUntil = 0.9+0.1*w.rnd.Float64(), w.now+seconds
}

func (w *World) suspend(v *vm) {
	w.pause(v, "user", 60+w.rnd.IntN(3*3600))
}

func (w *World) snapshot(v *vm) {
	w.pause(v, "creating snapshot", 2+w.rnd.IntN(60))
}

func (w *World) pause(v *vm, reason string, seconds int) {
	h, d := v.on, v.domain()
	w.live(v)
	v.engaged, h.engaged = true, true
	d.state, d.reason = "paused", reason
	w.event(h, v, "paused", "user")
	w.later(seconds, func() {
		d.state, d.reason = "running", "unpaused"
		v.at = w.now
		v.engaged, h.engaged = false, false
		w.event(h, v, "running", "unpaused")
	})
}

// away is a host that does not answer for a while.
func (w *World) away(h *host, seconds int, kernel fault.Verdict) {
	h.silent, h.kernel = "connection lost", kernel
	w.take(w.engine.Unreachable(h.name, w.time(), h.silent))
	w.later(seconds, func() {
		h.silent, h.kernel = "", fault.HostAccepts
		w.list(h)
	})
}

// stopAgent is an agent that is away while its guest has hardly anything to do.
func (w *World) stopAgent(v *vm) {
	base := v.base
	v.engaged, v.muted, v.base = true, true, 0
	w.later(30+w.rnd.IntN(600), func() { v.engaged, v.muted, v.base = false, false, base })
}
