package detect

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"holdfast/internal/fault"
)

var epoch = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

func sec(n int) time.Time { return epoch.Add(time.Duration(n) * time.Second) }

// site drives a Tracker with one VM in a few words.
type site struct {
	t *testing.T
	*Tracker
}

var vm1 = fault.VM{UUID: "11111111-0000-0000-0000-000000000000", Name: "VM1"}

func newSite(t *testing.T, hosts ...string) *site {
	return &site{t: t, Tracker: NewTracker("s", "monitor-1", hosts)}
}

// list is a listing of VM1 alone; an empty state is a listing without it.
func (s *site) list(host string, at int, state, reason string) []Change {
	if state == "" {
		return s.Listed(host, sec(at), nil)
	}
	return s.Listed(host, sec(at), []Observation{{VM: vm1, State: state, Reason: reason}})
}

func (s *site) event(host string, at int, state, reason string) []Change {
	return s.Observed(host, sec(at), Observation{VM: vm1, State: state, Reason: reason})
}

func (s *site) down(host string, at int) []Change { return s.Unreachable(host, sec(at)) }

// want fails unless changes are these: "raised crashed A", "cleared B: running (booted)".
func (s *site) want(changes []Change, want ...string) {
	s.t.Helper()
	got := []string{}
	for _, c := range changes {
		switch c.Kind {
		case Cleared:
			got = append(got, fmt.Sprintf("cleared %s %s by %s", c.Fault.Kind, c.Fault.Host, c.By))
		case Doubted:
			got = append(got, fmt.Sprintf("doubted %s %s by %s", c.Fault.Kind, c.Fault.Host, c.By))
		default:
			got = append(got, fmt.Sprintf("%s %s %s", c.Kind, c.Fault.Kind, c.Fault.Host))
		}
		require.NoError(s.t, c.Fault.Validate())
	}
	if want == nil {
		want = []string{}
	}
	require.Equal(s.t, want, got)
}

func TestKilledByEvent(t *testing.T) {
	s := newSite(t, "A", "B")
	s.want(s.list("A", 1, "running", "booted"))
	s.want(s.list("B", 2, "", ""))
	changes := s.event("A", 5, "shut off", "failed")
	s.want(changes, "raised crashed A")
	f := changes[0].Fault
	assert.Equal(t, fault.Fault{
		ID: f.ID, Kind: fault.KindCrashed, Site: "s", VM: vm1, Host: "A", First: sec(5), Last: sec(5),
		Seen:      fault.Sighting{Host: "A", State: "shut off", Reason: "failed", At: sec(5)},
		Elsewhere: []fault.Sighting{{Host: "B", Absent: true, At: sec(2)}},
		Reporter:  "monitor-1",
		Why:       "VM1 on A: QEMU died without anybody asking it to (stopped, failed, while it was active)",
	}, f)

	// A listing asked for before the event is no news, whatever it says.
	s.want(s.list("A", 4, "running", "booted"))
	s.want(s.list("B", 9, "", ""))
	changes = s.list("A", 11, "shut off", "crashed")
	s.want(changes, "still true crashed A")
	g := changes[0].Fault
	assert.Equal(t, f.ID, g.ID)
	assert.Equal(t, sec(5), g.First)
	assert.Equal(t, sec(11), g.Last)
	assert.Equal(t, []fault.Sighting{{Host: "B", Absent: true, At: sec(9)}}, g.Elsewhere)
	assert.Equal(t, []fault.Fault{g}, s.Faults())

	s.want(s.event("A", 12, "running", "booted"), "cleared crashed A by A: running (booted)")
	assert.Empty(t, s.Faults())
	// The next one is another occurrence.
	changes = s.event("A", 13, "shut off", "failed")
	s.want(changes, "raised crashed A")
	assert.NotEqual(t, f.ID, changes[0].Fault.ID)
}

func TestIDIsDeterministic(t *testing.T) {
	one, other := newSite(t, "A"), newSite(t, "A")
	a := one.list("A", 1, "shut off", "crashed")[0].Fault
	b := other.list("A", 1, "shut off", "crashed")[0].Fault
	assert.Equal(t, a, b)
	c := newSite(t, "A").list("A", 2, "shut off", "crashed")[0].Fault
	assert.NotEqual(t, a.ID, c.ID)
}

func TestNothingIsRaisedBeforeEveryHostWasTried(t *testing.T) {
	s := newSite(t, "A", "B", "C")
	s.want(s.list("A", 1, "shut off", "crashed"))
	s.want(s.down("C", 2))
	require.False(t, s.Settled())
	s.want(s.event("A", 3, "shut off", "crashed")) // not even by event
	changes := s.list("B", 4, "", "")
	require.True(t, s.Settled())
	s.want(changes, "raised crashed A")
	// C has never been listed, so it says nothing.
	assert.Equal(t, []fault.Sighting{{Host: "B", Absent: true, At: sec(4)}}, changes[0].Fault.Elsewhere)
	assert.Equal(t, sec(1), changes[0].Fault.First)
	// It ran on C all the time.
	s.want(s.list("C", 6, "running", "migrated"), "cleared crashed A by C: running (migrated)")
}

func TestEventBeforeTheFirstListing(t *testing.T) {
	// The host was asked at 1, QEMU died at 2, the answer, true at 1, came after.
	s := newSite(t, "A", "B")
	s.want(s.list("B", 1, "shut off", "shutdown"))
	s.want(s.event("A", 2, "shut off", "failed"))
	s.want(s.list("A", 1, "running", "booted"), "raised crashed A")
}

