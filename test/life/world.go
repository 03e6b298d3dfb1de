// Package life plays a day of a site against the judgement of a monitor: hosts,
// VMs, what people do with them, and what goes wrong, in virtual time. It counts
// what was found and what was imagined. Nothing in it knows how the judging is
// done: it only says what a libvirtd, a guest agent and a vantage point would.
package life

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"time"

	"holdfast/internal/detect"
	"holdfast/internal/detect/rules"
	"holdfast/internal/fault"
)

const (
	vcpus  = 2
	memory = 4 << 30
	disk   = 40 << 30
)

// vm is one VM, and what it does with its machine.
type vm struct {
	fault.VM
	disks []rules.Disk

	on      *host // where its QEMU is; nil: it does not run
	since   int
	hung    bool // QEMU is stopped
	stuck   bool // the guest does not execute
	muted   bool // its agent does not answer
	noSpace bool
	engaged bool // somebody, or a fault, has it: leave it alone
	life    int  // QEMU processes so far
	run     string

	base, peak float64 // share of its CPUs
	peakUntil  int
	used       float64 // share of its memory
	opsRate    float64
	cpu, ops   float64 // counters
	net        float64
	at         int // of the counters
}

// domain is a VM as a host has it.
type domain struct {
	*vm
	state, reason string
}

// host is one host: what its libvirtd would say.
type host struct {
	name     string
	domains  []*domain
	silent   string // why it does not answer; empty: it does
	kernel   fault.Verdict
	power    fault.Verdict
	poolLost bool
	engaged  bool
	busy     float64
	phase    int
}

// World is the site.
type World struct {
	rnd     *rand.Rand
	now     int // seconds
	hosts   []*host
	vms     []*vm
	byVM    map[string]*vm // by UUID
	todo    schedule
	tasks   int
	planned []planned

	engine *detect.Engine
	judge  *Judge

	lost, calls int // samples and listings
	Counts      map[string]int
}

var midnight = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)

func (w *World) time() time.Time { return midnight.Add(time.Duration(w.now) * time.Second) }

// New makes a site in which all is well.
func New(seed uint64, hosts, vms int) *World {
	w := &World{rnd: rand.New(rand.NewPCG(seed, 0)), Counts: map[string]int{}, byVM: map[string]*vm{}}
	for i := range hosts {
		w.hosts = append(w.hosts, &host{name: fmt.Sprintf("kvm%03d", i), kernel: fault.HostAccepts, power: fault.NoVerdict, phase: i % period, busy: 0.2 + 0.3*w.rnd.Float64()})
	}
	for i := range vms {
		v := &vm{
			VM:    fault.VM{UUID: fmt.Sprintf("%08x-0000-4000-8000-%012x", i, i), Name: fmt.Sprintf("vm%04d", i)},
			disks: []rules.Disk{{Device: "vda", Allocation: disk / 4, Capacity: disk}},
			base:  0.02 + 0.4*w.rnd.Float64()*w.rnd.Float64(), used: 0.2 + 0.5*w.rnd.Float64(), opsRate: 200 * w.rnd.Float64(),
		}
		w.vms, w.byVM[v.UUID] = append(w.vms, v), v
		h := w.hosts[i%hosts]
		d := &domain{v, "running", "booted"}
		h.domains = append(h.domains, d)
		v.on = h
	}
	w.restartMonitor()
	return w
}

// domainOf is a VM on the host where it runs.
func (v *vm) domain() *domain {
	for _, d := range v.on.domains {
		if d.vm == v {
			return d
		}
	}
	panic(v.Name + " runs where it is not defined")
}

// live lets a VM's counters run up to now.
func (w *World) live(v *vm) {
	dt := float64(w.now - v.at)
	v.at = w.now
	if v.on == nil || v.hung || v.stuck || v.domain().state != "running" {
		return
	}
	share := v.base
	if w.now < v.peakUntil {
		share = v.peak
	}
	v.cpu += dt * vcpus * min(1, max(0.001, share*(0.9+0.2*w.rnd.Float64())))
	v.ops += dt * v.opsRate * (0.5 + w.rnd.Float64())
	v.net += dt * 1e5 * w.rnd.Float64()
	v.disks[0].Ops = uint64(v.ops)
	v.disks[0].Time = time.Duration(v.ops*2) * time.Millisecond
}

// boot is a new QEMU for a VM on a host, with all counters at 0.
func (w *World) boot(v *vm, h *host, state, reason string) {
	v.on, v.since, v.at = h, w.now, w.now
	v.cpu, v.ops, v.net = 0, 0, 0
	v.hung, v.stuck, v.noSpace = false, false, false
	v.life++
	v.run = fmt.Sprint(v.life)
	v.domain().state, v.domain().reason = state, reason
}

// stop is the end of a VM's QEMU.
func (w *World) stop(v *vm, reason string) {
	d := v.domain()
	d.state, d.reason = "shut off", reason
	v.on = nil
}

// define gives a host a VM, shut off.
func (h *host) define(v *vm) *domain {
	for _, d := range h.domains {
		if d.vm == v {
			return d
		}
	}
	d := &domain{v, "shut off", "unknown"}
	h.domains = append(h.domains, d)
	return d
}

func (h *host) undefine(v *vm) {
	for i, d := range h.domains {
		if d.vm == v {
			h.domains = append(h.domains[:i], h.domains[i+1:]...)
			return
		}
	}
}

// later has something done after a number of seconds.
func (w *World) later(seconds int, do func()) {
	w.tasks++
	heap.Push(&w.todo, task{w.now + max(seconds, 1), w.tasks, do})
}

type task struct {
	at, n int
	do    func()
}

// schedule orders what is to be done by time.
type schedule []task

func (s schedule) Len() int      { return len(s) }
func (s schedule) Swap(i, j int) { s[i], s[j] = s[j], s[i] }
func (s schedule) Less(i, j int) bool {
	return s[i].at < s[j].at || s[i].at == s[j].at && s[i].n < s[j].n
}

// Push and Pop are for container/heap.
func (s *schedule) Push(x any) { *s = append(*s, x.(task)) }

// Pop takes the last entry off.
func (s *schedule) Pop() any {
	old := *s
	last := old[len(old)-1]
	*s = old[:len(old)-1]
	return last
}
