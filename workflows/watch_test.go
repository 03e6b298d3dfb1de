package workflows_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/ladder"
	"holdfast/workflows"
)

func hung(id string) fault.Fault {
	return fault.Fault{ID: id, Kind: fault.KindHung, Site: "s", VM: vm1, Host: "A", First: began, Last: began, Reporter: "mon1", Why: "VM1 hangs on A"}
}

// watching is an inspection of a site that wants nothing but a person for the fault.
func watching(state, reason string) contract.Inspection {
	found := inspection(state, reason)
	found.Policy.Ladder = []ladder.Rung{ladder.RungPerson}
	return found
}

func (s site) watches(t *testing.T, f fault.Fault) contract.Incident {
	s.ExecuteWorkflow(workflows.RecoverVM, contract.RecoverInput{ID: "incident/s/VM1/1", Fault: f})
	return s.incident(t)
}

func TestAWatchedFaultClosesWhenItIsOver(t *testing.T) {
	s := newSite(t)
	s.touchesNothing(t)
	s.inspects(watching("running", "booted"))
	s.at(t, time.Minute, func(inc contract.Incident) {
		require.Equal(t, contract.StageWatch, inc.Stage)
		require.True(t, inc.NeedsPerson)
		require.Contains(t, inc.Why, "VM1 hangs on A: the policy wants nothing but a person to mend this")
	})
	s.asksFor(2 * time.Minute)
	s.clears(3*time.Minute, "another")
	s.clears(4*time.Minute, "1")
	inc := s.watches(t, hung("1"))
	require.Equal(t, contract.OutcomeCleared, inc.Outcome, story(inc))
	require.False(t, inc.NeedsPerson)
	require.Empty(t, inc.Attempts)
	require.GreaterOrEqual(t, inc.Closed.Sub(began), 4*time.Minute)
	require.Contains(t, story(inc), "ann asked for the repair: go on\nnothing could be tried: A: running (booted)")
	require.Contains(t, story(inc), "watches: VM1 hangs on A")
	require.Contains(t, story(inc), "(A: running (booted))")
}

func TestAWatchedFaultStandsDown(t *testing.T) {
	s := newSite(t)
	s.touchesNothing(t)
	s.inspects(watching("running", "booted"), inspection("shut off", "destroyed"))
	inc := s.watches(t, hung("1"))
	require.Equal(t, contract.OutcomeStoodDown, inc.Outcome, story(inc))
}

// A VM that hung and then dies is started again by the same incident.
func TestACrashTakesAWatchedFaultOver(t *testing.T) {
	s := newSite(t)
	s.inspects(watching("running", "booted"), inspection("shut off", "crashed"))
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{At: began}, nil).Once()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil).Once()
	died := crash("2")
	died.First = began.Add(10 * time.Second)
	s.sends(10*time.Second, died)
	inc := s.watches(t, hung("1"))
	require.Equal(t, contract.OutcomeRecovered, inc.Outcome, story(inc))
	require.Equal(t, fault.KindCrashed, inc.Fault.Kind)
	require.Equal(t, "2", inc.Fault.ID)
	require.Equal(t, died.First, inc.Fault.First, "its time to repair counts from the crash")
	require.Len(t, inc.Also, 1)
	require.Equal(t, fault.KindHung, inc.Also[0].Kind)
	require.Equal(t, 1, inc.More)
}

// The monitor says that the old fault is over right before it says the new one.
func TestACrashRightAfterTheWatchedFaultIsOver(t *testing.T) {
	s := newSite(t)
	s.inspects(watching("running", "booted"), inspection("shut off", "crashed"))
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{At: began}, nil).Once()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil).Once()
	s.clears(10*time.Second, "1")
	s.sends(11*time.Second, crash("2"))
	inc := s.watches(t, hung("1"))
	require.Equal(t, contract.OutcomeRecovered, inc.Outcome, story(inc))
	require.Empty(t, inc.Also)
}

func TestAWatchedFaultNeverTakesARepairOver(t *testing.T) {
	s := newSite(t)
	s.inspects(inspection("shut off", "failed"))
	failed := temporal.NewNonRetryableApplicationError("no disk", contract.ErrTypeStartFailed, nil)
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{}, failed).Times(2)
	s.OnActivity(s.act.StopRemains, mock.Anything, mock.Anything).Return(contract.StopRemainsResult{}, nil)
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{At: began}, nil).Once()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil).Once()
	f := crash("1")
	f.Kind = fault.KindPanicked // of the same severity
	s.sends(50*time.Millisecond, hung("2"))
	s.ExecuteWorkflow(workflows.RecoverVM, contract.RecoverInput{ID: "i", Fault: f})
	inc := s.incident(t)
	require.Equal(t, contract.OutcomeRecovered, inc.Outcome, story(inc))
	require.Equal(t, fault.KindPanicked, inc.Fault.Kind)
	require.Len(t, inc.Also, 1)
}

// Two monitors, and another trouble beside: open until the last word is said.
func TestAWatchedFaultAmongOthers(t *testing.T) {
	s := newSite(t)
	s.touchesNothing(t)
	s.inspects(watching("running", "booted"))
	alert := hung("3")
	alert.Kind, alert.Why = fault.KindAlert, "GuestDown fires"
	s.sends(10*time.Second, hung("2"))
	s.sends(20*time.Second, alert)
	s.clears(time.Minute, "2")
	s.at(t, 2*time.Minute, func(inc contract.Incident) {
		require.Equal(t, fault.KindHung, inc.Fault.Kind, story(inc))
		require.Len(t, inc.Also, 1)
	})
	s.clears(3*time.Minute, "1")
	s.at(t, 4*time.Minute, func(inc contract.Incident) {
		require.Equal(t, fault.KindAlert, inc.Fault.Kind, story(inc))
		require.Empty(t, inc.Also)
		require.Contains(t, inc.Why, "GuestDown fires: the policy wants nothing but a person to mend this")
	})
	s.clears(5*time.Minute, "3")
	inc := s.watches(t, hung("1"))
	require.Equal(t, contract.OutcomeCleared, inc.Outcome, story(inc))
	require.Equal(t, 2, inc.More)
}

