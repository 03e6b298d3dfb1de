package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	sdkworker "go.temporal.io/sdk/worker"

	"holdfast/activities"
	"holdfast/internal/contract"
	"holdfast/starter"
)

// Watcher knows what is wrong at a site: a monitor.
type Watcher = activities.Watcher

// MonitorService answers questions to a monitor. It outlives a Temporal which is
// away, as Service does; several of one site share the questions.
type MonitorService struct {
	serving
}

// MonitorOptions may be left zero.
type MonitorOptions struct {
	// Check is how often Temporal is asked whether it is there; 0 means 5 s.
	Check  time.Duration
	Logger *slog.Logger // nil: slog.Default()
}

// NewMonitorService checks its arguments. Nothing runs until Run.
func NewMonitorService(c client.Client, site string, w Watcher, o MonitorOptions) (*MonitorService, error) {
	switch {
	case c == nil:
		return nil, errors.New("monitor: no Temporal client")
	case site == "":
		return nil, errors.New("monitor: site is empty")
	case w == nil:
		return nil, fmt.Errorf("monitor: nobody to ask about site %s", site)
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	s := &MonitorService{}
	s.name, s.ask, s.check, s.log = "monitor", starter.New(c), o.Check, o.Logger.With("site", site, "queue", contract.MonitorQueue(site))
	s.build = func() (runs, error) { return newAnswers(c, site, w), nil }
	s.setDefaults()
	return s, nil
}

// Run answers until ctx ends. While Temporal is away it tries again, at growing
// intervals.
func (s *MonitorService) Run(ctx context.Context) error {
	s.run(ctx)
	return nil
}

// Ready says why no question gets through, or nil. It asks nobody.
func (s *MonitorService) Ready() error { return s.ready() }

const (
	// answersAtOnce bounds the questions that a monitor answers at the same time.
	answersAtOnce = 8
	// answerStop is how long an answer may take to end when the monitor stops.
	answerStop = 2 * time.Second
)

// answers is a worker of the SDK for one attempt.
type answers struct {
	worker sdkworker.Worker
	fatal  chan error
}

func newAnswers(c client.Client, site string, w Watcher) *answers {
	a := &answers{fatal: make(chan error, 1)}
	a.worker = sdkworker.New(c, contract.MonitorQueue(site), sdkworker.Options{
		DisableWorkflowWorker:              true,
		WorkerStopTimeout:                  answerStop,
		MaxConcurrentActivityExecutionSize: answersAtOnce,
		MaxConcurrentActivityTaskPollers:   2,
		OnFatalError:                       func(err error) { a.fatal <- err },
	})
	a.worker.RegisterActivityWithOptions(activities.NewQuestions(w), activity.RegisterOptions{})
	return a
}

// Run answers until ctx ends or the worker gives up.
func (a *answers) Run(ctx context.Context) error {
	if err := a.worker.Start(); err != nil {
		return fmt.Errorf("monitor: serving questions: %w", err)
	}
	defer a.worker.Stop()
	select {
	case <-ctx.Done():
		return nil
	case err := <-a.fatal:
		return fmt.Errorf("monitor: %w", err)
	}
}
