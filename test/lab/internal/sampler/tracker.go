package sampler

import (
	"slices"
	"time"
)

// Copy is one QEMU process that holds a guest.
type Copy struct {
	PID      int
	VM       string
	Host     string
	Incoming bool
	Started  time.Time
}

// startGrain is how far before the real start a process's start time may lie:
// the kernel tells it in clock ticks.
const startGrain = 10 * time.Millisecond

// overlap is two processes with one guest.
type overlap struct {
	a, b     Copy   // the older and the younger
	last     string // host of the last acknowledgement seen
	switches int    // how often acknowledgements moved from one to the other
	told     bool   // BothRan was said
}

// Tracker turns what is seen into events. It knows no clock and no /proc.
type Tracker struct {
	alive    map[int]Copy
	ended    map[string]ending // last end of each VM's processes
	overlaps []*overlap
}

// ending is the end of a process, which was somewhere from alive to at.
type ending struct {
	copy      Copy
	alive, at time.Time
}

// NewTracker has seen nothing yet.
func NewTracker() *Tracker {
	return &Tracker{alive: map[int]Copy{}, ended: map[string]ending{}}
}

// Started says that a process was found. It must be told only of a process that
// lives, and after every process known to it was looked at: those not reported
// as ended live too.
func (t *Tracker) Started(c Copy) []Event {
	events := []Event{{At: c.Started, Event: Start, VM: c.VM, Host: c.Host, PID: c.PID, Incoming: c.Incoming}}
	for _, other := range t.copies(c.VM) {
		t.overlaps = append(t.overlaps, &overlap{a: other, b: c})
		events = append(events, overlapEvent(Overlap, c.Started, other, c))
	}
	// The other may have ended between this one's start and now. It counts only if
	// that is certain: a sampler that was kept from running notices an end late.
	if e, ok := t.ended[c.VM]; ok && c.Started.Add(startGrain).Before(e.alive) {
		events = append(events, overlapEvent(Overlap, c.Started, e.copy, c), overlapEvent(OverlapEnd, e.at, e.copy, c))
	}
	t.alive[c.PID] = c
	return events
}

// Ended says that at the time at a process was found to be gone that at the time
// alive was still there.
func (t *Tracker) Ended(pid int, alive, at time.Time) []Event {
	c, ok := t.alive[pid]
	if !ok {
		return nil
	}
	delete(t.alive, pid)
	t.ended[c.VM] = ending{c, alive, at}
	events := []Event{{At: at, Event: End, VM: c.VM, Host: c.Host, PID: pid, Incoming: c.Incoming}}
	t.overlaps = slices.DeleteFunc(t.overlaps, func(o *overlap) bool {
		over := o.a.PID == pid || o.b.PID == pid
		if over {
			events = append(events, overlapEvent(OverlapEnd, at, o.a, o.b))
		}
		return over
	})
	return events
}

// Acknowledged says that a guest acknowledged a write on a host's console. While
// two processes hold the guest, acknowledgements may move from one host to the
// other once: that is a migration. If they come back, both run.
func (t *Tracker) Acknowledged(vm, host string, at time.Time) []Event {
	var events []Event
	for _, o := range t.overlaps {
		if o.a.VM != vm || o.told || (host != o.a.Host && host != o.b.Host) {
			continue
		}
		if o.last != "" && o.last != host {
			o.switches++
		}
		o.last = host
		if o.switches >= 2 {
			o.told = true
			events = append(events, overlapEvent(BothRan, at, o.a, o.b))
		}
	}
	return events
}

// Alive lists the processes that live, in order of their start.
func (t *Tracker) Alive() []Copy {
	var all []Copy
	for _, c := range t.alive {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b Copy) int {
		if d := a.Started.Compare(b.Started); d != 0 {
			return d
		}
		return a.PID - b.PID
	})
	return all
}

// copies lists the live processes of a VM, in order of their start.
func (t *Tracker) copies(vm string) []Copy {
	return slices.DeleteFunc(t.Alive(), func(c Copy) bool { return c.VM != vm })
}

// overlapEvent is about two copies, a the older one. It is a migration's if the
// younger was started to receive one; how the older once came there is no matter.
func overlapEvent(kind Kind, at time.Time, a, b Copy) Event {
	return Event{At: at, Event: kind, VM: a.VM, Hosts: []string{a.Host, b.Host}, Migration: b.Incoming}
}
