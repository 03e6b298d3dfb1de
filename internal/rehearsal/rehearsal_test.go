package rehearsal_test

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/ladder"
	"holdfast/internal/proof"
	"holdfast/internal/rehearsal"
	"holdfast/internal/rehearsal/recorded"
)

// under gives the recorded policy, with a change.
func under(inc contract.Incident, change func(*ladder.Policy)) rehearsal.Policies {
	return func(fault.Kind, map[string]string, string) ladder.Policy {
		p := inc.Decisions[0].Situation.Policy
		p.Held, p.AgentExpected = "", false // which a site file does not know
		change(&p)
		return p
	}
}

func TestReplay(t *testing.T) {
	for name, c := range map[string]struct {
		inc     contract.Incident
		change  func(*ladder.Policy)
		differs []bool
		would   map[int]ladder.Action // of some decisions
		rung    map[int]ladder.Rung
	}{
		"the recorded policy": {inc: recorded.Panicked(), change: func(*ladder.Policy) {}, differs: []bool{false, false}},
		"a larger budget": {
			inc: recorded.Panicked(), change: func(p *ladder.Policy) { p.Budgets = map[ladder.Rung]int{ladder.RungReset: 3} },
			differs: []bool{false, true}, rung: map[int]ladder.Rung{1: ladder.RungReset},
		},
		"a forbidden rung": {
			inc: recorded.Panicked(), change: func(p *ladder.Policy) { p.Forbidden = []ladder.Rung{ladder.RungReset} },
			differs: []bool{true, false}, rung: map[int]ladder.Rung{0: ladder.RungRestart, 1: ladder.RungRestart},
		},
		"observe": {
			inc: recorded.Panicked(), change: func(p *ladder.Policy) { p.Observe = true },
			differs: []bool{true, true}, would: map[int]ladder.Action{0: ladder.ActObserve, 1: ladder.ActObserve},
		},
		"approval": {
			inc: recorded.Panicked(), change: func(p *ladder.Policy) { p.Approval = []ladder.Rung{ladder.RungRestart} },
			differs: []bool{false, true}, would: map[int]ladder.Action{1: ladder.ActApprove},
		},
		"fewer failures": {
			inc: recorded.CrashLoop(), change: func(p *ladder.Policy) { p.MaxFailures = 2 },
			differs: []bool{false, false, true, false, false}, would: map[int]ladder.Action{2: ladder.ActPerson},
		},
		"longer backoff": {
			inc: recorded.CrashLoop(), change: func(p *ladder.Policy) { p.BackoffInitial *= 2 },
			differs: []bool{false, true, true, false, false},
		},
		"the wait for an approval": {
			inc: recorded.Asking(), change: func(p *ladder.Policy) { p.ApprovalThen = ladder.FallbackReject },
			differs: []bool{false, true},
		},
		"verification shows in no decision": {
			inc: recorded.Panicked(), change: func(p *ladder.Policy) { p.StableFor = time.Minute }, differs: []bool{false, false},
		},
		"repair": {
			inc: recorded.Observed(), change: func(p *ladder.Policy) { p.Observe, p.ObserveWhy = false, "" },
			differs: []bool{true}, would: map[int]ladder.Action{0: ladder.ActClimb},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var back contract.Incident // as it comes from a file
			text, err := json.Marshal(c.inc)
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(text, &back))
			got, err := rehearsal.Replay(back, under(c.inc, c.change))
			require.NoError(t, err)
			require.Zero(t, got.Redecided, "the ladder decides what it recorded")
			differ := 0
			require.Len(t, got.Decisions, len(c.differs))
			for i, d := range got.Decisions {
				require.Equal(t, c.differs[i], d.Differs, "decision %d: %+v", i, d)
				if d.Differs {
					differ++
				}
				if want, there := c.would[i]; there {
					require.Equal(t, want, d.Would.Action, i)
				}
				if want, there := c.rung[i]; there {
					require.Equal(t, want, d.Would.Rung, i)
				}
			}
			require.Equal(t, differ, got.Differ)
		})
	}
}

func TestReplayKeepsWhatIsTheVMsOwn(t *testing.T) {
	inc := recorded.Panicked()
	for i := range inc.Decisions {
		d := &inc.Decisions[i]
		d.Situation.Policy.Held = "ann holds it"
		d.Decision = ladder.Next(d.Situation)
		require.Equal(t, ladder.ActHold, d.Decision.Action)
	}
	got, err := rehearsal.Replay(inc, under(inc, func(p *ladder.Policy) { p.Forbidden = []ladder.Rung{ladder.RungReset} }))
	require.NoError(t, err)
	require.Zero(t, got.Differ)
	require.Equal(t, ladder.ActHold, got.Decisions[0].Would.Action)
}

