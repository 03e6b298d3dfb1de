package annotation

import (
	"encoding/xml"
	"errors"
	"fmt"
	"strings"

	"holdfast/internal/detect/rules"
)

// guestAgent is the name of the guest agent's channel.
const guestAgent = "org.qemu.guest_agent.0"

// domainXML is the part of a definition that matters here. Reading it takes half
// the time and two thirds of the garbage of a full model of the format, and a
// monitor reads tens of thousands when it starts.
type domainXML struct {
	Metadata struct {
		Elements []elementXML `xml:",any"`
	} `xml:"metadata"`
	Disks []struct {
		Device string `xml:"device,attr"`
		Source struct {
			File     string `xml:"file,attr"`
			Dev      string `xml:"dev,attr"`
			Dir      string `xml:"dir,attr"`
			Name     string `xml:"name,attr"`
			Path     string `xml:"path,attr"`
			Pool     string `xml:"pool,attr"`
			Volume   string `xml:"volume,attr"`
			Protocol string `xml:"protocol,attr"`
		} `xml:"source"`
		Target struct {
			Dev string `xml:"dev,attr"`
		} `xml:"target"`
		ReadOnly *struct{} `xml:"readonly"`
	} `xml:"devices>disk"`
	Channels []struct {
		Target struct {
			Name string `xml:"name,attr"`
		} `xml:"target"`
	} `xml:"devices>channel"`
}

// elementXML is an element of a domain's metadata: ours, or somebody else's.
type elementXML struct {
	XMLName  xml.Name
	Attrs    []xml.Attr `xml:",any,attr"`
	Children []struct {
		XMLName xml.Name
		Attrs   []xml.Attr `xml:",any,attr"`
	} `xml:",any"`
}

// Parse reads a domain's definition. A Profile comes with every error: what could
// be understood, and ModeObserve where it is not certain that the VM was not meant
// to be observed only. The error joins a [Problem] for each mistake in our
// element; it never holds anything of the definition besides.
func Parse(definition string) (Profile, error) {
	var d domainXML
	if err := xml.Unmarshal([]byte(definition), &d); err != nil {
		return Profile{Annotation: Annotation{Mode: ModeObserve}}, unreadable(err)
	}
	p := Profile{}
	for _, disk := range d.Disks {
		s := disk.Source
		p.Disks = append(p.Disks, Disk{
			Target: disk.Target.Dev, Source: firstOf(s.File, s.Dev, s.Volume, s.Dir, s.Name, s.Path), Pool: s.Pool,
			ReadOnly: disk.ReadOnly != nil || disk.Device == "cdrom",
		})
	}
	for _, c := range d.Channels {
		p.HasAgent = p.HasAgent || c.Target.Name == guestAgent
	}
	r := reader{a: &p.Annotation}
	r.elements(d.Metadata.Elements)
	return p, errors.Join(r.errs...)
}

// unreadable is an error without any of the text: it may hold a password.
func unreadable(err error) error {
	line := 0
	if syntax := (*xml.SyntaxError)(nil); errors.As(err, &syntax) {
		line = syntax.Line
	}
	return fmt.Errorf("the definition is not XML as libvirt writes it (line %d); look at it with virsh dumpxml --inactive", line)
}

func firstOf(words ...string) string {
	for _, w := range words {
		if w != "" {
			return w
		}
	}
	return ""
}

// reader reads our element, and collects what is wrong.
type reader struct {
	a    *Annotation
	errs []error
}

func (r *reader) wrong(where, message, hint string) {
	r.errs = append(r.errs, Problem{where, message, hint})
}

// careful is wrong for a mistake behind which mode="observe" may be hidden.
func (r *reader) careful(where, message, hint string) {
	r.wrong(where, message+", so the VM is observed only", hint)
	r.a.Mode = ModeObserve
}

