// Package ladder decides what to do next about a fault: which rung, wait, or a
// person, and why. It is pure: what is known and the time come in, a decision
// comes out, and the same input always gives the same decision.
package ladder

import (
	"fmt"
	"time"

	"holdfast/internal/fault"
	"holdfast/internal/proof"
)

// Action is what a Decision asks for.
type Action string

// Actions.
const (
	ActClimb     Action = "climb"      // take Decision.Rung on Decision.Host
	ActWait      Action = "wait"       // look again after Decision.Wait
	ActVerify    Action = "verify"     // it already runs: check that it stays so
	ActStandDown Action = "stand-down" // a person's intent, or nothing is wrong any more
	ActPerson    Action = "person"     // stop and ask
	ActObserve   Action = "observe"    // say what would be done, look again after Decision.Wait
	ActWatch     Action = "watch"      // no rung for it exists yet: wait until it is over
)

// Attempt is one climb of a rung and how it ended.
type Attempt struct {
	Rung  Rung      `json:"rung"`
	Host  string    `json:"host"`
	Began time.Time `json:"began"`
	Ended time.Time `json:"ended"`
	OK    bool      `json:"ok"`
	// Error is why it failed, in words for an operator.
	Error string `json:"error,omitempty"`
}

// Situation is everything a decision is made from.
type Situation struct {
	Fault  fault.Fault
	Policy Policy
	// Answers is what every host of the site says about the VM now.
	Answers []proof.Answer
	// Tried are earlier attempts, oldest first, of this and of recent incidents.
	Tried []Attempt
	// OursStopped: this incident itself stopped the VM and has not started it
	// since, so "destroyed" is no person's intent.
	OursStopped bool
	// Asked: a person asked for this repair, which is intent in observe mode too.
	Asked bool
	// Waits counts the waits in a row, for their backoff.
	Waits int
	Now   time.Time
}

// Turned is a rung that was considered and turned down.
type Turned struct {
	Rung Rung   `json:"rung"`
	Why  string `json:"why"`
}

// Decision is what to do next and why.
type Decision struct {
	Action Action        `json:"action"`
	Rung   Rung          `json:"rung,omitempty"`
	Host   string        `json:"host,omitempty"`
	Wait   time.Duration `json:"wait,omitempty"` // before a climb: its backoff; otherwise until the next look
	Why    string        `json:"why"`
	Turned []Turned      `json:"turned,omitempty"`
	// While a fault is watched: what the hosts say of the VM, and whether somebody
	// should do something about it.
	State       string `json:"state,omitempty"`
	NeedsPerson bool   `json:"needsPerson,omitempty"`
}

// Next decides.
func Next(s Situation) Decision {
	if Watched(s.Fault.Kind) {
		return decideWatched(s)
	}
	return observed(s, decide(s))
}

// decide handles a VM that should run and does not.
func decide(s Situation) Decision {
	if active := activeAnswers(s.Answers); len(active) > 0 {
		return decideActive(s, active)
	}
	here, ok := proof.AnswerOf(s.Answers, s.Fault.Host)
	switch {
	case !ok && s.Fault.Host != "":
		return person(fmt.Sprintf("host %s is not in the site file", s.Fault.Host))
	case !ok:
		return decideHome(s)
	case here.Error != "":
		return wait(s, fmt.Sprintf("host %s does not answer (%s): it may still run %s", here.Host, here.Error, s.Fault.VM))
	case here.Absent:
		return decideHome(s)
	}
	if intent, why := intended(s, here); intent {
		return Decision{Action: ActStandDown, Host: here.Host, Why: why}
	}
	return decideRestart(s, here.Host)
}

// decideActive handles a VM behind which a QEMU process stands somewhere.
func decideActive(s Situation, active []proof.Answer) Decision {
	if len(active) > 1 {
		return person(fmt.Sprintf("%s is active on %d hosts at once (%s, %s): stop the wrong copy by hand", s.Fault.VM, len(active), active[0].Host, active[1].Host))
	}
	at := active[0]
	switch at.State {
	case "running", "blocked":
		return Decision{Action: ActVerify, Host: at.Host, Why: fmt.Sprintf("%s is running on %s", s.Fault.VM, at.Host)}
	case "crashed":
		return decideRestart(s, at.Host)
	case "in shutdown":
		return wait(s, fmt.Sprintf("%s is shutting down on %s", s.Fault.VM, at.Host))
	case "paused":
		switch at.Reason {
		case "crashed", "starting up":
			// QEMU was started and never came to run, or its guest crashed.
			return decideRestart(s, at.Host)
		case "user":
			return Decision{Action: ActStandDown, Host: at.Host, Why: "a person paused it"}
		case "migrating", "saving", "dumping", "snapshot":
			return wait(s, fmt.Sprintf("%s is %s on %s", s.Fault.VM, at.Reason, at.Host))
		}
	}
	return person(fmt.Sprintf("%s is %s (%s) on %s, for which there is no rung yet", s.Fault.VM, at.State, at.Reason, at.Host))
}

