package workflows_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/workflows"
)

const schedule = "snapshots/s/db"

// turnAnswer is what a guardian said to a schedule, or to a person who prunes.
type turnAnswer struct {
	contract.Turn
	err error
	at  time.Time
}

func (s site) asksTurn(after time.Duration, verb contract.SnapshotVerb, in contract.TurnInput, change ...func(*contract.SnapshotRequest)) *turnAnswer {
	got := &turnAnswer{err: errors.New("not answered")}
	req := contract.SnapshotRequest{Site: "s", By: schedule, SnapshotInput: contract.SnapshotInput{VM: vm1, Host: "A", Verb: verb, Name: "auto-1", Turn: &in}}
	for _, do := range change {
		do(&req)
	}
	s.RegisterDelayedCallback(func() {
		s.UpdateWorkflow(contract.UpdateSnapshot, "", &testsuite.TestUpdateCallback{
			OnAccept: func() {},
			OnReject: func(err error) { got.err = err },
			OnComplete: func(v any, err error) {
				got.err, got.at = err, s.Now()
				if reply, ok := v.(contract.SnapshotReply); ok {
					got.Turn = *reply.Turn
				}
			},
		}, req)
	}, after)
	return got
}

// scheduledTurn is the turn of a schedule.
var scheduledTurn = contract.TurnInput{Schedule: schedule, Class: "db", Keep: "1h"}

// plans has the host make the snapshot, and find these to prune, newest first.
func (s site) plans(prune ...string) {
	turn := contract.Turn{Made: "auto-1", Rule: "1h", Plan: []contract.PlannedSnapshot{{Name: "auto-1", Keep: true, Why: "the newest"}}}
	for _, name := range prune {
		turn.Plan = append(turn.Plan, contract.PlannedSnapshot{Name: name, Why: "too old"})
	}
	s.OnActivity(s.act.ScheduledSnapshot, mock.Anything, mock.Anything).Return(turn, nil)
}

// deletes notes what is deleted; an error is said for the name that it belongs to.
func (s site) deletes(gone *[]string, refuses map[string]error) {
	s.OnActivity(s.act.Snapshot, mock.Anything, mock.Anything).Return(func(_ context.Context, in contract.SnapshotInput) (contract.SnapshotReply, error) {
		if err := refuses[in.Name]; err != nil {
			return contract.SnapshotReply{}, err
		}
		*gone = append(*gone, string(in.Verb)+" "+in.Name)
		return contract.SnapshotReply{}, nil
	})
}

func stepRefused(text string) error {
	return temporal.NewNonRetryableApplicationError(text, contract.ErrTypeStepFailed, nil)
}

func TestATurnPrunesTheOldestFirst(t *testing.T) {
	s := guardian(t, nobody)
	s.plans("c", "b", "a")
	var gone []string
	s.deletes(&gone, map[string]error{"b": stepRefused("another lies upon it")})
	got := s.asksTurn(0, contract.SnapshotTurn, scheduledTurn)
	s.guard()
	require.NoError(t, got.err)
	require.Equal(t, "auto-1", got.Made)
	require.Equal(t, []string{"delete a", "delete c"}, gone, "one that cannot go holds up no other")
	require.Equal(t, []string{"a", "c"}, got.Pruned)
	require.Equal(t, []contract.NotPruned{{Name: "b", Why: "another lies upon it"}}, got.NotPruned)
}

