package rules

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"holdfast/internal/fault"
)

const period = 10 * time.Second

var epoch = time.Date(2025, 3, 1, 12, 0, 0, 0, time.UTC)

func sec(n int) time.Time { return epoch.Add(time.Duration(n) * time.Second) }

// cpu is a rule that is easy to count with: 80, 70, one minute.
func cpu(change ...func(*Rule)) Rule {
	r := Rule{Name: "cpu", Metric: VMCPU, Kind: fault.KindCPU, Raise: 80, Clear: 70, For: time.Minute}
	for _, c := range change {
		c(&r)
	}
	return r
}

// run is one track of one rule, with the values told so far.
type run struct {
	t     *testing.T
	track *Track
}

func newRun(t *testing.T, r Rule, flap Flap, startedAt time.Time) *run {
	t.Helper()
	book, err := NewBook([]Rule{r}, flap, period)
	require.NoError(t, err)
	return &run{t, book.For(r.Metric.Subject(), nil, nil).NewTrack(startedAt)}
}

// want takes a value every period, from and to including, and wants these changes,
// such as "60 raised". StillTrue is left out.
func (r *run) want(from, to int, value float64, changes ...string) {
	r.t.Helper()
	var got []string
	for at := from; at <= to; at += int(period / time.Second) {
		var v Values
		v.Set(r.track.set.Rules()[0].Metric, value)
		for _, c := range r.track.Take(sec(at), &v) {
			assert.Equal(r.t, sec(at), c.At)
			assert.NotEmpty(r.t, c.Why)
			if c.Kind != StillTrue {
				got = append(got, fmt.Sprintf("%d %s", at, c.Kind))
			}
		}
	}
	assert.Equal(r.t, strings.Join(changes, ", "), strings.Join(got, ", "))
}

func (r *run) explain(at int) Explanation { return r.track.Explain(sec(at))[0] }

func TestRaisedAfterForAndClearedAfterFor(t *testing.T) {
	r := newRun(t, cpu(), Flap{}, time.Time{})
	r.want(0, 50, 81)
	assert.Equal(t, StatePending, r.explain(50).State)
	r.want(60, 60, 99, "60 raised")
	r.want(70, 200, 81)
	r.want(210, 260, 70)
	assert.Equal(t, StateClearing, r.explain(260).State)
	r.want(270, 270, 70, "270 cleared")
	r.want(280, 330, 81)
	r.want(340, 340, 81, "340 raised")
}

func TestChangeTellsTheStory(t *testing.T) {
	r := newRun(t, cpu(), Flap{}, time.Time{})
	r.want(0, 50, 85)
	v := &Values{}
	v.Set(VMCPU, 97.14)
	raised := r.track.Take(sec(60), v)
	require.Len(t, raised, 1)
	assert.Equal(t, "vm.cpu is 97.1 %, and above 80 % for 1m", raised[0].Why)
	assert.Equal(t, sec(0), raised[0].Since)
	assert.InDelta(t, 97.14, raised[0].Peak, 0)

	v.Set(VMCPU, 75)
	still := r.track.Take(sec(70), v)
	assert.Equal(t, "vm.cpu is 75 %, not above 80 %, and not yet at or below 70 %; it began 1m10s before, with a peak of 97.1 %", still[0].Why)
	v.Set(VMCPU, 60)
	still = r.track.Take(sec(80), v)
	assert.Equal(t, "vm.cpu is 60 %, at or below 70 % for 0s of 1m; it began 1m20s before, with a peak of 97.1 %", still[0].Why)
	r.want(90, 130, 60)
	over := r.track.Take(sec(140), v)
	assert.Equal(t, Cleared, over[0].Kind)
	assert.Equal(t, "vm.cpu is 60 %, and at or below 70 % for 1m", over[0].Why)
	assert.Equal(t, sec(0), over[0].Since)
	assert.InDelta(t, 97.14, over[0].Peak, 0)
}

func TestExactlyRaiseIsNotBeyondIt(t *testing.T) {
	r := newRun(t, cpu(), Flap{}, time.Time{})
	r.want(0, 600, 80)
	assert.Equal(t, StateOK, r.explain(600).State)
	assert.Equal(t, "80 %, not above 80 %", r.explain(600).Why)
}

