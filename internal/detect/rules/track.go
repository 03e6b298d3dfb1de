package rules

import (
	"math"
	"slices"
	"time"
)

// ChangeKind says what became of a fault.
type ChangeKind string

// Kinds of change. Of one rule and device, Raised and Cleared alternate,
// beginning with Raised; StillTrue comes in between, with every value.
const (
	Raised    ChangeKind = "raised"
	StillTrue ChangeKind = "still true"
	Cleared   ChangeKind = "cleared"
)

// Change is what a value did to a fault.
type Change struct {
	Kind ChangeKind
	// Rule as it applies to the subject, with its overrides. It must not be changed.
	Rule   *Rule
	Device string // of a metric that is by device
	// Value is the one that made the change, or the slope; where no value did, the
	// last. Peak is the worst since the fault began.
	Value, Peak float64
	// Since is the first value that was beyond Raise, At the time of the change.
	Since, At time.Time
	// Flapping: it is held until it has been clear for the whole flap window.
	Flapping bool
	// Why is a sentence with the value, the threshold and the times.
	Why string
}

// Track is what a set's rules make of one subject's values. It is not safe for
// use from several goroutines at once.
type Track struct {
	set     *Set
	base    time.Time // times are kept as what lies between, which outlives a step of the wall clock
	started time.Time
	states  []state
	devices []deviceTrack
	listed  int64 // when the devices were last listed
}

type deviceTrack struct {
	name   string
	states []state
}

// NewTrack begins to hold the values of one subject against the rules. StartedAt
// is when it was started; the zero time if that is long ago or not known, so that
// there is no warm-up.
func (s *Set) NewTrack(startedAt time.Time) *Track {
	return &Track{set: s, started: startedAt, states: make([]state, len(s.subject))}
}

// Restarted begins the warm-up anew. It ends every spell, and no fault.
func (t *Track) Restarted(at time.Time) {
	t.started = at
	for i := range t.states {
		t.states[i].interrupt()
	}
	for _, d := range t.devices {
		for i := range d.states {
			d.states[i].interrupt()
		}
	}
}

// Take takes the values of one time. It returns nil unless a fault was raised,
// stands, or is over.
func (t *Track) Take(at time.Time, v *Values) []Change {
	now, age := t.time(at), t.age(at)
	var changes []Change
	for i := range t.set.subject {
		c := &t.set.subject[i]
		if v.known&c.bit == 0 || age < c.warmup {
			continue
		}
		s := &t.states[i]
		if kind := c.step(s, now, v.value[c.metric]); kind != "" {
			changes = append(changes, t.change(kind, c, s, "", at, now))
		}
	}
	if v.listed && len(t.set.devices) > 0 {
		changes = t.takeDevices(changes, at, now, age, v)
	}
	return changes
}

func (t *Track) takeDevices(changes []Change, at time.Time, now, age int64, v *Values) []Change {
	if now <= t.listed {
		return changes
	}
	t.listed = now
	t.devices = slices.DeleteFunc(t.devices, func(d deviceTrack) bool {
		if slices.ContainsFunc(v.devices, func(is deviceValue) bool { return is.name == d.name }) {
			return false
		}
		changes = t.end(changes, t.set.devices, d.states, d.name, at, "the device is no longer there")
		return true
	})
	for _, d := range v.devices {
		states := t.device(d.name)
		for i := range t.set.devices {
			c := &t.set.devices[i]
			if c.metric != d.metric || age < c.warmup {
				continue
			}
			if kind := c.step(&states[i], now, d.value); kind != "" {
				changes = append(changes, t.change(kind, c, &states[i], d.name, at, now))
			}
		}
	}
	return changes
}

// device returns the states of a device, which it remembers from then on.
func (t *Track) device(name string) []state {
	for i := range t.devices {
		if t.devices[i].name == name {
			return t.devices[i].states
		}
	}
	states := make([]state, len(t.set.devices))
	t.devices = append(t.devices, deviceTrack{name, states})
	return states
}

// End clears every fault that stands, because the subject is no longer watched.
// The track begins anew after it.
func (t *Track) End(at time.Time, why string) []Change {
	changes := t.end(nil, t.set.subject, t.states, "", at, why)
	for _, d := range t.devices {
		changes = t.end(changes, t.set.devices, d.states, d.name, at, why)
	}
	t.devices, t.listed = nil, 0
	clear(t.states)
	return changes
}

func (t *Track) end(changes []Change, rules []compiled, states []state, device string, at time.Time, why string) []Change {
	for i := range states {
		if states[i].phase >= raised {
			changes = append(changes, t.ended(&rules[i], &states[i], device, at, why))
			states[i].settle()
		}
	}
	return changes
}

// Use goes on with another set, after the subject's labels or overrides changed.
// What a rule of the same name and metric remembers stays. A fault whose rule no
// longer applies, or is off now, is cleared.
func (t *Track) Use(set *Set, at time.Time) []Change {
	if set == t.set {
		return nil
	}
	var changes []Change
	carry := func(old, now []compiled, states []state, device string) []state {
		kept := make([]state, len(now))
		for i := range old {
			j := slices.IndexFunc(now, func(c compiled) bool { return old[i].sameAs(&c) })
			if j >= 0 {
				kept[j] = states[i]
				continue
			}
			changes = t.end(changes, old[i:i+1], states[i:i+1], device, at, "the rule no longer applies")
		}
		return kept
	}
	t.states = carry(t.set.subject, set.subject, t.states, "")
	for i := range t.devices {
		t.devices[i].states = carry(t.set.devices, set.devices, t.devices[i].states, t.devices[i].name)
	}
	t.set = set
	return changes
}

// sameAs reports whether another rule measures the same, whatever its thresholds.
func (c *compiled) sameAs(o *compiled) bool {
	return c.rule.Name == o.rule.Name && c.metric == o.metric && c.sign == o.sign &&
		c.slope == o.slope && c.window == o.window
}

// time is a time as states keep it.
func (t *Track) time(at time.Time) int64 {
	if t.base.IsZero() {
		t.base = at.Add(-maxSpan) // so that no time is 0, nor one that comes late
	}
	return int64(at.Sub(t.base))
}

// age is how long the subject has run, negative before its start.
func (t *Track) age(at time.Time) int64 {
	if t.started.IsZero() {
		return math.MaxInt64
	}
	return int64(at.Sub(t.started))
}

// moment is the time that states keep as ns, seen from another time whose clock
// readings it shares.
func (t *Track) moment(ns int64) time.Time { return t.base.Add(time.Duration(ns)) }
