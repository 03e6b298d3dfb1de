package starter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	schedulepb "go.temporal.io/api/schedule/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"holdfast/internal/contract"
)

// ScheduleChanges are the schedules that were made, changed, removed, or left alone
// although no policy asks for them any more, by their IDs.
type ScheduleChanges struct{ Made, Changed, Removed, Left []string }

// Any reports whether anything was done.
func (c ScheduleChanges) Any() bool { return len(c.Made)+len(c.Changed)+len(c.Removed) > 0 }

// mostJitter and the tenth of the period bound how late a round may begin, so that
// those of many sites and classes do not begin in the same second.
const mostJitter = 5 * time.Minute

// madeByMemo marks the schedules that KeepSchedules made; no other is ever removed.
const madeByMemo = "holdfast"

// KeepSchedules makes the schedules of a site in Temporal what they should be. To do
// so twice, or by two at the same time, is the same as once. Whether a schedule is
// paused, and the note on it, is left to people: one that is paused stays paused, and
// is not removed either when nothing asks for it any more.
func (c *Client) KeepSchedules(ctx context.Context, namespace, site string, want []contract.Schedule) (ScheduleChanges, error) {
	var out ScheduleChanges
	for _, s := range want {
		if err := c.keepSchedule(ctx, namespace, s, &out); err != nil {
			return out, fmt.Errorf("schedule %s: %w", s.ID, explain(err))
		}
	}
	have, err := c.listSchedules(ctx, site)
	if err != nil {
		return out, explain(err)
	}
	for _, entry := range have {
		wanted := slices.ContainsFunc(want, func(s contract.Schedule) bool { return s.ID == entry.ID })
		_, ours := entry.Memo.GetFields()[madeByMemo]
		if wanted || !ours {
			continue
		}
		if err := c.removeSchedule(ctx, entry.ID, &out); err != nil {
			return out, fmt.Errorf("removing schedule %s: %w", entry.ID, explain(err))
		}
	}
	return out, nil
}

// listSchedules are those of a site, by Temporal's index, which may be seconds late.
func (c *Client) listSchedules(ctx context.Context, site string) ([]*client.ScheduleListEntry, error) {
	list, err := c.temporal.ScheduleClient().List(ctx, client.ScheduleListOptions{
		PageSize: 200, Query: fmt.Sprintf("%s = '%s'", contract.AttrSite.GetName(), quoted(site)),
	})
	if err != nil {
		return nil, err
	}
	var out []*client.ScheduleListEntry
	for list.HasNext() {
		entry, err := list.Next()
		if err != nil {
			return nil, err
		}
		if contract.IsSchedule(site, entry.ID) {
			out = append(out, entry)
		}
	}
	return out, nil
}

func (c *Client) removeSchedule(ctx context.Context, id string, out *ScheduleChanges) error {
	handle := c.temporal.ScheduleClient().GetHandle(ctx, id)
	is, err := handle.Describe(ctx)
	var gone *serviceerror.NotFound
	switch {
	case errors.As(err, &gone): // another worker was faster, or the index is late
		return nil
	case err != nil:
		return err
	case is.Schedule.State.Paused:
		out.Left = append(out.Left, id)
		return nil
	}
	if err := handle.Delete(ctx); err != nil && !errors.As(err, &gone) {
		return err
	}
	out.Removed = append(out.Removed, id)
	return nil
}

