package rules

import "slices"

// phase is where a rule is with one subject.
type phase uint8

const (
	quiet    phase = iota
	pending        // a spell beyond Raise has begun
	raised         // the fault stands
	clearing       // the fault stands, and a spell within Clear has begun
)

// slopePoints is how many values a slope keeps, evenly over its time.
const slopePoints = 16

// state is what one rule remembers of one subject. Times are nanoseconds since
// the track's base and above 0; 0 is never.
type state struct {
	phase    phase
	flapping bool
	valued   bool    // value is one: of a slope, the last value may have given none
	since    int64   // when the spell began, if pending or clearing
	start    int64   // first value beyond Raise of the fault that stands
	last     int64   // time of the newest value
	value    float64 // the newest value, or slope
	peak     float64 // worst value since start, times sign
	more     *more
}

// more is what few rules and subjects need.
type more struct {
	raises []int64 // when the fault was raised within the flap window, oldest first
	slope  slope
}

func (s *state) rest() *more {
	if s.more == nil {
		s.more = &more{}
	}
	return s.more
}

// step takes one value, and returns what became of the fault; empty: nothing.
func (c *compiled) step(s *state, now int64, v float64) ChangeKind {
	if now <= s.last {
		return ""
	}
	gap := s.last != 0 && now-s.last > c.gap
	s.last = now
	began := now
	if c.slope {
		if began, v, s.valued = s.rest().slope.take(c, now, v, gap); !s.valued {
			return ""
		}
	}
	s.valued, s.value = true, v
	x := v * c.sign
	switch s.phase {
	case quiet, pending:
		return c.rising(s, now, began, x, gap)
	default:
		return c.falling(s, now, x, gap)
	}
}

// rising takes a value while no fault stands. Began is when it began to count,
// which of a slope is before now.
func (c *compiled) rising(s *state, now, began int64, x float64, gap bool) ChangeKind {
	switch {
	case x <= c.raise:
		s.phase = quiet
		return ""
	case s.phase == quiet || gap:
		s.phase, s.since, s.peak = pending, began, x
	}
	s.peak = max(s.peak, x)
	if now-s.since < c.span {
		return ""
	}
	s.phase, s.start = raised, s.since
	c.countRaise(s, now)
	return Raised
}

// falling takes a value while a fault stands.
func (c *compiled) falling(s *state, now int64, x float64, gap bool) ChangeKind {
	s.peak = max(s.peak, x)
	switch {
	case x > c.clear:
		s.phase = raised
		return StillTrue
	case s.phase == raised || gap:
		s.phase, s.since = clearing, now
	}
	span := c.span
	if s.flapping {
		span = max(span, c.flapWindow)
	}
	if now-s.since < span {
		return StillTrue
	}
	return Cleared // the caller has the change described, then calls settle
}

// settle ends a fault that was cleared.
func (s *state) settle() { s.phase, s.flapping = quiet, false }

// interrupt ends the spells, at a start of the subject.
func (s *state) interrupt() {
	switch s.phase {
	case pending:
		s.phase = quiet
	case clearing:
		s.phase = raised
	}
	if s.more != nil && s.more.slope.count > 0 {
		s.more.slope, s.valued = slope{}, false
	}
}

// countRaise remembers a raise, and sees whether the fault is flapping.
func (c *compiled) countRaise(s *state, now int64) {
	if c.flapRaises == 0 {
		return
	}
	m := s.rest()
	m.raises = slices.DeleteFunc(m.raises, func(at int64) bool { return now-at > c.flapWindow })
	m.raises = append(m.raises, now)
	s.flapping = len(m.raises) >= c.flapRaises
}

// slope holds values of the last For, oldest first from head.
type slope struct {
	began int64 // first value since the last gap
	head  int
	count int
	at    [slopePoints + 2]int64
	value [slopePoints + 2]float64
}

// take adds a value and returns the change a minute over the rule's time, and
// when that time began; false if the values do not reach back so far.
func (l *slope) take(c *compiled, now int64, v float64, gap bool) (began int64, perMinute float64, ok bool) {
	if gap || l.count == 0 {
		l.began, l.head, l.count = now, 0, 0
	}
	for l.count > 0 && now-l.at[l.head] > c.window {
		l.head = (l.head + 1) % len(l.at)
		l.count--
	}
	if l.count > 0 && now-l.began >= c.window {
		began = l.at[l.head]
		perMinute = (v - l.value[l.head]) / (float64(now-began) / 60e9)
		ok = finite(perMinute)
	}
	if newest := (l.head + l.count + len(l.at) - 1) % len(l.at); l.count == 0 || now-l.at[newest] >= c.spacing {
		next := (l.head + l.count) % len(l.at)
		l.at[next], l.value[next] = now, v
		l.count++
	}
	return began, perMinute, ok
}
