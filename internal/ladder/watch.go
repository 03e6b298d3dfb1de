package ladder

import (
	"fmt"
	"strings"
	"time"

	"holdfast/internal/fault"
	"holdfast/internal/proof"
)

// decideWatched handles a fault that nobody but a person can mend: it is
// watched until whoever raised it says that it is over. What libvirt says of the
// VM matters only where a person wants it stopped: a VM that hangs is "running".
// One that died has another fault, which takes this one's place.
func decideWatched(s Situation) Decision {
	if s.Asked {
		// A person wants it to run: where it does not, it can be started.
		asked := s
		asked.Fault.Kind, asked.Policy.Ladder = fault.KindRequested, nil
		if d := held(asked, decide(asked)); d.Action == ActClimb || d.Action == ActHold {
			return d
		}
	}
	state := ""
	switch active := activeAnswers(s.Answers); {
	case len(active) > 1:
		state = fmt.Sprintf("%s is active on %d hosts at once (%s, %s): stop the wrong copy by hand", s.Fault.VM, len(active), active[0].Host, active[1].Host)
	case len(active) == 1 && active[0].State == "paused" && active[0].Reason == "user":
		return Decision{Action: ActStandDown, Host: active[0].Host, Why: fmt.Sprintf("a person paused %s on %s", s.Fault.VM, active[0].Host)}
	case len(active) == 1:
		state = active[0].Sighting.String()
	default:
		at, ok := lastHome(s)
		if ok {
			if intent, why := intended(s, at); intent {
				return Decision{Action: ActStandDown, Host: at.Host, Why: why}
			}
			state = at.Sighting.String()
		}
	}
	d := watch(s.Fault, s.Policy)
	d.State, d.Wait = state, LookAgain(s.Waits)
	return d
}

// lastHome is the answer of the host that the fault names, if it has the VM
// defined, or of the only other one that has.
func lastHome(s Situation) (proof.Answer, bool) {
	if here, ok := proof.AnswerOf(s.Answers, s.Fault.Host); ok && !here.Absent {
		return here, here.Error == ""
	}
	var homes []proof.Answer
	for _, a := range s.Answers {
		if a.Error == "" && !a.Absent {
			homes = append(homes, a)
		}
	}
	if len(homes) != 1 {
		return proof.Answer{}, false
	}
	return homes[0], true
}

// WatchHost decides about a fault of a host, a storage pool or the site: for
// none of them a rung can be climbed yet.
func WatchHost(f fault.Fault, p Policy) Decision {
	d := watch(f, p)
	if f.Frozen != "" {
		d.Why += "; and nothing may be done to hosts: " + f.Frozen
	}
	return d
}

func watch(f fault.Fault, p Policy) Decision {
	d := Decision{Action: ActWatch, Host: f.Host, Why: describe(f) + ": " + outlook(f.Kind, p)}
	switch {
	case p.Observe:
		d.Why += "; observe mode: " + p.observeWhy()
	case f.HowBad() == fault.Critical, f.HowBad() == fault.Major:
		d.NeedsPerson = true
	}
	return d
}

// observed turns a decision to act, or to ask for somebody who does, into one to
// say so, where the site wants no more. What a person asks for is done.
func observed(s Situation, d Decision) Decision {
	if !s.Policy.Observe || s.Asked || s.Fault.Kind == fault.KindRequested {
		return d
	}
	switch d.Action {
	case ActClimb, ActApprove:
		because := strings.TrimSuffix(d.Why, ": "+does(s, d.Rung, d.Host))
		d.Why = fmt.Sprintf("would %s %s on %s because: %s", d.Rung, s.Fault.VM, d.Host, because)
	case ActPerson:
		d.Why = "would stop and ask a person: " + d.Why
	default:
		return d
	}
	d.Action, d.Wait = ActObserve, LookAgain(s.Waits)
	d.Why += "; observe mode: " + s.Policy.observeWhy()
	return d
}

// LookAgain is the time between two looks at what only can be waited out: 30 s,
// 1 min ... 8 min. What changes is heard of earlier, from the monitor.
func LookAgain(waits int) time.Duration { return 30 * time.Second << min(waits, 4) }
