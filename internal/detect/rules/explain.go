package rules

import (
	"fmt"
	"time"

	"holdfast/internal/fault"
)

// State says where a rule is with a subject.
type State string

// States.
const (
	StateOK        State = "ok"
	StateWarmingUp State = "warming up" // the subject was started only just
	StatePending   State = "pending"    // beyond Raise, not for long enough yet
	StateRaised    State = "raised"     // the fault stands
	StateClearing  State = "clearing"   // the fault stands; within Clear, not for long enough yet
	StateFlapping  State = "flapping"   // the fault stands, and is held
	StateNoData    State = "no data"
	StateOff       State = "off"
)

// Explanation is what one rule makes of a subject, and why.
type Explanation struct {
	Rule   string     `json:"rule"`
	Kind   fault.Kind `json:"kind"`
	Metric Metric     `json:"metric"`
	Device string     `json:"device,omitempty"` // of a metric that is by device
	// Value is the newest, or the newest slope; Has reports whether there is one
	// that is not too old to count.
	Value float64       `json:"value"`
	Has   bool          `json:"has"`
	Below bool          `json:"below,omitempty"`
	Slope bool          `json:"slope,omitempty"`
	Raise float64       `json:"raise"`
	Clear float64       `json:"clear"`
	For   time.Duration `json:"for"`
	State State         `json:"state"`
	// Since is from when on the state holds; zero where that is not known.
	Since time.Time `json:"since,omitzero"`
	Why   string    `json:"why"`
}

// Explain says of every rule of the set where it is, and why.
func (t *Track) Explain(at time.Time) []Explanation {
	var all []Explanation
	for i := range t.set.subject {
		all = append(all, t.explain(&t.set.subject[i], &t.states[i], "", at))
	}
	for i := range t.set.devices {
		c := &t.set.devices[i]
		for _, d := range t.devices {
			all = append(all, t.explain(c, &d.states[i], d.name, at))
		}
		if len(t.devices) == 0 {
			all = append(all, t.explain(c, &state{}, "", at))
		}
	}
	for _, r := range t.set.off {
		e := r.explanation()
		e.State, e.Why = StateOff, "the rule is off"
		all = append(all, e)
	}
	return all
}

func (r *Rule) explanation() Explanation {
	return Explanation{Rule: r.Name, Kind: r.Kind, Metric: r.Metric, Below: r.Below, Slope: r.Slope, Raise: r.Raise, Clear: r.Clear, For: r.For}
}

func (t *Track) explain(c *compiled, s *state, device string, at time.Time) Explanation {
	e := c.rule.explanation()
	e.Device, e.Value = device, s.value
	age := t.age(at)
	var quietFor int64
	if s.last != 0 {
		quietFor = int64(at.Sub(t.moment(s.last)))
	}
	fresh := s.last != 0 && quietFor <= c.gap
	e.Has = fresh && s.valued
	switch {
	case s.phase >= raised:
		t.explainStanding(&e, c, s, fresh, at)
	case age < c.warmup:
		e.State, e.Since, e.Has = StateWarmingUp, t.started, false
		e.Why = fmt.Sprintf("started %s ago; values count from %s after the start", short(time.Duration(max(age, 0))), short(c.rule.Warmup))
	case s.last == 0:
		e.State, e.Why = StateNoData, "there has been no value yet"
	case !fresh:
		e.State, e.Since = StateNoData, t.moment(s.last)
		e.Why = "the last value, " + c.format(s.value) + ", came " + short(time.Duration(quietFor)) + " ago"
	case !s.valued:
		e.State, e.Since = StateNoData, t.moment(s.more.slope.began)
		e.Why = "values reach back " + short(time.Duration(s.last-s.more.slope.began)) + " without a gap, and the slope needs " + short(c.rule.For)
	case s.phase == pending:
		e.State, e.Since = StatePending, t.moment(s.since)
		e.Why = fmt.Sprintf("%s, %s for %s of %s", c.format(s.value), c.beyond(), short(time.Duration(s.last-s.since)), short(c.rule.For))
	default:
		e.State = StateOK
		e.Why = c.format(s.value) + ", not " + c.beyond()
	}
	return e
}

