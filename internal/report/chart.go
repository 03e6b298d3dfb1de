package report

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"holdfast/internal/contract"
	"holdfast/internal/ladder"
)

// instant is something that happened at once.
type instant struct {
	at    time.Time
	label string
	class string
}

// stretch is something that took time.
type stretch struct {
	from, to     time.Time
	label, class string
	title        string
}

// chart is what is drawn between two moments.
type chart struct {
	from, to time.Time
	zero     time.Time     // of the fault's first sign
	around   time.Duration // at both ends, for a better look
	instants []instant
	tries    []stretch
	waits    []stretch
}

// legend says what a colour means.
type legend struct{ Class, Text string }

// legends are in the order in which they are shown.
var legends = []legend{
	{"ok", "try that worked"}, {"failed", "try that failed"}, {"running", "under way"},
	{"backoff", "waits before the next try"}, {"wait", "waits for a host or a worker"}, {"approval", "waits for approval"},
	{"person", "waits for a person"}, {"held", "held by a person"}, {"watch", "watches or observes"},
}

// charts draws the incident: as a whole, and again, closer, where much happened in
// a short time.
func charts(inc contract.Incident, made time.Time) ([]drawing, []legend) {
	c := chartOf(inc, made)
	var drawings []drawing
	for i, part := range c.split() {
		d := part.draw()
		d.Closer = i > 0
		drawings = append(drawings, d)
	}
	var used []legend
	for _, l := range legends {
		has := func(s stretch) bool { return s.class == l.Class }
		if slices.ContainsFunc(c.tries, has) || slices.ContainsFunc(c.waits, has) {
			used = append(used, l)
		}
	}
	return drawings, used
}

func chartOf(inc contract.Incident, made time.Time) chart {
	end := inc.Closed
	if end.IsZero() {
		end = made
		for _, e := range inc.Timeline { // whose clock may be ahead of ours
			if e.At.After(end) {
				end = e.At
			}
		}
	}
	c := chart{zero: firstSign(inc), instants: instants(inc, end), tries: tries(inc, end), waits: waits(inc, end)}
	c.from, c.to = c.zero, end
	for _, i := range c.instants {
		c.cover(i.at, i.at)
	}
	for _, s := range slices.Concat(c.tries, c.waits) {
		c.cover(s.from, s.to)
	}
	if c.to.Sub(c.from) < time.Millisecond {
		c.to = c.from.Add(time.Millisecond)
	}
	return c
}

func (c *chart) cover(from, to time.Time) {
	if from.Before(c.from) {
		c.from = from
	}
	if to.After(c.to) {
		c.to = to
	}
}

func instants(inc contract.Incident, end time.Time) []instant {
	all := []instant{
		{inc.Fault.First, "first sign", "sign"}, {inc.Opened, "opened", "mark"}, {inc.Started, "started", "mark"},
		{inc.Verified, "verified", "good"}, {inc.Closed, "closed", "mark"},
	}
	for _, a := range inc.Acts {
		all = append(all, instant{a.At, a.By + ": " + actText(a), "act"})
	}
	if inc.Closed.IsZero() {
		all = append(all, instant{end, "now", "mark"})
	}
	all = slices.DeleteFunc(all, func(i instant) bool { return i.at.IsZero() })
	slices.SortStableFunc(all, func(a, b instant) int { return a.at.Compare(b.at) })
	return all
}

// tries are those that ended, and the one that is under way.
func tries(inc contract.Incident, end time.Time) []stretch {
	var out []stretch
	for _, a := range inc.Attempts {
		s := stretch{from: a.Began, to: a.Ended, label: string(a.Rung) + " ✓", class: "ok", title: fmt.Sprintf("%s%s worked, took %s", a.Rung, on(a.Host), Span(a.Ended.Sub(a.Began)))}
		if !a.OK {
			s.label, s.class = string(a.Rung)+" ✗", "failed"
			s.title = fmt.Sprintf("%s%s failed after %s: %s", a.Rung, on(a.Host), Span(a.Ended.Sub(a.Began)), a.Error)
		}
		if s.to.Before(s.from) {
			s.to = s.from
		}
		out = append(out, s)
	}
	n := len(inc.Decisions)
	if inc.Outcome != "" || n == 0 {
		return out
	}
	last := inc.Decisions[n-1]
	from := last.At.Add(last.Decision.Wait)
	if k := len(out); k > 0 && out[k-1].to.After(from) {
		from = out[k-1].to
	}
	if last.Decision.Action == ladder.ActClimb && inc.Stage == contract.StageOf(last.Decision.Rung) && from.Before(end) {
		out = append(out, stretch{from: from, to: end, label: string(last.Decision.Rung) + " …", class: "running", title: Deed(last.Decision) + " is under way"})
	}
	return out
}

