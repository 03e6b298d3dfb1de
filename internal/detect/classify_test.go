package detect

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"holdfast/internal/fault"
)

var (
	never     = Verdict{}
	ran       = Classify(Observation{State: "running", Reason: "booted"}, Listing, never)
	pausedBy  = Classify(Observation{State: "paused", Reason: "user"}, Listing, ran)
	goingDown = Classify(Observation{State: "in shutdown", Reason: "user"}, Listing, ran)
	starting  = Classify(Observation{State: "paused", Reason: "starting up"}, Listing, never)
	incoming  = Classify(Observation{State: "paused", Reason: "migrating"}, Event, never)
	outgoing  = Classify(Observation{State: "paused", Reason: "migrating"}, Event, ran)
	panicked  = Classify(Observation{State: "crashed", Reason: "panicked"}, Listing, ran)
	wasKilled = Classify(Observation{State: "shut off", Reason: "crashed"}, Listing, ran)
	stopped   = Classify(Observation{State: "shut off", Reason: "shutdown"}, Listing, ran)
	migrated  = Classify(Observation{State: "shut off", Reason: "migrated"}, Listing, ran)
	idle      = Classify(Observation{State: "shut off", Reason: "unknown"}, Listing, never)
)

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		state, reason string
		from          Source
		before        Verdict
		meaning       Meaning
		kind          fault.Kind
	}{
		{"running", "booted", Listing, never, Healthy, ""},
		{"running", "migrated", Listing, incoming, Healthy, ""},
		{"running", "unpaused", Event, pausedBy, Healthy, ""},
		{"blocked", "unknown", Listing, never, Healthy, ""},

		{"shut off", "crashed", Listing, never, Faulty, fault.KindCrashed},
		{"shut off", "crashed", Listing, ran, Faulty, fault.KindCrashed},
		{"shut off", "crashed", Event, ran, Faulty, fault.KindCrashed},
		{"shut off", "failed", Listing, never, Faulty, fault.KindStartFailed},
		{"shut off", "failed", Listing, ran, Faulty, fault.KindStartFailed},
		{"crashed", "panicked", Listing, never, Faulty, fault.KindPanicked},
		{"crashed", "panicked", Event, ran, Faulty, fault.KindPanicked},
		{"crashed", "unknown", Listing, ran, Faulty, fault.KindPanicked},
		{"paused", "crashed", Listing, panicked, Faulty, fault.KindPanicked},

		// An event says failed for a QEMU that died and for one that never started.
		{"shut off", "failed", Event, ran, Faulty, fault.KindCrashed},
		{"shut off", "failed", Event, pausedBy, Faulty, fault.KindCrashed},
		{"shut off", "failed", Event, goingDown, Faulty, fault.KindCrashed},
		{"shut off", "failed", Event, panicked, Faulty, fault.KindCrashed},
		{"shut off", "failed", Event, outgoing, Faulty, fault.KindCrashed},
		{"shut off", "failed", Event, never, Faulty, fault.KindStartFailed},
		{"shut off", "failed", Event, idle, Faulty, fault.KindStartFailed},
		{"shut off", "failed", Event, starting, Faulty, fault.KindStartFailed},
		{"shut off", "failed", Event, incoming, Faulty, fault.KindStartFailed},
		{"shut off", "failed", Event, wasKilled, Faulty, fault.KindStartFailed},
		{"shut off", "failed", Event, stopped, Faulty, fault.KindStartFailed},

		{"shut off", "shutdown", Listing, ran, Intent, ""},
		{"shut off", "shutdown", Event, goingDown, Intent, ""},
		{"shut off", "destroyed", Listing, ran, Intent, ""},
		{"shut off", "destroyed", Event, panicked, Intent, ""},
		{"shut off", "saved", Listing, ran, Intent, ""},
		{"shut off", "from snapshot", Listing, ran, Intent, ""},
		{"shut off", "migrated", Event, outgoing, Moved, ""},

		{"shut off", "daemon", Listing, ran, Faulty, fault.KindLost},
		{"shut off", "daemon", Listing, never, Faulty, fault.KindLost},
		{"shut off", "unknown", Listing, ran, Faulty, fault.KindLost},
		{"shut off", "unknown", Listing, outgoing, Faulty, fault.KindLost},
		{"shut off", "unknown", Listing, panicked, Faulty, fault.KindLost},
		{"shut off", "unknown", Listing, never, Doubt, ""},
		{"shut off", "unknown", Listing, idle, Doubt, ""},
		{"shut off", "unknown", Listing, pausedBy, Doubt, ""},
		{"shut off", "unknown", Listing, goingDown, Doubt, ""},
		{"shut off", "unknown", Listing, incoming, Doubt, ""},
		// libvirtd restarted and forgot; we did not.
		{"shut off", "unknown", Listing, wasKilled, Faulty, fault.KindCrashed},
		{"shut off", "unknown", Listing, stopped, Intent, ""},
		{"shut off", "unknown", Listing, migrated, Moved, ""},
		{"shut off", "a word of tomorrow", Listing, ran, Doubt, ""},

		{"paused", "user", Listing, ran, Held, ""},
		{"paused", "I/O error", Listing, ran, Held, ""},
		{"paused", "watchdog", Listing, ran, Held, ""},
		{"pmsuspended", "unknown", Listing, ran, Held, ""},
		{"a state of tomorrow", "", Listing, ran, Held, ""},
		{"paused", "starting up", Listing, wasKilled, Transition, ""},
		{"paused", "migrating", Event, ran, Transition, ""},
		{"paused", "creating snapshot", Listing, ran, Transition, ""},
		{"in shutdown", "user", Event, ran, Transition, ""},
		{"no state", "unknown", Listing, ran, Doubt, ""},
		{"", "", Listing, ran, Doubt, ""},
	} {
		name := c.state + " (" + c.reason + ") by " + string(c.from) + " after " + string(c.before.Meaning)
		t.Run(name, func(t *testing.T) {
			got := Classify(Observation{State: c.state, Reason: c.reason}, c.from, c.before)
			assert.Equal(t, c.meaning, got.Meaning)
			assert.Equal(t, c.kind, got.Kind)
			assert.NotEmpty(t, got.Why)
		})
	}
}

// A libvirtd that restarts while it is being asked again and again must not
// make a fault come and go.
func TestClassifyForgottenStaysWhatItWas(t *testing.T) {
	forgotten := Observation{State: "shut off", Reason: "unknown"}
	lost := Classify(forgotten, Listing, ran)
	assert.Equal(t, lost, Classify(forgotten, Listing, lost))
	assert.Equal(t, stopped, Classify(forgotten, Listing, Classify(forgotten, Listing, stopped)))
}
