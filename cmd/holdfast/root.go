package main

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/nearest"
	"holdfast/internal/telemetry"
)

// Groups of commands in the root's help.
const (
	groupRun     = "run"
	groupOperate = "operate"
	groupOther   = "other"
)

const rootLong = `Holdfast keeps libvirt/KVM virtual machines running. It notices a fault, opens a
durable incident in Temporal, and carries the repair through, even when the next
thing to die is Holdfast itself.

A site is a set of hosts that share a network. Every site has workers, which
repair, and monitors, which watch. The other commands are for operators: they talk
to Temporal and never to a host, so they work from any machine that reaches Temporal.

Where Temporal is comes from the same file and variables as for the temporal
command (TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_API_KEY, TEMPORAL_TLS, ...,
and its profiles); --address, --namespace and --profile override them.

Exit codes: 0 done; 1 it failed, and the error says what to do; 2 the command line
makes no sense; 3 the incident that was followed needs a person; 4 what was compared
differs, where --exit-code asks for that.`

func newRoot(out, errOut io.Writer) *cobra.Command {
	a := &app{out: out, err: errOut}
	root := &cobra.Command{
		Use:   "holdfast",
		Short: "Keep libvirt/KVM virtual machines running",
		Long:  rootLong,
		Example: `  holdfast dev --simulated          # try it: everything on this machine, no hypervisor needed
  holdfast vm list                  # what runs where
  holdfast faults                   # what is wrong
  holdfast incident list --open     # what is being repaired
  holdfast recover VM1 --watch      # repair a VM now`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return a.check(cmd) },
	}
	root.SetOut(out)
	root.SetErr(errOut)
	root.SetUsageTemplate(usageTemplate)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage(cmd, "%w", err) })
	a.globalFlags(root)
	root.AddGroup(
		&cobra.Group{ID: groupRun, Title: "Run it:"},
		&cobra.Group{ID: groupOperate, Title: "Operate it:"},
		&cobra.Group{ID: groupOther, Title: "Besides:"},
	)
	root.SetHelpCommandGroupID(groupOther)
	root.SetCompletionCommandGroupID(groupOther)
	inGroup(root, groupRun, a.devCommand(), a.workerCommand(), a.monitorCommand(), a.agentCommand(), a.configCommand())
	inGroup(root, groupOperate, a.faultsCommand(), a.explainCommand(), a.recoverCommand(), a.incidentCommand(), a.policyCommand(), a.vmCommand(), a.snapshotCommand(), a.backupCommand(), a.hostCommand(), a.simCommand())
	inGroup(root, groupOther, a.versionCommand())
	return asGroup(root)
}

func inGroup(root *cobra.Command, id string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = id
	}
	root.AddCommand(commands...)
}

// asGroup makes a command that only holds others: alone it shows its help, and a
// word that is none of its commands is an error.
func asGroup(group *cobra.Command, commands ...*cobra.Command) *cobra.Command {
	group.AddCommand(commands...)
	group.Args = cobra.ArbitraryArgs
	group.DisableFlagsInUseLine = true
	group.ValidArgsFunction = cobra.NoFileCompletions
	group.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		var known []string
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() {
				known = append(known, c.Name())
			}
		}
		if near := nearest.Word(args[0], known); near != "" {
			return usage(cmd, "%s has no command %q: did you mean %q?", cmd.CommandPath(), args[0], near)
		}
		return usage(cmd, "%s has no command %q; known: %s", cmd.CommandPath(), args[0], strings.Join(known, ", "))
	}
	return group
}

// wants checks that the arguments are these, by name; those in brackets may be missing.
func wants(names ...string) cobra.PositionalArgs {
	least := 0
	for _, n := range names {
		if !strings.HasPrefix(n, "[") {
			least++
		}
	}
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usage(cmd, "%s wants %s", cmd.CommandPath(), strings.Join(names[len(args):least], " and "))
		case len(args) > len(names) && len(names) == 0:
			return usage(cmd, "%s wants no arguments, and got %q", cmd.CommandPath(), args[0])
		case len(args) > len(names):
			return usage(cmd, "%s wants %s and no more, and got %q", cmd.CommandPath(), strings.Join(names, " "), args[len(names)])
		}
		return nil
	}
}

