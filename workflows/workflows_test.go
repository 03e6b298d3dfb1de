package workflows_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"holdfast/activities"
	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/ladder"
	"holdfast/internal/proof"
	"holdfast/workflows"
)

var vm1 = fault.VM{UUID: "11111111-1111-1111-1111-111111111111", Name: "VM1"}

var began = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

func crash(id string) fault.Fault {
	return fault.Fault{ID: id, Kind: fault.KindCrashed, Site: "s", VM: vm1, Host: "A", First: began, Last: began, Reporter: "test", Why: "VM1 crashed on A"}
}

func policy() ladder.Policy {
	p := ladder.DefaultPolicy()
	p.BackoffInitial = 100 * time.Millisecond
	return p
}

// inspection is what hosts A and B say: A has the VM in this state.
func inspection(state, reason string) contract.Inspection {
	return contract.Inspection{Policy: policy(), At: began, Answers: []proof.Answer{
		{Sighting: fault.Sighting{Host: "A", State: state, Reason: reason, At: began}, Active: state != "shut off"},
		{Sighting: fault.Sighting{Host: "B", Absent: true, At: began}},
	}}
}

// site stands for the activities of a site.
type site struct {
	*testsuite.TestWorkflowEnvironment
	stocked *bool // stock says what there is
	placed  *bool // places says where else it could be
	act     *activities.Activities
	asks    *activities.Questions
}

func newSite(t *testing.T) site {
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestWorkflowEnvironment()
	env.SetStartTime(began)
	env.SetTestTimeout(30 * time.Second)
	// On a machine that is busy, a task that takes a second is no deadlock; taken for
	// one, the suite goes on while the task does, and the race detector finds that.
	env.SetWorkerOptions(worker.Options{DeadlockDetectionTimeout: 20 * time.Second})
	env.RegisterActivity(&activities.Activities{})
	env.RegisterActivity(&activities.Questions{})
	t.Cleanup(func() { env.AssertExpectations(t) })
	stocked, placed := new(bool), new(bool)
	s := site{TestWorkflowEnvironment: env, stocked: stocked, placed: placed}
	s.OnActivity(s.act.Places, mock.Anything, mock.MatchedBy(func(contract.PlacesInput) bool { return !*placed })).Return(ladder.Places{Why: "there is none"}, nil).Maybe()
	s.OnActivity(s.act.Stock, mock.Anything, mock.MatchedBy(func(contract.StockInput) bool { return !*stocked })).Return(ladder.Stock{}, nil).Maybe()
	s.OnActivity(s.act.GatherEvidence, mock.Anything, mock.Anything).Return(contract.EvidenceResult{}, nil).Maybe()
	return s
}

func (s site) inspects(what ...contract.Inspection) {
	for i, w := range what {
		call := s.OnActivity(s.act.Inspect, mock.Anything, mock.Anything).Return(w, nil)
		if i < len(what)-1 {
			call.Once()
		}
	}
}

func (s site) recover(t *testing.T) contract.Incident {
	s.ExecuteWorkflow(workflows.RecoverVM, contract.RecoverInput{ID: "incident/s/VM1/1", Fault: crash("1")})
	require.True(t, s.IsWorkflowCompleted())
	require.NoError(t, s.GetWorkflowError())
	var inc contract.Incident
	require.NoError(t, s.GetWorkflowResult(&inc))
	return inc
}

func verifies(state, reason string) contract.VerifyResult {
	return contract.VerifyResult{
		OK: state == "running", Active: state != "shut off", At: began.Add(time.Second),
		Found: fault.Sighting{Host: "A", State: state, Reason: reason, At: began},
	}
}

func story(inc contract.Incident) string {
	var b strings.Builder
	for _, e := range inc.Timeline {
		b.WriteString(e.Text + "\n")
	}
	return b.String()
}

func TestRecoverNoWorker(t *testing.T) {
	s := newSite(t)
	nobody := temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_SCHEDULE_TO_START, nil)
	s.OnActivity(s.act.Inspect, mock.Anything, mock.Anything).Return(contract.Inspection{}, nobody).Times(3)
	s.inspects(inspection("running", "booted"))
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil)
	s.RegisterDelayedCallback(func() {
		value, err := s.QueryWorkflow(contract.QueryIncident)
		require.NoError(t, err)
		var inc contract.Incident
		require.NoError(t, value.Get(&inc))
		require.Equal(t, contract.StageWait, inc.Stage)
		require.Contains(t, inc.Why, "start `holdfast worker` there")
	}, 500*time.Millisecond)
	require.Equal(t, contract.OutcomeCleared, s.recover(t).Outcome)
}

