package workflows_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/ladder"
	"holdfast/workflows"
)

const kept = "holdfast-before-1-1"

// spent is a VM that is shut off and has one restart left to it, and a snapshot.
func (s site) spent() {
	found := inspection("shut off", "crashed")
	found.Policy.MaxFailures, found.Policy.Approval = 1, nil
	s.inspects(found)
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{}, temporal.NewNonRetryableApplicationError("no boot", contract.ErrTypeStartFailed, nil)).Once()
	s.stock(ladder.Stock{Snapshot: "nightly", SnapshotAt: began, BackupWhy: "none"})
}

func (s site) stock(have ladder.Stock) {
	*s.stocked = true
	s.OnActivity(s.act.Stock, mock.Anything, mock.Anything).Return(have, nil)
}

// done notes what is done to the VM, in its order.
func (s site) done(what *[]string) {
	s.OnActivity(s.act.StopRemains, mock.Anything, mock.Anything).Return(func(_ context.Context, in contract.StopRemainsInput) (contract.StopRemainsResult, error) {
		if in.Force {
			*what = append(*what, "stop")
		}
		return contract.StopRemainsResult{}, nil
	})
	var there []contract.Snapshot
	s.OnActivity(s.act.Snapshot, mock.Anything, mock.Anything).Return(func(_ context.Context, in contract.SnapshotInput) (contract.SnapshotReply, error) {
		switch in.Verb {
		case contract.SnapshotList:
			return contract.SnapshotReply{Snapshots: there}, nil
		case contract.SnapshotCreate:
			there = append(there, contract.Snapshot{Name: in.Name})
		}
		*what = append(*what, string(in.Verb)+" "+in.Name)
		return contract.SnapshotReply{}, nil
	}).Maybe()
}

func TestARevertKeepsWhatWas(t *testing.T) {
	s := newSite(t)
	s.spent()
	var did []string
	s.done(&did)
	s.OnActivity(s.act.Revert, mock.Anything, mock.Anything).Return(func(_ context.Context, in contract.RevertInput) (contract.RevertResult, error) {
		did = append(did, "revert "+in.Name)
		return contract.RevertResult{At: began}, nil
	})
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{At: began}, nil).Once()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil).Once()
	inc := s.mends(t, fault.KindCrashed)
	require.Equal(t, contract.OutcomeRecovered, inc.Outcome, story(inc))
	require.Equal(t, []ladder.Rung{ladder.RungRestart, ladder.RungSnapshot}, rungs(inc))
	require.Equal(t, []string{"stop", "create holdfast-before-1-2", "revert nightly"}, did)
	require.Contains(t, story(inc), "kept as holdfast-before-1-2")
}

// A revert that does not verify is undone: the disks are what they were.
func TestARevertThatDoesNotVerifyIsUndone(t *testing.T) {
	s := newSite(t)
	s.spent()
	var did []string
	s.done(&did)
	s.OnActivity(s.act.Revert, mock.Anything, mock.Anything).Return(func(_ context.Context, in contract.RevertInput) (contract.RevertResult, error) {
		did = append(did, "revert "+in.Name)
		return contract.RevertResult{At: began, Running: in.Name == "nightly"}, nil
	})
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(contract.VerifyResult{Active: true, At: began, Why: "its agent is silent"}, nil).Once()
	s.tells(time.Minute, act(contract.VerbCancel, "ann"))
	inc := s.mends(t, fault.KindCrashed)
	require.Equal(t, []string{
		"stop", "create holdfast-before-1-2", "revert nightly",
		"stop", "revert holdfast-before-1-2", "delete holdfast-before-1-2",
	}, did, story(inc))
	require.Contains(t, story(inc), "try 2 failed: its agent is silent")
	require.Contains(t, story(inc), "needs a person: 2 failed repairs")
}

// What a person wants put back is put back, also of a VM that runs.
func TestAPersonWantsASnapshotBack(t *testing.T) {
	s := newSite(t)
	s.inspects(inspection("running", "booted"))
	s.stock(ladder.Stock{Snapshot: "nightly", SnapshotAt: began})
	var did []string
	s.done(&did)
	s.OnActivity(s.act.Revert, mock.Anything, mock.Anything).Return(contract.RevertResult{At: began}, nil).Once()
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{At: began}, nil).Once()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil).Once()
	f := of(fault.KindRequested)
	s.ExecuteWorkflow(workflows.RecoverVM, contract.RecoverInput{
		ID: "incident/s/VM1/1", Fault: f, Restore: "nightly", Ordered: ladder.RungSnapshot, Approved: []ladder.Rung{ladder.RungSnapshot},
	})
	inc := s.incident(t)
	require.Equal(t, contract.OutcomeRecovered, inc.Outcome, story(inc))
	require.Equal(t, []ladder.Rung{ladder.RungSnapshot}, rungs(inc))
	require.Equal(t, []string{"stop", "create " + kept}, did)
}

// Whoever calls off what they wanted of a VM that ran has it running again, with its
// disks as they were.
func TestACancelledRestoreStartsWhatRanBefore(t *testing.T) {
	s := newSite(t)
	s.inspects(inspection("running", "booted"))
	s.stock(ladder.Stock{Snapshot: "nightly", SnapshotAt: began})
	var did []string
	s.done(&did)
	s.OnActivity(s.act.Revert, mock.Anything, mock.Anything).Return(contract.RevertResult{At: began, Running: true}, nil)
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil).After(time.Hour)
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{At: began}, nil).Once()
	s.tells(time.Minute, act(contract.VerbCancel, "ann"))
	s.ExecuteWorkflow(workflows.RecoverVM, contract.RecoverInput{
		ID: "incident/s/VM1/1", Fault: of(fault.KindRequested), Restore: "nightly", Ordered: ladder.RungSnapshot,
	})
	inc := s.incident(t)
	require.Equal(t, contract.OutcomeCancelled, inc.Outcome, story(inc))
	require.Equal(t, []string{"stop", "create " + kept, "stop", "delete " + kept}, did)
	require.Contains(t, story(inc), "started on A again, as it was before")
}
