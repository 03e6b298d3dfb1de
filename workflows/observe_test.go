package workflows_test

import (
	"context"
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

// observing is an inspection at a site in observe mode.
func observing(state, reason string) contract.Inspection {
	i := inspection(state, reason)
	i.Policy.Observe, i.Policy.ObserveWhy = true, "the site file"
	return i
}

// touchesNothing fails the test if anything is done to the VM.
func (s site) touchesNothing(t *testing.T) {
	s.SetOnActivityStartedListener(func(info *activity.Info, _ context.Context, _ converter.EncodedValues) {
		require.Contains(t, []string{"Inspect", "Verify", "Faults", "Policy"}, info.ActivityType.Name, "touches the VM")
	})
}

// at looks at the incident while it is open.
func (s site) at(t *testing.T, after time.Duration, look func(contract.Incident)) {
	s.RegisterDelayedCallback(func() {
		value, err := s.QueryWorkflow(contract.QueryIncident)
		require.NoError(t, err)
		var inc contract.Incident
		require.NoError(t, value.Get(&inc))
		look(inc)
	}, after)
}

func (s site) clears(after time.Duration, id string) {
	s.RegisterDelayedCallback(func() {
		s.SignalWorkflow(contract.SignalCleared, contract.Cleared{FaultID: id, Seen: fault.Sighting{Host: "A", State: "running", Reason: "booted"}})
	}, after)
}

func (s site) asksFor(after time.Duration) {
	s.RegisterDelayedCallback(func() {
		s.SignalWorkflow(contract.SignalRetry, contract.Retry{By: "ann", Why: "go on"})
	}, after)
}

// answered takes what an update answers.
func answered(t *testing.T, take func(any)) *testsuite.TestUpdateCallback {
	return &testsuite.TestUpdateCallback{
		OnAccept: func() {},
		OnReject: func(err error) { require.NoError(t, err) },
		OnComplete: func(v any, err error) {
			require.NoError(t, err)
			take(v)
		},
	}
}

// incident is what came of it.
func (s site) incident(t *testing.T) contract.Incident {
	require.True(t, s.IsWorkflowCompleted())
	require.NoError(t, s.GetWorkflowError())
	var inc contract.Incident
	require.NoError(t, s.GetWorkflowResult(&inc))
	return inc
}

func TestObserveModeSaysAndTouchesNothing(t *testing.T) {
	s := newSite(t)
	s.touchesNothing(t)
	s.inspects(observing("shut off", "crashed"), observing("shut off", "crashed"), observing("shut off", "crashed"), observing("running", "booted"))
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil).Once()
	s.at(t, 10*time.Second, func(inc contract.Incident) {
		require.Equal(t, contract.StageObserve, inc.Stage)
		require.False(t, inc.NeedsPerson)
		require.Equal(t, "would restart VM1 on A because: VM1 crashed on A; observe mode: the site file", inc.Why)
		require.Contains(t, inc.Next, "`holdfast recover VM1` has it done")
	})
	inc := s.recover(t)
	require.Equal(t, contract.OutcomeCleared, inc.Outcome, story(inc))
	require.Empty(t, inc.Attempts)
	require.Len(t, inc.Timeline, 4, "said once, however often it looks: %s", story(inc))
}

func TestObserveModeStandsDown(t *testing.T) {
	s := newSite(t)
	s.touchesNothing(t)
	s.inspects(observing("crashed", "panicked"), observing("shut off", "destroyed"))
	require.Equal(t, contract.OutcomeStoodDown, s.recover(t).Outcome)
}

// What would call a person is said, and nobody is called.
func TestObserveModeCallsNobody(t *testing.T) {
	s := newSite(t)
	s.touchesNothing(t)
	s.inspects(observing("pmsuspended", "disk"))
	s.at(t, 10*time.Second, func(inc contract.Incident) {
		require.False(t, inc.NeedsPerson)
		require.Contains(t, inc.Why, "would stop and ask a person: VM1 is pmsuspended (disk) on A")
	})
	s.clears(20*time.Second, "1")
	inc := s.recover(t)
	require.Equal(t, contract.OutcomeCleared, inc.Outcome, story(inc))
	require.Equal(t, "it is over, as seen: A: running (booted)", inc.Why)
}

