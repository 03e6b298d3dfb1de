package detect

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"holdfast/internal/fault"
)

// judgeVM says what is new about a VM after a host said something, or was found
// silent, at that time.
func (t *Tracker) judgeVM(at time.Time, uuid string) []Change {
	v := t.vms[uuid]
	if v == nil {
		return nil
	}
	v.age()
	if len(v.on) == 0 {
		delete(t.vms, uuid)
	}
	if !t.Settled() {
		return nil
	}
	found, against := v.decide()
	if found == nil || against != nil {
		return t.nothing(v, at, found, against)
	}
	v.doubted = ""
	switch cur := v.fault; {
	case cur == nil:
		return []Change{t.raise(v, at, found)}
	case cur.Host != found.host.name, cur.Kind == fault.KindPanicked && isDown(found.verdict),
		cur.Kind != fault.KindPanicked && !isDown(found.verdict):
		return []Change{t.clear(v, at, found.public()), t.raise(v, at, found)}
	case !found.at.After(v.seenAt):
		return nil
	default:
		// A restart that failed leaves another reason behind. It is still the same
		// outage, so its ID, kind and beginning stay.
		v.seenAt = found.at
		now := t.describe(v, found)
		cur.VM, cur.Last, cur.Seen, cur.Elsewhere = now.VM, now.Last, now.Seen, now.Elsewhere
		return []Change{{Kind: StillTrue, Fault: *cur}}
	}
}

// nothing is a VM with no fault to report: found is the fault that against, a
// stop on purpose elsewhere, makes doubtful.
func (t *Tracker) nothing(v *vmView, at time.Time, found, against *sighting) []Change {
	var changes []Change
	if v.fault != nil {
		changes = append(changes, t.clear(v, at, t.reason(v, against)))
	}
	if found == nil {
		v.doubted = ""
		return changes
	}
	if f := t.describe(v, found); f.ID != v.doubted {
		v.doubted = f.ID
		changes = append(changes, Change{Kind: Doubted, Fault: f, By: against.public()})
	}
	return changes
}

// decide picks the sighting that is the VM's fault, and what stands against
// raising it. The same sightings give the same answer in whatever order they
// came.
func (v *vmView) decide() (found, against *sighting) {
	var intent *sighting
	for _, s := range v.on {
		switch {
		case s.stale:
		case s.verdict.Meaning == Intent:
			intent = s
		case s.verdict.Meaning == Faulty && !v.activeElsewhere(s) && s.worse(found):
			found = s
		}
	}
	// Two hosts have it shut off, one on purpose and one not, and nobody saw on
	// which it ran last. An operator's intent wins over a guess. A guest that
	// panicked is there for all to see: no doubt about that.
	if found == nil || found.active() {
		return found, nil
	}
	return found, intent
}

func (v *vmView) activeElsewhere(s *sighting) bool {
	for _, other := range v.on {
		if other != s && other.active() && !other.stale {
			return true
		}
	}
	return false
}

// worse orders the outages of one VM on several hosts: one of a VM that ran
// before one of a start; of those that ran the latest, because the VM was there
// last; of starts the earliest, because the others only tried the same again.
func (s *sighting) worse(than *sighting) bool {
	if than == nil {
		return true
	}
	ran, other := s.outage.verdict.Kind != fault.KindStartFailed, than.outage.verdict.Kind != fault.KindStartFailed
	switch {
	case ran != other:
		return ran
	case ran:
		return s.outage.began.After(than.outage.began)
	default:
		return s.outage.began.Before(than.outage.began)
	}
}

// reason is the sighting because of which the fault of v is over.
func (t *Tracker) reason(v *vmView, against *sighting) fault.Sighting {
	var active *sighting
	for _, s := range v.on {
		if !s.stale && s.active() && (active == nil || s.at.After(active.at)) {
			active = s
		}
	}
	h := t.hosts[v.fault.Host]
	switch s := v.at(h.name); {
	case active != nil:
		return active.public()
	case against != nil:
		return against.public()
	case s != nil:
		return s.public()
	default:
		return fault.Sighting{Host: h.name, Absent: true, At: wall(h.listedAt)}
	}
}

func (t *Tracker) raise(v *vmView, at time.Time, s *sighting) Change {
	if !v.clearedAt.IsZero() && !s.outage.seenAt.After(v.clearedAt) {
		// The same words as before it was cleared, as when a start on another host
		// got nowhere: true again from now on, and another occurrence.
		s.outage.seenAt = at
	}
	f := t.describe(v, s)
	v.fault, v.seenAt = &f, s.at
	return Change{Kind: Raised, Fault: f}
}

func (t *Tracker) clear(v *vmView, at time.Time, by fault.Sighting) Change {
	f := *v.fault
	v.fault, v.clearedAt = nil, at
	return Change{Kind: Cleared, Fault: f, By: by}
}

func (t *Tracker) describe(v *vmView, s *sighting) fault.Fault {
	kind := s.outage.verdict.Kind
	first, last := wall(s.outage.seenAt), wall(s.at)
	if last.Before(first) {
		last = first
	}
	return fault.Fault{
		ID:   faultID(s.host.name, kind, v.vm.UUID, first),
		Kind: kind, Site: t.site, VM: v.vm, Host: s.host.name,
		First: first, Last: last, Seen: s.public(),
		Elsewhere: t.elsewhere(v, s.host), Reporter: t.reporter,
		Why: fmt.Sprintf("%s on %s: %s", v.vm, s.host.name, s.outage.verdict.Why),
	}
}

// elsewhere is the last word of every other host about v, each with its own
// time. It is used as proof: a host that never said anything is left out.
func (t *Tracker) elsewhere(v *vmView, except *hostView) []fault.Sighting {
	out := make([]fault.Sighting, 0, len(t.order)-1)
	for _, h := range t.order {
		switch s := v.at(h.name); {
		case h == except:
		case s != nil:
			out = append(out, s.public())
		case !h.listedAt.IsZero():
			out = append(out, fault.Sighting{Host: h.name, Absent: true, At: wall(h.listedAt)})
		}
	}
	return out
}

// faultID names an occurrence: one that begins at another moment is another.
func faultID(host string, kind fault.Kind, uuid string, first time.Time) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s\x00%d", host, kind, uuid, first.UnixNano()))
	return fmt.Sprintf("%s-%s", kind, hex.EncodeToString(sum[:8]))
}
