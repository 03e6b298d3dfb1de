package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor/simulated"
)

func fixedFaults() []fault.Fault {
	web := fault.VM{UUID: "11111111-1111-4111-8111-111111111111", Name: "web"}
	return []fault.Fault{
		{ID: "1", Kind: fault.KindHostUnreachable, Site: "lab", Host: "kvm2", First: t0, Last: t0.Add(time.Minute), Why: "kvm2 is silent",
			Reporter: "monitor@here",
			Votes: []fault.Vote{
				{From: "libvirt", Says: fault.HostSilent, Why: "no route to host", At: t0.Add(55 * time.Second)},
				{From: "power", Says: fault.NoVerdict, At: t0.Add(50 * time.Second)},
			},
			Evidence: []fault.Evidence{{What: "silent", Value: "for 1m0s", Since: t0, At: t0.Add(time.Minute), From: "mon2"}},
			Frozen:   "2 of 3 hosts failed"},
		{ID: "2", Kind: fault.KindDiskFull, Site: "lab", VM: web, Host: "kvm1", Device: "vda", First: t0, Why: "vda is 93 % full"},
		{ID: "3", Kind: fault.KindCPU, Level: fault.Major, Site: "lab", VM: web, Host: "kvm1", First: t0, Why: "vm.cpu is 97.1 %"},
	}
}

func TestFaultTable(t *testing.T) {
	var b bytes.Buffer
	faultTable(&b, fixedFaults())
	require.Equal(t, `LEVEL     FAULT             OF       HOST  SINCE                WHY
critical  host-unreachable  kvm2     kvm2  2026-01-02 03:04:05  kvm2 is silent
major     disk-full         web vda  kvm1  2026-01-02 03:04:05  vda is 93 % full
major     cpu-pressure      web      kvm1  2026-01-02 03:04:05  vm.cpu is 97.1 %
`, b.String())
}

func TestWhatAMonitorDoesNotSeeIsSaid(t *testing.T) {
	var b bytes.Buffer
	a := &app{err: &b}
	a.warnOfBlindness(contract.FaultsResult{
		Monitor: "mon1", Hosts: []contract.WatchedHost{{Host: "kvm1", Connected: true}, {Host: "kvm2", Error: "no route to host"}, {Host: "kvm3"}},
		Left: 12, Unsent: 3, ReportError: "connection refused",
		Doubts: []contract.Doubt{{Fault: fixedFaults()[0], Why: "tcp still reaches it"}},
	})
	require.Equal(t, `holdfast: warning: mon1 does not reach host kvm2: no route to host
holdfast: warning: mon1 does not reach host kvm3: not tried yet
holdfast: warning: 12 further faults not listed: narrow it down with --vm, --host, --kind or --level
holdfast: warning: held back: host-unreachable of kvm2: tcp still reaches it
holdfast: warning: reports of mon1 do not get through (3 unsent): connection refused
`, b.String())
}

func TestFaultsAreFollowed(t *testing.T) {
	all := fixedFaults()
	v := newFaultViews()
	var b bytes.Buffer
	a := &app{out: &b, format: formatTable}
	step := func(seconds int, monitor string, faults ...fault.Fault) string {
		t.Helper()
		b.Reset()
		require.NoError(t, a.printChanges(v.take(contract.FaultsResult{Monitor: monitor, Faults: faults}, t0.Add(time.Duration(seconds)*time.Second))))
		return b.String()
	}
	require.True(t, v.empty())
	require.Equal(t, "2026-01-02 03:04:05  stands  major     disk-full of web vda on kvm1: vda is 93 % full\n", step(0, "mon1", all[1]))
	require.False(t, v.empty())
	require.Empty(t, step(2, "mon1", all[1]))
	require.Equal(t, `2026-01-02 03:04:09  raised  critical  host-unreachable of kvm2 on kvm2: kvm2 is silent
2026-01-02 03:04:09  raised  major     cpu-pressure of web on kvm1: vm.cpu is 97.1 %
`, step(4, "mon1", all[1], all[2], all[0]))
	// Another monitor has other IDs for the same, and does not see all of it yet.
	same := all[1]
	same.ID = "mon2/7"
	require.Empty(t, step(6, "mon2", same))
	require.Equal(t, "2026-01-02 03:04:13  over    major     cpu-pressure of web on kvm1: vm.cpu is 97.1 %\n", step(8, "mon1", all[1], all[0]),
		"neither sees it any more")
	require.Empty(t, step(12, "mon1", all[0]), "mon2 still sees the disk")
	require.Contains(t, step(60, "mon1", all[0]), "over    major     disk-full", "mon2 has not answered for long")

	a.format = formatJSON
	line := step(62, "mon1")
	require.Equal(t, byte('\n'), line[len(line)-1])
	var c faultChange
	require.NoError(t, json.Unmarshal([]byte(line), &c))
	require.Equal(t, "over", c.Change)
	require.Len(t, c.Fault.Votes, 2)
}

