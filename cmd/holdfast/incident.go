package main

import "github.com/spf13/cobra"

func (a *app) incidentCommand() *cobra.Command {
	return asGroup(&cobra.Command{
		Use:   "incident",
		Short: "See what was and is being done about faults",
		Long: `See what was and is being repaired. An incident is the durable record of handling one
fault to its end: a workflow in Temporal, which its web UI shows too. Temporal keeps
closed ones for as long as the namespace's retention says. Faults of hosts, of storage
pools and of the site have incidents too; nothing is done to those yet.

approve, reject, hold, resume, cancel and retry tell an open incident of a VM what you
want. Each wants a reason, and all of it is in the incident's record. report writes one
as a page to be mailed and kept; holdfast policy test asks what another policy would
have made of it.

An incident's ID is incident/SITE/WHAT/TIME, where WHAT is the VM, host or pool. Where
one is wanted, WHAT/TIME will do, and so will WHAT alone, for its newest.`,
		Example: `  holdfast incident list --open
  holdfast incident show VM1
  holdfast incident watch incident/default/VM1/20260102-030405`,
		Aliases: []string{"incidents"},
	}, append([]*cobra.Command{a.incidentListCommand(), a.incidentShowCommand(), a.incidentWatchCommand(), a.incidentEvidenceCommand(), a.incidentReportCommand()}, a.incidentActCommands()...)...)
}