// What is said again brings newer evidence, and keeps the incident open.
func TestAWatchedFaultIsSaidAgain(t *testing.T) {
	s := newSite(t)
	s.touchesNothing(t)
	s.inspects(watching("running", "booted"))
	for i := range 10 {
		f := hung("1")
		f.Evidence = []fault.Evidence{{What: "statistics", Value: "missing", At: began}}
		f.Last = began.Add(time.Duration(i) * 5 * time.Minute)
		s.sends(time.Duration(i)*5*time.Minute, f)
	}
	s.clears(50*time.Minute, "1")
	inc := s.watches(t, hung("1"))
	require.Equal(t, contract.OutcomeCleared, inc.Outcome, story(inc))
	require.Zero(t, inc.More)
	require.Equal(t, began.Add(45*time.Minute), inc.Fault.Last)
	require.Equal(t, began, inc.Fault.First)
	require.Len(t, inc.Fault.Evidence, 1)
	require.Len(t, inc.Timeline, 3, story(inc))
}

// Nobody ever says that the fault of a monitor which is gone is over: another
// one is asked, and believed if it has watched for long.
func TestAFaultThatNobodySaysAnyMore(t *testing.T) {
	s := newSite(t)
	s.touchesNothing(t)
	s.inspects(watching("running", "booted"))
	nobody := temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_SCHEDULE_TO_START, nil)
	sees := func(began, at time.Time, f ...fault.Fault) contract.FaultsResult {
		return contract.FaultsResult{Site: "s", Monitor: "mon2", Began: began, At: at, Faults: f}
	}
	other := hung("9")
	other.Evidence = []fault.Evidence{{What: "statistics", Value: "missing", At: began}}
	want := contract.FaultsInput{Site: "s", Slot: "vm/" + vm1.UUID}
	s.OnActivity(s.asks.Faults, mock.Anything, want).Return(contract.FaultsResult{}, nobody).Once()
	s.OnActivity(s.asks.Faults, mock.Anything, want).Return(sees(began, began.Add(time.Minute)), nil).Once()
	s.OnActivity(s.asks.Faults, mock.Anything, want).Return(sees(began, began.Add(time.Hour), other), nil).Once()
	s.OnActivity(s.asks.Faults, mock.Anything, want).Return(sees(began, began.Add(2*time.Hour)), nil).Once()
	inc := s.watches(t, hung("1"))
	require.Equal(t, contract.OutcomeCleared, inc.Outcome, story(inc))
	require.Contains(t, inc.Why, "and mon2 does not see it any more")
	require.Contains(t, story(inc), "no monitor of site s answers: is `holdfast monitor` running?")
	require.Contains(t, story(inc), "mon2 does not see it, but has not watched for long")
	require.Equal(t, "1", inc.Fault.ID)
	require.Len(t, inc.Fault.Evidence, 1, "what the other monitor sees")
}

func TestAWatchedFaultInObserveModeCallsNobody(t *testing.T) {
	s := newSite(t)
	s.touchesNothing(t)
	seen := observing("running", "booted")
	seen.Policy.Ladder = []ladder.Rung{ladder.RungPerson}
	s.inspects(seen)
	s.at(t, time.Minute, func(inc contract.Incident) { require.False(t, inc.NeedsPerson) })
	s.clears(2*time.Minute, "1")
	require.Equal(t, contract.OutcomeCleared, s.watches(t, hung("1")).Outcome)
}

func TestAWatchedFaultContinuesAsNew(t *testing.T) {
	s := newSite(t)
	s.SetContinueAsNewSuggested(true)
	s.inspects(watching("running", "booted"))
	s.ExecuteWorkflow(workflows.RecoverVM, contract.RecoverInput{ID: "i", Fault: hung("1")})
	var again *workflow.ContinueAsNewError
	require.ErrorAs(t, s.GetWorkflowError(), &again)
}

// What nothing can be done about does not keep a person from having a VM started.
func TestAPersonStartsAVMWhoseFaultIsWatched(t *testing.T) {
	s := newSite(t)
	s.inspects(observing("shut off", "unknown"))
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{At: began}, nil).Once()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil).Once()
	s.asksFor(time.Minute)
	f := hung("1")
	f.Kind, f.Why = fault.KindAlert, "GuestDown fires"
	inc := s.watches(t, f)
	require.Equal(t, contract.OutcomeRecovered, inc.Outcome, story(inc))
	require.GreaterOrEqual(t, inc.Closed.Sub(began), time.Minute)
}

// The labels and the annotated mode of the VM decide the policy.
func TestInspectIsToldWhoseTheVMIs(t *testing.T) {
	s := newSite(t)
	f := crash("1")
	f.Labels, f.Mode = map[string]string{"tier": "db"}, "observe"
	var asked contract.PolicyInput
	s.OnActivity(s.act.Inspect, mock.Anything, mock.Anything).Return(func(_ context.Context, in contract.InspectInput) (contract.Inspection, error) {
		asked = in.PolicyInput
		return inspection("shut off", "destroyed"), nil
	})
	s.watches(t, f)
	require.Equal(t, contract.PolicyInput{Kind: fault.KindCrashed, Labels: f.Labels, Mode: "observe"}, asked)
}
