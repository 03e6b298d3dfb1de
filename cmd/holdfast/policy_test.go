package main

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"holdfast/internal/contract"
	"holdfast/internal/ladder"
	"holdfast/internal/rehearsal/recorded"
)

// golden compares with a file of testdata; UPDATE=1 writes it anew.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if os.Getenv("UPDATE") != "" {
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), got, "UPDATE=1 go test ./cmd/holdfast writes it anew")
}

func incidentFile(name string) string { return filepath.Join("testdata", "incidents", name+".json") }

// The incidents in testdata are what incident show -o json prints of them.
func TestRecordedIncidents(t *testing.T) {
	all := recorded.All()
	for name, inc := range all {
		var b strings.Builder
		require.NoError(t, (&app{out: &b, format: formatJSON}).print(inc, nil))
		golden(t, filepath.Join("incidents", name+".json"), b.String())
	}
	files, err := filepath.Glob(incidentFile("*"))
	require.NoError(t, err)
	require.Len(t, files, len(all), "a file of an incident that is not recorded any more")
}

const siteHead = `site: lab
mode: repair
hosts:
  - {name: kvm1, uri: "qemu+tls://kvm1/system"}
  - {name: kvm2, uri: "qemu+tls://kvm2/system"}
`

// kindsAsRecorded have the ladder of the recorded incidents.
const kindsAsRecorded = `kinds:
  panicked: {ladder: [resume, reset, restart, person]}
  crashed: {ladder: [resume, reset, restart, person]}
  hung: {ladder: [resume, reset, restart, person]}
  lost: {ladder: [resume, reset, restart, person]}
`

func siteFile(t *testing.T, rest string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "site.new.yaml")
	require.NoError(t, os.WriteFile(name, []byte(siteHead+rest), 0o600))
	return name
}

// policyTrials are incidents and what a site file says.
var policyTrials = map[string]struct {
	incident, site string
	total, differ  int
}{
	"the same policy":    {"panicked", kindsAsRecorded, 2, 0},
	"a budget for reset": {"panicked", kindsAsRecorded + "recovery: {budgets: {reset: 3}}\n", 2, 1},
	"reset is forbidden": {"panicked", kindsAsRecorded + "recovery: {forbidden: [reset]}\n", 2, 1},
	"a class that needs approval": {"panicked", kindsAsRecorded + `classes:
  - {name: databases, select: {tier: db}, recovery: {approval: {rungs: [restart], timeout: 10m, then: approve}}}
`, 2, 1},
	"the kind is observed":               {"panicked", strings.Replace(kindsAsRecorded, "panicked: {", "panicked: {mode: observe, ", 1), 2, 2},
	"two failures are enough":            {"crash-loop", kindsAsRecorded + "recovery: {maxFailures: 2}\n", 5, 1},
	"nobody need approve":                {"approved", kindsAsRecorded, 3, 1},
	"another way of verifying":           {"panicked", kindsAsRecorded + "recovery: {verify: {tcp: \"web:80\", stableFor: 30s}}\n", 2, 0},
	"the annotation says repair":         {"observed", strings.Replace(kindsAsRecorded, "kinds", "recovery: {maxFailures: 3}\nkinds", 1), 1, 1},
	"an answer is awaited for less long": {"asking", kindsAsRecorded + "recovery: {approval: {rungs: [restart], timeout: 10m, then: reject}}\n", 2, 1},
	"a host is waited for all the same":  {"silent", kindsAsRecorded + "recovery: {forbidden: [restart]}\n", 1, 0},
}

func TestPolicyTest(t *testing.T) {
	for name, c := range policyTrials {
		t.Run(name, func(t *testing.T) {
			site := siteFile(t, c.site)
			out, errOut, code := holdfast(t, "policy", "test", "--incident", incidentFile(c.incident), "--policy", site)
			require.Equal(t, exitOK, code, errOut)
			require.Empty(t, errOut)
			golden(t, filepath.Join("policy", strings.ReplaceAll(name, " ", "-")+".txt"), strings.ReplaceAll(out, site, "site.new.yaml"))

			out, _, code = holdfast(t, "policy", "test", "--incident", incidentFile(c.incident), "--policy", site, "-o", "json", "--exit-code")
			var got policyTested
			require.NoError(t, json.Unmarshal([]byte(out), &got))
			require.Equal(t, []int{c.total, c.differ, 0}, []int{got.Total, got.Differ, got.Redecided})
			require.Equal(t, c.differ > 0, code == exitDiffers, "exit code %d", code)
			require.Len(t, got.Decisions, c.total)
		})
	}
	files, err := filepath.Glob(filepath.Join("testdata", "policy", "*"))
	require.NoError(t, err)
	require.Len(t, files, len(policyTrials), "%v", slices.Sorted(maps.Keys(policyTrials)))
}

