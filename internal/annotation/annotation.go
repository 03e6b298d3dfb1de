// Package annotation reads and writes what a VM's own definition says to
// Holdfast: an element of ours in the metadata of its domain, which libvirt keeps
// and hands on when the VM moves. It is pure.
//
//	<holdfast:vm xmlns:holdfast="https://holdfast.dev/xmlns/domain/1" mode="observe" agent="expected" hold="ann: moves its disk">
//	  <holdfast:label name="tier" value="db"/>
//	  <holdfast:rule name="cpu" raise="95" clear="90" for="10m" off="false"/>
//	</holdfast:vm>
//
// A mistake in it is an error and stops nothing: what could be understood is
// returned beside it. Where a mistake leaves open whether the VM was meant to be
// observed only, it is observed only: that can be mended at any time.
package annotation

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"holdfast/internal/detect/rules"
)

// Namespace is that of our element.
const Namespace = "https://holdfast.dev/xmlns/domain/1"

// anyNamespace is what our namespaces of every version begin with.
const anyNamespace = "https://holdfast.dev/xmlns/domain/"

// Modes.
const (
	ModeObserve = "observe" // it is detected and told, and nothing is touched
	ModeRepair  = "repair"
)

// agentExpected is the value of the attribute agent.
const agentExpected = "expected"

// Limits. Labels go into every fault of the VM, and so into incidents.
const (
	maxLabels     = 32
	maxRules      = 64
	maxLabelValue = 128 // bytes
	maxHeld       = 512 // bytes
	maxFor        = 24 * time.Hour
)

// Annotation is what our element says. The zero Annotation says nothing.
type Annotation struct {
	// Mode is ModeObserve, ModeRepair or empty: as the site says.
	Mode string
	// AgentExpected: a guest agent answers in this VM, so that its silence means
	// something.
	AgentExpected bool
	// Held says who wants hands off the VM, and why; empty: nobody.
	Held string
	// Labels by name; nil if there are none.
	Labels map[string]string
	// Overrides of the site's rules, by their names; nil if there are none.
	Overrides map[string]rules.Override
}

// Empty reports whether the annotation says nothing.
func (a Annotation) Empty() bool {
	return a.Mode == "" && !a.AgentExpected && a.Held == "" && len(a.Labels) == 0 && len(a.Overrides) == 0
}

// clone returns an annotation that shares nothing that is ever written to.
func (a Annotation) clone() Annotation {
	a.Labels, a.Overrides = maps.Clone(a.Labels), maps.Clone(a.Overrides)
	return a
}

// Profile is what Holdfast takes from a VM's definition.
type Profile struct {
	Annotation
	// HasAgent: the VM has a channel for a guest agent. Whether one answers in it
	// is for the annotation to say, or for an answer.
	HasAgent bool
	// Disks in the order of the definition, those without a medium included.
	Disks []Disk
}

// Disk is one disk of a VM.
type Disk struct {
	Target string // as the guest's definition calls it, such as vda
	// Source is the path of the image or device on the host, or its name in what
	// Pool or a network protocol makes of it; empty: there is no medium.
	Source string
	// Pool is the storage pool that it is a volume of, where the definition says so.
	Pool     string
	ReadOnly bool
}

// Problem is one thing that is wrong with an annotation. It is an error of its own.
type Problem struct {
	Where   string // such as `rule cpu`, or the argument
	Message string
	Hint    string
}

// Error reads like "rule cpu: raise: what is wrong; what to do".
func (p Problem) Error() string {
	text := p.Where + ": " + p.Message
	if p.Hint != "" {
		text += "; " + p.Hint
	}
	return text
}

const labelPattern = "[A-Za-z0-9]([A-Za-z0-9_/-]*[A-Za-z0-9])?, at most 63 characters"

var (
	labelName = regexp.MustCompile(`\A[A-Za-z0-9]([A-Za-z0-9_/-]{0,61}[A-Za-z0-9])?\z`)
	ruleName  = regexp.MustCompile(`\A[a-z0-9-]{1,63}\z`)
)

