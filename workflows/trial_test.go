package workflows_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
)

// trialAnswer is what a guardian said to a person who wanted a snapshot verified.
type trialAnswer struct {
	contract.SnapshotReply
	err error
	at  time.Time
}

func (s site) asksVerify(after time.Duration, req contract.SnapshotRequest) *trialAnswer {
	got := &trialAnswer{err: errors.New("not answered")}
	req.Site, req.By, req.VM, req.Host = "s", "ann", vm1, "A"
	if req.Verb == "" {
		req.Verb = contract.SnapshotVerify
	}
	s.RegisterDelayedCallback(func() {
		s.UpdateWorkflow(contract.UpdateSnapshot, "", &testsuite.TestUpdateCallback{
			OnAccept: func() {},
			OnReject: func(err error) { got.err, got.at = err, s.Now() },
			OnComplete: func(v any, err error) {
				got.err, got.at = err, s.Now()
				if reply, ok := v.(contract.SnapshotReply); ok {
					got.SnapshotReply = reply
				}
			},
		}, req)
	}, after)
	return got
}

func verify(name string) contract.SnapshotRequest {
	return contract.SnapshotRequest{SnapshotInput: contract.SnapshotInput{Name: name}}
}

// While a copy is booted the guardian answers, and does nothing else that a person
// asks for.
func TestAGuardianVerifiesSnapshots(t *testing.T) {
	s := guardian(t, nobody)
	minutes := 3 * time.Minute
	s.OnActivity(s.act.Trial, mock.Anything, contract.TrialInput{VM: vm1, Host: "A", Snapshot: "good"}).
		Return(contract.TrialResult{Booted: true, By: contract.TrialByAgent, Why: "its guest agent answers"}, nil).After(minutes)
	s.OnActivity(s.act.Snapshot, mock.Anything, mock.Anything).Return(contract.SnapshotReply{}, nil)
	good := s.asksVerify(0, verify("good"))
	list := s.asksVerify(time.Minute, contract.SnapshotRequest{SnapshotInput: contract.SnapshotInput{Verb: contract.SnapshotList}})
	remove := s.asksVerify(time.Minute, contract.SnapshotRequest{SnapshotInput: contract.SnapshotInput{Verb: contract.SnapshotDelete, Name: "good"}})
	second := s.asksVerify(time.Minute, verify("good"))
	after := s.asksVerify(minutes+time.Minute, contract.SnapshotRequest{SnapshotInput: contract.SnapshotInput{Verb: contract.SnapshotDelete, Name: "good"}})
	unnamed := s.asksVerify(0, verify(""))
	long := verify("good")
	long.Within = 2 * time.Hour
	tooLong := s.asksVerify(0, long)
	s.guard()
	require.NoError(t, s.GetWorkflowError())
	require.NoError(t, good.err)
	require.True(t, good.Trial.Booted)
	require.Equal(t, began.Add(minutes), good.at.UTC())
	require.NoError(t, list.err)
	require.Equal(t, began.Add(time.Minute), list.at.UTC())
	for _, met := range []*trialAnswer{remove, second} {
		require.ErrorContains(t, met.err, "snapshot good of it is being booted for ann, since 08:00:00 UTC: wait until it is over")
	}
	require.NoError(t, after.err)
	require.ErrorContains(t, unnamed.err, "name is empty")
	require.ErrorContains(t, tooLong.err, "within 2h0m0s: allowed: 0 to 1h")
}

// An incident takes the VM, and the trial that is under way ends for it.
func TestAnIncidentEndsATrial(t *testing.T) {
	s := guardian(t, func(ctx workflow.Context, in contract.RecoverInput) (contract.Incident, error) {
		return contract.Incident{ID: in.ID, Outcome: contract.OutcomeRecovered}, workflow.Sleep(ctx, time.Minute)
	})
	s.OnActivity(s.act.Trial, mock.Anything, mock.Anything).Return(contract.TrialResult{}, nil).After(time.Hour)
	trial := s.asksVerify(0, verify("good"))
	s.RegisterDelayedCallback(func() {
		s.SignalWorkflow(contract.SignalFault, fault.Fault{ID: "f1", Kind: fault.KindCrashed, Site: "s", VM: vm1, Host: "A", First: s.Now(), Last: s.Now()})
	}, time.Minute)
	meanwhile := s.asksVerify(time.Minute+30*time.Second, verify("good"))
	s.guard()
	require.NoError(t, s.GetWorkflowError())
	require.ErrorContains(t, trial.err, "wanted the VM, and the trial was ended for it")
	require.ErrorContains(t, meanwhile.err, "has the VM: wait until it is over")
}

// A backup that is as it was written is booted if that is wanted.
func TestAGuardianBootsBackups(t *testing.T) {
	s := guardian(t, nobody)
	s.backsUp(0)
	s.OnActivity(s.act.Trial, mock.Anything, contract.TrialInput{VM: vm1, Host: "A", Backup: &contract.BackupRef{In: "nfs", Name: "weekly"}, Within: time.Minute}).
		Return(contract.TrialResult{Why: "its guest agent did not answer"}, nil).Once()
	check := s.asksBackup(0, contract.BackupCheck, "weekly")
	boot := s.asksGuardian(time.Minute, contract.UpdateBackup, contract.BackupRequest{
		Site: "s", By: "ann", BackupInput: contract.BackupInput{VM: vm1, Host: "A", Verb: contract.BackupCheck, Name: "weekly", Boot: true, Within: time.Minute},
	})
	s.guard()
	require.NoError(t, s.GetWorkflowError())
	require.NoError(t, check.err)
	require.Nil(t, check.Trial)
	require.NoError(t, boot.err)
	require.False(t, boot.Trial.Booted)
}
