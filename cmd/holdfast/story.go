package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
)

// story tells an incident to a person.
func story(w io.Writer, inc contract.Incident) { tellStory(w, inc, decisionList) }

// tellStory tells it with its decisions in the given form.
func tellStory(w io.Writer, inc contract.Incident, decisions func(io.Writer, contract.Incident)) {
	state := string(inc.Stage)
	switch {
	case inc.Outcome != "":
		state = fmt.Sprintf("%s (%s)", inc.Outcome, inc.Stage)
	case inc.NeedsPerson:
		state = fmt.Sprintf("NEEDS A PERSON (%s)", inc.Stage)
	}
	fmt.Fprintf(w, "%s: %s\n\n", inc.ID, state)
	rows := append(whatAndWhere(inc),
		[]string{"Fault", fmt.Sprintf("%s: %s", inc.Fault.Kind, inc.Fault.Why)},
		[]string{"Evidence", evidence(inc)},
		[]string{"Why", inc.Why},
	)
	for _, f := range inc.Also {
		rows = append(rows, []string{"Also", fmt.Sprintf("%s: %s", f.Kind, f.Why)})
	}
	if inc.Fault.Frozen != "" {
		rows = append(rows, []string{"Frozen", inc.Fault.Frozen})
	}
	if inc.Held != "" {
		rows = append(rows, []string{"Held", inc.Held})
	}
	if p := inc.Proposal; p != nil {
		rows = append(rows, []string{"Approve", approval(inc, p)})
	}
	if inc.Next != "" {
		rows = append(rows, []string{"Next", inc.Next})
	}
	rows = append(rows, moments(inc)...)
	if inc.More > 0 {
		rows = append(rows, []string{"Reports", plural(inc.More, "further fault") + " while it was open"})
	}
	if len(inc.Evidence) > 0 {
		rows = append(rows, []string{"Kept", keptEvidence(inc)})
	}
	columns(w, nil, rows)
	// Ages are those at the time when the fault was last found true.
	voteTable(w, inc.Fault.Votes, inc.Fault.Last)
	evidenceTable(w, "Measured", inc.Fault.Evidence, inc.Fault.Last)
	attempts(w, inc)
	people(w, inc)
	decisions(w, inc)
	if len(inc.Timeline) > 0 {
		fmt.Fprint(w, "\nTimeline\n")
		for _, e := range inc.Timeline {
			fmt.Fprintln(w, "  "+entryLine(inc, e))
		}
	}
}

// moments are when what happened.
func moments(inc contract.Incident) [][]string {
	var rows [][]string
	for _, t := range []struct {
		what string
		at   time.Time
	}{{"First sign", inc.Fault.First}, {"Opened", inc.Opened}, {"Started", inc.Started}, {"Verified", inc.Verified}, {"Closed", inc.Closed}} {
		if !t.at.IsZero() {
			rows = append(rows, []string{t.what, fmt.Sprintf("%s  %s", t.at.UTC().Format("2006-01-02 15:04:05.000 MST"), after(inc, t.at))})
		}
	}
	return rows
}

// whatAndWhere says what the incident is about.
func whatAndWhere(inc contract.Incident) [][]string {
	var rows [][]string
	switch inc.Fault.Kind.Subject() {
	case fault.SubjectPool:
		rows = append(rows, []string{"Pool", inc.Fault.Pool}, []string{"Host", orNone(inc.Host)})
	case fault.SubjectHost:
		rows = append(rows, []string{"Host", inc.Fault.Host})
	case fault.SubjectSite:
	default:
		rows = append(rows, []string{"VM", fmt.Sprintf("%s  %s", inc.VM, inc.VM.UUID)}, []string{"Host", orNone(inc.Host)})
	}
	return append(rows, []string{"Site", inc.Site})
}

// about is what the incident is about, in a sentence.
func about(inc contract.Incident) string {
	switch subject := inc.Fault.Kind.Subject(); subject {
	case fault.SubjectHost, fault.SubjectSite:
		return string(subject) + " " + inc.Fault.Subject()
	case fault.SubjectPool:
		return "pool " + inc.Fault.Pool + " on " + orNone(inc.Host)
	}
	return inc.VM.String() + " on " + orNone(inc.Host)
}

// evidence is what the fault was concluded from.
func evidence(inc contract.Incident) string {
	var parts []string
	for _, s := range append([]fault.Sighting{inc.Fault.Seen}, inc.Fault.Elsewhere...) {
		if s.Absent || s.State != "" {
			parts = append(parts, s.String())
		}
	}
	if inc.Fault.Reporter != "" {
		parts = append(parts, "reported by "+inc.Fault.Reporter)
	}
	return orNone(strings.Join(parts, "; "))
}

func attempts(w io.Writer, inc contract.Incident) {
	if len(inc.Attempts) == 0 {
		return
	}
	fmt.Fprint(w, "\nTries\n")
	rows := make([][]string, len(inc.Attempts))
	for i, a := range inc.Attempts {
		how := "ok"
		if !a.OK {
			how = "failed: " + a.Error
		}
		rows[i] = []string{"  " + strconv.Itoa(i+1), after(inc, a.Began), string(a.Rung) + " on " + a.Host, "took " + span(a.Ended.Sub(a.Began)), how}
	}
	columns(w, nil, rows)
}

// entryLine is one line of the timeline, from the first sign of the fault and by
// the clock.
func entryLine(inc contract.Incident, e contract.Entry) string {
	return fmt.Sprintf("%9s  %s  %-12s  %s", after(inc, e.At), e.At.UTC().Format("15:04:05.000"), e.Stage, e.Text)
}

// after is how long after the first sign of the fault something was.
func after(inc contract.Incident, t time.Time) string {
	from := inc.Fault.First
	if from.IsZero() {
		from = inc.Opened
	}
	s := span(t.Sub(from))
	if !strings.HasPrefix(s, "-") {
		s = "+" + s
	}
	return s
}
