package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/contract"
	"holdfast/starter"
)

// retryPatience is how long an incident that was told to try again may take to
// leave the stage in which it waited for a person.
const retryPatience = 10 * time.Second

func (a *app) recoverCommand() *cobra.Command {
	var f vmFlags
	cmd := &cobra.Command{
		Use:   "recover VM",
		Short: "Repair a VM now",
		Long: `Ask for the repair of a VM, by its name or its UUID, and print the ID of the incident
that has it. This starts a VM that a person had stopped, tells an incident that waits
for a person to try again with a new budget, and does nothing to a VM that runs. It is
done in observe mode, too: it is you who asks.

A VM has one incident at a time: if one has it already, that one goes on. Holdfast
starts a VM only when no other host can be running it; asking does not change that.

The name is looked up on the hosts. When some of them do not answer and the others do
not know the name, give the UUID.

With --watch the exit code is that of holdfast incident watch.`,
		Example: `  holdfast recover VM1
  holdfast recover VM1 --reason "replaced its disk" --watch
  holdfast recover web --host kvm2        # when two VMs have that name
  holdfast recover VM1 --dry-run          # what would be asked, and of whom`,
		Args:              wants("VM"),
		ValidArgsFunction: a.completeVMs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.dryRun && f.watch {
				return usage(cmd, "--dry-run asks for nothing that --watch could follow: give one of them")
			}
			return a.recover(cmd, args[0], f)
		},
	}
	a.hostFlag(cmd, &f)
	incidentFlags(cmd, &f.reason, &f.watch)
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "show what the hosts say of the VM, and ask for nothing")
	return cmd
}

func (a *app) recover(cmd *cobra.Command, ref string, f vmFlags) error {
	inv, err := a.inventory(cmd, f.host)
	if err != nil {
		return err
	}
	found, err := starter.FindVM(inv, ref)
	if err != nil {
		return err
	}
	if f.host != "" {
		found.Host = f.host
	}
	req := contract.RecoverRequest{Site: a.site, VM: found.VM, Host: found.Host, By: me(), Why: f.reason}
	if f.dryRun {
		return a.print(req, func(w io.Writer) { dryRun(w, req, inv) })
	}
	var reply contract.RecoverReply
	var stage contract.Stage
	err = a.ask(cmd, "asking for the repair of "+req.VM.String(), func(ctx context.Context, c *starter.Client) (err error) {
		if reply, err = c.Recover(ctx, req); err != nil {
			return err
		}
		if reply.Already {
			// The stage is a courtesy: the answer is complete without it.
			if inc, err := c.Incident(ctx, reply.IncidentID); err == nil {
				stage = inc.Stage
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !f.watch {
		return a.print(reply, func(w io.Writer) { recoverReply(w, req, reply, stage) })
	}
	if a.format == formatTable && reply.Already { // else the story begins with the ID
		recoverReply(a.out, req, reply, stage)
	}
	var o starter.WatchOptions
	if reply.Retrying || reply.Watching {
		o.Patience = retryPatience
	}
	return a.follow(cmd, reply.IncidentID, o)
}

func recoverReply(w io.Writer, req contract.RecoverRequest, reply contract.RecoverReply, stage contract.Stage) {
	switch {
	case reply.Watching:
		fmt.Fprintf(w, "%s: told %s, whose fault no rung mends: it starts it only if it does not run\n", req.VM, reply.IncidentID)
	case reply.Retrying && stage == contract.StageObserve:
		fmt.Fprintf(w, "%s: %s observed only, and repairs now that you ask\n", req.VM, reply.IncidentID)
	case reply.Retrying:
		fmt.Fprintf(w, "%s: %s waited for a person and tries again now\n", req.VM, reply.IncidentID)
	case reply.Already && stage != "":
		fmt.Fprintf(w, "%s is already being repaired by %s (stage %s)\n", req.VM, reply.IncidentID, stage)
	case reply.Already:
		fmt.Fprintf(w, "%s is already being repaired by %s\n", req.VM, reply.IncidentID)
	default:
		fmt.Fprintln(w, reply.IncidentID)
	}
}

func dryRun(w io.Writer, req contract.RecoverRequest, inv contract.InventoryResult) {
	fmt.Fprintf(w, "would ask for the repair of %s (%s) at site %s, by %s\n", req.VM, req.VM.UUID, req.Site, req.By)
	var rows [][]string
	for _, v := range inv.VMs {
		if v.VM.UUID == req.VM.UUID {
			rows = append(rows, []string{"  " + v.Host, v.State, v.Reason})
		}
	}
	for _, h := range inv.Hosts {
		if !h.Connected {
			rows = append(rows, []string{"  " + h.Name, "does not answer", h.Error})
		}
	}
	columns(w, nil, rows)
}
