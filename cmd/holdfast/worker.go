package main

import (
	"cmp"

	"github.com/spf13/cobra"

	"holdfast/internal/config"
)

func (a *app) workerCommand() *cobra.Command {
	var listen string
	cmd := &cobra.Command{
		Use:   "worker SITEFILE",
		Short: "Run a worker: it carries out a site's repairs",
		Long: `Run a worker of the site in the file until SIGINT or SIGTERM. A worker runs the
workflows and takes the steps that touch the site's hosts, through libvirt. Run two or
more for a site, on different machines: they share the work, and one that dies is not
missed.

It starts while Temporal or hosts are away and tries again until they are back. On
start it registers the search attributes that the Temporal namespace lacks; without
the right to do so it warns and goes on.

/metrics, /healthz and /readyz are served where the file's listen.worker says. Ready
is who reaches Temporal and at least one host. When told to stop, it lets steps under
way finish for up to 30 s; a second signal ends it at once, and another worker takes
over.`,
		Example: `  holdfast worker site.yaml
  holdfast worker site.yaml --listen :9464 --log-format json
  TEMPORAL_ADDRESS=temporal.example.net:7233 holdfast worker site.yaml`,
		Args:              wants("SITEFILE"),
		ValidArgsFunction: completeSiteFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			address := func(site *config.Site) string { return cmp.Or(listen, site.Listen.Worker) }
			return a.serveRole(cmd, "worker", args[0], address, func(r role) (runner, error) { return r.worker(nil) })
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "", "`host:port` for metrics and health, instead of the file's; port 0 takes a free one")
	must(cmd.RegisterFlagCompletionFunc("listen", cobra.NoFileCompletions))
	return cmd
}
