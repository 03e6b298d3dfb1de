package detect

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"holdfast/internal/fault"
)

// A VM that several hosts have something to say about.

func TestStaleCrashOfAVMThatMoved(t *testing.T) {
	s := newSite(t, "A", "B")
	s.want(s.list("A", 1, "shut off", "crashed"))
	s.want(s.list("B", 2, "running", "booted"))
	s.want(s.list("A", 11, "shut off", "crashed"))
	// Stopped on purpose on B: the old crash on A must not come back, nor after
	// libvirtd on A forgets it, nor when B forgets the VM.
	s.want(s.event("B", 12, "shut off", "destroyed"))
	s.want(s.list("A", 21, "shut off", "crashed"))
	s.want(s.list("A", 31, "shut off", "unknown"))
	s.want(s.list("B", 32, "", ""))
	s.want(s.list("A", 41, "shut off", "unknown"))
	// A new crash on A is one.
	s.want(s.event("A", 50, "running", "booted"))
	s.want(s.event("A", 51, "shut off", "failed"), "raised crashed A")
}

func TestFoundCrashIsOlderThanAnythingSeen(t *testing.T) {
	// B was asked first and had it running. How long A has said so is not known.
	s := newSite(t, "A", "B")
	s.want(s.list("B", 1, "running", "booted"))
	s.want(s.list("A", 2, "shut off", "crashed"))
	s.want(s.list("B", 3, "", ""))
}

func TestAnotherOutageAfterAStaleOne(t *testing.T) {
	s := newSite(t, "A", "B")
	s.want(s.list("A", 1, "shut off", "crashed"))
	s.want(s.list("B", 2, "running", "booted"))
	s.want(s.list("B", 12, "", ""))
	changes := s.event("A", 13, "shut off", "failed") // somebody tried to start it on A
	s.want(changes, "raised start-failed A")
	assert.Equal(t, sec(13), changes[0].Fault.First)
}

func TestTwoHostsWithAnOutage(t *testing.T) {
	t.Run("it ran where QEMU died last", func(t *testing.T) {
		s := newSite(t, "A", "B")
		s.want(s.list("B", 1, "", ""))
		s.want(s.list("A", 2, "shut off", "crashed"), "raised crashed A")
		s.want(s.list("B", 11, "shut off", "crashed"),
			"cleared crashed A by B: shut off (crashed)", "raised crashed B")
		s.want(s.list("A", 12, "shut off", "crashed"))
	})
	t.Run("a second start that fails is the same outage", func(t *testing.T) {
		s := newSite(t, "A", "B")
		s.want(s.list("A", 1, "", ""))
		s.want(s.list("B", 1, "", ""))
		s.want(s.event("B", 2, "shut off", "failed"), "raised start-failed B")
		s.want(s.event("A", 3, "shut off", "failed"))
		s.want(s.list("B", 4, "shut off", "failed"), "still true start-failed B")
		// Nor does it matter by which name they go.
		s = newSite(t, "A", "B")
		s.want(s.list("A", 1, "", ""))
		s.want(s.list("B", 1, "", ""))
		s.want(s.event("A", 2, "shut off", "failed"), "raised start-failed A")
		s.want(s.event("B", 3, "shut off", "failed"))
	})
}

func TestCrashOnTheNewHost(t *testing.T) {
	s := newSite(t, "A", "B")
	s.want(s.list("A", 1, "shut off", "crashed"))
	s.want(s.list("B", 2, "running", "booted"))
	changes := s.event("B", 12, "shut off", "failed")
	s.want(changes, "raised crashed B")
	assert.Equal(t, []fault.Sighting{{Host: "A", State: "shut off", Reason: "crashed", At: sec(1)}}, changes[0].Fault.Elsewhere)
}

func TestIntentElsewhereMakesAnUnwitnessedCrashDoubtful(t *testing.T) {
	s := newSite(t, "A", "B")
	s.want(s.list("A", 1, "shut off", "crashed"))
	s.want(s.list("B", 2, "shut off", "shutdown"), "doubted crashed A by B: shut off (shutdown)")
	s.want(s.list("A", 11, "shut off", "crashed")) // said once
	s.want(s.list("B", 12, "", ""), "raised crashed A")
	s.want(s.list("B", 22, "shut off", "shutdown"),
		"cleared crashed A by B: shut off (shutdown)", "doubted crashed A by B: shut off (shutdown)")
	// A migration away is no stop on purpose.
	s = newSite(t, "A", "B")
	s.want(s.list("A", 1, "shut off", "crashed"))
	s.want(s.list("B", 2, "shut off", "migrated"), "raised crashed A")
	// Nor is one from before it ran on A.
	s = newSite(t, "A", "B")
	s.want(s.list("B", 1, "shut off", "shutdown"))
	s.want(s.list("A", 2, "running", "booted"))
	s.want(s.event("A", 3, "shut off", "failed"), "raised crashed A")
}

