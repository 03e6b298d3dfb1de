package replay

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

// recordBackups has a VM restored from backups: when a person approves, as one asks,
// and to what does not boot, so that it is undone.
func recordBackups(t *testing.T) {
	c := rig.Dial(t, rig.Temporal(t).Address)
	s := starter.New(c)
	cluster := simulated.New(simulated.Options{Site: rig.Site, Hosts: 1, VMsPerHost: 1})
	policy := rig.Policy()
	policy.MaxFailures, policy.Approval = 1, []ladder.Rung{ladder.RungBackup}
	policy.Probes = ladder.Probes{Agent: ladder.AgentRequired, Within: time.Second}
	rig.Serve(t, c, cluster, policy, func(o *activities.Options) {
		o.BackupsTo = func(map[string]string) string { return simulated.BackupFolder }
	})
	vm, _ := cluster.VM("VM1")
	ask := func(verb contract.BackupVerb, name string) contract.BackupReply {
		out, err := s.Backup(t.Context(), contract.BackupRequest{
			Site: rig.Site, By: "recorder",
			BackupInput: contract.BackupInput{VM: fault.VM{UUID: vm.UUID, Name: vm.Name}, Host: "A", Verb: verb, Name: name},
		})
		require.NoError(t, err)
		return out
	}
	restored := func(id, name string) {
		rig.Incident(t, s, "VM1", "recovered", func(i contract.Incident) bool {
			return i.ID == id && rig.ClosedAs(contract.OutcomeRecovered)(i)
		})
		save(t, c, id, name)
	}
	ask(contract.BackupCreate, "weekly")
	ask(contract.BackupCheck, "weekly")
	require.NoError(t, cluster.CorruptDisk("VM1"))
	require.NoError(t, cluster.KillVM("VM1"))
	require.NoError(t, s.ReportFault(t.Context(), rig.Crash(vm, "A")))
	inc := rig.Incident(t, s, "VM1", "asks", func(i contract.Incident) bool { return i.Proposal != nil })
	_, err := s.Act(t.Context(), inc.ID, contract.Act{Verb: contract.VerbApprove, By: "recorder", Why: "to be recorded"})
	require.NoError(t, err)
	restored(inc.ID, "restored-when-approved")
	restored(ask(contract.BackupRestore, "weekly").IncidentID, "restored-as-asked")
	all := ask(contract.BackupList, "").Backups
	restored(ask(contract.BackupRestore, all[1].Name).IncidentID, "restored-and-undone")
	saveSoFar(t, c, contract.GuardianID(rig.Site, vm.UUID), "backups")
}
