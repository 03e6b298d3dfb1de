package main

import (
	"fmt"
	"io"
	"time"

	"holdfast/internal/fault"
)

// sightingTable is what hosts said about a VM.
func sightingTable(w io.Writer, seen []fault.Sighting, now time.Time) {
	if len(seen) == 0 {
		return
	}
	fmt.Fprint(w, "\nHosts say\n")
	rows := make([][]string, len(seen))
	for i, s := range seen {
		state := s.State
		switch {
		case s.Absent:
			state = "not there"
		case s.Reason != "":
			state += " (" + s.Reason + ")"
		}
		rows[i] = []string{"  " + s.Host, state, ago(now, s.At)}
	}
	columns(w, nil, rows)
}

// voteTable is what the vantage points say about a host.
func voteTable(w io.Writer, votes []fault.Vote, now time.Time) {
	if len(votes) == 0 {
		return
	}
	fmt.Fprint(w, "\nVotes\n")
	rows := make([][]string, len(votes))
	for i, v := range votes {
		rows[i] = []string{"  " + v.From, string(v.Says), ago(now, v.At), v.Why}
	}
	columns(w, nil, rows)
}

// evidenceTable is what was measured or told.
func evidenceTable(w io.Writer, title string, evidence []fault.Evidence, now time.Time) {
	if len(evidence) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n", title)
	rows := make([][]string, len(evidence))
	for i, e := range evidence {
		since, from := "", ""
		if !e.Since.IsZero() {
			since = "since " + clock(e.Since)
		}
		if e.From != "" {
			from = "from " + e.From
		}
		at := ""
		if !e.At.IsZero() {
			at = ago(now, e.At)
		}
		rows[i] = []string{"  " + e.What, e.Value, at, since, from}
	}
	columns(w, nil, rows)
}
