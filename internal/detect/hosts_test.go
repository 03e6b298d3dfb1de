package detect

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/detect/rules"
	"holdfast/internal/fault"
)

// silence lets seconds go by in which hosts are silent and their vantage points
// say this every few seconds, by host and name.
func (w *world) silence(seconds int, answering, silent []string, votes map[string]fault.Verdict) {
	for i := range seconds {
		if i%5 == 0 {
			for _, h := range silent {
				for _, from := range sortedKeys(votes) {
					w.vote(h, from, votes[from])
				}
			}
		}
		w.pass(1, answering, silent)
	}
}

func TestHostNeedsEveryVantagePoint(t *testing.T) {
	silent, alive, off := fault.HostSilent, fault.HostAlive, fault.HostOff
	for name, c := range map[string]struct {
		votes map[string]fault.Verdict
		want  []string
	}{
		"all agree":                   {map[string]fault.Verdict{"tcp": silent, "worker": silent}, []string{"raised host-unreachable A"}},
		"the worker reaches it":       {map[string]fault.Verdict{"tcp": silent, "worker": fault.HostAnswers}, []string{"doubted host-unreachable A"}},
		"the worker could not look":   {map[string]fault.Verdict{"tcp": silent, "worker": fault.NoVerdict}, []string{"doubted host-unreachable A"}},
		"nobody was asked":            {nil, []string{"doubted host-unreachable A"}},
		"it has no power":             {map[string]fault.Verdict{"power": off}, []string{"raised host-off A"}},
		"it has power":                {map[string]fault.Verdict{"tcp": silent, "worker": silent, "power": fault.NoVerdict}, []string{"raised host-unreachable A"}},
		"its kernel refuses":          {map[string]fault.Verdict{"tcp": fault.HostRefuses, "worker": fault.HostRefuses}, []string{"raised libvirtd-dead A"}},
		"its ssh answers":             {map[string]fault.Verdict{"tcp": alive, "worker": silent}, []string{"raised libvirtd-hung A"}},
		"its port accepts":            {map[string]fault.Verdict{"tcp": fault.HostAccepts, "worker": silent}, []string{"raised libvirtd-hung A"}},
		"it renews its heartbeat":     {map[string]fault.Verdict{"tcp": silent, "worker": silent, "heartbeat": alive}, []string{"doubted host-unreachable A"}},
		"its port accepts, and works": {map[string]fault.Verdict{"tcp": fault.HostAccepts, "worker": fault.HostAnswers}, []string{"doubted host-unreachable A"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "A", "B", "C")
			w.silence(9, []string{"B", "C"}, nil, nil)
			w.silence(15, []string{"B", "C"}, []string{"A"}, c.votes)
			if c.votes["power"] != off {
				w.says()
			}
			w.silence(10, []string{"B", "C"}, []string{"A"}, c.votes)
			w.says(c.want...)
			if f := w.Faults(); len(f) > 0 {
				require.NotEmpty(t, f[0].Votes)
				require.Equal(t, 1, f[0].Inhibits, "its VM is held back")
				w.pass(10, []string{"A", "B", "C"}, nil)
				w.says("cleared " + string(f[0].Kind) + " A")
			}
		})
	}
}

func TestOldVotesDoNotCount(t *testing.T) {
	w := newWorld(t, "A", "B", "C")
	w.vote("A", "tcp", fault.HostSilent) // before it fell silent
	w.vote("A", "worker", fault.HostSilent)
	w.pass(40, []string{"B", "C"}, []string{"A"})
	w.says("doubted host-unreachable A")
}

