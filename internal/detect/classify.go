// Package detect decides, from what hosts say about their domains, whether
// something is wrong. It is pure: observations and their times come in as
// values, and the same ones give the same verdicts. It imports no clock, no
// libvirt and no Temporal.
package detect

import (
	"fmt"

	"holdfast/internal/fault"
)

// Observation is what one host said about one domain. State and Reason are
// libvirt's words, as `virsh domstate --reason` prints them.
type Observation struct {
	VM            fault.VM
	State, Reason string
	// Transient: the host forgets the domain when it stops.
	Transient bool
}

// Source is how an observation came about: libvirt's words differ.
type Source string

// Sources of an observation.
const (
	// Listing is the state of a domain as the host gave it when asked.
	Listing Source = "listing"
	// Event is a lifecycle event, put as the state that it led to. Its detail for
	// a QEMU that was killed is "failed", where a listing says "crashed".
	Event Source = "event"
)

// Meaning is what an observation of a domain amounts to.
type Meaning string

// Meanings. Only Faulty asks for anything to be done.
const (
	// Healthy: the guest's vCPUs may execute.
	Healthy Meaning = "healthy"
	// Held: QEMU is there and the guest is not meant to execute right now, as
	// when a person paused it. No fault in this release.
	Held Meaning = "held"
	// Transition: libvirt is in the middle of something; what comes next decides.
	Transition Meaning = "in transition"
	// Intent: somebody stopped the VM on purpose. It stays stopped.
	Intent Meaning = "intent"
	// Moved: it migrated away. That says nothing against it running elsewhere.
	Moved Meaning = "moved"
	// Faulty: something is wrong; Verdict.Kind says what.
	Faulty Meaning = "fault"
	// Doubt: the host does not say enough to act on. Nothing is done.
	Doubt Meaning = "doubt"
)

// Verdict is what one observation means, and why. The zero Verdict is that of
// a domain never seen before.
type Verdict struct {
	Meaning Meaning
	Kind    fault.Kind // of a Faulty one, otherwise empty
	Why     string

	guest guest
}

// guest is what stood behind the domain when it was last seen on this host.
type guest int

const (
	noGuest   guest = iota
	heldGuest       // there, but not meant to execute: paused, going down
	ranGuest        // there and meant to execute
)

// Libvirt's words. They are the values of hypervisor.State and
// hypervisor.Reason, which this package may not import; the monitor's tests
// hold the two together.
const (
	running     = "running"
	blocked     = "blocked"
	paused      = "paused"
	inShutdown  = "in shutdown"
	shutoff     = "shut off"
	crashed     = "crashed" // state and reason
	pmSuspended = "pmsuspended"
	noState     = "no state"

	unknown = "unknown"
	failed  = "failed"
)

// Active reports whether a QEMU process stands behind a state, as
// hypervisor.State.Active does.
func Active(state string) bool { return state != shutoff && state != noState && state != "" }

// Classify says what one observation of a domain means. before is the verdict
// on the observation before it, of the same domain on the same host; the zero
// Verdict if there was none.
func Classify(o Observation, from Source, before Verdict) Verdict {
	if o.State == shutoff {
		return classifyShutoff(o.Reason, from, before)
	}
	if !Active(o.State) {
		return Verdict{Meaning: Doubt, Why: "the host does not say what state it is in", guest: before.guest}
	}
	return classifyActive(o, before)
}

func classifyActive(o Observation, before Verdict) Verdict {
	switch {
	case o.State == running, o.State == blocked:
		return Verdict{Meaning: Healthy, Why: "it is running", guest: ranGuest}
	// A libvirtd that restarts under a panicked guest calls it paused (crashed).
	case o.State == crashed, o.State == paused && o.Reason == crashed:
		return Verdict{
			Meaning: Faulty, Kind: fault.KindPanicked, guest: ranGuest,
			Why: fmt.Sprintf("the guest panicked and QEMU holds it (%s, %s)", o.State, o.Reason),
		}
	case o.State == inShutdown:
		return Verdict{Meaning: Transition, Why: "it is going down in order", guest: heldGuest}
	case o.State == paused && passing[o.Reason]:
		// Whether a guest stands behind it is what was known before: an incoming
		// migration or a start that fails never had one.
		return Verdict{Meaning: Transition, Why: fmt.Sprintf("it is %s (%s)", o.State, o.Reason), guest: before.guest}
	}
	return Verdict{Meaning: Held, Why: fmt.Sprintf("it is %s (%s), which is left to people", o.State, o.Reason), guest: heldGuest}
}

// passing are the reasons for which libvirt itself pauses a domain for a while.
var passing = map[string]bool{
	"starting up":       true,
	"migrating":         true,
	"post-copy":         true,
	"saving":            true,
	"dumping":           true,
	"creating snapshot": true,
	"shutting down":     true,
}

func classifyShutoff(reason string, from Source, before Verdict) Verdict {
	switch reason {
	case crashed:
		return down(fault.KindCrashed, "QEMU died without anybody asking it to (shut off, crashed)")
	case failed:
		if from == Event && before.guest != noGuest {
			return down(fault.KindCrashed, "QEMU died without anybody asking it to (stopped, failed, while it was active)")
		}
		return down(fault.KindStartFailed, "the host tried to start it and could not (shut off, failed)")
	case "daemon":
		return down(fault.KindLost, "libvirtd could not find its way back to it and killed it (shut off, daemon)")
	case "shutdown":
		return Verdict{Meaning: Intent, Why: "the guest or a person shut it down in order"}
	case "destroyed":
		return Verdict{Meaning: Intent, Why: "somebody pulled its plug on purpose"}
	case "saved":
		return Verdict{Meaning: Intent, Why: "its state was saved to a file on purpose"}
	case "from snapshot":
		return Verdict{Meaning: Intent, Why: "it was reverted to a snapshot of a stopped machine"}
	case "migrated":
		return Verdict{Meaning: Moved, Why: "it migrated to another host"}
	case unknown, "":
		return classifyForgotten(before)
	}
	return Verdict{Meaning: Doubt, Why: fmt.Sprintf("the reason %q is not known to Holdfast", reason)}
}

// classifyForgotten is a domain that is shut off and whose host has forgotten
// why: libvirtd keeps the reason in memory only, so this is what every
// inactive domain says after a reboot or a restart of libvirtd.
func classifyForgotten(before Verdict) Verdict {
	switch {
	case before.Meaning == Intent || before.Meaning == Moved || isDown(before):
		// What was known still holds: only the host's memory of it is gone.
		return before
	case before.guest == ranGuest:
		return down(fault.KindLost, "it was running here, and the host came back without knowing why it stopped (shut off, unknown)")
	case before.guest == heldGuest:
		return Verdict{Meaning: Doubt, Why: "it was not meant to execute when it was last seen here, and the host does not know why it stopped"}
	}
	return Verdict{Meaning: Doubt, Why: "it is shut off and was never seen running here"}
}

func down(kind fault.Kind, why string) Verdict {
	return Verdict{Meaning: Faulty, Kind: kind, Why: why}
}

// isDown: a fault that leaves no QEMU behind.
func isDown(v Verdict) bool { return v.Meaning == Faulty && v.Kind != fault.KindPanicked }