func TestPolicyTestRefusals(t *testing.T) {
	sound := siteFile(t, kindsAsRecorded)
	notOne := filepath.Join(t.TempDir(), "x.json")
	require.NoError(t, os.WriteFile(notOne, []byte(`{"id": 5}`), 0o600))
	empty := filepath.Join(t.TempDir(), "y.json")
	require.NoError(t, os.WriteFile(empty, []byte(`{}`), 0o600))
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--policy", sound}, exitUsage, "say which incident, with --incident"},
		{[]string{"--incident", "VM1"}, exitUsage, "say which policy, with --policy"},
		{[]string{"VM1"}, exitUsage, "wants no arguments"},
		{[]string{"--incident", incidentFile("none"), "--policy", sound}, exitError, "no such file"},
		{[]string{"--incident", notOne, "--policy", sound}, exitError, "incident show ID -o json"},
		{[]string{"--incident", empty, "--policy", sound}, exitError, "holds no incident"},
		{[]string{"--incident", incidentFile("host"), "--policy", sound}, exitError, "has no recorded decisions: it is about a host"},
		{[]string{"--incident", incidentFile("panicked"), "--policy", siteFile(t, "recovery: {window: 1}\n")}, exitError, "has a mistake"},
		{[]string{"--incident", "VM1", "--policy", sound}, exitError, nobody + ": cannot reach Temporal"},
	} {
		out, errOut, code := holdfast(t, append([]string{"policy", "test"}, c.args...)...)
		require.Equal(t, c.code, code, "%v: %s", c.args, errOut)
		require.Empty(t, out)
		require.Contains(t, errOut, c.says)
	}
}

func TestPolicyTestOfAnotherSiteWarns(t *testing.T) {
	site := filepath.Join(t.TempDir(), "other.yaml")
	require.NoError(t, os.WriteFile(site, []byte(strings.Replace(siteHead+kindsAsRecorded, "site: lab", "site: other", 1)), 0o600))
	_, errOut, code := holdfast(t, "policy", "test", "--incident", incidentFile("panicked"), "--policy", site)
	require.Equal(t, exitOK, code)
	require.Contains(t, errOut, "is of site other, and incident/lab/web/20260102-030405 is of site lab")
}

// What another release decided otherwise is not blamed on the policy.
func TestPolicyTestOfAnotherRelease(t *testing.T) {
	inc := recorded.Panicked()
	inc.Decisions[1].Decision = ladder.Decision{Action: ladder.ActPerson, Rung: ladder.RungPerson, Host: "kvm1", Why: "nothing is left to try"}
	text, err := json.Marshal(inc)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "old.json")
	require.NoError(t, os.WriteFile(file, text, 0o600))
	out, _, code := holdfast(t, "policy", "test", "--incident", file, "--policy", siteFile(t, kindsAsRecorded))
	require.Equal(t, exitOK, code)
	require.Contains(t, out, "This release decides 1 of them otherwise than the one that recorded them, whatever the policy")
	require.Contains(t, out, "      recorded policy  restart on kvm1\n")
}

func TestStoryOfDecisions(t *testing.T) {
	for name, inc := range recorded.All() {
		var b strings.Builder
		if name == "asking" {
			inc.Evidence = []contract.EvidenceSet{{Items: []contract.EvidenceItem{{Name: "a"}, {Name: "b"}, {Name: "c", Error: "no"}}}, {Error: "no"}}
		}
		story(&b, inc)
		if len(inc.Decisions) > 0 {
			b.WriteString("\n--decisions")
			decisionsInFull(&b, inc)
		}
		golden(t, filepath.Join("stories", name+".txt"), b.String())
	}
}