func TestAPersonIsObeyedInObserveMode(t *testing.T) {
	s := newSite(t)
	s.inspects(observing("shut off", "crashed"))
	s.asksFor(10 * time.Second)
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{At: began}, nil).Once()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil).Once()
	inc := s.recover(t)
	require.Equal(t, contract.OutcomeRecovered, inc.Outcome, story(inc))
	require.Contains(t, story(inc), "ann asked for the repair, which is intent in observe mode too: go on")
}

func TestARequestActsInObserveMode(t *testing.T) {
	s := newSite(t)
	s.inspects(observing("shut off", "destroyed"))
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{}, temporal.NewNonRetryableApplicationError("no disk", contract.ErrTypeStartFailed, nil)).Once()
	s.OnActivity(s.act.StopRemains, mock.Anything, mock.Anything).Return(contract.StopRemainsResult{}, nil).Once()
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{At: began}, nil).Once()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil).Once()
	f := crash("1")
	f.Kind, f.Why = fault.KindRequested, "ann asked for a recovery"
	// A fault of the same VM takes the request's place and not its intent.
	s.sends(10*time.Millisecond, crash("2"))
	s.ExecuteWorkflow(workflows.RecoverVM, contract.RecoverInput{ID: "i", Fault: f})
	inc := s.incident(t)
	require.Equal(t, contract.OutcomeRecovered, inc.Outcome, story(inc))
	require.Equal(t, fault.KindCrashed, inc.Fault.Kind)
}

func TestObserveModeContinuesAsNew(t *testing.T) {
	s := newSite(t)
	s.touchesNothing(t)
	s.SetContinueAsNewSuggested(true)
	s.inspects(observing("shut off", "crashed"))
	s.ExecuteWorkflow(workflows.RecoverVM, contract.RecoverInput{ID: "i", Fault: crash("1")})
	var again *workflow.ContinueAsNewError
	require.ErrorAs(t, s.GetWorkflowError(), &again)
}

// The guardian says that a request to an incident in observe mode has it act.
func TestGuardianKnowsWhatARequestDoes(t *testing.T) {
	for name, c := range map[string]struct {
		status contract.Status
		want   contract.RecoverReply
	}{
		"needs a person": {contract.Status{NeedsPerson: true}, contract.RecoverReply{Already: true, Retrying: true}},
		"observes":       {contract.Status{Observes: true}, contract.RecoverReply{Already: true, Retrying: true}},
		"watches":        {contract.Status{Watches: true, NeedsPerson: true}, contract.RecoverReply{Already: true, Watching: true}},
		"is at work":     {contract.Status{}, contract.RecoverReply{Already: true}},
	} {
		t.Run(name, func(t *testing.T) {
			var id string
			s := guardian(t, func(ctx workflow.Context, in contract.RecoverInput) (contract.Incident, error) {
				id, c.status.ID = in.ID, in.ID
				return contract.Incident{ID: in.ID}, workflow.Sleep(ctx, time.Minute)
			})
			s.sends(0, crash("1"))
			s.RegisterDelayedCallback(func() { s.SignalWorkflow(contract.SignalStatus, c.status) }, time.Second)
			var reply contract.RecoverReply
			req := contract.RecoverRequest{Site: "s", VM: vm1, By: "ann"}
			s.RegisterDelayedCallback(func() {
				s.UpdateWorkflow(contract.UpdateRecover, "1", answered(t, func(v any) { reply = v.(contract.RecoverReply) }), req)
			}, 2*time.Second)
			s.guard()
			c.want.IncidentID = id
			require.Equal(t, c.want, reply)
		})
	}
}
