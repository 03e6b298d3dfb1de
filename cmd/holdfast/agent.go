package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"holdfast/internal/agent"
	"holdfast/internal/alert"
	"holdfast/internal/telemetry"
)

type agentFlags struct {
	listen string
	token  string // file
	agent  agent.Options
}

func (a *app) agentCommand() *cobra.Command {
	var f agentFlags
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run an agent on a host: it tells monitors what libvirt does not",
		Long: `Run an agent on a host until SIGINT or SIGTERM. It tells monitors what libvirt does not
know about the machine, and with --heartbeat it renews a file on shared storage, by
which they tell a host that died from one that they cannot reach. That is all that it
does: it changes nothing on the host, and does not fence one that is cut off.

/v1/host on --listen answers with JSON: the boot ID, the clock, pressure (PSI), memory,
memory errors (EDAC) and the number of disk requests. What the kernel does not have is
left out. /metrics, /healthz and /readyz are served there, too. Ready is whose
heartbeat is written.

With --token-file, workers that have the token also get the last 64 KiB of a VM's QEMU
log (/var/log/libvirt/qemu), and of the file that its definition names for its serial
port, as evidence of what a repair is about to destroy. Reading those takes root.

Listen on an address that monitors and workers reach, best in the management network,
and write it into the site file as the host's agent. Load figures it gives to everybody
who reaches it, or, with --token-file, to those who have the token; logs to nobody else.

The heartbeat must be on storage that every monitor has mounted, in a file of its own
for each host. Its folder must exist.`,
		Example: `  holdfast agent --listen 10.0.0.11:9467
  holdfast agent --listen :9467 --heartbeat /mnt/shared/.holdfast/kvm1
  holdfast agent --procfs /host/proc --sysfs /host/sys   # in a container`,
		Args:              wants(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return a.runAgent(cmd, f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.listen, "listen", "127.0.0.1:9467", "`host:port` that monitors reach; port 0 takes a free one")
	fl.StringVar(&f.agent.Procfs, "procfs", "/proc", "`folder` that the host's /proc is mounted on")
	fl.StringVar(&f.agent.Sysfs, "sysfs", "/sys", "`folder` that the host's /sys is mounted on")
	fl.StringVar(&f.agent.Heartbeat, "heartbeat", "", "`file` on shared storage to renew (default: none)")
	fl.DurationVar(&f.agent.HeartbeatEvery, "heartbeat-every", agent.DefaultBeat, "how often to renew it")
	fl.StringVar(&f.token, "token-file", "", "`file` with a bearer token that whoever asks must have (default: none)")
	for _, flag := range []string{"procfs", "sysfs"} {
		must(cmd.MarkFlagDirname(flag))
	}
	for _, flag := range []string{"listen", "heartbeat-every"} {
		must(cmd.RegisterFlagCompletionFunc(flag, cobra.NoFileCompletions))
	}
	return cmd
}

func (a *app) runAgent(cmd *cobra.Command, f agentFlags) (err error) {
	ctx := cmd.Context()
	if every := f.agent.HeartbeatEvery; every < agent.ShortestBeat || every > agent.LongestBeat {
		return usage(cmd, "--heartbeat-every %s: allowed: %s to %s", every, agent.ShortestBeat, agent.LongestBeat)
	}
	log := a.logger(slog.LevelInfo).With("role", "agent")
	o := f.agent
	o.Logger, o.TokenFile = log, alert.TokenFile(f.token)
	if o.Metrics, err = telemetry.NewMetrics("holdfast-agent"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.Metrics.Shutdown(context.WithoutCancel(ctx))) }()
	run, err := agent.New(o)
	if err != nil {
		return err
	}
	server, err := telemetry.Listen(f.listen, o.Metrics, run.Ready, run.Route(), run.LogRoute())
	if err != nil {
		return err
	}
	log.Info("starting", "listening", server.Addr().String(), "heartbeat", o.Heartbeat, "version", telemetry.Version())
	fmt.Fprintf(a.out, "listening on %s\n", server.Addr())
	all := newParts()
	all.start(ctx, "figures", server.Run)
	all.start(ctx, "heartbeat", run.Run)
	err = all.wait(ctx)
	log.Info("stopping")
	return errors.Join(err, all.stop())
}
