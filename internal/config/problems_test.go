package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// host is a site file with this about its only host.
func host(extra string) string {
	return "hosts:\n- name: A\n  uri: qemu:///system\n  " + extra + "\n"
}

func TestProblemsOfDetection(t *testing.T) {
	const url = "write it like http://am.example.net:9093"
	for name, c := range map[string]struct{ file, want string }{
		"mode":       {minimal + "mode: repare\n", `2: mode: "repare" is not known; did you mean "repair"? (known: observe, repair)`},
		"mode empty": {minimal + "mode:\n", `2: mode: has no value; give it one, or remove the line`},

		"agent":            {host("agent: kvm1:9467"), `4: hosts[0].agent: is not a URL; ` + url},
		"agent scheme":     {host("agent: ftp://kvm1"), `4: hosts[0].agent: has the scheme "ftp"; ` + url},
		"agent host":       {host("agent: http:///x"), `4: hosts[0].agent: names no host; ` + url},
		"agent port":       {host("agent: http://a:99999"), `4: hosts[0].agent: has the port "99999"; allowed: 1 to 65535`},
		"agent password":   {host("agent: http://a:b@c"), `4: hosts[0].agent: holds a user or a password, and a site file is no place for one; put a token into a file of its own, and name that in tokenFile`},
		"agent fragment":   {host("agent: 'http://a#b'"), `4: hosts[0].agent: has a fragment; leave out # and what follows`},
		"agent token":      {host("agentTokenFile: /t"), `4: hosts[0].agentTokenFile: there is no agent to show it to; give agent too, or leave it out`},
		"token file":       {host("agent: http://a\n  agentTokenFile: t"), `5: hosts[0].agentTokenFile: "t" is not the whole path of a file; begin it with /`},
		"heartbeat":        {host("heartbeat: mnt/"), `4: hosts[0].heartbeat: "mnt/" is not the whole path of a file; begin it with /`},
		"one agent":        {"hosts:\n- {name: A, uri: 'qemu:///system', agent: http://a}\n- {name: B, uri: 'qemu:///session', agent: http://a}\n", `3: hosts[1].agent: is the same as hosts[0].agent, in line 2; each host has its own`},
		"one heartbeat":    {"hosts:\n- {name: A, uri: 'qemu:///system', heartbeat: /h}\n- {name: B, uri: 'qemu:///session', heartbeat: /h}\n", `3: hosts[1].heartbeat: is the same as hosts[0].heartbeat, in line 2; each host has its own`},
		"power":            {host("power: fence"), `4: hosts[0].power: is a single value, not a mapping; write fields under it, known: command, timeout`},
		"power command":    {host("power: {command: fence_ipmilan --ip=x}"), `4: hosts[0].power.command: is a single value, not a list; start each item with "- "`},
		"power empty":      {host("power:"), `4: hosts[0].power.command: is missing; list the program and its arguments, such as [fence_ipmilan, --ip=10.0.0.1, --action=status]`},
		"power shell":      {host("power: {command: [fence_ipmilan --ip=x]}"), `4: hosts[0].power.command[0]: is not the name of a program; list the program and each argument as an item: there is no shell`},
		"power timeout":    {host("power: {command: [x], timeout: 6m}"), `4: hosts[0].power.timeout: "6m" is out of range; allowed: 1s to 5m`},
		"power line break": {host(`power: {command: [x, "a\nb"]}`), `4: hosts[0].power.command[1]: has a line break or a control character; write one argument an item; there is no shell`},

		"classes":        {minimal + "classes: {a: b}\n", `2: classes: is a mapping, not a list; start each item with "- "`},
		"class unnamed":  {minimal + "classes:\n- select: {a: b}\n", `3: classes[0].name: is missing; give it one, such as databases`},
		"class name":     {minimal + "classes: [{name: a b, select: {a: b}}]\n", `2: classes[0].name: "a b" is not a valid name; allowed: [A-Za-z0-9._-]{1,63}`},
		"class of all":   {minimal + "classes:\n- name: a\n  select: {}\n", `4: classes[0].select: is missing; name at least one label, as in {tier: db}; what is for all VMs stands outside of classes`},
		"class twice":    {minimal + "classes:\n- {name: a, select: {a: b}}\n- {name: a, select: {a: c}}\n", `4: classes[1].name: is the same as classes[0].name; give it another`},
		"class mode":     {minimal + "classes: [{name: a, select: {a: b}, mode: off}]\n", `2: classes[0].mode: "off" is not known; known: observe, repair`},
		"label name":     {minimal + "classes: [{name: a, select: {a.b: c}}]\n", `2: classes[0].select: "a.b" is no name for a label; allowed: [A-Za-z0-9]([A-Za-z0-9_/-]*[A-Za-z0-9])?, at most 63 characters`},
		"label value":    {minimal + "classes: [{name: a, select: {a: ''}}]\n", `2: classes[0].select.a: the label a has no value; give it one, such as yes`},
		"label null":     {minimal + "classes: [{name: a, select: {a: }}]\n", `2: classes[0].select.a: has no value; give it one, or remove the line`},
		"label twice":    {minimal + "classes:\n- name: a\n  select:\n    a: b\n    a: c\n", `6: classes[0].select.a: is already set in line 5; keep one of the two`},
		"label list":     {minimal + "classes: [{name: a, select: {[a]: c}}]\n", `2: classes[0].select: has a list for a field's name; a field's name is a plain word`},
		"class no rule":  {minimal + "classes:\n- name: a\n  select: {a: b}\n  rules: {cpus: {raise: 90}}\n", `5: classes[0].rules.cpus: there is no such rule; known: cpu, steal, memory, disk-ops, disk-latency, net, net-drops, disk-full, clock, host-cpu, host-memory, host-disk, host-psi-cpu, host-psi-memory, host-psi-io, host-clock, pool-full`},
		"class field":    {minimal + "classes: [{name: a, select: {a: b}, rules: {cpu: {level: major}}}]\n", `2: classes[0].rules.cpu: unknown field "level"; known: raise, clear, for, off`},
		"class clear":    {minimal + "classes:\n- name: a\n  select: {a: b}\n  rules:\n    cpu:\n      clear: 90\n", `7: classes[0].rules.cpu.clear: 90 is above raise, 80; lower it to raise or less; between the two nothing changes`},
		"class host":     {minimal + "classes: [{name: a, select: {a: b}, rules: {host-cpu: {off: true}}}]\n", `2: classes[0].rules.host-cpu: is about a host, and a class is of VMs; change it under rules`},
		"class rulename": {minimal + "classes: [{name: a, select: {a: b}, rules: {CPU: {off: true}}}]\n", `2: classes[0].rules: "CPU" is not a valid name; allowed: [a-z0-9-]{1,63}`},

		"kind":          {minimal + "kinds: {hang: {mode: observe}}\n", `2: kinds: "hang" is not a kind of fault; did you mean "hung"? (known: crashed, start-failed, panicked, lost, hung, watchdog, io-error, no-space, paused, boot-failed, clock-skew, cpu-pressure, memory-pressure, disk-pressure, net-pressure, disk-full, alert, host-unreachable, host-off, libvirtd-dead, libvirtd-hung, memory-errors, host-cpu, host-memory, host-disk, host-psi, host-clock, pool-lost, pool-full, monitor-cut-off, temporal-unreachable, sampling-late, storm)`},
		"kind list":     {minimal + "kinds: [hung]\n", `2: kinds: is a list, not a mapping; write fields under it`},
		"kind field":    {minimal + "kinds: {hung: {moed: observe}}\n", `2: kinds.hung: unknown field "moed"; did you mean "mode"? (known: mode, respond, ladder)`},
		"kind twice":    {minimal + "kinds:\n  hung: {mode: repair}\n  hung: {mode: observe}\n", `4: kinds.hung: is already set in line 3; keep one of the two`},
		"kind respond":  {minimal + "kinds: {hung: {respond: email}}\n", `2: kinds.hung.respond: "email" is not known; known: incident, alarm`},
		"kind incident": {minimal + "kinds: {sampling-late: {respond: incident}}\n", `2: kinds.sampling-late.respond: an incident could do nothing about this kind; leave it out`},

		"rule unnamed":    {minimal + "rules:\n- raise: 5\n", `3: rules[0].name: is missing; give that of a default rule to change it, or one of your own`},
		"rule lacks":      {minimal + "rules:\n- name: cpus\n", "3: rules[0].metric: is missing; no default rule is called \"cpus\": did you mean \"cpu\"? " + defaultRules + "\n3: rules[0].kind: is missing; no default rule is called \"cpus\": did you mean \"cpu\"? " + defaultRules + "\n3: rules[0].raise: is missing; no default rule is called \"cpus\": did you mean \"cpu\"? " + defaultRules},
		"rule twice":      {minimal + "rules:\n- {name: cpu, raise: 85}\n- {name: cpu, raise: 90}\n", `4: rules[1].name: is the same as rules[0].name; make one of the two`},
		"rule metric":     {minimal + "rules: [{name: cpu, metric: vm.cpus}]\n", `2: rules[0].metric: "vm.cpus" is not known; did you mean "vm.cpu"? (known: vm.cpu, vm.steal, vm.memory, vm.disk.ops, vm.disk.latency, vm.disk.full, vm.net.bytes, vm.net.drops, vm.clock, host.cpu, host.memory, host.disk.ops, host.psi.cpu, host.psi.memory, host.psi.io, host.clock, pool.full)`},
		"rule kind":       {minimal + "rules: [{name: cpu, kind: crashed}]\n", `2: rules[0].kind: "crashed" is not known; known: cpu-pressure, memory-pressure, disk-pressure, net-pressure, disk-full, clock-skew, host-cpu, host-memory, host-disk, host-psi, host-clock, pool-full`},
		"rule mixed":      {minimal + "rules:\n- name: cpu\n  kind: host-cpu\n", `4: rules[0].kind: host-cpu is a fault of a host, and vm.cpu is measured of a vm; take a metric and a kind of one and the same`},
		"rule clear":      {minimal + "rules:\n- name: cpu\n  raise: 60\n  clear: 65\n", `5: rules[0].clear: 65 is above raise, 60; lower it to raise or less; between the two nothing changes`},
		"rule percent":    {minimal + "rules: [{name: cpu, raise: 800}]\n", `2: rules[0].raise: 800 is more than 100 %; allowed: 0 to 100`},
		"rule never":      {minimal + "rules: [{name: cpu, raise: 100}]\n", `2: rules[0].raise: nothing is ever above 100 %; write less than 100`},
		"rule number":     {minimal + "rules: [{name: cpu, raise: 80%}]\n", `2: rules[0].raise: "80%" is not a number; allowed: -1e+15 to 1e+15`},
		"rule for":        {minimal + "rules: [{name: cpu, for: 300}]\n", `2: rules[0].for: "300" has no unit; add one, as in 500ms, 10s, 5m or 1h30m`},
		"rule for long":   {minimal + "rules: [{name: cpu, for: 25h}]\n", `2: rules[0].for: "25h" is out of range; allowed: 0s to 24h`},
		"rule off":        {minimal + "rules: [{name: cpu, off: yes}]\n", `2: rules[0].off: "yes" is neither true nor false`},
		"rule level":      {minimal + "rules: [{name: cpu, level: high}]\n", `2: rules[0].level: "high" is not known; known: critical, major, warning`},
		"rule warmup":     {minimal + "rules: [{name: host-cpu, warmup: 1m}]\n", `2: rules[0].warmup: only of VMs it is known when they started; leave it out`},
		"rule select":     {minimal + "rules: [{name: host-cpu, select: {a: b}}]\n", `2: rules[0].select: only VMs have labels, and host.cpu is measured of a host; leave it out`},
		"rule slope":      {minimal + "rules: [{name: cpu, slope: true, for: 0s}]\n", `2: rules[0].for: a slope needs a time over which to measure it; write how far to look back, such as 10m`},
		"rule slope fast": {minimal + "rules: [{name: cpu, slope: true, for: 1m}]\nmonitor: {sample: 1m, hungAfter: 2m}\n", `2: rules[0].for: 1m is too short for a slope of what is measured every 1m; write 2m or more`},
		"rule below":      {minimal + "rules: [{name: idle, metric: vm.cpu, kind: cpu-pressure, below: true, raise: 5, clear: 2}]\n", `2: rules[0].clear: 2 is below raise, 5; lift it to raise or more; between the two nothing changes`},

		"sample":           {minimal + "monitor: {sample: 100ms}\n", `2: monitor.sample: "100ms" is out of range; allowed: 1s to 10m`},
		"pools":            {minimal + "monitor: {pools: 2h}\n", `2: monitor.pools: "2h" is out of range; allowed: 5s to 1h`},
		"hung at once":     {minimal + "monitor:\n  sample: 20s\n", `3: monitor.hungAfter: 30s is less than two samples, 20s apart: one that is lost would make a healthy VM look hung; raise it to 40s or more, or lower sample`},
		"silent too soon":  {minimal + "monitor: {callTimeout: 20s}\n", `2: monitor.unreachableAfter: 15s is less than callTimeout, 20s: a host that may still answer would count as silent; raise it to 20s or more, or lower callTimeout`},
		"boot":             {minimal + "monitor: {bootWithin: 1s}\n", `2: monitor.bootWithin: "1s" is out of range; allowed: 10s to 24h`},
		"temporal":         {minimal + "monitor: {temporalAfter: 1s}\n", `2: monitor.temporalAfter: "1s" is out of range; allowed: 5s to 1h`},
		"storm share":      {minimal + "monitor: {storm: {share: 0.3}}\n", `2: monitor.storm.share: "0.3" is out of range; allowed: 1 to 100`},
		"storm window":     {minimal + "monitor: {storm: {window: 1s}}\n", `2: monitor.storm.window: "1s" is out of range; allowed: 10s to 24h`},
		"flap once":        {minimal + "monitor: {flap: {raises: 1}}\n", `2: monitor.flap.raises: 1 would hold every fault; write 2 or more, or 0 for never`},
		"flap window":      {minimal + "monitor: {flap: {window: 1s}}\n", `2: monitor.flap.window: "1s" is out of range; allowed: 1m to 24h`},
		"vantage":          {minimal + "monitor: {vantages: {tcp: 1}}\n", `2: monitor.vantages.tcp: "1" is neither true nor false`},
		"peers":            {minimal + "monitor: {vantages: {peers: http://a}}\n", `2: monitor.vantages.peers: is a single value, not a list; start each item with "- "`},
		"peer":             {minimal + "monitor: {vantages: {peers: [a]}}\n", `2: monitor.vantages.peers[0]: is not a URL; ` + url},
		"peer twice":       {minimal + "monitor:\n  vantages:\n    peers:\n    - http://a\n    - http://a\n", `6: monitor.vantages.peers[1]: "http://a" is there twice; list it once`},
		"storm and sample": {minimal + "monitor: {sample: 1s, hungAfter: 1s}\n", `2: monitor.hungAfter: "1s" is out of range; allowed: 2s to 1h`},

		"alerts open":      {minimal + "alerts: {in: {listen: ':9466'}}\n", `2: alerts.in.listen: anybody who reaches ":9466" could have VMs restarted; set tokenFile or tls.clientCA, or listen on 127.0.0.1`},
		"alerts tls half":  {minimal + "alerts: {in: {tls: {cert: /c}}}\n", `2: alerts.in.tls.key: is missing; give cert and key, or leave tls out`},
		"alerts ca alone":  {minimal + "alerts: {in: {tls: {clientCA: /c}}}\n", `2: alerts.in.tls.cert: is missing; give cert and key, or leave tls out`},
		"alerts tls file":  {minimal + "alerts: {in: {tls: {cert: c, key: /k}}}\n", `2: alerts.in.tls.cert: "c" is not the whole path of a file; begin it with /`},
		"alerts port":      {minimal + "alerts: {in: {listen: '127.0.0.1:9465'}}\n", `2: alerts.in.listen: is the same as listen.monitor; take another port`},
		"alerts body":      {minimal + "alerts: {in: {maxBody: 1048576}}\n", `2: alerts.in.maxBody: "1048576" has no unit; add one, as in 512KiB or 1MiB`},
		"alerts body unit": {minimal + "alerts: {in: {maxBody: 1MB}}\n", `2: alerts.in.maxBody: "1MB" is not a size; write it like 512KiB or 1MiB`},
		"alerts body big":  {minimal + "alerts: {in: {maxBody: 65MiB}}\n", `2: alerts.in.maxBody: "65MiB" is out of range; allowed: 1KiB to 64MiB`},
		"alerts rate":      {minimal + "alerts: {in: {rate: 0}}\n", `2: alerts.in.rate: "0" is out of range; allowed: 0.1 to 10000`},
		"alerts burst":     {minimal + "alerts: {in: {burst: 0}}\n", `2: alerts.in.burst: "0" is out of range; allowed: 1 to 10000`},
		"alerts label":     {minimal + "alerts: {in: {vm: [my-vm]}}\n", `2: alerts.in.vm[0]: "my-vm" is not a valid name; allowed: [A-Za-z_][A-Za-z0-9_]*`},
		"alerts of what":   {minimal + "alerts: {in: {vm: [], host: []}}\n", `2: alerts.in.vm: no alert would be about anything; name at least one label, in vm or in host`},
		"alerts match all": {minimal + "alerts: {in: {kinds: [{kind: hung}]}}\n", `2: alerts.in.kinds[0].match: is missing, or matches every alert; name at least one label, such as alertname`},
		"alerts no kind":   {minimal + "alerts: {in: {kinds: [{match: {a: b}}]}}\n", `2: alerts.in.kinds[0].kind: is missing; name the kind of fault`},
		"alerts pool":      {minimal + "alerts: {in: {kinds: [{match: {a: b}, kind: storm}]}}\n", `2: alerts.in.kinds[0].kind: "storm" is not known; known: crashed, start-failed, panicked, lost, hung, watchdog, io-error, no-space, paused, boot-failed, clock-skew, cpu-pressure, memory-pressure, disk-pressure, net-pressure, disk-full, alert, host-unreachable, host-off, libvirtd-dead, libvirtd-hung, memory-errors, host-cpu, host-memory, host-disk, host-psi, host-clock`},
		"alerts empty":     {minimal + "alerts: {in: {kinds: [{match: {a: ''}, kind: hung}]}}\n", `2: alerts.in.kinds[0].match.a: the label a has no value; an alert without the label would match: give it one`},
		"out no url":       {minimal + "alerts:\n  out:\n    webhook:\n    - tokenFile: /t\n", `5: alerts.out.webhook[0].url: is missing; give its address, such as http://am.example.net:9093`},
		"out twice":        {minimal + "alerts: {out: {alertmanager: [{url: http://a}, {url: http://a}]}}\n", `2: alerts.out.alertmanager[1].url: is the same as alerts.out.alertmanager[0].url; list it once`},
		"out token":        {minimal + "alerts: {out: {webhook: [{url: http://a, token: x}]}}\n", `2: alerts.out.webhook[0]: unknown field "token"; did you mean "tokenFile"? (known: url, tokenFile, caFile)`},
	} {
		t.Run(name, func(t *testing.T) {
			site, err := Parse("site.yaml", []byte(c.file))
			require.Error(t, err)
			assert.Nil(t, site)
			assert.Equal(t, "site.yaml:"+strings.ReplaceAll(c.want, "\n", "\nsite.yaml:"), err.Error())
		})
	}
}

