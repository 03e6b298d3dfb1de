package e2e

import (
	"errors"
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

// TestTrials has copies of VMs of a simulated site booted from snapshots and from a
// backup, and ended when their VM is wanted for a repair.
func TestTrials(t *testing.T) {
	c := rig.Dial(t, rig.Temporal(t).Address)
	s := starter.New(c)
	cluster := simulated.New(simulated.Options{Site: rig.Site, Hosts: 1, VMsPerHost: 1})
	policy := rig.Policy()
	policy.Probes = ladder.Probes{Agent: ladder.AgentRequired, Within: 2 * time.Second}
	rig.Serve(t, c, cluster, policy, func(o *activities.Options) {
		o.BackupsTo = func(map[string]string) string { return simulated.BackupFolder }
	})
	vm, ok := cluster.VM("VM1")
	require.True(t, ok)
	ref := fault.VM{UUID: vm.UUID, Name: vm.Name}
	ask := func(verb contract.SnapshotVerb, name string, within time.Duration) (contract.SnapshotReply, error) {
		return s.Snapshot(t.Context(), contract.SnapshotRequest{
			Site: rig.Site, By: "ann", SnapshotInput: contract.SnapshotInput{VM: ref, Host: "A", Verb: verb, Name: name, Within: within},
		})
	}
	boot := func(name string) (contract.BackupReply, error) {
		return s.Backup(t.Context(), contract.BackupRequest{
			Site: rig.Site, By: "ann", BackupInput: contract.BackupInput{VM: ref, Host: "A", Verb: contract.BackupCheck, Name: name, Boot: true},
		})
	}
	nothingLeft := func(t *testing.T) {
		left, err := cluster.Trials("A")
		require.NoError(t, err)
		require.Empty(t, left)
		require.Empty(t, cluster.TwoCopies())
	}
	for _, name := range []string{"good", "bad"} {
		_, err := ask(contract.SnapshotCreate, name, 0)
		require.NoError(t, err)
	}
	require.NoError(t, cluster.CorruptSnapshot("VM1", "bad"))

	t.Run("what boots and what does not", func(t *testing.T) {
		reply, err := ask(contract.SnapshotVerify, "good", 0)
		require.NoError(t, err)
		require.True(t, reply.Trial.Booted)
		require.Equal(t, contract.TrialByAgent, reply.Trial.By)
		reply, err = ask(contract.SnapshotVerify, "bad", time.Second)
		require.NoError(t, err)
		require.False(t, reply.Trial.Booted)
		_, err = ask(contract.SnapshotVerify, "none", 0)
		require.ErrorContains(t, err, `no snapshot "none"`)
		nothingLeft(t)
	})
	t.Run("a backup", func(t *testing.T) {
		_, err := s.Backup(t.Context(), contract.BackupRequest{
			Site: rig.Site, By: "ann", BackupInput: contract.BackupInput{VM: ref, Host: "A", Verb: contract.BackupCreate, Name: "weekly"},
		})
		require.NoError(t, err)
		reply, err := boot("weekly")
		require.NoError(t, err)
		require.True(t, reply.Trial.Booted)
		require.NoError(t, cluster.DamageBackups("VM1"))
		_, err = boot("weekly")
		require.Error(t, err, "it is not booted when its sum is wrong")
		nothingLeft(t)
	})
	t.Run("a repair comes first", func(t *testing.T) {
		type answer struct {
			contract.SnapshotReply
			err error
		}
		answers := make(chan answer, 1)
		go func() {
			reply, err := ask(contract.SnapshotVerify, "bad", time.Hour)
			answers <- answer{reply, err}
		}()
		rig.Eventually(t, "the copy of VM1 runs", func() error {
			if made, err := cluster.TrialOf("VM1"); err != nil || made == "" {
				return errors.Join(errors.New("there is none"), err)
			}
			return nil
		})
		require.NoError(t, cluster.KillVM("VM1"))
		require.NoError(t, s.ReportFault(t.Context(), rig.Crash(vm, "A")))
		rig.Incident(t, s, "VM1", "recovered", rig.ClosedAs(contract.OutcomeRecovered))
		got := <-answers
		require.ErrorContains(t, got.err, "wanted the VM, and the trial was ended for it")
		nothingLeft(t)
	})
}
