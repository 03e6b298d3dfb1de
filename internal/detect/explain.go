package detect

import (
	"fmt"
	"slices"
	"time"

	"holdfast/internal/detect/rules"
	"holdfast/internal/fault"
)

// Explanation is everything that is known about one VM or host.
type Explanation struct {
	Subject fault.SubjectType
	VM      fault.VM
	Host    string // the host, or the one that the VM is on
	// State and Reason of a VM in libvirt's words; of a host "answers" or "silent", and why.
	State, Reason string
	LastSeen      time.Time
	Seen          []fault.Sighting
	Facts         []fault.Evidence
	Votes         []fault.Vote
	Labels        map[string]string
	Mode          string // of the annotation
	Faults        []fault.Fault
	// Inhibited says why a fault is held back or would be; empty: it is not.
	Inhibited string
	Rules     []rules.Explanation
}

// Explain says what is known about a VM, by name or UUID, or about a host; false
// if the site has neither.
func (e *Engine) Explain(at time.Time, name string) (Explanation, bool) {
	if n := e.nodes[name]; n != nil {
		return e.explainHost(n, at), true
	}
	if v := e.findVM(name); v != nil {
		return e.explainVM(v, at), true
	}
	return Explanation{}, false
}

func (e *Engine) explainHost(n *node, at time.Time) Explanation {
	x := Explanation{Subject: fault.SubjectHost, Host: n.name, State: "answers", LastSeen: wall(n.answeredAt), Inhibited: n.doubt}
	if !n.silentSince.IsZero() {
		x.State, x.Reason, x.Votes = "silent", n.silentWhy, n.fresh(at)
		x.Facts = append(x.Facts, fault.Evidence{What: "silent", Value: fmt.Sprintf("for %s; a fault after %s, if %v agree", at.Sub(n.silentSince).Round(time.Second), e.o.UnreachableAfter, n.points), Since: wall(n.silentSince), At: wall(at)})
	}
	x.Facts = append(x.Facts, fault.Evidence{What: "active VMs", Value: fmt.Sprintf("%d: %s", len(n.guests), guestList(n)), At: wall(n.answeredAt)})
	for _, p := range n.pools {
		v := p.on[n.name]
		x.Facts = append(x.Facts, fault.Evidence{What: "pool " + p.name, Value: v.word, At: wall(v.at)})
		for _, r := range v.track.Explain(at) {
			r.Device = p.name
			x.Rules = append(x.Rules, r)
		}
	}
	if n.track != nil {
		x.Rules = append(n.track.Explain(at), x.Rules...)
	}
	x.Faults = e.about(func(f fault.Fault) bool { return f.Host == n.name && f.Kind.Subject() != fault.SubjectVM })
	if s := e.stand[fault.SiteSlot(fault.KindStorm)]; s != nil {
		x.Facts = append(x.Facts, fault.Evidence{What: "frozen", Value: s.fault.Why, Since: s.fault.First, At: wall(at)})
	}
	return x
}

func (e *Engine) explainVM(v *vmView, at time.Time) Explanation {
	x := Explanation{Subject: fault.SubjectVM, VM: v.vm}
	for _, s := range v.on {
		x.Seen = append(x.Seen, s.public())
		if s.at.After(x.LastSeen) {
			x.Host, x.State, x.Reason, x.LastSeen = s.host.name, s.o.State, s.o.Reason, wall(s.at)
		}
	}
	x.Faults = e.about(func(f fault.Fault) bool { return f.VM.UUID == v.vm.UUID })
	if v.doubted != "" {
		x.Inhibited = "another host says that it was stopped on purpose, and which came last is not known"
	}
	g := e.guests[v.vm.UUID]
	if g == nil {
		return x
	}
	x.Host, x.State, x.Reason = g.node.name, g.state, g.reason
	x.Labels, x.Mode = g.profile.Labels, g.profile.Mode
	x.Facts = g.facts(at)
	if by := e.explained(g); by != nil {
		x.Inhibited = "held back, because " + by.fault.Why
	}
	if g.track != nil {
		x.Rules = g.track.Explain(at)
	}
	return x
}

// facts are the signs of life of a guest.
func (g *life) facts(at time.Time) []fault.Evidence {
	facts := []fault.Evidence{{What: "in this state", Value: "for " + at.Sub(g.stateSince).Round(time.Second).String(), Since: wall(g.stateSince), At: wall(at)}}
	switch {
	case g.sampledAt.IsZero() && g.missed == 0:
		facts = append(facts, fault.Evidence{What: "statistics", Value: "not sampled yet", At: wall(at)})
	case g.missed > 0:
		facts = append(facts, fault.Evidence{What: "statistics", Value: fmt.Sprintf("missing %d times in a row", g.missed), Since: wall(g.missedFrom), At: wall(at)})
	default:
		facts = append(facts,
			fault.Evidence{What: "statistics", Value: "its QEMU answers", At: wall(g.sampledAt)},
			fault.Evidence{What: "vCPUs", Value: "last executed " + at.Sub(g.progressAt).Round(time.Second).String() + " ago", At: wall(g.sampledAt)})
	}
	agent := "the definition has none"
	switch {
	case g.agent.silent > 0:
		agent = g.agent.why
	case !g.agent.answeredAt.IsZero():
		agent = "answers"
	case g.profile.HasAgent:
		agent = "not asked yet"
	}
	facts = append(facts, fault.Evidence{What: fault.EvidenceAgent, Value: agent, At: wall(g.agent.askedAt)})
	if !g.watchdog.IsZero() {
		facts = append(facts, fault.Evidence{What: "watchdog", Value: "fired", At: wall(g.watchdog)})
	}
	return facts
}

func (e *Engine) about(match func(fault.Fault) bool) []fault.Fault {
	return slices.DeleteFunc(e.Faults(), func(f fault.Fault) bool { return !match(f) })
}

// HeldBack is a fault of a host that is held back, and why.
type HeldBack struct {
	Host string
	Why  string
}

// HeldBack lists the hosts whose fault is held back.
func (e *Engine) HeldBack() []HeldBack {
	var out []HeldBack
	for _, n := range e.order {
		if n.doubt != "" {
			out = append(out, HeldBack{n.name, n.doubt})
		}
	}
	return out
}
