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

// PoolState is one storage pool as one host sees it.
type PoolState struct {
	Name      string
	State     string // libvirt's word
	Running   bool
	Autostart bool
	Target    string // folder in which its volumes are; empty: none
	Capacity  uint64 // bytes; 0: not known
	Available uint64 // bytes
	Error     string // why its figures could not be read
}

// pool is a storage pool across the hosts: one of a name is taken for the same.
type pool struct {
	name string
	on   map[string]*poolView // by host
}

// poolView is what one host last said about a pool.
type poolView struct {
	target string
	ran    bool // it was active here, or is to start with the host
	bad    int  // times in a row that it was not
	since  time.Time
	at     time.Time
	word   string
	track  *rules.Track
	full   map[string]string // by rule: why it is too full
}

// poolConfirm is how many looks in a row must find a pool lost.
const poolConfirm = 2

// lost: it is gone for this host, by enough looks.
func (v *poolView) lost() bool { return v.bad >= poolConfirm }

// holds reports whether a guest has a disk in the pool, on a host that lost it.
func (p *pool) holds(g *life) bool {
	v := p.on[g.node.name]
	if v == nil || !v.lost() || v.target == "" {
		return false
	}
	for _, d := range g.profile.Disks {
		if strings.HasPrefix(d, strings.TrimSuffix(v.target, "/")+"/") {
			return true
		}
	}
	return false
}

// PoolsListed takes all storage pools of a host, which was asked at that time.
func (e *Engine) PoolsListed(host string, at time.Time, seen []PoolState) []Change {
	n := e.nodes[host]
	if n == nil {
		return nil
	}
	listed := map[string]bool{}
	for _, s := range seen {
		listed[s.Name] = true
		p := e.pools[s.Name]
		if p == nil {
			p = &pool{name: s.Name, on: map[string]*poolView{}}
			e.pools[s.Name] = p
		}
		v := p.on[host]
		if v == nil {
			v = &poolView{full: map[string]string{}, track: e.book.For(fault.SubjectPool, nil, nil).NewTrack(at)}
			p.on[host] = v
			n.pools = append(n.pools, p)
			slices.SortFunc(n.pools, func(a, b *pool) int { return cmp.Compare(a.name, b.name) })
		}
		if e.look(v, s, at) {
			e.want(at, Want{Kind: WantPools, Host: host}, now)
		}
	}
	var changes []Change
	for _, p := range slices.Clone(n.pools) {
		if !listed[p.name] {
			// A person took it out of the configuration.
			delete(p.on, host)
			n.pools = slices.DeleteFunc(n.pools, func(q *pool) bool { return q == p })
		}
		changes = append(changes, e.judgePool(p, at)...)
		if len(p.on) == 0 {
			delete(e.pools, p.name)
		}
	}
	return append(changes, e.judgePending(at)...)
}

// PoolsSilent notes that a host that answers otherwise did not list its storage
// pools in time: storage that hangs holds up the listing. Which of them it is
// nobody can tell, so all are in question that this host had.
func (e *Engine) PoolsSilent(host string, at time.Time, why string) []Change {
	n := e.nodes[host]
	if n == nil || !n.silentSince.IsZero() {
		return nil
	}
	var changes []Change
	for _, p := range slices.Clone(n.pools) {
		v := p.on[host]
		if v.ran && e.look(v, PoolState{Name: p.name, State: "does not answer", Error: why}, at) {
			e.want(at, Want{Kind: WantPools, Host: host}, now)
		}
		changes = append(changes, e.judgePool(p, at)...)
	}
	return append(changes, e.judgePending(at)...)
}

// look takes in what a host says of a pool, and reports whether to look again soon.
func (e *Engine) look(v *poolView, s PoolState, at time.Time) bool {
	v.at, v.word = at, s.State
	if s.Target != "" {
		v.target = s.Target
	}
	if s.Running && s.Error == "" {
		v.ran, v.bad = true, 0
		if used, known := rules.Used(s.Capacity, s.Available); known {
			e.values.Reset()
			e.values.Set(rules.PoolFull, used)
			for _, c := range v.track.Take(at, &e.values) {
				delete(v.full, c.Rule.Name)
				if c.Kind != rules.Cleared {
					v.full[c.Rule.Name] = c.Why
				}
			}
		}
		return false
	}
	if !v.ran && !s.Autostart {
		return false
	}
	if v.bad == 0 {
		v.since = at
	}
	v.bad++
	if s.Error != "" {
		v.word += ": " + s.Error
	}
	return v.bad < poolConfirm
}