const defaultRules = "(known: cpu, steal, memory, disk-ops, disk-latency, net, net-drops, disk-full, clock, host-cpu, host-memory, host-disk, host-psi-cpu, host-psi-memory, host-psi-io, host-clock, pool-full)"

// What may be a secret is refused where it would be shown, and no error shows it.
func TestSecretsAreRefusedAndNeverShown(t *testing.T) {
	const secret = "hunter2"
	command := func(args string) string { return host("power: {command: [" + args + "]}") }
	for file, hint := range map[string]string{
		command("fence_ipmilan, --password=hunter2"):                                                           "--password-script=FILE",
		command("fence_ipmilan, -phunter2"):                                                                    "--password-script=FILE",
		command("fence_ipmilan, -p, hunter2"):                                                                  "--password-script=FILE",
		command("fence_ipmilan, --password, hunter2"):                                                          "--password-script=FILE",
		command("fence_apc_snmp, --snmp-priv-passwd=hunter2"):                                                  "--password-script=FILE",
		command("own, passwd=hunter2"):                                                                         "--password-script=FILE",
		command("own, --api-token=hunter2"):                                                                    "--password-script=FILE",
		command("/usr/bin/ipmitool, -Phunter2"):                                                                "ipmitool has -f FILE",
		command("ipmitool, -U, x, -P, hunter2"):                                                                "ipmitool has -f FILE",
		host("power: {command: --password=hunter2}"):                                                           "start each item with",
		host("agent: http://x:hunter2@a"):                                                                      "tokenFile",
		minimal + "alerts: {out: {webhook: [{url: 'https://x:hunter2@a/'}]}}\n":                                "tokenFile",
		minimal + "alerts: {out: {webhook: [{url: 'ftp://a/hunter2'}]}}\n":                                     "http://",
		minimal + "alerts: {out: {webhook: [{url: 'https://a:0/hunter2'}, {url: 'https://a:%zz/hunter2'}]}}\n": "1 to 65535",
		minimal + "alerts: {out: {webhook: [{url: 'https://a/hunter2'}, {url: 'https://a/hunter2'}]}}\n":       "list it once",
		minimal + "classes: [{name: a, select: {'qemu+ssh://root:hunter2@kvm1/system': b}}]\n":                 "allowed: ",
	} {
		_, err := Parse("site.yaml", []byte(file))
		require.ErrorContains(t, err, hint, file)
		assert.NotContains(t, err.Error(), secret, file)
	}
	for _, fine := range []string{
		"fence_ipmilan, --password-script=/etc/holdfast/bmc, --lanplus, --action=status", "fence_ipmilan, -P, -o, status", "fence_ipmilan, -S, /x, --plug=1",
		"/usr/bin/ipmitool, -f, /etc/holdfast/bmc, power, status",
	} {
		_, err := Parse("site.yaml", []byte(command(fine)))
		require.NoError(t, err, fine)
	}
}

func TestAlertsListenWhereNobodyElseReaches(t *testing.T) {
	for _, in := range []string{
		"listen: '127.0.0.1:9466'", "listen: '[::1]:9466'", "listen: 'localhost:0'", "listen: ':9466', tokenFile: /t",
		"listen: ':9466', tls: {cert: /c, key: /k, clientCA: /a}", "tokenFile: /t",
	} {
		_, err := Parse("site.yaml", []byte(minimal+"alerts: {in: {"+in+"}}\n"))
		require.NoError(t, err, in)
	}
}
