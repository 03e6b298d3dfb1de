package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/activities"
	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor/simulated"
	"holdfast/internal/ladder"
	"holdfast/starter"
	"holdfast/test/rig"
)

// TestBackups has VMs of a simulated site restored from backups, by an incident and
// by a person.
func TestBackups(t *testing.T) {
	c := rig.Dial(t, rig.Temporal(t).Address)
	s := starter.New(c)
	cluster := simulated.New(simulated.Options{Site: rig.Site, Hosts: 2, VMsPerHost: 2})
	policy := rig.Policy()
	policy.MaxFailures, policy.Approval = 2, []ladder.Rung{ladder.RungSnapshot, ladder.RungBackup}
	policy.Forbidden = []ladder.Rung{ladder.RungElsewhere}
	policy.Probes = ladder.Probes{Agent: ladder.AgentRequired, Within: 2 * time.Second}
	rig.Serve(t, c, cluster, policy, func(o *activities.Options) {
		o.BackupsTo = func(map[string]string) string { return simulated.BackupFolder }
	})
	askOf := func(name, host string, verb contract.BackupVerb, backup string) (contract.BackupReply, error) {
		vm, _ := cluster.VM(name)
		return s.Backup(t.Context(), contract.BackupRequest{
			Site: rig.Site, By: "ann", Why: "a test",
			BackupInput: contract.BackupInput{VM: fault.VM{UUID: vm.UUID, Name: vm.Name}, Host: host, Verb: verb, Name: backup},
		})
	}
	ask := func(verb contract.BackupVerb, name string) (contract.BackupReply, error) {
		return askOf("VM1", "A", verb, name)
	}
	// breaks has a VM not boot any more, and waits until a person has to say something.
	breaks := func(t *testing.T, name, host string) contract.Incident {
		vm, _ := cluster.VM(name)
		require.NoError(t, cluster.CorruptDisk(name))
		require.NoError(t, cluster.KillVM(name))
		require.NoError(t, s.ReportFault(t.Context(), rig.Crash(vm, host)))
		return rig.Incident(t, s, name, "needs a person", func(i contract.Incident) bool { return i.NeedsPerson })
	}
	approve := func(t *testing.T, inc contract.Incident) {
		_, err := s.Act(t.Context(), inc.ID, contract.Act{Verb: contract.VerbApprove, By: "ann", Why: "go on"})
		require.NoError(t, err)
	}
	marked := func(t *testing.T, want byte) {
		mark, err := cluster.DiskMark("VM1")
		require.NoError(t, err)
		require.Equal(t, want, mark)
	}

	t.Run("made, listed, checked, refused", func(t *testing.T) {
		require.NoError(t, cluster.MarkDisk("VM1", 1))
		made, err := ask(contract.BackupCreate, "good")
		require.NoError(t, err)
		require.Empty(t, made.Note, "its agent answers")
		require.Equal(t, simulated.BackupFolder, made.In)
		require.Len(t, made.Backups, 1)
		require.True(t, made.Backups[0].Quiesced)
		_, err = ask(contract.BackupCreate, "good")
		require.ErrorContains(t, err, `has a backup "good" already`)
		made, err = ask(contract.BackupCreate, "better")
		require.NoError(t, err)
		require.Equal(t, "good", made.Backups[1].Parent)
		_, err = ask(contract.BackupCheck, "better")
		require.NoError(t, err)
		_, err = ask(contract.BackupDelete, "good")
		require.ErrorContains(t, err, `"better"`, "which builds upon it")
		_, err = ask(contract.BackupRestore, "bad")
		require.ErrorContains(t, err, `no backup "bad"`)
	})
	t.Run("a VM that does not boot any more is restored, once a person approves", func(t *testing.T) {
		require.NoError(t, cluster.MarkDisk("VM1", 2))
		inc := breaks(t, "VM1", "A")
		require.NotNil(t, inc.Proposal, inc.Why)
		require.Equal(t, ladder.RungBackup, inc.Proposal.Rung)
		require.Len(t, inc.Attempts, 2, "it was restarted first")
		_, err := ask(contract.BackupCreate, "worse")
		require.ErrorContains(t, err, inc.ID+" has the VM")
		_, err = ask(contract.BackupCheck, "better")
		require.NoError(t, err, "who approves may look")
		approve(t, inc)
		inc = rig.Incident(t, s, "VM1", "recovered", rig.ClosedAs(contract.OutcomeRecovered))
		require.Equal(t, contract.Stage(ladder.RungBackup), inc.Stage)
		marked(t, 1)
	})
	t.Run("what was before can be had back, and does not verify, and is put away again", func(t *testing.T) {
		list, err := ask(contract.BackupList, "")
		require.NoError(t, err)
		require.Len(t, list.Backups, 3)
		before := list.Backups[2]
		require.True(t, before.Kept)
		reply, err := ask(contract.BackupRestore, before.Name)
		require.NoError(t, err)
		inc := rig.Incident(t, s, "VM1", "is over or asks", func(i contract.Incident) bool {
			return i.ID == reply.IncidentID && (i.Proposal != nil || !i.Closed.IsZero())
		})
		require.Equal(t, contract.OutcomeRecovered, inc.Outcome)
		require.Equal(t, ladder.RungBackup, inc.Attempts[0].Rung)
		require.False(t, inc.Attempts[0].OK, "its disk is corrupt")
		marked(t, 1)
		list, err = ask(contract.BackupList, "")
		require.NoError(t, err)
		require.Len(t, list.Backups, 4, "what was tried is given up, what it kept is in use: %+v", list.Backups)
	})
	t.Run("a backup that is damaged is not restored, and then there is nobody but a person", func(t *testing.T) {
		_, err := askOf("VM2", "B", contract.BackupCreate, "good")
		require.NoError(t, err)
		require.NoError(t, cluster.DamageBackups("VM2"))
		_, err = askOf("VM2", "B", contract.BackupCheck, "good")
		require.ErrorContains(t, err, "damaged")
		inc := breaks(t, "VM2", "B")
		require.NotNil(t, inc.Proposal, inc.Why)
		approve(t, inc)
		inc = rig.Incident(t, s, "VM2", "needs a person", func(i contract.Incident) bool { return len(i.Attempts) == 3 && i.NeedsPerson })
		require.Equal(t, ladder.RungBackup, inc.Attempts[2].Rung)
		require.Contains(t, inc.Attempts[2].Error, "damaged")
		require.Nil(t, inc.Proposal)
	})
	t.Run("where there is neither snapshot nor backup, there is nobody but a person", func(t *testing.T) {
		inc := breaks(t, "VM3", "A")
		require.Nil(t, inc.Proposal)
		turned := inc.Decisions[len(inc.Decisions)-1].Decision.Turned
		require.Equal(t, "there is no backup of it in "+simulated.BackupFolder+" from before it failed", turned[len(turned)-1].Why)
	})
	require.Empty(t, cluster.TwoCopies())
}