// An incident might want what would be pruned.
func TestNothingIsPrunedOnceAnIncidentHasTheVM(t *testing.T) {
	s := guardian(t, func(ctx workflow.Context, in contract.RecoverInput) (contract.Incident, error) {
		return contract.Incident{ID: in.ID, Outcome: contract.OutcomeRecovered}, workflow.Sleep(ctx, 10*time.Minute)
	})
	s.plans("b", "a")
	s.OnActivity(s.act.Snapshot, mock.Anything, mock.Anything).Return(contract.SnapshotReply{}, nil).After(time.Minute).Once()
	got := s.asksTurn(0, contract.SnapshotTurn, scheduledTurn)
	s.sends(30*time.Second, crash("1"))
	later := s.asksTurn(2*time.Minute, contract.SnapshotTurn, scheduledTurn)
	person := s.asksTurn(2*time.Minute, contract.SnapshotPrune, contract.TurnInput{})
	looks := s.asksTurn(2*time.Minute, contract.SnapshotPrune, contract.TurnInput{DryRun: true})
	s.guard()
	require.NoError(t, got.err)
	require.Equal(t, []string{"a"}, got.Pruned)
	require.Len(t, got.NotPruned, 1)
	require.Contains(t, got.NotPruned[0].Why, "has the VM")
	require.NoError(t, later.err)
	require.Equal(t, contract.PassedBusy, later.Passed)
	require.Contains(t, later.Why, "incident/s/VM1/")
	require.ErrorContains(t, person.err, "has the VM")
	require.NoError(t, looks.err, "to look does no harm")
	require.Len(t, looks.Plan, 3)
	require.Empty(t, looks.Pruned)
}

func TestATurnOfASilentHost(t *testing.T) {
	s := guardian(t, nobody)
	silent := temporal.NewApplicationError("host A: no answer", contract.ErrTypeUnreachable)
	s.OnActivity(s.act.ScheduledSnapshot, mock.Anything, mock.Anything).Return(contract.Turn{}, silent)
	got := s.asksTurn(0, contract.SnapshotTurn, scheduledTurn)
	person := s.asksTurn(time.Minute, contract.SnapshotPrune, contract.TurnInput{})
	s.guard()
	require.NoError(t, got.err)
	require.Equal(t, contract.Turn{Failed: "host A: no answer", Unanswered: true}, got.Turn)
	require.ErrorContains(t, person.err, "host A: no answer")
}

func TestPruningStopsAtAHostThatFallsSilent(t *testing.T) {
	s := guardian(t, nobody)
	s.plans("b", "a")
	var gone []string
	s.deletes(&gone, map[string]error{"a": temporal.NewApplicationError("host A: no answer", contract.ErrTypeUnreachable)})
	got := s.asksTurn(0, contract.SnapshotTurn, scheduledTurn)
	s.guard()
	require.Equal(t, "auto-1", got.Made)
	require.Empty(t, gone)
	require.Equal(t, []contract.NotPruned{{Name: "a", Why: "host A: no answer"}}, got.NotPruned)
}

func TestTurnsThatMakeNoSense(t *testing.T) {
	s := guardian(t, nobody)
	for what, got := range map[string]*turnAnswer{
		"turn is empty":             s.asksTurn(0, contract.SnapshotTurn, scheduledTurn, func(r *contract.SnapshotRequest) { r.Turn = nil }),
		"name or schedule is empty": s.asksTurn(0, contract.SnapshotTurn, contract.TurnInput{Keep: "1h"}),
		"by is empty":               s.asksTurn(0, contract.SnapshotTurn, scheduledTurn, func(r *contract.SnapshotRequest) { r.By = "" }),
		"are for what schedules make": s.asksTurn(0, contract.SnapshotCreate, scheduledTurn, func(r *contract.SnapshotRequest) {
			r.Name = "auto-mine"
		}),
	} {
		t.Cleanup(func() { require.ErrorContains(t, got.err, what) })
	}
	s.guard()
}

// vms are so many VMs on some hosts.
func vms(n, hosts int) (out []contract.RoundVM) {
	for h := range hosts {
		for i := range n / hosts {
			out = append(out, contract.RoundVM{VM: fault.VM{UUID: fmt.Sprint(h, "-", i), Name: fmt.Sprintf("vm%d-%d", h, i)}, Host: fmt.Sprint("H", h)})
		}
	}
	return out
}

