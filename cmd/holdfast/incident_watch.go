package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/starter"
)

func (a *app) incidentWatchCommand() *cobra.Command {
	var o starter.WatchOptions
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "watch ID|WHAT",
		Short: "Follow an incident to its end",
		Long: `Print the story of an incident from its beginning, and each further line as it comes,
until the incident closes or needs a person. It outlives workers and a Temporal that
go away for a while; ending it changes nothing for the incident.

The name of a VM, a host or a storage pool instead of an ID is its newest incident, open
or closed. With --wait, an incident that is not there yet is waited for: one that is
open, or was opened no longer ago.

With -o json or yaml nothing is printed until the end, and then the whole incident.

Exit codes: 0 the VM is as it should be (recovered, cleared, stood down, or mended by
a person); 3 the incident needs a person, and its last line says why; 1 it was
cancelled or ended otherwise, or could not be followed.`,
		Example: `  holdfast incident watch VM1
  holdfast incident watch VM1 --wait 1m && echo it runs again
  holdfast incident watch VM1 --until-closed     # also through the wait for a person`,
		Args:              wants("ID|WHAT"),
		ValidArgsFunction: a.completeIncidents,
		RunE: func(cmd *cobra.Command, args []string) error {
			if wait < 0 {
				return usage(cmd, "--wait %s is negative", wait)
			}
			id, err := a.whichIncident(cmd, args[0], wait)
			if err != nil {
				return err
			}
			return a.follow(cmd, id, o)
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", 0, "how long to wait for a VM's incident to be opened")
	cmd.Flags().BoolVar(&o.UntilClosed, "until-closed", false, "go on while the incident waits for a person")
	must(cmd.RegisterFlagCompletionFunc("wait", cobra.NoFileCompletions))
	return cmd
}

func (a *app) whichIncident(cmd *cobra.Command, ref string, wait time.Duration) (id string, err error) {
	if wait == 0 {
		err = a.ask(cmd, "asking for the incident of "+ref, func(ctx context.Context, c *starter.Client) error {
			id, err = c.FindIncident(ctx, a.site, ref)
			return err
		})
		return id, err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), wait)
	defer cancel()
	defer a.progress("waiting for an incident of " + ref)()
	err = a.connected(ctx, func(c *starter.Client) error {
		id, err = c.AwaitIncident(ctx, a.site, ref, time.Now().Add(-wait))
		return err
	})
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%s got no incident at site %s within %s: `holdfast vm list` shows its state", ref, a.site, wait)
	}
	return id, err
}

// follow prints an incident as it goes on and turns its end into an exit code.
func (a *app) follow(cmd *cobra.Command, id string, o starter.WatchOptions) error {
	f := newFollower(a)
	o.Seen, o.Trouble = f.seen, f.trouble
	var inc contract.Incident
	err := a.connected(cmd.Context(), func(c *starter.Client) (err error) {
		inc, err = c.Watch(cmd.Context(), id, o)
		return err
	})
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("no longer watching; %s goes on by itself", id)
	case err != nil:
		return err
	}
	if err := a.print(inc, func(w io.Writer) { ending(w, inc) }); err != nil {
		return err
	}
	return verdict(inc)
}

// ending is the last line of what is watched.
func ending(w io.Writer, inc contract.Incident) {
	if inc.Closed.IsZero() {
		return // the error says what is needed
	}
	fmt.Fprintf(w, "%s: %s %s after the first sign of the fault\n", inc.ID, inc.Outcome, after(inc, inc.Closed)[1:])
}

// verdict is nil if the VM is as it should be.
func verdict(inc contract.Incident) error {
	if inc.Closed.IsZero() {
		return needsPersonError{vm: inc.VM.String(), id: inc.ID, why: inc.Why, watched: inc.Stage == contract.StageWatch}
	}
	switch inc.Outcome {
	case contract.OutcomeRecovered, contract.OutcomeCleared, contract.OutcomeStoodDown, contract.OutcomeHandBack:
		return nil
	}
	next := ""
	if inc.Fault.Kind.Subject() == fault.SubjectVM {
		next = fmt.Sprintf(", `holdfast recover %s` begins anew", inc.VM)
	}
	return fmt.Errorf("%s ended as %q: `holdfast incident show %s` tells why%s", inc.ID, inc.Outcome, inc.ID, next)
}

// follower prints each line of a timeline once.
type follower struct {
	app     *app
	began   bool
	printed map[contract.Entry]bool
	away    bool
}

func newFollower(a *app) *follower { return &follower{app: a, printed: map[contract.Entry]bool{}} }

func (f *follower) seen(inc contract.Incident) {
	f.away = false
	if f.app.format != formatTable {
		return
	}
	if !f.began {
		f.began = true
		fmt.Fprintf(f.app.out, "%s: %s of %s\n", inc.ID, inc.Fault.Kind, about(inc))
	}
	for _, e := range inc.Timeline {
		e.At = e.At.UTC().Round(0) // one moment, one key
		if !f.printed[e] {
			f.printed[e] = true
			fmt.Fprintln(f.app.out, "  "+entryLine(inc, e))
		}
	}
}

// trouble says once that the incident cannot be asked.
func (f *follower) trouble(err error) {
	if !f.away {
		f.away = true
		f.app.warn("the incident cannot be asked, goes on trying: %s", err)
	}
}