// judgePool makes one fault of what the hosts say about a pool.
func (e *Engine) judgePool(p *pool, at time.Time) []Change {
	lost := fault.Fault{Kind: fault.KindPoolLost, Pool: p.name}
	full := fault.Fault{Kind: fault.KindPoolFull, Pool: p.name}
	var lostOn, fullOn []string
	for _, host := range sortedKeys(p.on) {
		v := p.on[host]
		if v.lost() {
			lostOn = append(lostOn, host)
			lost.Host, lost.First = lostOn[0], v.since
			lost.Evidence = append(lost.Evidence, fault.Evidence{What: "pool on " + host, Value: v.word, Since: wall(v.since), At: wall(v.at)})
		}
		if len(v.full) > 0 && !v.lost() {
			fullOn = append(fullOn, host)
			full.Host = fullOn[0]
			why := v.full[sortedKeys(v.full)[0]]
			full.Evidence = append(full.Evidence, fault.Evidence{What: "pool on " + host, Value: why, At: wall(v.at)})
		}
	}
	var changes []Change
	for _, c := range []struct {
		f    fault.Fault
		on   []string
		what string
	}{{lost, lostOn, "is lost"}, {full, fullOn, "is nearly full"}} {
		if len(c.on) == 0 {
			changes = append(changes, e.release(at, c.f.Slot(), fault.Sighting{Host: p.name, State: "well", At: wall(at)})...)
			continue
		}
		if s := e.stand[c.f.Slot()]; s != nil {
			c.f.Inhibits = s.fault.Inhibits
		}
		c.f.Evidence = c.f.Evidence[:min(len(c.f.Evidence), named)]
		c.f.Why = fmt.Sprintf("storage pool %s %s on %s: %s", p.name, c.what, strings.Join(c.on[:min(len(c.on), named)], ", "), c.f.Evidence[0].Value)
		changes = append(changes, e.hold(at, c.f)...)
	}
	return changes
}

// DiskFailed takes an I/O error that QEMU reported: noSpace if it is for want of room.
func (e *Engine) DiskFailed(host string, at time.Time, vm fault.VM, device string, noSpace bool) []Change {
	g := e.guests[vm.UUID]
	if g == nil || g.node.name != host {
		return nil
	}
	g.noSpace, g.diskTold, g.diskSaid = noSpace, at, at
	return e.judgePending(at)
}

// DisksTold takes the answer to WantDisks: which disk of a VM is short of space.
func (e *Engine) DisksTold(host string, at time.Time, vm fault.VM, noSpace bool) []Change {
	g := e.guests[vm.UUID]
	if g == nil || g.node.name != host || at.Before(g.stateSince) {
		return nil
	}
	if g.stateSince.Sub(g.diskSaid) > settleWithin {
		// QEMU keeps a disk's first error until it ends: what it said itself, as it
		// paused the guest, is newer.
		g.noSpace = noSpace
	}
	g.diskTold = at
	return e.judgePending(at)
}

// judgePending finds out why guests were paused by an I/O error: for want of
// room, because their pool is lost, or because of the disk itself.
func (e *Engine) judgePending(at time.Time) []Change {
	var changes []Change
	for _, uuid := range sortedKeys(e.pending) {
		g := e.pending[uuid]
		waited := at.Sub(g.stateSince)
		if waited < settleWithin && (g.diskTold.IsZero() || !e.poolsKnown(g)) {
			continue
		}
		kind, why := fault.KindIOError, "a disk failed under it, and QEMU paused it"
		if g.noSpace {
			kind, why = fault.KindNoSpace, "there is no room for what it wrote, and QEMU paused it"
		}
		changes = append(changes, e.holdGuest(at, g, e.guestFault(g, at, kind, g.stateSince, why,
			fault.Evidence{What: "disk error", Value: map[bool]string{true: "no space (ENOSPC)", false: "I/O error (EIO)"}[g.noSpace], At: wall(g.diskTold)}))...)
	}
	return changes
}

// poolsKnown: the pools of a guest's host were looked at since it was paused,
// and none is in question.
func (e *Engine) poolsKnown(g *life) bool {
	known := true
	for _, p := range g.node.pools {
		v := p.on[g.node.name]
		known = known && !v.at.Before(g.stateSince) && (v.bad == 0 || v.lost())
	}
	return known
}
