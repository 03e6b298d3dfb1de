package retention

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ahead is how far a copy's time may lie in the future before it is taken for a
// wrong clock: those who make and who prune have two.
const ahead = 5 * time.Minute

// Verdict is what came of a trial of a copy.
type Verdict int

// Verdicts. A copy that is known to be Bad takes the place of no other, and the
// newest that is known to be Good always stays.
const (
	Untried Verdict = iota
	Good
	Bad
)

// Item is one copy. Names are unique.
type Item struct {
	Name    string
	At      time.Time
	Verdict Verdict
}

// Choice is a copy and why it stays, or goes.
type Choice struct {
	Item
	Why string
}

// Plan is what becomes of all copies, each list with the newest first.
type Plan struct {
	Keep, Prune []Choice
}

// Plan says which copies stay and which go, as of now. It depends on nothing but
// what is passed in, in whichever order.
func (r Rule) Plan(now time.Time, have []Item) Plan {
	all := slices.Clone(have)
	slices.SortFunc(all, func(a, b Item) int {
		return cmp.Or(b.At.Compare(a.At), cmp.Compare(b.Name, a.Name))
	})
	p := planner{rule: r, why: make(map[string][]string, len(all))}
	for _, item := range all {
		if item.At.After(now.Add(ahead)) {
			p.keep(item, "its time has not come yet: the clock of whoever made it, or the one here, is wrong")
			continue
		}
		p.past = append(p.past, item)
	}
	p.plan()
	var out Plan
	for _, item := range all {
		if why := p.why[item.Name]; len(why) > 0 {
			out.Keep = append(out.Keep, Choice{item, strings.Join(why, "; ")})
		} else {
			out.Prune = append(out.Prune, Choice{item, p.whyNot(item)})
		}
	}
	return out
}

// planner gathers why copies stay.
type planner struct {
	rule Rule
	past []Item // those that are not of the future, the newest first
	fit  []Item // those of them that count
	why  map[string][]string
}

func (p *planner) keep(item Item, why string) { p.why[item.Name] = append(p.why[item.Name], why) }

func (p *planner) plan() {
	if p.rule.Most() == 0 {
		for _, item := range p.past {
			p.keep(item, "no rule says what may go")
		}
		return
	}
	p.fit = slices.DeleteFunc(slices.Clone(p.past), func(i Item) bool { return i.Verdict == Bad })
	if len(p.fit) == 0 {
		// Where none is any good, the one who tried them may be wrong.
		p.fit = p.past
	}
	if len(p.fit) > 0 {
		p.keep(p.fit[0], "the newest")
	}
	if len(p.fit) > 1 {
		p.keep(p.fit[1], "the one before the newest")
	}
	if i := slices.IndexFunc(p.fit, func(i Item) bool { return i.Verdict == Good }); i >= 0 {
		p.keep(p.fit[i], "the newest that passed its trial")
	}
	for _, u := range units {
		most, n, last := *u.of(&p.rule), 0, ""
		for _, item := range p.fit {
			if at := u.name(item.At); n < most && at != last {
				n, last = n+1, at
				p.keep(item, fmt.Sprintf("%s %s, %d of %d", u.word, at, n, most))
			}
		}
	}
}

// whyNot says for each part of the rule why it does not keep a copy.
func (p *planner) whyNot(item Item) string {
	if item.Verdict == Bad {
		return "it did not pass its trial"
	}
	var parts []string
	for _, u := range units {
		most := *u.of(&p.rule)
		if most == 0 {
			continue
		}
		at := u.name(item.At)
		// The first of its time is the one that counts, as the newest come first.
		first := p.fit[slices.IndexFunc(p.fit, func(other Item) bool { return u.name(other.At) == at })]
		if first.Name != item.Name {
			parts = append(parts, fmt.Sprintf("%s %s has %s", u.word, at, first.Name))
		} else {
			parts = append(parts, fmt.Sprintf("%s %s is older than the last %d", u.word, at, most))
		}
	}
	return strings.Join(parts, "; ")
}

// unit is a way to cut time.
type unit struct {
	letter, word string
	of           func(*Rule) *int
	// name of the one that a time is in.
	name func(time.Time) string
}

// units, the finest first.
var units = []unit{
	{"h", "hour", func(r *Rule) *int { return &r.Hours }, in("2006-01-02 15h")},
	{"d", "day", func(r *Rule) *int { return &r.Days }, in("2006-01-02")},
	{"w", "week", func(r *Rule) *int { return &r.Weeks }, func(t time.Time) string {
		year, week := t.UTC().ISOWeek()
		return fmt.Sprintf("%04d-W%02d", year, week)
	}},
	{"m", "month", func(r *Rule) *int { return &r.Months }, in("2006-01")},
	{"y", "year", func(r *Rule) *int { return &r.Years }, in("2006")},
}

func in(layout string) func(time.Time) string {
	return func(t time.Time) string { return t.UTC().Format(layout) }
}
