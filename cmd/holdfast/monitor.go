package main

import (
	"cmp"

	"github.com/spf13/cobra"

	"holdfast/internal/config"
)

func (a *app) monitorCommand() *cobra.Command {
	var listen string
	cmd := &cobra.Command{
		Use:   "monitor SITEFILE",
		Short: "Run a monitor: it watches a site and reports faults",
		Long: `Run a monitor of the site in the file until SIGINT or SIGTERM. A monitor watches the
site's hosts and VMs through libvirt: events for speed, and a full listing now and then
for truth. It says what is wrong to Temporal, again and again until it is no longer
true, and repairs nothing itself. Two or more may watch the same site.

It starts while Temporal or hosts are away; what it sees meanwhile is reported when
Temporal is back.

/metrics, /healthz and /readyz are served where the file's listen.monitor says. Ready
is who has tried every host once and gets reports through.`,
		Example: `  holdfast monitor site.yaml
  holdfast monitor site.yaml --listen :9465 --log-level debug`,
		Args:              wants("SITEFILE"),
		ValidArgsFunction: completeSiteFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			address := func(site *config.Site) string { return cmp.Or(listen, site.Listen.Monitor) }
			return a.serveRole(cmd, "monitor", args[0], address, func(r role) (runner, error) { return r.monitor() })
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "", "`host:port` for metrics and health, instead of the file's; port 0 takes a free one")
	must(cmd.RegisterFlagCompletionFunc("listen", cobra.NoFileCompletions))
	return cmd
}
