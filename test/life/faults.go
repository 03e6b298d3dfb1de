package life

import (
	"fmt"
	"maps"
	"slices"

	"holdfast/internal/detect"
	"holdfast/internal/fault"
)

// planned is something that happens a number of times in the day.
type planned struct {
	what  string
	times int
	do    func()
}

// schedulePlanned spreads what is planned over the day, the same for a seed.
func (w *World) schedulePlanned() {
	slices.SortFunc(w.planned, func(a, b planned) int {
		if a.what < b.what {
			return -1
		}
		return 1
	})
	for _, p := range w.planned {
		for range p.times {
			w.later(300+w.rnd.IntN(23*3600), p.do)
		}
	}
	w.planned = nil
}

// an injector breaks a VM and returns how it is mended.
type injector func(w *World, v *vm) (mend func())

// vmFaults are what can be done to a VM.
var vmFaults = map[fault.Kind]injector{
	fault.KindCrashed: func(w *World, v *vm) func() {
		h := v.on
		w.stop(v, "crashed")
		w.event(h, v, "shut off", "failed")
		return func() { w.start(v, h) }
	},
	fault.KindPanicked: func(w *World, v *vm) func() {
		h, d := v.on, v.domain()
		d.state, d.reason = "crashed", "panicked"
		w.event(h, v, "crashed", "panicked")
		return func() { w.stop(v, "destroyed"); w.event(h, v, "shut off", "destroyed"); w.start(v, h) }
	},
	fault.KindStartFailed: func(w *World, v *vm) func() {
		h := v.on
		w.stop(v, "shutdown")
		w.event(h, v, "shut off", "shutdown")
		w.later(60, func() { v.life++; h.define(v).reason = "failed" }) // libvirt sends no event
		return func() { w.start(v, h) }
	},
	fault.KindLost: func(w *World, v *vm) func() {
		h := v.on
		w.stop(v, "unknown")
		h.undefine(v)
		w.away(h, 2, fault.HostRefuses)
		return func() { h.define(v); w.start(v, h) }
	},
	fault.KindHung: func(w *World, v *vm) func() {
		w.live(v)
		if w.rnd.IntN(2) == 0 {
			v.hung = true
		} else {
			v.stuck = true
		}
		return func() { v.hung, v.stuck, v.at = false, false, w.now }
	},
	fault.KindPaused:  pausedFor("unknown", false),
	fault.KindIOError: pausedFor("I/O error", false),
	fault.KindNoSpace: pausedFor("I/O error", true),
	fault.KindWatchdog: func(w *World, v *vm) func() {
		w.take(w.engine.WatchdogFired(v.on.name, w.time(), v.VM, "none"))
		return func() { w.reboot(v) }
	},
	fault.KindBootFailed: func(w *World, v *vm) func() {
		v.muted = true
		w.reboot(v)
		return func() { v.muted = false }
	},
	fault.KindCPU: func(w *World, v *vm) func() {
		w.peak(v, 7200)
		return func() { v.peakUntil = 0 }
	},
	fault.KindMemory: func(w *World, v *vm) func() {
		was := v.used
		v.used = 0.95
		return func() { v.used = was }
	},
	fault.KindDiskIO: func(w *World, v *vm) func() {
		was := v.opsRate
		v.opsRate = 4000
		return func() { v.opsRate = was }
	},
	fault.KindDiskFull: func(w *World, v *vm) func() {
		v.disks[0].Allocation = disk * 97 / 100
		return func() { v.disks[0].Allocation, v.disks[0].Capacity = disk*97/100, 2*disk }
	},
}

func pausedFor(reason string, noSpace bool) injector {
	return func(w *World, v *vm) func() {
		h, d := v.on, v.domain()
		w.live(v)
		v.noSpace = noSpace
		d.state, d.reason = "paused", reason
		w.event(h, v, "paused", reason)
		return func() {
			d.state, d.reason, v.noSpace, v.at = "running", "unpaused", false, w.now
			w.event(h, v, "running", "unpaused")
		}
	}
}

// hostFaults are what can be done to a host: why it is silent, and what its
// kernel and its power supply say.
var hostFaults = map[fault.Kind]struct{ kernel, power fault.Verdict }{
	fault.KindHostUnreachable: {fault.HostSilent, fault.NoVerdict},
	fault.KindHostOff:         {fault.HostSilent, fault.HostOff},
	fault.KindLibvirtdDead:    {fault.HostRefuses, fault.NoVerdict},
	fault.KindLibvirtdHung:    {fault.HostAccepts, fault.NoVerdict},
}

// Break plans n faults, each kind about as often, each mended some minutes after
// it was found.
func (w *World) Break(n int) {
	kinds := kinds()
	for i := range n {
		kind := kinds[i%len(kinds)]
		w.Counts["injected "+string(kind)]++
		w.later(600+w.rnd.IntN(22*3600), func() { w.inject(kind, 0) })
	}
}

// kinds are those that can be injected.
func kinds() []fault.Kind {
	all := slices.Sorted(maps.Keys(vmFaults))
	all = append(all, slices.Sorted(maps.Keys(hostFaults))...)
	return append(all, fault.KindPoolLost, fault.KindMemoryErrors)
}

