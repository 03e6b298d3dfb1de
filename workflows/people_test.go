package workflows_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/ladder"
	"holdfast/internal/proof"
	"holdfast/workflows"
)

// answer is what an incident said to a person.
type answer struct {
	said string
	err  error
}

// tells has a person tell the incident something.
func (s site) tells(after time.Duration, a contract.Act) *answer {
	got := &answer{err: errors.New("not answered")}
	s.RegisterDelayedCallback(func() {
		s.UpdateWorkflow(string(a.Verb), "", &testsuite.TestUpdateCallback{
			OnAccept: func() {},
			OnReject: func(err error) { got.err = err },
			OnComplete: func(v any, err error) {
				got.err = err
				if reply, ok := v.(contract.ActReply); ok {
					got.said = reply.Said
				}
			},
		}, a)
	}, after)
	return got
}

func act(verb contract.Verb, by string) contract.Act {
	return contract.Act{Verb: verb, By: by, Why: "because"}
}

// asking is a VM that panicked, at a site that wants a reset approved.
func asking() contract.Inspection {
	found := inspection("crashed", "panicked")
	found.Policy.Approval = []ladder.Rung{ladder.RungReset}
	return found
}

func (s site) resets() {
	s.OnActivity(s.act.Reset, mock.Anything, mock.Anything).Return(contract.StepResult{At: began}, nil).Once()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil).Once()
}

func (s site) restarts() {
	s.OnActivity(s.act.StopRemains, mock.Anything, mock.Anything).Return(contract.StopRemainsResult{Stopped: true}, nil)
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{At: began}, nil).Once()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil).Once()
}

func TestNothingIsDoneBeforeItIsApproved(t *testing.T) {
	s := newSite(t)
	s.inspects(asking())
	s.resets()
	s.at(t, time.Hour, func(inc contract.Incident) {
		require.True(t, inc.NeedsPerson)
		require.Equal(t, ladder.RungReset, inc.Proposal.Rung)
		require.Contains(t, inc.Next, "holdfast incident approve incident/s/VM1/1")
		require.Empty(t, inc.Attempts)
	})
	nobody := s.tells(2*time.Hour, contract.Act{Verb: contract.VerbApprove, Why: "x"})
	noReason := s.tells(2*time.Hour, contract.Act{Verb: contract.VerbApprove, By: "ann"})
	wrong := act(contract.VerbApprove, "ann")
	wrong.Rung = "hammer"
	noRung := s.tells(2*time.Hour, wrong)
	resumed := s.tells(2*time.Hour, act(contract.VerbResume, "ann"))
	first := s.tells(3*time.Hour, act(contract.VerbApprove, "ann"))
	second := s.tells(3*time.Hour, act(contract.VerbApprove, "bob"))
	inc := s.mends(t, fault.KindPanicked)
	require.Equal(t, contract.OutcomeRecovered, inc.Outcome, story(inc))
	require.ErrorContains(t, nobody.err, "say who it is")
	require.ErrorContains(t, noReason.err, "no reason is given")
	require.ErrorContains(t, noRung.err, `"hammer" is no rung`)
	require.ErrorContains(t, resumed.err, "it is not held")
	require.NoError(t, first.err)
	require.Equal(t, "climbs reset now", first.said)
	require.ErrorContains(t, second.err, "nothing waits for approval")
	require.ErrorContains(t, second.err, "ann approved reset at 11:00:00 UTC: because")
	require.Len(t, inc.Acts, 1)
	require.Contains(t, story(inc), "ann approved reset: because")
}

func TestWhatIsRejectedIsPassedOver(t *testing.T) {
	s := newSite(t)
	s.inspects(asking())
	s.restarts()
	s.tells(time.Minute, act(contract.VerbReject, "ann"))
	inc := s.mends(t, fault.KindPanicked)
	require.Equal(t, []ladder.Rung{ladder.RungRestart}, rungs(inc), story(inc))
	require.Contains(t, story(inc), "turned down reset: ann rejected it: because")
}

func TestAnotherRungCanBeApproved(t *testing.T) {
	s := newSite(t)
	s.inspects(asking())
	s.restarts()
	a := act(contract.VerbApprove, "ann")
	a.Rung = ladder.RungRestart
	got := s.tells(time.Minute, a)
	inc := s.mends(t, fault.KindPanicked)
	require.Equal(t, "climbs restart now, instead of reset", got.said)
	require.Equal(t, []ladder.Rung{ladder.RungRestart}, rungs(inc), story(inc))
}

