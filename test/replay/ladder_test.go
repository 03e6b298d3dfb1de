package replay

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor/simulated"
	"holdfast/internal/ladder"
	"holdfast/starter"
	"holdfast/test/rig"
)

// recordLadders has VMs repaired in all the ways there are, with people who say
// what they want.
func recordLadders(t *testing.T) {
	c := rig.Dial(t, rig.Temporal(t).Address)
	s := starter.New(c)
	cluster := simulated.New(simulated.Options{Site: rig.Site, Hosts: 1, VMsPerHost: 6})
	policy := rig.Policy()
	policy.MaxFailures, policy.Approval = 1, []ladder.Rung{ladder.RungSnapshot}
	policy.Probes = ladder.Probes{Agent: ladder.AgentRequired, Within: time.Second}
	rig.Serve(t, c, cluster, policy)
	report := func(vm string, kind fault.Kind) {
		v, _ := cluster.VM(vm)
		f := rig.Crash(v, "A")
		f.Kind = kind
		require.NoError(t, s.ReportFault(t.Context(), f))
	}
	tell := func(id string, verb contract.Verb) {
		_, err := s.Act(t.Context(), id, contract.Act{Verb: verb, By: "recorder", Why: "to be recorded"})
		require.NoError(t, err)
	}
	ask := func(vm string, verb contract.SnapshotVerb, name string) {
		v, _ := cluster.VM(vm)
		_, err := s.Snapshot(t.Context(), contract.SnapshotRequest{
			Site: rig.Site, By: "recorder",
			SnapshotInput: contract.SnapshotInput{VM: fault.VM{UUID: v.UUID, Name: v.Name}, Host: "A", Verb: verb, Name: name},
		})
		require.NoError(t, err)
	}
	recovered := func(vm, name string) {
		save(t, c, rig.Incident(t, s, vm, "recovered", rig.ClosedAs(contract.OutcomeRecovered)).ID, name)
	}

	require.NoError(t, cluster.PanicVM("VM1"))
	report("VM1", fault.KindPanicked)
	recovered("VM1", "reset")

	require.NoError(t, cluster.HangVM("VM2"))
	report("VM2", fault.KindHung)
	recovered("VM2", "hung-and-restarted")

	// Its disk is put back, once somebody approves, and a person puts it back again.
	ask("VM3", contract.SnapshotCreate, "good")
	require.NoError(t, cluster.CorruptDisk("VM3"))
	require.NoError(t, cluster.KillVM("VM3"))
	report("VM3", fault.KindCrashed)
	tell(rig.Incident(t, s, "VM3", "asks", func(i contract.Incident) bool { return i.Proposal != nil }).ID, contract.VerbApprove)
	recovered("VM3", "put-back-when-approved")
	ask("VM3", contract.SnapshotRestore, "good")
	rig.Eventually(t, "the second incident", func() error {
		if n, err := s.CountIncidents(t.Context(), starter.IncidentFilter{VM: "VM3"}); err != nil || n < 2 {
			return err
		}
		return nil
	})
	recovered("VM3", "put-back-as-asked")
	v, _ := cluster.VM("VM3")
	saveSoFar(t, c, contract.GuardianID(rig.Site, v.UUID), "snapshots")

	// Nothing helps; it is held, resumed, rejected, and cancelled.
	ask("VM4", contract.SnapshotCreate, "good")
	require.NoError(t, cluster.FailStarts("VM4", -1))
	require.NoError(t, cluster.KillVM("VM4"))
	report("VM4", fault.KindCrashed)
	id := rig.Incident(t, s, "VM4", "asks", func(i contract.Incident) bool { return i.Proposal != nil }).ID
	tell(id, contract.VerbHold)
	rig.Incident(t, s, "VM4", "is held", func(i contract.Incident) bool { return i.Stage == contract.StageHeld })
	tell(id, contract.VerbResume)
	rig.Incident(t, s, "VM4", "asks again", func(i contract.Incident) bool { return i.Proposal != nil })
	tell(id, contract.VerbReject)
	rig.Incident(t, s, "VM4", "needs a person", func(i contract.Incident) bool { return i.NeedsPerson && i.Proposal == nil })
	tell(id, contract.VerbCancel)
	save(t, c, id, "held-rejected-cancelled")

	require.NoError(t, cluster.FailDisk("VM5", false))
	report("VM5", fault.KindIOError)
	rig.Incident(t, s, "VM5", "tries", func(i contract.Incident) bool { return len(i.Attempts) > 1 })
	require.NoError(t, cluster.MendDisk("VM5"))
	recovered("VM5", "resumed")
}
