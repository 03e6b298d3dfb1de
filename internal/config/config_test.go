package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"holdfast/internal/ladder"
)

const examplePath = "../../docs/site.example.yaml"

// Known fields, as messages list them.
const (
	siteFields    = "site, mode, hosts, classes, kinds, rules, monitor, recovery, evidence, snapshots, backups, alerts, listen"
	hostFields    = "name, uri, agent, agentTokenFile, power, heartbeat"
	monitorFields = "sweep, sample, pools, callTimeout, resay, hungAfter, bootWithin, unreachableAfter, temporalAfter, storm, flap, vantages"
)

// minimal is the least a site file can be, with room for more.
const minimal = "hosts: [{name: A, uri: qemu+tcp://198.18.1.11/system}]\n"

func TestParseFillsInDefaults(t *testing.T) {
	site, err := Parse("site.yaml", []byte(minimal))
	require.NoError(t, err)
	want := Default()
	want.Hosts = []Host{{Name: "A", URI: "qemu+tcp://198.18.1.11/system"}}
	assert.Equal(t, &want, site)
}

func TestSectionWithEverythingCommentedOutHasDefaults(t *testing.T) {
	site, err := Parse("site.yaml", []byte(minimal+"monitor:\n  # sweep: 5s\nrecovery: {backoff: }\n"))
	require.NoError(t, err)
	assert.Equal(t, Default().Monitor, site.Monitor)
	assert.Equal(t, Default().Recovery, site.Recovery)
}

// A thousand hosts are within the size limit, and a change of the reader that
// makes it slower than linear shows as a test that takes for ever.
func TestParseReadsAThousandHosts(t *testing.T) {
	var b strings.Builder
	b.WriteString("hosts:\n")
	for i := range 1000 {
		fmt.Fprintf(&b, "  - name: kvm%d\n    uri: qemu+tls://kvm%d.example.net/system\n", i, i)
	}
	site, err := Parse("site.yaml", []byte(b.String()))
	require.NoError(t, err)
	assert.Len(t, site.Hosts, 1000)
}

