package main

import "github.com/spf13/cobra"

func (a *app) vmCommand() *cobra.Command {
	return asGroup(&cobra.Command{
		Use:   "vm",
		Short: "See the site's VMs",
		Long: `See the site's VMs: libvirt domains, each known by its UUID. The name is for people,
and either will do wherever a command wants a VM.`,
		Example: `  holdfast vm list
  holdfast vm list --host kvm1`,
	}, a.vmListCommand())
}
