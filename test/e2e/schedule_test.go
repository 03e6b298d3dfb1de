package e2e

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"holdfast/activities"
	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor/simulated"
	"holdfast/internal/ladder"
	"holdfast/starter"
	"holdfast/test/rig"
)

// scheduleRig is a site whose snapshots are made by schedules.
type scheduleRig struct {
	temporal client.Client
	s        *starter.Client
	site     string
}

// round triggers the schedule of a class, and roundOf any, and they wait for the end of the round that this begins.
func (r scheduleRig) round(t *testing.T, class string) contract.RoundResult {
	t.Helper()
	return r.roundOf(t, contract.ScheduleID(r.site, class))
}

func (r scheduleRig) roundOf(t *testing.T, id string) contract.RoundResult {
	t.Helper()
	last := func() (starter.RoundSummary, error) { // its ID is empty if there was none
		list, err := r.s.Schedules(t.Context(), r.site)
		if err != nil {
			return starter.RoundSummary{}, err
		}
		i := slices.IndexFunc(list, func(s starter.ScheduleSummary) bool { return s.ID == id })
		if i < 0 || list[i].Last == nil {
			return starter.RoundSummary{}, nil
		}
		return *list[i].Last, nil
	}
	var before starter.RoundSummary
	rig.Eventually(t, "another second", func() (err error) {
		before, err = last()
		// A round is called by the second in which it begins.
		if err == nil && !time.Now().Truncate(time.Second).After(before.Began) {
			err = errors.New("the same as that of the last round")
		}
		return err
	})
	// Temporal may not have noticed yet that the last one has ended.
	err := r.temporal.ScheduleClient().GetHandle(t.Context(), id).Trigger(t.Context(), client.ScheduleTriggerOptions{Overlap: enumspb.SCHEDULE_OVERLAP_POLICY_BUFFER_ONE})
	require.NoError(t, err)
	var out contract.RoundResult
	rig.Eventually(t, "a round of "+id, func() error {
		l, err := last()
		switch {
		case err != nil:
			return err
		case l.WorkflowID == before.WorkflowID:
			return errors.New("has not begun")
		case l.Result == nil || l.State == "running":
			return fmt.Errorf("is %s: %s %+v", l.State, l.Error, l.Result)
		}
		out = *l.Result
		return nil
	})
	return out
}

func (r scheduleRig) snapshots(t *testing.T, vm fault.VM, host string) []contract.Snapshot {
	t.Helper()
	reply, err := r.s.Snapshot(t.Context(), contract.SnapshotRequest{Site: r.site, By: "tester", SnapshotInput: contract.SnapshotInput{VM: vm, Host: host, Verb: contract.SnapshotList}})
	require.NoError(t, err)
	return reply.Snapshots
}

// seldom: the only rounds are those that a test triggers.
const seldom = 8760 * time.Hour

func simulatedSchedules(t *testing.T, cluster *simulated.Cluster) scheduleRig {
	t.Helper()
	c := rig.Dial(t, rig.Temporal(t).Address)
	r := scheduleRig{c, starter.New(c), rig.Site}
	policy := func(class string) contract.SnapshotPolicy {
		return contract.SnapshotPolicy{Class: class, Every: seldom, Keep: "1d"}
	}
	rig.Serve(t, c, cluster, rig.Policy(), func(o *activities.Options) {
		o.PolicyFor = func(_ fault.Kind, _ map[string]string, annotated string) ladder.Policy {
			p := rig.Policy()
			p.Observe, p.ObserveWhy = annotated == "observe", "the annotation of the VM"
			return p
		}
		o.AskGuardian = r.s.Snapshot
		o.Snapshots = func(labels map[string]string) contract.SnapshotPolicy {
			if labels["tier"] == "db" {
				return policy("db")
			}
			return policy("")
		}
	})
	var want []contract.Schedule
	for _, class := range []string{"", "db"} {
		id := contract.ScheduleID(rig.Site, class)
		round := contract.RoundInput{Site: rig.Site, Class: class, Schedule: id, Every: "8760h", Keep: "1d", AtOnce: 8}
		want = append(want, contract.Schedule{ID: id, Every: seldom, Round: round})
		round.Schedule, round.Verify = contract.VerifyScheduleID(rig.Site, class), true
		want = append(want, contract.Schedule{ID: round.Schedule, Every: seldom, Round: round})
	}
	_, err := r.s.KeepSchedules(t.Context(), client.DefaultNamespace, rig.Site, want)
	require.NoError(t, err)
	return r
}

