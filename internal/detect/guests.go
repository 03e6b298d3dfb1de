package detect

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"holdfast/internal/detect/rules"
	"holdfast/internal/fault"
)

// Profile is what a domain's definition says that matters here.
type Profile struct {
	Labels map[string]string
	Mode   string // empty: none is set
	// HasAgent: the definition has a channel for a guest agent. AgentExpected: the
	// VM's annotation says that one answers in it.
	HasAgent, AgentExpected bool
	Overrides               map[string]rules.Override
	// Disks are the files and devices behind the domain's disks.
	Disks []string
}

// life is a guest: a domain that is active on a host: one life of it, from a start or
// from when it was first seen until it stops or moves.
type life struct {
	vm     fault.VM
	node   *node
	since  time.Time // start of this life, or when it was first seen
	booted time.Time // the start, if it was seen

	state, reason string
	stateSince    time.Time

	profile   Profile
	described bool
	track     *rules.Track
	meter     rules.Meter

	listedAt   time.Time     // of the last listing that had it
	sampledAt  time.Time     // of the last sample that had it
	missed     int           // samples in a row that did not
	missedFrom time.Time     // the first of them
	executed   time.Duration // vCPU time at the last sample
	progressAt time.Time     // when that last grew

	agent    agentView
	noSpace  bool      // its disk said so
	diskTold time.Time // when its disks were asked, or said so themselves
	diskSaid time.Time // when QEMU last said that a disk failed
	watchdog time.Time // when its watchdog last fired

	rebooted   bool // since is when the guest was reset
	bootFailed bool // that fault stands
	held       bool // another fault explains what is wrong with it, and counts it
	transient  bool // the host forgets it when it stops
}

// agentView is what is known of a guest's agent.
type agentView struct {
	known      bool      // it answered in an earlier life
	answeredAt time.Time // in this one
	askedAt    time.Time // when it last did or did not
	silent     int       // times in a row that it did not
	wantedAt   time.Time // when it was last to be asked
	why        string
}

const (
	// agentRest is how long after its start a guest's agent is left alone.
	agentRest = 5 * time.Second
	// unseenBoot is how many times longer an expected agent may take where the
	// start was not seen.
	unseenBoot = 4
	// watchdogQuiet is how long a guest must execute after its watchdog fired
	// for that to be over.
	watchdogQuiet = 2 * time.Minute
	// settleWithin is how long the cause of an I/O error may take to be found.
	settleWithin = 8 * time.Second
	// describeEvery is the least time between two readings of a definition.
	describeEvery = 10 * time.Second
	// movedWithin is how long a guest that migrated away may take to be seen elsewhere.
	movedWithin = time.Minute
)

// noticed takes one observation of a domain in, after the Tracker.
func (e *Engine) noticed(n *node, at time.Time, o Observation) []Change {
	g := n.guests[o.VM.UUID]
	if !Active(o.State) {
		switch {
		case g == nil || at.Before(g.stateSince):
			return nil
		case o.Reason == "migrated":
			e.left(g, at)
			return nil
		}
		return e.ended(g, at, fault.Sighting{Host: n.name, State: o.State, Reason: o.Reason, At: wall(at)})
	}
	var changes []Change
	if g == nil {
		if o.State == paused && passing[o.Reason] {
			return nil // coming in, or starting: no guest yet
		}
		g, changes = e.begun(n, at, o)
	}
	if o.VM.Name != "" {
		g.vm.Name = o.VM.Name
	}
	g.transient = g.transient || o.Transient
	if !at.Before(g.stateSince) && (g.state != o.State || g.reason != o.Reason) {
		changes = append(changes, e.turned(g, at, o)...)
	}
	return changes
}

func (n *node) place(g *life) (int, bool) {
	return slices.BinarySearchFunc(n.sorted, g.vm.UUID, func(g *life, uuid string) int { return cmp.Compare(g.vm.UUID, uuid) })
}

