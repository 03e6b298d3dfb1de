package annotation

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"holdfast/internal/detect/rules"
)

// domain is a definition with this in its metadata.
func domain(metadata string) string {
	return "<domain type='kvm'><name>x</name><metadata>" + metadata + "</metadata><devices/></domain>"
}

// ours is our element with these attributes and content.
func element(attrs, content string) string {
	return `<holdfast:vm xmlns:holdfast="` + Namespace + `" ` + attrs + `>` + content + `</holdfast:vm>`
}

func TestParseReadsADefinition(t *testing.T) {
	data, err := os.ReadFile("testdata/domain.xml")
	require.NoError(t, err)
	p, err := Parse(string(data))
	require.NoError(t, err)
	assert.Equal(t, Profile{
		Annotation: Annotation{
			Mode: ModeObserve, AgentExpected: true,
			Labels: map[string]string{"tier": "db", "owner": "Accounts & Co."},
			Overrides: map[string]rules.Override{
				"cpu": {Raise: new(95.0), Clear: new(90.0), For: new(10 * time.Minute)},
				"net": {Off: new(true)},
			},
		},
		HasAgent: true,
		Disks: []Disk{
			{Target: "vda", Source: "/var/lib/libvirt/images/db1.qcow2"},
			{Target: "vdb", Source: "/dev/vg0/db1-data"},
			{Target: "vdc", Source: "db1-log", Pool: "fast"},
			{Target: "vdd", Source: "rbd/db1-archive"},
			{Target: "sda", ReadOnly: true},
		},
	}, p)
}

func TestParseOfWhatSaysNothing(t *testing.T) {
	for _, definition := range []string{
		"<domain/>", domain(""), domain("<other xmlns='http://example.net'><vm mode='observe'/></other>"), domain("<vm mode='x'/>"),
		domain(element("", "")), domain(`<vm xmlns="` + Namespace + `"/>`),
	} {
		p, err := Parse(definition)
		require.NoError(t, err, definition)
		assert.Equal(t, Profile{}, p, definition)
		assert.True(t, p.Empty())
	}
}

// What libvirt makes of an element whose prefix it chose itself.
func TestParseTakesAnyPrefix(t *testing.T) {
	for _, e := range []string{
		`<h:vm xmlns:h="` + Namespace + `" mode="repair"><h:label name="a" value="b"/></h:vm>`,
		`<vm xmlns="` + Namespace + `" mode="repair"><label name="a" value="b"/></vm>`,
		`<h:vm xmlns:h="` + Namespace + `" xmlns:o="urn:o" h:mode="repair" o:x="y"><o:z/><h:label h:name="a" value="b"/></h:vm>`,
	} {
		p, err := Parse(domain(e))
		require.NoError(t, err, e)
		assert.Equal(t, Annotation{Mode: ModeRepair, Labels: map[string]string{"a": "b"}}, p.Annotation)
	}
}

func TestParseSaysWhatIsWrongAndIsCareful(t *testing.T) {
	const observed = ", so the VM is observed only; "
	for want, metadata := range map[string]string{
		`mode: "obsrve" is not a mode` + observed + `known: observe, repair`:                                element(`mode="obsrve"`, ""),
		`vm: has an unknown attribute "mdoe"` + observed + `known: mode, agent`:                             element(`mode="repair" mdoe="observe"`, ""),
		`vm: has an unknown element "labels"` + observed + `known: label, rule`:                             element(`mode="repair"`, "<holdfast:labels/>"),
		`vm: has an element "label" outside of our namespace` + observed + `write <holdfast:label>`:         element(`mode="repair"`, "<label name='a' value='b'/>"),
		`metadata: has our element twice` + observed + `remove it`:                                          element(`mode="repair"`, "") + element(`mode="repair"`, ""),
		`metadata: has an unknown element "host" of ours` + observed + `known: vm`:                          `<host xmlns="` + Namespace + `"/>`,
		`metadata: "https://holdfast.dev/xmlns/domain/2" is not a namespace that this release knows`:        `<vm xmlns="https://holdfast.dev/xmlns/domain/2"/>`,
		`label: "" is no name for a label` + observed + `allowed: [A-Za-z0-9]`:                              element("", "<holdfast:label/>"),
		`label: "a.b" is no name for a label` + observed:                                                    element("", "<holdfast:label name='a.b' value='c'/>"),
		`label: "mode" is no name for a label` + observed + `it is a setting of its own`:                    element("", "<holdfast:label name='mode' value='c'/>"),
		`label: the label a has no value` + observed:                                                        element("", "<holdfast:label name='a'/>"),
		`label: the value of the label a is too long` + observed + `allowed: 128 bytes`:                     element("", "<holdfast:label name='a' value='"+strings.Repeat("x", 129)+"'/>"),
		`label: the value of the label a is not plain text` + observed:                                      element("", "<holdfast:label name='a' value='x&#10;y'/>"),
		`label: "a" is there twice` + observed + `keep one of the two`:                                      element("", "<holdfast:label name='a' value='b'/><holdfast:label name='a' value='c'/>"),
		"the definition is not XML as libvirt writes it (line 2); look at it with virsh dumpxml --inactive": "\n<a>",
	} {
		p, err := Parse(domain(metadata))
		require.ErrorContains(t, err, want)
		assert.Equal(t, ModeObserve, p.Mode, want)
	}
}

