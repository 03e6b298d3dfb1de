// Package hosttest is the conformance suite of [hypervisor.Host]: what every
// driver has to do, and what it has to withstand. The libvirt driver runs it
// against real hosts, the simulated one against its own, so that a test that
// passes on the simulation means something.
package hosttest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/hypervisor"
)

// Fixture is a host to test, and what can be done to it. A subtest gets one of
// its own; it may leave anything behind broken. A lever that is nil fails the
// subtests that need it.
type Fixture struct {
	// Host is the one under test, with a connection of the fixture's own. The
	// suite closes it.
	Host hypervisor.Host
	// Other is another host, with nothing wrong with it. The suite closes it.
	Other hypervisor.Host
	// HostName is what Host.Name has to say.
	HostName string

	// VM and Neighbour are persistent, and run on Host. VM has a guest agent, and a
	// disk called vda that its guest writes to all the time; it has neither a snapshot
	// nor a checkpoint, and is not started with its host. Other does not know it.
	VM, Neighbour VM
	Inside        Inside
	Disk          Disk
	// Pool is a storage pool of Host that runs and starts with it.
	Pool string
	// BackupPool is one for backups that is running; it may be Pool. VM has none there yet.
	BackupPool string
	// BackupFolder is an empty folder of Host that no storage pool has.
	BackupFolder string
	// SharedFolder is the folder of VM's disk: Host and Other both have it, and it is
	// the same storage, so that VM can be started on Other. OwnFolder is one that both
	// have, each its own.
	SharedFolder, OwnFolder string
	// Network is a virtual network of Host that is active; empty: it has none.
	Network string

	// Kill ends the QEMU of VM with SIGKILL.
	Kill func(context.Context) error
	// Panic makes the guest kernel of VM panic; its on_crash is preserve.
	Panic func(context.Context) error
	// Pause and Destroy are what a person does to VM, beside Host.
	Pause, Destroy func(context.Context) error
	// Hang stops the QEMU of VM with SIGSTOP, and Unhang lets it go on.
	Hang, Unhang func(context.Context) error
	// HangGuest makes the guest of VM, and so its agent, stand still, while its QEMU
	// is well.
	HangGuest, UnhangGuest func(context.Context) error
	// FailDisk leaves no room for what the guest of VM writes; MendDisk makes some.
	FailDisk, MendDisk func(context.Context) error
	// LosePool takes away the storage under Pool, and RestorePool brings it back
	// and starts it.
	LosePool, RestorePool func(context.Context) error
	// DamageBackup flips a byte of a file on the host, such as one of a backup in
	// BackupPool or an image in Pool. It fails if there is no such file.
	DamageBackup func(ctx context.Context, file string) error
	// HangLibvirtd stops the host's libvirtd with SIGSTOP.
	HangLibvirtd, ResumeLibvirtd func(context.Context) error
	// KillLibvirtd ends it with SIGKILL; the VMs run on.
	KillLibvirtd, StartLibvirtd func(context.Context) error
	// Cut takes the host off the network.
	Cut, Heal func(context.Context) error

	OnTrial OnTrial

	// Patience is how long to wait for what has to happen. Default 30 s.
	Patience time.Duration
}

// VM is a domain of the fixture.
type VM struct {
	UUID, Name string
	Memory     uint64 // bytes, the most it may get
	VCPUs      int
}