func (r *reader) elements(all []elementXML) {
	found := false
	for i := range all {
		e := &all[i]
		switch {
		case !strings.HasPrefix(e.XMLName.Space, anyNamespace):
		case e.XMLName.Space != Namespace:
			r.careful("metadata", quote(e.XMLName.Space)+" is not a namespace that this release knows", "annotate the VM again, or upgrade Holdfast")
		case e.XMLName.Local != "vm":
			r.careful("metadata", "has an unknown element "+quote(e.XMLName.Local)+" of ours", "known: vm")
		case found:
			r.careful("metadata", "has our element twice", "remove it with virsh metadata --remove, and annotate the VM again")
		default:
			found = true
			r.vm(e)
		}
	}
}

func (r *reader) vm(e *elementXML) {
	for _, attr := range e.Attrs {
		switch name, value := attr.Name.Local, attr.Value; {
		case !ours(attr):
		case name == "mode" && (value == ModeObserve || value == ModeRepair):
			if r.a.Mode != ModeObserve { // a mistake before it counts for more
				r.a.Mode = value
			}
		case name == "mode":
			r.careful("mode", quote(value)+" is not a mode", "known: observe, repair")
		case name == "hold" && value != "":
			r.a.Held = value
			if message, hint := CheckHold(value); message != "" {
				r.a.Held = "its annotation says so, in words that cannot be read"
				r.wrong("hold", message, hint)
			}
		case name == "hold":
		case name == "agent" && value == agentExpected:
			r.a.AgentExpected = true
		case name == "agent":
			r.wrong("agent", quote(value)+" is not known", "known: expected")
		default:
			r.careful("vm", "has an unknown attribute "+quote(name), "known: mode, agent, hold")
		}
	}
	for i := range e.Children {
		attrs := make(map[string]string, len(e.Children[i].Attrs))
		for _, a := range e.Children[i].Attrs {
			if ours(a) {
				attrs[a.Name.Local] = a.Value
			}
		}
		switch name := e.Children[i].XMLName; {
		case name.Space != Namespace && name.Space != "": // somebody else's
		case name.Space == "":
			r.careful("vm", "has an element "+quote(name.Local)+" outside of our namespace", "write <holdfast:"+name.Local+">")
		case name.Local == "label":
			r.label(attrs)
		case name.Local == "rule":
			r.rule(e.Children[i].Attrs, attrs["name"])
		default:
			r.careful("vm", "has an unknown element "+quote(name.Local), "known: label, rule")
		}
	}
}

// ours reports an attribute that is neither a declaration nor somebody else's.
func ours(a xml.Attr) bool {
	return a.Name.Space == Namespace || a.Name.Space == "" && a.Name.Local != "xmlns"
}

// label reads a label. One that is not certain may be what puts the VM into a
// class that is observed only.
func (r *reader) label(attrs map[string]string) {
	name, value := attrs["name"], attrs["value"]
	_, twice := r.a.Labels[name]
	switch message, hint := CheckLabel(name, value); {
	case message != "":
		r.careful("label", message, hint)
	case twice:
		r.careful("label", quote(name)+" is there twice", "keep one of the two")
	case len(r.a.Labels) == maxLabels:
		r.careful("label", quote(name)+" is one too many", fmt.Sprintf("allowed: %d", maxLabels))
	default:
		if r.a.Labels == nil {
			r.a.Labels = make(map[string]string)
		}
		r.a.Labels[name] = value
	}
}

func (r *reader) rule(attrs []xml.Attr, name string) {
	_, twice := r.a.Overrides[name]
	switch {
	case !ruleName.MatchString(name):
		r.wrong("rule", quote(name)+" is no name for a rule", "allowed: [a-z0-9-]{1,63}")
		return
	case twice:
		r.wrong("rule "+name, "is there twice", "the first counts")
		return
	case len(r.a.Overrides) == maxRules:
		r.wrong("rule "+name, "is one too many", fmt.Sprintf("allowed: %d", maxRules))
		return
	}
	var o rules.Override
	for _, a := range attrs {
		if !ours(a) || a.Name.Local == "name" {
			continue
		}
		if message, hint := set(&o, a.Name.Local, a.Value); message != "" {
			r.wrong("rule "+name, a.Name.Local+": "+message, hint)
		}
	}
	if o != (rules.Override{}) {
		if r.a.Overrides == nil {
			r.a.Overrides = make(map[string]rules.Override)
		}
		r.a.Overrides[name] = o
	}
}
