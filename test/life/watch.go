package life

import (
	"container/heap"
	"errors"
	"time"

	"holdfast/internal/detect"
	"holdfast/internal/detect/rules"
	"holdfast/internal/fault"
)

const (
	period   = 10   // seconds between listings, and between samples, of a host
	pools    = 60   // between looks at its storage pools
	lostRate = 0.01 // of the listings and samples, and of the events, that are lost
)

var errNoAnswer = errors.New("guest agent is not connected")

// restartMonitor begins with a monitor that knows nothing.
func (w *World) restartMonitor() {
	o := detect.DefaultOptions()
	o.Site, o.Reporter = "life", "monitor"
	o.Period, o.PoolsPeriod = period*time.Second, pools*time.Second
	for _, h := range w.hosts {
		o.Hosts = append(o.Hosts, detect.HostOptions{Name: h.name, Points: []string{"tcp", "worker"}})
	}
	engine, err := detect.NewEngine(o)
	if err != nil {
		panic(err)
	}
	w.engine = engine
	if w.judge != nil {
		w.judge.restarted()
	}
	for _, h := range w.hosts {
		w.list(h)
	}
}

// Day plays a day, and what is still to be done at its end.
func (w *World) Day(seconds int) {
	for end := w.now + seconds; w.now < end; w.now++ {
		for len(w.todo) > 0 && w.todo[0].at <= w.now {
			heap.Pop(&w.todo).(task).do()
		}
		for _, h := range w.hosts {
			switch {
			case w.now%period == h.phase:
				w.list(h)
			case (w.now+period/2)%period == h.phase:
				w.sample(h)
			case w.now%pools == h.phase%pools+1:
				w.pools(h)
			}
		}
		w.take(w.engine.Tick(w.time()))
	}
}

// take hands what the monitor says to the judge, and answers what it asks.
func (w *World) take(changes []detect.Change) {
	for _, c := range changes {
		if w.judge != nil {
			w.judge.heard(c)
		}
	}
	for _, want := range w.engine.TakeWants() {
		w.later(1+w.rnd.IntN(2), func() { w.answer(want) })
	}
}

func (w *World) host(name string) *host {
	for _, h := range w.hosts {
		if h.name == name {
			return h
		}
	}
	panic("no host " + name)
}

func (w *World) lose() bool {
	w.calls++
	if w.rnd.Float64() >= lostRate {
		return false
	}
	w.lost++
	return true
}

func (w *World) list(h *host) {
	if h.silent != "" || w.lose() {
		w.take(w.engine.Unreachable(h.name, w.time(), h.silent+" (no answer)"))
		return
	}
	seen := make([]detect.Observation, len(h.domains))
	for i, d := range h.domains {
		seen[i] = detect.Observation{VM: d.VM, State: d.state, Reason: d.reason}
	}
	w.take(w.engine.Listed(h.name, w.time(), seen))
}

func (w *World) sample(h *host) {
	if h.silent != "" || w.lose() {
		return
	}
	samples := make([]detect.VMSample, 0, len(h.domains))
	for _, d := range h.domains {
		if d.vm.on != h || !detect.Active(d.state) || d.hung || w.rnd.Float64() < lostRate {
			continue
		}
		w.live(d.vm)
		samples = append(samples, detect.VMSample{VM: d.VM, VMSample: rules.VMSample{
			At: w.time(), Run: d.run, Paused: d.state != "running", VCPUs: vcpus, CPU: time.Duration(d.cpu * 1e9),
			MemoryAvailable: memory, MemoryUnused: uint64((1 - d.used) * memory), Disks: d.disks, NetBytes: uint64(d.net),
		}})
	}
	w.take(w.engine.Sampled(h.name, w.time(), samples))
	busy := time.Duration(h.busy * float64(w.now+1) * 64 * 1e9)
	w.take(w.engine.NodeSampled(h.name, w.time(), rules.NodeSample{
		At: w.time(), Busy: busy, Idle: time.Duration(float64(w.now+1)*64*1e9) - busy, MemoryTotal: 512 << 30, MemoryAvailable: 256 << 30,
	}))
	w.take(w.engine.Lateness(h.name, w.time(), 0))
}

func (w *World) pools(h *host) {
	if h.silent != "" || w.lose() {
		return
	}
	state := detect.PoolState{Name: "images-" + h.name, State: "running", Running: true, Autostart: true, Target: "/images", Capacity: 100 << 40, Available: 60 << 40}
	if h.poolLost {
		state = detect.PoolState{Name: state.Name, State: "inactive", Autostart: true, Target: state.Target}
	}
	w.take(w.engine.PoolsListed(h.name, w.time(), []detect.PoolState{state}))
}

// event tells the monitor of a change of a domain's state, unless the event is lost.
func (w *World) event(h *host, v *vm, state, reason string) {
	if h.silent != "" || w.rnd.Float64() < lostRate {
		return
	}
	w.take(w.engine.Observed(h.name, w.time(), detect.Observation{VM: v.VM, State: state, Reason: reason}))
}

func (w *World) find(of fault.VM) *vm {
	return w.byVM[of.UUID]
}

// answer is what the world says to a question.
func (w *World) answer(want detect.Want) {
	h := w.host(want.Host)
	if want.Kind == detect.WantVotes {
		w.engine.Voted(h.name, w.time(),
			fault.Vote{From: "tcp", Says: h.kernel, At: w.time()}, fault.Vote{From: "worker", Says: h.kernel, At: w.time()},
			fault.Vote{From: "power", Says: h.power, At: w.time()})
		return
	}
	if want.Kind == detect.WantListing {
		w.list(h)
		return
	}
	if h.silent != "" || w.rnd.Float64() < lostRate {
		return
	}
	switch want.Kind {
	case detect.WantSample:
		w.sample(h)
	case detect.WantPools:
		w.pools(h)
	case detect.WantDefinition:
		w.take(w.engine.Described(h.name, w.time(), want.VM, detect.Profile{HasAgent: true, AgentExpected: true, Disks: []string{"/images/" + want.VM.Name}}))
	case detect.WantDisks:
		w.take(w.engine.DisksTold(h.name, w.time(), want.VM, w.find(want.VM).noSpace))
	case detect.WantGuest:
		v := w.find(want.VM)
		if v.on != h || v.hung {
			return
		}
		var err error
		if v.stuck || v.muted || v.domain().state != "running" || w.now-v.since < 20 {
			err = errNoAnswer
		}
		w.take(w.engine.GuestAnswered(h.name, w.time(), want.VM, 10*time.Millisecond, err))
	}
}