func TestBetweenClearAndRaise(t *testing.T) {
	r := newRun(t, cpu(), Flap{}, time.Time{})
	r.want(0, 50, 90)
	r.want(60, 60, 75) // ends the spell
	r.want(70, 120, 90)
	r.want(130, 130, 90, "130 raised")
	r.want(140, 1000, 75) // clears nothing
	r.want(1010, 1060, 60)
	r.want(1070, 1070, 71) // ends the spell within Clear
	r.want(1080, 1130, 60)
	r.want(1140, 1140, 60, "1140 cleared")
}

func TestForZeroTakesOneValue(t *testing.T) {
	r := newRun(t, cpu(func(r *Rule) { r.For = 0 }), Flap{}, time.Time{})
	r.want(0, 0, 81, "0 raised")
	r.want(10, 10, 70, "10 cleared")
}

func TestBelow(t *testing.T) {
	r := newRun(t, cpu(func(r *Rule) { r.Below, r.Raise, r.Clear = true, 5, 10 }), Flap{}, time.Time{})
	r.want(0, 100, 5)
	r.want(110, 170, 4.9, "170 raised")
	r.want(180, 240, 7)
	assert.Equal(t, "7 %, not below 5 %, and not yet at or above 10 %; it began 2m10s before, with a peak of 4.9 %", r.explain(240).Why)
	r.want(250, 310, 10, "310 cleared")
}

func TestMissingData(t *testing.T) {
	t.Run("one lost sample does not matter", func(t *testing.T) {
		r := newRun(t, cpu(), Flap{}, time.Time{})
		r.want(0, 20, 90)
		r.want(40, 60, 90, "60 raised")
		r.want(70, 90, 60)
		r.want(110, 130, 60, "130 cleared")
	})
	t.Run("three periods are no gap, more are", func(t *testing.T) {
		r := newRun(t, cpu(), Flap{}, time.Time{})
		r.want(0, 20, 90)
		r.want(50, 60, 90, "60 raised")
		r = newRun(t, cpu(), Flap{}, time.Time{})
		r.want(0, 20, 90)
		r.want(51, 101, 90) // begins anew at 51
		r.want(111, 111, 90, "111 raised")
	})
	t.Run("a gap raises nothing by itself", func(t *testing.T) {
		r := newRun(t, cpu(), Flap{}, time.Time{})
		r.want(0, 0, 90)
		r.want(3600, 3600, 90)
		r.want(7200, 7200, 90)
	})
	t.Run("a gap clears nothing by itself", func(t *testing.T) {
		r := newRun(t, cpu(), Flap{}, time.Time{})
		r.want(0, 60, 90, "60 raised")
		r.want(70, 70, 10)
		r.want(3600, 3600, 10)
		r.want(3610, 3650, 10)
		r.want(3660, 3660, 10, "3660 cleared")
	})
	t.Run("it stays raised, and says since when there is no data", func(t *testing.T) {
		r := newRun(t, cpu(), Flap{}, time.Time{})
		r.want(0, 60, 90, "60 raised")
		assert.Empty(t, r.track.Take(sec(70), &Values{}))
		e := r.explain(660)
		assert.Equal(t, StateRaised, e.State)
		assert.False(t, e.Has)
		assert.Equal(t, "raised with a peak of 90 %, and no data for 10m", e.Why)
	})
	t.Run("what is not a number is missing", func(t *testing.T) {
		r := newRun(t, cpu(), Flap{}, time.Time{})
		r.want(0, 30, 90)
		r.want(40, 40, math.NaN())
		r.want(50, 60, 90, "60 raised")
		r.want(70, 600, math.Inf(1))
		r.want(610, 900, math.Inf(-1))
	})
	t.Run("none at all", func(t *testing.T) {
		r := newRun(t, cpu(), Flap{}, time.Time{})
		assert.Equal(t, StateNoData, r.explain(100).State)
		r.want(0, 0, 10)
		assert.Equal(t, StateOK, r.explain(30).State)
		e := r.explain(31)
		assert.Equal(t, StateNoData, e.State)
		assert.Equal(t, sec(0), e.Since)
		assert.Equal(t, "the last value, 10 %, came 31s ago", e.Why)
	})
}