func TestMonitorThatIsCutOffBlamesNoHost(t *testing.T) {
	silent := map[string]fault.Verdict{"tcp": fault.HostSilent, "worker": fault.HostSilent}
	t.Run("from all, and so is the worker", func(t *testing.T) {
		w := newWorld(t, "A", "B", "C")
		w.silence(60, nil, []string{"A", "B", "C"}, silent)
		w.says("raised monitor-cut-off s")
		w.pass(10, []string{"A", "B", "C"}, nil)
		w.says("cleared monitor-cut-off s")
	})
	t.Run("from most, and the worker reaches them", func(t *testing.T) {
		w := newWorld(t, "A", "B", "C")
		w.silence(60, []string{"C"}, []string{"A", "B"}, map[string]fault.Verdict{"tcp": fault.HostSilent, "worker": fault.HostAnswers})
		w.says("raised monitor-cut-off s")
	})
	t.Run("most are dead: a storm", func(t *testing.T) {
		w := newWorld(t, "A", "B", "C")
		w.silence(60, []string{"C"}, []string{"A", "B"}, silent)
		w.says("raised host-unreachable A", "raised host-unreachable B", "raised storm s")
		for _, f := range w.Faults() {
			if f.Kind == fault.KindHostUnreachable {
				require.NotEmpty(t, f.Frozen)
			}
		}
	})
	t.Run("all have no power", func(t *testing.T) {
		w := newWorld(t, "A", "B")
		w.silence(30, nil, []string{"A", "B"}, map[string]fault.Verdict{"tcp": fault.HostSilent, "power": fault.HostOff})
		w.says("raised host-off A", "raised host-off B", "raised storm s")
	})
	t.Run("every libvirtd is being upgraded", func(t *testing.T) {
		w := newWorld(t, "A", "B", "C")
		w.silence(30, nil, []string{"A", "B", "C"}, map[string]fault.Verdict{"tcp": fault.HostRefuses})
		w.says("raised libvirtd-dead A", "raised libvirtd-dead B", "raised libvirtd-dead C", "raised storm s")
	})
}

func TestADeadHostIsOneFault(t *testing.T) {
	w := newWorld(t, "A", "B", "C")
	w.silence(600, []string{"B", "C"}, []string{"A"}, map[string]fault.Verdict{"tcp": fault.HostSilent, "worker": fault.HostSilent})
	w.says("raised host-unreachable A")
	_, err := w.Alerted(w.at(), Alert{Fingerprint: "1", Kind: fault.KindAlert, VM: "VM-A", Why: "target down", Starts: w.at(), Ends: w.at().Add(time.Hour)})
	require.NoError(t, err)
	w.note(w.Tick(w.at()))
	w.says() // explained by the host
	w.pass(10, []string{"A", "B", "C"}, nil)
	w.says("cleared host-unreachable A", "raised alert VM-A")
}

func TestFlappingHostIsHeldUp(t *testing.T) {
	w := newWorld(t, "A", "B", "C")
	for range 4 {
		w.silence(40, []string{"B", "C"}, []string{"A"}, map[string]fault.Verdict{"tcp": fault.HostSilent, "worker": fault.HostSilent})
		w.pass(20, []string{"A", "B", "C"}, nil)
	}
	w.says("raised host-unreachable A", "cleared host-unreachable A", "raised host-unreachable A", "cleared host-unreachable A",
		"raised host-unreachable A", "cleared host-unreachable A", "raised host-unreachable A")
	require.True(t, w.Faults()[0].Flapping)
	w.pass(30*60+10, []string{"A", "B", "C"}, nil)
	w.says("cleared host-unreachable A")
}

func TestMonitorsOwnFaults(t *testing.T) {
	w := newWorld(t, "A")
	w.note(w.TemporalAway(w.at(), w.at().Add(-time.Minute), "connection refused"))
	w.says("raised temporal-unreachable s")
	w.note(w.TemporalAway(w.at(), time.Time{}, ""))
	w.says("cleared temporal-unreachable s")
	for range 2 {
		w.note(w.Lateness("A", w.at(), 21*time.Second))
	}
	w.says()
	w.note(w.Lateness("A", w.at(), 21*time.Second))
	w.says("raised sampling-late s")
	w.note(w.Lateness("A", w.at(), time.Second))
	w.says("cleared sampling-late s")
	w.note(w.MemoryFailed("A", w.at(), "hypervisor: action required"))
	w.says("raised memory-errors A")
	w.now += 3700
	w.note(w.NodeSampled("A", w.at(), rules.NodeSample{At: w.at()}))
	w.says("cleared memory-errors A")
}

func TestAlertsFromOutside(t *testing.T) {
	w := newWorld(t, "A")
	a := Alert{Fingerprint: "1", Kind: fault.KindHung, VM: "VM-A", Why: "guest down", Starts: w.at(), Ends: w.at().Add(time.Minute), From: "am"}
	for range 2 {
		changes, err := w.Alerted(w.at(), a)
		require.NoError(t, err)
		w.note(changes)
	}
	w.says("raised hung VM-A")
	w.now += 61
	w.note(w.Tick(w.at()))
	w.says("cleared hung VM-A")
	a.VM = "nobody"
	_, err := w.Alerted(w.at(), a)
	require.ErrorAs(t, err, &UnknownSubjectError{})
	a.Kind = fault.KindCutOff
	_, err = w.Alerted(w.at(), a)
	require.Error(t, err)
}
