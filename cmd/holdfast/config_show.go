package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"holdfast/internal/config"
)

func (a *app) configShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show SITEFILE",
		Short: "Show a site file with every default filled in",
		Long: `Show what a worker or a monitor makes of a site file: every field, with the default
where the file says nothing. The output is a site file itself. A file with mistakes
is not shown; they are reported instead, and the exit code is 1.`,
		Example: `  holdfast config show site.yaml
  holdfast config show site.yaml -o json | jq .recovery`,
		Args:              wants("SITEFILE"),
		ValidArgsFunction: completeSiteFile,
		RunE: func(_ *cobra.Command, args []string) error {
			site, err := config.Load(args[0])
			if err != nil {
				return err
			}
			text, err := yaml.Marshal(site)
			if err != nil {
				return err
			}
			if a.format != formatJSON {
				_, err = a.out.Write(text)
				return err
			}
			var plain any // a site has names for YAML only
			if err := yaml.Unmarshal(text, &plain); err != nil {
				return fmt.Errorf("site file as JSON: %w", err)
			}
			return printJSON(a.out, plain)
		},
	}
}