// inject breaks something that is whole; if nothing is at hand, a little later.
func (w *World) inject(kind fault.Kind, tries int) {
	done := false
	switch f, onHost := hostFaults[kind]; {
	case vmFaults[kind] != nil:
		w.withVM(func(v *vm) {
			if kind == fault.KindBootFailed && w.now-v.since < 60 {
				return
			}
			done = true
			v.engaged, v.on.engaged = true, true
			h := v.on
			x := w.judge.expect(kind, v.Name, func() { v.engaged, h.engaged = false, false })
			x.mend = vmFaults[kind](w, v)
		})
	case onHost:
		w.withHost(func(h *host) {
			done, h.engaged = true, true
			w.breakHost(kind, h, f.kernel, f.power)
		})
	default:
		w.withHost(func(h *host) {
			done, h.engaged = true, true
			free := func() { h.engaged = false }
			if kind == fault.KindMemoryErrors {
				w.judge.expect(kind, h.name, free)
				w.take(w.engine.MemoryFailed(h.name, w.time(), "hypervisor: action required"))
				return
			}
			h.poolLost = true
			w.judge.expect(kind, "images-"+h.name, free).mend = func() { h.poolLost = false }
		})
	}
	if !done && tries < 100 {
		w.later(60, func() { w.inject(kind, tries+1) })
	}
}

// breakHost makes a host silent. One that had no power comes back without its VMs,
// and each of those is a fault then.
func (w *World) breakHost(kind fault.Kind, h *host, kernel, power fault.Verdict) {
	var ran []*vm
	for _, d := range h.domains {
		if d.vm.on == h {
			ran = append(ran, d.vm)
			d.vm.engaged = true
		}
	}
	h.silent, h.kernel, h.power = "no answer", kernel, power
	w.take(w.engine.Unreachable(h.name, w.time(), h.silent))
	if kind == fault.KindHostOff {
		for _, v := range ran {
			w.stop(v, "unknown")
		}
		for _, d := range h.domains {
			d.reason = "unknown"
		}
	}
	x := w.judge.expect(kind, h.name, func() {
		h.engaged = false
		for _, v := range ran {
			v.engaged = false
		}
	})
	x.mend = func() {
		h.silent, h.kernel, h.power = "", fault.HostAccepts, fault.NoVerdict
		if kind == fault.KindHostOff {
			for _, v := range ran {
				w.judge.follows(fault.KindLost, v.Name)
				w.later(120, func() { w.start(v, h) })
			}
		}
		for _, v := range ran {
			v.at = w.now
		}
		w.list(h)
	}
}

// Judge compares what the monitor says with what is so.
type Judge struct {
	w        *World
	expected map[string]*expectation
	allowed  map[string]bool

	Found, Missed, Followed int
	Alarms                  int      // pressure that was there and nobody injected
	False                   []string // faults that were none
}

type expectation struct {
	kind  fault.Kind
	at    int
	found bool
	free  func()
	mend  func()
}

// Hold sets a judge over the world.
func (w *World) Hold() *Judge {
	w.judge = &Judge{w: w, expected: map[string]*expectation{}, allowed: map[string]bool{}}
	return w.judge
}

func key(kind fault.Kind, subject string) string { return string(kind) + " of " + subject }

// giveUp is how long a fault may stay unfound, seconds.
const giveUp = 1800

// expect announces a fault, before it is made. free is called when all is over;
// mend, which is to be set, when it was found.
func (j *Judge) expect(kind fault.Kind, subject string, free func()) *expectation {
	x := &expectation{kind: kind, at: j.w.now, free: free, mend: func() {}}
	k := key(kind, subject)
	j.expected[k] = x
	j.w.later(giveUp, func() {
		if !x.found {
			j.Missed++
			j.False = append(j.False, "NOT FOUND: "+k)
			j.over(k, x)
		}
	})
	return x
}

// follows allows a fault that another one brings.
func (j *Judge) follows(kind fault.Kind, subject string) { j.allowed[key(kind, subject)] = true }

func (j *Judge) over(k string, x *expectation) {
	x.mend()
	j.w.later(60, func() { delete(j.expected, k); x.free() })
}

// restarted: what is raised again by a new monitor is nothing new.
func (j *Judge) restarted() {}

func (j *Judge) heard(c detect.Change) {
	if c.Kind != detect.Raised {
		return
	}
	k := key(c.Fault.Kind, c.Fault.Subject())
	switch x := j.expected[k]; {
	case x != nil:
		if !x.found {
			x.found = true
			j.Found++
			j.w.later(60+j.w.rnd.IntN(240), func() { j.over(k, x) })
		}
	case j.allowed[k]:
		j.Followed++
	case c.Fault.Respond() == fault.RespondAlarm && c.Fault.Kind.Subject() == fault.SubjectVM:
		j.Alarms++
	default:
		j.False = append(j.False, fmt.Sprintf("%s %s: %s", j.w.time().Format("15:04:05"), k, c.Fault.Why))
	}
}

func sorted(m map[string]int) []string { return slices.Sorted(maps.Keys(m)) }
