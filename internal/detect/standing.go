package detect

import (
	"fmt"
	"time"

	"holdfast/internal/fault"
)

// standing is a fault that the Engine itself holds: all but those of the Tracker.
type standing struct {
	fault fault.Fault
	// calm is since when it would be over, were it not flapping. Zero: it is true.
	calm time.Time
	by   fault.Sighting // what would have cleared it
}

// hold says that f is true now. Site, Reporter, ID, First and Last are filled in.
func (e *Engine) hold(at time.Time, f fault.Fault) []Change {
	slot := f.Slot()
	cur := e.stand[slot]
	if cur != nil && (cur.fault.Kind != f.Kind || cur.fault.Host != f.Host && f.Kind.Subject() != fault.SubjectPool) {
		changes := e.drop(at, slot, f.Seen)
		return append(changes, e.raise(at, slot, f)...)
	}
	if cur == nil {
		return e.raise(at, slot, f)
	}
	was := cur.fault
	f.Site, f.Reporter, f.ID, f.First, f.Last, f.Flapping = was.Site, was.Reporter, was.ID, was.First, wall(at), was.Flapping
	e.label(&f)
	cur.fault, cur.calm = f, time.Time{}
	return []Change{{Kind: StillTrue, Fault: f}}
}

func (e *Engine) raise(at time.Time, slot string, f fault.Fault) []Change {
	f.Site, f.Reporter = e.o.Site, e.o.Reporter
	if f.First.IsZero() {
		f.First = at
	}
	f.First, f.Last = wall(f.First), wall(at)
	f.ID = faultID(f.Host, f.Kind, slot, f.Last)
	e.label(&f)
	if f.Kind.Subject() != fault.SubjectVM && f.Rule == "" { // rules damp what they measure themselves
		e.flap(at, slot, &f)
	}
	e.stand[slot] = &standing{fault: f}
	return []Change{{Kind: Raised, Fault: f}}
}

// flap counts how often a fault came within the window. What comes and goes too
// often is held up until it has been quiet for as long.
func (e *Engine) flap(at time.Time, slot string, f *fault.Fault) {
	recent := e.raises[slot][:0]
	for _, t := range e.raises[slot] {
		if at.Sub(t) < e.o.Flap.Window {
			recent = append(recent, t)
		}
	}
	recent = append(recent, at)
	e.raises[slot] = recent
	if e.o.Flap.Raises > 0 && len(recent) >= e.o.Flap.Raises {
		f.Flapping = true
		f.Why += fmt.Sprintf("; it has come %d times within %s and is held up until it has been away for as long", len(recent), e.o.Flap.Window)
	}
}

// release says that the fault in a slot is true no more.
func (e *Engine) release(at time.Time, slot string, by fault.Sighting) []Change {
	cur := e.stand[slot]
	if cur == nil {
		return nil
	}
	if cur.fault.Flapping {
		if cur.calm.IsZero() {
			cur.calm, cur.by = at, by
		}
		return nil
	}
	return e.drop(at, slot, by)
}

// drop ends the fault in a slot, flapping or not.
func (e *Engine) drop(at time.Time, slot string, by fault.Sighting) []Change {
	cur := e.stand[slot]
	if cur == nil {
		return nil
	}
	delete(e.stand, slot)
	if by.At.IsZero() {
		by.At = wall(at)
	}
	return []Change{{Kind: Cleared, Fault: cur.fault, By: by}}
}

// calmed ends what flapped and has been quiet for the whole window, and forgets
// old raises.
func (e *Engine) calmed(at time.Time) []Change {
	var changes []Change
	for _, slot := range sortedKeys(e.stand) {
		if s := e.stand[slot]; !s.calm.IsZero() && at.Sub(s.calm) >= e.o.Flap.Window {
			changes = append(changes, e.drop(at, slot, s.by)...)
		}
	}
	for slot, times := range e.raises {
		if at.Sub(times[len(times)-1]) >= e.o.Flap.Window && e.stand[slot] == nil {
			delete(e.raises, slot)
		}
	}
	return changes
}
