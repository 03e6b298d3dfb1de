package config

import (
	"fmt"

	"go.yaml.in/yaml/v3"

	"holdfast/internal/annotation"
	"holdfast/internal/detect/rules"
	"holdfast/internal/fault"
	"holdfast/internal/ladder"
)

// Modes of a site, a class, a kind of fault or a VM.
const (
	// ModeObserve: everything is detected and told, and nothing is touched. A
	// site that says nothing is observed.
	ModeObserve = annotation.ModeObserve
	// ModeRepair: incidents are carried through.
	ModeRepair = annotation.ModeRepair
)

// Class is a class of VMs, by their labels.
type Class struct {
	Name string `yaml:"name"` // [A-Za-z0-9._-]{1,63}
	// Select are the labels that a VM of the class has, all of them; at least one.
	Select map[string]string `yaml:"select"`
	Mode   string            `yaml:"mode,omitempty"` // empty: as the site says
	// Rules are what is different for its VMs, by the names of rules.
	Rules map[string]Override `yaml:"rules,omitempty"`
	// Recovery is that of the site with what is different for its VMs; nil: nothing is.
	Recovery *Recovery `yaml:"recovery,omitempty"`
	Backups  Backups   `yaml:"backups,omitempty"`
	// Snapshots are those of the site with what is different for its VMs; nil: nothing is.
	Snapshots *Snapshots `yaml:"snapshots,omitempty"`
}

// KindPolicy is what becomes of faults of one kind.
type KindPolicy struct {
	Mode    string         `yaml:"mode,omitempty"`    // empty: as the site says
	Respond fault.Response `yaml:"respond,omitempty"` // empty: as the kind says
	// Ladder are the rungs, in the order in which they are climbed; empty: those of
	// the kind. A person is always last.
	Ladder []ladder.Rung `yaml:"ladder,omitempty,flow"`
}

// ClassOf returns the name of the class of a VM with these labels: the first
// whose labels the VM has. It is empty if the VM is of none.
func (s *Site) ClassOf(labels map[string]string) string {
	if c := s.classOf(labels); c != nil {
		return c.Name
	}
	return ""
}

func (s *Site) classOf(labels map[string]string) *Class {
	for i := range s.Classes {
		if c := &s.Classes[i]; c.has(labels) {
			return c
		}
	}
	return nil
}

func (c *Class) has(labels map[string]string) bool {
	for name, value := range c.Select {
		if is, there := labels[name]; !there || is != value {
			return false
		}
	}
	return true
}

// OverridesFor returns what the class of a VM with these labels changes about
// the rules; nil if that is nothing. What its annotation changes goes over it.
func (s *Site) OverridesFor(labels map[string]string) map[string]rules.Override {
	if c := s.classOf(labels); c != nil {
		return c.overrides()
	}
	return nil
}

func (c *Class) overrides() map[string]rules.Override {
	if len(c.Rules) == 0 {
		return nil
	}
	out := make(map[string]rules.Override, len(c.Rules))
	for name, o := range c.Rules {
		out[name] = rules.Override(o)
	}
	return out
}

// ModeFor returns the mode in which a fault is handled, and a sentence that says
// who wants it so. Labels and annotated, which is the mode in the VM's annotation
// or empty, count for faults of VMs only.
//
// A kind that is set to observe is observed: what Holdfast is not trusted to
// mend, it does not mend anywhere. Otherwise the most specific decides that says
// anything: the VM's annotation, its class, the kind, the site. Where that lifts
// an observe, the sentence says so. What a person asked for is carried out.
func (s *Site) ModeFor(kind fault.Kind, labels map[string]string, annotated string) (mode, why string) {
	ofKind := s.Kinds[kind].Mode
	switch {
	case kind == fault.KindRequested:
		return ModeRepair, "a person asked for it"
	case ofKind == ModeObserve:
		return ModeObserve, fmt.Sprintf("the site file says observe for the kind %s, which neither a class nor an annotation lifts", kind)
	}
	var chain []opinion
	if kind.Subject() == fault.SubjectVM {
		chain = append(chain, opinion{"the VM's annotation", annotated})
		if c := s.classOf(labels); c != nil {
			chain = append(chain, opinion{"its class " + c.Name, c.Mode})
		}
	}
	chain = append(chain, opinion{fmt.Sprintf("the site file for the kind %s", kind), ofKind}, opinion{"the site", s.Mode})
	return decide(chain)
}

// opinion is a mode, or none, and whose it is.
type opinion struct{ whose, mode string }

