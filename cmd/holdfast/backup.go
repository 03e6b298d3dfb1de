package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/starter"
)

func (a *app) backupCommand() *cobra.Command {
	return asGroup(&cobra.Command{
		Use:   "backup",
		Short: "Make, list, check, restore and delete backups of VMs",
		Long: `Make, list, check, restore and delete backups of VMs: copies of their disks in a storage
pool or a folder apart from them, which backups.to in the site file names. All of it goes
through the VM's guardian, so that it never meets a repair; while an incident has the VM,
only list and check work.

The first backup of a VM is a full one. Those after it hold what has changed since the one
before, and need that one. The host forgets what has changed when a QEMU is killed or the
disks are put back, and knows nothing of a VM that is shut off; then the next backup is a
full one by itself.

An incident may put a VM back to its newest backup as well, where the ladder of its fault
says so, no snapshot helped, and a person approves: see holdfast incident approve.`,
		Example: `  holdfast backup create VM1
  holdfast backup list VM1
  holdfast backup restore VM1 weekly --reason "its disk is broken" --watch`,
		Aliases: []string{"backups"},
	}, a.backupCreateCommand(), a.backupListCommand(), a.backupCheckCommand(), a.backupRestoreCommand(), a.backupDeleteCommand())
}

// backupFlags are what the commands have in common.
type backupFlags struct {
	vmFlags
	in contract.BackupInput
}

func (a *app) backupCreateCommand() *cobra.Command {
	var f backupFlags
	f.in.Verb = contract.BackupCreate
	cmd := &cobra.Command{
		Use:   "create VM",
		Short: "Make a backup of a VM, while it runs or not",
		Long: `Make a backup of all disks of a VM that it can write to, as they are at one moment. If its
guest agent answers, the guest's file systems are frozen for that moment, so that
databases find them in order; if not, it is as after a power cut, and the answer says so.
The guest goes on while its disks are copied. A VM that is shut off must stay so
meanwhile, on all hosts, or the copy is given up.

It takes as long as there is something to copy and to read back for its checksums, and
this command waits for it, unless --timeout is given. The backup goes on if the command
is interrupted, and begins anew on another worker if its worker dies.`,
		Example: `  holdfast backup create VM1
  holdfast backup create VM1 --name before-upgrade --description "12.4 to 13.0"
  holdfast backup create VM1 --full`,
		Args:              wants("VM"),
		ValidArgsFunction: a.completeVMs,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.in.Name = orManual(f.in.Name)
			return a.backup(cmd, args[0], f)
		},
	}
	a.hostFlag(cmd, &f.vmFlags)
	nameFlags(cmd, &f.in.Name, &f.in.Description)
	cmd.Flags().BoolVar(&f.in.Full, "full", false, "copy everything, and build upon no earlier backup")
	cmd.Flags().BoolVar(&f.in.NoFreeze, "no-freeze", false, "do not freeze the guest's file systems for the moment")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "show what would be made and where, and make nothing")
	return cmd
}

func (a *app) backupListCommand() *cobra.Command {
	var f backupFlags
	f.in.Verb = contract.BackupList
	cmd := &cobra.Command{
		Use:   "list VM",
		Short: "List the backups of a VM, oldest first",
		Long: `List the backups of a VM that are whole, oldest first. Those called ` + contract.KeptPrefix + `...
are the disks that the VM had before it was restored from another one, where they were: to
restore such a one undoes that, and to delete it gives up those disks.

Of a VM that no host has any more, give the UUID and --host.`,
		Example: `  holdfast backup list VM1
  holdfast backup list VM1 --where old-pool      # where the site file had them earlier
  holdfast backup list VM1 -o json | jq -r '.backups[-1].disks[].file'`,
		Args:              wants("VM"),
		ValidArgsFunction: a.completeVMs,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.backup(cmd, args[0], f) },
	}
	a.hostFlag(cmd, &f.vmFlags)
	whereFlag(cmd, &f)
	return cmd
}