func (n *node) add(g *life) {
	n.guests[g.vm.UUID] = g
	i, there := n.place(g)
	if there {
		n.sorted[i] = g
		return
	}
	n.sorted = slices.Insert(n.sorted, i, g)
}

func (n *node) remove(g *life) {
	if n.guests[g.vm.UUID] != g {
		return
	}
	delete(n.guests, g.vm.UUID)
	if i, there := n.place(g); there {
		n.sorted = slices.Delete(n.sorted, i, i+1)
	}
}

// begun is a domain that became active on a host, or is seen so for the first time.
func (e *Engine) begun(n *node, at time.Time, o Observation) (*life, []Change) {
	var changes []Change
	g := &life{vm: o.VM, node: n, since: at, progressAt: at}
	if old := e.guests[o.VM.UUID]; old != nil {
		g.profile, g.described = old.profile, old.described
		g.agent.known = old.agent.known || !old.agent.answeredAt.IsZero()
		g.track = old.track // its spells go on; only the counters begin anew
		delete(e.moving, o.VM.UUID)
		changes = e.ended(old, at, fault.Sighting{Host: n.name, State: o.State, Reason: o.Reason, At: wall(at)})
	}
	e.guests[o.VM.UUID] = g
	n.add(g)
	if !g.described {
		e.want(at, Want{WantDefinition, n.name, g.vm}, describeEvery)
	}
	return g, append(changes, e.turned(g, at, o)...)
}

// left is a guest that migrated away and has not been seen elsewhere yet. What
// is known of it goes with it.
func (e *Engine) left(g *life, at time.Time) {
	g.node.remove(g)
	delete(e.pending, g.vm.UUID)
	g.stateSince = at
	e.moving[g.vm.UUID] = g
}

// judgeMoving gives up on guests that were not seen again where they went.
func (e *Engine) judgeMoving(at time.Time) []Change {
	var changes []Change
	for _, uuid := range sortedKeys(e.moving) {
		if g := e.moving[uuid]; at.Sub(g.stateSince) >= movedWithin {
			delete(e.moving, uuid)
			changes = append(changes, e.ended(g, at, fault.Sighting{Host: g.node.name, State: shutoff, Reason: "migrated", At: wall(at)})...)
		}
	}
	return changes
}

// ended is a life that is over: what was wrong with it is wrong no more.
func (e *Engine) ended(g *life, at time.Time, by fault.Sighting) []Change {
	g.node.remove(g)
	delete(e.pending, g.vm.UUID)
	if e.guests[g.vm.UUID] == g {
		delete(e.guests, g.vm.UUID)
	}
	for _, kind := range []WantKind{WantDefinition, WantDisks} {
		delete(e.asked, Want{kind, g.node.name, g.vm})
	}
	prefix := fault.VMSlot(g.vm.UUID)
	changes := e.drop(at, prefix, by)
	if by.Host != g.node.name {
		return changes // it lives on elsewhere, and what is measured of it goes on
	}
	for _, slot := range sortedKeys(e.stand) {
		if strings.HasPrefix(slot, prefix+"/") {
			changes = append(changes, e.drop(at, slot, by)...)
		}
	}
	return changes
}

// turned is a domain whose state is another than before.
func (e *Engine) turned(g *life, at time.Time, o Observation) []Change {
	booted := o.State == running && g.state != running && o.Reason == "booted" && e.sawChange(g)
	g.state, g.reason, g.stateSince = o.State, o.Reason, at
	g.missed, g.progressAt = 0, at
	delete(e.pending, g.vm.UUID)
	if booted {
		g.since, g.booted = at, at
	}
	slot := fault.VMSlot(g.vm.UUID)
	seen := fault.Sighting{Host: g.node.name, State: o.State, Reason: o.Reason, At: wall(at)}
	if o.State == paused && o.Reason == "I/O error" {
		e.pending[g.vm.UUID] = g
		e.want(at, Want{WantDisks, g.node.name, g.vm}, time.Second)
		e.want(at, Want{Kind: WantPools, Host: g.node.name}, time.Second)
		return nil
	}
	g.noSpace, g.diskTold = false, time.Time{}
	if s := e.stand[slot]; s != nil && s.fault.Host == g.node.name {
		return e.drop(at, slot, seen)
	}
	return nil
}