func (c *Client) keepSchedule(ctx context.Context, namespace string, s contract.Schedule, out *ScheduleChanges) error {
	_, err := c.temporal.ScheduleClient().Create(ctx, scheduleOptions(s))
	switch {
	case err == nil:
		out.Made = append(out.Made, s.ID)
		return nil
	case !errors.Is(err, temporal.ErrScheduleAlreadyRunning):
		return err
	}
	// Temporal takes a change and drops it later, without a word, if somebody else was
	// faster. So it is looked whether it took.
	told := false
	for wait := 50 * time.Millisecond; ; wait *= 2 {
		differed, err := c.changeSchedule(ctx, namespace, s)
		var conflict *serviceerror.FailedPrecondition
		var busy *serviceerror.ResourceExhausted // it answers one question at a time
		switch {
		case err == nil && !differed:
			return nil
		case err != nil && !errors.As(err, &conflict) && !errors.As(err, &busy):
			return err
		case wait > longestTry && err == nil:
			return errors.New("it does not stay what it was changed to: does somebody else change it?")
		case wait > longestTry:
			return err
		case err == nil && !told:
			told = true
			out.Changed = append(out.Changed, s.ID)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// longestTry is the most between two tries to change a schedule.
const longestTry = 5 * time.Second

func scheduleOptions(s contract.Schedule) client.ScheduleOptions {
	whose := "site " + s.Round.Site
	if s.Round.Class != "" {
		whose = fmt.Sprintf("class %s of site %s", s.Round.Class, s.Round.Site)
	}
	does := "snapshots of the VMs of "
	if s.Round.Verify {
		does = "trials of the newest snapshots of the VMs of "
	}
	attrs := temporal.NewSearchAttributes(contract.AttrSite.ValueSet(s.Round.Site))
	return client.ScheduleOptions{
		ID:            s.ID,
		Spec:          client.ScheduleSpec{Intervals: []client.ScheduleIntervalSpec{{Every: s.Every}}, Jitter: jitterOf(s)},
		Overlap:       enumspb.SCHEDULE_OVERLAP_POLICY_SKIP,
		CatchupWindow: s.Every,
		Note:          fmt.Sprintf("Made by holdfast worker from the section snapshots of the site file, for %s. Change it there: what is changed here is put back. To stop it for a while, pause it here: it stays paused.", whose),
		Memo:          map[string]any{madeByMemo: "made from the site file"},
		Action: &client.ScheduleWorkflowAction{
			ID: s.ID, Workflow: contract.WorkflowRound, Args: []any{s.Round}, TaskQueue: contract.WorkflowQueue,
			WorkflowTaskTimeout: taskTimeout, StaticSummary: does + whose, TypedSearchAttributes: attrs,
		},
		TypedSearchAttributes: attrs,
	}
}

func jitterOf(s contract.Schedule) time.Duration { return min(s.Every/10, mostJitter) }

// changeSchedule asks for when, what and how of a schedule to be what they should be,
// and says whether they were not. It goes below the SDK's own Update, which writes
// what it has read before: who pauses a schedule between the two would find it going
// on.
func (c *Client) changeSchedule(ctx context.Context, namespace string, s contract.Schedule) (differed bool, err error) {
	service := c.temporal.WorkflowService()
	is, err := service.DescribeSchedule(ctx, &workflowservice.DescribeScheduleRequest{Namespace: namespace, ScheduleId: s.ID})
	if err != nil {
		return false, err
	}
	args, err := converter.GetDefaultDataConverter().ToPayloads(s.Round)
	if err != nil {
		return false, err
	}
	next := proto.CloneOf(is.GetSchedule())
	start := next.GetAction().GetStartWorkflow()
	if start == nil || start.GetWorkflowType().GetName() != contract.WorkflowRound {
		return false, fmt.Errorf("there is one of that name that starts no %s: rename it", contract.WorkflowRound)
	}
	next.Spec = &schedulepb.ScheduleSpec{
		Interval: []*schedulepb.IntervalSpec{{Interval: durationpb.New(s.Every), Phase: durationpb.New(0)}}, Jitter: durationpb.New(jitterOf(s)),
	}
	next.Policies = &schedulepb.SchedulePolicies{OverlapPolicy: enumspb.SCHEDULE_OVERLAP_POLICY_SKIP, CatchupWindow: durationpb.New(s.Every)}
	if !sameArgs(start.GetInput(), args) {
		start.Input = args
	}
	if proto.Equal(next, is.GetSchedule()) {
		return false, nil
	}
	_, err = service.UpdateSchedule(ctx, &workflowservice.UpdateScheduleRequest{
		Namespace: namespace, ScheduleId: s.ID, Schedule: next, ConflictToken: is.GetConflictToken(), RequestId: uuid.NewString(),
	})
	return err == nil, err
}

// sameArgs compares what two lists of arguments hold: how they are labelled differs
// from server to server.
func sameArgs(a, b *commonpb.Payloads) bool {
	return slices.EqualFunc(a.GetPayloads(), b.GetPayloads(), func(x, y *commonpb.Payload) bool {
		return slices.Equal(x.GetData(), y.GetData())
	})
}
