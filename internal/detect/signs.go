package detect

import (
	"fmt"
	"slices"
	"time"

	"holdfast/internal/detect/rules"
	"holdfast/internal/fault"
)

// VMSample is one sample of one domain: its counters since its start.
type VMSample struct {
	VM fault.VM
	rules.VMSample
}

// Sampled takes the statistics of all active domains of a host, which was asked
// at that time. A running domain that is missing from them has a QEMU that does
// not answer.
func (e *Engine) Sampled(host string, at time.Time, samples []VMSample) []Change {
	n := e.nodes[host]
	if n == nil {
		return nil
	}
	var changes []Change
	for i := range samples {
		if g := n.guests[samples[i].VM.UUID]; g != nil {
			changes = append(changes, e.measured(g, at, &samples[i])...)
		}
	}
	for _, g := range slices.Clone(n.sorted) {
		if g.sampledAt != at {
			g.miss(at)
		}
		changes = append(changes, e.judgeGuest(g, at)...)
	}
	return changes
}

func (g *life) miss(at time.Time) {
	if g.missed == 0 {
		g.missedFrom = at
	}
	g.missed++
}

// measured takes one sample in.
func (e *Engine) measured(g *life, at time.Time, s *VMSample) []Change {
	g.sampledAt, g.missed = at, 0
	if s.CPU != g.executed || g.state != running {
		g.executed, g.progressAt = s.CPU, at
	}
	if g.track == nil {
		return nil
	}
	e.values.Reset()
	g.meter.Take(&s.VMSample, &e.values)
	return e.ruled(g.track.Take(at, &e.values), at, g.ruleFault(at))
}

// judgeGuest looks for what takes time: no sign of life, a pause nobody asked
// for, an agent that does not come up, a watchdog that has calmed down.
func (e *Engine) judgeGuest(g *life, at time.Time) []Change {
	if !g.described {
		e.want(at, Want{WantDefinition, g.node.name, g.vm}, describeEvery)
	}
	changes := e.judgeWatchdog(g, at)
	changes = append(changes, e.judgeBoot(g, at)...)
	e.askAgent(g, at)
	slot := fault.VMSlot(g.vm.UUID)
	switch {
	case g.state == paused:
		return append(changes, e.judgePaused(g, at)...)
	case g.state != running && g.state != blocked:
		return changes
	case g.missed > 0 && at.Sub(g.missedFrom) >= e.o.HungAfter && g.missed < e.enough():
		// Samples get lost: it is looked at closely before anything is said.
		e.want(at, Want{Kind: WantSample, Host: g.node.name}, now)
		return changes
	case g.missed > 0 && at.Sub(g.missedFrom) >= e.o.HungAfter:
		return append(changes, e.holdGuest(at, g, e.guestFault(g, at, fault.KindHung, g.missedFrom,
			fmt.Sprintf("its QEMU does not answer its monitor since %s", clock(g.missedFrom)),
			fault.Evidence{What: "statistics", Value: fmt.Sprintf("missing %d times in a row", g.missed), Since: wall(g.missedFrom), At: wall(at)}))...)
	case g.missed > 0:
		return changes // too early to say
	case g.stuck(at, e.o.HungAfter):
		return append(changes, e.holdGuest(at, g, e.guestFault(g, at, fault.KindHung, g.progressAt,
			fmt.Sprintf("its vCPUs have not executed since %s, and its guest agent does not answer", clock(g.progressAt)),
			fault.Evidence{What: "vCPU time", Value: "no progress", Since: wall(g.progressAt), At: wall(at)},
			fault.Evidence{What: fault.EvidenceAgent, Value: g.agent.why, Since: wall(g.agent.answeredAt), At: wall(g.agent.askedAt)}))...)
	}
	if s := e.stand[slot]; s != nil && s.fault.Host == g.node.name && (s.fault.Kind == fault.KindHung && g.executes(at) || s.fault.Kind == fault.KindPaused) {
		changes = append(changes, e.drop(at, slot, fault.Sighting{Host: g.node.name, State: g.state, Reason: g.reason, At: wall(at)})...)
	}
	return changes
}

// enough is how many samples in a row must lack a guest: all of HungAfter, and
// two more that are taken at once.
func (e *Engine) enough() int { return int(e.o.HungAfter/e.o.Period) + 3 }

// executes: its vCPUs made progress between the last two samples, or its agent
// has answered since they last did.
func (g *life) executes(at time.Time) bool {
	return g.missed == 0 && (g.progressAt.Equal(at) || g.agent.silent == 0 && !g.agent.answeredAt.IsZero())
}

// stuck: no progress, and an agent that answered in this life and has stopped to.
func (g *life) stuck(at time.Time, after time.Duration) bool {
	return at.Sub(g.progressAt) >= after && g.agent.silent >= 2 &&
		!g.agent.answeredAt.IsZero() && g.agent.askedAt.Sub(g.progressAt) >= after/2
}

// askAgent has a guest's agent asked: now and then for the time, and closely
// while it is not known whether the guest lives.
func (e *Engine) askAgent(g *life, at time.Time) {
	if !g.profile.HasAgent || g.state != running || at.Sub(g.since) < agentRest || g.missed > 0 {
		return
	}
	every := e.guestEvery()
	switch {
	case at.Sub(g.progressAt) >= e.o.HungAfter/2, g.agent.answeredAt.IsZero() && at.Sub(g.since) < 2*e.o.BootWithin:
		every = e.o.Period / 2
	case g.agent.silent > 0:
		every = e.o.BootWithin / 4
	}
	if at.Sub(g.agent.wantedAt) >= every {
		g.agent.wantedAt = at
		e.wants = append(e.wants, Want{WantGuest, g.node.name, g.vm})
	}
}

