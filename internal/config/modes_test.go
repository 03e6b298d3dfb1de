package config

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"holdfast/internal/annotation"
	"holdfast/internal/detect/rules"
	"holdfast/internal/fault"
)

func parse(t *testing.T, text string) *Site {
	t.Helper()
	site, err := Parse("site.yaml", []byte(minimal+text))
	require.NoError(t, err)
	return site
}

const classes = `classes:
- {name: careful, select: {tier: db, prod: yes}, mode: observe}
- {name: databases, select: {tier: db}, mode: repair, rules: {cpu: {raise: 95}, net: {off: true}}}
- {name: web, select: {tier: web}}
`

func TestClassOf(t *testing.T) {
	site := parse(t, classes)
	for want, labels := range map[string]map[string]string{
		"careful": {"tier": "db", "prod": "yes", "x": "y"}, "databases": {"tier": "db", "prod": "no"}, "web": {"tier": "web"}, "": {"prod": "yes"},
	} {
		assert.Equal(t, want, site.ClassOf(labels))
	}
	assert.Empty(t, site.ClassOf(nil))
	assert.Equal(t, map[string]rules.Override{"cpu": {Raise: new(95.0)}, "net": {Off: new(true)}}, site.OverridesFor(map[string]string{"tier": "db"}))
	assert.Nil(t, site.OverridesFor(map[string]string{"tier": "web"}))
	assert.Nil(t, site.OverridesFor(nil))
}

func TestModeFor(t *testing.T) {
	db, careful, web := map[string]string{"tier": "db"}, map[string]string{"tier": "db", "prod": "yes"}, map[string]string{"tier": "web"}
	const hung, crashed = fault.KindHung, fault.KindCrashed
	kinds := "kinds: {hung: {mode: observe}, crashed: {mode: repair}, host-off: {mode: repair}}\n"
	for _, c := range []struct {
		file      string
		kind      fault.Kind
		labels    map[string]string
		annotated string
		mode, why string
	}{
		{"", hung, nil, "", ModeObserve, "the site says observe"},
		{"mode: repair\n", hung, nil, "", ModeRepair, "the site says repair"},
		{"mode: repair\n", hung, nil, ModeObserve, ModeObserve, "the VM's annotation says observe"},
		{"", hung, nil, ModeRepair, ModeRepair, "the VM's annotation says repair, although the site says observe"},
		{"mode: repair\n", hung, nil, ModeRepair, ModeRepair, "the VM's annotation says repair"},
		{"mode: repair\n", hung, nil, "repare", ModeObserve, `the VM's annotation says "repare", which is no mode`},
		{classes, hung, db, "", ModeRepair, "its class databases says repair, although the site says observe"},
		{classes, hung, careful, "", ModeObserve, "its class careful says observe"},
		{"mode: repair\n" + classes, hung, careful, "", ModeObserve, "its class careful says observe"},
		{"mode: repair\n" + classes, hung, careful, ModeRepair, ModeRepair, "the VM's annotation says repair, although its class careful says observe"},
		{classes, hung, db, ModeObserve, ModeObserve, "the VM's annotation says observe"},
		{classes, hung, web, "", ModeObserve, "the site says observe"},
		{kinds + classes, hung, db, ModeRepair, ModeObserve, "the site file says observe for the kind hung, which neither a class nor an annotation lifts"},
		{kinds, crashed, nil, "", ModeRepair, "the site file for the kind crashed says repair, although the site says observe"},
		{kinds + classes, crashed, careful, "", ModeObserve, "its class careful says observe"},
		{kinds, crashed, nil, ModeObserve, ModeObserve, "the VM's annotation says observe"},
		// Of a host there are neither labels nor an annotation.
		{kinds + classes, fault.KindHostOff, db, ModeObserve, ModeRepair, "the site file for the kind host-off says repair, although the site says observe"},
		{kinds + classes, fault.KindPoolLost, db, ModeRepair, ModeObserve, "the site says observe"},
		// What a person asks for is done.
		{kinds + classes, fault.KindRequested, careful, ModeObserve, ModeRepair, "a person asked for it"},
	} {
		mode, why := parse(t, c.file).ModeFor(c.kind, c.labels, c.annotated)
		assert.Equal(t, c.mode+": "+c.why, mode+": "+why, "%+v", c)
		policy := parse(t, c.file).PolicyFor(c.kind, c.labels, c.annotated)
		assert.Equal(t, c.mode == ModeObserve, policy.Observe)
		if policy.Observe {
			assert.Equal(t, c.why, policy.ObserveWhy)
		}
		require.NoError(t, policy.Validate())
	}
	mode, why := (&Site{}).ModeFor(hung, nil, "")
	assert.Equal(t, ModeObserve+" nobody says repair", mode+" "+why)
}

