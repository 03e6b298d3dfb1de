package config

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"holdfast/internal/detect/rules"
	"holdfast/internal/fault"
	"holdfast/internal/ladder"
)

// hidden is the # before an example of what has no default.
var hidden = regexp.MustCompile(`(?m)^( *)#([^ #\n])`)

// wholeExample is the example with everything that has no default, too.
func wholeExample(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile(examplePath)
	require.NoError(t, err)
	return hidden.ReplaceAll(data, []byte("$1$2"))
}

func TestExampleShowsTheDefaults(t *testing.T) {
	site, err := Load(examplePath)
	require.NoError(t, err)
	require.NotEmpty(t, site.Hosts)
	withoutHosts := *site
	withoutHosts.Hosts = nil
	assert.Equal(t, Default(), withoutHosts, "the example says that it shows the defaults")
}

// The example has every field there is, and what it shows of each makes sense.
func TestExampleIsComplete(t *testing.T) {
	data := wholeExample(t)
	_, err := Parse("site.example.yaml", data)
	require.NoError(t, err)
	var doc yaml.Node
	require.NoError(t, yaml.Unmarshal(data, &doc))
	have := paths(doc.Content[0])
	for _, path := range fieldsOf(reflect.TypeFor[Site](), "") {
		assert.Contains(t, have, path, "docs/site.example.yaml lacks a field")
	}
}

// What the example lists is all there is.
func TestExampleNamesRulesMetricsAndKinds(t *testing.T) {
	data, err := os.ReadFile(examplePath)
	require.NoError(t, err)
	text := strings.NewReplacer("\n#", " ", ",", " ", ";", " ", ".\n", " ").Replace(string(data))
	has := map[string]bool{}
	for _, w := range strings.Fields(text) {
		has[w] = true
	}
	for _, r := range rules.Defaults() {
		assert.True(t, has[r.Name], "the rule %s", r.Name)
	}
	for _, m := range rules.Metrics() {
		assert.True(t, has[string(m)] || has[string(m)+"."], "the metric %s", m)
	}
	for _, k := range rules.Kinds() {
		assert.True(t, has[string(k)], "the kind %s", k)
	}
}

// paths lists the fields under a node, without the numbers of items and with * for
// keys of the file's own.
func paths(n *yaml.Node) map[string]bool {
	found := map[string]bool{}
	own := regexp.MustCompile(`^\.(kinds|recovery\.budgets|classes\[\]\.recovery\.budgets|classes\[\]\.select|classes\[\]\.rules|rules\[\]\.select|alerts\.in\.kinds\[\]\.match)$`)
	var walk func(n *yaml.Node, path string)
	walk = func(n *yaml.Node, path string) {
		found[path] = true
		for i, c := range n.Content {
			switch {
			case n.Kind == yaml.SequenceNode:
				walk(c, path+"[]")
			case i%2 == 1 && own.MatchString(path):
				walk(c, path+".*")
			case i%2 == 1:
				walk(c, path+"."+n.Content[i-1].Value)
			}
		}
	}
	walk(n, "")
	return found
}

// fieldsOf lists the fields of a type as paths does, by their yaml tags.
func fieldsOf(t reflect.Type, path string) []string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Struct:
		var found []string
		for f := range t.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			if path+"."+name == ".classes[].recovery" {
				found = append(found, path+"."+name) // what is in it is as in that of the site
				continue
			}
			found = append(found, fieldsOf(f.Type, path+"."+name)...)
		}
		return found
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Struct {
			return fieldsOf(t.Elem(), path+"[]")
		}
	case reflect.Map:
		return fieldsOf(t.Elem(), path+".*")
	}
	return []string{path}
}

// Marshal and Parse agree on every field, so neither can forget one.
func TestMarshalledSiteParsesToTheSame(t *testing.T) {
	site, err := Parse("site.example.yaml", wholeExample(t))
	require.NoError(t, err)
	requireRoundTrip(t, site)
	site.Name, site.Mode, site.Monitor.Sweep, site.Recovery.Backoff.Factor = "other", ModeRepair, 90*time.Second, 1.25
	site.Monitor.Vantages = Vantages{Peers: []string{"http://a:1"}}
	site.Alerts.In.VM = nil
	site.Alerts.In.MaxBody = 1025
	requireRoundTrip(t, site)
}

