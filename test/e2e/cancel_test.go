package e2e

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"

	"holdfast/activities"
	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/simulated"
	"holdfast/starter"
	"holdfast/test/rig"
)

// gated is a host whose first revert takes until it is let go, and that remembers in
// which order disks were written to.
type gated struct {
	hypervisor.Host
	began, goOn chan struct{}

	mu  sync.Mutex
	did []string
}

func (g *gated) note(what string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.did = append(g.did, what)
}

func (g *gated) RevertSnapshot(ctx context.Context, uuid, name string) error {
	g.note("begins " + name)
	defer g.note("ends " + name)
	if name == "good" {
		close(g.began)
		select {
		case <-g.goOn:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return g.Host.RevertSnapshot(ctx, uuid, name)
}

// TestCancelledInTheMiddleOfARevert: the undo waits until the revert has ended, and
// then the VM runs again as it was.
func TestCancelledInTheMiddleOfARevert(t *testing.T) {
	c := rig.Dial(t, rig.Temporal(t).Address)
	s := starter.New(c)
	cluster := simulated.New(simulated.Options{Site: rig.Site, Hosts: 1, VMsPerHost: 1})
	host := &gated{Host: cluster.Host("A"), began: make(chan struct{}), goOn: make(chan struct{})}
	hosts, err := hypervisor.NewSite(host)
	require.NoError(t, err)
	rig.Serve(t, c, cluster, rig.Policy(), func(o *activities.Options) { o.Hosts = hosts })
	sim, _ := cluster.VM("VM1")
	vm := fault.VM{UUID: sim.UUID, Name: sim.Name}
	require.NoError(t, cluster.MarkDisk("VM1", 1))
	_, err = host.CreateSnapshot(t.Context(), vm.UUID, hypervisor.SnapshotOptions{Name: "good", Memory: true})
	require.NoError(t, err)
	require.NoError(t, cluster.MarkDisk("VM1", 2))

	reply, err := s.Snapshot(t.Context(), contract.SnapshotRequest{
		Site: rig.Site, By: "ann", Why: "a test",
		SnapshotInput: contract.SnapshotInput{VM: vm, Host: "A", Verb: contract.SnapshotRestore, Name: "good"},
	})
	require.NoError(t, err)
	<-host.began
	_, err = s.Act(t.Context(), reply.IncidentID, contract.Act{Verb: contract.VerbCancel, By: "ann", Why: "not now"})
	require.NoError(t, err)
	asked := time.Now()
	// The task that cancels the revert would also have begun the undo.
	rig.Eventually(t, "the revert is asked to end", func() error {
		now, err := c.DescribeWorkflowExecution(t.Context(), reply.IncidentID, "")
		if err != nil {
			return err
		}
		require.Len(t, now.PendingActivities, 1, "nothing runs beside the revert")
		revert := now.PendingActivities[0]
		require.EqualValues(t, 1, revert.Attempt)
		if is := revert.State; is != enumspb.PENDING_ACTIVITY_STATE_CANCEL_REQUESTED {
			return fmt.Errorf("it is %s", is)
		}
		// It is told with the first beat after the cancel, and has to go on beating, or it
		// is taken for dead while it still writes.
		if beat := revert.LastHeartbeatTime.AsTime(); beat.Before(asked.Add(25 * time.Second)) {
			return fmt.Errorf("its last beat was %s after the cancel", beat.Sub(asked))
		}
		return nil
	})
	close(host.goOn)

	inc := rig.Incident(t, s, "VM1", "cancelled", rig.ClosedAs(contract.OutcomeCancelled))
	kept := contract.KeptName(inc.ID) + "-1"
	host.mu.Lock()
	did := slices.Clone(host.did)
	host.mu.Unlock()
	require.Equal(t, []string{"begins good", "ends good", "begins " + kept, "ends " + kept}, did)
	mark, err := cluster.DiskMark("VM1")
	require.NoError(t, err)
	require.EqualValues(t, 2, mark, "its disk is as it was")
	d, err := host.Domain(t.Context(), vm.UUID)
	require.NoError(t, err)
	require.True(t, d.State.Running(), "it runs again: %v", inc.Timeline)
}
