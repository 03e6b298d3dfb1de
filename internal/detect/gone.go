package detect

import (
	"fmt"
	"time"

	"holdfast/internal/fault"
)

// gone is a VM that was active on a host which does not even know it any more.
type gone struct {
	vm      fault.VM
	host    string
	last    fault.Sighting // when it was last seen there
	at      time.Time      // the listing that lacked it
	profile Profile
}

// goneFor is how long a VM that is nowhere to be found is asked for.
const goneFor = 24 * time.Hour

// vanished are the guests that a complete listing of their host lacks, though
// nothing was heard of a stop. Those that the host forgets when they stop are
// left out: that they are gone does not say how they ended.
func (e *Engine) vanished(n *node, at time.Time, seen []Observation) []*life {
	for i := range seen {
		if g := n.guests[seen[i].VM.UUID]; g != nil {
			g.listedAt = at
		}
	}
	var out []*life
	for _, g := range n.sorted {
		if g.listedAt != at && !at.Before(g.stateSince) {
			out = append(out, g)
		}
	}
	return out
}

// vanish notes a guest as gone, unless it is known to live elsewhere.
func (e *Engine) vanish(n *node, g *life, at time.Time) {
	n.remove(g)
	delete(e.pending, g.vm.UUID)
	if e.guests[g.vm.UUID] == g {
		delete(e.guests, g.vm.UUID)
	}
	if g.transient || g.state == inShutdown {
		return
	}
	e.gone[g.vm.UUID] = &gone{
		vm: g.vm, host: n.name, at: at, profile: g.profile,
		last: fault.Sighting{Host: n.name, State: g.state, Reason: g.reason, At: wall(g.stateSince)},
	}
}

// judgeGone raises what is gone once every other host has been listed since, and
// none has it.
func (e *Engine) judgeGone(at time.Time) []Change {
	var changes []Change
	for _, uuid := range sortedKeys(e.gone) {
		g := e.gone[uuid]
		slot := fault.VMSlot(uuid)
		if at.Sub(g.at) >= goneFor {
			// Whoever took it away has had a day to be told.
			delete(e.gone, uuid)
			changes = append(changes, e.drop(at, slot, fault.Sighting{Host: g.host, Absent: true, At: wall(at)})...)
			continue
		}
		if by := g.found(e.tracker.vms[uuid]); by != nil {
			delete(e.gone, uuid)
			if s := e.stand[slot]; s != nil && s.fault.Kind == fault.KindLost {
				changes = append(changes, e.drop(at, slot, by.public())...)
			}
			continue
		}
		if v := e.tracker.vms[uuid]; e.stand[slot] != nil || v != nil && v.fault != nil || !e.listedSince(g) {
			continue
		}
		f := fault.Fault{
			Kind: fault.KindLost, VM: g.vm, Host: g.host, First: g.at, Labels: g.profile.Labels, Mode: g.profile.Mode,
			Why:      fmt.Sprintf("%s was %s on %s, which does not know it any more, and no other host has it active", g.vm, g.last.State, g.host),
			Seen:     fault.Sighting{Host: g.host, Absent: true, At: wall(g.at)},
			Evidence: []fault.Evidence{{What: "last seen", Value: g.last.String(), At: g.last.At}},
		}
		v := e.tracker.vms[uuid]
		if v == nil {
			v = &vmView{}
		}
		f.Elsewhere = e.tracker.elsewhere(v, e.tracker.hosts[g.host])
		changes = append(changes, e.hold(at, f)...)
	}
	return changes
}

// found is the sighting for which a VM is not gone: a host has it active, or has
// had news of it since. One that knows it from earlier, such as where it once
// migrated away from, does not count.
func (g *gone) found(v *vmView) *sighting {
	if v == nil {
		return nil
	}
	for _, s := range v.on {
		if s.active() || s.host.name == g.host || s.changed.After(g.last.At) {
			return s
		}
	}
	return nil
}

// listedSince: every other host was listed after the VM was found gone.
func (e *Engine) listedSince(g *gone) bool {
	for _, h := range e.tracker.order {
		if h.name != g.host && !h.listedAt.After(g.at) {
			return false
		}
	}
	return e.Settled()
}
