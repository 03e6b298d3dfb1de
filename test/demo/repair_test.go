package main

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/test/lab"
)

var killedAt = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

func ms(n int) time.Time { return killedAt.Add(time.Duration(n) * time.Millisecond) }

var killed = lab.Injection{Fault: lab.FaultKill, VM: "VM1", Host: "A", PID: 100, At: killedAt}

func mended() contract.Incident {
	return contract.Incident{
		ID: "incident/lab/VM1/20261122-080000", VM: fault.VM{Name: "VM1"}, Host: "A",
		Fault: fault.Fault{
			Kind: fault.KindCrashed, First: ms(212),
			Seen: fault.Sighting{Host: "A", State: "shut off", Reason: "failed"},
		},
		Opened: ms(229), Started: ms(561), Verified: ms(5_570), Outcome: contract.OutcomeRecovered,
		Why:      "VM1 is running on A and stayed so for 5s",
		Timeline: []contract.Entry{{Text: "VM1 crashed"}, {Text: "started on A in 231ms; no second copy: B reported stopped"}},
	}
}

// samples are those of a repair, among some of another VM and of the time before.
func samples() []lab.Sample {
	return []lab.Sample{
		{At: ms(-9_000), Event: lab.SampleStart, VM: "VM1", Host: "A", PID: 100},
		{At: ms(-6_000), Event: lab.SampleBoot, VM: "VM1", Host: "A", BootID: "aaaaaaaa-1", N: 1},
		{At: ms(2), Event: lab.SampleEnd, VM: "VM2", Host: "B", PID: 101},
		{At: ms(3), Event: lab.SampleEnd, VM: "VM1", Host: "A", PID: 100},
		{At: ms(340), Event: lab.SampleStart, VM: "VM1", Host: "A", PID: 102},
		{At: ms(2_800), Event: lab.SampleBoot, VM: "VM1", Host: "A", BootID: "bbbbbbbb-2", N: 641},
	}
}

func TestTimeline(t *testing.T) {
	r, err := newRepair(killed, mended(), samples())
	require.NoError(t, err)
	r.alone = 231 * time.Millisecond
	var out bytes.Buffer
	printer{w: &out, mu: new(sync.Mutex)}.timeline(r)
	require.Equal(t, `
From the death of VM1 on host A to its repair
      ms
       0  fault injected       SIGKILL to QEMU, process 100 on host A
       3  QEMU is dead         as /proc shows it
     212  seen by the monitor  libvirt: A: shut off (failed)
     229  incident opened      incident/lab/VM1/20261122-080000
     340  QEMU is alive again  as /proc shows it: process 102 on host A
     561  started              started on A in 231ms; no second copy: B reported stopped
    2800  guest counts on      its disk is written again, from 641
    5570  verified             VM1 is running on A and stayed so for 5s

  Running again 561 ms after it was killed, 349 ms after that was seen; the bare `+"`virsh start VM1`"+` takes 231 ms.
`, out.String())
}

func TestTimelineIsInOrderOfTime(t *testing.T) {
	inc := mended()
	inc.Verified = ms(600) // before the guest has booted
	r, err := newRepair(killed, inc, samples())
	require.NoError(t, err)
	require.Equal(t, "guest counts on", r.moments[len(r.moments)-1].what)
	require.Equal(t, "fault injected", r.moments[0].what)
}

func TestTimelineLacksNothing(t *testing.T) {
	_, err := newRepair(killed, mended(), samples()[:5])
	require.ErrorContains(t, err, "die: true, start: true, its guest boot: false")
	inc := mended()
	inc.Verified = time.Time{}
	_, err = newRepair(killed, inc, samples())
	require.ErrorContains(t, err, "does not say when")
}

func TestJudge(t *testing.T) {
	before := lab.VMStatus{Name: "VM1", Acked: 640, Boots: []string{"aaaaaaaa-1"}}
	good := func() lab.VMStatus {
		return lab.VMStatus{Name: "VM1", Acked: 700, OnDisk: map[string]uint64{"A": 702}, Boots: []string{"aaaaaaaa-1", "bbbbbbbb-2"}}
	}
	boot := lab.Sample{BootID: "bbbbbbbb-2", N: 641}
	for _, c := range []struct {
		name  string
		spoil func(after *lab.VMStatus, boot *lab.Sample)
		bad   string // how the one bad verdict begins; empty: all are good
	}{
		{name: "all is well"},
		{name: "an acknowledged write is not on disk", bad: "writes were lost: 703 acknowledged, 702 on disk",
			spoil: func(after *lab.VMStatus, _ *lab.Sample) { after.Acked = 703 }},
		{name: "it counts from the beginning", bad: "does not count on",
			spoil: func(_ *lab.VMStatus, boot *lab.Sample) { boot.N = 1 }},
		{name: "it is the same boot", bad: "does not count on",
			spoil: func(_ *lab.VMStatus, boot *lab.Sample) { boot.BootID = "aaaaaaaa-1" }},
		{name: "it stands still", bad: "does not count on",
			spoil: func(after *lab.VMStatus, _ *lab.Sample) { after.Acked = 640 }},
		{name: "two copies", bad: "two copies of VM1 ran at once",
			spoil: func(after *lab.VMStatus, _ *lab.Sample) { after.TwoCopies = true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			after, first := good(), boot
			if c.spoil != nil {
				c.spoil(&after, &first)
			}
			var bad []string
			for _, v := range judge(before, after, first) {
				if !v.ok {
					bad = append(bad, v.text)
				}
			}
			if c.bad == "" {
				require.Empty(t, bad)
				return
			}
			require.Len(t, bad, 1)
			require.Contains(t, bad[0], c.bad)
		})
	}
}

func TestSum(t *testing.T) {
	page := []byte(`# HELP holdfast_monitor_events_total Events received from hosts.
# TYPE holdfast_monitor_events_total counter
holdfast_monitor_events_total{kind="I/O error"} 4
holdfast_monitor_events_total{kind="stopped",site="a b"} 2
holdfast_monitor_events_total{kind="stopped",site="c"} 1e+01 1700000000000
holdfast_monitor_events_total_more{kind="stopped"} 100
holdfast_monitor_unsent_signals 3
`)
	require.InDelta(t, 12, sum(page, "holdfast_monitor_events_total", `kind="stopped"`), 0)
	require.InDelta(t, 16, sum(page, "holdfast_monitor_events_total"), 0)
	require.InDelta(t, 3, sum(page, "holdfast_monitor_unsent_signals"), 0)
	require.InDelta(t, 0, sum(page, "holdfast_monitor_hosts"), 0)
}

func TestPages(t *testing.T) {
	require.Equal(t, "http://127.0.0.1:8233/namespaces/default/workflows/incident%2Flab%2FVM1%2F20261122-080000/run/user-metadata",
		incidentPage("127.0.0.1:8233", "incident/lab/VM1/20261122-080000", "run"))
	require.Equal(t, "http://127.0.0.1:8233/namespaces/default/workflows?query=WorkflowType%3D%22RecoverVM%22", incidentsPage("127.0.0.1:8233"))
}