func TestRecoverUndoesAStartThatDidNotVerify(t *testing.T) {
	s := newSite(t)
	s.inspects(inspection("shut off", "crashed"), inspection("shut off", "destroyed"))
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{At: began}, nil).Twice()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("paused", "crashed"), nil).Once()
	s.OnActivity(s.act.StopRemains, mock.Anything, contract.StopRemainsInput{VM: vm1, Host: "A"}).Return(contract.StopRemainsResult{Stopped: true}, nil).Once()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil).Once()
	inc := s.recover(t)
	// The second look finds "destroyed": that was the undo, not a person.
	require.Equal(t, contract.OutcomeRecovered, inc.Outcome, story(inc))
	require.Len(t, inc.Attempts, 2)
	require.Equal(t, "it did not stay running: A: paused (crashed)", inc.Attempts[0].Error)
	require.True(t, inc.Attempts[1].OK)
}

func TestRecoverStandsDownWhenAPersonStopsItDuringVerification(t *testing.T) {
	for _, found := range []fault.Sighting{
		{State: "shut off", Reason: "destroyed"}, {State: "shut off", Reason: "shutdown"}, {State: "paused", Reason: "user"},
	} {
		t.Run(found.Reason, func(t *testing.T) {
			s := newSite(t)
			s.inspects(inspection("shut off", "crashed"))
			s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{At: began}, nil).Once()
			s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies(found.State, found.Reason), nil).Once()
			inc := s.recover(t) // and nothing is removed: it is theirs now
			require.Equal(t, contract.OutcomeStoodDown, inc.Outcome, story(inc))
		})
	}
}

func TestRecoverRemovesWhatIsLeftBeforeItStarts(t *testing.T) {
	s := newSite(t)
	s.inspects(inspection("crashed", "panicked"))
	var order []string
	s.OnActivity(s.act.StopRemains, mock.Anything, mock.Anything).Return(func(context.Context, contract.StopRemainsInput) (contract.StopRemainsResult, error) {
		order = append(order, "stop")
		return contract.StopRemainsResult{Stopped: true}, nil
	}).Once()
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(func(context.Context, contract.StartInput) (contract.StartResult, error) {
		order = append(order, "start")
		return contract.StartResult{At: began}, nil
	}).Once()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil)
	require.Equal(t, contract.OutcomeRecovered, s.recover(t).Outcome)
	require.Equal(t, []string{"stop", "start"}, order)
}

func TestRecoverCancelled(t *testing.T) {
	s := newSite(t)
	s.inspects(inspection("shut off", "crashed"))
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{At: began}, nil).Once()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil).After(time.Minute).Maybe()
	s.OnActivity(s.act.StopRemains, mock.Anything, mock.Anything).Return(contract.StopRemainsResult{}, nil).Once()
	s.RegisterDelayedCallback(s.CancelWorkflow, time.Second)
	s.ExecuteWorkflow(workflows.RecoverVM, contract.RecoverInput{ID: "i", Fault: crash("1")})
	var cancelled *temporal.CanceledError
	require.ErrorAs(t, s.GetWorkflowError(), &cancelled)
	value, err := s.QueryWorkflow(contract.QueryIncident)
	require.NoError(t, err)
	var inc contract.Incident
	require.NoError(t, value.Get(&inc))
	require.Equal(t, contract.OutcomeCancelled, inc.Outcome)
}

func TestRecoverContinuesAsNewWhileItWaits(t *testing.T) {
	s := newSite(t)
	s.SetContinueAsNewSuggested(true)
	s.inspects(contract.Inspection{Policy: policy(), Answers: []proof.Answer{{Sighting: fault.Sighting{Host: "A"}, Error: "no answer"}}})
	s.ExecuteWorkflow(workflows.RecoverVM, contract.RecoverInput{ID: "i", Fault: crash("1")})
	var again *workflow.ContinueAsNewError
	require.ErrorAs(t, s.GetWorkflowError(), &again)
}

func TestRecoverContinuesAsNewWhileInDoubt(t *testing.T) {
	s := newSite(t)
	s.SetContinueAsNewSuggested(true)
	s.inspects(inspection("shut off", "crashed"))
	refused := temporal.NewNonRetryableApplicationError("B may be running it", contract.ErrTypeTwoCopies, nil)
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{}, refused).Once()
	s.ExecuteWorkflow(workflows.RecoverVM, contract.RecoverInput{ID: "i", Fault: crash("1")})
	var again *workflow.ContinueAsNewError
	require.ErrorAs(t, s.GetWorkflowError(), &again)
}

// guardian runs the guardian with incidents that the test answers for.
func guardian(t *testing.T, incidents func(workflow.Context, contract.RecoverInput) (contract.Incident, error)) site {
	s := newSite(t)
	s.RegisterWorkflowWithOptions(incidents, workflow.RegisterOptions{Name: contract.WorkflowRecoverVM})
	return s
}

func (s site) guard() {
	s.ExecuteWorkflow(workflows.VM, contract.GuardianInput{Site: "s", VM: vm1})
}

