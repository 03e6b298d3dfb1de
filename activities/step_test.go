package activities_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/activities"
	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/simulated"
)

// To resume a VM is as good as to start it: what stands behind a host that does not
// answer may be a second copy.
func TestAStoppedQEMUGoesOnOnlyWithProof(t *testing.T) {
	c := simulated.New(simulated.Options{Site: site, Hosts: 2, VMsPerHost: 1})
	sim, _ := c.VM("VM1")
	a := of(t, c, nil)
	in := contract.StepInput{VM: fault.VM{UUID: sim.UUID, Name: "VM1"}, Host: "A"}

	require.NoError(t, c.CutHost("B"))
	_, err := a.Reset(t.Context(), in)
	require.NoError(t, err, "it runs, and so nothing is started by a reset")

	require.NoError(t, c.PauseVM("VM1", hypervisor.ReasonIOError))
	for name, step := range map[string]func(context.Context, contract.StepInput) (contract.StepResult, error){"resume": a.Resume, "reset": a.Reset} {
		_, err = step(t.Context(), in)
		require.ErrorContains(t, err, "B may be running it and cannot be asked", name)
		d, err := c.Host("A").Domain(t.Context(), sim.UUID)
		require.NoError(t, err)
		require.Equal(t, hypervisor.StatePaused, d.State, name)
	}

	in.Elsewhere = []fault.Sighting{{Host: "B", Absent: true, At: time.Now()}}
	_, err = a.Resume(t.Context(), in)
	require.NoError(t, err, "B did not know it when it last answered")
}

// slowRevert is a host whose reverts take until they are let go.
type slowRevert struct {
	hypervisor.Host
	began, goOn chan struct{}
	ended       error
}

func (s *slowRevert) RevertSnapshot(ctx context.Context, uuid, name string) error {
	close(s.began)
	select {
	case <-s.goOn:
	case <-ctx.Done():
	}
	s.ended = ctx.Err()
	return s.Host.RevertSnapshot(context.WithoutCancel(ctx), uuid, name)
}

// What writes to disks is not cut off: an undo would run beside it.
func TestACancelDoesNotCutARevertOff(t *testing.T) {
	c := simulated.New(simulated.Options{Site: site, Hosts: 1, VMsPerHost: 1})
	sim, _ := c.VM("VM1")
	_, err := c.Host("A").CreateSnapshot(t.Context(), sim.UUID, hypervisor.SnapshotOptions{Name: "s", Memory: true})
	require.NoError(t, err)
	require.NoError(t, c.KillVM("VM1"))
	slow := &slowRevert{Host: c.Host("A"), began: make(chan struct{}), goOn: make(chan struct{})}
	hosts, err := hypervisor.NewSite(slow)
	require.NoError(t, err)
	a := of(t, c, func(o *activities.Options) { o.Hosts = hosts })

	working, cancel := context.WithCancel(t.Context())
	in := contract.RevertInput{VM: fault.VM{UUID: sim.UUID, Name: "VM1"}, Host: "A", Name: "s"}
	done := make(chan error, 1)
	go func() {
		_, err := a.Revert(working, in)
		done <- err
	}()
	<-slow.began
	cancel()
	close(slow.goOn)
	require.NoError(t, <-done)
	require.NoError(t, slow.ended, "the cancel did not reach the call")
}
