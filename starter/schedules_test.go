package starter_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"holdfast/internal/contract"
	"holdfast/starter"
	"holdfast/test/rig"
)

func schedule(class, keep string, every time.Duration) contract.Schedule {
	id := contract.ScheduleID(rig.Site, class)
	return contract.Schedule{ID: id, Every: every, Round: contract.RoundInput{
		Site: rig.Site, Class: class, Schedule: id, Every: every.String(), Keep: keep, AtOnce: 4,
	}}
}

// keeping is a site whose schedules are kept.
type keeping struct {
	*starter.Client
	temporal client.Client
}

func (k keeping) keep(t *testing.T, want ...contract.Schedule) starter.ScheduleChanges {
	t.Helper()
	out, err := k.KeepSchedules(t.Context(), client.DefaultNamespace, rig.Site, want)
	require.NoError(t, err)
	return out
}

func (k keeping) describe(t *testing.T, class string) *client.ScheduleDescription {
	t.Helper()
	is, err := k.temporal.ScheduleClient().GetHandle(t.Context(), contract.ScheduleID(rig.Site, class)).Describe(t.Context())
	require.NoError(t, err)
	return is
}

// listed waits until the index has so many schedules.
func (k keeping) listed(t *testing.T, n int) []starter.ScheduleSummary {
	t.Helper()
	var list []starter.ScheduleSummary
	rig.Eventually(t, fmt.Sprint(n, " schedules"), func() (err error) {
		if list, err = k.Schedules(t.Context(), rig.Site); err == nil && len(list) != n {
			err = fmt.Errorf("%d: %+v", len(list), list)
		}
		return err
	})
	return list
}

