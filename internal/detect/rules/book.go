package rules

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"sync"
	"time"

	"holdfast/internal/fault"
)

// maxSets bounds the sets that a book remembers. More are made as they are asked
// for, and not shared.
const maxSets = 4096

// missedPeriods is how many periods may lie between two values of one spell: two
// samples in a row may be lost.
const missedPeriods = 3

// Flap is when a fault that comes and goes is flapping: raised Raises times
// within Window. Raises 0: never.
type Flap struct {
	Raises int
	Window time.Duration
}

// Book is the rules of a site. It may be used from any number of goroutines.
type Book struct {
	rules   []Rule
	flap    Flap
	periods [metricCount]time.Duration

	mu   sync.Mutex
	sets map[string]*Set
}

// Option changes something about a book.
type Option func(*Book)

// Every says that a metric is measured at a period other than the book's.
func Every(m Metric, period time.Duration) Option {
	return func(b *Book) {
		if i, known := byMetric[m]; known && period > 0 {
			b.periods[i] = period
		}
	}
}

// NewBook makes a book of rules whose values come every period. Its error names
// every rule that makes no sense, and what to do about it; it joins [Problem]s.
func NewBook(list []Rule, flap Flap, period time.Duration, options ...Option) (*Book, error) {
	if err := check(list, flap, period); err != nil {
		return nil, fmt.Errorf("rules: %w", err)
	}
	b := &Book{rules: make([]Rule, len(list)), flap: flap, sets: make(map[string]*Set)}
	for i, r := range list {
		r.Select = maps.Clone(r.Select)
		b.rules[i] = r
	}
	for i := range b.periods {
		b.periods[i] = period
	}
	for _, o := range options {
		o(b)
	}
	for _, r := range list {
		if p := 2 * b.periods[byMetric[r.Metric]]; r.Slope && r.For < p {
			return nil, fmt.Errorf("rules: %w", Problem{r.Name, "for", fmt.Sprintf(
				"%s is too short for a slope of what is measured every %s", short(r.For), short(p/2)), "write " + short(p) + " or more"})
		}
	}
	return b, nil
}

// Rules returns the book's rules. They must not be changed.
func (b *Book) Rules() []Rule { return b.rules }

// Set is the rules that apply to one subject, with its overrides. Subjects for
// which they are the same share one. It does not change, and may be used from any
// number of goroutines.
type Set struct {
	subject []compiled // rules on what the subject has one value of
	devices []compiled // rules on what each of its devices has a value of
	off     []*Rule
}

// compiled is a rule as it is held against values: times in nanoseconds, and
// turned round so that more is always worse.
type compiled struct {
	bit        uint32
	metric     int
	sign       float64 // -1 if too little is the fault
	raise      float64 // times sign
	clear      float64 // times sign
	span       int64   // how long beyond Raise, and within Clear
	warmup     int64
	gap        int64 // more than this between two values breaks a spell
	window     int64 // of slope: how far it looks back
	spacing    int64 // of slope: how close together values are kept
	flapRaises int
	flapWindow int64
	slope      bool
	rule       *Rule
}

// For returns the rules that apply to a subject with these labels, with these
// overrides by the rules' names. An override that makes no sense is passed over,
// but for its Off: see [Book.Problems].
func (b *Book) For(subject fault.SubjectType, labels map[string]string, overrides map[string]Override) *Set {
	key := []byte(subject)
	var apply []int
	for i, r := range b.rules {
		if r.Metric.Subject() == subject && selects(r.Select, labels) {
			apply = append(apply, i)
			key = append(key, 0)
			key = binary.AppendUvarint(key, uint64(i))
			if o, has := overrides[r.Name]; has {
				key = o.appendKey(key)
			}
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.sets[string(key)]; s != nil {
		return s
	}
	s := b.compile(apply, overrides)
	if len(b.sets) < maxSets {
		b.sets[string(key)] = s
	}
	return s
}

func (b *Book) compile(apply []int, overrides map[string]Override) *Set {
	s := &Set{}
	for _, i := range apply {
		r := b.rules[i]
		o := overrides[r.Name]
		if own := r.With(o); len(own.Problems()) == 0 {
			r = own
		} else {
			r = r.With(Override{Off: o.Off})
		}
		switch {
		case r.Off:
			s.off = append(s.off, &r)
		case r.Metric.ByDevice():
			s.devices = append(s.devices, b.compileRule(&r))
		default:
			s.subject = append(s.subject, b.compileRule(&r))
		}
	}
	return s
}

func (b *Book) compileRule(r *Rule) compiled {
	i := byMetric[r.Metric]
	c := compiled{
		bit: 1 << i, metric: i, sign: 1, rule: r, slope: r.Slope,
		span: int64(r.For), warmup: int64(r.Warmup), gap: missedPeriods * int64(b.periods[i]),
		flapRaises: b.flap.Raises, flapWindow: int64(b.flap.Window),
	}
	if r.Below {
		c.sign = -1
	}
	c.raise, c.clear = c.sign*r.Raise, c.sign*r.Clear
	if r.Slope { // it looks back over all of For by itself
		c.window, c.spacing, c.span = c.span, c.span/slopePoints, 0
	}
	return c
}

// selects reports whether the labels are all there.
func selects(want, labels map[string]string) bool {
	for name, value := range want {
		if has, there := labels[name]; !there || has != value {
			return false
		}
	}
	return true
}

// appendKey appends what tells this override from others.
func (o Override) appendKey(key []byte) []byte {
	for _, f := range []*float64{o.Raise, o.Clear} {
		if f == nil {
			key = append(key, 0)
			continue
		}
		key = binary.AppendUvarint(append(key, 1), math.Float64bits(*f))
	}
	if o.For == nil {
		key = append(key, 0)
	} else {
		key = binary.AppendVarint(append(key, 1), int64(*o.For))
	}
	switch {
	case o.Off == nil:
		return append(key, 0)
	case *o.Off:
		return append(key, 2)
	}
	return append(key, 1)
}

// Rules returns the rules as they apply to the subject, those that are off last.
func (s *Set) Rules() []*Rule {
	var all []*Rule
	for i := range s.subject {
		all = append(all, s.subject[i].rule)
	}
	for i := range s.devices {
		all = append(all, s.devices[i].rule)
	}
	return append(all, s.off...)
}
