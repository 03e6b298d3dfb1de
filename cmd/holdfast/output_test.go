package main

import (
	"bytes"
	"encoding/json"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/ladder"
	"holdfast/starter"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func fixedVMs() []contract.VMState {
	return []contract.VMState{
		{VM: fault.VM{UUID: "11111111-1111-4111-8111-111111111111", Name: "web"}, Host: "kvm1", State: "running", Reason: "booted", Active: true},
		{VM: fault.VM{UUID: "22222222-2222-4222-8222-222222222222", Name: "no"}, Host: "kvm2", State: "shut off", Reason: "crashed"},
	}
}

func printed(t *testing.T, f format, value any, table func(io.Writer)) string {
	t.Helper()
	var b bytes.Buffer
	a := &app{out: &b, format: f}
	require.NoError(t, a.print(value, table))
	return b.String()
}

func TestFormats(t *testing.T) {
	vms := fixedVMs()
	table := func(w io.Writer) { vmTable(w, vms) }
	require.Equal(t, `VM   HOST  STATE     REASON   UUID
web  kvm1  running   booted   11111111-1111-4111-8111-111111111111
no   kvm2  shut off  crashed  22222222-2222-4222-8222-222222222222
`, printed(t, formatTable, vms, table))
	require.Equal(t, `[
  {
    "vm": {
      "uuid": "11111111-1111-4111-8111-111111111111",
      "name": "web"
    },
    "host": "kvm1",
    "state": "running",
    "reason": "booted",
    "active": true
  },
  {
    "vm": {
      "uuid": "22222222-2222-4222-8222-222222222222",
      "name": "no"
    },
    "host": "kvm2",
    "state": "shut off",
    "reason": "crashed",
    "active": false
  }
]
`, printed(t, formatJSON, vms, table))
	require.Equal(t, `- vm:
    uuid: 11111111-1111-4111-8111-111111111111
    name: web
  host: kvm1
  state: running
  reason: booted
  active: true
- vm:
    uuid: 22222222-2222-4222-8222-222222222222
    name: "no"
  host: kvm2
  state: shut off
  reason: crashed
  active: false
`, printed(t, formatYAML, vms, table), "the names of JSON, in its order, and a VM called no stays one")
	require.Equal(t, "[]\n", printed(t, formatJSON, emptyNotNull[contract.VMState](nil), table))
	require.Equal(t, "[]\n", printed(t, formatYAML, emptyNotNull[contract.VMState](nil), table))
}

func TestYAMLKeepsWhatJSONSays(t *testing.T) {
	in := map[string]any{
		"text": "two\nlines: # no comment", "like a number": "0x10", "time": t0.Format(time.RFC3339), "quote": `"<&>` + "\u2028",
		"null": nil, "list": []any{}, "number": 1.5, "wide": "日本 😀", "key: odd": true,
	}
	var b bytes.Buffer
	require.NoError(t, printYAML(&b, in))
	var out any
	require.NoError(t, yaml.Unmarshal(b.Bytes(), &out))
	want, err := json.Marshal(in)
	require.NoError(t, err)
	got, err := json.Marshal(out)
	require.NoError(t, err)
	require.JSONEq(t, string(want), string(got))
}

func TestHostTable(t *testing.T) {
	var b bytes.Buffer
	hostTable(&b, []contract.HostState{
		{Name: "kvm1", Connected: true, Active: 3, Defined: 4}, {Name: "kvm2", Error: "no route to host"},
	})
	require.Equal(t, `HOST  ANSWERS  ACTIVE  DEFINED  ERROR
kvm1  yes      3       4
kvm2  no       ?       ?        no route to host
`, b.String())
}

func TestIncidentTable(t *testing.T) {
	var b bytes.Buffer
	incidentTable(&b, []starter.IncidentSummary{
		{ID: "incident/lab/web/3", Host: "kvm1", Kind: "crashed", Stage: "needs person", Open: true, NeedsPerson: true, Opened: t0},
		{ID: "incident/lab/web/2", Host: "kvm1", Kind: "crashed", Stage: "restart", Open: true, Opened: t0},
		{ID: "incident/lab/web/1", Host: "kvm1", Kind: "lost", Stage: "restart", Outcome: "recovered", Opened: t0, Closed: t0.Add(6 * time.Second)},
	}, t0.Add(90*time.Second))
	require.Equal(t, `INCIDENT            HOST  FAULT    STAGE         OUTCOME         OPENED               TOOK
incident/lab/web/3  kvm1  crashed  needs person  NEEDS A PERSON  2026-01-02 03:04:05  1m30s
incident/lab/web/2  kvm1  crashed  restart       open            2026-01-02 03:04:05  1m30s
incident/lab/web/1  kvm1  lost     restart       recovered       2026-01-02 03:04:05  6s
`, b.String())
}

// fixedIncident was repaired at the second try.
func fixedIncident() contract.Incident {
	at := func(ms int) time.Time { return t0.Add(time.Duration(ms) * time.Millisecond) }
	vm := fault.VM{UUID: "11111111-1111-4111-8111-111111111111", Name: "web"}
	return contract.Incident{
		ID: "incident/lab/web/1", Site: "lab", VM: vm, Host: "kvm1",
		Fault: fault.Fault{
			ID: "f1", Kind: fault.KindCrashed, Site: "lab", VM: vm, Host: "kvm1", First: t0, Last: t0,
			Seen:      fault.Sighting{Host: "kvm1", State: "shut off", Reason: "crashed", At: t0},
			Elsewhere: []fault.Sighting{{Host: "kvm2", Absent: true, At: t0}},
			Reporter:  "monitor@here", Why: "web crashed on kvm1",
		},
		More: 1, Stage: "restart", Outcome: contract.OutcomeRecovered, Why: "web is running on kvm1",
		Opened: at(40), Started: at(1700), Verified: at(6800), Closed: at(6810),
		Attempts: []ladder.Attempt{
			{Rung: ladder.RungRestart, Host: "kvm1", Began: at(100), Ended: at(400), Error: "no disk"},
			{Rung: ladder.RungRestart, Host: "kvm1", Began: at(1400), Ended: at(6800), OK: true},
		},
		Timeline: []contract.Entry{
			{At: at(40), Stage: "confirm", Text: "web crashed on kvm1"},
			{At: at(400), Stage: "restart", Text: "try 1 failed: no disk"},
			{At: at(75_000), Stage: "restart", Text: "recovered: web is running on kvm1"},
		},
	}
}

func TestStory(t *testing.T) {
	var b bytes.Buffer
	story(&b, fixedIncident())
	require.Equal(t, `incident/lab/web/1: recovered (restart)

VM          web  11111111-1111-4111-8111-111111111111
Host        kvm1
Site        lab
Fault       crashed: web crashed on kvm1
Evidence    kvm1: shut off (crashed); kvm2: not there; reported by monitor@here
Why         web is running on kvm1
First sign  2026-01-02 03:04:05.000 UTC  +0.00s
Opened      2026-01-02 03:04:05.040 UTC  +0.04s
Started     2026-01-02 03:04:06.700 UTC  +1.70s
Verified    2026-01-02 03:04:11.800 UTC  +6.80s
Closed      2026-01-02 03:04:11.810 UTC  +6.81s
Reports     1 further fault while it was open

Tries
  1  +0.10s  restart on kvm1  took 0.30s  failed: no disk
  2  +1.40s  restart on kvm1  took 5.40s  ok

Timeline
     +0.04s  03:04:05.040  confirm       web crashed on kvm1
     +0.40s  03:04:05.400  restart       try 1 failed: no disk
     +1m15s  03:05:20.000  restart       recovered: web is running on kvm1
`, b.String())

	open := fixedIncident()
	open.Outcome, open.Closed, open.Verified, open.NeedsPerson = "", time.Time{}, time.Time{}, true
	open.Stage, open.Next = contract.StageNeedsPerson, "waits for a person"
	b.Reset()
	story(&b, open)
	require.Contains(t, b.String(), "incident/lab/web/1: NEEDS A PERSON (needs person)\n")
	require.Contains(t, b.String(), "Next        waits for a person\n")
	require.NotContains(t, b.String(), "Closed")
}

func TestVerdict(t *testing.T) {
	for outcome, code := range map[contract.Outcome]int{
		contract.OutcomeRecovered: exitOK, contract.OutcomeCleared: exitOK, contract.OutcomeStoodDown: exitOK,
		contract.OutcomeHandBack: exitOK, contract.OutcomeCancelled: exitError, "terminated": exitError,
	} {
		inc := fixedIncident()
		inc.Outcome = outcome
		require.Equal(t, code, report(io.Discard, verdict(inc)), outcome)
	}
	waits := fixedIncident()
	waits.Outcome, waits.Closed, waits.NeedsPerson = "", time.Time{}, true
	require.Equal(t, exitNeedsPerson, report(io.Discard, verdict(waits)))
}

func TestFollowerPrintsEachLineOnce(t *testing.T) {
	var out, errOut bytes.Buffer
	f := newFollower(&app{out: &out, err: &errOut, format: formatTable})
	inc := fixedIncident()
	all := inc.Timeline
	inc.Timeline = all[:1]
	f.seen(inc)
	f.trouble(io.ErrUnexpectedEOF)
	f.trouble(io.ErrUnexpectedEOF)
	inc.Timeline = all
	f.seen(inc)
	f.seen(inc)
	require.Equal(t, `incident/lab/web/1: crashed of web on kvm1
     +0.04s  03:04:05.040  confirm       web crashed on kvm1
     +0.40s  03:04:05.400  restart       try 1 failed: no disk
     +1m15s  03:05:20.000  restart       recovered: web is running on kvm1
`, out.String())
	require.Equal(t, "holdfast: warning: the incident cannot be asked, goes on trying: unexpected EOF\n", errOut.String())
}

func TestRecoverReplies(t *testing.T) {
	req := contract.RecoverRequest{Site: "lab", VM: fault.VM{UUID: "u", Name: "web"}, By: "me@here"}
	for want, c := range map[string]struct {
		reply contract.RecoverReply
		stage contract.Stage
	}{
		"incident/x\n": {reply: contract.RecoverReply{IncidentID: "incident/x"}},
		"web is already being repaired by incident/x (stage restart)\n":                           {contract.RecoverReply{IncidentID: "incident/x", Already: true}, "restart"},
		"web is already being repaired by incident/x\n":                                           {reply: contract.RecoverReply{IncidentID: "incident/x", Already: true}},
		"web: incident/x waited for a person and tries again now\n":                               {contract.RecoverReply{IncidentID: "incident/x", Already: true, Retrying: true}, "needs person"},
		"web: incident/x observed only, and repairs now that you ask\n":                           {contract.RecoverReply{IncidentID: "incident/x", Already: true, Retrying: true}, "observe"},
		"web: told incident/x, whose fault no rung mends: it starts it only if it does not run\n": {contract.RecoverReply{IncidentID: "incident/x", Already: true, Watching: true}, "watch"},
	} {
		var b bytes.Buffer
		recoverReply(&b, req, c.reply, c.stage)
		require.Equal(t, want, b.String())
	}
}