func (s site) lists(pages ...contract.RoundPage) {
	for _, p := range pages {
		p.At = began
		s.OnActivity(s.act.ListRound, mock.Anything, mock.Anything).Return(p, nil).Once()
	}
}

func (s site) round(t *testing.T, in contract.RoundInput) contract.RoundResult {
	t.Helper()
	in.Site, in.Class, in.Schedule, in.Keep = "s", "db", schedule, "4h"
	s.ExecuteWorkflow(workflows.Round, in)
	require.True(t, s.IsWorkflowCompleted())
	require.NoError(t, s.GetWorkflowError())
	var out contract.RoundResult
	require.NoError(t, s.GetWorkflowResult(&out))
	return out
}

func TestARoundCountsWhatCameOfEach(t *testing.T) {
	s := newSite(t)
	all := vms(6, 1)
	s.lists(contract.RoundPage{VMs: all, NotRunning: 3, Share: 1})
	turns := map[string]contract.Turn{
		"vm0-0": {Made: "auto-1", Pruned: []string{"a", "b"}},
		"vm0-1": {Passed: contract.PassedHeld, Why: "ann holds it"},
		"vm0-2": {Failed: "no room"},
		"vm0-3": {Made: "auto-1", NotPruned: []contract.NotPruned{{Name: "c", Why: "another lies upon it"}, {Name: "d", Why: "as well"}}},
		"vm0-4": {Passed: contract.PassedUnsupported, Why: "disk vda is a device"},
	}
	s.OnActivity(s.act.AskGuardian, mock.Anything, mock.Anything).Return(func(_ context.Context, req contract.SnapshotRequest) (contract.Turn, error) {
		require.Equal(t, "auto-20261122-080000", req.Name)
		require.Equal(t, "made by the schedule "+schedule, req.Description)
		require.Equal(t, &contract.TurnInput{Schedule: schedule, Class: "db", Keep: "4h"}, req.Turn)
		require.Equal(t, contract.SnapshotTurn, req.Verb)
		require.True(t, req.Memory)
		if turn, ok := turns[req.VM.Name]; ok {
			return turn, nil
		}
		return contract.Turn{}, stepRefused("the guardian is gone")
	})
	s.OnUpsertTypedSearchAttributes(temporal.NewSearchAttributes(contract.AttrOutcome.ValueSet(contract.RoundIncomplete))).Return(nil).Once()
	out := s.round(t, contract.RoundInput{AtOnce: 1, Memory: true})
	require.Equal(t, contract.RoundResult{
		Schedule: schedule, Began: began, Ended: out.Ended, VMs: 6, Made: 2, Passed: 2, Failed: 2, NotRunning: 3, Pruned: 2, NotPruned: 2,
		Failures: []contract.RoundNote{{VM: "vm0-2", Host: "H0", Why: "no room"}, {VM: "vm0-5", Host: "H0", Why: "the guardian is gone"}},
		Skipped: []contract.RoundNote{
			{VM: "vm0-1", Host: "H0", Passed: contract.PassedHeld, Why: "ann holds it"}, {VM: "vm0-4", Host: "H0", Passed: contract.PassedUnsupported, Why: "disk vda is a device"},
		},
		Stuck: []contract.RoundNote{{VM: "vm0-3", Host: "H0", Why: "c: another lies upon it"}},
	}, out)
}

