package in

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"
)

const (
	// maxAlerts is many times what Prometheus puts into a payload, 64, and more
	// than what a group of an Alertmanager should hold.
	maxAlerts = 1000
	// maxDepth is what a payload may nest. The formats need 4.
	maxDepth = 16
	// webhookVersion is that of Alertmanager's webhook format; it has not changed
	// since 2017.
	webhookVersion = "4"
)

// posted is an alert as it was sent.
type posted struct {
	labels, annotations map[string]string
	startsAt, endsAt    time.Time // zero: not said
	status              string    // firing or resolved in a webhook; empty in Prometheus' format
}

// tooMany is the error of a payload with more than maxAlerts.
type tooMany int

func (n tooMany) Error() string {
	return fmt.Sprintf("%d alerts in one payload, and %d is the most: send them in several", int(n), maxAlerts)
}

// parse reads a payload of either format.
//
// Fields are taken one by one from an object's own keys: encoding/json alone
// would take "LABELS" for labels, and merge two objects of one name.
func parse(body []byte) ([]posted, error) {
	if !utf8.Valid(body) {
		return nil, fmt.Errorf("the body is not valid UTF-8")
	}
	if deeperThan(body, maxDepth) {
		return nil, fmt.Errorf("the body nests deeper than %d", maxDepth)
	}
	if start := bytes.TrimLeft(body, " \t\r\n"); len(start) > 0 && start[0] == '{' {
		return parseWebhook(body)
	}
	return parseList(body, false)
}

// deeperThan reports whether brackets nest deeper than limit, before anything
// that recurses looks at the text. The text need not be JSON.
func deeperThan(text []byte, limit int) bool {
	depth, inString := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > limit {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

func parseWebhook(body []byte) ([]posted, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		return nil, fmt.Errorf("the body is not JSON: %w", err)
	}
	var version string
	if err := field(fields, "version", &version); err != nil {
		return nil, err
	}
	if version != webhookVersion {
		return nil, fmt.Errorf("an object with version %.20q: Alertmanager's webhook format has version %q, and Prometheus' format is a list", version, webhookVersion)
	}
	return parseList(fields["alerts"], true)
}

func parseList(text []byte, webhook bool) ([]posted, error) {
	var list []map[string]json.RawMessage
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("the body holds no list of alerts: %w", err)
	}
	if list == nil { // null, which is not an empty list
		return nil, fmt.Errorf("the body holds no list of alerts")
	}
	if len(list) > maxAlerts {
		return nil, tooMany(len(list))
	}
	out := make([]posted, len(list))
	for i, fields := range list {
		if err := out[i].read(fields, webhook); err != nil {
			return nil, fmt.Errorf("alert %d: %w", i, err)
		}
	}
	return out, nil
}

func (p *posted) read(fields map[string]json.RawMessage, webhook bool) error {
	for _, f := range []struct {
		name string
		into any
	}{
		{"labels", &p.labels},
		{"annotations", &p.annotations},
		{"startsAt", &p.startsAt},
		{"endsAt", &p.endsAt},
	} {
		if err := field(fields, f.name, f.into); err != nil {
			return err
		}
	}
	if !webhook {
		return nil
	}
	if err := field(fields, "status", &p.status); err != nil {
		return err
	}
	if p.status != "firing" && p.status != "resolved" {
		return fmt.Errorf("status %.20q: it is firing or resolved", p.status)
	}
	return nil
}

// field reads one field, which may be missing.
func field(fields map[string]json.RawMessage, name string, into any) error {
	raw, ok := fields[name]
	if !ok {
		return nil
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
