package rules

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"holdfast/internal/fault"
)

// point is one value at one time, or none.
type point struct {
	at    time.Time
	value float64
}

// history draws values that like to stay where they are, near the thresholds, and
// times that come late, twice, backwards, or not at all.
func history(t *rapid.T) []point {
	at, value := epoch, 75.0
	var all []point
	for range rapid.IntRange(1, 120).Draw(t, "values") {
		at = at.Add(rapid.SampledFrom([]time.Duration{
			period, period, period, period, period + time.Second, 2 * period, 3 * period, 3*period + 1, time.Hour, 0, -period,
		}).Draw(t, "step"))
		if rapid.IntRange(0, 3).Draw(t, "moves") == 0 {
			value = rapid.SampledFrom([]float64{0, 69, 70, 71, 75, 80, 81, 90, 100, math.NaN(), math.Inf(1)}).Draw(t, "value")
		}
		all = append(all, point{at, value})
	}
	return all
}

// anyRule draws a rule on vm.cpu.
func anyRule(t *rapid.T) Rule {
	r := cpu(func(r *Rule) {
		r.For = rapid.SampledFrom([]time.Duration{0, time.Second, period, 30 * time.Second, time.Minute}).Draw(t, "for")
		r.Warmup = rapid.SampledFrom([]time.Duration{0, 0, time.Minute}).Draw(t, "warmup")
	})
	if rapid.Bool().Draw(t, "below") {
		r.Below, r.Raise, r.Clear = true, 70, 80
	}
	return r
}

func play(t require.TestingT, r Rule, flap Flap, points []point) []Change {
	book, err := NewBook([]Rule{r}, flap, period)
	require.NoError(t, err)
	track := book.For(fault.SubjectVM, nil, nil).NewTrack(epoch)
	var all []Change
	v := &Values{}
	for _, p := range points {
		v.Reset()
		v.Set(r.Metric, p.value)
		all = append(all, track.Take(p.at, v)...)
		track.Explain(p.at)
	}
	return all
}

// oracle says, from all values at once and by the words of the package's
// documentation, when a rule without flapping raises and clears.
func oracle(r Rule, points []point) []Change {
	var counted []point
	for _, p := range points {
		late := len(counted) > 0 && !p.at.After(counted[len(counted)-1].at)
		if finite(p.value) && !late && p.at.Sub(epoch) >= r.Warmup {
			counted = append(counted, p)
		}
	}
	beyond := func(v float64) bool { return r.Below && v < r.Raise || !r.Below && v > r.Raise }
	within := func(v float64) bool { return r.Below && v >= r.Clear || !r.Below && v <= r.Clear }
	// spell is the longest that ends at i, begins after from, and holds throughout.
	spell := func(from, i int, holds func(float64) bool) (first time.Time, ok bool) {
		for j := i; j > from && holds(counted[j].value); j-- {
			if j < i && counted[j+1].at.Sub(counted[j].at) > missedPeriods*period {
				break
			}
			first, ok = counted[j].at, true
		}
		return first, ok
	}
	var all []Change
	last, stands := -1, false
	for i, p := range counted {
		holds, kind := beyond, Raised
		if stands {
			holds, kind = within, Cleared
		}
		if first, ok := spell(last, i, holds); ok && p.at.Sub(first) >= r.For {
			stands, last = !stands, i
			all = append(all, Change{Kind: kind, At: p.at, Value: p.value, Since: first})
		}
	}
	return all
}

func TestTrackDoesWhatTheDocumentationSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, points := anyRule(t), history(t)
		want := oracle(r, points)
		got := play(t, r, Flap{}, points)
		n, since := 0, time.Time{}
		for _, c := range got {
			if c.Kind == StillTrue {
				continue
			}
			require.Less(t, n, len(want), "%s at %s", c.Kind, c.At)
			require.Equal(t, want[n].Kind, c.Kind)
			require.Equal(t, want[n].At, c.At)
			require.Equal(t, want[n].Value, c.Value)
			if c.Kind == Raised {
				since = want[n].Since
			}
			require.Equal(t, since, c.Since, "a fault's Since is that of its raise")
			n++
		}
		require.Len(t, want, n)
	})
}

