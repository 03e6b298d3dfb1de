package starter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"holdfast/internal/contract"
)

// ScheduleSummary is a schedule as Temporal has it.
type ScheduleSummary struct {
	ID     string `json:"id"`
	Class  string `json:"class,omitempty"` // empty: VMs that no class says otherwise about
	Every  string `json:"every"`
	Keep   string `json:"keep"`
	Memory bool   `json:"memory,omitempty"`
	// Verify: it tries the newest snapshots, and makes none.
	Verify bool   `json:"verify,omitempty"`
	Paused bool   `json:"paused,omitempty"`
	Note   string `json:"note,omitempty"`
	// Next is when the next round begins; zero: never.
	Next time.Time `json:"next,omitzero"`
	// Skipped counts rounds that did not begin because the one before still ran.
	Skipped int `json:"skipped,omitempty"`
	// Last is the last round that began; nil: none has.
	Last *RoundSummary `json:"last,omitempty"`
}

// RoundSummary is a round and how it went, or goes.
type RoundSummary struct {
	WorkflowID string    `json:"workflowId"`
	Began      time.Time `json:"began"`
	// State is "running", "complete", "incomplete", or how Temporal says that it ended.
	State string `json:"state"`
	// Error is why Result could not be had.
	Error  string                `json:"error,omitempty"`
	Result *contract.RoundResult `json:"result,omitempty"`
}

// Schedules lists the schedules of a site, by their IDs.
func (c *Client) Schedules(ctx context.Context, site string) ([]ScheduleSummary, error) {
	list, err := c.listSchedules(ctx, site)
	if err != nil {
		return nil, explain(err)
	}
	var out []ScheduleSummary
	for _, entry := range list {
		is, err := c.temporal.ScheduleClient().GetHandle(ctx, entry.ID).Describe(ctx)
		var gone *serviceerror.NotFound
		if errors.As(err, &gone) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("schedule %s: %w", entry.ID, explain(err))
		}
		out = append(out, c.summarizeSchedule(ctx, entry.ID, is))
	}
	slices.SortFunc(out, func(a, b ScheduleSummary) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

func (c *Client) summarizeSchedule(ctx context.Context, id string, is *client.ScheduleDescription) ScheduleSummary {
	s := ScheduleSummary{
		ID: id, Paused: is.Schedule.State.Paused, Note: is.Schedule.State.Note, Skipped: is.Info.NumActionsSkippedOverlap,
	}
	if start, ok := is.Schedule.Action.(*client.ScheduleWorkflowAction); ok && len(start.Args) == 1 {
		if p, ok := start.Args[0].(*commonpb.Payload); ok {
			var round contract.RoundInput
			_ = converter.GetDefaultDataConverter().FromPayload(p, &round) // a person's own reads as empty
			s.Class, s.Every, s.Keep, s.Memory, s.Verify = round.Class, round.Every, round.Keep, round.Memory, round.Verify
		}
	}
	if next := is.Info.NextActionTimes; len(next) > 0 && !s.Paused {
		s.Next = next[0]
	}
	if recent := is.Info.RecentActions; len(recent) > 0 {
		last := recent[len(recent)-1]
		if last.StartWorkflowResult != nil {
			s.Last = c.round(ctx, last.StartWorkflowResult.WorkflowID, last.ActualTime)
		}
	}
	return s
}

// roundTime bounds the question to a round that runs: without a worker nobody
// answers it, and the list is of use all the same.
const roundTime = 5 * time.Second

// round says how a round went: what cannot be had is said in it.
func (c *Client) round(ctx context.Context, id string, began time.Time) *RoundSummary {
	out := &RoundSummary{WorkflowID: id, Began: began}
	failed := func(state string, err error) *RoundSummary {
		out.State, out.Error, out.Result = state, explain(err).Error(), nil
		return out
	}
	is, err := c.temporal.DescribeWorkflowExecution(ctx, id, "")
	var gone *serviceerror.NotFound
	if errors.As(err, &gone) {
		out.State = "forgotten"
		return out
	}
	if err != nil {
		return failed("unknown", err)
	}
	info := is.GetWorkflowExecutionInfo()
	run := info.GetExecution().GetRunId()
	out.Result = new(contract.RoundResult)
	switch info.GetStatus() {
	case enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED:
		if err := c.temporal.GetWorkflow(ctx, id, run).Get(ctx, out.Result); err != nil {
			return failed("unknown", err)
		}
		out.State = contract.RoundComplete
		if !out.Result.Complete() {
			out.State = contract.RoundIncomplete
		}
	case enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING:
		asking, cancel := context.WithTimeout(ctx, roundTime)
		defer cancel()
		value, err := c.temporal.QueryWorkflow(asking, id, run, contract.QueryRound)
		if err == nil {
			err = value.Get(out.Result)
		}
		if err != nil {
			return failed("running", err)
		}
		out.State = "running"
	default:
		err := c.temporal.GetWorkflow(ctx, id, run).Get(ctx, nil)
		if err == nil {
			err = errors.New("it has no result")
		}
		return failed(strings.ToLower(info.GetStatus().String()), err)
	}
	return out
}
