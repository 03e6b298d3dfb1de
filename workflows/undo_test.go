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

func silentNeighbour() error {
	return temporal.NewNonRetryableApplicationError("B is silent", contract.ErrTypeTwoCopies, nil)
}

// What a person has started while an incident was in doubt is theirs, and no cancel
// takes back what they did.
func TestWhatAPersonStartedIsTheirs(t *testing.T) {
	s := newSite(t)
	stopped := inspection("shut off", "crashed")
	stopped.Policy.MaxFailures, stopped.Policy.Approval = 1, nil
	s.inspects(stopped, stopped, inspection("running", "booted"))
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{}, temporal.NewNonRetryableApplicationError("no boot", contract.ErrTypeStartFailed, nil)).Once()
	s.stock(ladder.Stock{Snapshot: "nightly", SnapshotAt: began})
	var did []string
	s.done(&did)
	s.OnActivity(s.act.Revert, mock.Anything, mock.Anything).Return(contract.RevertResult{}, silentNeighbour()).Once()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil).Once()
	inc := s.mends(t, fault.KindCrashed)
	require.Equal(t, []string{"stop", "create holdfast-before-1-2"}, did, story(inc))
	require.Contains(t, story(inc), "somebody has started VM1 on A meanwhile: it stays as it is; if its disks were kept before, that is called holdfast-before-1-2")
}

// While what did not verify cannot be undone, nothing else is done.
func TestAnUndoComesBeforeTheNextRung(t *testing.T) {
	s := newSite(t)
	s.spent()
	var did []string
	s.done(&did)
	putBack := 0
	s.OnActivity(s.act.Revert, mock.Anything, mock.Anything).Return(func(_ context.Context, in contract.RevertInput) (contract.RevertResult, error) {
		did = append(did, "revert "+in.Name)
		if in.Name != "nightly" {
			if putBack++; putBack < 3 {
				return contract.RevertResult{}, silentNeighbour()
			}
		}
		return contract.RevertResult{At: began, Running: in.Name == "nightly"}, nil
	})
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(contract.VerifyResult{Active: true, At: began, Why: "its agent is silent"}, nil).Once()
	s.at(t, 2*time.Second, func(inc contract.Incident) { require.True(t, inc.NeedsPerson, story(inc)) })
	s.tells(time.Hour, act(contract.VerbCancel, "ann"))
	inc := s.mends(t, fault.KindCrashed)
	undo := []string{"stop", "revert holdfast-before-1-2"}
	want := append([]string{"stop", "create holdfast-before-1-2", "revert nightly"}, undo...)
	want = append(append(append(want, undo...), undo...), "delete holdfast-before-1-2")
	require.Equal(t, want, did, story(inc))
	require.Contains(t, story(inc), "could not put back what was before the revert on A: B is silent")
	require.Contains(t, story(inc), "undone by now")
}

// A cancel waits for a worker that is being restarted.
func TestACancelledIncidentTriesToUndoForAWhile(t *testing.T) {
	s := newSite(t)
	s.inspects(inspection("shut off", "crashed"))
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{At: began}, nil).Once()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil).After(time.Hour)
	s.OnActivity(s.act.StopRemains, mock.Anything, mock.Anything).Return(contract.StopRemainsResult{}, temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_SCHEDULE_TO_START, nil)).Once()
	s.OnActivity(s.act.StopRemains, mock.Anything, mock.Anything).Return(contract.StopRemainsResult{}, nil).Once()
	s.tells(time.Minute, act(contract.VerbCancel, "ann"))
	inc := s.mends(t, fault.KindCrashed)
	require.Equal(t, contract.OutcomeCancelled, inc.Outcome)
	require.NotContains(t, story(inc), "could not")
}

// Looking for something to put a VM back to may fail for as long as a pool hangs.
func TestALookThatFailsContinuesAsNew(t *testing.T) {
	s := newSite(t)
	found := inspection("shut off", "crashed")
	found.Policy.Ladder = []ladder.Rung{ladder.RungSnapshot}
	s.inspects(found)
	*s.stocked = true
	s.OnActivity(s.act.Stock, mock.Anything, mock.Anything).Return(ladder.Stock{}, temporal.NewNonRetryableApplicationError("no answer", contract.ErrTypeUnreachable, nil))
	s.RegisterDelayedCallback(func() { s.SetContinueAsNewSuggested(true) }, time.Hour)
	s.ExecuteWorkflow(workflows.RecoverVM, contract.RecoverInput{ID: "incident/s/VM1/1", Fault: crash("1")})
	var again *workflow.ContinueAsNewError
	require.ErrorAs(t, s.GetWorkflowError(), &again)
}
