package ladder_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"holdfast/internal/fault"
	"holdfast/internal/ladder"
	"holdfast/internal/proof"
)

func tried(rungs ...ladder.Rung) (out []ladder.Attempt) {
	for i, r := range rungs {
		at := now.Add(time.Duration(i-len(rungs)) * time.Minute)
		out = append(out, ladder.Attempt{Rung: r, Host: "A", Began: at, Ended: at, Error: "it did not help"})
	}
	return out
}

var (
	stock  = &ladder.Stock{Snapshot: "nightly", Backup: "2026-11-21"}
	places = &ladder.Places{Best: "C", Why: "4.0 GiB of its memory stay free"}
	silent = &ladder.Vital{Reachable: true, Why: "its agent is silent"}
)

func TestClimb(t *testing.T) {
	io, user := says("A", "paused", "I/O error"), says("A", "paused", "unknown")
	runs, dead, panicked := says("A", "running", "booted"), says("A", "shut off", "crashed"), says("A", "crashed", "panicked")
	r := func(rungs ...ladder.Rung) []ladder.Rung { return rungs }
	for name, tc := range map[string]struct {
		kind   fault.Kind
		found  proof.Answer
		change func(*ladder.Situation)
		action ladder.Action
		rung   ladder.Rung
		look   ladder.Look
		why    string
		turned []ladder.Rung
	}{
		"paused by a disk":     {kind: fault.KindIOError, found: io, action: ladder.ActClimb, rung: ladder.RungResume},
		"paused by nobody":     {kind: fault.KindPaused, found: user, action: ladder.ActClimb, rung: ladder.RungResume},
		"panicked":             {kind: fault.KindPanicked, found: panicked, action: ladder.ActClimb, rung: ladder.RungReset},
		"panicked, and reset":  {kind: fault.KindPanicked, found: panicked, change: func(s *ladder.Situation) { s.Tried = tried(ladder.RungReset) }, action: ladder.ActClimb, rung: ladder.RungRestart, turned: r(ladder.RungReset)},
		"panicked and gone":    {kind: fault.KindPanicked, found: dead, action: ladder.ActClimb, rung: ladder.RungRestart, turned: r(ladder.RungReset)},
		"hung, not looked at":  {kind: fault.KindHung, found: runs, action: ladder.ActLook, look: ladder.LookVital},
		"hung":                 {kind: fault.KindHung, found: runs, change: func(s *ladder.Situation) { s.Vital = silent }, action: ladder.ActClimb, rung: ladder.RungReset},
		"hung with its QEMU":   {kind: fault.KindHung, found: runs, change: func(s *ladder.Situation) { s.Vital = &ladder.Vital{} }, action: ladder.ActClimb, rung: ladder.RungRestart, turned: r(ladder.RungReset)},
		"hung, and well again": {kind: fault.KindHung, found: runs, change: func(s *ladder.Situation) { s.Vital = &ladder.Vital{Well: true, Why: "its agent answers"} }, action: ladder.ActVerify, why: "its agent answers"},
		"hung again after a reset": {kind: fault.KindHung, found: runs, change: func(s *ladder.Situation) {
			s.Vital, s.Tried = silent, tried(ladder.RungReset)
			s.Tried[0].OK = true
		}, action: ladder.ActClimb, rung: ladder.RungRestart, turned: r(ladder.RungReset)},
		"no snapshot known": {kind: fault.KindCrashed, found: dead, change: func(s *ladder.Situation) { s.Tried = failedAgo(5, 4, 3, 2, 1) },
			action: ladder.ActPerson, why: "5 failed repairs", turned: r(ladder.RungRestart, ladder.RungElsewhere, ladder.RungSnapshot, ladder.RungBackup)},
		"another host may be known": {kind: fault.KindCrashed, found: dead, change: func(s *ladder.Situation) { s.Tried, s.Places = failedAgo(5, 4, 3, 2, 1), nil },
			action: ladder.ActLook, look: ladder.LookPlaces, why: "is there another host", turned: r(ladder.RungRestart)},
		"another host is known": {kind: fault.KindCrashed, found: dead, change: func(s *ladder.Situation) { s.Tried, s.Places = failedAgo(5, 4, 3, 2, 1), places },
			action: ladder.ActClimb, rung: ladder.RungElsewhere, why: "take it from A to C, and start it there (4.0 GiB of its memory stay free)", turned: r(ladder.RungRestart)},
		"another host did not help, twice": {kind: fault.KindCrashed, found: dead, change: func(s *ladder.Situation) {
			s.Tried, s.Places, s.Stock = append(failedAgo(6, 5, 4, 3, 2), tried(ladder.RungElsewhere, ladder.RungElsewhere)...), places, stock
		}, action: ladder.ActApprove, rung: ladder.RungSnapshot, turned: r(ladder.RungRestart, ladder.RungElsewhere)},
		"another host needs approval": {kind: fault.KindCrashed, found: dead, change: func(s *ladder.Situation) {
			s.Tried, s.Places, s.Policy.Approval = failedAgo(5, 4, 3, 2, 1), places, r(ladder.RungElsewhere)
		}, action: ladder.ActApprove, rung: ladder.RungElsewhere, turned: r(ladder.RungRestart)},
		"another host is ordered": {kind: fault.KindPanicked, found: panicked, change: func(s *ladder.Situation) { s.Ordered, s.Places = ladder.RungElsewhere, places },
			action: ladder.ActClimb, rung: ladder.RungElsewhere},
		"before there was elsewhere": {kind: fault.KindCrashed, found: dead, change: func(s *ladder.Situation) {
			s.NoElsewhere, s.Tried, s.Places = true, failedAgo(5, 4, 3, 2, 1), nil
		}, action: ladder.ActPerson, turned: r(ladder.RungRestart, ladder.RungElsewhere, ladder.RungSnapshot, ladder.RungBackup)},
		"a snapshot may be known": {kind: fault.KindCrashed, found: dead, change: func(s *ladder.Situation) { s.Tried, s.Stock = failedAgo(5, 4, 3, 2, 1), nil },
			action: ladder.ActLook, look: ladder.LookStock, turned: r(ladder.RungRestart, ladder.RungElsewhere)},
		"a snapshot is known": {kind: fault.KindCrashed, found: dead, change: func(s *ladder.Situation) { s.Tried, s.Stock = failedAgo(5, 4, 3, 2, 1), stock },
			action: ladder.ActApprove, rung: ladder.RungSnapshot, why: "revert it to snapshot nightly on A", turned: r(ladder.RungRestart, ladder.RungElsewhere)},
		"a person thinks for longer than failures count": {kind: fault.KindCrashed, found: dead, change: func(s *ladder.Situation) {
			s.Tried, s.Stock, s.CountedFrom = failedAgo(5, 4, 3, 2, 1), stock, s.Now
			s.Now = s.Now.Add(24 * time.Hour)
		}, action: ladder.ActApprove, rung: ladder.RungSnapshot, turned: r(ladder.RungRestart, ladder.RungElsewhere)},
		"a snapshot is approved": {kind: fault.KindCrashed, found: dead, change: func(s *ladder.Situation) {
			s.Tried, s.Stock, s.Approved = failedAgo(5, 4, 3, 2, 1), stock, r(ladder.RungSnapshot)
		}, action: ladder.ActClimb, rung: ladder.RungSnapshot, turned: r(ladder.RungRestart, ladder.RungElsewhere)},
		"approved, and well by now": {kind: fault.KindCrashed, found: runs, change: func(s *ladder.Situation) { s.Stock, s.Ordered = stock, ladder.RungSnapshot }, action: ladder.ActVerify},
		"approved, and stopped by a person": {kind: fault.KindCrashed, found: says("A", "shut off", "shutdown"),
			change: func(s *ladder.Situation) { s.Stock, s.Ordered = stock, ladder.RungSnapshot }, action: ladder.ActStandDown},
		"approved, and hung": {kind: fault.KindHung, found: runs,
			change: func(s *ladder.Situation) { s.Vital, s.Stock, s.Ordered = silent, stock, ladder.RungSnapshot }, action: ladder.ActClimb, rung: ladder.RungSnapshot},
		"a snapshot being made": {kind: fault.KindPaused, found: says("A", "paused", "creating snapshot"), action: ladder.ActWait},
		"a snapshot is wanted":  {kind: fault.KindRequested, found: runs, change: func(s *ladder.Situation) { s.Stock, s.Ordered = stock, ladder.RungSnapshot }, action: ladder.ActClimb, rung: ladder.RungSnapshot},
		"a snapshot is wanted that is gone": {kind: fault.KindRequested, found: runs, change: func(s *ladder.Situation) { s.Ordered = ladder.RungSnapshot },
			action: ladder.ActVerify, turned: r(ladder.RungSnapshot)},
		"a snapshot did not help": {kind: fault.KindPanicked, found: dead, change: func(s *ladder.Situation) {
			s.Stock, s.Tried = stock, append(failedAgo(5, 4, 3, 2), tried(ladder.RungRestart, ladder.RungSnapshot)...)
		}, action: ladder.ActApprove, rung: ladder.RungBackup, why: "restore it from backup 2026-11-21 on A, and keep its present disks aside; the policy wants a person to approve that",
			turned: r(ladder.RungReset, ladder.RungRestart, ladder.RungElsewhere, ladder.RungSnapshot)},
		"a snapshot did not help, and a backup may be known": {kind: fault.KindCrashed, found: dead, change: func(s *ladder.Situation) {
			s.Stock, s.Tried = nil, append(failedAgo(5, 4, 3, 2), tried(ladder.RungRestart, ladder.RungSnapshot)...)
		}, action: ladder.ActLook, look: ladder.LookStock, turned: r(ladder.RungRestart, ladder.RungElsewhere, ladder.RungSnapshot)},
		"a backup and no snapshot": {kind: fault.KindBootFailed, found: says("A", "shut off", "crashed"), change: func(s *ladder.Situation) {
			s.Stock, s.Tried = &ladder.Stock{Backup: "weekly", SnapshotWhy: "none was made"}, failedAgo(5, 4, 3, 2, 1)
		}, action: ladder.ActApprove, rung: ladder.RungBackup, turned: r(ladder.RungReset, ladder.RungRestart, ladder.RungSnapshot)},
		"a backup is approved": {kind: fault.KindCrashed, found: dead, change: func(s *ladder.Situation) {
			s.Stock, s.Tried, s.Approved = &ladder.Stock{Backup: "weekly"}, failedAgo(5, 4, 3, 2, 1), r(ladder.RungBackup)
		}, action: ladder.ActClimb, rung: ladder.RungBackup, turned: r(ladder.RungRestart, ladder.RungElsewhere, ladder.RungSnapshot)},
		"a backup did not help": {kind: fault.KindCrashed, found: dead, change: func(s *ladder.Situation) {
			s.Stock, s.Tried = stock, append(failedAgo(5, 4, 3, 2), tried(ladder.RungRestart, ladder.RungSnapshot, ladder.RungBackup)...)
		}, action: ladder.ActPerson, turned: r(ladder.RungRestart, ladder.RungElsewhere, ladder.RungSnapshot, ladder.RungBackup)},
		"a backup is wanted": {kind: fault.KindRequested, found: runs, change: func(s *ladder.Situation) { s.Stock, s.Ordered = stock, ladder.RungBackup }, action: ladder.ActClimb, rung: ladder.RungBackup},
		"before there were backups": {kind: fault.KindCrashed, found: dead, change: func(s *ladder.Situation) {
			s.NoBackup, s.Stock, s.Tried = true, nil, append(failedAgo(5, 4, 3, 2), tried(ladder.RungRestart, ladder.RungSnapshot)...)
		}, action: ladder.ActPerson, turned: r(ladder.RungRestart, ladder.RungElsewhere, ladder.RungSnapshot, ladder.RungBackup)},
		"a ladder of the site's": {kind: fault.KindIOError, found: io, change: func(s *ladder.Situation) { s.Policy.Ladder = r(ladder.RungRestart) }, action: ladder.ActClimb, rung: ladder.RungRestart},
		"nothing but a person": {kind: fault.KindHung, found: runs, change: func(s *ladder.Situation) { s.Policy.Ladder = r(ladder.RungPerson) },
			action: ladder.ActWatch},
		"forbidden": {kind: fault.KindPanicked, found: panicked, change: func(s *ladder.Situation) { s.Policy.Forbidden = r(ladder.RungReset) }, action: ladder.ActClimb, rung: ladder.RungRestart, turned: r(ladder.RungReset)},
		"rejected": {kind: fault.KindPanicked, found: panicked, change: func(s *ladder.Situation) { s.Rejected = []ladder.Turned{{Rung: ladder.RungReset, Why: "ann said no"}} },
			action: ladder.ActClimb, rung: ladder.RungRestart, turned: r(ladder.RungReset)},
		"down, and left so by its policy": {kind: fault.KindCrashed, found: dead, change: func(s *ladder.Situation) { s.Policy.Desired = ladder.DesiredAsFound }, action: ladder.ActStandDown, why: "its policy leaves it so"},
		"down, left so, and asked for":    {kind: fault.KindCrashed, found: dead, change: func(s *ladder.Situation) { s.Policy.Desired, s.Asked = ladder.DesiredAsFound, true }, action: ladder.ActClimb, rung: ladder.RungRestart},
		"stands, and is left if down":     {kind: fault.KindPanicked, found: panicked, change: func(s *ladder.Situation) { s.Policy.Desired = ladder.DesiredAsFound }, action: ladder.ActClimb, rung: ladder.RungReset},
		"needs approval": {kind: fault.KindPanicked, found: panicked, change: func(s *ladder.Situation) { s.Policy.Approval = r(ladder.RungReset) },
			action: ladder.ActApprove, rung: ladder.RungReset, why: "a person to approve"},
		"is approved": {kind: fault.KindPanicked, found: panicked, change: func(s *ladder.Situation) {
			s.Policy.Approval, s.Approved = r(ladder.RungReset), r(ladder.RungReset)
		}, action: ladder.ActClimb, rung: ladder.RungReset},
		"held":                   {kind: fault.KindCrashed, found: dead, change: func(s *ladder.Situation) { s.Policy.Held = "ann holds it: disk swap" }, action: ladder.ActHold, why: "ann holds it: disk swap"},
		"held, and asked for":    {kind: fault.KindRequested, found: dead, change: func(s *ladder.Situation) { s.Policy.Held, s.Asked = "ann holds it", true }, action: ladder.ActHold},
		"held, and runs":         {kind: fault.KindCrashed, found: runs, change: func(s *ladder.Situation) { s.Policy.Held = "ann holds it" }, action: ladder.ActVerify},
		"before there was reset": {kind: fault.KindPanicked, found: panicked, change: func(s *ladder.Situation) { s.Legacy = true }, action: ladder.ActClimb, rung: ladder.RungRestart, turned: r(ladder.RungReset)},
		"hung, before":           {kind: fault.KindHung, found: runs, change: func(s *ladder.Situation) { s.Legacy = true }, action: ladder.ActWatch},
		"died of a disk, before": {kind: fault.KindCrashed, found: io, change: func(s *ladder.Situation) { s.Legacy = true }, action: ladder.ActPerson},
	} {
		t.Run(name, func(t *testing.T) {
			s := situation(tc.kind, tc.found)
			if tc.change != nil {
				tc.change(&s)
			}
			d := ladder.Next(s)
			require.Equal(t, tc.action, d.Action, d.Why)
			require.Equal(t, tc.rung, rungOf(d))
			require.Equal(t, tc.look, d.Look)
			require.Contains(t, d.Why, tc.why)
			var turned []ladder.Rung
			for _, x := range d.Turned {
				require.NotEmpty(t, x.Why)
				turned = append(turned, x.Rung)
			}
			require.Equal(t, tc.turned, turned)
		})
	}
}

