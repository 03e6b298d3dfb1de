// Package ladder decides what to do next about a fault: which rung, wait, or a
// person, and why. It is pure: what is known and the time come in, a decision
// comes out, and the same input always gives the same decision.
package ladder

import (
	"fmt"
	"time"

	"holdfast/internal/fault"
	"holdfast/internal/placement"
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
	ActWatch     Action = "watch"      // nothing but a person can mend it: wait until it is over
	ActHold      Action = "hold"       // a person wants hands off: look again after Decision.Wait
	ActApprove   Action = "approve"    // Decision.Rung is what to do, once a person has approved it
	ActLook      Action = "look"       // find out about Decision.Look first
)

// Look is something that has to be known before a decision can be made.
type Look string

// Looks.
const (
	LookVital Look = "vital signs" // of a guest that its host calls running: Situation.Vital
	LookStock Look = "stock"       // what it could be put back to: Situation.Stock
	// LookPlaces is where else it could be started: Situation.Places.
	LookPlaces Look = "places"
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
	Fault  fault.Fault `json:"fault"`
	Policy Policy      `json:"policy"`
	// Answers is what every host of the site says about the VM now.
	Answers []proof.Answer `json:"answers"`
	// Tried are earlier attempts, oldest first, of this and of recent incidents.
	Tried []Attempt `json:"tried,omitempty"`
	// OursStopped: this incident itself stopped the VM and has not started it
	// since, so "destroyed" is no person's intent.
	OursStopped bool `json:"oursStopped,omitempty"`
	// Asked: a person asked for this repair, which is intent in observe mode too.
	Asked bool `json:"asked,omitempty"`
	// Vital is what was found when its guest was looked at; nil: nobody has looked.
	Vital *Vital `json:"vital,omitempty"`
	// Unwell is why the VM did not verify the last time that it ran in this
	// incident; empty: it was not verified, or did.
	Unwell string `json:"unwell,omitempty"`
	// Stock is what the VM could be put back to; nil: nobody has looked.
	Stock *Stock `json:"stock,omitempty"`
	// Places are where else the VM could be started; nil: nobody has looked.
	Places *Places `json:"places,omitempty"`
	// Approved are the rungs that a person approved in this incident, Rejected those
	// that one refused.
	Approved []Rung   `json:"approved,omitempty"`
	Rejected []Turned `json:"rejected,omitempty"`
	// Ordered is the rung that a person wants climbed next, whatever its budget.
	Ordered Rung `json:"ordered,omitempty"`
	// CountedFrom is the time from which the policy's Window is reckoned back, where
	// that is not now: when a person was asked for approval, so that what failed
	// before is not forgotten while they think.
	CountedFrom time.Time `json:"countedFrom,omitzero"`
	// Waits counts the waits in a row, for their backoff.
	Waits int       `json:"waits,omitempty"`
	Now   time.Time `json:"now"`
	// Legacy: an incident that was opened before there were rungs besides restart.
	Legacy bool `json:"legacy,omitempty"`
	// NoBackup: one that was opened before a VM could be restored from a backup.
	NoBackup bool `json:"noBackup,omitempty"`
	// NoElsewhere: one that was opened before a VM could be started on another host.
	NoElsewhere bool `json:"noElsewhere,omitempty"`
}

// Vital is what a guest that its host calls running looks like.
type Vital struct {
	// Well: there is nothing about it that bears the fault out.
	Well bool `json:"well"`
	// Reachable: its QEMU answers, so that its buttons can be pressed.
	Reachable bool   `json:"reachable"`
	Why       string `json:"why"`
}

// Stock is what a VM could be put back to.
type Stock struct {
	// Snapshot and Backup are the names of the last good ones; empty: there is none,
	// and SnapshotWhy or BackupWhy says so in words.
	Snapshot    string    `json:"snapshot,omitempty"`
	SnapshotAt  time.Time `json:"snapshotAt,omitzero"`
	SnapshotWhy string    `json:"snapshotWhy,omitempty"`
	External    bool      `json:"external,omitempty"` // the snapshot is a layer
	Backup      string    `json:"backup,omitempty"`
	BackupAt    time.Time `json:"backupAt,omitzero"`
	BackupIn    string    `json:"backupIn,omitempty"` // the pool or folder that the backup is in
	BackupWhy   string    `json:"backupWhy,omitempty"`
}

// Places are where else a VM could be started.
type Places struct {
	// Best is the host to take it to; empty: there is none. Why says what for, or why not.
	Best string `json:"best,omitempty"`
	Why  string `json:"why"`
	// Others are hosts that were turned down; of many, the first.
	Others []placement.Refusal `json:"others,omitempty"`
	// Autostart: its own host starts it as it boots, which the other then does.
	Autostart bool `json:"autostart,omitempty"`
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
	Look   Look          `json:"look,omitempty"`
	// From is the snapshot or the backup that the VM would be put back to.
	From string `json:"from,omitempty"`
	// Source is the host that the VM would be taken away from, where that is another
	// than Host.
	Source string `json:"source,omitempty"`
	// Meanwhile is a rung that does no harm, and may be tried again now and then
	// while a person is waited for.
	Meanwhile Rung `json:"meanwhile,omitempty"`
	// While a fault is watched: what the hosts say of the VM, and whether somebody
	// should do something about it.
	State       string `json:"state,omitempty"`
	NeedsPerson bool   `json:"needsPerson,omitempty"`
}

