package main

import (
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"holdfast/internal/contract"
	"holdfast/internal/retention"
)

// pruning is what snapshot prune prints for programs.
type pruning struct {
	VM     string `json:"vm"`
	Host   string `json:"host"`
	DryRun bool   `json:"dryRun"`
	Keep   string `json:"keep"`
	// Snapshots are all of the VM's, newest first.
	Snapshots []contract.PlannedSnapshot `json:"snapshots"`
	Pruned    []string                   `json:"pruned"`
	NotPruned []contract.NotPruned       `json:"notPruned"`
}

func (a *app) snapshotPruneCommand() *cobra.Command {
	var f snapshotFlags
	var turn contract.TurnInput
	f.in.Verb = contract.SnapshotPrune
	cmd := &cobra.Command{
		Use:   "prune VM",
		Short: "Give up the snapshots of a VM that its schedule no longer keeps",
		Long: `Give up the snapshots that a schedule made of a VM and that its rule no longer keeps, the
oldest first. Each round of the schedule does so by itself; this is to see why one stays
or goes, with --dry-run, and to clean up when a schedule is gone.

The rule is that of the VM's class, or else of the site, in the site file. 4h/7d/4w keeps
the newest of each of the last 4 hours, 7 days and 4 weeks that have one; m is months and
y years. The two newest stay in any case. What a person made, or an incident kept, is
never pruned, and neither is what lies beside the present state since a restore.

Layers can only be merged while the VM runs, which takes as long as they are big: this
command waits for it, unless --timeout is given. While an incident has the VM nothing is
pruned: it might want just that. If one cannot be pruned the exit code is 1.`,
		Example: `  holdfast snapshot prune VM1 --dry-run
  holdfast snapshot prune VM1 --dry-run --keep 24h/7d      # what another rule would do
  holdfast snapshot prune VM1 -o json | jq -r '.pruned[]'`,
		Args:              wants("VM"),
		ValidArgsFunction: a.completeVMs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if turn.Keep != "" {
				if _, err := retention.Parse(turn.Keep); err != nil {
					return usage(cmd, "--keep %s: %w: write it like 4h/7d/4w", turn.Keep, err)
				}
			}
			return a.prune(cmd, args[0], f, turn)
		},
	}
	a.hostFlag(cmd, &f.vmFlags)
	cmd.Flags().StringVar(&turn.Keep, "keep", "", "another `rule` than that of the site file, such as 4h/7d/4w")
	cmd.Flags().BoolVar(&turn.DryRun, "dry-run", false, "show what would be kept and pruned, and why, and prune nothing")
	must(cmd.RegisterFlagCompletionFunc("keep", cobra.FixedCompletions([]string{"4h/7d/4w", "24h/7d", "7d/4w/12m"}, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

func (a *app) prune(cmd *cobra.Command, ref string, f snapshotFlags, turn contract.TurnInput) error {
	f.in.Turn = &turn
	req, err := a.snapshotRequest(cmd, ref, f)
	if err != nil {
		return err
	}
	if !turn.DryRun {
		a.unlimited(cmd)
	}
	reply, err := a.sendSnapshotRequest(cmd, fmt.Sprintf("pruning snapshots of %s", req.VM), req)
	if err != nil {
		return err
	}
	if reply.Turn == nil {
		return fmt.Errorf("the worker of site %s is of an older release, and prunes nothing", a.site)
	}
	out := pruning{
		VM: req.VM.String(), Host: req.Host, DryRun: turn.DryRun, Keep: reply.Turn.Rule, Snapshots: emptyNotNull(reply.Turn.Plan),
		Pruned: emptyNotNull(reply.Turn.Pruned), NotPruned: emptyNotNull(reply.Turn.NotPruned),
	}
	if err := a.print(out, func(w io.Writer) { pruneTable(w, out) }); err != nil {
		return err
	}
	if n := len(out.NotPruned); n > 0 {
		return fmt.Errorf("%s of %s could not be pruned; the first, %s: %s", plural(n, "snapshot"), out.VM, out.NotPruned[0].Name, out.NotPruned[0].Why)
	}
	return nil
}

func pruneTable(w io.Writer, p pruning) {
	if len(p.Snapshots) == 0 {
		fmt.Fprintf(w, "%s has no snapshots on %s\n", p.VM, p.Host)
		return
	}
	rows := make([][]string, len(p.Snapshots))
	for i, s := range p.Snapshots {
		what := "stays"
		switch {
		case s.Keep:
		case p.DryRun:
			what = "would go"
		case slices.Contains(p.Pruned, s.Name):
			what = "pruned"
		default:
			what = "is left"
		}
		rows[i] = []string{s.Name, clockUTC(s.Created), what, s.Why}
	}
	columns(w, []string{"NAME", "MADE", "KEEP " + p.Keep, "WHY"}, rows)
}
