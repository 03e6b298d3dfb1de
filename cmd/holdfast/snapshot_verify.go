package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/contract"
)

func (a *app) snapshotVerifyCommand() *cobra.Command {
	var f snapshotFlags
	f.in.Verb = contract.SnapshotVerify
	cmd := &cobra.Command{
		Use:   "verify VM SNAPSHOT",
		Short: "Boot a throw-away copy of a VM from a snapshot, without network",
		Long: `Find out whether a VM boots from a snapshot, without touching the VM: a copy of it is
started beside it, upon new layers that are thrown away at the end, and without network,
devices of the host and folders shared with it. This command waits for the finding, unless
--timeout is given.

` + whatBoots + `

It takes the memory of the VM once more, and is refused where the host has not that much
free. Only a layer can be tried: a snapshot that is inside of an image, such as one with
memory, cannot be read while the image is in use. An incident that opens for the VM ends
the trial.

Exit codes: 0 it boots; 1 it does not, or it could not be tried, and the error says which.`,
		Example: `  holdfast snapshot verify VM1 before-upgrade
  holdfast snapshot verify VM1 before-upgrade --within 15m
  holdfast snapshot verify VM1 auto-20260102-030405 -o json | jq -r .trial.by`,
		Args:              wants("VM", "SNAPSHOT"),
		ValidArgsFunction: a.completeVMs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkWithin(cmd, f.in.Within); err != nil {
				return err
			}
			f.in.Name = args[1]
			return a.snapshotVerify(cmd, args[0], f)
		},
	}
	a.hostFlag(cmd, &f.vmFlags)
	withinFlag(cmd, &f.in.Within)
	return cmd
}

// whatBoots is the part of the help that says when a copy counts as up.
const whatBoots = `It boots if its guest agent answers; of a VM that is not annotated to have one (holdfast
vm annotate VM agent=expected), also if it reads its disks and then runs for a minute,
which says less.`

func withinFlag(cmd *cobra.Command, within *time.Duration) {
	cmd.Flags().DurationVar(within, "within", contract.DefaultTrialWithin, "how long its guest has to get up, up to 1h")
	must(cmd.RegisterFlagCompletionFunc("within", cobra.NoFileCompletions))
}

func checkWithin(cmd *cobra.Command, within time.Duration) error {
	if within <= 0 || within > contract.LongestTrial {
		return usage(cmd, "--within %s: a guest gets more than nothing, and at most %s", within, contract.LongestTrial)
	}
	return nil
}

// snapshotVerify prints the finding also of one that does not boot.
func (a *app) snapshotVerify(cmd *cobra.Command, ref string, f snapshotFlags) error {
	req, err := a.snapshotRequest(cmd, ref, f)
	if err != nil {
		return err
	}
	a.unlimited(cmd)
	a.hint("boots a copy of %s on %s from snapshot %s, without network, and waits up to %s for its guest", req.VM, req.Host, req.Name, req.Within)
	reply, err := a.sendSnapshotRequest(cmd, fmt.Sprintf("verify snapshot %s of %s", req.Name, req.VM), req)
	switch {
	case outOfTime(err):
		return fmt.Errorf("%w; the trial goes on, and ends by itself", err)
	case err != nil:
		return err
	case reply.Trial == nil:
		return fmt.Errorf("the guardian of %s is of an older release that knows no trials: update the workers of the site", req.VM)
	}
	return a.printTrial(reply, fmt.Sprintf("%s: snapshot %s on %s", req.VM, req.Name, req.Host), *reply.Trial)
}

// printTrial prints the finding, and returns an error if it does not boot.
func (a *app) printTrial(reply any, what string, t contract.TrialResult) error {
	err := a.print(reply, func(w io.Writer) {
		if t.Booted {
			fmt.Fprintf(w, "%s boots, as seen after %s: %s\n", what, t.Took.Round(100*time.Millisecond), t.Why)
		}
	})
	if err != nil || t.Booted {
		return err
	}
	if s := t.Screen; s != nil && s.Path != "" {
		return fmt.Errorf("%s does not boot: %s; its screen is kept in %s", what, t.Why, s.Path)
	}
	return fmt.Errorf("%s does not boot: %s", what, t.Why)
}
