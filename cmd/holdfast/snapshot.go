package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/contract"
	"holdfast/starter"
)

func (a *app) snapshotCommand() *cobra.Command {
	return asGroup(&cobra.Command{
		Use:   "snapshot",
		Short: "Make, list, verify, restore and delete snapshots of VMs",
		Long: `Make, list, verify, restore and delete snapshots of VMs. All of it goes through the VM's
guardian, so that it never meets a repair; while an incident has the VM, only list works.

There are two kinds. One with memory is kept inside of the VM's qcow2 images; the guest
stands still until its memory is written. One without is a layer: what was the image
stays as it is, and the VM writes to a new file upon it. Of a VM that is shut off it is
kept inside of the images, unless --external is given.

An incident may put a VM back to its newest snapshot as well, where the ladder of its
fault says so and a person approves: see holdfast incident approve.

With snapshots.every in the site file they are made on a schedule, are called ` + contract.ScheduledPrefix + `...,
and are pruned by snapshots.keep.

As long as a VM has any snapshot, libvirt neither migrates nor undefines it. What only
one host knows of goes with that host's libvirt.`,
		Example: `  holdfast snapshot create VM1
  holdfast snapshot list VM1
  holdfast snapshot restore VM1 before-upgrade --reason "the upgrade broke it"`,
		Aliases: []string{"snapshots"},
	}, a.snapshotListCommand(), a.snapshotCreateCommand(), a.snapshotRestoreCommand(), a.snapshotDeleteCommand(),
		a.snapshotVerifyCommand(), a.snapshotScheduleCommand(), a.snapshotPruneCommand())
}

// snapshotFlags are what the commands have in common.
type snapshotFlags struct {
	vmFlags
	in contract.SnapshotInput
}

func (a *app) snapshotListCommand() *cobra.Command {
	var f snapshotFlags
	f.in.Verb = contract.SnapshotList
	cmd := &cobra.Command{
		Use:   "list VM",
		Short: "List the snapshots of a VM, oldest first",
		Long: `List the snapshots of a VM, oldest first, as the host knows them that the VM is on. Those
called ` + contract.KeptPrefix + `... hold what the VM was before it was put back to another one: to
restore such a one undoes that.`,
		Example: `  holdfast snapshot list VM1
  holdfast snapshot list VM1 -o json | jq -r '.snapshots[-1].name'`,
		Args:              wants("VM"),
		ValidArgsFunction: a.completeVMs,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.snapshot(cmd, args[0], f) },
	}
	a.hostFlag(cmd, &f.vmFlags)
	return cmd
}

func (a *app) snapshotCreateCommand() *cobra.Command {
	var f snapshotFlags
	f.in.Verb = contract.SnapshotCreate
	cmd := &cobra.Command{
		Use:   "create VM",
		Short: "Make a snapshot of a VM",
		Long: `Make a snapshot of a VM: of all disks that it can write to, at one moment. If its guest
agent answers, the guest's file systems are frozen for that moment, so that databases
find them in order; if not, it is as after a power cut, and the answer says so.

With --memory the guest's memory is kept, too, and it goes on from there when it is
restored. That takes as long as there is memory to write, and the guest waits.

The snapshot goes on if this command is interrupted, or runs out of --timeout.`,
		Example: `  holdfast snapshot create VM1
  holdfast snapshot create VM1 --name before-upgrade --description "12.4 to 13.0"
  holdfast snapshot create VM1 --memory --timeout 10m`,
		Args:              wants("VM"),
		ValidArgsFunction: a.completeVMs,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.in.Name = orManual(f.in.Name)
			if f.in.Memory && f.in.External {
				return usage(cmd, "--memory is kept inside of the images: leave --external out")
			}
			return a.snapshot(cmd, args[0], f)
		},
	}
	a.hostFlag(cmd, &f.vmFlags)
	nameFlags(cmd, &f.in.Name, &f.in.Description)
	cmd.Flags().BoolVar(&f.in.Memory, "memory", false, "keep the guest's memory, too")
	cmd.Flags().BoolVar(&f.in.External, "external", false, "make a layer also of a VM that is shut off")
	cmd.Flags().BoolVar(&f.in.NoFreeze, "no-freeze", false, "do not freeze the guest's file systems for the moment")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "show what would be made, and make nothing")
	return cmd
}

func (a *app) snapshotRestoreCommand() *cobra.Command {
	var f snapshotFlags
	f.in.Verb = contract.SnapshotRestore
	cmd := &cobra.Command{
		Use:   "restore VM SNAPSHOT --reason WHY",
		Short: "Put a VM back to a snapshot, and keep what it was",
		Long: `Put a VM back to a snapshot. A VM that runs is stopped at once, as by a power cut, so shut
it down before if it can be. What its disks hold is kept as a snapshot of its own first;
then they are put back, and the VM is started and verified. If it does not verify, what
was kept is put back. Nothing is done while it could be running on another host.

This is an incident, and prints its ID. To undo it later, restore the snapshot called
` + contract.KeptPrefix + `... that it names.`,
		Example: `  holdfast snapshot restore VM1 before-upgrade --reason "the upgrade broke it" --watch
  holdfast snapshot restore VM1 before-upgrade --reason test --dry-run`,
		Args:              wants("VM", "SNAPSHOT"),
		ValidArgsFunction: a.completeVMs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.mayRestore(cmd); err != nil {
				return err
			}
			f.in.Name = args[1]
			return a.snapshot(cmd, args[0], f)
		},
	}
	a.hostFlag(cmd, &f.vmFlags)
	restoreFlags(cmd, &f.vmFlags)
	return cmd
}

