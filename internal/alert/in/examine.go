package in

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"holdfast/internal/alert"
)

// What an alert may have; more makes it ignored.
const (
	maxLabels     = 64
	maxLabelName  = 256  // bytes
	maxLabelValue = 2048 // bytes
)

// maxAnnotation is where an annotation is cut, in bytes: they are prose.
const maxAnnotation = 2048

// keptAnnotations are those that people read; others may be of any number and length.
var keptAnnotations = []string{"summary", "description", "runbook_url"}

// times are what an alert that does not say when it ends is held against.
type times struct {
	now     time.Time
	resolve time.Duration // how long an alert in Prometheus' format stands
	longest time.Duration // how long any alert stands without being said again
}

// examine makes an Alert of what was sent. The error says why there is none; it
// is an Ignore.
func examine(p posted, m Mapping, t times) (Alert, error) {
	labels := present(p.labels)
	if err := checkLabels(labels); err != nil {
		return Alert{}, err
	}
	a := Alert{Fingerprint: fingerprint(labels)}
	if err := a.setTimes(p, t); err != nil {
		return a, err
	}
	if err := m.locate(&a, labels); err != nil {
		return a, err
	}
	a.Labels = make(map[string]string, len(labels))
	for name, value := range labels {
		a.Labels[name] = alert.Printable(value)
	}
	a.Annotations = make(map[string]string)
	for _, name := range keptAnnotations {
		if text := p.annotations[name]; text != "" {
			a.Annotations[name] = alert.Printable(alert.Shorten(text, maxAnnotation))
		}
	}
	return a, nil
}

// present leaves out labels without a value, which in Prometheus are none.
func present(labels map[string]string) map[string]string {
	out := maps.Clone(labels)
	maps.DeleteFunc(out, func(_, value string) bool { return value == "" })
	return out
}

func checkLabels(labels map[string]string) error {
	if len(labels) == 0 {
		return Ignore("it has no labels")
	}
	if len(labels) > maxLabels {
		return Ignore(fmt.Sprintf("it has %d labels, and %d is the most", len(labels), maxLabels))
	}
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		switch {
		case name == "" || len(name) > maxLabelName || strings.ContainsFunc(name, unicode.IsControl):
			return Ignore(fmt.Sprintf("%.40q is no name of a label", name))
		case len(labels[name]) > maxLabelValue:
			return Ignore(fmt.Sprintf("label %.40q has %d bytes, and %d is the most", name, len(labels[name]), maxLabelValue))
		}
	}
	return nil
}

// fingerprint is Prometheus' and Alertmanager's own, so that an alert is the
// same one whichever of them brings it.
func fingerprint(labels map[string]string) string {
	h := fnv.New64a()
	separator := []byte{0xff}
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		_, _ = h.Write([]byte(name)) // a hash takes everything
		_, _ = h.Write(separator)
		_, _ = h.Write([]byte(labels[name]))
		_, _ = h.Write(separator)
	}
	return fmt.Sprintf("%016x", h.Sum64())
}

// setTimes says from when until when the alert stands.
//
// Prometheus repeats an alert, each time with an end that is a few minutes
// ahead. Alertmanager's webhook tells no end while an alert fires, repeats it
// after hours, and says when it is resolved.
func (a *Alert) setTimes(p posted, t times) error {
	start, end := p.startsAt.UTC(), p.endsAt.UTC()
	if start.IsZero() || start.After(t.now) {
		start = t.now
	}
	switch {
	case start.Year() < 1970:
		return Ignore("it starts before 1970")
	case !end.IsZero() && end.Before(p.startsAt):
		return Ignore("it ends before it starts")
	case end.IsZero() && p.status == "":
		end = t.now.Add(t.resolve)
	case end.IsZero():
		end = t.now.Add(t.longest)
	}
	if p.status == "resolved" && end.After(t.now) {
		end = t.now
	}
	a.EndsAt = earlier(end, t.now.Add(t.longest))
	a.StartsAt = earlier(start, a.EndsAt) // amtool gives an end alone
	a.Resolved = !a.EndsAt.After(t.now)
	return nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
