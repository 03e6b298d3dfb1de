package detect

import (
	"fmt"
	"time"

	"holdfast/internal/fault"
)

// Alert is what somebody else's monitoring says about a VM or a host of the site.
type Alert struct {
	// Fingerprint tells alerts apart; the same one again is the same alert.
	Fingerprint string
	Kind        fault.Kind
	VM          string // name or UUID, of an alert about a VM
	Host        string
	Why         string
	Evidence    []fault.Evidence
	Starts      time.Time
	// Ends is when it is over unless it is said again.
	Ends time.Time
	From string // who sent it
}

// UnknownSubjectError: an alert is about something that the site does not have.
type UnknownSubjectError struct{ Subject fault.SubjectType }

func (e UnknownSubjectError) Error() string {
	return fmt.Sprintf("the site has no %s of that name, or none that runs", e.Subject)
}

// Alerted takes an alert, and raises its fault unless another explains it.
func (e *Engine) Alerted(at time.Time, a Alert) ([]Change, error) {
	switch a.Kind.Subject() {
	case fault.SubjectVM:
		if e.findVM(a.VM) == nil {
			return nil, UnknownSubjectError{fault.SubjectVM}
		}
	case fault.SubjectHost:
		if e.nodes[a.Host] == nil {
			return nil, UnknownSubjectError{fault.SubjectHost}
		}
	default:
		return nil, fmt.Errorf("faults of kind %q are not taken from outside", a.Kind)
	}
	if _, known := e.alerts[a.Fingerprint]; !known && e.alertsAbout(a) >= mostAlerts {
		return nil, fmt.Errorf("%d alerts about it stand already", mostAlerts)
	}
	e.alerts[a.Fingerprint] = a
	return e.judgeAlert(at, a), nil
}

// mostAlerts bounds the alerts that stand about one VM or host: a sender whose
// labels change with time makes each another alert.
const mostAlerts = 16

func (e *Engine) alertsAbout(a Alert) int {
	n := 0
	for _, b := range e.alerts {
		if a.VM == b.VM && a.Host == b.Host {
			n++
		}
	}
	return n
}

// AlertResolved ends an alert.
func (e *Engine) AlertResolved(at time.Time, fingerprint string) []Change {
	a, ok := e.alerts[fingerprint]
	if !ok {
		return nil
	}
	delete(e.alerts, fingerprint)
	return e.drop(at, a.source(), fault.Sighting{Host: a.From, State: "resolved", At: wall(at)})
}

func (a Alert) source() string { return "alert/" + a.Fingerprint }

// judgeAlerts ends alerts that nobody repeats, and looks again at those that
// another fault explained.
func (e *Engine) judgeAlerts(at time.Time) []Change {
	var changes []Change
	for _, fp := range sortedKeys(e.alerts) {
		a := e.alerts[fp]
		switch {
		case !a.Ends.IsZero() && at.After(a.Ends):
			changes = append(changes, e.AlertResolved(at, fp)...)
		case e.stand[a.source()] == nil:
			changes = append(changes, e.judgeAlert(at, a)...)
		}
	}
	return changes
}

func (e *Engine) judgeAlert(at time.Time, a Alert) []Change {
	f := fault.Fault{
		Kind: a.Kind, Host: a.Host, First: a.Starts, Why: a.Why, Source: a.source(),
		Evidence: append([]fault.Evidence{{What: "alert", Value: a.Why, Since: wall(a.Starts), At: wall(at), From: a.From}}, a.Evidence...),
	}
	if a.Kind.Subject() == fault.SubjectVM {
		v := e.findVM(a.VM)
		if v == nil {
			return nil
		}
		f.VM = v.vm
		if g := e.guests[v.vm.UUID]; g != nil {
			f.Host = g.node.name
			f.Seen = fault.Sighting{Host: g.node.name, State: g.state, Reason: g.reason, At: wall(g.stateSince)}
			if by := e.explained(g); by != nil {
				return nil
			}
		} else if len(v.on) == 1 {
			f.Host, f.Seen = v.on[0].host.name, v.on[0].public()
		}
		if h := e.tracker.hosts[f.Host]; h != nil {
			f.Elsewhere = e.tracker.elsewhere(v, h)
		}
	}
	return e.hold(at, f)
}

// findVM finds a VM that some host has by UUID or by name; nil if there is none,
// or if several have the name.
func (e *Engine) findVM(name string) *vmView {
	if v := e.tracker.vms[name]; v != nil {
		return v
	}
	var found *vmView
	for _, v := range e.tracker.vms {
		if v.vm.Name == name {
			if found != nil {
				return nil
			}
			found = v
		}
	}
	return found
}