// sawChange: the host said something else of the domain before, so that what it
// says now began when it was seen. Otherwise it may have been so for long.
func (e *Engine) sawChange(g *life) bool {
	if v := e.tracker.vms[g.vm.UUID]; v != nil {
		if s := v.at(g.node.name); s != nil {
			return !s.changed.IsZero()
		}
	}
	return false
}

// Described takes what a definition says.
func (e *Engine) Described(host string, at time.Time, vm fault.VM, p Profile) []Change {
	g := e.guests[vm.UUID]
	if g == nil || g.node.name != host {
		return nil
	}
	g.profile, g.described = p, true
	if v := e.tracker.vms[vm.UUID]; v != nil {
		v.profile = &p
	}
	overrides := map[string]rules.Override{}
	if e.o.OverridesFor != nil {
		for name, o := range e.o.OverridesFor(p.Labels) {
			overrides[name] = o
		}
	}
	for name, o := range p.Overrides {
		overrides[name] = o
	}
	set := e.book.For(fault.SubjectVM, p.Labels, overrides)
	if g.track == nil {
		g.track = set.NewTrack(g.booted)
		return nil
	}
	return e.ruled(g.track.Use(set, at), at, g.ruleFault(at))
}

// ruleFault makes the faults that rules raise about a guest.
func (g *life) ruleFault(at time.Time) func(*rules.Rule, string) fault.Fault {
	return func(_ *rules.Rule, device string) fault.Fault {
		return fault.Fault{
			VM: g.vm, Host: g.node.name, Device: device,
			Seen: fault.Sighting{Host: g.node.name, State: g.state, Reason: g.reason, At: wall(at)},
		}
	}
}

// Annotated notes that a domain's metadata changed.
func (e *Engine) Annotated(host string, at time.Time, vm fault.VM) {
	if g := e.guests[vm.UUID]; g != nil && g.node.name == host {
		e.asked[Want{WantDefinition, host, g.vm}] = time.Time{}
		e.want(at, Want{WantDefinition, host, g.vm}, describeEvery)
	}
}

// guestFault is a fault of a guest's running, which shares its place with those
// of the Tracker.
func (e *Engine) guestFault(g *life, at time.Time, kind fault.Kind, since time.Time, why string, ev ...fault.Evidence) fault.Fault {
	f := fault.Fault{
		Kind: kind, VM: g.vm, Host: g.node.name, First: since, Evidence: ev,
		Why:  fmt.Sprintf("%s on %s: %s", g.vm, g.node.name, why),
		Seen: fault.Sighting{Host: g.node.name, State: g.state, Reason: g.reason, At: wall(at)},
	}
	if v, h := e.tracker.vms[g.vm.UUID], e.tracker.hosts[g.node.name]; v != nil && h != nil {
		f.Elsewhere = e.tracker.elsewhere(v, h)
	}
	return f
}

// holdGuest raises a fault of a guest's running, unless the Tracker has a worse
// one or another fault explains it.
func (e *Engine) holdGuest(at time.Time, g *life, f fault.Fault) []Change {
	if v := e.tracker.vms[g.vm.UUID]; v != nil && v.fault != nil || !e.Settled() {
		return nil
	}
	if by := e.explained(g); by != nil {
		if !g.held { // it is counted once, however often it is looked at
			g.held = true
			by.fault.Inhibits++
		}
		return e.drop(at, f.Slot(), f.Seen)
	}
	g.held = false
	return e.hold(at, f)
}

// explained is the fault of which what is wrong with a guest is only a consequence.
func (e *Engine) explained(g *life) *standing {
	for _, p := range g.node.pools {
		s := e.stand[fault.PoolSlot(p.name, fault.KindPoolLost)]
		if s != nil && p.holds(g) {
			return s
		}
	}
	return e.stand[fault.HostSlot(g.node.name)]
}
