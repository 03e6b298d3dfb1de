package rehearsal

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"holdfast/internal/detect/rules"
	"holdfast/internal/ladder"
)

// Change is a field that two policies differ in, called as in a site file.
type Change struct {
	Field string `json:"field"`
	Was   string `json:"was"`
	Would string `json:"would"`
	// Unseen: what comes of it shows in no decision, so that a replay cannot tell.
	Unseen bool `json:"unseen,omitempty"`
}

// ApprovalField is the change of how long an approval is waited for, and what then.
const ApprovalField = "approval.timeout"

// Changes lists what differs between two policies of a site. What is the VM's own
// is not looked at.
func Changes(was, would ladder.Policy) []Change {
	var out []Change
	a, b := fields(was), fields(would)
	for i := range a {
		if a[i].Was != b[i].Was {
			out = append(out, Change{Field: a[i].Field, Was: a[i].Was, Would: b[i].Was, Unseen: a[i].Unseen})
		}
	}
	return out
}

// fields are those of a policy in words, in the order of a site file.
func fields(p ladder.Policy) []Change {
	mode := "repair"
	if p.Observe {
		mode = "observe: " + p.ObserveWhy
	}
	return []Change{
		{Field: "mode", Was: mode},
		{Field: "ladder", Was: orWords(list(p.Ladder), "that of the kind")},
		{Field: "maxFailures", Was: fmt.Sprint(p.MaxFailures)},
		{Field: "window", Was: rules.Short(p.Window)},
		{Field: "desired", Was: orWords(p.Desired, ladder.DesiredRunning)},
		{Field: "priority", Was: fmt.Sprint(cmp.Or(p.Priority, ladder.DefaultPriority)), Unseen: true},
		{Field: "backoff.initial", Was: rules.Short(p.BackoffInitial)},
		{Field: "backoff.max", Was: rules.Short(p.BackoffMax)},
		{Field: "backoff.factor", Was: fmt.Sprint(p.BackoffFactor)},
		{Field: "budgets", Was: orWords(budgets(p.Budgets), "the default ones")},
		{Field: "forbidden", Was: orWords(list(p.Forbidden), "none")},
		{Field: "approval.rungs", Was: orWords(list(p.Approval), "none")},
		{Field: ApprovalField, Was: ApprovalText(p)},
		{Field: "evidence.dump", Was: dumpText(p.Dump), Unseen: true},
		{Field: "verify.stableFor", Was: rules.Short(p.StableFor), Unseen: true},
		{Field: "verify.agent", Was: orWords(p.Probes.Agent, ladder.AgentIgnored), Unseen: true},
		{Field: "verify.tcp", Was: orWords(p.Probes.TCP, "none"), Unseen: true},
		{Field: "verify.http", Was: orWords(p.Probes.HTTP, "none"), Unseen: true},
		{Field: "verify.command", Was: orWords(strings.Join(p.Probes.Command, " "), "none"), Unseen: true},
		{Field: "verify.within", Was: rules.Short(p.Probes.Within), Unseen: true},
	}
}

func dumpText(d ladder.Dump) string {
	return fmt.Sprintf("to %s, of VMs with up to %d bytes, within %s", orWords(d.Pool, "nowhere"), d.MaxBytes, rules.Short(d.Within))
}

// ApprovalText says how long an approval is waited for, and what then.
func ApprovalText(p ladder.Policy) string {
	if p.Until(time.Time{}).IsZero() {
		return "for ever"
	}
	return fmt.Sprintf("%s, then %s", rules.Short(p.ApprovalTimeout), orWords(string(p.ApprovalThen), string(ladder.FallbackEscalate)))
}

func budgets(of map[ladder.Rung]int) string {
	var parts []string
	for _, r := range slices.Sorted(maps.Keys(of)) {
		parts = append(parts, fmt.Sprintf("%s %d", r, of[r]))
	}
	return strings.Join(parts, ", ")
}

func list(rungs []ladder.Rung) string {
	words := make([]string, len(rungs))
	for i, r := range rungs {
		words[i] = string(r)
	}
	return strings.Join(words, ", ")
}

func orWords(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