// tests are the suite, in the order in which they run.
var tests = []testCase{
	{"Name", testName},
	{"ConnectIsIdempotent", testConnect},
	{"ListIsComplete", testList},
	{"LookUp", testLookUp},
	{"Definition", testDefinition},
	{"StartOfActive", testStartActive},
	{"DestroyAndStart", testDestroyAndStart},
	{"PersonDestroys", testPersonDestroys},
	{"Reset", testReset},
	{"ResetOfPanicked", testResetOfPanicked},
	{"ResumeOfRunning", testResumeRunning},
	{"ResumeOfPaused", testResumePaused},
	{"Kill", testKill},
	{"Panic", testPanic},
	{"Stats", testStats},
	{"HungDomain", testHungDomain},
	{"Node", testNode},
	{"Pools", testPools},
	{"LostPool", testLostPool},
	{"DiskErrors", testDiskErrors},
	{"NoSpace", testNoSpace},
	{"GuestTime", testGuestTime},
	{"HungGuest", testHungGuest},
	{"AgentEvents", testAgentEvents},
	{"Annotate", testAnnotate},
	{"GuestExec", testGuestExec},
	{"GuestExecOfHung", testGuestExecOfHung},
	{"Screenshot", testScreenshot},
	{"Job", testJob},
	{"Blocks", testBlocks},
	{"Dump", testDump},
	{"NoSnapshots", testNoSnapshots},
	{"MemorySnapshot", testMemorySnapshot},
	{"MemorySnapshotOfPaused", testMemorySnapshotOfPaused},
	{"ExternalSnapshot", testExternalSnapshot},
	{"QuiesceOfSilent", testQuiesceOfSilent},
	{"Merge", testMerge},
	{"KeepAside", testKeepAside},
	{"EntangledSnapshots", testEntangledSnapshots},
	{"SnapshotsOutliveLibvirtd", testSnapshotsOutliveLibvirtd},
	{"SnapshotCatchesUp", testSnapshotCatchesUp},
	{"Needs", testNeeds},
	{"NeedsOfSnapshot", testNeedsOfSnapshot},
	{"NeedsOfLostPool", testNeedsOfLostPool},
	{"DefinitionsNetworks", testNetworks},
	{"DefinitionsAutostart", testAutostart},
	{"DefinitionsTakenElsewhere", testTakenElsewhere},
	{"DefinitionsRefused", testDefinitionsRefused},
	{"DefinitionsEnded", testDefinitionsEnded},
	{"Marks", testMarks},
	{"MarksRefused", testMarksRefused},
	{"MarksOfLostPool", testMarksOfLostPool},
	{"DefinitionsUndefine", testUndefine},
	{"NoBackups", testNoBackups},
	{"Backups", testBackups},
	{"RestoreAndUndo", testRestoreAndUndo},
	{"DamagedBackup", testDamagedBackup},
	{"BackupWithoutRoom", testBackupWithoutRoom},
	{"BackupAfterKill", testBackupAfterKill},
	{"QuiescedBackup", testQuiescedBackup},
	{"BackupsAndSnapshots", testBackupsAndSnapshots},
	{"RestoreUnderALayer", testRestoreUnderALayer},
	{"BackupsOutliveLibvirtd", testBackupsOutliveLibvirtd},
	{"HungLibvirtd", testHungLibvirtd},
	{"HungLibvirtdCatchesUp", testHungLibvirtdCatchesUp},
	{"LibvirtdRestart", testLibvirtdRestart},
	{"Cut", testCut},
	{"DownAtTheStart", testDownAtTheStart},
	{"Cancel", testCancel},
	{"Concurrent", testConcurrent},
	{"TwoReaders", testTwoReaders},
	{"Close", testClose},
	{"CloseOfHung", testCloseOfHung},
}

// Run runs the suite. newFixture is called once for each subtest, and repairs
// first what the one before has broken.
func Run(t *testing.T, newFixture func(t *testing.T) Fixture) { run(t, newFixture, tests) }

type testCase struct {
	name string
	test func(*testing.T, *suite)
}

func run(t *testing.T, newFixture func(t *testing.T) Fixture, cases []testCase) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			if f.Patience == 0 {
				f.Patience = 30 * time.Second
			}
			t.Cleanup(func() {
				require.NoError(t, f.Host.Close())
				require.NoError(t, f.Other.Close())
				if f.OnTrial.Again != nil {
					require.NoError(t, f.OnTrial.Again.Close())
				}
			})
			ctx, cancel := context.WithTimeout(context.Background(), 10*f.Patience)
			t.Cleanup(cancel)
			c.test(t, &suite{Fixture: f, ctx: ctx})
		})
	}
}

type suite struct {
	Fixture
	ctx context.Context
}

// pull does what a lever does, or fails if the fixture has none.
func (s *suite) pull(t *testing.T, name string, lever func(context.Context) error) {
	t.Helper()
	require.NotNil(t, lever, "the fixture has no lever %s: give it one, this test cannot do without", name)
	require.NoError(t, lever(s.ctx), "lever %s", name)
}

