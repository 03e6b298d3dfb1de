package e2e

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

// TestSnapshots has VMs of a simulated site put back to what they were, by an
// incident and by a person.
func TestSnapshots(t *testing.T) {
	c := rig.Dial(t, rig.Temporal(t).Address)
	s := starter.New(c)
	cluster := simulated.New(simulated.Options{Site: rig.Site, Hosts: 2, VMsPerHost: 2})
	policy := rig.Policy()
	policy.MaxFailures, policy.Approval = 2, []ladder.Rung{ladder.RungSnapshot}
	policy.Probes = ladder.Probes{Agent: ladder.AgentRequired, Within: 2 * time.Second}
	rig.Serve(t, c, cluster, policy)
	vm, ok := cluster.VM("VM1")
	require.True(t, ok)
	ask := func(verb contract.SnapshotVerb, name string) (contract.SnapshotReply, error) {
		return s.Snapshot(t.Context(), contract.SnapshotRequest{
			Site: rig.Site, By: "ann", Why: "a test",
			SnapshotInput: contract.SnapshotInput{VM: fault.VM{UUID: vm.UUID, Name: vm.Name}, Host: "A", Verb: verb, Name: name},
		})
	}

	t.Run("made, listed, refused", func(t *testing.T) {
		require.NoError(t, cluster.MarkDisk("VM1", 1))
		made, err := ask(contract.SnapshotCreate, "good")
		require.NoError(t, err)
		require.Empty(t, made.Note, "its agent answers")
		require.Len(t, made.Snapshots, 1)
		_, err = ask(contract.SnapshotCreate, "good")
		require.ErrorContains(t, err, `has a snapshot "good" already`)
		_, err = ask(contract.SnapshotCreate, contract.KeptPrefix+"x")
		require.ErrorContains(t, err, "are for what Holdfast keeps")
		_, err = ask(contract.SnapshotRestore, "bad")
		require.ErrorContains(t, err, `no snapshot "bad"`)
		_, err = ask(contract.SnapshotDelete, "bad")
		require.Error(t, err)
	})
	t.Run("a VM that does not boot any more is put back, once a person approves", func(t *testing.T) {
		require.NoError(t, cluster.MarkDisk("VM1", 2))
		require.NoError(t, cluster.CorruptDisk("VM1"))
		require.NoError(t, cluster.KillVM("VM1"))
		require.NoError(t, s.ReportFault(t.Context(), rig.Crash(vm, "A")))
		inc := rig.Incident(t, s, "VM1", "asks for approval", func(i contract.Incident) bool { return i.Proposal != nil })
		require.Equal(t, ladder.RungSnapshot, inc.Proposal.Rung)
		require.Len(t, inc.Attempts, 2, "it was restarted first")
		require.Contains(t, inc.Attempts[0].Error, "guest agent")
		_, err := ask(contract.SnapshotDelete, "good")
		require.ErrorContains(t, err, inc.ID+" has the VM")
		_, err = s.Act(t.Context(), inc.ID, contract.Act{Verb: contract.VerbApprove, By: "ann", Why: "go on"})
		require.NoError(t, err)
		_, err = s.Act(t.Context(), inc.ID, contract.Act{Verb: contract.VerbApprove, By: "bob", Why: "go on"})
		require.ErrorContains(t, err, "ann approved snapshot at")
		inc = rig.Incident(t, s, "VM1", "recovered", rig.ClosedAs(contract.OutcomeRecovered))
		require.Equal(t, contract.Stage(ladder.RungSnapshot), inc.Stage)
		mark, err := cluster.DiskMark("VM1")
		require.NoError(t, err)
		require.EqualValues(t, 1, mark)
	})
	t.Run("what was before can be had back, and does not verify, and is put away again", func(t *testing.T) {
		list, err := ask(contract.SnapshotList, "")
		require.NoError(t, err)
		require.Len(t, list.Snapshots, 2)
		before := list.Snapshots[1]
		require.True(t, before.Kept)
		reply, err := ask(contract.SnapshotRestore, before.Name)
		require.NoError(t, err)
		inc := rig.Incident(t, s, "VM1", "recovered", rig.ClosedAs(contract.OutcomeRecovered))
		require.Equal(t, reply.IncidentID, inc.ID)
		require.Equal(t, ladder.RungSnapshot, inc.Attempts[0].Rung)
		require.False(t, inc.Attempts[0].OK, "its disk is corrupt")
		mark, err := cluster.DiskMark("VM1")
		require.NoError(t, err)
		require.EqualValues(t, 1, mark, "the good state was put back")
		list, err = ask(contract.SnapshotList, "")
		require.NoError(t, err)
		require.Len(t, list.Snapshots, 3, "a layer of a VM that is shut off cannot be given up, and is left behind")
	})
}
