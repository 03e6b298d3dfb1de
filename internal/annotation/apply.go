package annotation

import (
	"errors"
	"slices"
	"strings"

	"holdfast/internal/detect/rules"
)

// Usage says what the arguments of [Apply] look like.
const Usage = `LABEL=VALUE, LABEL-, RULE.raise=N, RULE.clear=N, RULE.for=DURATION, RULE.off=true|false, RULE.FIELD-, RULE.-, mode=observe|repair, mode-, agent=expected, agent-, hold=WHY, hold-`

// Apply changes an annotation as a person asked for, one argument after the other:
//
//	tier=db         sets a label, tier- takes it away
//	cpu.raise=95    changes a field of the rule cpu for this VM: raise, clear, for
//	                or off; cpu.raise- makes it the site's again, cpu.- all of them
//	mode=observe    or repair; mode- leaves it to the site
//	agent=expected  says that a guest agent answers in the VM; agent- that none need
//
//	hold=WHY        keeps hands off the VM until hold-, and says who wants it so
//
// Taking away what is not there changes nothing. On an error, which joins a
// [Problem] for each argument that cannot be read, nothing is changed at all.
// Apply does not know the site's rules: see [rules.Book.Problems].
func Apply(a Annotation, args []string) (Annotation, error) {
	changed := a.clone()
	var errs []error
	for _, arg := range args {
		if message, hint := changed.apply(arg); message != "" {
			errs = append(errs, Problem{arg, message, hint})
		}
	}
	if len(errs) == 0 {
		for _, p := range changed.problems() { // too many of something
			errs = append(errs, p)
		}
	}
	if len(errs) > 0 {
		return a, errors.Join(errs...)
	}
	return changed, nil
}

func (a *Annotation) apply(arg string) (message, hint string) {
	key, value, assigns := strings.Cut(arg, "=")
	if !assigns {
		bare, takes := strings.CutSuffix(arg, "-")
		if !takes {
			return "neither sets nor takes away anything", "write one of: " + Usage
		}
		return a.remove(bare)
	}
	rule, field, isRule := strings.Cut(key, ".")
	switch {
	case isRule:
		return a.setRule(rule, field, value)
	case key == "mode" && (value == ModeObserve || value == ModeRepair):
		a.Mode = value
	case key == "mode":
		return quote(value) + " is not a mode", "known: observe, repair; mode- leaves it to the site"
	case key == "hold":
		if message, hint := CheckHold(value); message != "" {
			return message, hint
		}
		a.Held = value
	case key == "agent" && value == agentExpected:
		a.AgentExpected = true
	case key == "agent":
		return quote(value) + " is not known", "known: expected; agent- takes it away"
	default:
		if message, hint := CheckLabel(key, value); message != "" {
			return message, hint
		}
		if a.Labels == nil {
			a.Labels = make(map[string]string)
		}
		a.Labels[key] = value
	}
	return "", ""
}

func (a *Annotation) setRule(rule, field, value string) (message, hint string) {
	if !ruleName.MatchString(rule) {
		return quote(rule) + " is no name for a rule", "write RULE.FIELD=VALUE; fields: " + strings.Join(fields, ", ")
	}
	o := a.Overrides[rule]
	if message, hint = set(&o, field, value); message != "" {
		if !slices.Contains(fields, field) {
			message = "a rule has no field " + quote(field)
		}
		return message, hint
	}
	a.putRule(rule, o)
	return "", ""
}

func (a *Annotation) putRule(rule string, o rules.Override) {
	switch {
	case o == rules.Override{}:
		delete(a.Overrides, rule)
		if len(a.Overrides) == 0 {
			a.Overrides = nil
		}
		return
	case a.Overrides == nil:
		a.Overrides = make(map[string]rules.Override)
	}
	a.Overrides[rule] = o
}

func (a *Annotation) remove(key string) (message, hint string) {
	rule, field, isRule := strings.Cut(key, ".")
	switch {
	case isRule && !ruleName.MatchString(rule):
		return quote(rule) + " is no name for a rule", "write RULE.FIELD-; fields: " + strings.Join(fields, ", ")
	case isRule && field == "":
		a.putRule(rule, rules.Override{})
	case isRule:
		o := a.Overrides[rule]
		switch field {
		case "raise":
			o.Raise = nil
		case "clear":
			o.Clear = nil
		case "for":
			o.For = nil
		case "off":
			o.Off = nil
		default:
			return "a rule has no field " + quote(field), "known: " + strings.Join(fields, ", ")
		}
		a.putRule(rule, o)
	case key == "mode":
		a.Mode = ""
	case key == "agent":
		a.AgentExpected = false
	case key == "hold":
		a.Held = ""
	case !labelName.MatchString(key):
		return quote(key) + " is no name for a label", "allowed: " + labelPattern
	default:
		delete(a.Labels, key)
		if len(a.Labels) == 0 {
			a.Labels = nil
		}
	}
	return "", ""
}