// Nothing is repaired unless somebody says so, and a kind's observe always holds.
func TestModeIsNeverRepairByItself(t *testing.T) {
	modes := rapid.SampledFrom([]string{"", ModeObserve, ModeRepair})
	rapid.Check(t, func(t *rapid.T) {
		site := Default()
		site.Mode = modes.Draw(t, "site")
		class, kind := modes.Draw(t, "class"), modes.Draw(t, "kind")
		site.Classes = []Class{{Name: "a", Select: map[string]string{"a": "b"}, Mode: class}}
		k := rapid.SampledFrom(fault.Kinds()).Draw(t, "of")
		site.Kinds = map[fault.Kind]KindPolicy{k: {Mode: kind}}
		annotated := rapid.SampledFrom([]string{"", ModeObserve, ModeRepair, "x"}).Draw(t, "annotated")
		mode, why := site.ModeFor(k, map[string]string{"a": "b"}, annotated)
		require.NotEmpty(t, why)
		if k == fault.KindRequested {
			return
		}
		if mode == ModeRepair {
			require.NotEqual(t, ModeObserve, kind)
			require.Contains(t, []string{site.Mode, class, kind, annotated}, ModeRepair)
		} else {
			require.Equal(t, ModeObserve, mode)
		}
		if k.Subject() == fault.SubjectVM && annotated != "" && annotated != ModeRepair {
			require.Equal(t, ModeObserve, mode)
		}
	})
}

func TestModesAreTheAnnotations(t *testing.T) {
	assert.Equal(t, annotation.ModeObserve, ModeObserve)
	assert.Equal(t, ModeObserve, Default().Mode, "of a new site nothing is touched")
}

func TestResponseFor(t *testing.T) {
	site := parse(t, "kinds: {hung: {respond: alarm}, disk-full: {respond: incident}}\n")
	assert.Equal(t, fault.RespondAlarm, site.ResponseFor(fault.KindHung))
	assert.Equal(t, fault.RespondIncident, site.ResponseFor(fault.KindDiskFull))
	assert.Equal(t, fault.RespondIncident, site.ResponseFor(fault.KindCrashed))
	assert.Equal(t, fault.RespondAlarm, site.ResponseFor(fault.KindCPU))
}

func TestRuleSet(t *testing.T) {
	assert.Equal(t, rules.Defaults(), parse(t, "").RuleSet())

	site := parse(t, `rules:
- {name: memory, raise: 60}
- {name: cpu, raise: 85, for: 10m, level: major, select: {tier: db}}
- {name: net, off: true}
- {name: db-steal, metric: vm.steal, kind: cpu-pressure, raise: 10}
- {name: idle, metric: host.cpu, kind: host-cpu, below: true, raise: 5, clear: 7, for: 0s, respond: incident}
`)
	all := site.RuleSet()
	require.Len(t, all, len(rules.Defaults())+2)
	byName := map[string]rules.Rule{}
	for _, r := range all {
		byName[r.Name] = r
	}
	assert.Equal(t, rules.Rule{
		Name: "cpu", Metric: rules.VMCPU, Kind: fault.KindCPU, Raise: 85, Clear: 70, For: 10 * time.Minute, Warmup: 2 * time.Minute,
		Level: fault.Major, Select: map[string]string{"tier": "db"},
	}, byName["cpu"])
	assert.InDelta(t, 60, byName["memory"].Clear, 0, "clear is never above raise")
	assert.True(t, byName["net"].Off)
	assert.Equal(t, rules.Rule{
		Name: "db-steal", Metric: rules.VMSteal, Kind: fault.KindCPU, Raise: 10, Clear: 10, For: 5 * time.Minute, Warmup: 2 * time.Minute,
	}, byName["db-steal"])
	assert.Equal(t, rules.Rule{
		Name: "idle", Metric: rules.HostCPU, Kind: fault.KindHostCPU, Below: true, Raise: 5, Clear: 7, Response: fault.RespondIncident,
	}, byName["idle"])
	_, err := site.Book()
	require.NoError(t, err)
	_, err = parse(t, "").Book()
	require.NoError(t, err)
}
