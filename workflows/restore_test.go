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

// unsnapped is what a VM has that has a backup alone.
var unsnapped = ladder.Stock{SnapshotWhy: "none", Backup: "weekly", BackupAt: began, BackupIn: "nfs"}

// restored notes what is done to the VM's disks, in its order.
func (s site) restored(what *[]string, reply func(contract.RestoreBackupInput) (contract.RestoreBackupResult, error)) {
	var there []contract.Backup
	s.OnActivity(s.act.StopRemains, mock.Anything, mock.Anything).Return(func(_ context.Context, in contract.StopRemainsInput) (contract.StopRemainsResult, error) {
		if in.Force {
			*what = append(*what, "stop")
		}
		return contract.StopRemainsResult{}, nil
	})
	s.OnActivity(s.act.RestoreBackup, mock.Anything, mock.Anything).Return(func(_ context.Context, in contract.RestoreBackupInput) (contract.RestoreBackupResult, error) {
		*what = append(*what, "restore "+in.In+"/"+in.Name+", keep "+in.Keep)
		out, err := reply(in)
		if err == nil {
			there = append(there, contract.Backup{Name: in.Keep})
		}
		return out, err
	})
	s.OnActivity(s.act.Backup, mock.Anything, mock.Anything).Return(func(_ context.Context, in contract.BackupInput) (contract.BackupReply, error) {
		if in.Verb == contract.BackupList {
			return contract.BackupReply{Backups: there}, nil
		}
		*what = append(*what, string(in.Verb)+" "+in.In+"/"+in.Name)
		return contract.BackupReply{}, nil
	}).Maybe()
}

func restores(contract.RestoreBackupInput) (contract.RestoreBackupResult, error) {
	return contract.RestoreBackupResult{At: began}, nil
}

// spentWith is a VM that is shut off, has one restart left to it, and this stock.
func (s site) spentWith(have ladder.Stock) {
	found := inspection("shut off", "crashed")
	found.Policy.MaxFailures, found.Policy.Approval = 1, nil
	s.inspects(found)
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{}, temporal.NewNonRetryableApplicationError("no boot", contract.ErrTypeStartFailed, nil)).Once()
	s.stock(have)
}

func TestARestoreKeepsWhatWas(t *testing.T) {
	s := newSite(t)
	s.spentWith(unsnapped)
	var did []string
	s.restored(&did, restores)
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{At: began}, nil).Once()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil).Once()
	inc := s.mends(t, fault.KindCrashed)
	require.Equal(t, contract.OutcomeRecovered, inc.Outcome, story(inc))
	require.Equal(t, []ladder.Rung{ladder.RungRestart, ladder.RungBackup}, rungs(inc))
	require.Equal(t, []string{"stop", "restore nfs/weekly, keep holdfast-before-1-2"}, did)
	require.Contains(t, story(inc), "kept as holdfast-before-1-2, and `holdfast backup restore VM1 holdfast-before-1-2` brings them back")
	require.Contains(t, story(inc), "turned down snapshot: none")
	require.Contains(t, story(inc), "try 2: restore it on A")
}

// A restore that does not verify is undone, and what did not verify takes no room.
func TestARestoreThatDoesNotVerifyIsUndone(t *testing.T) {
	s := newSite(t)
	s.spentWith(unsnapped)
	var did []string
	s.restored(&did, restores)
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{At: began}, nil).Once()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(contract.VerifyResult{Active: true, At: began, Why: "its agent is silent"}, nil).Once()
	s.tells(time.Minute, act(contract.VerbCancel, "ann"))
	inc := s.mends(t, fault.KindCrashed)
	require.Equal(t, []string{
		"stop", "restore nfs/weekly, keep holdfast-before-1-2",
		"stop", "restore nfs/holdfast-before-1-2, keep holdfast-before-1-2-tried", "delete nfs/holdfast-before-1-2-tried",
	}, did, story(inc))
	require.Contains(t, story(inc), "VM1 has the disks from before the restore again")
	require.Contains(t, story(inc), "try 2 failed: its agent is silent")
	require.Contains(t, story(inc), "needs a person: 2 failed repairs")
}