func TestAnApprovalThatNobodyGives(t *testing.T) {
	for then, want := range map[ladder.Fallback]ladder.Rung{ladder.FallbackApprove: ladder.RungReset, ladder.FallbackReject: ladder.RungRestart} {
		s := newSite(t)
		found := asking()
		found.Policy.ApprovalTimeout, found.Policy.ApprovalThen = 10*time.Minute, then
		s.inspects(found)
		if want == ladder.RungReset {
			s.resets()
		} else {
			s.restarts()
		}
		inc := s.mends(t, fault.KindPanicked)
		require.Equal(t, []ladder.Rung{want}, rungs(inc), story(inc))
		require.Contains(t, story(inc), "nobody answered within 10m0s: the policy says "+string(then))
		require.Equal(t, 10*time.Minute, inc.Attempts[0].Began.Sub(began).Truncate(time.Minute))
	}
	s := newSite(t)
	found := asking()
	found.Policy.ApprovalTimeout = 10 * time.Minute
	s.inspects(found)
	s.resets()
	s.at(t, time.Hour, func(inc contract.Incident) { require.True(t, inc.Proposal.Escalated) })
	s.tells(2*time.Hour, act(contract.VerbApprove, "ann"))
	require.Contains(t, story(s.mends(t, fault.KindPanicked)), "the policy says escalate")
}

func TestAnIncidentCanBeHeldAndResumed(t *testing.T) {
	s := newSite(t)
	dead := inspection("shut off", "crashed")
	dead.Policy.BackoffInitial = time.Minute
	s.inspects(dead)
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{At: began}, nil).Twice()
	s.OnActivity(s.act.StopRemains, mock.Anything, mock.Anything).Return(contract.StopRemainsResult{}, nil)
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("shut off", "failed"), nil).Once()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil).Once()
	s.tells(10*time.Second, act(contract.VerbHold, "ann"))
	again := s.tells(20*time.Second, act(contract.VerbHold, "bob"))
	s.at(t, time.Hour, func(inc contract.Incident) {
		require.Equal(t, contract.StageHeld, inc.Stage)
		require.Len(t, inc.Attempts, 1)
		require.Contains(t, inc.Why, "ann holds this incident: because")
	})
	s.tells(2*time.Hour, act(contract.VerbResume, "ann"))
	inc := s.mends(t, fault.KindCrashed)
	require.ErrorContains(t, again.err, "held already: ann holds this incident")
	require.Equal(t, contract.OutcomeRecovered, inc.Outcome, story(inc))
}

func TestAVMThatIsHeldIsLeftAlone(t *testing.T) {
	s := newSite(t)
	s.touchesNothing(t)
	dead := inspection("shut off", "crashed")
	dead.Policy.Held = "ann holds it"
	s.inspects(dead)
	s.at(t, time.Hour, func(inc contract.Incident) { require.Equal(t, contract.StageHeld, inc.Stage) })
	s.clears(2*time.Hour, "1")
	inc := s.mends(t, fault.KindCrashed)
	require.Equal(t, contract.OutcomeCleared, inc.Outcome, story(inc))
}

func TestAnIncidentIsCancelledInOrder(t *testing.T) {
	s := newSite(t)
	s.inspects(inspection("shut off", "crashed"))
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{At: began}, nil).Once()
	s.OnActivity(s.act.StopRemains, mock.Anything, mock.Anything).Return(contract.StopRemainsResult{}, nil).Once()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil).After(time.Hour)
	s.tells(time.Minute, act(contract.VerbCancel, "ann"))
	inc := s.mends(t, fault.KindCrashed)
	require.Equal(t, contract.OutcomeCancelled, inc.Outcome, story(inc))
	require.Equal(t, "ann cancelled it: because", inc.Why)
}

func TestAPersonWhoIsAwaitedCanSayRetry(t *testing.T) {
	s := newSite(t)
	found := asking()
	found.Policy.MaxFailures = 1
	s.inspects(found)
	s.tells(time.Minute, act(contract.VerbReject, "ann"))
	s.OnActivity(s.act.StopRemains, mock.Anything, mock.Anything).Return(contract.StopRemainsResult{Stopped: true}, nil)
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{At: began}, nil).Once()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("shut off", "failed"), nil).Once()
	s.at(t, time.Hour, func(inc contract.Incident) {
		require.True(t, inc.NeedsPerson)
		require.Nil(t, inc.Proposal)
	})
	busy := s.tells(time.Second, contract.Act{Verb: contract.VerbRetry, By: "bob"})
	s.tells(2*time.Hour, contract.Act{Verb: contract.VerbRetry, By: "ann"})
	s.tells(3*time.Hour, act(contract.VerbApprove, "ann")) // it was rejected for the last time
	s.OnActivity(s.act.Reset, mock.Anything, mock.Anything).Return(contract.StepResult{At: began}, nil).Once()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil).Once()
	inc := s.mends(t, fault.KindPanicked)
	require.NoError(t, busy.err, "it waits for approval")
	require.Equal(t, contract.OutcomeRecovered, inc.Outcome, story(inc))
}

