package sampler

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// at is a moment, in milliseconds.
func at(ms int) time.Time { return t0.Add(time.Duration(ms) * time.Millisecond) }

func kinds(events []Event) []Kind {
	var k []Kind
	for _, e := range events {
		k = append(k, e.Event)
	}
	return k
}

func TestStartAndEnd(t *testing.T) {
	tr := NewTracker()
	require.Equal(t, []Event{{At: at(0), Event: Start, VM: "VM1", Host: "A", PID: 1}},
		tr.Started(Copy{PID: 1, VM: "VM1", Host: "A", Started: at(0)}))
	require.Len(t, tr.Started(Copy{PID: 2, VM: "VM2", Host: "A", Started: at(5)}), 1, "another VM is no copy")
	require.Equal(t, []Event{{At: at(100), Event: End, VM: "VM1", Host: "A", PID: 1}}, tr.Ended(1, at(50), at(100)))
	require.Empty(t, tr.Ended(1, at(50), at(100)), "it ends once")
	require.Equal(t, []Copy{{PID: 2, VM: "VM2", Host: "A", Started: at(5)}}, tr.Alive())
	require.Equal(t, []Kind{Start}, kinds(tr.Started(Copy{PID: 3, VM: "VM1", Host: "B", Started: at(300)})))
}

func TestTwoCopies(t *testing.T) {
	tr := NewTracker()
	tr.Started(Copy{PID: 1, VM: "VM1", Host: "A", Started: at(0)})
	events := tr.Started(Copy{PID: 2, VM: "VM1", Host: "B", Started: at(100)})
	require.Equal(t, []Kind{Start, Overlap}, kinds(events))
	require.Equal(t, Event{At: at(100), Event: Overlap, VM: "VM1", Hosts: []string{"A", "B"}}, events[1])
	require.Equal(t, []Kind{End, OverlapEnd}, kinds(tr.Ended(1, at(150), at(200))))
}

func TestThreeCopiesAreThreeOverlaps(t *testing.T) {
	tr := NewTracker()
	tr.Started(Copy{PID: 1, VM: "VM1", Host: "A", Started: at(0)})
	tr.Started(Copy{PID: 2, VM: "VM1", Host: "B", Started: at(1)})
	require.Equal(t, []Kind{Start, Overlap, Overlap}, kinds(tr.Started(Copy{PID: 3, VM: "VM1", Host: "C", Started: at(2)})))
	require.Equal(t, []Kind{End, OverlapEnd, OverlapEnd}, kinds(tr.Ended(2, at(3), at(4))))
	require.Equal(t, []Kind{End, OverlapEnd}, kinds(tr.Ended(1, at(5), at(6))))
	require.Equal(t, []Kind{End}, kinds(tr.Ended(3, at(7), at(8))))
}

// Both lived between two looks, and the old one is gone when the new one is found.
func TestCopyFoundAfterTheOtherEnded(t *testing.T) {
	for name, c := range map[string]struct {
		started, alive, ended int
		want                  []Kind
	}{
		"the new one began while the old was seen alive":     {started: 100, alive: 130, ended: 140, want: []Kind{Start, Overlap, OverlapEnd}},
		"the new one began right after the old was gone":     {started: 150, alive: 130, ended: 140, want: []Kind{Start}},
		"a late sampler does not know which came first":      {started: 200, alive: 130, ended: 500, want: []Kind{Start}},
		"the kernel tells the start in ticks: not certainly": {started: 125, alive: 130, ended: 140, want: []Kind{Start}},
	} {
		tr := NewTracker()
		tr.Started(Copy{PID: 1, VM: "VM1", Host: "A", Started: at(0)})
		tr.Ended(1, at(c.alive), at(c.ended))
		require.Equal(t, c.want, kinds(tr.Started(Copy{PID: 2, VM: "VM1", Host: "B", Started: at(c.started)})), name)
	}
}

func TestMigrationIsNotTwoCopies(t *testing.T) {
	tr := NewTracker()
	tr.Started(Copy{PID: 1, VM: "VM1", Host: "A", Started: at(0)})
	events := tr.Started(Copy{PID: 2, VM: "VM1", Host: "B", Incoming: true, Started: at(100)})
	require.True(t, events[0].Incoming)
	require.True(t, events[1].Migration)

	for i, host := range []string{"A", "A", "B", "B", "B"} {
		require.Empty(t, tr.Acknowledged("VM1", host, at(200+i)))
	}
	events = tr.Ended(1, at(300), at(310))
	require.Equal(t, []Kind{End, OverlapEnd}, kinds(events))
	require.True(t, events[1].Migration)

	// Back again: the source is one that was itself migrated in.
	events = tr.Started(Copy{PID: 3, VM: "VM1", Host: "A", Incoming: true, Started: at(400)})
	require.True(t, events[1].Migration)
}

func TestBothEndsOfAMigrationRan(t *testing.T) {
	tr := NewTracker()
	tr.Started(Copy{PID: 1, VM: "VM1", Host: "A", Started: at(0)})
	tr.Started(Copy{PID: 2, VM: "VM1", Host: "B", Incoming: true, Started: at(100)})
	require.Empty(t, tr.Acknowledged("VM1", "A", at(150)))
	require.Empty(t, tr.Acknowledged("VM1", "B", at(200)))
	require.Empty(t, tr.Acknowledged("VM1", "C", at(205)), "a console of no copy is old news")
	require.Empty(t, tr.Acknowledged("VM2", "A", at(205)))
	events := tr.Acknowledged("VM1", "A", at(210))
	require.Equal(t, []Kind{BothRan}, kinds(events))
	require.Empty(t, tr.Acknowledged("VM1", "B", at(220)), "it is said once")
}
