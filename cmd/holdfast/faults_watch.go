package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/starter"
)

const (
	// faultsEvery is the time between two questions of holdfast faults watch.
	faultsEvery = 2 * time.Second
	// viewFresh is how long a monitor's last answer counts when another one
	// answers: they alternate, and see the same a few seconds apart.
	viewFresh = 30 * time.Second
)

func (a *app) faultsWatchCommand() *cobra.Command {
	var in contract.FaultsInput
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Follow the faults as they come and go",
		Long: `Print the faults that stand, and then each one that comes or is over, until Ctrl-C. A
monitor is asked every two seconds; it outlives monitors and a Temporal that go away
for a while. Where several monitors watch the site, a fault is over when none of those
that answered within the last half minute sees it any more.

With -o json each line is an object: when, the change (stands, raised or over), and the
fault with all its evidence.`,
		Example: `  holdfast faults watch
  holdfast faults watch --level critical -o json`,
		Args:              wants(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.format == formatYAML {
				return usage(cmd, "what is followed is printed as a table or as json")
			}
			if err := checkFaultsInput(cmd, in); err != nil {
				return err
			}
			return a.watchFaults(cmd, in)
		},
	}
	a.faultFlags(cmd, &in)
	return cmd
}

func (a *app) watchFaults(cmd *cobra.Command, in contract.FaultsInput) error {
	in.Site = a.site
	ctx := cmd.Context()
	err := a.connected(ctx, func(c *starter.Client) error {
		v := newFaultViews()
		tick := time.NewTicker(faultsEvery)
		defer tick.Stop()
		for away := false; ; {
			out, err := c.Faults(ctx, in)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case err == nil:
				away = false
				if err := a.printChanges(v.take(out, time.Now())); err != nil {
					return err
				}
			case v.empty():
				return err // nothing was ever heard: there may be no monitor at all
			case !away:
				away = true
				a.warn("goes on trying: %s", err)
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-tick.C:
			}
		}
	})
	if errors.Is(err, context.Canceled) {
		return nil // that is how it ends
	}
	return err
}

// faultChange is one line of what is watched.
type faultChange struct {
	At     time.Time   `json:"at"`
	Change string      `json:"change"` // stands, raised or over
	Fault  fault.Fault `json:"fault"`
}

func (a *app) printChanges(changes []faultChange) error {
	for _, c := range changes {
		if a.format == formatJSON {
			line, err := json.Marshal(c)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "%s\n", line)
			continue
		}
		f := c.Fault
		fmt.Fprintf(a.out, "%s  %-6s  %-8s  %s of %s on %s: %s\n", clock(c.At), c.Change, f.HowBad(), f.Kind, aboutFault(f), orNone(f.Host), f.Why)
	}
	return nil
}

// faultViews is what each monitor of a site last answered.
type faultViews struct {
	views  map[string]faultView // by monitor
	stands map[string]fault.Fault
	begun  bool
}

type faultView struct {
	at     time.Time
	faults []fault.Fault
}

func newFaultViews() *faultViews {
	return &faultViews{views: map[string]faultView{}, stands: map[string]fault.Fault{}}
}

func (v *faultViews) empty() bool { return !v.begun }

// take adds an answer and returns what it changes, the worst first. Two monitors
// call the same fault by different IDs, so it is known by its slot and kind.
func (v *faultViews) take(out contract.FaultsResult, now time.Time) []faultChange {
	v.views[out.Monitor] = faultView{now, out.Faults}
	seen := map[string]bool{}
	var changes []faultChange
	what := "raised"
	if !v.begun {
		v.begun, what = true, "stands"
	}
	for name, view := range v.views {
		if now.Sub(view.at) > viewFresh {
			delete(v.views, name)
			continue
		}
		for _, f := range view.faults {
			key := f.Slot() + " " + string(f.Kind)
			if _, known := v.stands[key]; !known && !seen[key] {
				changes = append(changes, faultChange{now, what, f})
			}
			seen[key] = true
			v.stands[key] = f
		}
	}
	var over []faultChange
	for key, f := range v.stands {
		if !seen[key] {
			over = append(over, faultChange{now, "over", f})
			delete(v.stands, key)
		}
	}
	return append(inOrder(changes), inOrder(over)...)
}

func inOrder(changes []faultChange) []faultChange {
	slices.SortStableFunc(changes, func(a, b faultChange) int {
		if d := slices.Index(levels(), string(a.Fault.HowBad())) - slices.Index(levels(), string(b.Fault.HowBad())); d != 0 {
			return d
		}
		return a.Fault.First.Compare(b.Fault.First)
	})
	return changes
}
