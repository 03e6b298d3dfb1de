package report

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"holdfast/internal/contract"
	"holdfast/internal/ladder"
	"holdfast/internal/rehearsal/recorded"
)

// sound holds of any drawing of a chart.
func sound(t interface {
	require.TestingT
	Helper()
}, c chart, d drawing) {
	t.Helper()
	require.Greater(t, len(d.Ticks), 0)
	require.LessOrEqual(t, len(d.Ticks), ticksMost+1)
	for i, k := range d.Ticks {
		require.True(t, k.X >= 0 && k.X <= width)
		if i > 0 {
			require.Greater(t, k.X, d.Ticks[i-1].X, "time goes to the right")
			require.Less(t, d.Ticks[i-1].right, k.left, "%s and %s", d.Ticks[i-1].Text, k.Text)
		}
	}
	for i, a := range d.Labels {
		require.True(t, a.X >= 0 && a.X <= width && a.left >= 0 && a.right <= width && a.TextY <= d.Height, "%+v", a)
		for _, b := range d.Labels[:i] {
			if a.Text != "" && b.Text != "" && a.TextY == b.TextY {
				require.True(t, a.right <= b.left || b.right <= a.left, "%q and %q overlap", a.Text, b.Text)
			}
		}
	}
	for _, b := range d.Bars {
		require.True(t, b.X >= 0 && b.X+b.W <= width+2 && b.W >= 2 && b.Y+b.H <= d.Axis, "%+v", b)
		require.True(t, b.Text == "" || textWidth(b.Text) < b.W)
	}
	// To scale: half the time is half the way.
	half := c.x(c.from.Add(c.to.Sub(c.from) / 2))
	require.InDelta(t, (c.x(c.from)+c.x(c.to))/2, half, 0.2)
}

func TestDrawingsAreSound(t *testing.T) {
	for name, inc := range recorded.All() {
		t.Run(name, func(t *testing.T) {
			for _, c := range chartOf(inc, recorded.First.Add(3*time.Hour)).split() {
				sound(t, c, c.draw())
			}
		})
	}
}

// Whatever happened, in 2 s or in years: nothing overlaps, and all is to scale.
func TestAnyIncidentCanBeDrawn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		whole := time.Duration(rapid.Int64Range(0, int64(3*365*24*time.Hour)).Draw(t, "whole"))
		if rapid.Bool().Draw(t, "short") {
			whole %= 10 * time.Second
		}
		at := func(name string) time.Time {
			d := time.Duration(rapid.Int64Range(0, int64(whole)).Draw(t, name))
			if rapid.Bool().Draw(t, "early") {
				d %= time.Second // most happens at the beginning
			}
			return recorded.First.Add(d)
		}
		inc := recorded.Panicked()
		inc.Attempts, inc.Acts, inc.Decisions = nil, nil, nil
		inc.Opened, inc.Started, inc.Verified, inc.Closed = at("opened"), at("started"), at("verified"), recorded.First.Add(whole)
		if rapid.Bool().Draw(t, "open") {
			inc.Closed, inc.Outcome = time.Time{}, ""
		}
		for i := range rapid.IntRange(0, 30).Draw(t, "tries") {
			inc.Attempts = append(inc.Attempts, ladder.Attempt{Rung: ladder.RungRestart, Began: at("began"), Ended: at("ended"), OK: i%3 == 0})
		}
		for i := range rapid.IntRange(0, 64).Draw(t, "acts") {
			inc.Acts = append(inc.Acts, contract.Act{Verb: contract.VerbApprove, By: fmt.Sprintf("person%d@desk", i), At: at("act"), Rung: ladder.RungReset})
		}
		all := chartOf(inc, recorded.First.Add(whole)).split()
		require.LessOrEqual(t, len(all), 1+moreCharts)
		for _, c := range all {
			sound(t, c, c.draw())
		}
	})
}

func labels(d drawing) (out []string) {
	for _, l := range d.Labels {
		out = append(out, l.Text)
	}
	for _, b := range d.Bars {
		out = append(out, b.Text)
	}
	return out
}

func TestWhatIsOnATimeline(t *testing.T) {
	charts, used := charts(recorded.CrashLoop(), recorded.First)
	require.Len(t, charts, 3, "the whole, the three tries, and the last one")
	require.Subset(t, labels(charts[0]), []string{"first sign, opened", "3 × restart ✗", "restart ✓", "person"})
	require.Subset(t, labels(charts[1]), []string{"first sign", "opened", "restart ✗", "backoff"})
	require.Subset(t, labels(charts[2]), []string{"ann@desk: retry", "started", "verified, closed", "restart ✓"})
	require.Equal(t, []legend{legends[0], legends[1], legends[3], legends[6]}, used)

	open := recorded.Asking()
	c := chartOf(open, recorded.First.Add(time.Hour)).draw()
	require.Subset(t, labels(c), []string{"now", "approval?", "reset ✗"})
	require.Equal(t, "0 to +1 h after the first sign", c.Title)

	host := chartOf(recorded.Host(), recorded.First).draw()
	require.Contains(t, labels(host), "watches", "without decisions, the stages tell")

	busy := recorded.Panicked()
	busy.Attempts, busy.Decisions, busy.Outcome, busy.Closed, busy.Verified = nil, busy.Decisions[:1], "", time.Time{}, time.Time{}
	busy.Stage, busy.Timeline = contract.StageOf(ladder.RungReset), busy.Timeline[:1]
	require.Contains(t, labels(chartOf(busy, recorded.First.Add(5*time.Second)).draw()), "reset …")
}

func TestExactTimes(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0", 1500 * time.Millisecond: "+1.5 s", time.Minute: "+1 min", 25*time.Hour + 3*time.Second: "+1 d 1 h 3 s", -time.Second: "-1 s",
	} {
		require.Equal(t, want, plus(d))
	}
}