func TestProblems(t *testing.T) {
	for name, c := range map[string]struct{ file, want string }{
		"unknown transport": {
			"hosts:\n  - name: A\n    uri: qemu:///system\n  - name: B\n\n    # comment\n    uri: qemu+tpc://b/system\n",
			`7: hosts[1].uri: "qemu+tpc://b/system" has an unknown transport "tpc"; did you mean "tcp"? (known: unix, tcp, tls, ssh, libssh, libssh2, ext)`},
		"unknown field": {
			minimal + "monitor:\n  sweeep: 10s\n",
			`3: monitor: unknown field "sweeep"; did you mean "sweep"? (known: ` + monitorFields + `)`},
		"unknown field by its beginning": {
			minimal + "recovery: {verify: {stable: 10s}}\n",
			`2: recovery.verify: unknown field "stable"; did you mean "stableFor"? (known: stableFor, within, agent, tcp, http, command)`},
		"unknown field like nothing": {
			minimal + "x: {a: b}\n",
			`2: unknown field "x"; known: ` + siteFields + ``},
		"merge key":       {minimal + "monitor: {<<: {sweep: 3s}}\n", `2: monitor: unknown field "<<"; known: ` + monitorFields + ``},
		"field twice":     {minimal + "site: a\n\nsite: b\n", `4: site: is already set in line 2; keep one of the two`},
		"no name for key": {minimal + "? [a, b]\n: c\n", `2: has a list for a field's name; a field's name is a plain word`},

		"empty":       {"", `1: the file is empty; start from docs/site.example.yaml`},
		"comments":    {"\n# nothing\n", `1: the file is empty; start from docs/site.example.yaml`},
		"a list":      {"- name: A\n", `1: is a list, not a mapping; write fields under it, known: ` + siteFields + ``},
		"two in one":  {minimal + "---\n" + minimal, `2: a second YAML document starts here; keep one file per site`},
		"no hosts":    {"site: a\n", `1: hosts: the site has no hosts; list at least one, with name and uri`},
		"empty hosts": {"site: a\nhosts:\n", `2: hosts: the site has no hosts; list at least one, with name and uri`},
		"hosts by name": {
			"hosts:\n  A: qemu:///system\n",
			`2: hosts: is a mapping, not a list; start each item with "- "`},
		"host is text": {
			"hosts: [A]\n", `1: hosts[0]: is a single value, not a mapping; write fields under it, known: ` + hostFields},
		"host without": {
			"hosts:\n  - name: A\n  -\n", `2: hosts[0].uri: is missing; give a libvirt URI, such as qemu+tls://kvm1.example.net/system
3: hosts[1].name: is missing; give a name, such as kvm1
3: hosts[1].uri: is missing; give a libvirt URI, such as qemu+tls://kvm1.example.net/system`},
		"hosts twice": {
			"hosts:\n  - {name: A, uri: 'qemu+tls://H:16514/system?no_verify=1'}\n  - {name: A, uri: 'qemu://h/system'}\n",
			`3: hosts[1].name: is the same as hosts[0].name, in line 2; list each host once
3: hosts[1].uri: is the same as hosts[0].uri, in line 2; list each host once`},

		"site name":     {minimal + "site: My Site\n", `2: site: "My Site" is not a valid name; allowed: [a-z0-9-]{1,63}`},
		"host name":     {"hosts: [{name: a/b, uri: 'qemu:///system'}]\n", `1: hosts[0].name: "a/b" is not a valid name; allowed: [A-Za-z0-9._-]{1,63}`},
		"name too long": {minimal + "site: " + strings.Repeat("a", 90) + "\n", `2: site: "` + strings.Repeat("a", 80) + `…" is not a valid name; allowed: [a-z0-9-]{1,63}`},
		"no value":      {minimal + "site:\n", `2: site: has no value; give it one, or remove the line`},
		"not a scalar":  {minimal + "site: [a]\n", `2: site: is a list, not a single value`},
		"alias":         {minimal + "site: &s a\nlisten: {worker: *s}\n", `3: listen.worker: YAML aliases and tags are not supported here; write the value out`},
		"tag":           {minimal + "site: !!binary YQ==\n", `2: site: YAML aliases and tags are not supported here; write the value out`},

		"no unit":           {minimal + "monitor: {sweep: 10}\n", `2: monitor.sweep: "10" has no unit; add one, as in 500ms, 10s, 5m or 1h30m`},
		"zero without unit": {minimal + "recovery: {verify: {stableFor: 0}}\n", `2: recovery.verify.stableFor: "0" has no unit; add one, as in 500ms, 10s, 5m or 1h30m`},
		"days":              {minimal + "recovery: {window: 1d}\n", `2: recovery.window: "1d" is not a duration; write it like 500ms, 10s, 5m or 1h30m`},
		"too long":          {minimal + "monitor: {sweep: 11m}\n", `2: monitor.sweep: "11m" is out of range; allowed: 1s to 10m`},
		"negative":          {minimal + "recovery: {verify: {stableFor: -1s}}\n", `2: recovery.verify.stableFor: "-1s" is out of range; allowed: 0s to 10m`},
		"not whole":         {minimal + "recovery: {maxFailures: 2.5}\n", `2: recovery.maxFailures: "2.5" is not a whole number; allowed: 1 to 100`},
		"too many":          {minimal + "recovery: {maxFailures: 99999999999999999999}\n", `2: recovery.maxFailures: "99999999999999999999" is out of range; allowed: 1 to 100`},
		"factor":            {minimal + "recovery: {backoff: {factor: 0.5}}\n", `2: recovery.backoff.factor: "0.5" is out of range; allowed: 1 to 10`},
		"factor NaN":        {minimal + "recovery: {backoff: {factor: NaN}}\n", `2: recovery.backoff.factor: "NaN" is not a number; allowed: 1 to 10`},
		"factor infinite":   {minimal + "recovery: {backoff: {factor: 1e999}}\n", `2: recovery.backoff.factor: "1e999" is out of range; allowed: 1 to 10`},

		"resay backwards": {minimal + "monitor:\n  resay: {initial: 10m}\n", `3: monitor.resay.max: 5m is less than initial, 10m; raise it, or lower initial`},
		"backoff backwards": {
			minimal + "recovery:\n  window: 24h\n  backoff:\n    initial: 1h\n",
			`5: recovery.backoff.max: 1m is less than initial, 1h; raise it, or lower initial`},
		"nobody would be asked": {
			minimal + "recovery:\n  maxFailures: 20\n",
			`3: recovery.window: within 10m there cannot be 20 failures, because backoff alone puts 14m3s between the first and the last: nobody would ever be asked; set it above 14m3s, or lower maxFailures or backoff.max`},

		"address":      {minimal + "listen: {worker: 9464}\n", `2: listen.worker: "9464" is not an address to listen on; write host:port, such as 127.0.0.1:9464, or :9464 for every interface`},
		"address host": {minimal + "listen: {worker: 'a b:1'}\n", `2: listen.worker: "a b:1" names neither an IP address nor a host; write host:port, such as 127.0.0.1:9464, or :9464 for every interface`},
		"address port": {minimal + "listen: {worker: 'localhost:http'}\n", `2: listen.worker: "localhost:http" has no valid port; allowed: 0 to 65535; 0 takes a free one`},

		"not UTF-8":       {minimal + "site: \xff\n", `2: the file is not UTF-8 text; save it as UTF-8`},
		"control":         {minimal + "\nsite: \x01\n", `3: the line has a control character ('\x01'); remove it`},
		"unknown anchor":  {minimal + "site: *there\n", `2: not valid YAML: unknown anchor 'there' referenced`},
		"tab":             {minimal + "monitor:\n\tsweep: 10s\n", `3: not valid YAML: found character that cannot start any token`},
		"open list":       {"site: a\nhosts: [{name: A\nmonitor: {}\n", `2: not valid YAML: did not find expected ',' or '}'`},
		"bad indentation": {"hosts:\n  - name: A\n - name: B\n", `3: not valid YAML: did not find expected key`},
		"colon":           {minimal + "site: a: b\n", `2: not valid YAML: mapping values are not allowed in this context`},
		"first line":      {"\tsite: a\n", `1: not valid YAML: found character that cannot start any token`},
		"garbage at end":  {minimal + "...\n}\n", `3: not valid YAML: did not find expected <document start>`},
	} {
		t.Run(name, func(t *testing.T) {
			site, err := Parse("site.yaml", []byte(c.file))
			require.Error(t, err)
			assert.Nil(t, site)
			assert.Equal(t, "site.yaml:"+strings.ReplaceAll(c.want, "\n", "\nsite.yaml:"), err.Error())
		})
	}
}