// TestSchedules has snapshots made and pruned of a simulated site: round after round
// the chains stay as short as the rule wants.
func TestSchedules(t *testing.T) {
	cluster := simulated.New(simulated.Options{Site: rig.Site, Hosts: 3, VMsPerHost: 3})
	r := simulatedSchedules(t, cluster)
	vm := func(name string) fault.VM {
		v, ok := cluster.VM(name)
		require.True(t, ok)
		return fault.VM{UUID: v.UUID, Name: name}
	}
	annotate := func(name string, changes ...string) {
		_, err := r.s.Annotate(t.Context(), contract.AnnotateRequest{Site: rig.Site, By: "tester", AnnotateInput: contract.AnnotateInput{VM: vm(name), Changes: changes}})
		require.NoError(t, err)
	}
	hosts := map[string]string{}
	inv, err := r.s.Inventory(t.Context(), rig.Site)
	require.NoError(t, err)
	for _, v := range inv.VMs {
		hosts[v.VM.Name] = v.Host
	}

	annotate("VM2", "tier=db")
	annotate("VM3", "hold=ann: moves its disk")
	require.NoError(t, cluster.ShutdownVM("VM4"))
	// VM5 hangs, and is only observed: its incident stays, and so does its QEMU.
	annotate("VM5", "mode=observe")
	require.NoError(t, cluster.HangVM("VM5"))
	sim, _ := cluster.VM("VM5")
	hung := rig.Crash(sim, hosts["VM5"])
	hung.Kind, hung.Why = fault.KindHung, "VM5 hangs"
	require.NoError(t, r.s.ReportFault(t.Context(), hung))
	inc := rig.Incident(t, r.s, "VM5", "is observed", func(i contract.Incident) bool { return i.Stage == contract.StageObserve })
	require.NoError(t, cluster.PanicVM("VM6"))
	_, err = r.s.Snapshot(t.Context(), contract.SnapshotRequest{Site: rig.Site, By: "ann", SnapshotInput: contract.SnapshotInput{VM: vm("VM1"), Host: hosts["VM1"], Verb: contract.SnapshotCreate, Name: "mine"}})
	require.NoError(t, err)

	t.Run("each VM that runs has its turn", func(t *testing.T) {
		out := r.round(t, "")
		require.Equal(t, 4, out.Made, "%+v", out) // VM1, VM7, VM8, VM9
		require.Equal(t, 1, out.NotRunning, "VM4")
		why := map[string]contract.PassedFor{}
		for _, n := range out.Skipped {
			why[n.VM] = n.Passed
			if n.VM == "VM5" {
				require.Contains(t, n.Why, inc.ID+" has the VM")
			}
		}
		require.Equal(t, map[string]contract.PassedFor{"VM3": contract.PassedHeld, "VM5": contract.PassedBusy, "VM6": contract.PassedNotRunning}, why)
		require.Empty(t, out.Failures)
		require.True(t, out.Complete())
		list := r.snapshots(t, vm("VM1"), hosts["VM1"])
		require.Len(t, list, 2)
		require.True(t, list[1].Scheduled())
		require.False(t, list[0].Scheduled())
		require.Empty(t, r.snapshots(t, vm("VM2"), hosts["VM2"]), "it is of another class")
		require.Equal(t, 1, r.round(t, "db").Made)
		require.Len(t, r.snapshots(t, vm("VM2"), hosts["VM2"]), 1)
	})
	t.Run("round after round there are no more", func(t *testing.T) {
		pruned := 0
		for range 4 {
			out := r.round(t, "")
			require.Equal(t, 4, out.Made, "%+v", out)
			require.Zero(t, out.NotPruned, "%+v", out.Stuck)
			pruned += out.Pruned
		}
		require.Equal(t, 4*3, pruned, "of five each the two newest stay")
		for _, name := range []string{"VM1", "VM7", "VM8", "VM9"} {
			list := slices.DeleteFunc(r.snapshots(t, vm(name), hosts[name]), func(s contract.Snapshot) bool { return !s.Scheduled() })
			require.Len(t, list, 2, name)
		}
		require.Equal(t, "mine", r.snapshots(t, vm("VM1"), hosts["VM1"])[0].Name, "what a person made stays")
	})
	t.Run("a failure is told with its VM", func(t *testing.T) {
		require.NoError(t, cluster.FailSnapshots("VM7", 1))
		out := r.round(t, "")
		require.False(t, out.Complete())
		require.Equal(t, 3, out.Made)
		require.Len(t, out.Failures, 1)
		require.Equal(t, "VM7", out.Failures[0].VM)
		require.Contains(t, out.Failures[0].Why, "no space left on device")
	})
	t.Run("a person sees what would be pruned, and prunes", func(t *testing.T) {
		req := contract.SnapshotRequest{Site: rig.Site, By: "ann", SnapshotInput: contract.SnapshotInput{
			VM: vm("VM8"), Host: hosts["VM8"], Verb: contract.SnapshotPrune, Turn: &contract.TurnInput{DryRun: true},
		}}
		reply, err := r.s.Snapshot(t.Context(), req)
		require.NoError(t, err)
		require.Equal(t, "1d", reply.Turn.Rule)
		require.Len(t, reply.Turn.Plan, 2)
		req.Turn = &contract.TurnInput{}
		reply, err = r.s.Snapshot(t.Context(), req)
		require.NoError(t, err)
		require.Empty(t, reply.Turn.Pruned)
		req.VM, req.Host = vm("VM5"), hosts["VM5"]
		_, err = r.s.Snapshot(t.Context(), req)
		require.ErrorContains(t, err, inc.ID+" has the VM")
	})
	t.Run("the newest are tried", func(t *testing.T) {
		annotate("VM9", "mode=observe")
		out := r.roundOf(t, contract.VerifyScheduleID(rig.Site, ""))
		require.Equal(t, 3, out.Verified, "%+v", out) // VM1, VM7, VM8
		require.Zero(t, out.Made)
		require.Empty(t, out.Failures)
		require.Contains(t, out.Skipped, contract.RoundNote{VM: "VM9", Host: hosts["VM9"], Passed: contract.PassedHeld, Why: "its annotation says observe: nothing is done to it"})
		for _, host := range []string{"A", "B", "C"} {
			left, err := cluster.Trials(host)
			require.NoError(t, err)
			require.Empty(t, left)
		}
	})
	require.Empty(t, cluster.TwoCopies())
}