func TestStartElsewhereThatGotNowhere(t *testing.T) {
	s := newSite(t, "A", "B")
	s.list("B", 1, "", "")
	s.list("A", 1, "running", "booted")
	id := s.event("A", 2, "shut off", "failed")[0].Fault.ID
	s.want(s.list("B", 3, "paused", "starting up"), "cleared crashed A by B: paused (starting up)")
	changes := s.event("B", 4, "shut off", "failed")
	s.want(changes, "raised crashed A")
	assert.NotEqual(t, id, changes[0].Fault.ID, "it was cleared, so this is another occurrence")
	assert.False(t, changes[0].Fault.Last.Before(changes[0].Fault.First))
	assert.Equal(t, sec(2), changes[0].Fault.Seen.At, "evidence keeps its own time")
}

func TestPowerCutWithQuickReboot(t *testing.T) {
	s := newSite(t, "A", "B")
	s.list("A", 1, "running", "booted")
	s.list("B", 2, "", "")
	s.want(s.down("A", 3))
	s.want(s.list("A", 60, "shut off", "unknown"), "raised lost A")
	s.want(s.list("A", 70, "shut off", "unknown"), "still true lost A")
}

func TestFailedOverVMDoesNotHauntItsOldHost(t *testing.T) {
	s := newSite(t, "A", "B")
	s.list("A", 1, "running", "booted")
	s.list("B", 2, "", "")
	s.want(s.down("A", 3))
	// Fenced and started on B. What A said last is overtaken: a crash on B is one.
	s.want(s.event("B", 10, "running", "booted"))
	s.want(s.event("B", 11, "shut off", "failed"), "raised crashed B")
	s.want(s.event("B", 12, "running", "booted"), "cleared crashed B by B: running (booted)")
	// Stopped on purpose on B, then A comes back and has forgotten everything.
	s.want(s.event("B", 13, "shut off", "shutdown"))
	s.want(s.list("A", 60, "shut off", "unknown"))
	s.want(s.list("B", 61, "", ""))
	s.want(s.list("A", 70, "shut off", "unknown"))
}

func TestFailoverAndReturnOfARunningCopy(t *testing.T) {
	// A was not dead: when it is back and has the VM running, nothing is raised
	// on B while that is so.
	s := newSite(t, "A", "B")
	s.list("A", 1, "running", "booted")
	s.list("B", 2, "", "")
	s.down("A", 3)
	s.event("B", 10, "running", "booted")
	s.want(s.event("B", 11, "shut off", "failed"), "raised crashed B")
	s.want(s.list("A", 12, "running", "booted"), "cleared crashed B by A: running (booted)")
}

func TestLiveMigration(t *testing.T) {
	start := func() *site {
		s := newSite(t, "A", "B")
		s.want(s.list("A", 1, "running", "booted"))
		s.want(s.list("B", 1, "", ""))
		s.want(s.event("B", 2, "paused", "migrating"))
		return s
	}
	t.Run("succeeds", func(t *testing.T) {
		s := start()
		s.want(s.event("A", 3, "paused", "migrating"))
		s.want(s.event("B", 4, "running", "migrated"))
		s.want(s.event("A", 5, "shut off", "migrated"))
		s.want(s.event("B", 6, "shut off", "failed"), "raised crashed B")
	})
	t.Run("target dies", func(t *testing.T) {
		s := start()
		s.want(s.event("B", 4, "shut off", "failed"))
		s.want(s.list("B", 5, "", ""))
		s.want(s.event("A", 6, "running", "migration canceled"))
	})
	t.Run("source dies", func(t *testing.T) {
		s := start()
		s.want(s.event("A", 3, "shut off", "failed")) // B may yet have it
		s.want(s.event("B", 4, "shut off", "failed"), "raised crashed A")
		s.want(s.list("B", 5, "", ""))
	})
	t.Run("the source's last event is late", func(t *testing.T) {
		s := start()
		s.want(s.event("B", 4, "running", "migrated"))
		s.want(s.event("B", 5, "shut off", "failed")) // A still counts as running it
		s.want(s.event("A", 6, "shut off", "migrated"), "raised crashed B")
	})
	t.Run("the source hangs after it", func(t *testing.T) {
		s := start()
		s.want(s.event("B", 4, "running", "migrated"))
		s.want(s.event("B", 5, "shut off", "failed"))
		s.want(s.down("A", 9), "raised crashed B")
	})
}
