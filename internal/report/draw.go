package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Sizes of a drawing, in its own units: the page scales it to its width.
const (
	width      = 1000.0
	margin     = 14.0
	laneHeight = 17.0
	lanesMost  = 9
	glyph      = 6.6 // of a label: no letter of a sans-serif of 11 is wider on average
	gap        = 8.0 // between labels
	sameSpot   = 4.0 // closer marks share a label
	triesHigh  = 24.0
	waitsHigh  = 16.0
	ticksMost  = 9
)

// drawing is a chart with a place for everything.
type drawing struct {
	Title         string
	Closer        bool
	Width, Height float64
	Axis          float64 // y
	Ticks         []tick
	Labels        []label
	Bars          []bar
	// Unlabelled counts the marks for whose labels there was no room.
	Unlabelled int
}

type tick struct {
	X, Y1, Y2 float64
	TextY     float64
	Text      string
	Anchor    string // where of the text the tick is

	left, right float64 // of the text
}

// label is a text with a line to what it is about.
type label struct {
	X, Y1, Y2    float64 // the line
	TextX, TextY float64
	Text, Class  string
	Anchor       string
	Title        string
	lane         int
	left, right  float64 // of the text
}

type bar struct {
	X, Y, W, H   float64
	Class, Title string
	Text         string // inside, if it fits
	TextX, TextY float64
}

func (c chart) x(t time.Time) float64 {
	share := float64(t.Sub(c.from)) / float64(c.to.Sub(c.from))
	return round(margin + share*(width-2*margin))
}

func round(v float64) float64 { return math.Round(v*10) / 10 }

func (c chart) draw() drawing {
	d := drawing{Width: width}
	exact := max(c.to.Sub(c.from)/100, time.Millisecond)
	from, to := c.from.Add(c.around).Sub(c.zero), c.to.Add(-c.around).Sub(c.zero)
	d.Title = fmt.Sprintf("%s to %s after the first sign", plus(from.Round(unitOf(exact))), plus(to.Round(unitOf(exact))))

	marks := make([]label, 0, len(c.instants))
	for _, i := range c.instants {
		marks = append(marks, label{X: c.x(i.at), Text: i.label, Class: i.class, Title: i.label + " at " + plus(i.at.Sub(c.zero).Round(time.Millisecond))})
	}
	above, lanes, lost := place(marks)
	d.Unlabelled = lost
	top := 6 + float64(lanes)*laneHeight
	tries := top + 8
	bottom := tries + triesHigh
	for i := range above {
		above[i].Y1, above[i].Y2 = round(top-float64(above[i].lane)*laneHeight-laneHeight+4), bottom
		above[i].TextY = above[i].Y1 + 9
	}

	bars, outside := c.bars(c.tries, tries, triesHigh)
	d.Bars = bars
	if len(c.waits) > 0 {
		waits, _ := c.bars(c.waits, bottom+4, waitsHigh)
		d.Bars = append(d.Bars, waits...)
		bottom += 4 + waitsHigh
	}
	below, lanes, _ := place(outside) // each bar has a title besides
	for i := range below {
		below[i].Y1 = tries + triesHigh
		below[i].Y2 = round(bottom + 4 + float64(below[i].lane+1)*laneHeight - 3)
		below[i].TextY = below[i].Y2
	}
	d.Labels = append(above, below...) //nolint:gocritic // both are ours
	d.Axis = round(bottom + 8 + float64(lanes)*laneHeight)
	d.Height = d.Axis + 24
	d.Ticks = c.ticks(6, d.Axis)
	return d
}

// bars are stretches to scale, with their labels inside where they fit. The labels
// of the others are returned.
func (c chart) bars(of []stretch, y, high float64) (bars []bar, outside []label) {
	for _, s := range of {
		b := bar{X: c.x(s.from), Y: y, H: high, Class: s.class, Title: s.title}
		b.W = max(round(c.x(s.to)-b.X), 2)
		if textWidth(s.label)+6 <= b.W {
			b.Text, b.TextX, b.TextY = s.label, round(b.X+b.W/2), round(y+high/2+4)
		} else {
			outside = append(outside, label{X: round(b.X + b.W/2), Text: s.label, Class: s.class, Title: s.title})
		}
		bars = append(bars, b)
	}
	return bars, outside
}

// textWidth is never less than what a text takes.
func textWidth(text string) float64 {
	w := 0.0
	for _, r := range text {
		if w += glyph; r >= 0x1100 {
			w += glyph
		}
	}
	return w
}

const labelMost = 44 // letters