// explainStanding is explain for a fault that stands, whether or not values come.
func (t *Track) explainStanding(e *Explanation, c *compiled, s *state, fresh bool, at time.Time) {
	e.State, e.Since = StateRaised, t.moment(s.start)
	if s.phase == clearing && fresh {
		e.State, e.Since = StateClearing, t.moment(s.since)
	}
	if s.flapping {
		e.State = StateFlapping
	}
	e.Why = c.standing(s, s.last)
	if !fresh {
		e.Why = fmt.Sprintf("raised with a peak of %s, and no data for %s", c.format(s.peak*c.sign), short(at.Sub(t.moment(s.last)))) + c.held(s)
	}
}

// change describes what a value did, and settles a fault that is over.
func (t *Track) change(kind ChangeKind, c *compiled, s *state, device string, at time.Time, now int64) Change {
	ch := t.changed(kind, c, s, device, at)
	switch kind {
	case Raised:
		ch.Why = fmt.Sprintf("%s is %s, and %s for %s", c.of(device), c.format(s.value), c.beyond(), short(time.Duration(now-s.start))) + c.held(s)
	case StillTrue:
		ch.Why = c.of(device) + " is " + c.standing(s, now)
	case Cleared:
		ch.Why = fmt.Sprintf("%s is %s, and %s", c.of(device), c.format(s.value), c.within())
		if now > s.since {
			ch.Why += " for " + short(time.Duration(now-s.since))
		}
		s.settle()
	}
	return ch
}

// ended describes a fault that is over without a value that says so.
func (t *Track) ended(c *compiled, s *state, device string, at time.Time, why string) Change {
	ch := t.changed(Cleared, c, s, device, at)
	ch.Why = why + "; the last value of " + c.of(device) + " was " + c.format(s.value)
	return ch
}

func (t *Track) changed(kind ChangeKind, c *compiled, s *state, device string, at time.Time) Change {
	return Change{
		Kind: kind, Rule: c.rule, Device: device, Value: s.value, Peak: s.peak * c.sign,
		Since: t.moment(s.start), At: at, Flapping: s.flapping,
	}
}

// standing tells how a fault that stands is doing, at the time of its last value.
func (c *compiled) standing(s *state, now int64) string {
	now = max(now, s.start)
	text := c.format(s.value)
	switch x := s.value * c.sign; {
	case s.phase == clearing:
		need := c.span
		if s.flapping {
			need = max(need, c.flapWindow)
		}
		text += fmt.Sprintf(", %s for %s of %s", c.within(), short(time.Duration(now-s.since)), short(time.Duration(need)))
	case x > c.raise:
		text += ", " + c.beyond()
	default:
		text += ", not " + c.beyond() + ", and not yet " + c.within()
	}
	return text + fmt.Sprintf("; it began %s before, with a peak of %s", short(time.Duration(now-s.start)), c.format(s.peak*c.sign)) + c.held(s)
}

// held says why a flapping fault is not over yet.
func (c *compiled) held(s *state) string {
	if !s.flapping {
		return ""
	}
	return fmt.Sprintf("; it was raised %d times within %s, and is held until it has been clear for all of that", len(s.more.raises), short(time.Duration(c.flapWindow)))
}

// of names what is measured.
func (c *compiled) of(device string) string {
	name := string(c.rule.Metric)
	if device != "" {
		name += " of " + device
	}
	if c.slope {
		return "the change of " + name + " over " + short(c.rule.For)
	}
	return name
}

func (c *compiled) format(v float64) string {
	if c.slope {
		return number(v, c.rule.Metric.Unit()) + " a minute"
	}
	return c.rule.Metric.Format(v)
}

// beyond and within are the two thresholds in words.
func (c *compiled) beyond() string {
	if c.rule.Below {
		return "below " + c.format(c.rule.Raise)
	}
	return "above " + c.format(c.rule.Raise)
}

func (c *compiled) within() string {
	if c.rule.Below {
		return "at or above " + c.format(c.rule.Clear)
	}
	return "at or below " + c.format(c.rule.Clear)
}
