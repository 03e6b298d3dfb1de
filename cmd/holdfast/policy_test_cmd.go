package main

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/config"
	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/ladder"
	"holdfast/internal/rehearsal"
	page "holdfast/internal/report"
)

// differsError is for a script that wants to know; what differs has been printed.
type differsError struct{ differ, of int }

func (e differsError) Error() string {
	return fmt.Sprintf("%d of %d decisions would differ", e.differ, e.of)
}

func (a *app) policyTestCommand() *cobra.Command {
	var ref, file string
	var exitCode bool
	cmd := &cobra.Command{
		Use:   "test --incident ID|WHAT|FILE.json --policy SITEFILE",
		Short: "Say what an incident would have done under another policy",
		Long: `Make each decision of an incident once more, in the very situation in which it was made,
under the policy that a site file has for that fault and that VM, and say which would
have been others. Nothing is asked of hosts and nothing is done. Hold and guest agent
are the VM's own, and stay as they were recorded.

After the first decision that differs, the rest is what would be decided in the same
situations. They might not have come about: nobody knows how another step would have
ended. What the policy says about verification shows in no decision, and is listed.

The incident is one in Temporal, or a file with what holdfast incident show -o json
printed, or - for that on stdin. An incident on file needs no Temporal.

Exit code 0, whether decisions differ or not; with --exit-code, 4 if any does.`,
		Example: `  holdfast policy test --incident VM1 --policy site.new.yaml
  holdfast policy test --incident vm1.json --policy site.new.yaml --exit-code
  holdfast incident show VM1 -o json | holdfast policy test --incident - --policy site.new.yaml
  holdfast policy test --incident VM1 --policy site.yaml -o json | jq .differ`,
		Args:              wants(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case ref == "":
				return usage(cmd, "say which incident, with --incident: its ID, what it is about, or a file that `holdfast incident show -o json` wrote")
			case file == "":
				return usage(cmd, "say which policy, with --policy: a site file")
			}
			return a.policyTest(cmd, ref, file, exitCode)
		},
	}
	cmd.Flags().StringVar(&ref, "incident", "", "the incident: `ID`, what it is about, a .json file, or - for stdin")
	cmd.Flags().StringVar(&file, "policy", "", "the `SITEFILE` with the policy to try")
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with 4 if a decision would differ")
	must(cmd.RegisterFlagCompletionFunc("incident", a.completeIncidentOrFile))
	must(cmd.RegisterFlagCompletionFunc("policy", completeSiteFile))
	return cmd
}

// completeIncidentOrFile offers incidents, and files where none fits.
func (a *app) completeIncidentOrFile(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	words, directive := a.completeIncidents(cmd, args, typed)
	if len(words) == 0 && len(args) == 0 {
		return []string{"json"}, cobra.ShellCompDirectiveFilterFileExt
	}
	return words, directive
}

// policyTested is what policy test prints for programs.
type policyTested struct {
	Policy string `json:"policy"` // the site file
	Class  string `json:"class,omitempty"`
	rehearsal.Result
	Total int `json:"total"`
}

func (a *app) policyTest(cmd *cobra.Command, ref, file string, exitCode bool) error {
	site, err := config.Load(file) // before Temporal is asked: it may have mistakes
	if err != nil {
		return err
	}
	inc, err := a.incidentFrom(cmd, ref)
	if err != nil {
		return err
	}
	if site.Name != inc.Site {
		a.warn("%s is of site %s, and %s is of site %s", file, site.Name, inc.ID, inc.Site)
	}
	result, err := rehearsal.Replay(inc, site.PolicyFor)
	if err != nil {
		return fmt.Errorf("%s cannot be replayed: %w", inc.ID, err)
	}
	last := inc.Decisions[len(inc.Decisions)-1].Situation.Fault
	out := policyTested{Policy: file, Class: site.ClassOf(last.Labels), Result: result, Total: len(result.Decisions)}
	if err := a.print(out, func(w io.Writer) { policyStory(w, inc, out) }); err != nil {
		return err
	}
	if exitCode && result.Differ > 0 {
		return differsError{result.Differ, out.Total}
	}
	return nil
}

