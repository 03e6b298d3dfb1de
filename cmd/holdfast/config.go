package main

import "github.com/spf13/cobra"

func (a *app) configCommand() *cobra.Command {
	return asGroup(&cobra.Command{
		Use:   "config",
		Short: "Check and show site files",
		Long: `Check and show site files. A site file names a site's hosts and says how they are
watched and how persistent a repair is; every worker and every monitor of the site
reads the same one. docs/site.example.yaml has every field, with its default.

These commands read the file alone: they ask no host, and not Temporal.`,
		Example: `  holdfast config check site.yaml
  holdfast config show site.yaml`,
	}, a.configCheckCommand(), a.configShowCommand())
}
