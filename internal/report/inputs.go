package report

import (
	"fmt"
	"strings"
	"time"

	"holdfast/internal/contract"
	"holdfast/internal/ladder"
)

// Line is something that is known, and what it is called.
type Line struct{ What, Text string }

// Inputs says what a decision was made from: what the hosts answered, what was
// found when the guest was looked at, what had been tried and how much of that is
// allowed, and what people wanted. What was not known is left out.
func Inputs(inc contract.Incident, d contract.Decided) []Line {
	var lines []Line
	add := func(what string, parts ...string) {
		var there []string
		for _, p := range parts {
			if p != "" {
				there = append(there, p)
			}
		}
		if len(there) > 0 {
			lines = append(lines, Line{what, strings.Join(there, "; ")})
		}
	}
	s := d.Situation
	if s.Fault.Kind != inc.Fault.Kind || s.Fault.Why != inc.Fault.Why {
		add("fault", fmt.Sprintf("%s: %s", s.Fault.Kind, s.Fault.Why))
	}
	add("hosts", answers(s)...)
	if v := s.Vital; v != nil {
		reach := "; its QEMU does not answer"
		if v.Reachable {
			reach = ""
		}
		add("guest", v.Why+reach)
	}
	if p := s.Places; p != nil {
		add("elsewhere", places(*p)...)
	}
	if k := s.Stock; k != nil {
		add("put back to", from("snapshot", k.Snapshot, k.SnapshotAt, k.SnapshotWhy), from("backup", k.Backup, k.BackupAt, k.BackupWhy))
	}
	add("tried", tried(s)...)
	add("policy", rules(s)...)
	add("people", wishes(s)...)
	return lines
}

// places says which other hosts there are.
func places(p ladder.Places) (parts []string) {
	if p.Best == "" {
		return []string{p.Why}
	}
	parts = append(parts, fmt.Sprintf("%s: best, %s", p.Best, p.Why))
	for _, o := range p.Others {
		parts = append(parts, fmt.Sprintf("not %s: %s", o.Host, o.Why))
	}
	return parts
}

func answers(s ladder.Situation) []string {
	parts := make([]string, 0, len(s.Answers))
	for _, a := range s.Answers {
		switch {
		case a.Error != "":
			parts = append(parts, fmt.Sprintf("%s: no answer (%s)", a.Host, a.Error))
		case a.Active && a.State != "running":
			parts = append(parts, a.Sighting.String()+", its QEMU is there")
		default:
			parts = append(parts, a.Sighting.String())
		}
	}
	if s.OursStopped {
		parts = append(parts, "this incident itself stopped it")
	}
	return parts
}

func from(what, name string, at time.Time, why string) string {
	switch {
	case name == "" && why == "":
		return "no " + what
	case name == "":
		return fmt.Sprintf("no %s: %s", what, why)
	case at.IsZero():
		return what + " " + name
	}
	return fmt.Sprintf("%s %s of %s", what, name, at.UTC().Format("2006-01-02 15:04:05 MST"))
}

// tried says how much of each rung's budget was used up.
func tried(s ladder.Situation) []string {
	used := make(map[ladder.Rung]int)
	var parts []string
	for _, a := range s.Tried {
		if s.Now.Sub(a.Ended) <= s.Policy.Window {
			used[a.Rung]++
		}
	}
	for _, r := range ladder.VMRungs() {
		if used[r] > 0 {
			parts = append(parts, fmt.Sprintf("%s %d of %d in %s", r, used[r], budget(s.Policy, r), Span(s.Policy.Window)))
		}
	}
	if n := len(s.Tried); n > 0 {
		if last := s.Tried[n-1]; last.Error != "" {
			parts = append(parts, "the last: "+last.Error)
		}
	}
	return parts
}

// budget is how often a rung may fail within the window.
func budget(p ladder.Policy, r ladder.Rung) int {
	if n, ok := p.Budgets[r]; ok {
		return n
	}
	if r == ladder.RungRestart {
		return p.MaxFailures
	}
	return ladder.DefaultBudget(r)
}

// rules are what the policy said besides its budgets.
func rules(s ladder.Situation) []string {
	var parts []string
	p := s.Policy
	if p.Observe {
		parts = append(parts, "observe: "+p.ObserveWhy)
	}
	if len(p.Ladder) > 0 {
		parts = append(parts, "ladder "+words(p.Ladder))
	}
	if len(p.Forbidden) > 0 {
		parts = append(parts, "forbids "+words(p.Forbidden))
	}
	if len(p.Approval) > 0 {
		parts = append(parts, "wants approval of "+words(p.Approval))
	}
	if s.Legacy {
		parts = append(parts, "only restart existed when this incident was opened")
	}
	return parts
}

// wishes are what people had said by then.
func wishes(s ladder.Situation) []string {
	var parts []string
	if s.Asked {
		parts = append(parts, "asked for this repair")
	}
	if s.Policy.Held != "" {
		parts = append(parts, s.Policy.Held)
	}
	if s.Ordered != "" {
		parts = append(parts, "want "+string(s.Ordered)+" next")
	}
	if len(s.Approved) > 0 {
		parts = append(parts, "approved "+words(s.Approved))
	}
	for _, t := range s.Rejected {
		parts = append(parts, fmt.Sprintf("not %s: %s", t.Rung, t.Why))
	}
	return parts
}

func words(rungs []ladder.Rung) string {
	out := make([]string, len(rungs))
	for i, r := range rungs {
		out[i] = string(r)
	}
	return strings.Join(out, ", ")
}
