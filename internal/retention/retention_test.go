package retention_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"holdfast/internal/retention"
)

func rule(t require.TestingT, text string) retention.Rule {
	r, err := retention.Parse(text)
	require.NoError(t, err)
	return r
}

func TestParse(t *testing.T) {
	for text, want := range map[string]retention.Rule{
		"4h/7d/4w":       {Hours: 4, Days: 7, Weeks: 4},
		"4w/7d/4h":       {Hours: 4, Days: 7, Weeks: 4},
		"1y":             {Years: 1},
		"24h/30d/12m/2y": {Hours: 24, Days: 30, Months: 12, Years: 2},
		"999w":           {Weeks: 999},
	} {
		require.Equal(t, want, rule(t, text), text)
	}
	for text, says := range map[string]string{
		"": `"" is not a number`, "4": `"4" is not`, "h": `"h" is not`, "4x": `"4x" is not`, "4h/": `"" is not`, "4h,7d": `"4h,7d" is not`,
		"4 h": `is not`, "-4h": `is not`, "0h": "out of range: 1 to 999", "1000d": "out of range", "4h/5h": "h is there twice", "4H": "is not",
		"99999999999h": "is not",
	} {
		_, err := retention.Parse(text)
		require.ErrorContains(t, err, says, text)
	}
	require.Empty(t, retention.Rule{}.String())
	require.Equal(t, "4h/7d/4w/1m/2y", rule(t, "2y/1m/4w/7d/4h").String())
	require.Equal(t, 16, rule(t, "4h/7d/4w").Most())
	require.Zero(t, retention.Rule{}.Most())
}

// monday is the noon of a Monday.
var monday = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// at makes copies that are so old at monday, and called by that.
func at(ages ...time.Duration) []retention.Item {
	var items []retention.Item
	for _, age := range ages {
		items = append(items, retention.Item{Name: short(age), At: monday.Add(-age)})
	}
	return items
}

func short(d time.Duration) string {
	if d%time.Hour == 0 {
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dm", d/time.Minute)
}

func names(choices []retention.Choice) []string {
	out := []string{}
	for _, c := range choices {
		out = append(out, c.Name)
	}
	return out
}

const day = 24 * time.Hour

func TestPlan(t *testing.T) {
	everySix := []time.Duration{}
	for age := time.Duration(0); age < 40*day; age += 6 * time.Hour {
		everySix = append(everySix, age)
	}
	for name, c := range map[string]struct {
		rule string
		have []retention.Item
		keep []string
	}{
		"none":                          {"4h", nil, []string{}},
		"one":                           {"4h", at(time.Hour), []string{"1h"}},
		"the newest of each hour":       {"4h", at(0, 70*time.Minute, 80*time.Minute, 130*time.Minute), []string{"0h", "70m", "130m"}},
		"the last four that have one":   {"4h", at(0, 5*day, 10*day, 20*day, 30*day), []string{"0h", "120h", "240h", "480h"}},
		"the two newest stay":           {"1d", at(0, time.Hour, 2*time.Hour, 3*time.Hour), []string{"0h", "1h"}},
		"the oldest gets no place":      {"9w", at(0, time.Hour, 2*time.Hour), []string{"0h", "1h"}},
		"every six hours for 40 days":   {"4h/7d/4w", at(everySix...), []string{"0h", "6h", "12h", "18h", "42h", "66h", "90h", "114h", "138h", "186h", "354h"}},
		"months and years":              {"2m/2y", at(0, 20*day, 30*day, 100*day, 330*day, 400*day, 800*day), []string{"0h", "480h", "720h", "7920h"}},
		"what is of the future":         {"1h", at(-time.Hour, 0, 3*time.Hour, 5*time.Hour), []string{"-1h", "0h", "3h"}},
		"a clock that is a bit fast":    {"1h", at(-4*time.Minute, 0, 5*time.Hour), []string{"-4m", "0h"}},
		"those of one moment, by names": {"1h", []retention.Item{{Name: "b", At: monday}, {Name: "c", At: monday}, {Name: "a", At: monday}}, []string{"c", "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := rule(t, c.rule).Plan(monday, c.have)
			require.Equal(t, c.keep, names(p.Keep))
			require.Len(t, p.Prune, len(c.have)-len(c.keep))
			for _, one := range append(p.Keep, p.Prune...) {
				require.NotEmpty(t, one.Why)
			}
		})
	}
	p := retention.Rule{}.Plan(monday, at(0, day, 2*day))
	require.Len(t, p.Keep, 3, "nothing says what may go")
	require.Empty(t, p.Prune)
}

func TestReasons(t *testing.T) {
	p := rule(t, "1h/2d").Plan(monday, at(0, time.Hour, 2*time.Hour, day, 2*day))
	var lines []string
	for _, c := range p.Keep {
		lines = append(lines, "+ "+c.Name+": "+c.Why)
	}
	for _, c := range p.Prune {
		lines = append(lines, "- "+c.Name+": "+c.Why)
	}
	require.Equal(t, []string{
		"+ 0h: the newest; hour 2026-11-23 12h, 1 of 1; day 2026-11-23, 1 of 2",
		"+ 1h: the one before the newest",
		"+ 24h: day 2026-11-22, 2 of 2",
		"- 2h: hour 2026-11-23 10h is older than the last 1; day 2026-11-23 has 0h",
		"- 48h: hour 2026-11-21 12h is older than the last 1; day 2026-11-21 is older than the last 2",
	}, lines)
}

// A copy that is no good takes the place of no other, and one that is known to be
// good outlasts those that nobody has tried.
func TestVerdicts(t *testing.T) {
	have := at(0, time.Minute, 2*time.Hour, 5*time.Hour, 6*time.Hour)
	have[0].Verdict, have[3].Verdict = retention.Bad, retention.Good
	p := rule(t, "1h").Plan(monday, have)
	require.Equal(t, []string{"1m", "2h", "5h"}, names(p.Keep))
	require.Equal(t, "it did not pass its trial", p.Prune[0].Why)
	for i := range have {
		have[i].Verdict = retention.Bad
	}
	p = rule(t, "1h").Plan(monday, have)
	require.Equal(t, []string{"0h", "1m"}, names(p.Keep), "where none is good the trial may be wrong")
}

// history draws copies as a schedule makes them, with pauses, the oldest first.
func history(t *rapid.T) []retention.Item {
	when := monday
	steps := rapid.SliceOfN(rapid.IntRange(0, 20_000), 0, 120).Draw(t, "minutes between")
	var items []retention.Item
	for i, minutes := range steps {
		when = when.Add(time.Duration(minutes) * time.Minute)
		items = append(items, retention.Item{Name: fmt.Sprintf("c%03d", i), At: when})
	}
	return items
}

func someRule(t *rapid.T) retention.Rule {
	n := rapid.IntRange(0, 5)
	return retention.Rule{
		Hours: n.Draw(t, "h"), Days: n.Draw(t, "d"), Weeks: n.Draw(t, "w"), Months: n.Draw(t, "m"), Years: n.Draw(t, "y"),
	}
}

func TestARuleReadsAsItIsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := someRule(t)
		if r == (retention.Rule{}) {
			return
		}
		require.Equal(t, r, rule(t, r.String()))
	})
}

