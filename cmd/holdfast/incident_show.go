package main

import (
	"io"

	"github.com/spf13/cobra"
)

func (a *app) incidentShowCommand() *cobra.Command {
	var full bool
	cmd := &cobra.Command{
		Use:   "show ID|WHAT",
		Short: "Tell the story of an incident",
		Long: `Tell the story of an incident: the fault and its evidence, the votes about a host, what
waits for approval, every try and how it ended, what people said, what was decided and
why, and what is next. Times are given from the first sign of the fault and by the
clock.

Decisions come with the steps that were turned down, and without what the timeline says
as well. --decisions has each with all that it was made from: what every host
answered, how the guest looked, what had been tried, and what the policy allowed.

The name of a VM, a host or a storage pool instead of an ID is its newest incident. An
open incident is asked through a worker; a closed one needs none.`,
		Example: `  holdfast incident show VM1
  holdfast incident show VM1 --decisions
  holdfast incident show incident/default/VM1/20260102-030405
  holdfast incident show VM1 -o json | jq .attempts`,
		Args:              wants("ID|WHAT"),
		ValidArgsFunction: a.completeIncidents,
		RunE: func(cmd *cobra.Command, args []string) error {
			inc, err := a.incidentOf(cmd, args[0])
			if err != nil {
				return err
			}
			return a.print(inc, func(w io.Writer) {
				if full {
					tellStory(w, inc, decisionsInFull)
				} else {
					story(w, inc)
				}
			})
		},
	}
	cmd.Flags().BoolVar(&full, "decisions", false, "tell each decision with all that it was made from")
	return cmd
}