// One VM of a host at a time, and so many hosts as the site wants.
func TestARoundIsBounded(t *testing.T) {
	s := newSite(t)
	s.lists(contract.RoundPage{VMs: vms(40, 10), Share: 1})
	now, most, on, whose := 0, 0, map[string]int{}, map[string]string{}
	s.OnActivity(s.act.AskGuardian, mock.Anything, mock.Anything).Return(func(context.Context, contract.SnapshotRequest) (contract.Turn, error) {
		return contract.Turn{Made: "auto-1"}, nil
	}).After(time.Minute)
	s.SetOnActivityStartedListener(func(info *activity.Info, _ context.Context, args converter.EncodedValues) {
		if info.ActivityType.Name != "AskGuardian" {
			return
		}
		var req contract.SnapshotRequest
		require.NoError(t, args.Get(&req))
		now++
		on[req.Host]++
		whose[info.ActivityID] = req.Host
		most = max(most, now)
		require.Equal(t, 1, on[req.Host], "one of a host")
	})
	s.SetOnActivityCompletedListener(func(info *activity.Info, _ converter.EncodedValue, _ error) {
		if info.ActivityType.Name == "AskGuardian" {
			now--
			on[whose[info.ActivityID]]--
		}
	})
	out := s.round(t, contract.RoundInput{AtOnce: 4})
	require.Equal(t, 40, out.Made)
	require.True(t, out.Complete())
	require.Equal(t, 4, most)
}

func TestARoundIsSpread(t *testing.T) {
	for name, c := range map[string]struct {
		vms          int
		spread, took time.Duration
		share        float64
	}{
		"few VMs are not drawn out": {vms: 3, spread: time.Hour, share: 1, took: 2 * 5 * time.Second},
		"many are spread":           {vms: 121, spread: 2 * time.Minute, share: 1, took: 119 * time.Second},
		"a page has its share":      {vms: 61, spread: 2 * time.Minute, share: 0.5, took: 59 * time.Second},
		"no spread":                 {vms: 20, share: 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.lists(contract.RoundPage{VMs: vms(c.vms, c.vms), Share: c.share})
			s.OnActivity(s.act.AskGuardian, mock.Anything, mock.Anything).Return(contract.Turn{Made: "auto-1"}, nil)
			out := s.round(t, contract.RoundInput{AtOnce: 64, Spread: c.spread})
			require.InDelta(t, c.took.Seconds(), out.Ended.Sub(out.Began).Seconds(), 2)
		})
	}
}

// What a host or the site did not answer makes a round incomplete, and fails none.
func TestARoundGoesOnPastASilentHost(t *testing.T) {
	s := newSite(t)
	s.lists(contract.RoundPage{VMs: vms(1, 1), Share: 1, Silent: []contract.RoundNote{{Host: "H9", Why: "no route to host"}}})
	s.OnActivity(s.act.AskGuardian, mock.Anything, mock.Anything).Return(contract.Turn{Made: "auto-1"}, nil)
	out := s.round(t, contract.RoundInput{AtOnce: 4})
	require.Equal(t, 1, out.Made)
	require.False(t, out.Complete())
	require.Equal(t, []contract.RoundNote{{Host: "H9", Why: "no route to host"}}, out.Silent)
}

// A guardian that cannot be asked is asked again: a worker may just be restarting.
func TestARoundAsksAgain(t *testing.T) {
	s := newSite(t)
	s.lists(contract.RoundPage{VMs: vms(1, 1), Share: 1})
	away := temporal.NewApplicationError("host H0: no answer", contract.ErrTypeUnreachable)
	s.OnActivity(s.act.AskGuardian, mock.Anything, mock.Anything).Return(contract.Turn{}, away).Times(2)
	s.OnActivity(s.act.AskGuardian, mock.Anything, mock.Anything).Return(contract.Turn{Made: "auto-1"}, nil).Once()
	require.Equal(t, 1, s.round(t, contract.RoundInput{AtOnce: 4}).Made)
}