// For any rule, flapping or not: the same twice; raised and cleared in turn; still
// true only in between; a flapping one is not cleared within the window.
func TestChangesComeInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, points := anyRule(t), history(t)
		flap := rapid.SampledFrom([]Flap{{}, {2, time.Minute}, {3, 10 * time.Minute}}).Draw(t, "flap")
		got := play(t, r, flap, points)
		require.Equal(t, got, play(t, r, flap, points))
		stands := false
		var raises []time.Time
		var clear time.Time // since when
		for _, c := range got {
			require.Equal(t, c.Kind != Raised, stands)
			require.False(t, c.Since.After(c.At))
			require.False(t, c.Value > c.Peak && !r.Below || c.Value < c.Peak && r.Below)
			switch c.Kind {
			case Raised:
				raises = append(raises, c.At)
				n := len(raises) - flap.Raises
				flapping := flap.Raises > 0 && n >= 0 && c.At.Sub(raises[n]) <= flap.Window
				require.Equal(t, flapping, c.Flapping)
				clear = time.Time{}
			case StillTrue:
				if in := r.Below && c.Value >= r.Clear || !r.Below && c.Value <= r.Clear; !in {
					clear = time.Time{}
				} else if clear.IsZero() {
					clear = c.At
				}
			case Cleared:
				if c.Flapping {
					require.False(t, clear.IsZero())
					require.GreaterOrEqual(t, c.At.Sub(clear), flap.Window)
				}
			}
			stands = c.Kind != Cleared
		}
	})
}

func TestValuesBetweenClearAndRaiseChangeNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, points := anyRule(t), history(t)
		for i := range points {
			if r.Below {
				points[i].value = rapid.Float64Range(70, math.Nextafter(80, 0)).Draw(t, "between")
			} else {
				points[i].value = rapid.Float64Range(math.Nextafter(70, 100), 80).Draw(t, "between")
			}
		}
		require.Empty(t, play(t, r, Flap{}, points))
	})
}

// Taking values away never makes a fault of what was none.
func TestMissingValuesRaiseNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, points, newest := anyRule(t), []point(nil), time.Time{}
		for _, p := range history(t) { // in order: without a value, a late one may count that did not
			if p.at.After(newest) {
				points, newest = append(points, p), p.at
			}
		}
		var fewer []point
		for i, p := range points {
			// Only of values that are not beyond Raise may none be missing: those end a
			// spell. So drop any that are, and nothing else.
			if beyond := r.Below && p.value < r.Raise || !r.Below && p.value > r.Raise; !beyond || rapid.IntRange(0, 3).Draw(t, "lost") > 0 {
				fewer = append(fewer, points[i])
			}
		}
		raised := func(changes []Change) (at []time.Time) {
			for _, c := range changes {
				if c.Kind == Raised {
					at = append(at, c.At)
				}
			}
			return at
		}
		before, after := raised(play(t, r, Flap{}, points)), raised(play(t, r, Flap{}, fewer))
		if len(before) == 0 {
			require.Empty(t, after)
		}
	})
}

// Many tracks of one set do not disturb each other, nor does the order of rules.
func TestRulesAreIndependent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		one, two, points := anyRule(t), anyRule(t), history(t)
		two.Name = "two"
		book, err := NewBook([]Rule{two, one}, Flap{}, period)
		require.NoError(t, err)
		track := book.For(fault.SubjectVM, nil, nil).NewTrack(epoch)
		var got []Change
		for _, p := range points {
			v := &Values{}
			v.Set(VMCPU, p.value)
			for _, c := range track.Take(p.at, v) {
				if c.Rule.Name == one.Name {
					got = append(got, c)
				}
			}
		}
		require.Equal(t, play(t, one, Flap{}, points), got)
	})
}
