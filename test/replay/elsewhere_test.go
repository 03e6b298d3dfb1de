package replay

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/contract"
	"holdfast/internal/hypervisor/simulated"
	"holdfast/internal/ladder"
	"holdfast/starter"
	"holdfast/test/rig"
)

// recordElsewhere has VMs that their host cannot start: one gets well on another host,
// and one does not get well anywhere, so that it is brought back, twice.
func recordElsewhere(t *testing.T) {
	c := rig.Dial(t, rig.Temporal(t).Address)
	s := starter.New(c)
	cluster := simulated.New(simulated.Options{Site: rig.Site, Hosts: 3, VMsPerHost: 2})
	policy := rig.Policy()
	policy.MaxFailures = 1
	policy.Probes = ladder.Probes{Agent: ladder.AgentRequired, Within: time.Second}
	rig.Serve(t, c, cluster, policy)
	crash := func(name string) {
		vm, _ := cluster.VM(name)
		require.NoError(t, cluster.FailStartsOn(name, "A", -1))
		require.NoError(t, cluster.KillVM(name))
		require.NoError(t, s.ReportFault(t.Context(), rig.Crash(vm, "A")))
	}
	crash("VM1")
	inc := rig.Incident(t, s, "VM1", "recovered", rig.ClosedAs(contract.OutcomeRecovered))
	save(t, c, inc.ID, "elsewhere")
	require.NoError(t, cluster.CorruptDisk("VM4"))
	crash("VM4")
	inc = rig.Incident(t, s, "VM4", "needs a person", func(i contract.Incident) bool { return i.NeedsPerson })
	_, err := s.Act(t.Context(), inc.ID, contract.Act{Verb: contract.VerbCancel, By: "recorder", Why: "to be recorded"})
	require.NoError(t, err)
	rig.Incident(t, s, "VM4", "cancelled", rig.ClosedAs(contract.OutcomeCancelled))
	save(t, c, inc.ID, "elsewhere-and-brought-back")
}
