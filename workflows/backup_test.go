package workflows_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/ladder"
)

// backupAnswer is what a guardian said to a person who asked about backups.
type backupAnswer struct {
	contract.BackupReply
	err error
	at  time.Time
}

func (s site) asksGuardian(after time.Duration, update string, req any) *backupAnswer {
	got := &backupAnswer{err: errors.New("not answered")}
	s.RegisterDelayedCallback(func() {
		s.UpdateWorkflow(update, "", &testsuite.TestUpdateCallback{
			OnAccept: func() {},
			OnReject: func(err error) { got.err, got.at = err, s.Now() },
			OnComplete: func(v any, err error) {
				got.err, got.at = err, s.Now()
				if reply, ok := v.(contract.BackupReply); ok {
					got.BackupReply = reply
				}
			},
		}, req)
	}, after)
	return got
}

func (s site) asksBackup(after time.Duration, verb contract.BackupVerb, name string) *backupAnswer {
	return s.asksGuardian(after, contract.UpdateBackup, contract.BackupRequest{
		Site: "s", By: "ann", Why: "a test", BackupInput: contract.BackupInput{VM: vm1, Host: "A", Verb: verb, Name: name},
	})
}

// backsUp stands for the backups of a site: making one takes this long.
func (s site) backsUp(takes time.Duration, have ...contract.Backup) {
	s.OnActivity(s.act.Backup, mock.Anything, mock.MatchedBy(func(in contract.BackupInput) bool { return in.Verb == contract.BackupCreate })).
		Return(contract.BackupReply{In: "nfs", Backups: have}, nil).After(takes).Maybe()
	s.OnActivity(s.act.Backup, mock.Anything, mock.Anything).Return(func(_ context.Context, in contract.BackupInput) (contract.BackupReply, error) {
		if in.Verb == contract.BackupDelete {
			return contract.BackupReply{}, temporal.NewNonRetryableApplicationError("another one builds upon it", contract.ErrTypeStepFailed, nil)
		}
		return contract.BackupReply{In: "nfs", Backups: have}, nil
	}).Maybe()
}

func nobody(workflow.Context, contract.RecoverInput) (contract.Incident, error) {
	return contract.Incident{}, errors.New("no incident is wanted here")
}

// A backup takes as long as the disks are big. Meanwhile the guardian stays, answers
// for what there is, and refuses at once what would meet it.
func TestAGuardianWhileABackupIsMade(t *testing.T) {
	const hours = 3 * time.Hour // much longer than a guardian stays when nothing happens
	s := guardian(t, nobody)
	s.backsUp(hours, contract.Backup{Name: "weekly"})
	made := s.asksBackup(0, contract.BackupCreate, "nightly")
	list := s.asksBackup(time.Minute, contract.BackupList, "")
	check := s.asksBackup(time.Minute, contract.BackupCheck, "weekly")
	second := s.asksBackup(2*time.Minute, contract.BackupCreate, "another")
	restore := s.asksBackup(2*time.Minute, contract.BackupRestore, "weekly")
	snapshot := s.asksGuardian(2*time.Minute, contract.UpdateSnapshot, contract.SnapshotRequest{
		Site: "s", By: "bob", SnapshotInput: contract.SnapshotInput{VM: vm1, Host: "A", Verb: contract.SnapshotCreate, Name: "x"},
	})
	after := s.asksBackup(hours+time.Minute, contract.BackupDelete, "weekly")
	s.guard()
	require.NoError(t, s.GetWorkflowError())
	require.NoError(t, made.err)
	require.Equal(t, began.Add(hours), made.at.UTC())
	for _, looked := range []*backupAnswer{list, check} {
		require.NoError(t, looked.err)
		require.Equal(t, began.Add(time.Minute), looked.at.UTC())
		require.Equal(t, "nfs", looked.In)
	}
	for _, met := range []*backupAnswer{second, restore, snapshot} {
		require.ErrorContains(t, met.err, "backup nightly of it is being created for ann, since 08:00:00 UTC: wait until it is over")
	}
	require.ErrorContains(t, after.err, "another one builds upon it", "it is over")
}

func TestAGuardianRefusesBackups(t *testing.T) {
	s := guardian(t, nobody)
	s.backsUp(0)
	got := map[string]*backupAnswer{}
	for why, req := range map[string]contract.BackupInput{
		"names that begin with holdfast-before- are for what Holdfast keeps": {Verb: contract.BackupCreate, Name: contract.KeptPrefix + "x"},
		"a backup is made where the site file says":                          {Verb: contract.BackupCreate, Name: "x", In: "/elsewhere"},
		"name is empty: say which backup":                                    {Verb: contract.BackupCheck},
		`nothing is known that is called "burn"`:                             {Verb: "burn", Name: "x"},
		"VM1 has no backup \"gone\" in nfs: `holdfast backup list VM1`":      {Verb: contract.BackupRestore, Name: "gone"},
	} {
		req.VM, req.Host = vm1, "A"
		got[why] = s.asksGuardian(0, contract.UpdateBackup, contract.BackupRequest{Site: "s", By: "ann", BackupInput: req})
	}
	s.guard()
	for why, answer := range got {
		require.ErrorContains(t, answer.err, why)
	}
}

func TestARestoreIsAnIncident(t *testing.T) {
	var opened contract.RecoverInput
	s := guardian(t, func(ctx workflow.Context, in contract.RecoverInput) (contract.Incident, error) {
		opened = in
		return contract.Incident{ID: in.ID, Outcome: contract.OutcomeRecovered}, workflow.Sleep(ctx, time.Minute)
	})
	s.backsUp(0, contract.Backup{Name: "weekly"}, contract.Backup{Name: "nightly"})
	got := s.asksBackup(0, contract.BackupRestore, "weekly")
	meanwhile := s.asksBackup(time.Second, contract.BackupCreate, "x")
	look := s.asksBackup(time.Second, contract.BackupList, "")
	s.guard()
	require.NoError(t, got.err)
	require.Equal(t, opened.ID, got.IncidentID)
	require.Equal(t, []contract.Backup{{Name: "weekly"}}, got.Backups)
	require.Equal(t, &contract.BackupRef{In: "nfs", Name: "weekly"}, opened.Backup)
	require.Empty(t, opened.Restore)
	require.Equal(t, ladder.RungBackup, opened.Ordered)
	require.Equal(t, []ladder.Rung{ladder.RungBackup}, opened.Approved)
	require.Equal(t, fault.KindRequested, opened.Fault.Kind)
	require.Equal(t, "ann wants VM1 restored from backup weekly: a test", opened.Fault.Why)
	require.ErrorContains(t, meanwhile.err, opened.ID+" has the VM")
	require.NoError(t, look.err)
}
