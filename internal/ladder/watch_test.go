package ladder_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"holdfast/internal/fault"
	"holdfast/internal/ladder"
	"holdfast/internal/proof"
)

func TestEveryKindHasALadderThatEndsWithAPerson(t *testing.T) {
	for _, k := range fault.Kinds() {
		rungs := ladder.For(k)
		require.Equal(t, ladder.RungPerson, rungs[len(rungs)-1], k)
		require.Len(t, slices.Compact(slices.Sorted(slices.Values(rungs))), len(rungs), "%s: a rung is there once", k)
		info, ok := fault.Lookup(k)
		require.True(t, ok)
		if info.Response == fault.RespondAlarm {
			require.Len(t, rungs, 1, "%s: nothing is done about what is only an alarm", k)
		}
		if info.Subject != fault.SubjectVM {
			require.True(t, ladder.Lasts(k), "%s: nothing can be done to a %s yet", k, info.Subject)
		}
	}
	require.Equal(t, []ladder.Rung{ladder.RungPerson}, ladder.For("no such kind"))
	ladder.For(fault.KindCrashed)[0] = "changed"
	require.Equal(t, ladder.RungRestart, ladder.For(fault.KindCrashed)[0], "the table is nobody's to change")
}

func TestLasts(t *testing.T) {
	for _, k := range []fault.Kind{fault.KindCrashed, fault.KindStartFailed, fault.KindLost, fault.KindPanicked, fault.KindRequested} {
		require.False(t, ladder.Lasts(k), k)
	}
	for _, k := range []fault.Kind{
		fault.KindHung, fault.KindWatchdog, fault.KindIOError, fault.KindNoSpace, fault.KindPaused, fault.KindBootFailed, fault.KindAlert, fault.KindCPU,
	} {
		require.True(t, ladder.Lasts(k), k)
	}
}

func TestOutlook(t *testing.T) {
	require.Equal(t, "the ladder is reset, restart, elsewhere, snapshot, person", ladder.Outlook(fault.KindHung))
	require.Equal(t, "the ladder is resume, person", ladder.Outlook(fault.KindNoSpace))
	require.Equal(t, "nothing but a person can mend this", ladder.Outlook(fault.KindAlert))
}

func TestNextWatches(t *testing.T) {
	alert := func(answers ...proof.Answer) ladder.Situation { return situation(fault.KindAlert, answers...) }
	for name, tc := range map[string]struct {
		s      ladder.Situation
		action ladder.Action
		person bool
		state  string
		why    string
	}{
		"it runs":               {s: alert(says("A", "running", "booted")), action: ladder.ActWatch, person: true, state: "A: running (booted)", why: "nothing but a person can mend this"},
		"paused by a disk":      {s: alert(says("A", "paused", "I/O error")), action: ladder.ActWatch, person: true, state: "A: paused (I/O error)"},
		"starting up":           {s: alert(says("A", "paused", "starting up")), action: ladder.ActWatch, person: true},
		"a person paused it":    {s: alert(says("A", "paused", "user")), action: ladder.ActStandDown, why: "a person paused VM1"},
		"a person stopped it":   {s: alert(says("A", "shut off", "destroyed"), says("B", "absent", "")), action: ladder.ActStandDown, why: "stays stopped"},
		"shut down in order":    {s: alert(says("A", "shut off", "shutdown")), action: ladder.ActStandDown},
		"stopped where it went": {s: alert(says("A", "absent", ""), says("B", "shut off", "shutdown")), action: ladder.ActStandDown},
		// The monitor tells that it crashed: until then nobody knows since when.
		"it died":                   {s: alert(says("A", "shut off", "crashed")), action: ladder.ActWatch, person: true, state: "A: shut off (crashed)"},
		"never ran":                 {s: situation(fault.KindAlert, says("A", "shut off", "unknown")), action: ladder.ActWatch, person: true},
		"its host is silent":        {s: alert(says("A", "silent", ""), says("B", "shut off", "shutdown")), action: ladder.ActWatch, person: true},
		"gone":                      {s: alert(says("A", "absent", "")), action: ladder.ActWatch, person: true},
		"active twice":              {s: alert(says("A", "running", ""), says("B", "running", "")), action: ladder.ActWatch, person: true, state: "VM1 is active on 2 hosts at once (A, B): stop the wrong copy by hand"},
		"a limit, made an incident": {s: situation(fault.KindCPU, says("A", "running", "booted")), action: ladder.ActWatch, why: "nothing but a person can mend this"},
	} {
		t.Run(name, func(t *testing.T) {
			d := ladder.Next(tc.s)
			require.Equal(t, tc.action, d.Action, d.Why)
			require.Contains(t, d.Why, tc.why)
			require.Equal(t, tc.person, d.NeedsPerson)
			if tc.state != "" {
				require.Equal(t, tc.state, d.State)
			}
		})
	}
}

