//go:build bench

package bench

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	sdkworker "go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"golang.org/x/sync/errgroup"

	"holdfast/internal/hypervisor/simulated"
	"holdfast/starter"
	"holdfast/test/rig"
)

const (
	burstVMs    = 200
	burstRounds = 3
	// stepsOfRepair is how many activities a plain restart takes: Inspect, Start, Verify.
	stepsOfRepair = 3
)

// TestBurst crashes 200 simulated VMs at once and counts how many are repaired
// and verified a second; beside it, on the same Temporal server, how many
// workflows of as many empty activities complete a second: alone, and as the
// child of another that a signal starts, which is the shape of guardian and
// incident. The first ratio is what the design costs, the second what our code does.
func TestBurst(t *testing.T) {
	c := rig.Dial(t, rig.Temporal(t).Address)
	cluster := simulated.New(simulated.Options{Site: rig.Site, Hosts: 20, VMsPerHost: burstVMs / 20})
	policy := rig.Policy()
	policy.StableFor, policy.MaxFailures = 0, 1000 // rounds crash the same VMs again
	policy.BackoffInitial, policy.BackoffMax = 0, 0
	rig.Serve(t, c, cluster, policy)
	serveEmpty(t, c)

	var repaired, empty, pairs []float64
	for range burstRounds {
		empty = append(empty, emptyBurst(t, startEmpty(t, c)))
		pairs = append(pairs, emptyBurst(t, startPair(t, c)))
		repaired = append(repaired, repairBurst(t, c, cluster))
	}
	fmt.Printf("\n%d simulated VMs crash at once, %d rounds (medians)\n", burstVMs, burstRounds)
	for _, row := range []struct {
		name   string
		values []float64
	}{
		{"repaired and verified", repaired},
		{fmt.Sprintf("empty workflows of %d activities", stepsOfRepair), empty},
		{"the same as the child of a signalled parent", pairs},
	} {
		fmt.Printf("  %-44s %6.1f /s  Holdfast is %.2f of it\n", row.name, median(row.values), median(repaired)/median(row.values))
	}
}

func repairBurst(t *testing.T, c client.Client, cluster *simulated.Cluster) float64 {
	s := starter.New(c)
	var all errgroup.Group
	all.SetLimit(16) // as the monitor sends
	began := time.Now()
	before := closedIncidents(t, s)
	for _, vm := range cluster.VMs() {
		on, err := cluster.ActiveOn(vm.Name)
		require.NoError(t, err)
		require.NoError(t, cluster.KillVM(vm.Name))
		all.Go(func() error { return s.ReportFault(t.Context(), rig.Crash(vm, on[0])) })
	}
	require.NoError(t, all.Wait())
	// Asking Temporal costs what is being measured: it is asked only once every VM runs.
	rig.Eventually(t, "every VM runs again", func() error {
		for _, vm := range cluster.VMs() {
			if on, err := cluster.ActiveOn(vm.Name); err != nil || len(on) != 1 {
				return fmt.Errorf("%s is active on %v: %w", vm.Name, on, err)
			}
		}
		return nil
	})
	rig.Eventually(t, "every repair is verified", func() error {
		if n := closedIncidents(t, s) - before; n < burstVMs {
			return fmt.Errorf("%d of %d", n, burstVMs)
		}
		return nil
	})
	took := time.Since(began)
	require.Empty(t, cluster.TwoCopies())
	return burstVMs / took.Seconds()
}

func closedIncidents(t *testing.T, s *starter.Client) int {
	n, err := s.CountIncidents(t.Context(), starter.IncidentFilter{ClosedOnly: true})
	require.NoError(t, err)
	return n
}

const emptyQueue, emptySite = "bench.empty", "bench.empty.site"

func emptyWorkflow(ctx workflow.Context) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{TaskQueue: emptySite, StartToCloseTimeout: time.Minute})
	for range stepsOfRepair {
		if err := workflow.ExecuteActivity(ctx, "empty").Get(ctx, nil); err != nil {
			return err
		}
	}
	return nil
}

// emptyParent is the shape of a guardian: signalled, it runs one child to its end.
func emptyParent(ctx workflow.Context, child string) error {
	workflow.GetSignalChannel(ctx, "go").Receive(ctx, nil)
	ctx = workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{WorkflowID: child})
	return workflow.ExecuteChildWorkflow(ctx, emptyWorkflow).Get(ctx, nil)
}

// serveEmpty runs the empty workflow with the same kind of worker as Holdfast's.
func serveEmpty(t *testing.T, c client.Client) {
	pollers := sdkworker.NewPollerBehaviorAutoscaling(sdkworker.PollerBehaviorAutoscalingOptions{
		InitialNumberOfPollers: 4, MinimumNumberOfPollers: 2, MaximumNumberOfPollers: 16,
	})
	w := sdkworker.New(c, emptyQueue, sdkworker.Options{LocalActivityWorkerOnly: true, WorkflowTaskPollerBehavior: pollers})
	w.RegisterWorkflow(emptyWorkflow)
	w.RegisterWorkflow(emptyParent)
	a := sdkworker.New(c, emptySite, sdkworker.Options{DisableWorkflowWorker: true, MaxConcurrentActivityExecutionSize: 200, ActivityTaskPollerBehavior: pollers})
	a.RegisterActivityWithOptions(func(context.Context) error { return nil }, activity.RegisterOptions{Name: "empty"})
	require.NoError(t, w.Start())
	t.Cleanup(w.Stop)
	require.NoError(t, a.Start())
	t.Cleanup(a.Stop)
}

func startEmpty(t *testing.T, c client.Client) func() (client.WorkflowRun, error) {
	return func() (client.WorkflowRun, error) {
		return c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "empty/" + uuid.NewString(), TaskQueue: emptyQueue}, emptyWorkflow)
	}
}

func startPair(t *testing.T, c client.Client) func() (client.WorkflowRun, error) {
	return func() (client.WorkflowRun, error) {
		id := "pair/" + uuid.NewString()
		return c.SignalWithStartWorkflow(t.Context(), id, "go", nil, client.StartWorkflowOptions{TaskQueue: emptyQueue}, emptyParent, id+"/child")
	}
}

func emptyBurst(t *testing.T, start func() (client.WorkflowRun, error)) float64 {
	var all errgroup.Group
	all.SetLimit(16)
	var mu sync.Mutex
	var runs []client.WorkflowRun
	began := time.Now()
	for range burstVMs {
		all.Go(func() error {
			run, err := start()
			mu.Lock()
			defer mu.Unlock()
			runs = append(runs, run)
			return err
		})
	}
	require.NoError(t, all.Wait())
	for _, run := range runs {
		require.NoError(t, run.Get(t.Context(), nil))
	}
	return burstVMs / time.Since(began).Seconds()
}
