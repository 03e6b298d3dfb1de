package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/starter"
)

func (a *app) explainCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "explain VM|HOST",
		Short: "Say why a VM or a host has a fault, or has none",
		Long: `Print what a monitor of the site knows about a VM, by its name or UUID, or about a
host: what every host last said about it, signs of life, the votes of the vantage
points, its class, labels and mode, its faults, and why one would be held back.

Then every rule that looks at it: the newest value, the thresholds, for how long a value
must be beyond them, where the rule stands and why. A rule raises its fault above
(">") or below ("<") the first threshold and ends it within the second.`,
		Example: `  holdfast explain VM1
  holdfast explain kvm1
  holdfast explain VM1 -o json | jq '.rules[] | select(.state != "quiet")'`,
		Args:              wants("VM|HOST"),
		ValidArgsFunction: a.completeVMOrHost,
		RunE: func(cmd *cobra.Command, args []string) error {
			var out contract.ExplainResult
			err := a.ask(cmd, "asking a monitor of site "+a.site+" about "+args[0], func(ctx context.Context, c *starter.Client) (err error) {
				out, err = c.Explain(ctx, contract.ExplainInput{Site: a.site, Name: args[0]})
				return err
			})
			if err != nil {
				return err
			}
			out.Rules = emptyNotNull(out.Rules)
			return a.print(out, func(w io.Writer) { explanation(w, out) })
		},
	}
}

// explanation tells a person what is known about a VM or a host.
func explanation(w io.Writer, x contract.ExplainResult) {
	state := x.State
	if x.Reason != "" {
		state += " (" + x.Reason + ")"
	}
	if x.Subject == fault.SubjectHost {
		fmt.Fprintf(w, "host %s: %s\n\n", x.Host, cmp.Or(state, "not seen yet"))
	} else {
		fmt.Fprintf(w, "%s on %s: %s\n\n", x.VM, cmp.Or(x.Host, "no host"), cmp.Or(state, "not seen yet"))
	}
	columns(w, nil, explanationHead(x))
	sightingTable(w, x.Seen, x.At)
	voteTable(w, x.Votes, x.At)
	evidenceTable(w, "Facts", x.Facts, x.At)
	ruleTable(w, x)
}

func explanationHead(x contract.ExplainResult) [][]string {
	rows := [][]string{}
	add := func(what, text string) {
		if text != "" {
			rows = append(rows, []string{what, text})
		}
	}
	add("UUID", x.VM.UUID)
	add("Site", x.Site)
	add("Class", x.Class)
	labels := make([]string, 0, len(x.Labels))
	for _, name := range slices.Sorted(maps.Keys(x.Labels)) {
		labels = append(labels, name+"="+x.Labels[name])
	}
	add("Labels", strings.Join(labels, " "))
	if x.Mode != "" && x.ModeWhy != "" {
		add("Mode", x.Mode+": "+x.ModeWhy)
	} else {
		add("Mode", x.Mode)
	}
	if !x.LastSeen.IsZero() {
		add("Last seen", ago(x.At, x.LastSeen))
	}
	add("Monitor", x.Monitor)
	if len(x.Faults) == 0 {
		add("Faults", "none")
	}
	for i, f := range x.Faults {
		what := ""
		if i == 0 {
			what = "Faults"
		}
		rows = append(rows, []string{what, fmt.Sprintf("%s %s since %s: %s", f.HowBad(), f.Kind, clock(f.First), f.Why)})
	}
	add("Held back", x.Inhibited)
	return rows
}

func ruleTable(w io.Writer, x contract.ExplainResult) {
	if len(x.Rules) == 0 {
		fmt.Fprint(w, "\nNo rule looks at it.\n")
		return
	}
	fmt.Fprint(w, "\nRules\n")
	rows := make([][]string, len(x.Rules))
	for i, r := range x.Rules {
		metric := r.Metric
		if r.Device != "" {
			metric += " " + r.Device
		}
		why := r.Why
		if r.From != "" {
			why += " (set by " + r.From + ")"
		}
		since := "-"
		if !r.Since.IsZero() {
			since = ago(x.At, r.Since)
		}
		rows[i] = []string{
			"  " + r.Name, metric, ruleValue(r), thresholds(r),
			time.Duration(r.ForSeconds * float64(time.Second)).String(), r.State, since, why,
		}
	}
	columns(w, []string{"  RULE", "METRIC", "VALUE", "RAISE/CLEAR", "FOR", "STATE", "SINCE", "WHY"}, rows)
}

func ruleValue(r contract.RuleState) string {
	if r.Value == nil {
		return "-"
	}
	unit := r.Unit
	if r.Slope {
		unit += "/min"
	}
	return strings.TrimSpace(number(*r.Value) + " " + unit)
}

// thresholds are where a rule raises and where it ends.
func thresholds(r contract.RuleState) string {
	sign := ">"
	if r.Below {
		sign = "<"
	}
	return sign + number(r.Raise) + "/" + number(r.Clear)
}

// number is a value as exact as it matters, such as 97.1, 0.25 or 110M.
func number(v float64) string {
	for _, p := range []struct {
		from, unit float64
		sign       string
	}{{1e9, 1e9, "G"}, {1e6, 1e6, "M"}, {1e5, 1e3, "k"}} {
		if math.Abs(v) >= p.from {
			return strconv.FormatFloat(math.Round(v/p.unit*10)/10, 'f', -1, 64) + p.sign
		}
	}
	digits := 2
	switch a := math.Abs(v); {
	case a >= 100:
		digits = 0
	case a >= 10:
		digits = 1
	}
	scale := math.Pow10(digits)
	return strconv.FormatFloat(math.Round(v*scale)/scale, 'f', -1, 64)
}

// ago is a moment as its age.
func ago(now, t time.Time) string { return span(max(now.Sub(t), 0)) + " ago" }