// GuestAnswered takes what a guest's agent said about the time, or why it did
// not. skew is the guest's clock less ours.
func (e *Engine) GuestAnswered(host string, at time.Time, vm fault.VM, skew time.Duration, err error) []Change {
	g := e.guests[vm.UUID]
	if g == nil || g.node.name != host || at.Before(g.since) {
		return nil
	}
	g.agent.askedAt = at
	if err != nil {
		g.agent.silent++
		g.agent.why = "does not answer: " + err.Error()
		return nil
	}
	g.agent.answeredAt, g.agent.silent, g.agent.known, g.agent.why = at, 0, true, ""
	changes := e.judgeBoot(g, at)
	if g.track == nil {
		return changes
	}
	e.values.Reset()
	e.values.Set(rules.VMClock, skew.Abs().Seconds())
	return append(changes, e.ruled(g.track.Take(at, &e.values), at, g.ruleFault(at))...)
}

// AgentChanged notes that the channel of a guest's agent was opened or closed. A
// channel that is open says little: the agent is asked.
func (e *Engine) AgentChanged(host string, at time.Time, vm fault.VM, open bool) {
	g := e.guests[vm.UUID]
	if g == nil || g.node.name != host || !open || g.state != running {
		return
	}
	g.profile.HasAgent = true
	g.agent.wantedAt = at
	e.wants = append(e.wants, Want{WantGuest, host, g.vm})
}

// judgeBoot holds a start against the agent that was to come up after it.
func (e *Engine) judgeBoot(g *life, at time.Time) []Change {
	within := e.o.BootWithin
	if g.booted.IsZero() && !g.rebooted {
		within *= unseenBoot // nobody knows when it was started: its agent may only be away for a while
	}
	expected := g.profile.HasAgent && (g.profile.AgentExpected || g.agent.known)
	late := g.state == running && g.missed == 0 && at.Sub(g.since) >= within &&
		expected && g.agent.answeredAt.IsZero() && g.agent.silent > 0
	switch {
	case late && e.explained(g) == nil:
		g.bootFailed = true
		return e.hold(at, e.guestFault(g, at, fault.KindBootFailed, g.since, fmt.Sprintf("its guest agent has not answered within %s of its start", within),
			fault.Evidence{What: fault.EvidenceAgent, Value: g.agent.why, Since: wall(g.since), At: wall(g.agent.askedAt)}))
	case g.bootFailed && (!expected || !g.agent.answeredAt.IsZero()):
		g.bootFailed = false
		return e.drop(at, fault.Fault{Kind: fault.KindBootFailed, VM: g.vm}.Slot(), fault.Sighting{Host: g.node.name, State: g.state, Reason: "guest agent answers", At: wall(at)})
	}
	return nil
}

// judgePaused finds a pause that neither a person nor an operation asked for.
func (e *Engine) judgePaused(g *life, at time.Time) []Change {
	switch {
	case g.reason == "I/O error", g.reason == crashed, g.reason == "user", g.reason == "from snapshot", passing[g.reason]:
		return nil
	case at.Sub(g.stateSince) < e.o.HungAfter:
		return nil
	}
	return e.holdGuest(at, g, e.guestFault(g, at, fault.KindPaused, g.stateSince,
		fmt.Sprintf("it is paused (%s) since %s, and neither a person nor an operation asked for that", g.reason, clock(g.stateSince)),
		fault.Evidence{What: "state", Value: fmt.Sprintf("paused (%s)", g.reason), Since: wall(g.stateSince), At: wall(at)}))
}

// clock is a time of day, for sentences.
func clock(t time.Time) string { return t.UTC().Format("15:04:05") }

// WatchdogFired notes that a guest stopped feeding its watchdog; action is what
// the host then did, such as "none" or "reset".
func (e *Engine) WatchdogFired(host string, at time.Time, vm fault.VM, action string) []Change {
	g := e.guests[vm.UUID]
	if g == nil || g.node.name != host {
		return nil
	}
	g.watchdog = at
	return e.hold(at, e.guestFault(g, at, fault.KindWatchdog, at, fmt.Sprintf("its watchdog fired (action: %s)", action),
		fault.Evidence{What: "watchdog", Value: "fired, action " + action, At: wall(at)}))
}

// judgeWatchdog ends a watchdog's fault when the guest has executed for a while.
func (e *Engine) judgeWatchdog(g *life, at time.Time) []Change {
	if g.watchdog.IsZero() || at.Sub(g.watchdog) < watchdogQuiet || !g.executes(at) || g.state != running {
		return nil
	}
	g.watchdog = time.Time{}
	f := fault.Fault{Kind: fault.KindWatchdog, VM: g.vm}
	return e.drop(at, f.Slot(), fault.Sighting{Host: g.node.name, State: g.state, Reason: g.reason, At: wall(at)})
}

// Rebooted notes that the guest was reset or rebooted itself: another life.
func (e *Engine) Rebooted(host string, at time.Time, vm fault.VM) []Change {
	g := e.guests[vm.UUID]
	if g == nil || g.node.name != host {
		return nil
	}
	g.agent.known = g.agent.known || !g.agent.answeredAt.IsZero()
	g.since, g.progressAt, g.watchdog, g.rebooted = at, at, time.Time{}, true
	g.agent.answeredAt, g.agent.silent = time.Time{}, 0
	if g.track != nil {
		g.track.Restarted(at)
	}
	f := fault.Fault{Kind: fault.KindWatchdog, VM: g.vm}
	return e.drop(at, f.Slot(), fault.Sighting{Host: g.node.name, State: g.state, Reason: "rebooted", At: wall(at)})
}