func TestExplanation(t *testing.T) {
	at := t0.Add(time.Minute)
	value, slope := 97.12, 1234.5
	x := contract.ExplainResult{
		Site: "lab", Monitor: "mon1", At: at, Subject: fault.SubjectVM,
		VM: fault.VM{UUID: "11111111-1111-4111-8111-111111111111", Name: "web"}, Host: "kvm1", State: "running", Reason: "booted", LastSeen: at.Add(-2 * time.Second),
		Seen:  []fault.Sighting{{Host: "kvm1", State: "running", Reason: "booted", At: at.Add(-2 * time.Second)}, {Host: "kvm2", Absent: true, At: at.Add(-8 * time.Second)}},
		Facts: []fault.Evidence{{What: "guest agent", Value: "answers", Since: t0, At: at.Add(-time.Second)}},
		Class: "databases", Labels: map[string]string{"tier": "db", "env": "prod"}, Mode: "observe", ModeWhy: "the class says so",
		Faults: fixedFaults()[2:], Inhibited: "host kvm1 is silent",
		Rules: []contract.RuleState{
			{Name: "cpu", Metric: "vm.cpu", Kind: fault.KindCPU, Value: &value, Unit: "%", Raise: 80, Clear: 70, ForSeconds: 300, State: contract.RuleRaised, Since: t0, Why: "beyond 80 % for 5m", From: "annotation"},
			{Name: "grows", Metric: "vm.disk.full", Device: "vda", Value: &slope, Unit: "%", Raise: 0.5, Clear: 0.25, Slope: true, Below: true, State: contract.RuleQuiet},
			{Name: "clock", Metric: "vm.clock", Unit: "s", Raise: 5, Clear: 2, State: contract.RuleNoData, Why: "there has been no value yet"},
		},
	}
	var b bytes.Buffer
	explanation(&b, x)
	require.Equal(t, `web on kvm1: running (booted)

UUID       11111111-1111-4111-8111-111111111111
Site       lab
Class      databases
Labels     env=prod tier=db
Mode       observe: the class says so
Last seen  2.00s ago
Monitor    mon1
Faults     major cpu-pressure since 2026-01-02 03:04:05: vm.cpu is 97.1 %
Held back  host kvm1 is silent

Hosts say
  kvm1  running (booted)  2.00s ago
  kvm2  not there         8.00s ago

Facts
  guest agent  answers  1.00s ago  since 2026-01-02 03:04:05

Rules
  RULE   METRIC            VALUE       RAISE/CLEAR  FOR   STATE    SINCE     WHY
  cpu    vm.cpu            97.1 %      >80/70       5m0s  raised   1m0s ago  beyond 80 % for 5m (set by annotation)
  grows  vm.disk.full vda  1235 %/min  <0.5/0.25    0s    quiet    -
  clock  vm.clock          -           >5/2         0s    no data  -         there has been no value yet
`, b.String())

	b.Reset()
	explanation(&b, contract.ExplainResult{Site: "lab", Monitor: "mon1", At: at, Subject: fault.SubjectHost, Host: "kvm2", State: "silent", Reason: "no route to host", Votes: fixedFaults()[0].Votes})
	require.Equal(t, `host kvm2: silent (no route to host)

Site     lab
Monitor  mon1
Faults   none

Votes
  libvirt  silent   5.00s ago  no route to host
  power    unknown  10.0s ago

No rule looks at it.
`, b.String())
}