func (a *app) backupCheckCommand() *cobra.Command {
	var f backupFlags
	f.in.Verb = contract.BackupCheck
	cmd := &cobra.Command{
		Use:   "check VM BACKUP",
		Short: "Read a backup, and compare it with its checksums",
		Long: `Read all files of a backup, and of those that it builds upon, and compare them with the
checksums from when they were written. It takes as long as there is something to read,
and changes nothing. A restore does the same by itself before anything else.

With --boot a copy of the VM is then started upon it, beside the VM, without network, and
thrown away at the end. That takes the memory of the VM once more, and is not done while
an incident has the VM.

` + whatBoots + `

Exit codes: 0 it is as it was written, and boots if that was asked; 1 it is not or does
not, and the error says what is wrong, or it could not be read or tried.`,
		Example: `  holdfast backup check VM1 weekly
  holdfast backup check VM1 weekly --boot
  holdfast backup check VM1 weekly --timeout 10m || echo do not count on it`,
		Args:              wants("VM", "BACKUP"),
		ValidArgsFunction: a.completeVMs,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.in.Name = args[1]
			if !f.in.Boot && cmd.Flags().Changed("within") {
				return usage(cmd, "--within is for --boot: give both")
			}
			if err := checkWithin(cmd, f.in.Within); err != nil {
				return err
			}
			return a.backup(cmd, args[0], f)
		},
	}
	a.hostFlag(cmd, &f.vmFlags)
	whereFlag(cmd, &f)
	cmd.Flags().BoolVar(&f.in.Boot, "boot", false, "boot a copy of the VM from it as well")
	withinFlag(cmd, &f.in.Within)
	return cmd
}

func (a *app) backupRestoreCommand() *cobra.Command {
	var f backupFlags
	f.in.Verb = contract.BackupRestore
	cmd := &cobra.Command{
		Use:   "restore VM BACKUP --reason WHY",
		Short: "Put a VM upon disks made from a backup, and keep those it had",
		Long: `Put a VM upon new disks that are made from a backup, once that is found undamaged. A VM
that runs is stopped at once, as by a power cut, so shut it down before if it can be. The
disks that it had stay where they are; then it is started and verified, and if it does not
verify it gets them back. Nothing is done while it could be running on another host.

This is an incident, and prints its ID. To undo it later, restore the backup called
` + contract.KeptPrefix + `... that it names: that takes no copy. Delete that one when it is
certain that nobody wants it back, for it takes as much room as the disks.`,
		Example: `  holdfast backup restore VM1 weekly --reason "its disk is broken" --watch
  holdfast backup restore VM1 weekly --reason test --dry-run`,
		Args:              wants("VM", "BACKUP"),
		ValidArgsFunction: a.completeVMs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.mayRestore(cmd); err != nil {
				return err
			}
			f.in.Name = args[1]
			return a.backup(cmd, args[0], f)
		},
	}
	a.hostFlag(cmd, &f.vmFlags)
	whereFlag(cmd, &f)
	restoreFlags(cmd, &f.vmFlags)
	return cmd
}

func (a *app) backupDeleteCommand() *cobra.Command {
	var f backupFlags
	f.in.Verb = contract.BackupDelete
	cmd := &cobra.Command{
		Use:   "delete VM BACKUP",
		Short: "Remove a backup of a VM",
		Long: `Remove a backup, and never a disk that the VM uses. One that another backup builds upon is
refused: delete the newest first. Of one that keeps what a VM was before a restore, those
disks are removed.`,
		Example: `  holdfast backup delete VM1 weekly
  holdfast backup delete VM1 weekly --dry-run`,
		Args:              wants("VM", "BACKUP"),
		ValidArgsFunction: a.completeVMs,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.in.Name = args[1]
			return a.backup(cmd, args[0], f)
		},
	}
	a.hostFlag(cmd, &f.vmFlags)
	whereFlag(cmd, &f)
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "show the backup, and do nothing")
	return cmd
}

func whereFlag(cmd *cobra.Command, f *backupFlags) {
	cmd.Flags().StringVar(&f.in.In, "where", "", "the `pool` or the whole path of the folder that it is in, if not the one of the site file")
	must(cmd.RegisterFlagCompletionFunc("where", cobra.NoFileCompletions))
}

// backup asks the VM's guardian and prints what came of it.
func (a *app) backup(cmd *cobra.Command, ref string, f backupFlags) error {
	req, reply, err := a.askBackup(cmd, ref, f)
	if err != nil {
		return err
	}
	if reply.Note != "" {
		a.warn("%s", reply.Note)
	}
	if f.watch {
		return a.follow(cmd, reply.IncidentID, starter.WatchOptions{})
	}
	if reply.Trial != nil {
		return a.printTrial(reply, fmt.Sprintf("%s: backup %s in %s is as it was written, and", req.VM, req.Name, reply.In), *reply.Trial)
	}
	return a.print(reply, func(w io.Writer) { backupReply(w, req, reply, f.dryRun) })
}