// place gives labels lanes so that no two texts overlap, and no line goes through
// a text where that can be helped. Labels of one spot become one. It returns how
// many lanes there are, and how many labels found none.
func place(all []label) (placed []label, lanes, lost int) {
	slices.SortStableFunc(all, func(a, b label) int { return cmp.Compare(a.X, b.X) })
	placed = merge(all)
	var mirrored []int
	for i := range placed {
		l := &placed[i]
		w := textWidth(l.Text) + gap
		l.left, l.right, l.Anchor, l.TextX = l.X, l.X+w, "start", l.X+3
		if l.right > width {
			l.left, l.right, l.Anchor, l.TextX = l.X-w, l.X, "end", l.X-3
			mirrored = append(mirrored, i)
		}
		l.lane = -1
	}
	// Who stands further to the right is lower, so that its line begins below the
	// text of those on its left.
	for i := len(placed) - 1; i >= 0; i-- {
		if placed[i].Anchor == "start" {
			settle(placed, i)
		}
	}
	for _, i := range mirrored {
		settle(placed, i)
	}
	for i := range placed {
		if placed[i].lane >= lanesMost {
			placed[i].Text, placed[i].lane = "", 0
			lost++
		} else {
			lanes = max(lanes, placed[i].lane+1)
		}
	}
	return placed, lanes, lost
}

// settle puts a label above all that have a lane and would be in its way.
func settle(all []label, i int) {
	l := &all[i]
	lane := 0
	for j := range all {
		o := &all[j]
		if j != i && o.lane >= 0 && o.left < l.right && l.left < o.right {
			lane = max(lane, o.lane+1)
		}
	}
	l.lane = lane
}

// merge makes one label of those that stand on one spot.
func merge(all []label) []label {
	var out []label
	for i := 0; i < len(all); {
		n := 1
		for i+n < len(all) && all[i+n].X-all[i].X < sameSpot {
			n++
		}
		one := all[i]
		var texts, titles []string
		count := make(map[string]int)
		for _, l := range all[i : i+n] {
			if count[l.Text]++; count[l.Text] == 1 {
				texts = append(texts, l.Text)
			}
			titles = append(titles, l.Title)
		}
		for k, t := range texts {
			if count[t] > 1 {
				texts[k] = fmt.Sprintf("%d × %s", count[t], t)
			}
		}
		one.Text, one.Title = shorten(strings.Join(texts, ", ")), strings.Join(titles, "\n")
		out = append(out, one)
		i += n
	}
	return out
}

func shorten(text string) string {
	if utf8.RuneCountInString(text) <= labelMost {
		return text
	}
	return string([]rune(text)[:labelMost-1]) + "…"
}

// steps are the distances that ticks may have.
var steps = []time.Duration{
	time.Microsecond, 10 * time.Microsecond, 100 * time.Microsecond,
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour,
	24 * time.Hour, 48 * time.Hour, 7 * 24 * time.Hour, 30 * 24 * time.Hour, 365 * 24 * time.Hour,
}

// ticks are at round times after the first sign, as close as there is room for
// what they are called.
func (c chart) ticks(top, axis float64) (out []tick) {
	whole := c.to.Sub(c.from)
	for _, step := range steps {
		if whole/step > ticksMost {
			continue
		}
		if out = c.ticksAt(step, top, axis); fit(out) {
			break
		}
	}
	return out
}

func (c chart) ticksAt(step time.Duration, top, axis float64) (out []tick) {
	at := c.from.Sub(c.zero).Truncate(step)
	if at < c.from.Sub(c.zero) {
		at += step
	}
	for ; at <= c.to.Sub(c.zero); at += step {
		t := tick{X: c.x(c.zero.Add(at)), Y1: top, Y2: axis + 5, TextY: axis + 17, Text: plus(at), Anchor: "middle"}
		w := textWidth(t.Text)
		t.left = t.X - w/2
		switch {
		case t.left < 0:
			t.Anchor, t.left = "start", t.X
		case t.left+w > width:
			t.Anchor, t.left = "end", t.X-w
		}
		t.right = t.left + w
		out = append(out, t)
	}
	return out
}

// fit reports that no tick's text runs into the next.
func fit(ticks []tick) bool {
	for i := 1; i < len(ticks); i++ {
		if ticks[i-1].right+gap/2 > ticks[i].left {
			return false
		}
	}
	return true
}

// unitOf is the unit in which a time is told so exactly.
func unitOf(exact time.Duration) time.Duration {
	unit := time.Millisecond
	for _, u := range []time.Duration{10 * time.Millisecond, 100 * time.Millisecond, time.Second, time.Minute, time.Hour} {
		if u <= exact {
			unit = u
		}
	}
	return unit
}

// plus is an exact time after the first sign, in no more units than it needs.
func plus(d time.Duration) string {
	text := "+"
	if d < 0 {
		text, d = "-", -d
	}
	if d == 0 {
		return "0"
	}
	var parts []string
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}} {
		if n := d / u.unit; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, u.name))
			d %= u.unit
		}
	}
	if d > 0 {
		seconds := fmt.Sprintf("%.6f", d.Seconds())
		parts = append(parts, strings.TrimRight(strings.TrimRight(seconds, "0"), ".")+" s")
	}
	return text + strings.Join(parts, " ")
}
