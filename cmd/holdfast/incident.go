package main

import "github.com/spf13/cobra"

func (a *app) incidentCommand() *cobra.Command {
	return asGroup(&cobra.Command{
		Use:   "incident",
		Short: "See what was and is being repaired",
		Long: `See what was and is being repaired. An incident is the durable record of handling one
fault to its end: a workflow in Temporal, which its web UI shows too. Temporal keeps
closed ones for as long as the namespace's retention says.

An incident's ID is incident/SITE/VM/TIME. Where one is wanted, VM/TIME will do, and so
will the VM alone, for its newest.`,
		Example: `  holdfast incident list --open
  holdfast incident show VM1
  holdfast incident watch incident/default/VM1/20260102-030405`,
		Aliases: []string{"incidents"},
	}, a.incidentListCommand(), a.incidentShowCommand(), a.incidentWatchCommand())
}
