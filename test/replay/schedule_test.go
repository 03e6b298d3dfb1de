package replay

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"holdfast/activities"
	"holdfast/internal/contract"
	"holdfast/internal/hypervisor/simulated"
	"holdfast/starter"
	"holdfast/test/rig"
)

// recordSchedules has a schedule go round three times: snapshots are made and pruned,
// and VMs fail, and are passed over.
func recordSchedules(t *testing.T) {
	c := rig.Dial(t, rig.Temporal(t).Address)
	s := starter.New(c)
	cluster := simulated.New(simulated.Options{Site: rig.Site, Hosts: 2, VMsPerHost: 2})
	rig.Serve(t, c, cluster, rig.Policy(), func(o *activities.Options) {
		o.AskGuardian = s.Snapshot
		o.Snapshots = func(map[string]string) contract.SnapshotPolicy {
			return contract.SnapshotPolicy{Every: time.Hour, Keep: "1d"}
		}
	})
	id := contract.ScheduleID(rig.Site, "")
	want := contract.Schedule{ID: id, Every: time.Hour, Round: contract.RoundInput{
		Site: rig.Site, Schedule: id, Every: "1h", Keep: "1d", Spread: time.Second, AtOnce: 2,
	}}
	_, err := s.KeepSchedules(t.Context(), client.DefaultNamespace, rig.Site, []contract.Schedule{want})
	require.NoError(t, err)
	require.NoError(t, cluster.FailSnapshots("VM3", -1))
	require.NoError(t, cluster.SuspendVM("VM4"))
	before := ""
	for range 3 {
		require.NoError(t, c.ScheduleClient().GetHandle(t.Context(), id).Trigger(t.Context(), client.ScheduleTriggerOptions{}))
		rig.Eventually(t, "the round", func() error {
			list, err := s.Schedules(t.Context(), rig.Site)
			switch {
			case err != nil:
				return err
			case len(list) != 1 || list[0].Last == nil || list[0].Last.WorkflowID == before:
				return errors.New("none has begun")
			case list[0].Last.State == "running":
				return errors.New("it goes on")
			}
			before = list[0].Last.WorkflowID
			require.Equal(t, 2, list[0].Last.Result.Made)
			return nil
		})
	}
	save(t, c, before, "made-failed-passed-over")
	v, _ := cluster.VM("VM1")
	req := contract.SnapshotRequest{Site: rig.Site, By: "recorder", SnapshotInput: contract.SnapshotInput{Host: "A", Verb: contract.SnapshotPrune, Turn: &contract.TurnInput{}}}
	req.VM.UUID, req.VM.Name = v.UUID, v.Name
	_, err = s.Snapshot(t.Context(), req)
	require.NoError(t, err)
	saveSoFar(t, c, contract.GuardianID(rig.Site, v.UUID), "turns")
}