// A mistake about a rule leaves the site's rule as it is, and everything else too.
func TestParseUnderstandsTheRest(t *testing.T) {
	p, err := Parse(domain(element(`mode="repair" agent="maybe"`, `
		<holdfast:label name="tier" value="db"/>
		<holdfast:rule name="cpu" raise="95 %" for="10m" colour="red"/>
		<holdfast:rule name="cpu" raise="1"/>
		<holdfast:rule name="net" off="yes"/>
		<holdfast:rule name="steal" raise="NaN" clear="Inf" for="-1s"/>
		<holdfast:rule name="clock" for="25h"/>
		<holdfast:rule/>
	`)))
	require.Error(t, err)
	assert.Equal(t, strings.Join([]string{
		`agent: "maybe" is not known; known: expected`,
		`rule cpu: raise: "95 %" is not a number; write one, such as 95`,
		`rule cpu: colour: has no field "colour"; known: raise, clear, for, off`,
		`rule cpu: is there twice; the first counts`,
		`rule net: off: "yes" is neither true nor false`,
		`rule steal: raise: "NaN" is not a number; write one, such as 95`,
		`rule steal: clear: "Inf" is not a number; write one, such as 95`,
		`rule steal: for: "-1s" is not a duration from 0s to 24h; write one, such as 10m`,
		`rule clock: for: "25h" is not a duration from 0s to 24h; write one, such as 10m`,
		`rule: "" is no name for a rule; allowed: [a-z0-9-]{1,63}`,
	}, "\n"), err.Error())
	assert.Equal(t, Annotation{
		Mode: ModeRepair, Labels: map[string]string{"tier": "db"}, Overrides: map[string]rules.Override{"cpu": {For: new(10 * time.Minute)}},
	}, p.Annotation)
}

func TestParseTakesSoManyAndNoMore(t *testing.T) {
	var labels, rule strings.Builder
	for i := range 100 {
		fmt.Fprintf(&labels, "<holdfast:label name='l%d' value='x'/>", i)
		fmt.Fprintf(&rule, "<holdfast:rule name='r%d' raise='1'/>", i)
	}
	p, err := Parse(domain(element("mode='repair'", labels.String())))
	require.ErrorContains(t, err, `label: "l32" is one too many, so the VM is observed only; allowed: 32`)
	assert.Len(t, p.Labels, maxLabels)
	assert.Equal(t, ModeObserve, p.Mode)
	p, err = Parse(domain(element("mode='repair'", rule.String())))
	require.ErrorContains(t, err, `rule r64: is one too many; allowed: 64`)
	assert.Len(t, p.Overrides, maxRules)
	assert.Equal(t, ModeRepair, p.Mode)
}

