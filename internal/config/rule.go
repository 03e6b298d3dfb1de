package config

import (
	"errors"
	"slices"
	"time"

	"holdfast/internal/annotation"
	"holdfast/internal/detect/rules"
	"holdfast/internal/fault"
)

// Where a rule of the file's own leaves them out, as for the rules that are there.
const (
	defaultFor    = 5 * time.Minute
	defaultWarmup = 2 * time.Minute // of VMs
)

// Rule changes the default rule of its name, where what is left out stays, or is
// one of the file's own. See [rules.Rule].
type Rule struct {
	Name     string            `yaml:"name"` // [a-z0-9-]{1,63}
	Metric   rules.Metric      `yaml:"metric,omitempty"`
	Kind     fault.Kind        `yaml:"kind,omitempty"`
	Below    *bool             `yaml:"below,omitempty"`
	Slope    *bool             `yaml:"slope,omitempty"`
	Raise    *float64          `yaml:"raise,omitempty"`
	Clear    *float64          `yaml:"clear,omitempty"`
	For      *time.Duration    `yaml:"for,omitempty"`    // 0s to 24h
	Warmup   *time.Duration    `yaml:"warmup,omitempty"` // 0s to 24h
	Select   map[string]string `yaml:"select,omitempty"`
	Level    fault.Level       `yaml:"level,omitempty"`
	Response fault.Response    `yaml:"respond,omitempty"`
	Off      *bool             `yaml:"off,omitempty"`
}

// Override is what a class changes about a rule. It converts to rules.Override.
type Override struct {
	Raise *float64       `yaml:"raise,omitempty"`
	Clear *float64       `yaml:"clear,omitempty"`
	For   *time.Duration `yaml:"for,omitempty"` // 0s to 24h
	Off   *bool          `yaml:"off,omitempty"`
}

// RuleSet returns the site's rules: the default ones in their order, changed as
// the file says, then the file's own.
func (s *Site) RuleSet() []rules.Rule {
	all := rules.Defaults()
	for _, r := range s.Rules {
		i := slices.IndexFunc(all, func(d rules.Rule) bool { return d.Name == r.Name })
		if i >= 0 {
			all[i] = r.over(all[i])
			continue
		}
		own := rules.Rule{Name: r.Name, For: defaultFor}
		if r.Metric.Subject() == fault.SubjectVM {
			own.Warmup = defaultWarmup
		}
		if r.Raise != nil {
			own.Clear = *r.Raise
		}
		all = append(all, r.over(own))
	}
	return all
}