func TestARoundContinuesAsNewWithWhatItHas(t *testing.T) {
	s := newSite(t)
	next := &contract.RoundCursor{Host: 7, After: "x"}
	s.lists(contract.RoundPage{VMs: vms(2, 1), Share: 0.5, Next: next})
	s.OnActivity(s.act.AskGuardian, mock.Anything, mock.Anything).Return(contract.Turn{Made: "auto-1"}, nil)
	first := contract.RoundInput{Site: "s", Class: "db", Schedule: schedule, Keep: "4h", AtOnce: 2}
	s.ExecuteWorkflow(workflows.Round, first)
	var again *workflow.ContinueAsNewError
	require.ErrorAs(t, s.GetWorkflowError(), &again)
	var in contract.RoundInput
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(again.Input, &in))
	require.Equal(t, *next, in.On.From)
	require.Equal(t, 2, in.On.SoFar.Made)
	require.Equal(t, began, in.On.SoFar.Began)

	s = newSite(t)
	s.OnActivity(s.act.ListRound, mock.Anything, contract.RoundPageInput{Class: "db", From: *next, Most: 200}).Return(contract.RoundPage{At: began}, nil).Once()
	s.ExecuteWorkflow(workflows.Round, in)
	require.NoError(t, s.GetWorkflowError())
	var out contract.RoundResult
	require.NoError(t, s.GetWorkflowResult(&out))
	require.Equal(t, 2, out.Made)
}

// Its lists are bounded, however many VMs there are.
func TestARoundsResultIsSmall(t *testing.T) {
	s := newSite(t)
	s.lists(contract.RoundPage{VMs: vms(120, 120), Share: 1})
	s.OnActivity(s.act.AskGuardian, mock.Anything, mock.Anything).Return(contract.Turn{Failed: "no room"}, nil)
	out := s.round(t, contract.RoundInput{AtOnce: 64})
	require.Equal(t, 120, out.Failed)
	require.Len(t, out.Failures, 50)
}

func TestARoundThatCannotBeListedFails(t *testing.T) {
	s := newSite(t)
	s.OnActivity(s.act.ListRound, mock.Anything, mock.Anything).Return(contract.RoundPage{}, temporal.NewNonRetryableApplicationError("no snapshots in its site file", contract.ErrTypeBadInput, nil))
	s.ExecuteWorkflow(workflows.Round, contract.RoundInput{Site: "s", Schedule: schedule, AtOnce: 1})
	require.ErrorContains(t, s.GetWorkflowError(), "no snapshots in its site file")
}

// A turn of a schedule that tries snapshots.
func TestATurnTriesTheNewest(t *testing.T) {
	verifies := contract.TurnInput{Schedule: "verify-" + schedule, Class: "db", Verify: true}
	for name, c := range map[string]struct {
		found   contract.Turn
		booted  bool
		want    contract.Turn
		refused bool
	}{
		"boots":         {found: contract.Turn{Newest: "auto-9"}, booted: true, want: contract.Turn{Newest: "auto-9", Verified: "auto-9", Note: "what was seen"}},
		"does not":      {found: contract.Turn{Newest: "auto-9"}, want: contract.Turn{Newest: "auto-9", Failed: "snapshot auto-9 does not boot: what was seen"}},
		"cannot":        {found: contract.Turn{Newest: "auto-9"}, refused: true, want: contract.Turn{Newest: "auto-9", Failed: "no memory for it"}},
		"there is none": {found: contract.Turn{Passed: contract.PassedNothing, Why: "none"}, want: contract.Turn{Passed: contract.PassedNothing, Why: "none"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := guardian(t, nobody)
			s.OnActivity(s.act.ScheduledSnapshot, mock.Anything, mock.Anything).Return(c.found, nil).Once()
			if c.found.Newest != "" {
				s.OnActivity(s.act.Trial, mock.Anything, mock.Anything).Return(func(_ context.Context, in contract.TrialInput) (contract.TrialResult, error) {
					require.Equal(t, "auto-9", in.Snapshot)
					if c.refused {
						return contract.TrialResult{}, stepRefused("no memory for it")
					}
					return contract.TrialResult{Booted: c.booted, Why: "what was seen"}, nil
				}).Once()
			}
			got := s.asksTurn(0, contract.SnapshotTurn, verifies)
			s.guard()
			require.NoError(t, got.err)
			require.Equal(t, c.want, got.Turn)
		})
	}
}
