package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/contract"
)

// story tells an incident to a person.
func story(w io.Writer, inc contract.Incident) {
	state := string(inc.Stage)
	switch {
	case inc.Outcome != "":
		state = fmt.Sprintf("%s (%s)", inc.Outcome, inc.Stage)
	case inc.NeedsPerson:
		state = fmt.Sprintf("NEEDS A PERSON (%s)", inc.Stage)
	}
	fmt.Fprintf(w, "%s: %s\n\n", inc.ID, state)
	rows := [][]string{
		{"VM", fmt.Sprintf("%s  %s", inc.VM, inc.VM.UUID)},
		{"Host", orNone(inc.Host)},
		{"Site", inc.Site},
		{"Fault", fmt.Sprintf("%s: %s", inc.Fault.Kind, inc.Fault.Why)},
		{"Evidence", evidence(inc)},
		{"Why", inc.Why},
	}
	if inc.Next != "" {
		rows = append(rows, []string{"Next", inc.Next})
	}
	for _, t := range []struct {
		what string
		at   time.Time
	}{{"First sign", inc.Fault.First}, {"Opened", inc.Opened}, {"Started", inc.Started}, {"Verified", inc.Verified}, {"Closed", inc.Closed}} {
		if !t.at.IsZero() {
			rows = append(rows, []string{t.what, fmt.Sprintf("%s  %s", t.at.UTC().Format("2006-01-02 15:04:05.000 MST"), after(inc, t.at))})
		}
	}
	if inc.More > 0 {
		rows = append(rows, []string{"Reports", plural(inc.More, "further fault") + " while it was open"})
	}
	columns(w, nil, rows)
	attempts(w, inc)
	if len(inc.Timeline) > 0 {
		fmt.Fprint(w, "\nTimeline\n")
		for _, e := range inc.Timeline {
			fmt.Fprintln(w, "  "+entryLine(inc, e))
		}
	}
}

// evidence is what the fault was concluded from.
func evidence(inc contract.Incident) string {
	var parts []string
	if s := inc.Fault.Seen; s.Host != "" {
		parts = append(parts, s.String())
	}
	for _, s := range inc.Fault.Elsewhere {
		parts = append(parts, s.String())
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