// over lays what the file says over a rule.
func (r Rule) over(rule rules.Rule) rules.Rule {
	set(&rule.Below, r.Below)
	rule = rule.With(rules.Override{Raise: r.Raise, Clear: r.Clear, For: r.For, Off: r.Off})
	set(&rule.Slope, r.Slope)
	set(&rule.Warmup, r.Warmup)
	if r.Metric != "" {
		rule.Metric = r.Metric
	}
	if r.Kind != "" {
		rule.Kind = r.Kind
	}
	if r.Select != nil {
		rule.Select = r.Select
	}
	if r.Level != "" {
		rule.Level = r.Level
	}
	if r.Response != "" {
		rule.Response = r.Response
	}
	return rule
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// Book makes the site's rules ready for use. It does not fail for a site that
// was read from a file.
func (s *Site) Book() (*rules.Book, error) {
	return rules.NewBook(s.RuleSet(), rules.Flap(s.Monitor.Flap), s.Monitor.Sample,
		rules.Every(rules.PoolFull, s.Monitor.Pools), rules.Every(rules.VMClock, s.Monitor.Pools))
}

const (
	mostSpan      = 24 * time.Hour
	mostThreshold = 1e15
)

func ruleSchema(d *decoder, r *Rule) reader {
	number := func(to *float64) reader { return d.number(to, -mostThreshold, mostThreshold) }
	span := func(to *time.Duration) reader { return d.duration(to, 0, mostSpan) }
	return d.mapping(
		field{"name", d.text(&r.Name, checkRuleName)},
		field{"metric", oneOf(d, &r.Metric, rules.Metrics()...)},
		field{"kind", oneOf(d, &r.Kind, rules.Kinds()...)},
		field{"below", given(&r.Below, d.boolean)},
		field{"slope", given(&r.Slope, d.boolean)},
		field{"raise", given(&r.Raise, number)},
		field{"clear", given(&r.Clear, number)},
		field{"for", given(&r.For, span)},
		field{"warmup", given(&r.Warmup, span)},
		field{"select", d.labels(&r.Select, checkLabel)},
		field{"level", oneOf(d, &r.Level, fault.Critical, fault.Major, fault.Warning)},
		field{"respond", oneOf(d, &r.Response, fault.RespondIncident, fault.RespondAlarm)},
		field{"off", given(&r.Off, d.boolean)},
	)
}

func overrideSchema(d *decoder, o *Override) reader {
	number := func(to *float64) reader { return d.number(to, -mostThreshold, mostThreshold) }
	span := func(to *time.Duration) reader { return d.duration(to, 0, mostSpan) }
	return d.mapping(
		field{"raise", given(&o.Raise, number)},
		field{"clear", given(&o.Clear, number)},
		field{"for", given(&o.For, span)},
		field{"off", given(&o.Off, d.boolean)},
	)
}

// checkRules reports rules that make no sense, alone or together.
func checkRules(d *decoder, s *Site) {
	if !d.sound("rules") {
		return
	}
	standard := make(map[string]bool)
	var names []string
	for _, r := range rules.Defaults() {
		standard[r.Name] = true
		names = append(names, r.Name)
	}
	at := make(map[string]string, len(s.Rules)) // the path of the rule of a name
	for i, r := range s.Rules {
		path := itemPath("rules", i)
		switch other, twice := at[r.Name]; {
		case r.Name == "":
			d.problemAt(path+".name", "give that of a default rule to change it, or one of your own", "is missing")
		case twice:
			d.problemAt(path+".name", "make one of the two", "is the same as %s.name", other)
		case !standard[r.Name]:
			checkOwnRule(d, r, path, didYouMean(r.Name, names))
		}
		at[r.Name] = path
	}
	if !d.sound("rules") {
		return
	}
	for _, r := range s.RuleSet() {
		for _, p := range r.Problems() {
			d.problemAt(at[p.Rule]+"."+p.Field, p.Hint, "%s", p.Message)
		}
	}
	if !d.sound("rules") || !d.sound("monitor") {
		return
	}
	_, err := s.Book() // what depends on how often is measured
	if p := (rules.Problem{}); errors.As(err, &p) {
		d.problemAt(at[p.Rule]+"."+p.Field, p.Hint, "%s", p.Message)
	} else if err != nil {
		d.problemAt("rules", "", "%s", err)
	}
}

// checkOwnRule reports what a rule of the file's own lacks. Its name may be a slip.
func checkOwnRule(d *decoder, r Rule, path, similar string) {
	for _, f := range []struct {
		field   string
		missing bool
	}{{"metric", r.Metric == ""}, {"kind", r.Kind == ""}, {"raise", r.Raise == nil}} {
		if f.missing {
			d.problemAt(path+"."+f.field, "no default rule is called "+quote(r.Name)+": "+similar, "is missing")
		}
	}
}

// checkOverrides reports what makes no sense in what a class changes.
func checkOverrides(d *decoder, s *Site, c *Class, path string) {
	if len(c.Rules) == 0 || !d.sound(path) || !d.sound("rules") || !d.sound("monitor") {
		return
	}
	book, err := s.Book()
	if err != nil {
		return // reported already
	}
	for _, p := range book.Problems(c.overrides()) {
		at := path + ".rules." + p.Rule
		if p.Field != "name" {
			at += "." + p.Field
		}
		d.problemAt(at, p.Hint, "%s", p.Message)
	}
	for _, r := range book.Rules() {
		if _, has := c.Rules[r.Name]; has && r.Metric.Subject() != fault.SubjectVM {
			d.problemAt(path+".rules."+r.Name, "change it under rules", "is about a %s, and a class is of VMs", r.Metric.Subject())
		}
	}
}

// checkRuleName is a check for the name of a rule, here as the key of a mapping.
var checkRuleName = matching("[a-z0-9-]{1,63}")

// checkLabel is a check for a VM's label.
func checkLabel(name, value string) (message, hint string) {
	message, hint = annotation.CheckLabel(name, value)
	return redact(message), hint
}