func TestSchedulesAreKept(t *testing.T) {
	c := rig.Dial(t, rig.Temporal(t).Address)
	k := keeping{starter.New(c), c}
	const site, db = "snapshots/" + rig.Site, "snapshots/" + rig.Site + "/db"

	t.Run("made once, whoever makes them at the same time", func(t *testing.T) {
		var all sync.WaitGroup
		made := make(chan string, 10)
		for range 4 {
			all.Go(func() {
				out, err := k.KeepSchedules(t.Context(), client.DefaultNamespace, rig.Site, []contract.Schedule{schedule("", "1d", 6*time.Hour), schedule("db", "4h", time.Hour)})
				if err != nil {
					t.Error(err)
				}
				for _, id := range append(out.Made, out.Changed...) {
					made <- id
				}
			})
		}
		all.Wait()
		close(made)
		var ids []string
		for id := range made {
			ids = append(ids, id)
		}
		require.ElementsMatch(t, []string{site, db}, ids)
		is := k.describe(t, "db")
		require.Contains(t, is.Schedule.State.Note, "Made by holdfast worker")
		require.Contains(t, is.Schedule.State.Note, "for class db of site test")
		require.Equal(t, enumspb.SCHEDULE_OVERLAP_POLICY_SKIP, is.Schedule.Policy.Overlap)
		require.Equal(t, time.Hour, is.Schedule.Policy.CatchupWindow)
		require.Equal(t, time.Hour, is.Schedule.Spec.Intervals[0].Every)
		require.Equal(t, 5*time.Minute, is.Schedule.Spec.Jitter)
		list := k.listed(t, 2)
		require.Equal(t, []string{"", "db"}, []string{list[0].Class, list[1].Class})
		require.Equal(t, "6h0m0s keeps 1d", list[0].Every+" keeps "+list[0].Keep)
		require.WithinDuration(t, time.Now().Add(3*time.Hour), list[0].Next, 3*time.Hour+5*time.Minute)
		require.Nil(t, list[0].Last)
		require.Equal(t, starter.ScheduleChanges{}, k.keep(t, schedule("", "1d", 6*time.Hour), schedule("db", "4h", time.Hour)), "nothing is left to do")
	})
	t.Run("changed, and a pause stays", func(t *testing.T) {
		handle := c.ScheduleClient().GetHandle(t.Context(), db)
		require.NoError(t, handle.Pause(t.Context(), client.SchedulePauseOptions{Note: "ann: storage is being moved"}))
		out := k.keep(t, schedule("", "1d", 6*time.Hour), schedule("db", "9h", 2*time.Hour))
		require.Equal(t, starter.ScheduleChanges{Changed: []string{db}}, out)
		is := k.describe(t, "db")
		require.True(t, is.Schedule.State.Paused)
		require.Equal(t, "ann: storage is being moved", is.Schedule.State.Note)
		require.Equal(t, 2*time.Hour, is.Schedule.Spec.Intervals[0].Every)
		list := k.listed(t, 2)
		require.Equal(t, "9h", list[1].Keep)
		require.True(t, list[1].Paused)
		require.Zero(t, list[1].Next)
	})
	t.Run("what a person changed is put back", func(t *testing.T) {
		handle := c.ScheduleClient().GetHandle(t.Context(), site)
		require.NoError(t, handle.Update(t.Context(), client.ScheduleUpdateOptions{DoUpdate: func(in client.ScheduleUpdateInput) (*client.ScheduleUpdate, error) {
			in.Description.Schedule.Spec.CronExpressions = []string{"@every 1m"}
			in.Description.Schedule.Policy.Overlap = enumspb.SCHEDULE_OVERLAP_POLICY_ALLOW_ALL
			return &client.ScheduleUpdate{Schedule: &in.Description.Schedule}, nil
		}}))
		require.Equal(t, []string{site}, k.keep(t, schedule("", "1d", 6*time.Hour), schedule("db", "9h", 2*time.Hour)).Changed)
		is := k.describe(t, "")
		require.Len(t, is.Schedule.Spec.Intervals, 1)
		require.Equal(t, enumspb.SCHEDULE_OVERLAP_POLICY_SKIP, is.Schedule.Policy.Overlap)
	})
	t.Run("removed, but for what is paused and what others made", func(t *testing.T) {
		theirs := func(id, site string) {
			_, err := c.ScheduleClient().Create(t.Context(), client.ScheduleOptions{
				ID: id, Paused: true, Action: &client.ScheduleWorkflowAction{ID: id, Workflow: "Theirs", TaskQueue: "x"},
				TypedSearchAttributes: temporal.NewSearchAttributes(contract.AttrSite.ValueSet(site)),
			})
			require.NoError(t, err)
		}
		theirs("snapshots/test/theirs", rig.Site)
		theirs("nightly", rig.Site)
		k.listed(t, 3)
		out := k.keep(t)
		require.Equal(t, starter.ScheduleChanges{Removed: []string{site}, Left: []string{db}}, out)
		require.NoError(t, c.ScheduleClient().GetHandle(t.Context(), db).Unpause(t.Context(), client.ScheduleUnpauseOptions{}))
		require.Equal(t, []string{db}, k.keep(t).Removed)
		k.listed(t, 1)
		_, err := k.KeepSchedules(t.Context(), client.DefaultNamespace, rig.Site, []contract.Schedule{schedule("theirs", "1d", time.Hour)})
		require.ErrorContains(t, err, "snapshots/test/theirs: there is one of that name that starts no Round")
	})
}

// A pause that comes between our reading and our writing is not lost.
func TestAScheduleIsNotUnpausedByAChange(t *testing.T) {
	c := rig.Dial(t, rig.Temporal(t).Address)
	k := keeping{starter.New(c), c}
	k.keep(t, schedule("", "1d", time.Hour))
	handle := c.ScheduleClient().GetHandle(t.Context(), contract.ScheduleID(rig.Site, ""))
	ctx, cancel := context.WithCancel(t.Context())
	var changing sync.WaitGroup
	changed := 0
	changing.Go(func() {
		for i := 2; ctx.Err() == nil; i++ {
			// One that is kept busy like this may be too busy to be asked: the next try is another.
			out, err := k.KeepSchedules(ctx, client.DefaultNamespace, rig.Site, []contract.Schedule{schedule("", "1d", time.Duration(i)*time.Hour)})
			if err == nil {
				changed += len(out.Changed)
			}
		}
	})
	for i := range 15 {
		require.NoError(t, handle.Pause(t.Context(), client.SchedulePauseOptions{Note: fmt.Sprint(i)}))
		for range 3 {
			is := k.describe(t, "")
			require.True(t, is.Schedule.State.Paused)
			require.Equal(t, fmt.Sprint(i), is.Schedule.State.Note)
			<-time.After(20 * time.Millisecond) // it answers one question at a time, and others have some
		}
		require.NoError(t, handle.Unpause(t.Context(), client.ScheduleUnpauseOptions{}))
	}
	cancel()
	changing.Wait()
	require.Positive(t, changed, "nothing was changed meanwhile")
}