func TestAPersonMayHaveItStarted(t *testing.T) {
	for state, action := range map[string]ladder.Action{"shut off": ladder.ActClimb, "crashed": ladder.ActClimb, "running": ladder.ActWatch, "silent": ladder.ActWatch} {
		s := situation(fault.KindAlert, says("A", state, "unknown"))
		s.Asked = true
		require.Equal(t, action, ladder.Next(s).Action, state)
	}
}

func TestTheLevelDecidesWhoIsCalled(t *testing.T) {
	s := situation(fault.KindCPU, says("A", "running", "booted"))
	s.Fault.Level = fault.Major
	require.True(t, ladder.Next(s).NeedsPerson)
	s.Policy.Observe = true
	require.False(t, ladder.Next(s).NeedsPerson)
}

func TestNextObserves(t *testing.T) {
	observing := func(kind fault.Kind, answers ...proof.Answer) ladder.Situation {
		s := situation(kind, answers...)
		s.Fault.Why = "VM1 crashed on A"
		s.Policy.Observe, s.Policy.ObserveWhy = true, "the site file says so"
		return s
	}
	dead := says("A", "shut off", "crashed")

	d := ladder.Next(observing(fault.KindCrashed, dead))
	require.Equal(t, ladder.ActObserve, d.Action)
	require.Equal(t, "would restart VM1 on A because: VM1 crashed on A; observe mode: the site file says so", d.Why)
	require.Equal(t, 30*time.Second, d.Wait)
	require.False(t, d.NeedsPerson)

	d = ladder.Next(observing(fault.KindCrashed, says("B", "absent", "")))
	require.Equal(t, ladder.ActObserve, d.Action)
	require.Contains(t, d.Why, "would stop and ask a person: host A is not in the site file")

	s := observing(fault.KindCrashed, dead)
	s.Policy.ObserveWhy = ""
	require.Contains(t, ladder.Next(s).Why, "observe mode: the site wants nothing touched")
	s.Waits = 40
	require.Equal(t, 8*time.Minute, ladder.Next(s).Wait)
	s.Asked = true
	require.Equal(t, ladder.ActClimb, ladder.Next(s).Action, "a person asked for it")
	require.Equal(t, ladder.ActClimb, ladder.Next(observing(fault.KindRequested, dead)).Action)

	for action, a := range map[ladder.Action]proof.Answer{
		ladder.ActVerify: says("A", "running", "booted"), ladder.ActStandDown: says("A", "shut off", "destroyed"), ladder.ActWait: says("A", "silent", ""),
	} {
		require.Equal(t, action, ladder.Next(observing(fault.KindCrashed, a)).Action, "looking is allowed")
	}
	d = ladder.Next(observing(fault.KindAlert, says("A", "running", "booted")))
	require.Equal(t, ladder.ActWatch, d.Action)
	require.False(t, d.NeedsPerson)
	require.Contains(t, d.Why, "observe mode: the site file says so")
}

// In observe mode nothing is climbed and nobody is called, whatever the situation.
func TestObserveTouchesNothing(t *testing.T) {
	states := []string{"running", "paused", "in shutdown", "shut off", "crashed", "pmsuspended", "absent", "silent"}
	reasons := []string{"", "unknown", "booted", "user", "crashed", "panicked", "failed", "destroyed", "starting up", "I/O error"}
	rapid.Check(t, func(t *rapid.T) {
		kinds := slices.DeleteFunc(fault.Kinds(), func(k fault.Kind) bool { return k == fault.KindRequested })
		s := situation(rapid.SampledFrom(kinds).Draw(t, "kind"))
		s.Policy.Observe = true
		for i := range rapid.IntRange(0, 3).Draw(t, "hosts") {
			s.Answers = append(s.Answers, says(string(rune('A'+i)), rapid.SampledFrom(states).Draw(t, "state"), rapid.SampledFrom(reasons).Draw(t, "reason")))
		}
		s.Vital = &ladder.Vital{Why: "silent"}
		if d := ladder.Next(s); d.Action == ladder.ActClimb || d.Action == ladder.ActApprove || d.Action == ladder.ActPerson || d.NeedsPerson {
			t.Fatalf("%+v", d)
		}
	})
}

func TestWatchHost(t *testing.T) {
	f := fault.Fault{Kind: fault.KindHostUnreachable, Host: "A", Site: "s", Why: "A does not answer"}
	d := ladder.WatchHost(f, ladder.Policy{})
	require.Equal(t, ladder.ActWatch, d.Action)
	require.True(t, d.NeedsPerson)
	require.Equal(t, "A does not answer: the ladder is fence, failover, person; fence, failover do not exist yet", d.Why)
	f.Frozen = "2 of 3 hosts failed"
	d = ladder.WatchHost(f, ladder.Policy{Observe: true, ObserveWhy: "the default"})
	require.False(t, d.NeedsPerson)
	require.Contains(t, d.Why, "; observe mode: the default; and nothing may be done to hosts: 2 of 3 hosts failed")
}