// atLeast checks that these arguments are there, by name; more may follow.
func atLeast(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return usage(cmd, "%s wants %s", cmd.CommandPath(), strings.Join(names[len(args):], " and "))
		}
		return nil
	}
}

// oneLine is what several mistakes say, for an error that is printed in one line.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// defaultTimeout is long enough for a site with hosts that do not answer.
const defaultTimeout = 30 * time.Second

func (a *app) globalFlags(root *cobra.Command) {
	f := root.PersistentFlags()
	f.StringVar(&a.address, "address", "", "`host:port` of Temporal")
	f.StringVar(&a.namespace, "namespace", "", "Temporal `namespace`")
	f.StringVar(&a.profile, "profile", "", "`name` of a profile in Temporal's configuration file")
	f.StringVar(&a.site, "site", "", "`name` of the site (default: $HOLDFAST_SITE, else \"default\")")
	a.format = formatTable
	f.VarP(&a.format, "output", "o", "`format` of what is printed: table, json or yaml")
	f.StringVar(&a.logLevel, "log-level", "", "least `level` that is logged, to stderr: debug, info, warn or error (default: info for dev, worker and monitor, else nothing)")
	a.logFormat = telemetry.FormatText
	f.TextVar(&a.logFormat, "log-format", telemetry.FormatText, "`format` of the log: text or json")
	f.DurationVar(&a.timeout, "timeout", defaultTimeout, "the most a command may take, 0 for no end; what is followed with watch has none")
	for flag, words := range map[string][]string{
		"output": formats(), "log-level": {"debug", "info", "warn", "error"}, "log-format": {"text", "json"},
	} {
		must(root.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)))
	}
	for _, flag := range []string{"address", "namespace", "profile", "site", "timeout"} {
		must(root.RegisterFlagCompletionFunc(flag, cobra.NoFileCompletions))
	}
}

// check completes and checks the global flags, before any command runs.
func (a *app) check(cmd *cobra.Command) error {
	a.siteOrDefault()
	if a.timeout < 0 {
		return usage(cmd, "--timeout %s is negative: write 0 for no end", a.timeout)
	}
	if a.logLevel == "" {
		return nil
	}
	a.level = new(slog.Level)
	if err := a.level.UnmarshalText([]byte(a.logLevel)); err != nil {
		return usage(cmd, "--log-level %q is not known; known: debug, info, warn, error", a.logLevel)
	}
	return nil
}

func (a *app) siteOrDefault() {
	for _, s := range []string{os.Getenv("HOLDFAST_SITE"), "default"} {
		if a.site == "" {
			a.site = s
		}
	}
}

// must is for mistakes in this source, such as a flag that is not there.
func must(err error) {
	if err != nil {
		panic(errors.Join(errors.New("holdfast is built wrong"), err))
	}
}

// usageTemplate is cobra's, less the lines that say the same twice.
const usageTemplate = `Usage:{{if index .Annotations "alone"}}
  {{.UseLine}}{{end}}{{if .HasAvailableSubCommands}}
  {{.CommandPath}} COMMAND{{else}}
  {{.UseLine}}{{end}}{{if .HasExample}}

Examples:
{{.Example}}{{end}}{{if .HasAvailableSubCommands}}{{$cmds := .Commands}}{{if eq (len .Groups) 0}}

Commands:{{range $cmds}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding }} {{.Short}}{{end}}{{end}}{{else}}{{range $group := .Groups}}

{{.Title}}{{range $cmds}}{{if (and (eq .GroupID $group.ID) (or .IsAvailableCommand (eq .Name "help")))}}
  {{rpad .Name .NamePadding }} {{.Short}}{{end}}{{end}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableInheritedFlags}}

Global flags:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableSubCommands}}

"{{.CommandPath}} COMMAND --help" says more about a command.{{end}}
`
