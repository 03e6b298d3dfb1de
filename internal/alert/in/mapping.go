package in

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"holdfast/internal/fault"
)

// KindLabel is the label by which an alert can say itself of what kind it is.
const KindLabel = "holdfast_kind"

// instanceLabel is where Prometheus puts what it scrapes, as host:port.
const instanceLabel = "instance"

// Mapping says which VM or host an alert is about, and what kind of fault it is.
//
// The kind comes first: that of the first of Kinds whose labels all match, or
// the one that the label holdfast_kind names, if there is such a kind. It says
// whether the alert is about a VM or a host. An alert without a kind is about a
// VM, and is then of [fault.KindAlert].
//
// The first of the labels VM, or Host, that the alert has then names it. No
// later one is tried if that is no VM of the site: an alert about a VM that is
// not here must not become a fault of the one that its exporter runs in.
type Mapping struct {
	// VM and Host are names of labels. A port is cut off from a host, and from a VM
	// that comes from the label instance.
	VM, Host []string
	Kinds    []KindRule
}

// KindRule gives alerts that have all these labels, with exactly these values,
// a kind.
type KindRule struct {
	Match map[string]string
	Kind  fault.Kind
}

// DefaultMapping is what holds where the site file says nothing.
func DefaultMapping() Mapping {
	return Mapping{
		VM:   []string{"vm", "domain", instanceLabel},
		Host: []string{"host", "node", instanceLabel},
	}
}

// Validate reports the first thing in the mapping that could never work.
func (m Mapping) Validate() error {
	if len(m.VM) == 0 && len(m.Host) == 0 {
		return errors.New("alerts.in: neither vm nor host has a label, so that no alert would be about anything")
	}
	if slices.Contains(m.VM, "") || slices.Contains(m.Host, "") {
		return errors.New("alerts.in: a label in vm or host has no name")
	}
	for i, r := range m.Kinds {
		if len(r.Match) == 0 {
			return fmt.Errorf("alerts.in.kinds[%d]: match is empty, which fits every alert: name at least one label", i)
		}
		for name, value := range r.Match {
			if name == "" || value == "" {
				return fmt.Errorf("alerts.in.kinds[%d]: match has a label without a name or a value, and would fit alerts without it", i)
			}
		}
		if why := cannotOpen(r.Kind); why != "" {
			return fmt.Errorf("alerts.in.kinds[%d]: %s", i, why)
		}
	}
	return nil
}

// cannotOpen says why no alert can be of a kind; empty if it can.
func cannotOpen(k fault.Kind) string {
	info, known := fault.Lookup(k)
	switch {
	case !known:
		return fmt.Sprintf("kind %q is not known", k)
	case k == fault.KindRequested:
		return fmt.Sprintf("kind %q is for a person's requests", k)
	case info.Subject != fault.SubjectVM && info.Subject != fault.SubjectHost:
		return fmt.Sprintf("kind %q is about a %s: an alert can be about a VM or a host", k, info.Subject)
	}
	return ""
}

// kindOf is the kind that the labels say, and empty if they say none.
func (m Mapping) kindOf(labels map[string]string) fault.Kind {
	for _, r := range m.Kinds {
		if r.fits(labels) {
			return r.Kind
		}
	}
	k := fault.Kind(labels[KindLabel])
	if _, known := fault.Lookup(k); known {
		return k
	}
	return ""
}

func (r KindRule) fits(labels map[string]string) bool {
	for name, want := range r.Match {
		if labels[name] != want {
			return false
		}
	}
	return true
}

// locate fills in what the labels say the alert is about, or says why that is
// nothing.
func (m Mapping) locate(a *Alert, labels map[string]string) error {
	a.Kind = m.kindOf(labels)
	vmLabel, vm := first(m.VM, labels)
	hostLabel, host := first(m.Host, labels)
	host = cutPort(host)
	if vmLabel == instanceLabel {
		vm = cutPort(vm)
	}
	if a.Kind == "" {
		if vm == "" {
			return m.unmapped(host)
		}
		a.Kind = fault.KindAlert
	}
	if why := cannotOpen(a.Kind); why != "" {
		return Ignore(why)
	}
	if a.Kind.Subject() == fault.SubjectHost {
		if host == "" {
			return Ignore(fmt.Sprintf("kind %q is about a host, and the alert has none of the labels %s", a.Kind, strings.Join(m.Host, ", ")))
		}
		a.Host = host
		return nil
	}
	if vm == "" {
		return Ignore(fmt.Sprintf("kind %q is about a VM, and the alert has none of the labels %s", a.Kind, strings.Join(m.VM, ", ")))
	}
	a.VM = vm
	if hostLabel != vmLabel && hostLabel != instanceLabel { // which may well be the VM's own
		a.Host = host
	}
	return nil
}

// unmapped says what is missing from an alert that maps to no kind and no VM.
func (m Mapping) unmapped(host string) error {
	if host == "" {
		return Ignore(fmt.Sprintf("it names no VM, by one of the labels %s, and no host, by one of %s",
			strings.Join(m.VM, ", "), strings.Join(m.Host, ", ")))
	}
	return Ignore("it names a host but no kind of fault: add it to alerts.in.kinds, or give it the label " + KindLabel)
}

// first is the first of the labels that is there, and its value.
func first(names []string, labels map[string]string) (name, value string) {
	for _, n := range names {
		if v := labels[n]; v != "" {
			return n, v
		}
	}
	return "", ""
}

// cutPort makes host of host:port, and of [address]:port the address.
func cutPort(s string) string {
	if host, _, err := net.SplitHostPort(s); err == nil {
		return host
	}
	return s
}