// An answer may take longer than failures count: what was tried before is not tried
// anew meanwhile, and what the policy says about nobody answering is done.
func TestAnApprovalMayTakeLongerThanTheWindow(t *testing.T) {
	s := newSite(t)
	found := inspection("shut off", "crashed")
	found.Policy.MaxFailures, found.Policy.Window = 1, time.Minute
	found.Policy.ApprovalTimeout, found.Policy.ApprovalThen = time.Hour, ladder.FallbackApprove
	s.inspects(found)
	s.stock(ladder.Stock{Snapshot: "nightly", SnapshotAt: began})
	var did []string
	s.done(&did)
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{}, temporal.NewNonRetryableApplicationError("no boot", contract.ErrTypeStartFailed, nil)).Once()
	s.OnActivity(s.act.Revert, mock.Anything, mock.Anything).Return(contract.RevertResult{At: began, Running: true}, nil).Once()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil).Once()
	inc := s.mends(t, fault.KindCrashed)
	require.Equal(t, contract.OutcomeRecovered, inc.Outcome, story(inc))
	require.Equal(t, []ladder.Rung{ladder.RungRestart, ladder.RungSnapshot}, rungs(inc), story(inc))
	require.Contains(t, story(inc), "nobody answered within 1h0m0s: the policy says approve")
}

// An incident that waits with something to undo does not wait in one history for ever.
func TestWhatIsToBeUndoneIsTakenAlong(t *testing.T) {
	s := newSite(t)
	silent := inspection("shut off", "crashed")
	silent.Answers[0] = proof.Answer{Sighting: fault.Sighting{Host: "A", At: began}, Error: "no route"}
	s.inspects(inspection("shut off", "crashed"), silent)
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{}, temporal.NewNonRetryableApplicationError("no answer", contract.ErrTypeUnreachable, nil)).Once()
	s.RegisterDelayedCallback(func() { s.SetContinueAsNewSuggested(true) }, time.Hour)
	s.ExecuteWorkflow(workflows.RecoverVM, contract.RecoverInput{ID: "incident/s/VM1/1", Fault: crash("1")})
	var again *workflow.ContinueAsNewError
	require.ErrorAs(t, s.GetWorkflowError(), &again)
	var in contract.RecoverInput
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(again.Input, &in))
	require.Equal(t, []contract.Undo{{Rung: ladder.RungRestart, Host: "A"}}, in.Undo)
}

// What was approved is one snapshot. If it is gone by then, an older one is asked for.
func TestAnApprovalIsForOneSnapshot(t *testing.T) {
	s := newSite(t)
	found := inspection("shut off", "crashed")
	found.Policy.MaxFailures, found.Policy.Window = 1, 24*time.Hour
	s.inspects(found)
	*s.stocked = true
	var did []string
	s.done(&did)
	gone := false
	s.OnActivity(s.act.Stock, mock.Anything, mock.Anything).Return(func(_ context.Context, in contract.StockInput) (ladder.Stock, error) {
		switch {
		case gone && in.Name == "nightly":
			return ladder.Stock{SnapshotWhy: "there is no nightly"}, nil
		case gone:
			return ladder.Stock{Snapshot: "weekly", SnapshotAt: began}, nil
		}
		return ladder.Stock{Snapshot: "nightly", SnapshotAt: began}, nil
	})
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{}, temporal.NewNonRetryableApplicationError("no boot", contract.ErrTypeStartFailed, nil)).Once()
	s.at(t, time.Hour, func(inc contract.Incident) {
		require.Equal(t, "nightly", inc.Proposal.From)
		gone = true
	})
	s.tells(time.Hour+time.Second, act(contract.VerbApprove, "ann"))
	s.at(t, 2*time.Hour, func(inc contract.Incident) {
		require.NotNil(t, inc.Proposal, story(inc))
		require.Equal(t, "weekly", inc.Proposal.From)
		require.Contains(t, story(inc), "turned down snapshot: there is no nightly")
	})
	s.tells(3*time.Hour, act(contract.VerbCancel, "ann"))
	require.Equal(t, contract.OutcomeCancelled, s.mends(t, fault.KindCrashed).Outcome)
}