func (s site) sends(after time.Duration, f fault.Fault) {
	s.RegisterDelayedCallback(func() { s.SignalWorkflow(contract.SignalFault, f) }, after)
}

func TestGuardianRunsOneIncidentAtATime(t *testing.T) {
	running, most, opened := 0, 0, 0
	var forwarded []string
	s := guardian(t, func(ctx workflow.Context, in contract.RecoverInput) (contract.Incident, error) {
		opened++
		running++
		most = max(most, running)
		workflow.Go(ctx, func(ctx workflow.Context) {
			for {
				var f fault.Fault
				workflow.GetSignalChannel(ctx, contract.SignalFault).Receive(ctx, &f)
				forwarded = append(forwarded, f.ID)
			}
		})
		err := workflow.Sleep(ctx, 10*time.Second)
		running--
		return contract.Incident{ID: in.ID, Outcome: contract.OutcomeRecovered}, err
	})
	s.sends(0, crash("1"))
	s.sends(time.Second, crash("1"))   // said again
	s.sends(2*time.Second, crash("2")) // another, meanwhile
	s.sends(3*time.Second, crash("2"))
	s.sends(20*time.Second, crash("1")) // a late repeat of what is done
	late := crash("2")
	late.Last = began.Add(time.Hour) // still true after the incident closed
	s.sends(30*time.Second, late)
	s.guard()
	require.NoError(t, s.GetWorkflowError(), "closes after a quiet spell")
	require.Equal(t, 1, most)
	require.Equal(t, 2, opened)
	require.Equal(t, []string{"2"}, forwarded)
}

func TestGuardianRemembersAttempts(t *testing.T) {
	var recent []int
	s := guardian(t, func(_ workflow.Context, in contract.RecoverInput) (contract.Incident, error) {
		recent = append(recent, len(in.Recent))
		return contract.Incident{ID: in.ID, Outcome: contract.OutcomeRecovered, Attempts: []ladder.Attempt{{Rung: ladder.RungRestart, OK: true}}}, nil
	})
	s.sends(0, crash("1"))
	s.sends(time.Minute, crash("2"))
	s.sends(2*time.Minute, crash("3"))
	s.guard()
	require.Equal(t, []int{0, 1, 2}, recent)
}

func TestGuardianDropsAFaultThatAPersonDismissed(t *testing.T) {
	opened := 0
	s := guardian(t, func(workflow.Context, contract.RecoverInput) (contract.Incident, error) {
		opened++
		return contract.Incident{}, temporal.NewCanceledError()
	})
	f := crash("1")
	s.sends(0, f)
	f.Last = began.Add(time.Hour)
	s.sends(time.Minute, f)
	s.guard()
	require.Equal(t, 1, opened)
}

func TestGuardianAnswersRequests(t *testing.T) {
	s := guardian(t, func(ctx workflow.Context, in contract.RecoverInput) (contract.Incident, error) {
		return contract.Incident{ID: in.ID}, workflow.Sleep(ctx, time.Minute)
	})
	var replies []contract.RecoverReply
	ask := func(req contract.RecoverRequest) *testsuite.TestUpdateCallback {
		return &testsuite.TestUpdateCallback{
			OnAccept: func() {},
			OnReject: func(err error) {
				replies = append(replies, contract.RecoverReply{IncidentID: "refused: " + err.Error()})
			},
			OnComplete: func(v any, err error) {
				require.NoError(t, err)
				replies = append(replies, v.(contract.RecoverReply))
			},
		}
	}
	send := func(after time.Duration, id string, req contract.RecoverRequest) {
		s.RegisterDelayedCallback(func() { s.UpdateWorkflow(contract.UpdateRecover, id, ask(req), req) }, after)
	}
	good := contract.RecoverRequest{Site: "s", VM: vm1, By: "ann"}
	send(time.Second, "1", contract.RecoverRequest{Site: "s", VM: vm1})
	send(2*time.Second, "2", good)
	send(3*time.Second, "3", good)
	s.guard()
	require.Len(t, replies, 3)
	require.Equal(t, "refused: by is empty: say who asks", replies[0].IncidentID)
	require.False(t, replies[1].Already)
	require.Equal(t, contract.RecoverReply{IncidentID: replies[1].IncidentID, Already: true}, replies[2])
	require.True(t, strings.HasPrefix(replies[1].IncidentID, "incident/s/VM1/20261122-"))
}

func TestGuardianSurvivesAnIncidentThatFails(t *testing.T) {
	opened := 0
	s := guardian(t, func(workflow.Context, contract.RecoverInput) (contract.Incident, error) {
		opened++
		return contract.Incident{}, errors.New("a defect")
	})
	f := crash("1")
	s.sends(0, f)
	f.Last = began.Add(time.Hour)
	s.sends(time.Minute, f)
	s.guard()
	require.NoError(t, s.GetWorkflowError())
	require.Equal(t, 2, opened, "the fault is still there and is taken up again")
}