// decide takes the first mode there is. One that is no mode at all is taken as
// observe.
func decide(chain []opinion) (mode, why string) {
	for i, o := range chain {
		switch o.mode {
		case "":
			continue
		case ModeRepair:
			why = o.whose + " says repair"
			for _, lifted := range chain[i+1:] {
				if lifted.mode == ModeObserve {
					return ModeRepair, why + ", although " + lifted.whose + " says observe"
				}
			}
			return ModeRepair, why
		case ModeObserve:
			return ModeObserve, o.whose + " says observe"
		default:
			return ModeObserve, fmt.Sprintf("%s says %s, which is no mode", o.whose, quote(o.mode))
		}
	}
	return ModeObserve, "nobody says repair"
}

// ResponseFor is what becomes of a fault of a kind that brings no response of
// its own, as one of a rule may.
func (s *Site) ResponseFor(kind fault.Kind) fault.Response {
	if r := s.Kinds[kind].Respond; r != "" {
		return r
	}
	info, _ := fault.Lookup(kind)
	return info.Response
}

func modeSchema(d *decoder, to *string) reader { return oneOf(d, to, ModeObserve, ModeRepair) }

// classSchema reads a class. What it changes about the recovery is over that of the
// site, which may stand anywhere in the file, and is so left for later.
func classSchema(d *decoder, c *Class, later func(recovery *yaml.Node, path string), snapshots reader) reader {
	return d.mapping(
		field{"name", d.text(&c.Name, matching("[A-Za-z0-9._-]{1,63}"))},
		field{"select", d.labels(&c.Select, checkLabel)},
		field{"mode", modeSchema(d, &c.Mode)},
		field{"recovery", func(n *yaml.Node, path string) {
			if !isNull(n) {
				later(n, path)
			}
		}},
		field{"snapshots", snapshots},
		field{"backups", backupsSchema(d, &c.Backups)},
		field{"rules", d.entries(checkRuleName, func(name string) reader {
			if c.Rules == nil {
				c.Rules = make(map[string]Override)
			}
			var o Override
			read := overrideSchema(d, &o)
			return func(n *yaml.Node, path string) {
				read(n, path)
				c.Rules[name] = o
			}
		})},
	)
}

func kindsSchema(d *decoder, kinds *map[fault.Kind]KindPolicy) reader {
	var names []string
	for _, k := range fault.Kinds() {
		if k != fault.KindRequested {
			names = append(names, string(k))
		}
	}
	known := func(key string) (string, string) {
		for _, n := range names {
			if key == n {
				return "", ""
			}
		}
		return quote(key) + " is not a kind of fault", didYouMean(key, names)
	}
	return d.entries(known, func(key string) reader {
		if *kinds == nil {
			*kinds = make(map[fault.Kind]KindPolicy)
		}
		var p KindPolicy
		read := d.mapping(
			field{"mode", modeSchema(d, &p.Mode)},
			field{"respond", oneOf(d, &p.Respond, fault.RespondIncident, fault.RespondAlarm)},
			field{"ladder", rungsSchema(d, &p.Ladder)},
		)
		return func(n *yaml.Node, path string) {
			read(n, path)
			(*kinds)[fault.Kind(key)] = p
		}
	})
}

// checkClasses reports what no field of a class can be blamed for alone.
func checkClasses(d *decoder, s *Site) {
	seen := make(map[string]string, len(s.Classes))
	for i := range s.Classes {
		c, path := &s.Classes[i], itemPath("classes", i)
		if !d.sound(path) {
			continue
		}
		other, twice := seen[c.Name]
		switch {
		case c.Name == "":
			d.problemAt(path+".name", "give it one, such as databases", "is missing")
		case twice:
			d.problemAt(path+".name", "give it another", "is the same as %s.name", other)
		case len(c.Select) == 0:
			d.problemAt(path+".select", "name at least one label, as in {tier: db}; what is for all VMs stands outside of classes", "is missing")
		}
		seen[c.Name] = path
		checkOverrides(d, s, c, path)
	}
}

// checkKinds reports responses that nothing could come of: an incident is about
// VMs, hosts and storage pools, and what befalls the one who watches is none.
func checkKinds(d *decoder, s *Site) {
	for kind, p := range s.Kinds {
		info, _ := fault.Lookup(kind)
		if info.Subject == fault.SubjectSite && info.Response == fault.RespondAlarm && p.Respond == fault.RespondIncident {
			d.problemAt("kinds."+string(kind)+".respond", "leave it out", "an incident could do nothing about this kind")
		}
		if len(p.Ladder) > 0 && info.Subject != fault.SubjectVM {
			d.problemAt("kinds."+string(kind)+".ladder", "leave it out", "is of rungs for VMs, and this kind is about a %s", info.Subject)
		}
	}
}