// At is the host that has the VM as the decision is carried out.
func (d Decision) At() string {
	if d.Source != "" {
		return d.Source
	}
	return d.Host
}

// Next decides.
func Next(s Situation) Decision {
	if watched(s) {
		return decideWatched(s)
	}
	return observed(s, held(s, decide(s)))
}

// decide handles a VM that should run and does not.
func decide(s Situation) Decision {
	active := activeAnswers(s.Answers)
	if s.Ordered != "" && s.Fault.Kind != fault.KindRequested {
		// What was approved is no longer wanted where the VM is well by now, or a
		// person has stopped it.
		plain := s
		plain.Ordered = ""
		switch d := decide(plain); {
		case d.Action == ActVerify, d.Action == ActStandDown, d.Action == ActWait, d.Look == LookVital:
			return d
		}
	}
	if at, ok := ordered(s, active); ok {
		return climb(s, at)
	}
	if len(active) > 0 {
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
	return climb(s, here)
}

// ordered finds the VM for which a person wants a rung climbed, whatever its state.
func ordered(s Situation, active []proof.Answer) (proof.Answer, bool) {
	switch {
	case s.Ordered == "" || len(active) > 1:
		return proof.Answer{}, false
	case len(active) == 1:
		return active[0], true
	}
	here, ok := proof.AnswerOf(s.Answers, s.Fault.Host)
	return here, ok && here.Error == "" && !here.Absent
}

// decideActive handles a VM behind which a QEMU process stands somewhere.
func decideActive(s Situation, active []proof.Answer) Decision {
	if len(active) > 1 {
		return person(fmt.Sprintf("%s is active on %d hosts at once (%s, %s): stop the wrong copy by hand", s.Fault.VM, len(active), active[0].Host, active[1].Host))
	}
	at := active[0]
	switch at.State {
	case "running", "blocked":
		return decideRunning(s, at)
	case "crashed":
		return climb(s, at)
	case "in shutdown":
		return wait(s, fmt.Sprintf("%s is shutting down on %s", s.Fault.VM, at.Host))
	case "paused":
		switch at.Reason {
		case "crashed", "starting up":
			// QEMU was started and never came to run, or its guest crashed.
			return climb(s, at)
		case "user":
			return Decision{Action: ActStandDown, Host: at.Host, Why: Intent(s.Fault.VM, at.Sighting, false)}
		case "migrating", "post-copy", "saving", "dumping", "snapshot", "creating snapshot", "shutting down":
			return wait(s, fmt.Sprintf("%s is %s on %s", s.Fault.VM, at.Reason, at.Host))
		}
		if !s.Legacy && at.Reason != "from snapshot" && at.Reason != "post-copy failed" {
			return climb(s, at)
		}
	}
	return person(fmt.Sprintf("%s is %s (%s) on %s, for which there is no rung", s.Fault.VM, at.State, at.Reason, at.Host))
}

// decideRunning handles a VM that its host calls running. For a fault that only
// shows from nearer by, the guest is looked at again right before something is
// done to it: what the monitor saw may be over.
func decideRunning(s Situation, at proof.Answer) Decision {
	if s.Unwell != "" && !s.Legacy {
		return climb(s, at)
	}
	if !fromNearBy[s.Fault.Kind] || s.Legacy {
		return Decision{Action: ActVerify, Host: at.Host, Why: fmt.Sprintf("%s is running on %s", s.Fault.VM, at.Host)}
	}
	switch {
	case s.Vital == nil:
		return Decision{Action: ActLook, Look: LookVital, Host: at.Host, Why: fmt.Sprintf("%s says that %s is running: its guest has to be looked at", at.Host, s.Fault.VM)}
	case s.Vital.Well:
		return Decision{Action: ActVerify, Host: at.Host, Why: fmt.Sprintf("%s is well on %s: %s", s.Fault.VM, at.Host, s.Vital.Why)}
	}
	return climb(s, at)
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
		return climb(s, home)
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
	why := Intent(s.Fault.VM, a.Sighting, s.OursStopped)
	if why == "" && s.Policy.Desired == DesiredAsFound && !s.OursStopped && !s.Asked {
		why = fmt.Sprintf("%s is down on %s (%s), and its policy leaves it so", s.Fault.VM, a.Host, a.Reason)
	}
	return why != "", why
}

// Intent says why a VM that does not run is as somebody wants it; empty: nothing
// says so. ours: whoever asks has stopped it.
func Intent(vm fault.VM, at fault.Sighting, ours bool) string {
	switch {
	case at.State == "paused" && at.Reason == "user":
		return "a person paused it"
	case at.State != "shut off":
	case at.Reason == "shutdown" || at.Reason == "saved":
		return fmt.Sprintf("%s was shut down in order on %s (%s): that is intent, not a fault", vm, at.Host, at.Reason)
	case at.Reason == "destroyed" && !ours:
		return fmt.Sprintf("a person stopped %s on %s: it stays stopped", vm, at.Host)
	case at.Reason == "migrated":
		return fmt.Sprintf("%s was migrated away from %s", vm, at.Host)
	}
	return ""
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
