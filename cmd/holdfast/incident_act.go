package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"holdfast/internal/contract"
	"holdfast/internal/ladder"
	"holdfast/starter"
)

// deed is a command that tells an incident something.
type deed struct {
	verb        contract.Verb
	short, long string
	example     string
}

var deeds = []deed{
	{contract.VerbApprove, "Let an incident climb the rung that waits for approval", `Let an incident climb the rung that it asks approval for, or with --as-step another one.
Which rungs need approval is in the site file: by default those that put a VM back to
what it was, which loses what its guest has written since. The rung is approved for this
incident, not for the next.

If somebody else was faster, the error says who it was.`, `  holdfast incident approve VM1 --reason "the database team agrees"
  holdfast incident approve VM1 --as-step restart --reason "try that once more"`},
	{contract.VerbReject, "Have an incident pass over the rung that waits for approval", `Have an incident pass over the rung that it asks approval for. It then looks for what
else there is to do, and asks for a person if that is nothing. The rung stays rejected
until this incident ends, or is told to retry.`, `  holdfast incident reject VM1 --reason "today's orders would be lost"`},
	{contract.VerbHold, "Have an incident do nothing more until it is resumed", `Have an incident do nothing more, after what is under way, until it is resumed. It goes
on looking, and ends if its VM is well again or is meant to be down. It is for this
incident only: holdfast vm hold keeps hands off a VM for good.`, `  holdfast incident hold VM1 --reason "I am at its console"`},
	{contract.VerbResume, "Have an incident go on that was held", `Have an incident go on that was held with holdfast incident hold. It looks at its VM anew
before it decides anything.`, `  holdfast incident resume VM1 --reason "done at the console"`},
	{contract.VerbCancel, "End an incident, and undo what has not verified", `End an incident. What it is doing is stopped, and what has not verified is undone: a VM
that was started and does not run yet is stopped again; what writes to a disk is waited
for. The fault that it is about opens no other incident; the next fault does. Of an
incident about a host, a storage pool or the site, which only watches, give the ID.`, `  holdfast incident cancel VM1 --reason "this VM is being replaced"`},
	{contract.VerbRetry, "Have an incident try again with a new budget", `Have an incident that waits for a person try again, from the first rung of its ladder and
with a new budget; rungs that were rejected are back. In observe mode it does then what
it would do. holdfast recover does the same, by the name of the VM.`, `  holdfast incident retry VM1 --reason "the disk is back"`},
}

type actFlags struct {
	reason, step  string
	watch, dryRun bool
}

func (a *app) incidentActCommands() []*cobra.Command {
	cmds := make([]*cobra.Command, len(deeds))
	for i, d := range deeds {
		cmds[i] = a.incidentActCommand(d)
	}
	return cmds
}

func (a *app) incidentActCommand(d deed) *cobra.Command {
	var f actFlags
	cmd := &cobra.Command{
		Use:               fmt.Sprintf("%s ID|WHAT --reason WHY", d.verb),
		Short:             d.short,
		Long:              d.long,
		Example:           d.example,
		Args:              wants("ID|WHAT"),
		ValidArgsFunction: a.completeIncidents,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case f.reason == "" && d.verb != contract.VerbRetry:
				return usage(cmd, "say why, with --reason: whoever reads the incident later wants to know")
			case f.dryRun && f.watch:
				return usage(cmd, "--dry-run tells nothing that --watch could follow: give one of them")
			case f.step != "" && !slices.Contains(ladder.VMRungs(), ladder.Rung(f.step)):
				return usage(cmd, "--as-step %s is no rung: use one of %v", f.step, ladder.VMRungs())
			}
			return a.act(cmd, args[0], contract.Act{Verb: d.verb, By: me(), Why: f.reason, Rung: ladder.Rung(f.step)}, f)
		},
	}
	incidentFlags(cmd, &f.reason, &f.watch)
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "show what it would be told, and where it stands, and tell it nothing")
	if d.verb == contract.VerbApprove {
		cmd.Flags().StringVar(&f.step, "as-step", "", "the `rung` to climb instead of the one that was proposed")
		must(cmd.RegisterFlagCompletionFunc("as-step", completeRungs))
	}
	return cmd
}

func completeRungs(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var out []string
	for _, r := range ladder.VMRungs() {
		if ladder.Climbable(r) && r != ladder.RungPerson {
			out = append(out, string(r))
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) act(cmd *cobra.Command, ref string, act contract.Act, f actFlags) error {
	var id string
	var reply contract.ActReply
	var inc contract.Incident
	err := a.ask(cmd, fmt.Sprintf("telling the incident of %s to %s", ref, act.Verb), func(ctx context.Context, c *starter.Client) (err error) {
		if id, err = c.FindIncident(ctx, a.site, ref); err != nil {
			return err
		}
		if f.dryRun {
			inc, err = c.Incident(ctx, id)
			return err
		}
		reply, err = c.Act(ctx, id, act)
		return err
	})
	switch {
	case err != nil:
		return err
	case f.dryRun:
		return a.print(act, func(w io.Writer) { dryAct(w, inc, act) })
	case f.watch:
		return a.follow(cmd, id, starter.WatchOptions{Patience: retryPatience})
	}
	return a.print(reply, func(w io.Writer) { fmt.Fprintf(w, "%s: %s\n", reply.IncidentID, reply.Said) })
}

func dryAct(w io.Writer, inc contract.Incident, act contract.Act) {
	fmt.Fprintf(w, "would tell %s, by %s: %s", inc.ID, act.By, act.Verb)
	if act.Rung != "" {
		fmt.Fprintf(w, " as %s", act.Rung)
	}
	fmt.Fprintf(w, ": %s\n", orNone(act.Why))
	rows := [][]string{{"  Stage", string(inc.Stage)}, {"  Why", inc.Why}}
	if p := inc.Proposal; p != nil {
		rows = append(rows, []string{"  Proposed", fmt.Sprintf("%s on %s", p.Rung, p.Host)})
	}
	if inc.Outcome != "" {
		rows = append(rows, []string{"  Outcome", string(inc.Outcome) + ": it is over, and would refuse"})
	}
	columns(w, nil, rows)
}
