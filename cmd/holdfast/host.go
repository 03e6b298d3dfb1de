package main

import "github.com/spf13/cobra"

func (a *app) hostCommand() *cobra.Command {
	return asGroup(&cobra.Command{
		Use:   "host",
		Short: "See the site's hosts",
		Long: `See the site's hosts. A host is one libvirtd and the machine under it, under the name
that it has in the site file.`,
		Example: `  holdfast host list`,
	}, a.hostListCommand())
}