func TestParseReadsEveryField(t *testing.T) {
	site, err := Parse("site.yaml", []byte(everything))
	require.NoError(t, err)
	assert.Equal(t, &Site{
		Name: "lab-1",
		Mode: ModeRepair,
		Hosts: []Host{
			{
				Name: "A", URI: "qemu:///system", Agent: "http://a:9467", AgentTokenFile: "/a.token", Heartbeat: "/mnt/a",
				Power: &Power{Command: []string{"fence", "--action=status"}, Timeout: 20 * time.Second},
			},
			{Name: "no", URI: "test:///default"},
		},
		Classes: []Class{{
			Name: "db", Select: map[string]string{"tier": "db", "on": "yes"}, Mode: ModeObserve,
			Rules: map[string]Override{"cpu": {Raise: new(95.5), Clear: new(0.0), For: new(time.Duration(0)), Off: new(false)}},
			Recovery: &Recovery{
				MaxFailures: 2, Window: 90 * time.Minute, Desired: ladder.DesiredAsFound, Priority: 1,
				Backoff: Backoff{Initial: 250 * time.Millisecond, Max: 2 * time.Minute, Factor: 1.5},
				Verify:  Verify{Within: 90 * time.Second, Agent: ladder.AgentRequired, TCP: "10.0.0.5:22", HTTP: "http://a/", Command: []string{"true", "-x"}},
				Budgets: map[ladder.Rung]int{ladder.RungReset: 2, ladder.RungResume: 4}, Forbidden: []ladder.Rung{ladder.RungBackup},
				Approval: Approval{Timeout: time.Hour, Then: ladder.FallbackReject},
			},
			Backups:   Backups{To: "/b"},
			Snapshots: &Snapshots{Keep: "24h/2m", Verify: VerifyNever, Spread: time.Minute, AtOnce: 3},
		}},
		Kinds: map[fault.Kind]KindPolicy{fault.KindHung: {Mode: ModeObserve, Respond: fault.RespondAlarm, Ladder: []ladder.Rung{ladder.RungRestart}}},
		Rules: []Rule{{
			Name: "x", Metric: rules.VMMemory, Kind: fault.KindMemory, Below: new(true), Slope: new(true), Raise: new(-5.0), Clear: new(-1.0),
			For: new(time.Hour), Warmup: new(time.Minute), Select: map[string]string{"a": "b"}, Level: fault.Major, Response: fault.RespondIncident, Off: new(true),
		}},
		Monitor: Monitor{
			Sweep: time.Second, Sample: 2 * time.Second, Pools: 5 * time.Second, CallTimeout: 500 * time.Millisecond,
			Resay: Resay{2 * time.Second, 3 * time.Second}, HungAfter: 4 * time.Second, BootWithin: 10 * time.Second,
			UnreachableAfter: time.Second, TemporalAfter: 5 * time.Second, Storm: Storm{12.5, time.Minute}, Flap: Flap{0, time.Minute},
			Vantages: Vantages{Peers: []string{"http://m2:9465"}},
		},
		Recovery: Recovery{
			MaxFailures: 3, Window: 90 * time.Minute, Desired: ladder.DesiredAsFound, Priority: 1,
			Backoff: Backoff{Initial: 250 * time.Millisecond, Max: 2 * time.Minute, Factor: 1.5},
			Verify:  Verify{Within: 90 * time.Second, Agent: ladder.AgentRequired, TCP: "10.0.0.5:22", HTTP: "http://a/", Command: []string{"true", "-x"}},
			Budgets: map[ladder.Rung]int{ladder.RungReset: 2}, Forbidden: []ladder.Rung{ladder.RungBackup},
			Approval: Approval{Rungs: []ladder.Rung{ladder.RungReset, ladder.RungSnapshot}, Timeout: time.Hour, Then: ladder.FallbackReject},
		},
		Evidence: Evidence{
			Dir: "/e", Keep: 48 * time.Hour, MaxTotal: 10 << 20, MaxIncident: 1 << 20, Timeout: time.Second,
			Dump: Dump{Pool: "dumps", MaxSize: 1 << 30, Within: 2 * time.Minute}, TokenFile: "/e.token", URL: "http://{hostname}:9464",
		},
		Snapshots: Snapshots{Every: time.Hour, Keep: "24h/2m", Verify: VerifyWeekly, Spread: time.Minute, AtOnce: 3},
		Backups:   Backups{To: "nfs-1"},
		Alerts: Alerts{
			In: AlertsIn{
				Listen: ":9466", TokenFile: "/t", TLS: AlertsTLS{"/c", "/k", "/ca"}, MaxBody: 512 << 10, Rate: 0.5, Burst: 1,
				VM: []string{"uuid"}, Kinds: []AlertKind{{map[string]string{"alertname": "x"}, fault.KindCrashed}},
			},
			Out: AlertsOut{
				Alertmanager: []Target{{URL: "http://am:9093"}, {URL: "https://am2/prefix"}},
				Webhook:      []Target{{URL: "https://h/x", TokenFile: "/w", CAFile: "/wca"}},
			},
		},
		Listen: Listen{Worker: ":0", Monitor: "[::1]:9000"},
	}, site)
}