// rungOf is the rung that a decision means to climb.
func rungOf(d ladder.Decision) ladder.Rung {
	if d.Action == ladder.ActClimb || d.Action == ladder.ActApprove {
		return d.Rung
	}
	return ""
}

func TestWhatIsPausedForItsStorageResumesMeanwhile(t *testing.T) {
	s := situation(fault.KindNoSpace, says("A", "paused", "I/O error"))
	s.Tried = tried(slices.Repeat([]ladder.Rung{ladder.RungResume}, ladder.DefaultBudget(ladder.RungResume))...)
	d := ladder.Next(s)
	require.Equal(t, ladder.ActPerson, d.Action)
	require.Equal(t, ladder.RungResume, d.Meanwhile)
	s.Policy.Forbidden = []ladder.Rung{ladder.RungResume}
	d = ladder.Next(s)
	require.Equal(t, ladder.ActPerson, d.Action)
	require.Empty(t, d.Meanwhile)
	s.Policy.Forbidden, s.Policy.Approval = nil, []ladder.Rung{ladder.RungResume}
	require.Empty(t, ladder.Next(s).Meanwhile)
}

// A VM that nothing helps always ends with a person: no rung is climbed past its
// budget, none that is forbidden, none that waits for approval, and none at all
// while it is held. Lighter rungs come before heavier ones.
func TestEveryLadderEnds(t *testing.T) {
	rungs := slices.DeleteFunc(ladder.VMRungs(), func(r ladder.Rung) bool { return r == ladder.RungPerson })
	some := func(t *rapid.T, what string) []ladder.Rung {
		return rapid.SliceOfNDistinct(rapid.SampledFrom(rungs), 0, 3, rapid.ID[ladder.Rung]).Draw(t, what)
	}
	rapid.Check(t, func(t *rapid.T) {
		kinds := []fault.Kind{
			fault.KindCrashed, fault.KindStartFailed, fault.KindLost, fault.KindPanicked, fault.KindRequested, fault.KindHung,
			fault.KindWatchdog, fault.KindIOError, fault.KindNoSpace, fault.KindPaused, fault.KindBootFailed,
		}
		found := []proof.Answer{says("A", "shut off", "failed"), says("A", "paused", "I/O error"), says("A", "paused", "unknown"), says("A", "crashed", "panicked"), says("A", "running", "booted")}
		s := situation(rapid.SampledFrom(kinds).Draw(t, "kind"))
		s.Policy.Window = 1000 * time.Hour
		s.Policy.Forbidden, s.Policy.Approval, s.Policy.Ladder = some(t, "forbidden"), some(t, "approval"), some(t, "ladder")
		s.Policy.Budgets = map[ladder.Rung]int{}
		for _, r := range rungs {
			s.Policy.Budgets[r] = rapid.IntRange(1, 4).Draw(t, "budget")
		}
		if rapid.IntRange(0, 9).Draw(t, "held") == 0 {
			s.Policy.Held = "ann holds it"
		}
		climbed := map[ladder.Rung]int{}
		for range 50 {
			s.Answers = []proof.Answer{rapid.SampledFrom(found).Draw(t, "found")}
			s.Vital = &ladder.Vital{Reachable: rapid.Bool().Draw(t, "reachable"), Why: "silent"}
			s.Stock, s.Places = stock, places
			d := ladder.Next(s)
			if d.Why == "" {
				t.Fatal("no reason given")
			}
			switch d.Action {
			case ladder.ActClimb, ladder.ActApprove:
				if slices.Contains(s.Policy.Forbidden, d.Rung) || s.Policy.Held != "" {
					t.Fatalf("not to be taken: %+v", d)
				}
				if d.Action == ladder.ActClimb && slices.Contains(s.Policy.Approval, d.Rung) && !slices.Contains(s.Approved, d.Rung) {
					t.Fatalf("nobody approved: %+v", d)
				}
				if d.Action == ladder.ActApprove {
					if rapid.Bool().Draw(t, "approves") {
						s.Approved = append(s.Approved, d.Rung)
					} else {
						s.Rejected = append(s.Rejected, ladder.Turned{Rung: d.Rung, Why: "no"})
					}
					continue
				}
				climbed[d.Rung]++
				if climbed[d.Rung] > s.Policy.Budgets[d.Rung] {
					t.Fatalf("%s was climbed %d times: %+v", d.Rung, climbed[d.Rung], d)
				}
				s.Now = s.Now.Add(d.Wait + time.Second)
				s.Tried = append(s.Tried, ladder.Attempt{Rung: d.Rung, Host: d.Host, Ended: s.Now, Error: "again", OK: rapid.Bool().Draw(t, "verified")})
			case ladder.ActPerson, ladder.ActHold, ladder.ActWatch, ladder.ActVerify:
				if d.Action == ladder.ActPerson || d.Action == ladder.ActWatch {
					return
				}
			default:
				t.Fatalf("%+v", d)
			}
		}
		if s.Policy.Held == "" && len(climbed) > 0 {
			// What is found changes at random, so that some runs only ever verify.
			total := 0
			for n := range maps.Values(climbed) {
				total += n
			}
			if total > 4*len(rungs) {
				t.Fatalf("does not end: %v", climbed)
			}
		}
	})
}

func TestPolicyOfRungs(t *testing.T) {
	for text, breakIt := range map[string]func(*ladder.Policy){
		`ladder: "fence" is no rung of a VM`: func(p *ladder.Policy) { p.Ladder = []ladder.Rung{ladder.RungFence} },
		"ladder: reset is in it twice":       func(p *ladder.Policy) { p.Ladder = []ladder.Rung{ladder.RungReset, ladder.RungReset} },
		"budgets.reset must be at least 1":   func(p *ladder.Policy) { p.Budgets = map[ladder.Rung]int{ladder.RungReset: 0} },
		"approval.then must be":              func(p *ladder.Policy) { p.ApprovalThen = "wait" },
		"verify.agent must be":               func(p *ladder.Policy) { p.Probes.Agent = "maybe" },
		"verify.within must be positive":     func(p *ladder.Policy) { p.Probes.Within = 0 },
	} {
		p := ladder.DefaultPolicy()
		breakIt(&p)
		require.ErrorContains(t, p.Validate(), text)
	}
}
