package monitor

import (
	"context"
	"fmt"
	"time"

	"holdfast/internal/contract"
	"holdfast/internal/detect/rules"
	"holdfast/internal/fault"
)

// Faults answers what stands now, for `holdfast faults`.
func (m *Monitor) Faults(context.Context) (contract.FaultsResult, error) {
	out := contract.FaultsResult{
		Site: m.opts.Site, Monitor: m.opts.Identity, Began: m.began.UTC(), At: time.Now().UTC(),
		Unsent: m.reports.incidents.waiting(),
	}
	if err := m.reports.incidents.trouble(); err != nil {
		out.ReportError = err.Error()
	}
	for _, w := range m.watches {
		s := w.now()
		out.Hosts = append(out.Hosts, contract.WatchedHost{Host: s.Host, Connected: s.Connected, Listed: s.Listed.UTC(), Sampled: s.Sampled.UTC(), Error: s.Error})
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	out.Faults = m.engine.Faults()
	for _, h := range m.engine.HeldBack() {
		out.Doubts = append(out.Doubts, contract.Doubt{
			Fault: fault.Fault{Kind: fault.KindHostUnreachable, Site: m.opts.Site, Host: h.Host, Why: h.Why}, Why: h.Why,
		})
	}
	return out, nil
}

// Explain answers everything that is known about one VM or host, for `holdfast
// explain`.
func (m *Monitor) Explain(_ context.Context, in contract.ExplainInput) (contract.ExplainResult, error) {
	at := time.Now()
	m.mu.Lock()
	x, ok := m.engine.Explain(at, in.Name)
	m.mu.Unlock()
	if !ok {
		return contract.ExplainResult{}, fmt.Errorf("site %s has no host and no VM %q, or several VMs of that name: `holdfast host list` and `holdfast vm list` show what there is", m.opts.Site, in.Name)
	}
	out := contract.ExplainResult{
		Site: m.opts.Site, Monitor: m.opts.Identity, At: at.UTC(), Subject: x.Subject, VM: x.VM, Host: x.Host,
		State: x.State, Reason: x.Reason, LastSeen: x.LastSeen, Seen: x.Seen, Facts: x.Facts, Votes: x.Votes,
		Labels: x.Labels, Mode: x.Mode, Faults: x.Faults, Inhibited: x.Inhibited,
	}
	for _, r := range x.Rules {
		out.Rules = append(out.Rules, ruleState(r))
	}
	if m.opts.Judge != nil {
		m.opts.Judge(&out)
	}
	return out, nil
}

func ruleState(r rules.Explanation) contract.RuleState {
	s := contract.RuleState{
		Name: r.Rule, Metric: string(r.Metric), Kind: r.Kind, Device: r.Device, Unit: r.Metric.Unit(),
		Raise: r.Raise, Clear: r.Clear, Below: r.Below, Slope: r.Slope, ForSeconds: r.For.Seconds(),
		State: conditions[r.State], Since: r.Since, Why: r.Why,
	}
	if r.Has {
		s.Value = &r.Value
	}
	return s
}

var conditions = map[rules.State]string{
	rules.StateOK: contract.RuleQuiet, rules.StateWarmingUp: contract.RuleWarmup, rules.StatePending: contract.RulePending,
	rules.StateRaised: contract.RuleRaised, rules.StateFlapping: contract.RuleRaised, rules.StateClearing: contract.RuleClearing,
	rules.StateNoData: contract.RuleNoData, rules.StateOff: contract.RuleOff,
}

// Vote is this monitor's own view of a host, for its peers; false if it does not
// watch it, or has not tried it yet.
func (m *Monitor) Vote(host string) (fault.Vote, bool) {
	w := m.byHost[host]
	if w == nil {
		return fault.Vote{}, false
	}
	s := w.now()
	if !s.Tried {
		return fault.Vote{}, false
	}
	v := fault.Vote{From: m.opts.Identity, Says: fault.HostSilent, Why: s.Error, At: s.Failed.UTC()}
	if s.Connected {
		v.Says, v.At = fault.HostAnswers, s.Listed.UTC()
	}
	return v, true
}