func TestTimesThatDoNotGoForwardAreIgnored(t *testing.T) {
	r := newRun(t, cpu(func(r *Rule) { r.For = 0 }), Flap{}, time.Time{})
	r.want(100, 100, 10)
	r.want(90, 100, 90)
	r.want(-10, -10, 90)
	r.want(110, 110, 90, "110 raised")
}

func TestWarmup(t *testing.T) {
	warm := func(r *Rule) { r.Warmup = 2 * time.Minute }
	r := newRun(t, cpu(warm), Flap{}, sec(0))
	r.want(-60, 110, 99)
	e := r.explain(110)
	assert.Equal(t, StateWarmingUp, e.State)
	assert.Equal(t, "started 1m50s ago; values count from 2m after the start", e.Why)
	r.want(120, 170, 99)
	r.want(180, 180, 99, "180 raised")

	r.track.Restarted(sec(185))
	r.want(190, 300, 10)                // ignored
	r.want(310, 370, 10, "370 cleared") // of the new run
	r.want(380, 430, 99)                // nearly
	r.track.Restarted(sec(435))         // the spell is over
	r.want(440, 600, 99)                // and warms up until 555
	r.want(610, 620, 99, "620 raised")  // 560 + 60
	assert.Equal(t, StateRaised, r.explain(620).State)
}

func TestValuesFromBeforeTheStartAreIgnored(t *testing.T) {
	r := newRun(t, cpu(func(r *Rule) { r.For = 0 }), Flap{}, sec(100))
	r.want(0, 90, 99)
	r.want(100, 100, 99, "100 raised")
}

func TestFlapping(t *testing.T) {
	flap := Flap{Raises: 3, Window: 10 * time.Minute}
	r := newRun(t, cpu(func(r *Rule) { r.For = 0 }), flap, time.Time{})
	r.want(0, 0, 90, "0 raised")
	r.want(10, 10, 10, "10 cleared")
	r.want(20, 20, 90, "20 raised")
	r.want(30, 30, 10, "30 cleared")
	v := &Values{}
	v.Set(VMCPU, 90)
	third := r.track.Take(sec(40), v)
	require.Len(t, third, 1)
	assert.True(t, third[0].Flapping)
	assert.Contains(t, third[0].Why, "; it was raised 3 times within 10m, and is held until it has been clear for all of that")
	r.want(50, 640, 10) // held
	e := r.explain(640)
	assert.Equal(t, StateFlapping, e.State)
	assert.Contains(t, e.Why, "10 %, at or below 70 % for 9m50s of 10m")
	r.want(650, 650, 10, "650 cleared")
	r.want(660, 660, 90, "660 raised") // the first again
	r.want(670, 670, 10, "670 cleared")
}

func TestFlappingIsHeldFromTheLastTimeThatItWasNotClear(t *testing.T) {
	r := newRun(t, cpu(func(r *Rule) { r.For = 0 }), Flap{Raises: 2, Window: 5 * time.Minute}, time.Time{})
	r.want(0, 0, 90, "0 raised")
	r.want(10, 10, 10, "10 cleared")
	r.want(20, 20, 90, "20 raised")
	r.want(30, 300, 10)
	r.want(310, 310, 75) // neither
	r.want(320, 610, 10)
	r.want(620, 620, 10, "620 cleared")
}

func TestFarApartIsNotFlapping(t *testing.T) {
	r := newRun(t, cpu(func(r *Rule) { r.For = 0 }), Flap{Raises: 2, Window: 5 * time.Minute}, time.Time{})
	for at := 0; at < 10000; at += 310 {
		r.want(at, at, 90, fmt.Sprintf("%d raised", at))
		r.want(at+10, at+10, 10, fmt.Sprintf("%d cleared", at+10))
	}
}

