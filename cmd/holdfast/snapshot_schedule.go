package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/contract"
	"holdfast/starter"
)

func (a *app) snapshotScheduleCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schedule",
		Short: "List the schedules of snapshots, and how their last rounds went",
		Long: `List the schedules that make snapshots of the site's VMs, and how the last round of each
went: how many VMs have a new snapshot, were passed over or failed, and which and why.
CLASS is the class of VMs that it is about, or - for those that no class says otherwise
about. A VM is passed over, which is no failure, while an incident has it, a person holds
it, its guest does not run, or a disk of it cannot be snapshotted.

Those called verify-snapshots/... make none: they boot a throw-away copy of each VM from
the newest snapshot that a schedule made of it, as holdfast snapshot verify does.

Schedules are made from the section snapshots of the site file, by workers when they
start. They are Temporal's: pause, go on and begin a round there, in its UI or with
temporal schedule toggle --pause|--unpause --schedule-id ID --reason WHY, and
temporal schedule trigger --schedule-id ID. One that is paused stays paused.`,
		Example: `  holdfast snapshot schedule
  holdfast snapshot schedule -o json | jq '.[].last.result.failures'`,
		Args:              wants(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list []starter.ScheduleSummary
			err := a.ask(cmd, "asking Temporal for the schedules of site "+a.site, func(ctx context.Context, c *starter.Client) (err error) {
				list, err = c.Schedules(ctx, a.site)
				return err
			})
			if err != nil {
				return err
			}
			if len(list) == 0 {
				a.hint("site %s has no schedules of snapshots: see the section snapshots of docs/site.example.yaml", a.site)
			}
			return a.print(emptyNotNull(list), func(w io.Writer) { scheduleTable(w, list) })
		},
	}
}

func scheduleTable(w io.Writer, list []starter.ScheduleSummary) {
	rows := make([][]string, len(list))
	for i, s := range list {
		next := clock(s.Next)
		if s.Paused {
			next = "paused"
		}
		last, went := "-", "-"
		if s.Last != nil {
			last, went = clock(s.Last.Began), roundWent(*s.Last)
		}
		keep := s.Keep
		if s.Verify {
			keep = "-" // it makes none
		}
		rows[i] = []string{s.ID, orNone(s.Class), s.Every, keep, next, last, went}
	}
	columns(w, []string{"SCHEDULE", "CLASS", "EVERY", "KEEP", "NEXT", "LAST ROUND", "HOW IT WENT"}, rows)
	for _, s := range list {
		if s.Paused {
			fmt.Fprintf(w, "%s is paused: %s\n", s.ID, s.Note)
		}
		if s.Last == nil {
			continue
		}
		if s.Last.Error != "" {
			fmt.Fprintf(w, "%s: its last round: %s\n", s.ID, s.Last.Error)
		}
		if r := s.Last.Result; r != nil {
			scheduleNotes(w, s.ID, "failed", r.Failures)
			scheduleNotes(w, s.ID, "could not be pruned", r.Stuck)
			scheduleNotes(w, s.ID, "did not answer", r.Silent)
			scheduleNotes(w, s.ID, "passed over", r.Skipped)
		}
	}
}

// roundWent is a round in a cell.
func roundWent(r starter.RoundSummary) string {
	if r.Result == nil {
		return r.State
	}
	text := fmt.Sprintf("%d of %d made", r.Result.Made, r.Result.VMs)
	if r.Result.Verified > 0 || strings.HasPrefix(r.Result.Schedule, "verify-") {
		text = fmt.Sprintf("%d of %d boot", r.Result.Verified, r.Result.VMs)
	}
	for _, part := range []struct {
		n    int
		what string
	}{
		{r.Result.Passed, "passed over"}, {r.Result.Failed, "FAILED"}, {r.Result.Pruned, "pruned"}, {r.Result.NotPruned, "NOT PRUNED"},
		{len(r.Result.Silent), "SILENT"},
	} {
		if part.n > 0 {
			text += fmt.Sprintf(", %d %s", part.n, part.what)
		}
	}
	if r.State == "running" {
		text += ", goes on"
	}
	return text
}

func scheduleNotes(w io.Writer, id, what string, notes []contract.RoundNote) {
	for _, n := range notes {
		who := n.Host
		if n.VM != "" {
			who = n.VM + " on " + n.Host
		}
		fmt.Fprintf(w, "%s: %s %s: %s\n", id, who, what, n.Why)
	}
}
