package detect

import (
	"time"

	"holdfast/internal/fault"
)

// sighting is what one host last said about one VM.
type sighting struct {
	host *hostView

	o       Observation
	from    Source
	at      time.Time
	before  Verdict // on the observation before this one
	verdict Verdict

	// changed is when it came to say what it says. Zero: it said so when it was
	// first asked, so it may have been so for long.
	changed time.Time
	// aliveAt is when a guest was last seen here.
	aliveAt time.Time
	outage  outage
	// stale: the VM was seen alive on another host after what this says.
	stale bool
}

// outage is a fault on one host from its beginning, whatever other words the
// host finds for it later. The zero outage is none.
type outage struct {
	verdict Verdict   // the first
	seenAt  time.Time // when it was first seen
	// began is sighting.changed at its beginning: zero if it was found.
	began time.Time
}

func (s *sighting) active() bool { return Active(s.o.State) }

// alive: a guest is here, not only a QEMU that may get or give one away.
func (s *sighting) alive() bool {
	return s.active() && s.verdict.Meaning != Transition && s.verdict.Meaning != Doubt
}

func (s *sighting) public() fault.Sighting {
	return fault.Sighting{Host: s.host.name, State: s.o.State, Reason: s.o.Reason, At: wall(s.at)}
}

// inDoubt: the host was lost after it said this.
func (s *sighting) inDoubt() bool { return s.host.lostAt.After(s.at) }

// take sets what the host says now, seen against what it said before.
func (s *sighting) take(o Observation, from Source, at time.Time, before Verdict) {
	s.o, s.from, s.at, s.before = o, from, at, before
	s.verdict = Classify(o, from, before)
	if s.alive() {
		s.aliveAt = at
	}
}

// update takes a newer observation in.
func (s *sighting) update(o Observation, from Source, at time.Time) {
	was, wasActive, wasStale, same := s.verdict, s.active(), s.stale, s.saysTheSame(o, from)
	s.take(o, from, at, was)
	if !same {
		s.changed = at
	}
	if s.active() || !same && !wasActive {
		s.stale = false
	}
	unbroken := was.Meaning == Faulty && isDown(was) == isDown(s.verdict) && wasStale == s.stale
	if s.verdict.Meaning != Faulty || !unbroken {
		s.outage = s.begin()
	}
}

// begin is the outage that what s says now is the beginning of.
func (s *sighting) begin() outage {
	if s.verdict.Meaning != Faulty {
		return outage{}
	}
	return outage{verdict: s.verdict, seenAt: s.at, began: s.changed}
}

// saysTheSame: nothing happened since the last observation, though the words
// may differ: a listing gives the final words for a stop that an event told of,
// and a libvirtd that restarts forgets why a domain is shut off.
func (s *sighting) saysTheSame(o Observation, from Source) bool {
	if s.o.State != o.State {
		return false
	}
	if s.o.Reason == o.Reason {
		return true
	}
	return o.State == shutoff && (s.from == Event && from == Listing || o.Reason == unknown)
}

// learn takes an observation in that is older than the newest: it can only say
// what was before, where that was not known.
func (s *sighting) learn(o Observation, at time.Time) {
	if s.before.Meaning != "" {
		return
	}
	before := Classify(o, Listing, Verdict{})
	if before.guest != noGuest && at.After(s.aliveAt) {
		s.aliveAt = at
	}
	s.take(s.o, s.from, s.at, before)
	s.outage = s.begin()
}

// age marks what the VM's life on another host has overtaken. That mark stays
// until the host says something else: a crash on A, long repaired by a start
// on B, must not come back when somebody stops the VM on B.
func (v *vmView) age() {
	for _, s := range v.on {
		for _, other := range v.on {
			if other == s || other.aliveAt.IsZero() {
				continue
			}
			switch {
			case !s.active():
				s.stale = s.stale || !other.aliveAt.Before(s.changed)
			case s.inDoubt():
				s.stale = s.stale || other.aliveAt.After(s.at)
			}
		}
	}
}

// wall drops the monotonic reading, which means nothing in another process.
func wall(t time.Time) time.Time { return t.Round(0).UTC() }
