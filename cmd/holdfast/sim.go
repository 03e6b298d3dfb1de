package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/contract"
	"holdfast/starter"
)

const simLong = `Break and mend things in the simulated site of holdfast dev --simulated, to see what
Holdfast does about them. On a site with real hosts these commands do nothing but
refuse.`

func (a *app) simCommand() *cobra.Command {
	commands := make([]*cobra.Command, 0, len(simFailures)+len(simActions))
	for _, failure := range simFailures {
		commands = append(commands, a.simFail(failure))
	}
	for _, action := range simActions {
		commands = append(commands, a.simOne(action))
	}
	return asGroup(&cobra.Command{
		Use:   "sim",
		Short: "Break and mend things in a simulated site",
		Long:  simLong,
		Example: `  holdfast sim kill VM1              # its QEMU dies: Holdfast starts it again
  holdfast sim fail-starts VM2 all   # and when that cannot work, it asks a person
  holdfast sim hang VM3              # a VM that only looks as if it ran
  holdfast sim cut B                 # a host that may still run its VMs`,
	}, commands...)
}

// simOne is the command for one action.
func (a *app) simOne(s simAction) *cobra.Command {
	names := []string{s.target}
	if s.count != "" {
		names = append(names, s.count)
	}
	see := map[string]string{"VM": "holdfast explain VM1", "HOST": "holdfast explain B"}[s.target]
	example := map[string]string{"VM": "VM1", "HOST": "B"}[s.target]
	cmd := &cobra.Command{
		Use:     strings.Join(append([]string{s.action}, names...), " "),
		Short:   s.short,
		Long:    s.long + "\n\nFor a site made by holdfast dev --simulated only.",
		Example: strings.TrimRight(fmt.Sprintf("  holdfast sim %s %s %s", s.action, example, s.some), " ") + "\n  " + see,
		Args:    wants(names...), ValidArgsFunction: a.completeVMs,
	}
	if s.target == "HOST" {
		cmd.ValidArgsFunction = a.completeHost
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		in := contract.SimFaultInput{Action: s.action, Target: args[0]}
		if s.count != "" {
			n, err := strconv.Atoi(args[1])
			if err != nil {
				return usage(cmd, "%s is %q: write a number", s.count, args[1])
			}
			in.Count = n
		}
		return a.simulate(cmd, in)
	}
	return cmd
}

// simFail is the command for one whose count may be left out, or a word.
func (a *app) simFail(s simAction) *cobra.Command {
	example := s.example
	if example == "" {
		example = fmt.Sprintf("  holdfast sim %[1]s VM1\n  holdfast sim %[1]s VM1 all\n  holdfast sim %[1]s VM1 0", s.action)
	}
	cmd := &cobra.Command{
		Use:               s.action + " VM [N]",
		Short:             s.short,
		Long:              s.long + "\n\nFor a site made by holdfast dev --simulated only.",
		Example:           example,
		Args:              wants("VM", "[N]"),
		ValidArgsFunction: a.completeVMs,
	}
	on := ""
	if s.on {
		cmd.Flags().StringVar(&on, "on", "", "on this `host` only")
		must(cmd.RegisterFlagCompletionFunc("on", a.completeHosts))
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		in := contract.SimFaultInput{Action: s.action, Target: args[0], On: on, Count: 1}
		switch {
		case len(args) < 2:
		case args[1] == "all":
			in.Count = -1
		default:
			n, err := strconv.Atoi(args[1])
			if err != nil {
				return usage(cmd, "N is %q: write a number, or all", args[1])
			}
			in.Count = n
		}
		return a.simulate(cmd, in)
	}
	return cmd
}

func (a *app) simulate(cmd *cobra.Command, in contract.SimFaultInput) error {
	var done contract.SimFaultResult
	err := a.ask(cmd, in.Action+" "+in.Target, func(ctx context.Context, c *starter.Client) (err error) {
		done, err = c.SimulateFault(ctx, a.site, in)
		return err
	})
	if err != nil {
		return err
	}
	return a.print(done, func(w io.Writer) { fmt.Fprintln(w, done.Done) })
}
