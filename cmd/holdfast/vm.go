package main

import "github.com/spf13/cobra"

func (a *app) vmCommand() *cobra.Command {
	return asGroup(&cobra.Command{
		Use:   "vm",
		Short: "See the site's VMs, and what they say to Holdfast",
		Long: `See the site's VMs, and what their definitions say to Holdfast. A VM is a libvirt
domain, known by its UUID. The name is for people, and either will do wherever a command
wants a VM.`,
		Example: `  holdfast vm list
  holdfast vm list --host kvm1
  holdfast vm annotate VM1 tier=db
  holdfast vm hold VM1 --reason "moving its disk"`,
	}, a.vmListCommand(), a.vmAnnotateCommand(), a.vmHoldCommand(), a.vmReleaseCommand())
}