// decideHome handles a VM that is not on the host the fault names, or for which
// the request names no host: the one host that has it defined is its home.
func decideHome(s Situation) Decision {
	var defined, silent []string
	var home proof.Answer
	for _, a := range s.Answers {
		switch {
		case a.Error != "":
			silent = append(silent, a.Host)
		case !a.Absent:
			defined = append(defined, a.Host)
			home = a
		}
	}
	switch {
	case len(defined) == 1 && s.Fault.Kind == fault.KindLost && s.Fault.Seen.Absent && home.Host != s.Fault.Host:
		return person(fmt.Sprintf("%s ran on %s, which does not know it any more; %s knows it from earlier (%s, %s): start it by hand where it belongs",
			s.Fault.VM, s.Fault.Host, home.Host, home.State, home.Reason))
	case len(defined) == 1:
		if intent, why := intended(s, home); intent {
			return Decision{Action: ActStandDown, Host: home.Host, Why: why}
		}
		return decideRestart(s, home.Host)
	case len(defined) > 1:
		return person(fmt.Sprintf("%s is defined on %d hosts (%s, %s) and runs on none: start it by hand where it belongs", s.Fault.VM, len(defined), defined[0], defined[1]))
	case len(silent) > 0:
		return wait(s, fmt.Sprintf("no host that answers knows %s, and %s does not answer", s.Fault.VM, silent[0]))
	}
	return person(fmt.Sprintf("no host of the site has %s defined any more", s.Fault.VM))
}

// intended reports whether the VM is down because somebody wanted it so.
func intended(s Situation, a proof.Answer) (bool, string) {
	if s.Fault.Kind == fault.KindRequested {
		return false, "" // the newest intent is the request
	}
	switch a.Reason {
	case "shutdown", "saved":
		return true, fmt.Sprintf("%s was shut down in order on %s (%s): that is intent, not a fault", s.Fault.VM, a.Host, a.Reason)
	case "destroyed":
		if !s.OursStopped {
			return true, fmt.Sprintf("a person stopped %s on %s: it stays stopped", s.Fault.VM, a.Host)
		}
	case "migrated":
		return true, fmt.Sprintf("%s was migrated away from %s", s.Fault.VM, a.Host)
	}
	return false, ""
}

// decideRestart climbs the restart rung, or asks when its budget is used up.
func decideRestart(s Situation, host string) Decision {
	failed, last := failures(s)
	if failed >= s.Policy.MaxFailures {
		d := person(fmt.Sprintf("%d failed repairs within %s; the last: %s", failed, s.Policy.Window, last.Error))
		d.Turned = []Turned{{Rung: RungRestart, Why: fmt.Sprintf("budget of %d failures in %s is used up", s.Policy.MaxFailures, s.Policy.Window)}}
		d.Host = host
		return d
	}
	why := describe(s.Fault) + startAgain(host)
	if failed > 0 {
		why = fmt.Sprintf("try %d of %d after: %s", failed+1, s.Policy.MaxFailures, last.Error)
	}
	w := s.Policy.backoff(failed)
	if failed > 0 {
		// The backoff counts from the end of the last failure, not from now.
		w -= s.Now.Sub(last.Ended)
	}
	return Decision{Action: ActClimb, Rung: RungRestart, Host: host, Wait: max(w, 0), Why: why}
}

func startAgain(host string) string { return ": start it again on " + host }

// failures counts the failed attempts that still count, and returns the newest.
// A repair that verified counts as failed when the VM failed again within the
// window: that is a crash loop.
func failures(s Situation) (int, Attempt) {
	var n int
	var last Attempt
	for _, a := range s.Tried {
		if s.Now.Sub(a.Ended) > s.Policy.Window {
			continue
		}
		n++
		last = a
		if last.OK {
			last.Error = "repaired, but failed again"
		}
	}
	return n, last
}

func describe(f fault.Fault) string {
	if f.Why != "" {
		return f.Why
	}
	return fmt.Sprintf("%s %s", f.VM, f.Kind)
}

func person(why string) Decision {
	return Decision{Action: ActPerson, Rung: RungPerson, Why: why}
}

// wait looks again after 1 s, 2 s, 4 s ... 30 s.
func wait(s Situation, why string) Decision {
	d := min(time.Second<<min(s.Waits, 5), 30*time.Second)
	return Decision{Action: ActWait, Host: s.Fault.Host, Wait: d, Why: why}
}

func activeAnswers(answers []proof.Answer) []proof.Answer {
	var out []proof.Answer
	for _, a := range answers {
		if a.Error == "" && a.Active {
			out = append(out, a)
		}
	}
	return out
}
