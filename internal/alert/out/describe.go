package out

import (
	"strings"
	"time"

	"holdfast/internal/alert"
	"holdfast/internal/fault"
)

// maxDescription is where a description is cut, in bytes: some ways to a person
// take no more.
const maxDescription = 4 << 10

// labels are what the fault is, and nothing that changes while it stands: an
// Alertmanager takes alerts with other labels for other alerts.
func labels(f fault.Fault) map[string]string {
	all := map[string]string{
		"alertname": "Holdfast" + camel(string(f.Kind)),
		"kind":      string(f.Kind),
		"severity":  string(f.HowBad()),
		"site":      f.Site,
		"vm":        f.VM.Name,
		"vm_uuid":   f.VM.UUID,
		"host":      f.Host,
		"pool":      f.Pool,
		"device":    f.Device,
		"rule":      f.Rule,
		alert.Mark:  alert.MarkValue,
	}
	for name, value := range all {
		if value == "" {
			delete(all, name)
		}
	}
	return all
}

// camel makes DiskFull of disk-full.
func camel(kind string) string {
	var b strings.Builder
	for word := range strings.SplitSeq(kind, "-") {
		if word != "" {
			b.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return b.String()
}

// annotations are for people.
func annotations(f fault.Fault, seen fault.Sighting, runbooks, incident string) map[string]string {
	all := map[string]string{
		"summary":     summary(f),
		"description": description(f, seen),
		"runbook":     strings.TrimSuffix(runbooks, "/") + "/" + string(f.Kind) + ".md",
	}
	if incident != "" {
		all["incident"] = incident
	}
	return all
}

// summary reads like "disk-full: VM web1, vda, on kvm2".
func summary(f fault.Fault) string {
	of := map[fault.SubjectType]string{
		fault.SubjectHost: "host ", fault.SubjectPool: "pool ", fault.SubjectSite: "site ",
	}[f.Kind.Subject()]
	if of == "" {
		of = "VM "
	}
	text := string(f.Kind) + ": " + of + f.Subject()
	if f.Device != "" {
		text += ", " + f.Device
	}
	if f.Host != "" && f.Kind.Subject() != fault.SubjectHost {
		text += ", on " + f.Host
	}
	return text
}

// description is why, and what it was concluded from, a line each.
func description(f fault.Fault, seen fault.Sighting) string {
	var lines []string
	add := func(parts ...string) { lines = append(lines, strings.Join(parts, "")) }
	if f.Why != "" {
		add(f.Why)
	}
	if f.Flapping {
		add("It came and went so often that it stands until it is quiet.")
	}
	if f.Frozen != "" {
		add("Nothing is done: ", f.Frozen)
	}
	if seen.Host != "" {
		add("Seen ", seen.String(), at(seen.At))
	}
	for _, e := range f.Evidence {
		line := e.What + ": " + e.Value
		if !e.Since.IsZero() {
			line += ", since " + stamp(e.Since)
		}
		if e.From != "" {
			line += ", by " + e.From
		}
		add(line, at(e.At))
	}
	for _, v := range f.Votes {
		line := v.From + " says " + string(v.Says)
		if v.Why != "" {
			line += ": " + v.Why
		}
		add(line, at(v.At))
	}
	return alert.Shorten(strings.Join(lines, "\n"), maxDescription)
}

func at(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return ", at " + stamp(t)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