func TestWhatAPlanNeverDoes(t *testing.T) {
	verdict := rapid.SampledFrom([]retention.Verdict{retention.Untried, retention.Good, retention.Bad})
	rapid.Check(t, func(t *rapid.T) {
		r, items := someRule(t), history(t)
		for i := range items {
			items[i].Verdict = verdict.Draw(t, "verdict")
		}
		now := monday.Add(time.Duration(rapid.IntRange(0, 2_000_000).Draw(t, "now")) * time.Minute)
		p := r.Plan(now, rapid.Permutation(items).Draw(t, "order"))
		require.Equal(t, r.Plan(now, items), p, "the order in which they come does not matter")
		require.Len(t, slices.Concat(p.Keep, p.Prune), len(items), "each is in one of the two")
		kept, past, extra := map[string]bool{}, 0, 0
		for _, c := range p.Keep {
			require.False(t, kept[c.Name])
			kept[c.Name] = true
			if !c.At.After(now) {
				past++
			}
		}
		for i, item := range items { // the newest good, and the newest proven one
			later := items[i+1:]
			newest := func(v ...retention.Verdict) bool {
				counts := func(other retention.Item) bool {
					return slices.Contains(v, other.Verdict) && !other.At.After(now.Add(5*time.Minute))
				}
				return counts(item) && !slices.ContainsFunc(later, counts)
			}
			if newest(retention.Untried, retention.Good) || newest(retention.Good) {
				require.True(t, kept[item.Name], "the newest that is good was pruned")
			}
			if newest(retention.Good) {
				extra = 1
			}
		}
		if r.Most() > 0 {
			require.LessOrEqual(t, past, r.Most()+extra)
		} else {
			require.Empty(t, p.Prune)
		}
	})
}

// To prune after each copy leaves what pruning once in the end would leave: what
// has gone is never wanted again, and what is kept was always kept.
func TestPruningOftenIsPruningOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, items := someRule(t), history(t)
		var survivors []retention.Item
		for i, item := range items {
			p := r.Plan(item.At, append(survivors, item))
			survivors = survivors[:0]
			for _, c := range p.Keep {
				survivors = append(survivors, c.Item)
			}
			require.ElementsMatch(t, names(r.Plan(item.At, items[:i+1]).Keep), names(p.Keep))
			require.ElementsMatch(t, names(p.Keep), names(r.Plan(item.At, survivors).Keep), "a second time takes none away")
			survivors = slices.Clone(survivors)
		}
	})
}