// A definition holds passwords, and no error shows one.
func TestErrorsShowNothingOfTheDefinition(t *testing.T) {
	for _, broken := range []string{
		"<domain><graphics passwd='hunter2'></domain>", "<domain><graphics passwd='a&hunter2;'/></domain>",
		"<domain><graphics passwd=hunter2/></domain>", "<domain><hunter2></domain>", "<?xml version='1.0' encoding='hunter2'?><domain/>",
		"<domain><a hunter2></a></domain>", "<hunter2", "<domain>\xffhunter2</domain>", "<domain xmlns:hunter2=''><hunter2:a hunter2",
	} {
		p, err := Parse(broken)
		require.Error(t, err, broken)
		assert.NotContains(t, err.Error(), "hunter2")
		assert.Equal(t, ModeObserve, p.Mode)
	}
}

func TestElement(t *testing.T) {
	text, err := Element(Annotation{})
	require.NoError(t, err)
	assert.Empty(t, text)

	text, err = Element(Annotation{
		Mode: ModeRepair, AgentExpected: true, Labels: map[string]string{"tier": "db", "owner": `A & <B> "C"`},
		Overrides: map[string]rules.Override{"net": {Off: new(false)}, "cpu": {Raise: new(95.5), Clear: new(0.0), For: new(time.Hour)}},
	})
	require.NoError(t, err)
	assert.Equal(t, `<holdfast:vm xmlns:holdfast="https://holdfast.dev/xmlns/domain/1" mode="repair" agent="expected">`+
		`<holdfast:label name="owner" value="A &amp; &lt;B&gt; &#34;C&#34;"/><holdfast:label name="tier" value="db"/>`+
		`<holdfast:rule name="cpu" raise="95.5" clear="0" for="1h"/><holdfast:rule name="net" off="false"/></holdfast:vm>`, text)
}

func TestElementRefusesWhatWouldNotBeReadAgain(t *testing.T) {
	zero := 0.0
	for want, a := range map[string]Annotation{
		`mode: "x" is not a mode`:                                  {Mode: "x"},
		`label: "a.b" is no name for a label`:                      {Labels: map[string]string{"a.b": "c"}},
		`rule: "A" is no name for a rule`:                          {Overrides: map[string]rules.Override{"A": {Raise: new(1.0)}}},
		`rule cpu: raise: "NaN" is not a number`:                   {Overrides: map[string]rules.Override{"cpu": {Raise: new(zero / zero)}}},
		`rule cpu: for: "25h" is not a duration`:                   {Overrides: map[string]rules.Override{"cpu": {For: new(25 * time.Hour)}}},
		`label: the value of the label a is not plain text; use c`: {Labels: map[string]string{"a": "\x00"}},
	} {
		text, err := Element(a)
		require.ErrorContains(t, err, want)
		assert.Empty(t, text)
	}
}

func TestApply(t *testing.T) {
	args := strings.Fields
	a, err := Apply(Annotation{}, args("tier=db cpu.raise=95 cpu.for=10m mode=observe agent=expected tier- prod=a=b net.off=true"))
	require.NoError(t, err)
	assert.Equal(t, Annotation{
		Mode: ModeObserve, AgentExpected: true, Labels: map[string]string{"prod": "a=b"},
		Overrides: map[string]rules.Override{"cpu": {Raise: new(95.0), For: new(10 * time.Minute)}, "net": {Off: new(true)}},
	}, a)

	before := a.clone()
	b, err := Apply(a, args("prod- prod- cpu.raise- cpu.clear=80 net.- mode- agent- none- x.for-"))
	require.NoError(t, err)
	assert.Equal(t, Annotation{Overrides: map[string]rules.Override{"cpu": {Clear: new(80.0), For: new(10 * time.Minute)}}}, b)
	assert.Equal(t, before, a, "the first is as it was")

	b, err = Apply(b, args("cpu.-"))
	require.NoError(t, err)
	assert.Equal(t, Annotation{}, b)
}

