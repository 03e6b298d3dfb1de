package main

import (
	"github.com/spf13/cobra"

	"holdfast/internal/annotation"
)

func (a *app) vmHoldCommand() *cobra.Command {
	var reason string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "hold VM --reason WHY",
		Short: "Keep Holdfast's hands off a VM until it is released",
		Long: `Keep Holdfast's hands off a VM until holdfast vm release. Its faults are seen, told and
open incidents all the same, which say who holds it and do nothing; what is under way
ends first. A person who asks for its recovery is refused as well.

The hold is in the VM's own definition, beside what holdfast vm annotate writes: it goes
where the VM goes, and nothing that Holdfast forgets or loses can lift it. A host that
does not answer is named, and then the exit code is 1.`,
		Example: `  holdfast vm hold VM1 --reason "moving its disk, until 18:00"
  holdfast vm release VM1`,
		Args:              wants("VM"),
		ValidArgsFunction: a.completeVMs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if reason == "" {
				return usage(cmd, "say why, with --reason: whoever is woken by this VM wants to know")
			}
			change := "hold=" + me() + " holds it: " + reason
			if _, err := annotation.Apply(annotation.Annotation{}, []string{change}); err != nil {
				return usage(cmd, "%s", oneLine(err))
			}
			return a.annotate(cmd, args[0], []string{change}, dryRun)
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "`why`, for whoever is woken by this VM")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show what would change, and change nothing")
	must(cmd.RegisterFlagCompletionFunc("reason", cobra.NoFileCompletions))
	return cmd
}

func (a *app) vmReleaseCommand() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "release VM",
		Short: "Let Holdfast act on a VM again that was held",
		Long: `Take back a holdfast vm hold, whoever made it. An incident that waited for that looks at
its VM at once, and goes on. Releasing what nobody holds changes nothing.`,
		Example: `  holdfast vm release VM1
  holdfast vm release VM1 --dry-run       # who holds it, and why`,
		Args:              wants("VM"),
		ValidArgsFunction: a.completeVMs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.annotate(cmd, args[0], []string{"hold-"}, dryRun)
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show what would change, and change nothing")
	return cmd
}