// One that was refused has changed nothing: there is nothing to give up.
func TestARestoreThatIsRefusedLeavesNothing(t *testing.T) {
	s := newSite(t)
	s.spentWith(unsnapped)
	var did []string
	s.restored(&did, func(contract.RestoreBackupInput) (contract.RestoreBackupResult, error) {
		return contract.RestoreBackupResult{}, temporal.NewNonRetryableApplicationError("the backup is damaged", contract.ErrTypeStepFailed, nil)
	})
	s.tells(time.Minute, act(contract.VerbCancel, "ann"))
	inc := s.mends(t, fault.KindCrashed)
	require.Equal(t, []string{
		"stop", "restore nfs/weekly, keep holdfast-before-1-2",
	}, did, story(inc))
	require.Contains(t, story(inc), "try 2 failed: the backup is damaged")
	require.NotContains(t, story(inc), "has the disks from before")
}

// Two copies are doubted, not undone: what was restored is started when the doubt is gone.
func TestADoubtAfterARestoreIsWaitedOut(t *testing.T) {
	s := newSite(t)
	s.spentWith(unsnapped)
	var did []string
	s.restored(&did, restores)
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{}, temporal.NewNonRetryableApplicationError("B is silent", contract.ErrTypeTwoCopies, nil)).Once()
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{At: began}, nil).Once()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil).Once()
	inc := s.mends(t, fault.KindCrashed)
	require.Equal(t, contract.OutcomeRecovered, inc.Outcome, story(inc))
	require.Equal(t, []string{
		"stop", "restore nfs/weekly, keep holdfast-before-1-2", "stop", "restore nfs/weekly, keep holdfast-before-1-2",
	}, did, "the same again, which is the same as once")
	require.Contains(t, story(inc), "in doubt: B is silent")
}

func TestAPersonWantsABackupBack(t *testing.T) {
	s := newSite(t)
	s.inspects(inspection("running", "booted"))
	want := &contract.BackupRef{In: "/srv", Name: "weekly"}
	*s.stocked = true
	s.OnActivity(s.act.Stock, mock.Anything, mock.Anything).Return(func(_ context.Context, in contract.StockInput) (ladder.Stock, error) {
		require.Equal(t, want, in.Backup)
		return ladder.Stock{Snapshot: "nightly", Backup: in.Backup.Name, BackupIn: in.Backup.In, BackupAt: began}, nil
	})
	var did []string
	s.restored(&did, restores)
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{At: began}, nil).Once()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil).Once()
	s.ExecuteWorkflow(workflows.RecoverVM, contract.RecoverInput{
		ID: "incident/s/VM1/1", Fault: of(fault.KindRequested), Backup: want, Ordered: ladder.RungBackup, Approved: []ladder.Rung{ladder.RungBackup},
	})
	inc := s.incident(t)
	require.Equal(t, contract.OutcomeRecovered, inc.Outcome, story(inc))
	require.Equal(t, []ladder.Rung{ladder.RungBackup}, rungs(inc))
	require.Equal(t, []string{"stop", "restore /srv/weekly, keep " + kept}, did)
}

// Whoever calls a restore off that they asked for has the VM run as it did.
func TestARestoreThatIsCalledOffLeavesTheVMAsItWas(t *testing.T) {
	s := newSite(t)
	s.inspects(inspection("running", "booted"))
	s.stock(unsnapped)
	var did []string
	s.restored(&did, restores)
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{At: began}, nil).Twice()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil).After(time.Hour).Maybe()
	s.tells(time.Minute, act(contract.VerbCancel, "ann"))
	s.ExecuteWorkflow(workflows.RecoverVM, contract.RecoverInput{
		ID: "incident/s/VM1/1", Fault: of(fault.KindRequested), Backup: &contract.BackupRef{Name: "weekly"}, Ordered: ladder.RungBackup, Approved: []ladder.Rung{ladder.RungBackup},
	})
	inc := s.incident(t)
	require.Equal(t, contract.OutcomeCancelled, inc.Outcome, story(inc))
	require.Equal(t, []string{
		"stop", "restore nfs/weekly, keep " + kept, "stop", "restore nfs/" + kept + ", keep " + kept + "-tried", "delete nfs/" + kept + "-tried",
	}, did)
	require.Contains(t, story(inc), "started on A again, as it was before")
}