func TestReplayAsksForThePolicyOfTheFault(t *testing.T) {
	inc := recorded.Panicked()
	_, err := rehearsal.Replay(inc, func(k fault.Kind, labels map[string]string, annotated string) ladder.Policy {
		require.Equal(t, fault.KindPanicked, k)
		require.Equal(t, map[string]string{"tier": "db"}, labels)
		require.Equal(t, "repair", annotated)
		return recorded.Policy()
	})
	require.NoError(t, err)
}

// A decision that this release makes otherwise is not blamed on the policy alone.
func TestAnotherReleaseDecidedOtherwise(t *testing.T) {
	inc := recorded.Panicked()
	inc.Decisions[1].Decision = ladder.Decision{Action: ladder.ActPerson, Rung: ladder.RungPerson, Why: "nothing was known besides reset"}
	got, err := rehearsal.Replay(inc, under(inc, func(*ladder.Policy) {}))
	require.NoError(t, err)
	require.Equal(t, 1, got.Redecided)
	require.Equal(t, 1, got.Differ)
	require.Nil(t, got.Decisions[0].Release)
	require.Equal(t, ladder.RungRestart, got.Decisions[1].Release.Rung)
}

func TestAPolicyThatHasToLookFirst(t *testing.T) {
	inc := recorded.Panicked()
	got, err := rehearsal.Replay(inc, under(inc, func(p *ladder.Policy) { p.Ladder = []ladder.Rung{ladder.RungPerson} }))
	require.NoError(t, err)
	require.Equal(t, ladder.ActPerson, got.Decisions[0].Would.Action)
	hung := recorded.Asking()
	hung.Decisions[0].Situation.Vital = nil
	hung.Decisions[0].Situation.Answers = []proof.Answer{{Sighting: fault.Sighting{Host: "kvm1", State: "running"}, Active: true}}
	got, err = rehearsal.Replay(hung, under(hung, func(*ladder.Policy) {}))
	require.NoError(t, err)
	require.Equal(t, ladder.ActLook, got.Decisions[0].Would.Action)
}

func TestNothingToReplay(t *testing.T) {
	policies := func(fault.Kind, map[string]string, string) ladder.Policy { return recorded.Policy() }
	_, err := rehearsal.Replay(recorded.Host(), policies)
	require.ErrorIs(t, err, rehearsal.ErrNoDecisions)
	require.ErrorContains(t, err, "it is about a host")
	old := recorded.Panicked()
	old.Decisions = nil
	_, err = rehearsal.Replay(old, policies)
	require.ErrorIs(t, err, rehearsal.ErrNoDecisions)
	require.ErrorContains(t, err, "did not record them")
}

// Every field of a policy, but for what is the VM's own, is compared: one that is
// added has to be added to fields too.
func TestChangesSeeEveryField(t *testing.T) {
	own := map[string]bool{"Held": true, "AgentExpected": true}
	was := ladder.Policy{ApprovalTimeout: time.Hour}
	var each func(path string, index []int, typ reflect.Type)
	each = func(path string, index []int, typ reflect.Type) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			at, name := append(append([]int{}, index...), i), path+f.Name
			if f.Type.Kind() == reflect.Struct {
				each(name+".", at, f.Type)
				continue
			}
			would := was
			if name == "ObserveWhy" {
				would.Observe = true
			}
			set(t, reflect.ValueOf(&would).Elem().FieldByIndex(at))
			if own[name] {
				require.Empty(t, rehearsal.Changes(was, would), name)
			} else {
				require.NotEmpty(t, rehearsal.Changes(was, would), "add ladder.Policy.%s to fields in policy.go", name)
			}
		}
	}
	each("", nil, reflect.TypeFor[ladder.Policy]())
	require.Empty(t, rehearsal.Changes(was, was))
}

func set(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint64:
		v.SetUint(7)
	case reflect.Float64:
		v.SetFloat(7)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString("reject")
	case reflect.Slice:
		one := reflect.New(v.Type().Elem()).Elem()
		one.SetString("reset")
		v.Set(reflect.Append(v, one))
	case reflect.Map:
		v.Set(reflect.ValueOf(map[ladder.Rung]int{ladder.RungReset: 7}))
	default:
		t.Fatalf("no value for a %s", v.Kind())
	}
}