func (a *app) snapshotDeleteCommand() *cobra.Command {
	var f snapshotFlags
	f.in.Verb = contract.SnapshotDelete
	cmd := &cobra.Command{
		Use:   "delete VM SNAPSHOT",
		Short: "Give up a snapshot of a VM",
		Long: `Give up a snapshot, and never the present state of the VM. A layer is merged into what it
lies upon while the VM runs; one of a VM that is shut off has to wait until it does. A
snapshot that another one needs is refused.`,
		Example: `  holdfast snapshot delete VM1 before-upgrade
  holdfast snapshot delete VM1 before-upgrade --dry-run`,
		Args:              wants("VM", "SNAPSHOT"),
		ValidArgsFunction: a.completeVMs,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.in.Name = args[1]
			return a.snapshot(cmd, args[0], f)
		},
	}
	a.hostFlag(cmd, &f.vmFlags)
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "show the snapshot, and do nothing")
	return cmd
}

// snapshot asks the VM's guardian and prints what came of it.
func (a *app) snapshot(cmd *cobra.Command, ref string, f snapshotFlags) error {
	req, reply, err := a.askSnapshot(cmd, ref, f)
	if err != nil {
		return err
	}
	if reply.Note != "" {
		a.warn("%s", reply.Note)
	}
	if f.watch {
		return a.follow(cmd, reply.IncidentID, starter.WatchOptions{})
	}
	return a.print(reply, func(w io.Writer) { snapshotReply(w, req, reply, f.dryRun) })
}

func (a *app) askSnapshot(cmd *cobra.Command, ref string, f snapshotFlags) (req contract.SnapshotRequest, reply contract.SnapshotReply, err error) {
	if req, err = a.snapshotRequest(cmd, ref, f); err != nil {
		return req, reply, err
	}
	ask := req
	if f.dryRun {
		ask.Verb = contract.SnapshotList
	}
	reply, err = a.sendSnapshotRequest(cmd, fmt.Sprintf("%s snapshots of %s", ask.Verb, req.VM), ask)
	if err == nil && f.dryRun && f.in.Verb != contract.SnapshotCreate {
		reply.Snapshots, err = onlySnapshot(reply.Snapshots, req)
	}
	return req, reply, err
}

// snapshotRequest is what is asked of the guardian of the VM that ref means.
func (a *app) snapshotRequest(cmd *cobra.Command, ref string, f snapshotFlags) (contract.SnapshotRequest, error) {
	found, err := a.findVM(cmd, ref, f.vmFlags)
	f.in.VM, f.in.Host = found.VM, found.Host
	return contract.SnapshotRequest{Site: a.site, By: me(), Why: f.reason, SnapshotInput: f.in}, err
}

func (a *app) sendSnapshotRequest(cmd *cobra.Command, what string, req contract.SnapshotRequest) (reply contract.SnapshotReply, err error) {
	err = a.ask(cmd, what, func(ctx context.Context, c *starter.Client) (err error) {
		reply, err = c.Snapshot(ctx, req)
		return err
	})
	return reply, err
}

func onlySnapshot(have []contract.Snapshot, req contract.SnapshotRequest) ([]contract.Snapshot, error) {
	for _, s := range have {
		if s.Name == req.Name {
			return []contract.Snapshot{s}, nil
		}
	}
	return nil, fmt.Errorf("%s has no snapshot %q on %s: `holdfast snapshot list %s` shows what there is", req.VM, req.Name, req.Host, req.VM)
}

func snapshotReply(w io.Writer, req contract.SnapshotRequest, reply contract.SnapshotReply, dryRun bool) {
	switch {
	case dryRun:
		fmt.Fprintf(w, "would %s snapshot %s of %s on %s\n", req.Verb, req.Name, req.VM, req.Host)
		if req.Verb == contract.SnapshotCreate {
			return
		}
	case req.Verb == contract.SnapshotRestore:
		fmt.Fprintln(w, reply.IncidentID)
		return
	case req.Verb == contract.SnapshotCreate && reply.Already:
		fmt.Fprintf(w, "%s has snapshot %s on %s already\n", req.VM, req.Name, req.Host)
	case req.Verb == contract.SnapshotCreate:
		fmt.Fprintf(w, "%s: snapshot %s on %s made in %s\n", req.VM, req.Name, req.Host, reply.Took.Round(time.Millisecond))
		return
	case req.Verb == contract.SnapshotDelete:
		fmt.Fprintf(w, "%s: snapshot %s on %s given up\n", req.VM, req.Name, req.Host)
		return
	}
	rows := make([][]string, len(reply.Snapshots))
	for i, s := range reply.Snapshots {
		rows[i] = []string{s.Name, clockUTC(s.Created), snapshotKind(s), strings.Join(s.Disks, ","), orNone(s.Parent), s.Description}
	}
	columns(w, []string{"NAME", "MADE", "KIND", "DISKS", "AFTER", "DESCRIPTION"}, rows)
}

func snapshotKind(s contract.Snapshot) string {
	kind := "internal"
	switch {
	case s.External:
		kind = "layer"
	case s.Memory:
		kind = "with memory"
	}
	if s.Current {
		kind += ", current"
	}
	return kind
}
