package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"holdfast/internal/contract"
	"holdfast/starter"
)

func (a *app) incidentShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show ID|WHAT",
		Short: "Tell the story of an incident",
		Long: `Tell the story of an incident: the fault and its evidence, the votes about a host, what
was decided and why, every try and how it ended, and what is next. Times are given from
the first sign of the fault and by the clock.

The name of a VM, a host or a storage pool instead of an ID is its newest incident. An
open incident is asked through a worker; a closed one needs none.`,
		Example: `  holdfast incident show VM1
  holdfast incident show incident/default/VM1/20260102-030405
  holdfast incident show VM1 -o json | jq .attempts`,
		Args:              wants("ID|WHAT"),
		ValidArgsFunction: a.completeIncidents,
		RunE: func(cmd *cobra.Command, args []string) error {
			var inc contract.Incident
			err := a.ask(cmd, "asking for the incident of "+args[0], func(ctx context.Context, c *starter.Client) error {
				id, err := c.FindIncident(ctx, a.site, args[0])
				if err != nil {
					return err
				}
				inc, err = c.Incident(ctx, id)
				return err
			})
			if err != nil {
				return err
			}
			return a.print(inc, func(w io.Writer) { story(w, inc) })
		},
	}
}