func TestApplyNamesTheArgument(t *testing.T) {
	for arg, want := range map[string]string{
		"tier":            "tier: neither sets nor takes away anything; write one of: LABEL=VALUE",
		"":                ": neither sets nor takes away anything",
		"tier=":           "tier=: the label tier has no value",
		"-":               `-: "" is no name for a label`,
		"ti er=db":        `"ti er" is no name for a label; allowed: `,
		"cpu.rise=95":     `cpu.rise=95: a rule has no field "rise"; known: raise, clear, for, off`,
		"cpu.rise-":       `cpu.rise-: a rule has no field "rise"; known: raise, clear, for, off`,
		"cpu.raise=95%":   `cpu.raise=95%: "95%" is not a number; write one, such as 95`,
		"cpu.for=10":      `cpu.for=10: "10" is not a duration from 0s to 24h; write one, such as 10m`,
		"cpu.off=yes":     `cpu.off=yes: "yes" is neither true nor false`,
		".raise=1":        `.raise=1: "" is no name for a rule; write RULE.FIELD=VALUE; fields: raise, clear, for, off`,
		"C.raise-":        `"C" is no name for a rule`,
		"mode=off":        `mode=off: "off" is not a mode; known: observe, repair; mode- leaves it to the site`,
		"agent=yes":       `agent=yes: "yes" is not known; known: expected; agent- takes it away`,
		"a\x00=b":         `is no name for a label`,
		"cpu.raise=1e999": "is not a number",
	} {
		was := Annotation{Mode: ModeRepair}
		a, err := Apply(was, []string{"mode=observe", arg})
		require.ErrorContains(t, err, want, arg)
		assert.Equal(t, was, a, "nothing is changed")
	}
	_, err := Apply(Annotation{}, []string{"x", "mode=y"})
	require.ErrorContains(t, err, "x: ")
	require.ErrorContains(t, err, "mode=y: ")

	var many []string
	for i := range maxLabels + 1 {
		many = append(many, fmt.Sprintf("l%d=x", i))
	}
	_, err = Apply(Annotation{}, many)
	require.ErrorContains(t, err, "labels: there are 33; allowed: 32")
}

// What is written is read again, and what is applied can be written.
func TestElementAndParseAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOfN(rapid.OneOf(
			rapid.SampledFrom([]string{"mode=observe", "mode=repair", "mode-", "agent=expected", "agent-", "tier=db", "tier-", "cpu.-", "cpu.raise-", "x"}),
			rapid.Map(rapid.Float64(), func(f float64) string { return fmt.Sprintf("cpu.raise=%v", f) }),
			rapid.Map(rapid.Int64Range(0, int64(maxFor)), func(d int64) string { return fmt.Sprintf("net.for=%s", time.Duration(d)) }),
			rapid.Map(rapid.String(), func(s string) string { return "owner=" + s }),
			rapid.String(),
		), 0, 12).Draw(t, "args")
		a := Annotation{}
		for _, w := range words {
			if next, err := Apply(a, []string{w}); err == nil {
				a = next
			}
		}
		text, err := Element(a)
		require.NoError(t, err)
		p, err := Parse(domain(text))
		require.NoError(t, err, text)
		require.Equal(t, a, p.Annotation)
	})
}

// FuzzParse: whatever the definition holds, a Profile comes out that can be
// written; and one with an error about anything but rules and the agent is of a
// VM that is observed only.
func FuzzParse(f *testing.F) {
	data, err := os.ReadFile("testdata/domain.xml")
	require.NoError(f, err)
	f.Add(string(data))
	for _, seed := range []string{
		"", "<", "<domain/>", domain(element("mode='observe'", "<holdfast:rule name='cpu' raise='1e999'/>")), domain(element("a='b'", "x<y/>")),
		"<domain><metadata><vm xmlns='" + Namespace + "' mode='repair' mode='observe'/></metadata></domain>", "<!DOCTYPE a [<!ENTITY b 'c'>]><domain>&b;</domain>",
		"<domain><devices><disk><source file='a'/><source dev='b'/><target/></disk><disk/><channel/></devices></domain>",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, definition string) {
		p, err := Parse(definition)
		text, writes := Element(p.Annotation)
		require.NoError(t, writes, "what was understood can be written")
		again, reads := Parse(domain(text))
		require.NoError(t, reads)
		require.Equal(t, p.Annotation, again.Annotation)
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				harmless := strings.HasPrefix(line, "rule") || strings.HasPrefix(line, "agent: ")
				require.True(t, harmless || p.Mode == ModeObserve, "%s", line)
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	data, err := os.ReadFile("testdata/domain.xml")
	require.NoError(b, err)
	definition := string(data)
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := Parse(definition); err != nil {
			b.Fatal(err)
		}
	}
}