// waits are when nothing was done, as the decisions say, or else as the stages of
// the timeline say, for incidents that decide nothing.
func waits(inc contract.Incident, end time.Time) []stretch {
	var out []stretch
	add := func(from, to time.Time, class, title string) {
		if class == "" || !from.Before(to) {
			return
		}
		if n := len(out); n > 0 && out[n-1].class == class && !out[n-1].to.Before(from) {
			out[n-1].to = to
			return
		}
		out = append(out, stretch{from: from, to: to, label: waitLabels[class], class: class, title: title})
	}
	for i, d := range inc.Decisions {
		to := end
		if i+1 < len(inc.Decisions) {
			to = inc.Decisions[i+1].At
		}
		if d.Decision.Action == ladder.ActClimb && d.Decision.Wait > 0 {
			to = earliest(to, d.At.Add(d.Decision.Wait))
		}
		add(d.At, to, waitClass(d.Decision), Deed(d.Decision)+": "+d.Decision.Why)
	}
	if len(inc.Decisions) > 0 {
		return out
	}
	for i, e := range inc.Timeline {
		to := end
		if i+1 < len(inc.Timeline) {
			to = inc.Timeline[i+1].At
		}
		add(e.At, to, stageClass[e.Stage], e.Text)
	}
	return out
}

var waitLabels = map[string]string{
	"backoff": "backoff", "wait": "waits", "approval": "approval?", "person": "person", "held": "held", "watch": "watches",
}

func waitClass(d ladder.Decision) string {
	switch d.Action {
	case ladder.ActClimb:
		if d.Wait > 0 {
			return "backoff"
		}
	case ladder.ActWait:
		return "wait"
	case ladder.ActApprove:
		return "approval"
	case ladder.ActPerson:
		return "person"
	case ladder.ActHold:
		return "held"
	case ladder.ActObserve, ladder.ActWatch:
		return "watch"
	}
	return ""
}

var stageClass = map[contract.Stage]string{
	contract.StageWait: "wait", contract.StageNeedsPerson: "person", contract.StageHeld: "held",
	contract.StageObserve: "watch", contract.StageWatch: "watch",
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// Where much happens in little of the whole, it is drawn again.
const (
	moreCharts  = 3    // besides the whole
	crowdGap    = 0.03 // of the width: closer than this is crowded
	crowdWidth  = 0.15 // of the width: a wider crowd is legible as it is
	crowdPoints = 3
	crowdTime   = 250 * time.Millisecond // in less nobody tells one from the other
)

// split returns the chart and the closer ones, from the left to the right, the
// wider before the closer.
func (c chart) split() []chart {
	out := []chart{c}
	for i := 0; i < len(out) && len(out) <= moreCharts; i++ {
		for _, crowd := range out[i].crowds() {
			if len(out) <= moreCharts {
				out = append(out, out[i].closer(crowd[0], crowd[1]))
			}
		}
	}
	slices.SortStableFunc(out[1:], func(a, b chart) int {
		return cmp.Or(a.from.Compare(b.from), -a.to.Compare(b.to))
	})
	return out
}

// crowds are the spans in which marks cannot be told apart, those with the most
// marks first.
func (c chart) crowds() [][2]time.Time {
	points := make([]time.Time, 0, len(c.instants)+2*len(c.tries))
	for _, i := range c.instants {
		points = append(points, i.at)
	}
	for _, s := range c.tries {
		points = append(points, s.from, s.to)
	}
	slices.SortFunc(points, time.Time.Compare)
	points = slices.CompactFunc(points, time.Time.Equal)
	whole := float64(c.to.Sub(c.from))
	type crowd struct{ first, last int }
	var found []crowd
	for first := 0; first < len(points); {
		last := first
		for last+1 < len(points) && float64(points[last+1].Sub(points[last]))/whole < crowdGap {
			last++
		}
		if width := float64(points[last].Sub(points[first])) / whole; last-first+1 >= crowdPoints && width < crowdWidth && points[last].Sub(points[first]) >= crowdTime {
			found = append(found, crowd{first, last})
		}
		first = last + 1
	}
	slices.SortStableFunc(found, func(a, b crowd) int { return (b.last - b.first) - (a.last - a.first) })
	out := make([][2]time.Time, len(found))
	for i, f := range found {
		out[i] = [2]time.Time{points[f.first], points[f.last]}
	}
	return out
}

// closer is the part of a chart between two moments, and a little around it.
func (c chart) closer(from, to time.Time) chart {
	around := to.Sub(from) / 50
	out := chart{from: from.Add(-around), to: to.Add(around), zero: c.zero, around: around}
	for _, i := range c.instants {
		if !i.at.Before(out.from) && !i.at.After(out.to) {
			out.instants = append(out.instants, i)
		}
	}
	cut := func(all []stretch) (some []stretch) {
		for _, s := range all {
			if s.to.Before(out.from) || s.from.After(out.to) {
				continue
			}
			if s.from.Before(out.from) {
				s.from = out.from
			}
			s.to = earliest(s.to, out.to)
			some = append(some, s)
		}
		return some
	}
	out.tries, out.waits = cut(c.tries), cut(c.waits)
	return out
}