// brief is a context for a call that must not answer.
func (s *suite) brief() (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.ctx, time.Second)
}

// domain looks the VM up, with the patience of the suite.
func (s *suite) domain(t *testing.T, uuid string) hypervisor.Domain {
	t.Helper()
	d, err := s.Host.Domain(s.ctx, uuid)
	require.NoError(t, err)
	require.Equal(t, uuid, d.UUID)
	return d
}

// waitState polls until the VM is in that state, for that reason unless it is "".
func (s *suite) waitState(t *testing.T, uuid string, state hypervisor.State, reason hypervisor.Reason) {
	t.Helper()
	var last hypervisor.Domain
	s.poll(t, func() (bool, any) {
		var err error
		last, err = s.Host.Domain(s.ctx, uuid)
		return err == nil && last.State == state && (reason == "" || last.Reason == reason), []any{last, err}
	}, "the domain never became %s (%s)", state, reason)
	list := s.inList(t, uuid)
	require.Equal(t, last.State, list.State, "list and look-up disagree")
	require.Equal(t, last.Reason, list.Reason, "list and look-up disagree")
}

func (s *suite) inList(t *testing.T, uuid string) hypervisor.Domain {
	t.Helper()
	list, err := s.Host.Domains(s.ctx)
	require.NoError(t, err)
	for _, d := range list {
		if d.UUID == uuid {
			return d
		}
	}
	require.Failf(t, "the domain is missing from the list", "%s in %v", uuid, list)
	return hypervisor.Domain{}
}

// poll asks until the answer is yes, or fails with what it saw last.
func (s *suite) poll(t *testing.T, ask func() (bool, any), message string, args ...any) {
	t.Helper()
	deadline := time.NewTimer(s.Patience)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, seen := ask()
		if ok {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Logf("last seen: %+v", seen)
			require.FailNowf(t, "gave up waiting", message, args...)
		}
	}
}

// events subscribes and reads up to the first ConnectionUp.
func (s *suite) events(t *testing.T) <-chan hypervisor.Event {
	t.Helper()
	return s.eventsOf(t, s.Host)
}

func (s *suite) eventsOf(t *testing.T, h hypervisor.Host) <-chan hypervisor.Event {
	t.Helper()
	events, err := h.Events(s.ctx)
	require.NoError(t, err)
	first := s.next(t, events)
	require.Equal(t, hypervisor.EventConnectionUp, first.Kind, "the first event")
	require.Equal(t, h.Name(), first.Host)
	require.Empty(t, first.UUID)
	return events
}

func (s *suite) next(t *testing.T, events <-chan hypervisor.Event) hypervisor.Event {
	t.Helper()
	timer := time.NewTimer(s.Patience)
	defer timer.Stop()
	select {
	case ev, ok := <-events:
		require.True(t, ok, "the channel ended")
		require.False(t, ev.At.IsZero(), "an event without a time: %+v", ev)
		return ev
	case <-timer.C:
		require.FailNow(t, "no event came")
		return hypervisor.Event{}
	}
}

// waitEvent reads events until one of that kind about the VM comes; uuid is ""
// for events about the connection. Others in between are for the driver to
// send or not.
func (s *suite) waitEvent(t *testing.T, events <-chan hypervisor.Event, kind hypervisor.EventKind, uuid string) hypervisor.Event {
	t.Helper()
	var seen []hypervisor.Event
	timer := time.NewTimer(s.Patience)
	defer timer.Stop()
	for {
		select {
		case ev, ok := <-events:
			require.True(t, ok, "the channel ended while waiting for %s; seen %v", kind, seen)
			if ev.Kind == kind && ev.UUID == uuid {
				return ev
			}
			seen = append(seen, ev)
		case <-timer.C:
			require.FailNowf(t, "the event never came", "%s about %q; seen %v", kind, uuid, seen)
		}
	}
}

// gone reports whether err is what a call to a host that does not answer may return.
func gone(err error) bool {
	return errors.Is(err, hypervisor.ErrTimeout) || errors.Is(err, hypervisor.ErrUnreachable)
}