// CheckLabel says what is wrong with a label and what to do about it; empty: nothing.
func CheckLabel(name, value string) (message, hint string) {
	switch {
	case !labelName.MatchString(name):
		return quote(name) + " is no name for a label", "allowed: " + labelPattern
	case name == "mode" || name == "agent" || name == "hold":
		return quote(name) + " is no name for a label", "it is a setting of its own"
	case value == "":
		return "the label " + name + " has no value", "give it one, such as yes"
	case len(value) > maxLabelValue:
		return "the value of the label " + name + " is too long", fmt.Sprintf("allowed: %d bytes", maxLabelValue)
	case !printable(value):
		return "the value of the label " + name + " is not plain text", "use characters that can be printed"
	}
	return "", ""
}

// CheckHold says what is wrong with who holds a VM and why; empty: nothing.
func CheckHold(text string) (message, hint string) {
	switch {
	case strings.TrimSpace(text) == "":
		return "nobody is said to hold it", "say who, and why"
	case len(text) > maxHeld:
		return "the reason for the hold is too long", fmt.Sprintf("allowed: %d bytes", maxHeld)
	case !printable(text):
		return "the reason for the hold is not plain text", "use characters that can be printed"
	}
	return "", ""
}

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// fields of a rule that an annotation may change, by name.
var fields = []string{"raise", "clear", "for", "off"}

// set reads the value of a field of a rule into an override.
func set(o *rules.Override, field, value string) (message, hint string) {
	switch field {
	case "raise", "clear":
		v, err := strconv.ParseFloat(value, 64)
		if err != nil || v-v != 0 { // neither NaN nor infinite
			return quote(value) + " is not a number", "write one, such as 95"
		}
		if field == "raise" {
			o.Raise = &v
		} else {
			o.Clear = &v
		}
	case "for":
		v, err := time.ParseDuration(value)
		if err != nil || v < 0 || v > maxFor {
			return quote(value) + " is not a duration from 0s to 24h", "write one, such as 10m"
		}
		o.For = &v
	case "off":
		if value != "true" && value != "false" {
			return quote(value) + " is neither true nor false", ""
		}
		v := value == "true"
		o.Off = &v
	default:
		return "has no field " + quote(field), "known: " + strings.Join(fields, ", ")
	}
	return "", ""
}

// get writes a field of an override as set reads it.
func get(o rules.Override, field string) (value string, has bool) {
	number := func(v *float64) (string, bool) {
		if v == nil {
			return "", false
		}
		return strconv.FormatFloat(*v, 'g', -1, 64), true
	}
	switch field {
	case "raise":
		return number(o.Raise)
	case "clear":
		return number(o.Clear)
	case "for":
		if o.For != nil {
			return rules.Short(*o.For), true
		}
	case "off":
		if o.Off != nil {
			return strconv.FormatBool(*o.Off), true
		}
	}
	return "", false
}

// quote shows a part of an annotation in a message, shortened.
func quote(s string) string {
	const most = 60
	if runes := []rune(s); len(runes) > most {
		s = string(runes[:most]) + "…"
	}
	return strconv.Quote(s)
}

// problems says what is wrong with an annotation that was not read but made.
func (a Annotation) problems() []Problem {
	var found []Problem
	wrong := func(where, message, hint string) {
		if message != "" {
			found = append(found, Problem{where, message, hint})
		}
	}
	if a.Mode != "" && a.Mode != ModeObserve && a.Mode != ModeRepair {
		wrong("mode", quote(a.Mode)+" is not a mode", "known: observe, repair")
	}
	if a.Held != "" {
		message, hint := CheckHold(a.Held)
		wrong("hold", message, hint)
	}
	for _, name := range slices.Sorted(maps.Keys(a.Labels)) {
		message, hint := CheckLabel(name, a.Labels[name])
		wrong("label", message, hint)
	}
	if len(a.Labels) > maxLabels {
		wrong("labels", fmt.Sprintf("there are %d", len(a.Labels)), fmt.Sprintf("allowed: %d", maxLabels))
	}
	for _, name := range slices.Sorted(maps.Keys(a.Overrides)) {
		if !ruleName.MatchString(name) {
			wrong("rule", quote(name)+" is no name for a rule", "allowed: [a-z0-9-]{1,63}")
		}
		for _, f := range fields {
			if value, has := get(a.Overrides[name], f); has {
				var o rules.Override
				message, hint := set(&o, f, value)
				if message != "" {
					message = f + ": " + message
				}
				wrong("rule "+name, message, hint)
			}
		}
	}
	if len(a.Overrides) > maxRules {
		wrong("rules", fmt.Sprintf("there are %d", len(a.Overrides)), fmt.Sprintf("allowed: %d", maxRules))
	}
	return found
}