func (a *app) askBackup(cmd *cobra.Command, ref string, f backupFlags) (req contract.BackupRequest, reply contract.BackupReply, err error) {
	found, err := a.findVM(cmd, ref, f.vmFlags)
	if id, notUUID := uuid.Parse(ref); err != nil && notUUID == nil && f.host != "" {
		found, err = starter.Found{VM: fault.VM{UUID: id.String()}, Host: f.host}, nil // backups outlive VMs
	}
	if err != nil {
		return req, reply, err
	}
	f.in.VM, f.in.Host = found.VM, found.Host
	req = contract.BackupRequest{Site: a.site, By: me(), Why: f.reason, BackupInput: f.in}
	ask := req
	if f.dryRun {
		ask.Verb = contract.BackupList
	}
	long := ask.Verb == contract.BackupCreate || ask.Verb == contract.BackupCheck
	if long {
		a.unlimited(cmd)
	}
	err = a.ask(cmd, fmt.Sprintf("%s backups of %s", ask.Verb, found.VM), func(ctx context.Context, c *starter.Client) (err error) {
		reply, err = c.Backup(ctx, ask)
		return err
	})
	switch {
	case long && outOfTime(err):
		err = fmt.Errorf("%w; what has begun goes on, and `holdfast backup list %s` shows a backup when it is whole", err, found.VM)
	case err == nil && f.dryRun && f.in.Verb != contract.BackupCreate:
		reply.Backups, err = onlyBackup(reply, req)
	}
	return req, reply, err
}

func onlyBackup(have contract.BackupReply, req contract.BackupRequest) ([]contract.Backup, error) {
	for _, b := range have.Backups {
		if b.Name == req.Name {
			return []contract.Backup{b}, nil
		}
	}
	return nil, fmt.Errorf("%s has no backup %q in %s: `holdfast backup list %s` shows what there is", req.VM, req.Name, have.In, req.VM)
}

func backupReply(w io.Writer, req contract.BackupRequest, reply contract.BackupReply, dryRun bool) {
	took := reply.Took.Round(time.Millisecond)
	switch {
	case dryRun:
		fmt.Fprintf(w, "would %s backup %s of %s in %s\n", req.Verb, req.Name, req.VM, reply.In)
		if req.Verb == contract.BackupCreate {
			return
		}
	case req.Verb == contract.BackupRestore:
		fmt.Fprintln(w, reply.IncidentID)
		return
	case req.Verb == contract.BackupCreate && reply.Already:
		fmt.Fprintf(w, "%s has backup %s in %s already\n", req.VM, req.Name, reply.In)
		return
	case req.Verb == contract.BackupCreate:
		fmt.Fprintf(w, "%s: backup %s in %s made in %s\n", req.VM, req.Name, reply.In, took)
		return
	case req.Verb == contract.BackupCheck:
		fmt.Fprintf(w, "%s: backup %s in %s is as it was written; read in %s\n", req.VM, req.Name, reply.In, took)
		return
	case req.Verb == contract.BackupDelete:
		fmt.Fprintf(w, "%s: backup %s in %s deleted\n", req.VM, req.Name, reply.In)
		return
	}
	rows := make([][]string, len(reply.Backups))
	for i, b := range reply.Backups {
		targets := make([]string, len(b.Disks))
		for j, d := range b.Disks {
			targets[j] = d.Target
		}
		rows[i] = []string{
			b.Name, clockUTC(b.Created), backupKind(b), backupSize(b.Bytes()),
			orNone(strings.Join(targets, ",")), orNone(b.Parent), b.Description,
		}
	}
	columns(w, []string{"NAME", "MADE", "KIND", "SIZE", "DISKS", "UPON", "DESCRIPTION"}, rows)
}

func backupKind(b contract.Backup) string {
	kind := "full"
	switch {
	case b.Kept:
		return "kept"
	case b.Parent != "":
		kind = "changes"
	}
	if b.Quiesced {
		kind += ", frozen"
	}
	return kind
}

// backupSize is a number of bytes for people.
func backupSize(bytes uint64) string {
	switch {
	case bytes == 0:
		return "-"
	case bytes < 10<<30:
		return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
}
