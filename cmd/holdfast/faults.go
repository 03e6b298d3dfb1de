package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/nearest"
	"holdfast/starter"
)

func (a *app) faultsCommand() *cobra.Command {
	var in contract.FaultsInput
	cmd := &cobra.Command{
		Use:   "faults",
		Short: "See what is wrong now, whether anything is done about it or not",
		Long: `List the faults that stand at the site now: what a monitor of the site sees, with what
it concluded that from. Faults that open an incident and those that are only alarms
are listed alike, the worst first. Several monitors may watch a site; one of them
answers.

With -o json or yaml every fault has its evidence: what each host said, measured
values, and the votes of the vantage points, each with its time. There is also how the
monitor stands with each host, and the faults that it holds back in doubt.

The exit code is 0 whether there are faults or not.`,
		Example: `  holdfast faults
  holdfast faults --level major               # major and critical ones
  holdfast faults --vm VM1 -o yaml            # with all the evidence
  holdfast faults -o json | jq -r '.faults[] | select(.kind == "hung") | .vm.name'`,
		Args:              wants(),
		ValidArgsFunction: cobra.NoFileCompletions,
		Annotations:       map[string]string{"alone": "it does something without a command of its own"},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkFaultsInput(cmd, in); err != nil {
				return err
			}
			return a.listFaults(cmd, in)
		},
	}
	a.faultFlags(cmd, &in)
	cmd.AddCommand(a.faultsWatchCommand())
	return cmd
}

func (a *app) faultFlags(cmd *cobra.Command, in *contract.FaultsInput) {
	f := cmd.Flags()
	f.StringVar((*string)(&in.Kind), "kind", "", "only of this `kind` of fault")
	f.StringVar(&in.VM, "vm", "", "only of this `VM`, by its name or UUID")
	f.StringVar(&in.Host, "host", "", "only of this `host`, and of what is on it")
	f.StringVar((*string)(&in.Level), "level", "", "only of this `level` or worse: "+strings.Join(levels(), ", "))
	must(cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(kinds(), cobra.ShellCompDirectiveNoFileComp)))
	must(cmd.RegisterFlagCompletionFunc("vm", a.completeVMFlag))
	must(cmd.RegisterFlagCompletionFunc("host", a.completeHosts))
	must(cmd.RegisterFlagCompletionFunc("level", cobra.FixedCompletions(levels(), cobra.ShellCompDirectiveNoFileComp)))
}

func levels() []string {
	return []string{string(fault.Critical), string(fault.Major), string(fault.Warning)}
}

func checkFaultsInput(cmd *cobra.Command, in contract.FaultsInput) error {
	if in.Kind != "" && !slices.Contains(kinds(), string(in.Kind)) {
		return unknownKind(cmd, string(in.Kind))
	}
	if in.Level != "" && !slices.Contains(levels(), string(in.Level)) {
		if near := nearest.Word(string(in.Level), levels()); near != "" {
			return usage(cmd, "--level %q is not known: did you mean %q?", in.Level, near)
		}
		return usage(cmd, "--level %q is not known; known: %s", in.Level, strings.Join(levels(), ", "))
	}
	return nil
}

func (a *app) listFaults(cmd *cobra.Command, in contract.FaultsInput) error {
	in.Site = a.site
	var out contract.FaultsResult
	err := a.ask(cmd, "asking a monitor of site "+a.site, func(ctx context.Context, c *starter.Client) (err error) {
		out, err = c.Faults(ctx, in)
		return err
	})
	if err != nil {
		return err
	}
	a.warnOfBlindness(out)
	if len(out.Faults) == 0 {
		a.hint("no such faults at site %s, says %s", a.site, out.Monitor)
	}
	out.Faults = emptyNotNull(out.Faults)
	return a.print(out, func(w io.Writer) { faultTable(w, out.Faults) })
}

// warnOfBlindness says what the answer may be lacking.
func (a *app) warnOfBlindness(out contract.FaultsResult) {
	for _, h := range out.Hosts {
		if !h.Connected {
			a.warn("%s does not reach host %s: %s", out.Monitor, h.Host, cmp.Or(h.Error, "not tried yet"))
		}
	}
	if out.Left > 0 {
		a.warn("%s not listed: narrow it down with --vm, --host, --kind or --level", plural(out.Left, "further fault"))
	}
	for _, d := range out.Doubts {
		a.warn("held back: %s of %s: %s", d.Fault.Kind, d.Fault.Subject(), d.Why)
	}
	if out.ReportError != "" {
		a.warn("reports of %s do not get through (%d unsent): %s", out.Monitor, out.Unsent, out.ReportError)
	}
}

func faultTable(w io.Writer, faults []fault.Fault) {
	rows := make([][]string, len(faults))
	for i, f := range faults {
		rows[i] = []string{string(f.HowBad()), string(f.Kind), aboutFault(f), orNone(f.Host), clock(f.First), f.Why}
	}
	columns(w, []string{"LEVEL", "FAULT", "OF", "HOST", "SINCE", "WHY"}, rows)
}

// aboutFault names what a fault is about, with its device.
func aboutFault(f fault.Fault) string {
	if f.Device != "" {
		return fmt.Sprintf("%s %s", f.Subject(), f.Device)
	}
	return f.Subject()
}