func TestDevices(t *testing.T) {
	full := Rule{Name: "disk-full", Metric: VMDiskFull, Kind: fault.KindDiskFull, Raise: 90, Clear: 85, For: 20 * time.Second}
	book, err := NewBook([]Rule{full}, Flap{}, period)
	require.NoError(t, err)
	track := book.For(fault.SubjectVM, nil, nil).NewTrack(time.Time{})
	take := func(at int, devices map[string]float64) string {
		v := &Values{}
		v.NoMoreDevices()
		for _, name := range []string{"vda", "vdb"} {
			if x, has := devices[name]; has {
				v.SetDevice(VMDiskFull, name, x)
			}
		}
		var got []string
		for _, c := range track.Take(sec(at), v) {
			got = append(got, fmt.Sprintf("%s %s", c.Device, c.Kind))
		}
		return strings.Join(got, ", ")
	}
	assert.Equal(t, StateNoData, track.Explain(sec(0))[0].State)
	assert.Empty(t, take(0, map[string]float64{"vda": 95, "vdb": 10}))
	assert.Empty(t, take(10, map[string]float64{"vda": 95, "vdb": 10}))
	assert.Equal(t, "vda raised", take(20, map[string]float64{"vda": 95, "vdb": 95}))
	// Without a value, and without a list of devices, it stays.
	assert.Empty(t, take(30, map[string]float64{"vda": math.NaN(), "vdb": 95}))
	assert.Empty(t, track.Take(sec(40), &Values{}))
	assert.Equal(t, "vda still true, vdb raised", take(50, map[string]float64{"vda": 95, "vdb": 95}))
	require.Len(t, track.Explain(sec(50)), 2)
	// Unplugged, it has no faults; an old list does not bring it back.
	assert.Equal(t, "vda cleared, vdb still true", take(60, map[string]float64{"vdb": 95}))
	assert.Empty(t, take(55, map[string]float64{"vda": 95, "vdb": 95}))
	assert.Equal(t, "vdb", track.Explain(sec(60))[0].Device)
	assert.Equal(t, "vdb cleared", take(70, nil))
	assert.Empty(t, take(80, map[string]float64{"vda": 95}))
}

func TestEndClearsWhatStands(t *testing.T) {
	r := newRun(t, cpu(), Flap{}, time.Time{})
	assert.Empty(t, r.track.End(sec(0), "x"))
	r.want(0, 70, 90, "60 raised")
	over := r.track.End(sec(80), "the VM is gone")
	require.Len(t, over, 1)
	assert.Equal(t, Cleared, over[0].Kind)
	assert.Equal(t, "the VM is gone; the last value of vm.cpu was 90 %", over[0].Why)
	assert.Empty(t, r.track.End(sec(80), "x"))
	r.want(90, 150, 90, "150 raised")
}

func TestUseGoesOnWithOtherThresholds(t *testing.T) {
	book, err := NewBook([]Rule{
		cpu(), cpu(func(r *Rule) { r.Name, r.Raise, r.Select = "db", 60, map[string]string{"tier": "db"}; r.Clear = 50 }),
	}, Flap{}, period)
	require.NoError(t, err)
	plain := book.For(fault.SubjectVM, nil, nil)
	db := book.For(fault.SubjectVM, map[string]string{"tier": "db"}, nil)
	r := &run{t, db.NewTrack(time.Time{})}
	r.want(0, 60, 90, "60 raised", "60 raised")
	gone := r.track.Use(plain, sec(65))
	require.Len(t, gone, 1)
	assert.Equal(t, "db", gone[0].Rule.Name)
	assert.Equal(t, "the rule no longer applies; the last value of vm.cpu was 90 %", gone[0].Why)
	assert.Equal(t, StateRaised, r.explain(65).State)
	assert.Empty(t, r.track.Use(plain, sec(65)))

	off := true
	gone = r.track.Use(book.For(fault.SubjectVM, nil, map[string]Override{"cpu": {Off: &off}}), sec(70))
	require.Len(t, gone, 1)
	assert.Equal(t, StateOff, r.explain(70).State)
	assert.Equal(t, "the rule is off", r.explain(70).Why)
	r.want(80, 300, 99)

	raise := 95.0
	assert.Empty(t, r.track.Use(book.For(fault.SubjectVM, nil, map[string]Override{"cpu": {Raise: &raise}}), sec(305)))
	r.want(310, 500, 94)
	r.want(510, 570, 96, "570 raised")
}