func TestEveryProblemIsReportedAtOnceInOrder(t *testing.T) {
	_, err := Parse("site.yaml", []byte("listen: {worker: x}\nmonitor: {sweep: 10, sweeep: 1s}\nsite: A\n"))
	var all Errors
	require.ErrorAs(t, err, &all)
	var fields []string
	for _, p := range all {
		fields = append(fields, fmt.Sprintf("%d %s", p.Line, p.Field))
	}
	assert.Equal(t, []string{"1 hosts", "1 listen.worker", "2 monitor.sweep", "2 monitor", "3 site"}, fields)

	var first Problem
	require.ErrorAs(t, errors.Join(errors.New("before"), err), &first)
	assert.Equal(t, Problem{
		File: "site.yaml", Line: 1, Column: 1, Field: "hosts",
		Message: "the site has no hosts", Hint: "list at least one, with name and uri",
	}, first)
}

func TestLoad(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "none.yaml"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	assert.ErrorContains(t, err, "docs/site.example.yaml")

	_, err = Load(t.TempDir())
	assert.ErrorContains(t, err, "is a directory")

	path := filepath.Join(t.TempDir(), "big.yaml")
	require.NoError(t, os.WriteFile(path, []byte(minimal+strings.Repeat("#", maxSize)), 0o600))
	_, err = Load(path)
	assert.ErrorContains(t, err, path+":1: the file is larger than 4 MiB")
}

func requireRoundTrip(t *testing.T, site *Site) {
	t.Helper()
	data, err := yaml.Marshal(site)
	require.NoError(t, err)
	again, err := Parse("marshalled.yaml", data)
	require.NoError(t, err, "%s", data)
	require.Equal(t, site, again)
}

// What a site file leaves out and what the ladder takes for granted are the same.
func TestDefaultPolicyIsTheLadders(t *testing.T) {
	require.Equal(t, ladder.DefaultPolicy(), Default().Recovery.Policy())
}
