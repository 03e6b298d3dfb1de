package in

import (
	"bytes"
	"encoding/json"
	"slices"
	"unicode/utf8"

	"holdfast/internal/fault"
)

// legitimate counts the alerts in a payload that may be taken by a site, from
// the formats alone and without the code under test: a payload that is broken
// anywhere has none.
func legitimate(body []byte, s *site) int {
	var top any
	numbers := json.NewDecoder(bytes.NewReader(body))
	numbers.UseNumber() // one that fits no float is still JSON
	if !utf8.Valid(body) || !json.Valid(body) || numbers.Decode(&top) != nil {
		return 0
	}
	list, isList := top.([]any)
	if object, ok := top.(map[string]any); ok && object["version"] == "4" {
		list, isList = object["alerts"].([]any)
		for _, a := range list {
			one, ok := a.(map[string]any)
			if !ok || one["status"] != "firing" && one["status"] != "resolved" {
				return 0
			}
		}
	}
	if !isList {
		return 0
	}
	count := 0
	for _, a := range list {
		one, ok := a.(map[string]any)
		if !ok && a != nil {
			return 0
		}
		labels, sound := texts(one["labels"])
		_, annotated := texts(one["annotations"])
		if !sound || !annotated {
			return 0
		}
		if namesSome(labels, s) {
			count++
		}
	}
	return count
}

// texts are the members of an object that has only strings, or nothing.
func texts(v any) (map[string]string, bool) {
	object, ok := v.(map[string]any)
	if !ok {
		return nil, v == nil
	}
	out := map[string]string{}
	for name, value := range object {
		text, ok := value.(string)
		if !ok && value != nil {
			return nil, false
		}
		out[name] = text
	}
	return out, true
}

// namesSome reports whether labels name a VM or a host of the site under the
// mapping of the tests, and are of a kind that can be.
func namesSome(labels map[string]string, s *site) bool {
	if labels["source"] == "holdfast" {
		return false
	}
	kind := fault.Kind(labels["holdfast_kind"])
	switch labels["alertname"] {
	case "GuestDown":
		kind = fault.KindHung
	case "NodeDown":
		kind = fault.KindHostUnreachable
	}
	if kind.Subject() == fault.SubjectHost {
		return hasOne(labels, s.hosts, "host", "node", "instance")
	}
	return hasOne(labels, s.vms, "vm", "domain", "instance")
}

// hasOne holds the first label that has a value against the names.
func hasOne(labels map[string]string, names []string, by ...string) bool {
	for _, label := range by {
		if v := labels[label]; v != "" {
			return slices.Contains(names, v) || slices.Contains(names, cutPort(v))
		}
	}
	return false
}