func TestRestartThatFailsIsTheSameOutage(t *testing.T) {
	s := newSite(t, "A", "B")
	s.list("B", 1, "", "")
	s.list("A", 1, "running", "booted")
	id := s.event("A", 2, "shut off", "failed")[0].Fault.ID
	changes := s.event("A", 3, "shut off", "failed") // a start that failed
	s.want(changes, "still true crashed A")
	assert.Equal(t, id, changes[0].Fault.ID)
	s.want(s.list("A", 4, "shut off", "failed"), "still true crashed A")
	s.want(s.event("B", 5, "shut off", "failed")) // and one elsewhere
	s.want(s.list("A", 6, "", ""), "cleared crashed A by B: shut off (failed)", "raised start-failed B")
	s.want(s.list("B", 7, "", ""), "cleared start-failed B by B: not there")
}

func TestPanicThenQEMUDies(t *testing.T) {
	s := newSite(t, "A")
	s.want(s.list("A", 1, "running", "booted"))
	s.want(s.event("A", 2, "crashed", "panicked"), "raised panicked A")
	s.want(s.list("A", 3, "paused", "crashed"), "still true panicked A") // libvirtd restarted
	s.want(s.event("A", 4, "shut off", "failed"),
		"cleared panicked A by A: shut off (failed)", "raised crashed A")
	s.want(s.list("A", 5, "shut off", "unknown"), "still true crashed A")
	s.want(s.list("A", 6, "running", "booted"), "cleared crashed A by A: running (booted)")
	s.want(s.event("A", 7, "crashed", "panicked"), "raised panicked A")
	s.want(s.event("A", 8, "shut off", "destroyed"), "cleared panicked A by A: shut off (destroyed)")
}

func TestUnreachableHostKeepsItsLastWordAndItsTime(t *testing.T) {
	s := newSite(t, "A", "B", "C")
	s.list("A", 1, "running", "booted")
	s.list("B", 2, "shut off", "migrated")
	s.list("C", 3, "", "")
	s.down("B", 7)
	s.down("C", 8)
	changes := s.event("A", 9, "shut off", "failed")
	s.want(changes, "raised crashed A")
	assert.Equal(t, []fault.Sighting{
		{Host: "B", State: "shut off", Reason: "migrated", At: sec(2)},
		{Host: "C", Absent: true, At: sec(3)},
	}, changes[0].Fault.Elsewhere)
}

func TestForgottenDomain(t *testing.T) {
	s := newSite(t, "A")
	s.want(s.list("A", 1, "shut off", "crashed"), "raised crashed A")
	s.want(s.list("A", 2, "", ""), "cleared crashed A by A: not there")
	assert.Empty(t, s.vms)
	// An event newer than the listing is not undone by it.
	s.want(s.event("A", 5, "running", "booted"))
	s.want(s.list("A", 4, "", ""))
	s.want(s.event("A", 6, "shut off", "failed"), "raised crashed A")
}

func TestListingLeftBehindIsIgnored(t *testing.T) {
	s := newSite(t, "A")
	s.want(s.list("A", 5, "running", "booted"))
	s.want(s.list("A", 4, "shut off", "crashed"))
	s.want(s.list("Z", 6, "shut off", "crashed")) // not of the site
	s.want(s.event("Z", 6, "shut off", "crashed"))
	s.want(s.down("Z", 6))
}

func TestDefinedEndsTheEvidenceOfAbsence(t *testing.T) {
	elsewhere := func(s *site) []fault.Sighting {
		changes := s.event("A", 9, "shut off", "crashed")
		s.want(changes, "raised crashed A")
		return changes[0].Fault.Elsewhere
	}
	s := newSite(t, "A", "B")
	s.list("A", 1, "running", "booted")
	s.list("B", 5, "", "")
	s.want(s.Defined("B", sec(4), vm1)) // and undefined again before it was listed
	assert.Equal(t, []fault.Sighting{{Host: "B", Absent: true, At: sec(5)}}, elsewhere(s))

	s = newSite(t, "A", "B")
	s.list("A", 1, "running", "booted")
	s.list("B", 5, "", "")
	s.want(s.Defined("B", sec(6), vm1))
	assert.Equal(t, []fault.Sighting{{Host: "B", State: "no state", Reason: "unknown", At: sec(6)}}, elsewhere(s))

	s = newSite(t, "A", "B") // what is known of it is more than that it is defined
	s.list("A", 1, "running", "booted")
	s.want(s.Defined("A", sec(2), vm1))
	s.list("B", 5, "", "")
	s.want(s.event("A", 6, "shut off", "failed"), "raised crashed A")
}

func TestEventOlderThanTheListing(t *testing.T) {
	s := newSite(t, "A")
	s.list("A", 5, "", "")
	s.want(s.event("A", 4, "shut off", "crashed")) // the domain is gone since
	assert.Empty(t, s.vms)
}

// BenchmarkListed is one listing in a site of 1,000 hosts with 50 VMs each.
func BenchmarkListed(b *testing.B) {
	var hosts []string
	for i := range 1000 {
		hosts = append(hosts, fmt.Sprintf("h%04d", i))
	}
	tr := NewTracker("s", "m", hosts)
	listing := func(i int) []Observation {
		var out []Observation
		for n := range 50 {
			out = append(out, Observation{VM: fault.VM{UUID: fmt.Sprintf("%d-%d", i, n), Name: "vm"}, State: "running", Reason: "booted"})
		}
		return out
	}
	for i, h := range hosts {
		tr.Listed(h, sec(0), listing(i))
	}
	one, n := listing(7), 0
	b.ReportAllocs()
	for b.Loop() {
		n++
		if changes := tr.Listed(hosts[7], sec(n), one); len(changes) > 0 {
			b.Fatal(changes)
		}
	}
}