const everything = `
site: lab-1
mode: repair
hosts:
  - {name: A, uri: "qemu:///system", agent: "http://a:9467", agentTokenFile: /a.token, power: {command: [fence, --action=status]}, heartbeat: /mnt/a}
  - name: no # a word, not a boolean
    uri: test:///default
classes: [{name: db, select: {tier: db, on: yes}, mode: observe, rules: {cpu: {raise: 95.5, clear: 0, for: 0s, off: false}}, recovery: {maxFailures: 2, budgets: {resume: 4}, approval: {rungs: []}}, backups: {to: /b}, snapshots: {every: 0s, verify: never}}]
kinds: {hung: {mode: observe, respond: alarm, ladder: [restart]}}
rules:
  - {name: x, metric: vm.memory, kind: memory-pressure, below: true, slope: true, raise: -5, clear: -1, for: 1h, warmup: 1m,
     select: {a: b}, level: major, respond: incident, off: true}
monitor:
  sweep: 1s
  sample: 2s
  pools: 5s
  callTimeout: 500ms
  resay: {initial: 2s, max: 3s}
  hungAfter: 4s
  bootWithin: 10s
  unreachableAfter: 1s
  temporalAfter: 5s
  storm: {share: 12.5, window: 1m}
  flap: {raises: 0, window: 1m}
  vantages: {worker: false, tcp: false, peers: ["http://m2:9465"]}
recovery:
  maxFailures: 3
  desired: as-found
  priority: 1
  window: 1h30m
  backoff: {initial: 250ms, max: 2m, factor: 1.5}
  verify: {stableFor: 0s, within: 90s, agent: required, tcp: "10.0.0.5:22", http: "http://a/", command: ["true", -x]}
  budgets: {reset: 2}
  forbidden: [backup]
  approval: {rungs: [reset, snapshot], timeout: 1h, then: reject}
snapshots: {every: 1h, keep: 24h/2m, verify: weekly, memory: false, spread: 1m, atOnce: 3}
backups: {to: nfs-1}
evidence: {dir: /e, keep: 48h, maxTotal: 10MiB, maxIncident: 1MiB, timeout: 1s, dump: {pool: dumps, maxSize: 1GiB, within: 2m}, tokenFile: /e.token, url: "http://{hostname}:9464"}
alerts:
  in: {listen: ":9466", tokenFile: /t, tls: {cert: /c, key: /k, clientCA: /ca}, maxBody: 512KiB, rate: 0.5, burst: 1, vm: [uuid], host: [],
    kinds: [{match: {alertname: x}, kind: crashed}]}
  out: {alertmanager: [{url: "http://am:9093"}, {url: https://am2/prefix}], webhook: [{url: https://h/x, tokenFile: /w, caFile: /wca}]}
listen: {worker: ":0", monitor: "[::1]:9000"}
`

// Sizes are written in the unit that leaves them whole.
func TestBytes(t *testing.T) {
	for want, b := range map[string]Bytes{"1GiB": 1 << 30, "1025MiB": 1025 << 20, "1MiB": 1 << 20, "3KiB": 3 << 10, "1025B": 1025, "0B": 0} {
		assert.Equal(t, want, fmt.Sprint(b))
	}
}