func TestStoryOfAHost(t *testing.T) {
	f := fixedFaults()[0]
	also := f
	also.Kind, also.Why = fault.KindMemoryErrors, "its memory failed"
	inc := contract.Incident{
		ID: "incident/lab/kvm2/1", Site: "lab", Host: "kvm2", Fault: f, Also: []fault.Fault{also}, Stage: contract.StageWatch, NeedsPerson: true,
		Why: "kvm2 is silent: the ladder is fence, failover, person", Next: "waits", Opened: t0,
	}
	var b bytes.Buffer
	story(&b, inc)
	require.Equal(t, `incident/lab/kvm2/1: NEEDS A PERSON (watch)

Host        kvm2
Site        lab
Fault       host-unreachable: kvm2 is silent
Evidence    reported by monitor@here
Why         kvm2 is silent: the ladder is fence, failover, person
Also        memory-errors: its memory failed
Frozen      2 of 3 hosts failed
Next        waits
First sign  2026-01-02 03:04:05.000 UTC  +0.00s
Opened      2026-01-02 03:04:05.000 UTC  +0.00s

Votes
  libvirt  silent   5.00s ago  no route to host
  power    unknown  10.0s ago

Measured
  silent  for 1m0s  0.00s ago  since 2026-01-02 03:04:05  from mon2
`, b.String())
	require.Equal(t, "host kvm2", about(inc))
	inc.Fault.Kind, inc.Fault.Pool = fault.KindPoolLost, "images"
	require.Equal(t, "pool images on kvm2", about(inc))
}

func TestAnnotations(t *testing.T) {
	element := func(inner string) string {
		return `<holdfast:vm xmlns:holdfast="https://holdfast.dev/xmlns/domain/1" mode="observe">` + inner + `</holdfast:vm>`
	}
	label := func(name, value string) string {
		return `<holdfast:label name="` + name + `" value="` + value + `"/>`
	}
	rule := `<holdfast:rule name="cpu" raise="95" for="10m" off="false"/>`
	reply := contract.AnnotateReply{VM: fault.VM{UUID: "u", Name: "web"}, Hosts: []contract.AnnotatedHost{
		{Host: "kvm1", Before: element(label("tier", "db") + label("old", "1")), After: element(label("tier", "web") + rule), Changed: true},
		{Host: "kvm2"}, {Host: "kvm3", Error: "no route to host"},
	}}
	var b bytes.Buffer
	annotations(&b, reply, true)
	require.Equal(t, `web on kvm1: changed
  - old=1
  - tier=db
    mode=observe
  + tier=web
  + cpu.raise=95
  + cpu.for=10m0s
  + cpu.off=false
web on kvm2: nothing to change
`, b.String())
	b.Reset()
	reply.DryRun = true
	reply.Hosts = reply.Hosts[:1]
	annotations(&b, reply, true)
	require.Contains(t, b.String(), "web on kvm1: would change\n")
	b.Reset()
	annotations(&b, contract.AnnotateReply{VM: reply.VM, Hosts: []contract.AnnotatedHost{{Host: "kvm2"}}}, false)
	require.Equal(t, "web on kvm2: no annotation\n", b.String())
}

// What a simulated site can do, a person can have it do.
func TestSimHasEveryAction(t *testing.T) {
	have := []string{}
	for _, s := range slices.Concat(simFailures, simActions) {
		have = append(have, s.action)
	}
	require.ElementsMatch(t, simulated.Actions(), have)
}
