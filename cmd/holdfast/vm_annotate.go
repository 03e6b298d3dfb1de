package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"holdfast/internal/annotation"
	"holdfast/internal/contract"
	"holdfast/internal/detect/rules"
	"holdfast/starter"
)

func (a *app) vmAnnotateCommand() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "annotate VM [KEY=VALUE|KEY-]...",
		Short: "See or change what a VM's definition says to Holdfast",
		Long: `Print a VM's annotation, or change it. It is an element of Holdfast's own in the metadata
of the domain, which goes where the VM goes; nothing else of the definition changes.

  tier=db         a label, by which classes and rules of the site file select VMs
  mode=observe    its faults are told and nothing is touched; mode=repair is the reverse
  cpu.raise=95    of the rule cpu, for this VM: raise, clear, for (such as 10m) or off
  hold=WHY        hands off: see holdfast vm hold
  agent=expected  a guest agent answers in the VM, so that its silence means something

KEY- takes away what was set, cpu.- all of a rule. The change is made through the VM's
guardian, on every host that has the VM defined; one that does not answer is named, and
then the exit code is 1: say it again when it answers. Monitors see it within seconds.`,
		Example: `  holdfast vm annotate VM1
  holdfast vm annotate VM1 tier=db cpu.raise=95 cpu.for=10m
  holdfast vm annotate VM1 mode=observe tier- --dry-run`,
		Args:              atLeast("VM"),
		ValidArgsFunction: a.completeVMs,
		RunE: func(cmd *cobra.Command, args []string) error {
			changes := args[1:]
			if dryRun && len(changes) == 0 {
				return usage(cmd, "--dry-run wants something to change")
			}
			if _, err := annotation.Apply(annotation.Annotation{}, changes); err != nil {
				return usage(cmd, "%s", oneLine(err))
			}
			return a.annotate(cmd, args[0], changes, dryRun)
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show what would change, and change nothing")
	return cmd
}

func (a *app) annotate(cmd *cobra.Command, ref string, changes []string, dryRun bool) error {
	inv, err := a.inventory(cmd, "")
	if err != nil {
		return err
	}
	found, err := starter.FindVM(inv, ref)
	if err != nil {
		return err
	}
	req := contract.AnnotateRequest{
		Site: a.site, By: me(),
		AnnotateInput: contract.AnnotateInput{VM: found.VM, Changes: changes, DryRun: dryRun},
	}
	var reply contract.AnnotateReply
	err = a.ask(cmd, "asking for the annotation of "+found.VM.String(), func(ctx context.Context, c *starter.Client) (err error) {
		reply, err = c.Annotate(ctx, req)
		return err
	})
	if err != nil {
		return err
	}
	if err := a.print(reply, func(w io.Writer) { annotations(w, reply, len(changes) > 0) }); err != nil {
		return err
	}
	for _, h := range reply.Hosts {
		for _, p := range h.Problems {
			a.warn("annotation on %s: %s", h.Host, p)
		}
	}
	for _, h := range reply.Hosts {
		if h.Error != "" {
			return fmt.Errorf("host %s: %s; say it again when it answers", h.Host, h.Error)
		}
	}
	return nil
}

// annotations tells what a VM is annotated with, or what has changed.
func annotations(w io.Writer, reply contract.AnnotateReply, change bool) {
	for _, h := range reply.Hosts {
		if h.Error != "" {
			continue
		}
		before, after := settings(h.Before), settings(h.After)
		what := ""
		switch {
		case change && !h.Changed:
			what = ": nothing to change"
		case change && reply.DryRun:
			what = ": would change"
		case change:
			what = ": changed"
		case len(after) == 0:
			what = ": no annotation"
		}
		fmt.Fprintf(w, "%s on %s%s\n", reply.VM, h.Host, what)
		for _, s := range before {
			if !slices.Contains(after, s) {
				fmt.Fprintf(w, "  - %s\n", s)
			}
		}
		for _, s := range after {
			mark := " "
			if !slices.Contains(before, s) {
				mark = "+"
			}
			fmt.Fprintf(w, "  %s %s\n", mark, s)
		}
	}
}

// settings are what an annotation says, in the words by which it is changed.
func settings(element string) []string {
	p, _ := annotation.Parse("<domain><metadata>" + element + "</metadata></domain>") // it was written by Holdfast
	var out []string
	if p.Mode != "" {
		out = append(out, "mode="+p.Mode)
	}
	if p.AgentExpected {
		out = append(out, "agent=expected")
	}
	if p.Held != "" {
		out = append(out, "hold="+p.Held)
	}
	for _, name := range slices.Sorted(maps.Keys(p.Labels)) {
		out = append(out, name+"="+p.Labels[name])
	}
	for _, name := range slices.Sorted(maps.Keys(p.Overrides)) {
		out = append(out, overrides(name, p.Overrides[name])...)
	}
	return out
}

func overrides(rule string, o rules.Override) (out []string) {
	number := func(field string, v *float64) {
		if v != nil {
			out = append(out, fmt.Sprintf("%s.%s=%s", rule, field, strconv.FormatFloat(*v, 'g', -1, 64)))
		}
	}
	number("raise", o.Raise)
	number("clear", o.Clear)
	if o.For != nil {
		out = append(out, fmt.Sprintf("%s.for=%s", rule, *o.For))
	}
	if o.Off != nil {
		out = append(out, fmt.Sprintf("%s.off=%t", rule, *o.Off))
	}
	return out
}
