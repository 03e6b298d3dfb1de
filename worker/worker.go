// Package worker builds what runs Holdfast's workflows and one site's activities.
package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	sdkworker "go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"holdfast/activities"
	"holdfast/internal/contract"
	"holdfast/workflows"
)

// Options say what a worker serves.
type Options struct {
	Client     client.Client
	Site       string
	Activities *activities.Activities
	// StopTimeout is how long steps under way may take to end when the worker is
	// asked to stop; 0 means 30 s. The SDK's own default is not to wait at all.
	StopTimeout time.Duration
	// MaxActivities is the most steps of the site at once; 0 means 200.
	MaxActivities int
}

// Worker serves the workflow queue and the queue of one site.
type Worker struct {
	workflows sdkworker.Worker
	site      sdkworker.Worker
	fatal     chan error
}

// New registers everything. Nothing runs until Run.
func New(o Options) (*Worker, error) {
	switch {
	case o.Client == nil:
		return nil, errors.New("worker: no Temporal client")
	case o.Site == "":
		return nil, errors.New("worker: site is empty")
	case o.Activities == nil:
		return nil, fmt.Errorf("worker: site %s has no activities", o.Site)
	}
	if o.StopTimeout <= 0 {
		o.StopTimeout = 30 * time.Second
	}
	if o.MaxActivities <= 0 {
		o.MaxActivities = 200
	}
	w := &Worker{fatal: make(chan error, 2)}
	onFatal := func(err error) { w.fatal <- err }
	w.workflows = sdkworker.New(o.Client, contract.WorkflowQueue, sdkworker.Options{
		LocalActivityWorkerOnly:    true,
		WorkerStopTimeout:          o.StopTimeout,
		WorkflowTaskPollerBehavior: autoscaling(16),
		OnFatalError:               onFatal,
	})
	w.site = sdkworker.New(o.Client, contract.SiteQueue(o.Site), sdkworker.Options{
		DisableWorkflowWorker:              true,
		WorkerStopTimeout:                  o.StopTimeout,
		MaxConcurrentActivityExecutionSize: o.MaxActivities,
		ActivityTaskPollerBehavior:         autoscaling(16),
		OnFatalError:                       onFatal,
	})
	Register(w.workflows)
	w.site.RegisterActivityWithOptions(o.Activities, activity.RegisterOptions{})
	return w, nil
}

// Register registers every workflow under its name in contract.
func Register(r sdkworker.WorkflowRegistry) {
	for name, fn := range map[string]any{
		contract.WorkflowVM:         workflows.VM,
		contract.WorkflowHost:       workflows.Host,
		contract.WorkflowSite:       workflows.Site,
		contract.WorkflowRecoverVM:  workflows.RecoverVM,
		contract.WorkflowWatchFault: workflows.WatchFault,
		contract.WorkflowInventory:  workflows.Inventory,
		contract.WorkflowSimFault:   workflows.SimulateFault,
		contract.WorkflowFaults:     workflows.Faults,
		contract.WorkflowExplain:    workflows.Explain,
		contract.WorkflowProbe:      workflows.Probe,
		contract.WorkflowRound:      workflows.Round,
	} {
		r.RegisterWorkflowWithOptions(fn, workflow.RegisterOptions{Name: name})
	}
}

// Run serves until ctx ends, then lets steps under way finish within the stop
// timeout. It returns an error when it could not start or had to give up.
func (w *Worker) Run(ctx context.Context) error {
	if err := w.workflows.Start(); err != nil {
		return fmt.Errorf("worker: serving queue %s: %w", contract.WorkflowQueue, err)
	}
	defer w.workflows.Stop()
	if err := w.site.Start(); err != nil {
		return fmt.Errorf("worker: serving the site's queue: %w", err)
	}
	defer w.site.Stop()
	select {
	case <-ctx.Done():
		return nil
	case err := <-w.fatal:
		return fmt.Errorf("worker: %w", err)
	}
}

func autoscaling(most int) sdkworker.PollerBehavior {
	return sdkworker.NewPollerBehaviorAutoscaling(sdkworker.PollerBehaviorAutoscalingOptions{
		InitialNumberOfPollers: 4, MinimumNumberOfPollers: 2, MaximumNumberOfPollers: most,
	})
}
