package main

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/contract"
	"holdfast/internal/ladder"
	page "holdfast/internal/report"
)

// decisionList tells what was decided. What the timeline says word for word is not
// said again.
func decisionList(w io.Writer, inc contract.Incident) {
	if len(inc.Decisions) == 0 {
		return
	}
	fmt.Fprint(w, "\nDecisions (--decisions has what each was made from)\n")
	var rows [][]string
	for _, d := range inc.Decisions {
		rows = append(rows, []string{"  " + after(inc, d.At), d.At.UTC().Format(time.TimeOnly), page.Deed(d.Decision) + passedOver(inc, d.Decision.Turned)})
		if !tells(inc, d.Decision) {
			rows = append(rows, []string{"", "", "  because " + d.Decision.Why})
		}
		for _, t := range d.Decision.Turned {
			if !tellsOf(inc, t) {
				rows = append(rows, []string{"", "", fmt.Sprintf("  not %s: %s", t.Rung, t.Why)})
			}
		}
	}
	columns(w, nil, rows)
}

// passedOver names the rungs that were turned down for reasons that the timeline has.
func passedOver(inc contract.Incident, turned []ladder.Turned) string {
	var names []string
	for _, t := range turned {
		if tellsOf(inc, t) {
			names = append(names, string(t.Rung))
		}
	}
	if len(names) == 0 {
		return ""
	}
	return ", not " + strings.Join(names, ", ")
}

// tells reports whether a decision's reason stands in the story already.
func tells(inc contract.Incident, d ladder.Decision) bool {
	if d.Why == "" || d.Why == inc.Why {
		return true
	}
	short, theFault := strings.CutPrefix(d.Why, inc.Fault.Why+": ")
	if theFault && d.Action == ladder.ActClimb && (d.Rung == ladder.RungResume || d.Rung == ladder.RungReset || d.Rung == ladder.RungRestart) {
		return true // that there is the fault, and what is done
	}
	for _, e := range inc.Timeline {
		if strings.Contains(e.Text, short) {
			return true
		}
	}
	return false
}

func tellsOf(inc contract.Incident, t ladder.Turned) bool {
	for _, e := range inc.Timeline {
		if e.Text == fmt.Sprintf("turned down %s: %s", t.Rung, t.Why) {
			return true
		}
	}
	return false
}

// decisionsInFull tells each decision with all that it was made from.
func decisionsInFull(w io.Writer, inc contract.Incident) {
	fmt.Fprint(w, "\nDecisions\n")
	if len(inc.Decisions) == 0 {
		fmt.Fprintln(w, "  none is recorded")
	}
	for i, d := range inc.Decisions {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "  %d  %s  %s  %s\n", i+1, after(inc, d.At), d.At.UTC().Format("15:04:05.000"), page.Deed(d.Decision))
		rows := [][]string{{"     because", d.Decision.Why}}
		for _, t := range d.Decision.Turned {
			rows = append(rows, []string{"     not " + string(t.Rung), t.Why})
		}
		for _, in := range page.Inputs(inc, d) {
			rows = append(rows, []string{"     " + in.What, in.Text})
		}
		columns(w, nil, rows)
	}
}

// people tells what they said to the incident.
func people(w io.Writer, inc contract.Incident) {
	if len(inc.Acts) == 0 {
		return
	}
	fmt.Fprint(w, "\nPeople\n")
	rows := make([][]string, len(inc.Acts))
	for i, act := range inc.Acts {
		what := string(act.Verb)
		if act.Rung != "" {
			what += " " + string(act.Rung)
		}
		rows[i] = []string{"  " + after(inc, act.At), act.At.UTC().Format(time.TimeOnly), act.By, what, act.Why}
	}
	columns(w, nil, rows)
}

// approval is what waits for a person, and until when.
func approval(inc contract.Incident, p *contract.Proposal) string {
	text := fmt.Sprintf("%s on %s, asked at %s", p.Rung, p.Host, p.At.UTC().Format("15:04:05 MST"))
	switch {
	case p.Escalated:
		text += ", and nobody answered in time"
	case !p.Until.IsZero():
		then := cmp.Or(p.Then, ladder.FallbackEscalate)
		text += fmt.Sprintf("; at %s: %s", p.Until.UTC().Format("15:04:05 MST"), then)
	}
	if p.Why != inc.Why {
		text += ": " + p.Why
	}
	return text
}

// keptEvidence says how much there is, and how to get it.
func keptEvidence(inc contract.Incident) string {
	items, sets := 0, 0
	for _, set := range inc.Evidence {
		n := 0
		for _, item := range set.Items {
			if item.Error == "" {
				n++
			}
		}
		if items += n; n > 0 {
			sets++
		}
	}
	if items == 0 {
		return "no evidence: `holdfast incident evidence " + inc.ID + "` says why"
	}
	return strconv.Itoa(items) + " pieces of evidence in " + plural(sets, "set") + ": `holdfast incident evidence " + inc.ID + " --save DIR`"
}
