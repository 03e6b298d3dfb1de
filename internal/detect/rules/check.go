package rules

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"holdfast/internal/fault"
)

// maxSpan bounds For and Warmup: a rule that looks back further than a day
// forgets it whenever its monitor restarts.
const maxSpan = 24 * time.Hour

// Problem is one thing that is wrong with a rule. It is an error of its own.
type Problem struct {
	Rule    string // its name
	Field   string // as the site file calls it
	Message string // what is wrong
	Hint    string // what to do about it
}

// Error reads like "rule cpu: clear: what is wrong; what to do".
func (p Problem) Error() string {
	return fmt.Sprintf("rule %s: %s: %s; %s", p.Rule, p.Field, p.Message, p.Hint)
}

var ruleName = regexp.MustCompile(`\A[a-z0-9-]{1,63}\z`)

// Problems lists what is wrong with the rule by itself.
func (r Rule) Problems() []Problem {
	var found []Problem
	wrong := func(field, hint, format string, args ...any) {
		found = append(found, Problem{r.Name, field, fmt.Sprintf(format, args...), hint})
	}
	if !ruleName.MatchString(r.Name) {
		wrong("name", "allowed: [a-z0-9-]{1,63}", "%q is not a valid name", r.Name)
	}
	if !r.Metric.Known() {
		wrong("metric", "known: "+list(Metrics()), "%q is not a metric", r.Metric)
	}
	switch {
	case !slices.Contains(Kinds(), r.Kind):
		wrong("kind", "known: "+list(Kinds()), "%q is not a kind of fault that a rule can raise", r.Kind)
	case r.Metric.Known() && r.Kind.Subject() != r.Metric.Subject():
		wrong("kind", "take a metric and a kind of one and the same",
			"%s is a fault of a %s, and %s is measured of a %s", r.Kind, r.Kind.Subject(), r.Metric, r.Metric.Subject())
	}
	if len(r.Select) > 0 && r.Metric.Known() && r.Metric.Subject() != fault.SubjectVM {
		wrong("select", "leave it out", "only VMs have labels, and %s is measured of a %s", r.Metric, r.Metric.Subject())
	}
	if r.Warmup > 0 && r.Metric.Known() && r.Metric.Subject() != fault.SubjectVM {
		wrong("warmup", "leave it out", "only of VMs it is known when they started")
	}
	switch r.Level {
	case "", fault.Critical, fault.Major, fault.Warning:
	default:
		wrong("level", "known: critical, major, warning", "%q is not a level", r.Level)
	}
	switch r.Response {
	case "", fault.RespondIncident, fault.RespondAlarm:
	default:
		wrong("respond", "known: incident, alarm", "%q is not a response", r.Response)
	}
	r.checkThresholds(wrong)
	r.checkTimes(wrong)
	return found
}

func (r Rule) checkThresholds(wrong func(field, hint, format string, args ...any)) {
	percent := r.Metric.Unit() == "%" && !r.Slope
	for _, t := range []struct {
		field string
		value float64
	}{{"raise", r.Raise}, {"clear", r.Clear}} {
		switch {
		case !finite(t.value):
			wrong(t.field, "write a number, such as 80", "%v is not a number", t.value)
		case !r.Slope && t.value < 0:
			wrong(t.field, "write 0 or more", "%v is less than the metric can be", t.value)
		case percent && t.value > 100:
			wrong(t.field, "allowed: 0 to 100", "%v is more than 100 %%", t.value)
		}
	}
	switch {
	case percent && !r.Below && r.Raise == 100:
		wrong("raise", "write less than 100", "nothing is ever above 100 %%")
	case !r.Slope && r.Below && r.Raise == 0:
		wrong("raise", "write more than 0", "nothing is ever below 0")
	case !r.Below && r.Clear > r.Raise:
		wrong("clear", "lower it to raise or less; between the two nothing changes", "%v is above raise, %v", r.Clear, r.Raise)
	case r.Below && r.Clear < r.Raise:
		wrong("clear", "lift it to raise or more; between the two nothing changes", "%v is below raise, %v", r.Clear, r.Raise)
	}
}

func (r Rule) checkTimes(wrong func(field, hint, format string, args ...any)) {
	for _, t := range []struct {
		field string
		value time.Duration
	}{{"for", r.For}, {"warmup", r.Warmup}} {
		if t.value < 0 || t.value > maxSpan {
			wrong(t.field, "allowed: 0s to "+short(maxSpan), "%s is out of range", short(t.value))
		}
	}
	if r.Slope && r.For == 0 {
		wrong("for", "write how far to look back, such as 10m", "a slope needs a time over which to measure it")
	}
}

// Problems lists what is wrong with overrides of the book's rules, by rule: a
// name that no rule has, and what makes no sense together with the rule. What is
// wrong in this way is passed over by [Book.For], so that a slip in one VM's
// annotation costs that VM a threshold of its own, and nobody anything else.
func (b *Book) Problems(overrides map[string]Override) []Problem {
	var found []Problem
	for _, name := range slices.Sorted(maps.Keys(overrides)) {
		i := slices.IndexFunc(b.rules, func(r Rule) bool { return r.Name == name })
		if i < 0 {
			names := make([]string, len(b.rules))
			for j, r := range b.rules {
				names[j] = r.Name
			}
			found = append(found, Problem{name, "name", "there is no such rule", "known: " + strings.Join(names, ", ")})
			continue
		}
		found = append(found, b.rules[i].With(overrides[name]).Problems()...)
	}
	return found
}

// With is the rule with an override laid over it. An override of Raise alone
// takes Clear along where Clear would end up on the wrong side of it.
func (r Rule) With(o Override) Rule {
	if o.Raise != nil {
		r.Raise = *o.Raise
		if o.Clear == nil && (r.Clear > r.Raise) != r.Below && r.Clear != r.Raise {
			r.Clear = r.Raise
		}
	}
	if o.Clear != nil {
		r.Clear = *o.Clear
	}
	if o.For != nil {
		r.For = *o.For
	}
	if o.Off != nil {
		r.Off = *o.Off
	}
	return r
}

// check wants rules that make sense alone and together.
func check(list []Rule, flap Flap, period time.Duration) error {
	var errs []error
	seen := make(map[string]bool, len(list))
	for _, r := range list {
		for _, p := range r.Problems() {
			errs = append(errs, p)
		}
		if seen[r.Name] {
			errs = append(errs, Problem{r.Name, "name", "two rules have it", "give one of them another"})
		}
		seen[r.Name] = true
	}
	if flap.Raises < 0 || flap.Raises == 1 || flap.Raises > 0 && flap.Window <= 0 {
		errs = append(errs, fmt.Errorf("flap: %d raises within %s hold nothing or everything; use 2 or more within a time, or 0 for never", flap.Raises, short(flap.Window)))
	}
	if period <= 0 {
		errs = append(errs, fmt.Errorf("period: %s is no time between two samples; use more than 0s", short(period)))
	}
	return errors.Join(errs...)
}

func list[T ~string](of []T) string {
	words := make([]string, len(of))
	for i, w := range of {
		words[i] = string(w)
	}
	return strings.Join(words, ", ")
}
