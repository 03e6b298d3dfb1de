package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/spf13/cobra"

	"holdfast/internal/config"
	"holdfast/internal/hypervisor/simulated"
)

type devFlags struct {
	simulated    string // HOSTSxVMS; empty: real hosts
	data         string
	temporal, ui string
	noUI         bool
	listen       string
	hosts, vms   int // of simulated
}

func (a *app) devCommand() *cobra.Command {
	var f devFlags
	cmd := &cobra.Command{
		Use:   "dev [SITEFILE]",
		Short: "Run everything on this machine: Temporal, a worker and a monitor",
		Long: `Run all of Holdfast in one command, until Ctrl-C: Temporal's development server with
its web UI, a worker and a monitor. With a site file it looks after real hosts; one
machine is all that it needs, and all that it survives on. With --simulated it makes up
hosts and VMs in memory instead, for people without KVM: holdfast sim breaks them.

Temporal's data is kept in --data, so incidents go on after a restart; a simulated site
forgets everything unless --data is given. If Temporal's process dies it is started
again. It needs the temporal command: on PATH, beside holdfast, or in $TEMPORAL_BINARY.

For more than one machine, run a Temporal cluster, and holdfast worker and holdfast
monitor with its address.`,
		Example: `  holdfast dev --simulated           # 3 hosts with 10 VMs each
  holdfast dev --simulated 5x20
  holdfast dev site.yaml
  holdfast dev site.yaml --data /var/lib/holdfast --no-ui`,
		Args:              wants("[SITEFILE]"),
		ValidArgsFunction: completeSiteFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			site, err := a.devSite(cmd, args, &f)
			if err != nil {
				return err
			}
			return a.dev(cmd.Context(), site, f)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.simulated, "simulated", "", "make up `HOSTSxVMS`: so many hosts, with so many VMs on each")
	fl.Lookup("simulated").NoOptDefVal = defaultSimulated
	fl.StringVar(&f.data, "data", "", "`folder` for Temporal's data (default: holdfast/SITE in $XDG_DATA_HOME, else in ~/.local/share)")
	fl.StringVar(&f.temporal, "temporal-address", "127.0.0.1:7233", "`host:port` of Temporal; port 0 takes a free one")
	fl.StringVar(&f.ui, "ui-address", "127.0.0.1:8233", "`host:port` of Temporal's web UI; port 0 takes a free one")
	fl.BoolVar(&f.noUI, "no-ui", false, "run no web UI")
	fl.StringVar(&f.listen, "listen", "", "`host:port` for metrics and health (default: the file's listen.worker); port 0 takes a free one")
	must(cmd.MarkFlagDirname("data"))
	must(cmd.RegisterFlagCompletionFunc("simulated", cobra.FixedCompletions([]string{"3x10", "10x20"}, cobra.ShellCompDirectiveNoFileComp)))
	for _, flag := range []string{"temporal-address", "ui-address", "listen"} {
		must(cmd.RegisterFlagCompletionFunc(flag, cobra.NoFileCompletions))
	}
	return cmd
}

const (
	defaultSimulated = "3x10"
	mostSimulatedVMs = 100_000
)

var sizeForm = regexp.MustCompile(`^([0-9]{1,6})x([0-9]{1,6})$`)

// devSite is the site to look after. --simulated may stand without a size or
// with one after a blank, which is then an argument.
func (a *app) devSite(cmd *cobra.Command, args []string, f *devFlags) (*config.Site, error) {
	if a.address != "" || a.profile != "" {
		return nil, usage(cmd, "dev runs a Temporal of its own: use --temporal-address to say where")
	}
	if f.noUI {
		f.ui = ""
	}
	if !cmd.Flags().Changed("simulated") {
		if len(args) == 0 {
			return nil, usage(cmd, "dev wants a SITEFILE, or --simulated to try it without hosts")
		}
		site, err := a.loadSite(cmd, args[0])
		if err == nil && f.data == "" {
			f.data, err = dataFolder(site.Name)
		}
		return site, err
	}
	if len(args) > 0 {
		if !sizeForm.MatchString(args[0]) {
			return nil, usage(cmd, "--simulated makes up its hosts, and takes no SITEFILE (%s): give one of them", args[0])
		}
		f.simulated = args[0]
	}
	size := sizeForm.FindStringSubmatch(f.simulated)
	if size == nil {
		return nil, usage(cmd, "--simulated %q: write HOSTSxVMS, such as %s", f.simulated, defaultSimulated)
	}
	f.hosts, _ = strconv.Atoi(size[1]) // digits, by the pattern
	f.vms, _ = strconv.Atoi(size[2])
	if f.hosts < 1 || f.hosts*f.vms > mostSimulatedVMs {
		return nil, usage(cmd, "--simulated %s: at least 1 host, and at most %d VMs in all", f.simulated, mostSimulatedVMs)
	}
	site := config.Default()
	site.Name = a.site
	site.Mode = config.ModeRepair // nothing real can be touched
	site.Backups.To = simulated.BackupFolder
	return &site, nil
}

// dataFolder is where a site's data is kept on this machine.
func dataFolder(site string) (string, error) {
	base := os.Getenv("XDG_DATA_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("no home folder to keep Temporal's data in (%w): say where with --data", err)
		}
		base = filepath.Join(home, ".local", "share")
	}
	return filepath.Join(base, "holdfast", site), nil
}
