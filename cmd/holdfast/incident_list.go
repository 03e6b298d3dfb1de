package main

import (
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/nearest"
	"holdfast/starter"
)

func (a *app) incidentListCommand() *cobra.Command {
	var f starter.IncidentFilter
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List incidents, newest first",
		Long: `List the incidents of the site, newest first. What is asked is Temporal's index, which
follows the incidents within a second or so; holdfast incident show asks the incident
itself. It needs no worker.`,
		Example: `  holdfast incident list --open
  holdfast incident list --needs-person            # who is waiting for you
  holdfast incident list --host kvm1 --kind crashed --limit 200
  holdfast incident list -o json | jq -r '.[].id'`,
		Args:              wants(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.Limit < 1 {
				return usage(cmd, "--limit %d: write 1 or more", f.Limit)
			}
			if f.Kind != "" && !slices.Contains(kinds(), f.Kind) {
				return unknownKind(cmd, f.Kind)
			}
			return a.listIncidents(cmd, f)
		},
	}
	cmd.Flags().BoolVar(&f.OpenOnly, "open", false, "only those that are not closed")
	cmd.Flags().BoolVar(&f.NeedsPerson, "needs-person", false, "only those that wait for a person")
	cmd.Flags().StringVar(&f.VM, "vm", "", "only of this `VM`, by its name")
	cmd.Flags().StringVar(&f.Host, "host", "", "only of this `host` and of VMs on it")
	cmd.Flags().StringVar(&f.Kind, "kind", "", "only of this `kind` of fault")
	cmd.Flags().IntVar(&f.Limit, "limit", 50, "at most this `many`")
	must(cmd.RegisterFlagCompletionFunc("vm", a.completeVMFlag))
	must(cmd.RegisterFlagCompletionFunc("host", a.completeHosts))
	must(cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(kinds(), cobra.ShellCompDirectiveNoFileComp)))
	must(cmd.RegisterFlagCompletionFunc("limit", cobra.NoFileCompletions))
	return cmd
}

func unknownKind(cmd *cobra.Command, kind string) error {
	if near := nearest.Word(kind, kinds()); near != "" {
		return usage(cmd, "--kind %q is not known: did you mean %q?", kind, near)
	}
	return usage(cmd, "--kind %q is not known; known: %s", kind, strings.Join(kinds(), ", "))
}

func (a *app) listIncidents(cmd *cobra.Command, f starter.IncidentFilter) error {
	f.Site = a.site
	var list []starter.IncidentSummary
	err := a.ask(cmd, "asking Temporal for incidents of site "+a.site, func(ctx context.Context, c *starter.Client) (err error) {
		list, err = c.Incidents(ctx, f)
		return err
	})
	if err != nil {
		return err
	}
	if len(list) == 0 {
		a.hint("no such incidents at site %s", a.site)
	}
	return a.print(emptyNotNull(list), func(w io.Writer) { incidentTable(w, list, time.Now()) })
}

func incidentTable(w io.Writer, list []starter.IncidentSummary, now time.Time) {
	rows := make([][]string, len(list))
	for i, s := range list {
		outcome, end := s.Outcome, s.Closed
		switch {
		case s.Open && s.NeedsPerson:
			outcome, end = "NEEDS A PERSON", now
		case s.Open:
			outcome, end = "open", now
		}
		rows[i] = []string{s.ID, orNone(s.Host), s.Kind, s.Stage, outcome, clock(s.Opened), end.Sub(s.Opened).Round(time.Second).String()}
	}
	columns(w, []string{"INCIDENT", "HOST", "FAULT", "STAGE", "OUTCOME", "OPENED", "TOOK"}, rows)
}
