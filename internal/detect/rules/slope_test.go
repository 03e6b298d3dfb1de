package rules

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSlope(t *testing.T) {
	rising := cpu(func(r *Rule) { r.Slope, r.Raise, r.Clear, r.For = true, 5, 1, 5*time.Minute })
	line := func(r *run, from, to int, begin, perMinute float64, changes ...string) {
		t.Helper()
		var got []string
		for at := from; at <= to; at += 10 {
			v := &Values{}
			v.Set(VMCPU, begin+perMinute*float64(at-from)/60)
			for _, c := range r.track.Take(sec(at), v) {
				if c.Kind != StillTrue {
					got = append(got, fmt.Sprintf("%d %s %.1f", at, c.Kind, c.Value))
				}
			}
		}
		assert.Equal(t, strings.Join(changes, ", "), strings.Join(got, ", "))
	}
	r := newRun(t, rising, Flap{}, time.Time{})
	line(r, 0, 290, 10, 6)
	e := r.explain(290)
	assert.Equal(t, StateNoData, e.State)
	assert.Equal(t, "values reach back 4m50s without a gap, and the slope needs 5m", e.Why)
	line(r, 300, 300, 40, 0, "300 raised 6.0")
	line(r, 310, 400, 40, 0) // flat, but not for long enough
	line(r, 410, 600, 40, 0, "550 cleared 0.8")

	r = newRun(t, rising, Flap{}, time.Time{})
	line(r, 0, 250, 10, 6)
	line(r, 290, 300, 39, 6) // a gap: begins anew
	line(r, 310, 580, 41, 6)
	line(r, 590, 590, 69, 6, "590 raised 6.0")
	r.track.Restarted(sec(591))
	assert.False(t, r.explain(591).Has)
	assert.Equal(t, StateRaised, r.explain(591).State)
}

// The slope of a straight line is its slope, however often it is measured and
// however long the rule looks back.
func TestSlopeOfALineIsExact(t *testing.T) {
	for _, span := range []time.Duration{20 * time.Second, time.Minute, 7 * time.Minute, 24 * time.Hour} {
		r := newRun(t, cpu(func(r *Rule) { r.Slope, r.Raise, r.Clear, r.For = true, -1e6, -1e6, span }), Flap{}, time.Time{})
		values := 0
		for at := 0; at <= 2*int(span.Seconds()); at += 10 {
			v := &Values{}
			v.Set(VMCPU, float64(at)/60*2.5)
			for _, c := range r.track.Take(sec(at), v) {
				values++
				require.InDelta(t, 2.5, c.Value, 1e-9)
				require.GreaterOrEqual(t, time.Duration(at)*time.Second, span)
			}
		}
		assert.Equal(t, int(span.Seconds())/10+1, values, "%s", span)
	}
}