// policyStory tells a person what would have been decided.
func policyStory(w io.Writer, inc contract.Incident, out policyTested) {
	class := ""
	if out.Class != "" {
		class = ", for class " + out.Class
	}
	fmt.Fprintf(w, "%s: %s of %s\nunder %s%s\n", inc.ID, inc.Fault.Kind, about(inc), out.Policy, class)
	var told []rehearsal.Change
	var kind fault.Kind
	for i, d := range out.Decisions {
		if kind != d.Kind || !slices.Equal(told, d.Policy) {
			policyChanges(w, d)
			kind, told = d.Kind, d.Policy
		}
		policyDecision(w, inc, i+1, d)
	}
	fmt.Fprintf(w, "\n%s, %d would differ\n", plural(out.Total, "decision"), out.Differ)
	for i, d := range out.Decisions {
		if d.Differs && i+1 < out.Total {
			fmt.Fprintf(w, "After decision %d, the rest is what would be decided in the same situations, which might not have come about.\n", i+1)
			break
		}
	}
	if out.Redecided > 0 {
		fmt.Fprintf(w, "This release decides %d of them otherwise than the one that recorded them, whatever the policy: see \"recorded policy\".\n", out.Redecided)
	}
}

// policyChanges says what is different about the policy.
func policyChanges(w io.Writer, d rehearsal.Replayed) {
	if len(d.Policy) == 0 {
		fmt.Fprintf(w, "\nThe policy for %s is the recorded one.\n", d.Kind)
		return
	}
	fmt.Fprintf(w, "\nWhat differs about the policy for %s\n", d.Kind)
	rows := make([][]string, len(d.Policy))
	for i, c := range d.Policy {
		note := ""
		if c.Unseen {
			note = "(shows in no decision)"
		}
		rows[i] = []string{"  " + c.Field, c.Was, "-> " + c.Would, note}
	}
	columns(w, nil, rows)
}

// policyDecision tells one decision, as it was and as it would have been. What
// both have in common is said once, or not at all.
func policyDecision(w io.Writer, inc contract.Incident, n int, d rehearsal.Replayed) {
	mark, verdict := " ", "same: "+page.Deed(d.Was)
	// What differs may be but for how long an answer is waited.
	alike := d.SameReason() && page.Deed(d.Was) == page.Deed(d.Would)
	switch {
	case d.Differs && alike:
		mark, verdict = "*", "DIFFERS: "+page.Deed(d.Was)
	case d.Differs:
		mark, verdict = "*", "DIFFERS"
	case !alike:
		verdict = "same, for another reason: " + page.Deed(d.Was)
	}
	fmt.Fprintf(w, "\n%s %d  %s  %s  %s\n", mark, n, after(inc, d.At), d.At.UTC().Format(time.TimeOnly), verdict)
	var rows [][]string
	if !alike || d.Release != nil {
		rows = reasoned("was", d.Was, d.Would, d.Differs)
	}
	if d.Release != nil {
		rows = append(rows, reasoned("recorded policy", *d.Release, d.Was, true)...)
	}
	if !alike {
		rows = append(rows, reasoned("would be", d.Would, d.Was, d.Differs)...)
	}
	if d.Was.Action == ladder.ActApprove && d.Would.Action == ladder.ActApprove {
		for _, c := range d.Policy {
			if c.Field == rehearsal.ApprovalField {
				rows = append(rows, []string{"      waits", c.Was}, []string{"      would wait", c.Would})
			}
		}
	}
	columns(w, nil, rows)
}

// reasoned is a decision with its reason and the rungs that were turned down, less
// those that the other turns down for the same reason.
func reasoned(what string, d, other ladder.Decision, deed bool) [][]string {
	var lines []string
	if deed {
		lines = append(lines, page.Deed(d))
	}
	if d.Why != "" && (deed || d.Why != other.Why) {
		lines = append(lines, "because "+d.Why)
	}
	for _, t := range d.Turned {
		if !slices.Contains(other.Turned, t) {
			lines = append(lines, fmt.Sprintf("not %s: %s", t.Rung, t.Why))
		}
	}
	if d.Action == ladder.ActLook {
		lines = append(lines, "what it would have found was not recorded")
	}
	rows := make([][]string, len(lines))
	for i, l := range lines {
		if rows[i] = []string{"", l}; i == 0 {
			rows[i][0] = "      " + what
		}
	}
	return rows
}
