// Package workflows orchestrates repairs: it decides when and in which order, and
// leaves what touches the world to activities. One file per workflow; what goes
// in and out, and under which names, is in internal/contract.
package workflows

import (
	"errors"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"holdfast/internal/contract"
)

const (
	// taskTimeout bounds one workflow task. Ours take milliseconds; what it really
	// sets is how long a worker that died with one in hand delays a repair.
	taskTimeout = 5 * time.Second
	// noWorkerAfter is how long an activity waits for a worker of its site before
	// that becomes something to tell a person (a branch, not a failure).
	noWorkerAfter = 10 * time.Second
	// deathNoticedAfter is the heartbeat timeout of the short steps: how long a
	// worker's death goes unnoticed. Steps that are worth cancelling, such as
	// copies, take 20 to 30 s instead.
	deathNoticedAfter = 5 * time.Second
)

// onSite returns a context for activities on a site's queue. The summary is what
// an operator reads beside the activity in the Temporal UI.
func onSite(ctx workflow.Context, site, summary string, startToClose time.Duration) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              contract.SiteQueue(site),
		Summary:                summary,
		ScheduleToStartTimeout: noWorkerAfter,
		StartToCloseTimeout:    startToClose,
		HeartbeatTimeout:       deathNoticedAfter,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval:    200 * time.Millisecond,
			BackoffCoefficient: 2,
			MaximumInterval:    5 * time.Second,
			// After this many tries the ladder looks again and decides anew.
			MaximumAttempts: 4,
		},
	})
}

// diskWorkNoticedAfter is the heartbeat timeout of the steps that [onDisks] is for.
const diskWorkNoticedAfter = 20 * time.Second

// onDisks is [onSite] for what writes to disks. Such a step is not cut off half-way:
// whoever cancels it waits until it has ended, so that its undo never runs beside it.
func onDisks(ctx workflow.Context, site, summary string, startToClose time.Duration) workflow.Context {
	o := workflow.GetActivityOptions(onSite(ctx, site, summary, startToClose))
	o.WaitForCancellation = true
	o.HeartbeatTimeout = diskWorkNoticedAfter
	return workflow.WithActivityOptions(ctx, o)
}

// askedWithin is how long a monitor may take to answer a question.
const askedWithin = 10 * time.Second

// onMonitor returns a context for questions to the monitors of a site, whichever
// of them answers first.
func onMonitor(ctx workflow.Context, site, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              contract.MonitorQueue(site),
		Summary:                summary,
		ScheduleToStartTimeout: noWorkerAfter,
		StartToCloseTimeout:    askedWithin,
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: 200 * time.Millisecond, MaximumAttempts: 2},
	})
}

// noWorker reports that an activity failed because nobody took it in time.
func noWorker(err error) bool {
	var timeout *temporal.TimeoutError
	return errors.As(err, &timeout) && timeout.TimeoutType() == enumspb.TIMEOUT_TYPE_SCHEDULE_TO_START
}

// failureType is the type of the application error inside err, or "" if there is none.
func failureType(err error) string {
	var app *temporal.ApplicationError
	if errors.As(err, &app) {
		return app.Type()
	}
	return ""
}

// failureText is what an operator should read of an activity's error: its
// cause, without Temporal's wrapping.
func failureText(err error) string {
	var app *temporal.ApplicationError
	if errors.As(err, &app) {
		return app.Message()
	}
	var timeout *temporal.TimeoutError
	if errors.As(err, &timeout) {
		return "no answer in time (" + timeout.TimeoutType().String() + ")"
	}
	return err.Error()
}
