package rules

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"holdfast/internal/fault"
)

func TestDefaultsMakeABook(t *testing.T) {
	book, err := NewBook(Defaults(), Flap{Raises: 4, Window: 30 * time.Minute}, period)
	require.NoError(t, err)
	seen := 0
	for _, s := range []fault.SubjectType{fault.SubjectVM, fault.SubjectHost, fault.SubjectPool} {
		seen += len(book.For(s, nil, nil).Rules())
	}
	assert.Equal(t, len(Defaults()), seen)
	assert.Empty(t, book.For(fault.SubjectSite, nil, nil).Rules())
}

func TestEveryMetricIsInItsPlaceAndHasADefaultRule(t *testing.T) {
	used := map[Metric]bool{}
	for _, r := range Defaults() {
		used[r.Metric] = true
	}
	for i, m := range Metrics() {
		assert.Equal(t, i, byMetric[m])
		assert.NotEmpty(t, m.Unit(), m)
		assert.True(t, used[m], m)
		assert.True(t, strings.HasPrefix(string(m), string(m.Subject())+"."), m)
		assert.Equal(t, m == VMDiskFull, m.ByDevice())
	}
	assert.False(t, Metric("x").Known())
	assert.Empty(t, Metric("x").Subject())
	assert.LessOrEqual(t, int(metricCount), 32, "Values.known has a bit for each")
}

func TestNewBookSaysWhatMakesNoSense(t *testing.T) {
	for want, c := range map[string]func(*Rule){
		`rule : name: "" is not a valid name; allowed: [a-z0-9-]{1,63}`:                                func(r *Rule) { r.Name = "" },
		`rule a.b: name: "a.b" is not a valid name`:                                                    func(r *Rule) { r.Name = "a.b" },
		`rule cpu: metric: "vm.x" is not a metric; known: vm.cpu, vm.steal`:                            func(r *Rule) { r.Metric = "vm.x" },
		`rule cpu: kind: "crashed" is not a kind of fault that a rule can raise; known: cpu-pressure`:  func(r *Rule) { r.Kind = fault.KindCrashed },
		`rule cpu: kind: host-cpu is a fault of a host, and vm.cpu is measured of a vm`:                func(r *Rule) { r.Kind = fault.KindHostCPU },
		`rule cpu: clear: 81 is above raise, 80; lower it`:                                             func(r *Rule) { r.Clear = 81 },
		`rule cpu: clear: 70 is below raise, 80; lift it`:                                              func(r *Rule) { r.Below = true },
		`rule cpu: raise: NaN is not a number`:                                                         func(r *Rule) { r.Raise = math.NaN() },
		`rule cpu: clear: -Inf is not a number`:                                                        func(r *Rule) { r.Clear = math.Inf(-1) },
		`rule cpu: clear: -1 is less than the metric can be`:                                           func(r *Rule) { r.Clear = -1 },
		`rule cpu: raise: 101 is more than 100 %`:                                                      func(r *Rule) { r.Raise = 101 },
		`rule cpu: raise: nothing is ever above 100 %`:                                                 func(r *Rule) { r.Raise = 100 },
		`rule cpu: raise: nothing is ever below 0`:                                                     func(r *Rule) { r.Below, r.Raise, r.Clear = true, 0, 1 },
		`rule cpu: for: -1s is out of range; allowed: 0s to 24h`:                                       func(r *Rule) { r.For = -time.Second },
		`rule cpu: warmup: 25h is out of range`:                                                        func(r *Rule) { r.Warmup = 25 * time.Hour },
		`rule cpu: for: a slope needs a time`:                                                          func(r *Rule) { r.Slope, r.For = true, 0 },
		`rule cpu: for: 15s is too short for a slope of what is measured every 10s; write 20s or more`: func(r *Rule) { r.Slope, r.For = true, 15*time.Second },
		`rule cpu: level: "bad" is not a level; known: critical, major, warning`:                       func(r *Rule) { r.Level = "bad" },
		`rule cpu: respond: "shout" is not a response; known: incident, alarm`:                         func(r *Rule) { r.Response = "shout" },
		`rule cpu: select: only VMs have labels, and host.cpu is measured of a host; leave it out`: func(r *Rule) {
			r.Metric, r.Kind, r.Select = HostCPU, fault.KindHostCPU, map[string]string{"a": "b"}
		},
		`rule cpu: warmup: only of VMs it is known when they started; leave it out`: func(r *Rule) {
			r.Metric, r.Kind, r.Warmup = PoolFull, fault.KindPoolFull, time.Second
		},
	} {
		_, err := NewBook([]Rule{cpu(c)}, Flap{}, period)
		assert.ErrorContains(t, err, want)
		var p Problem
		assert.True(t, errors.As(err, &p), want)
	}
	_, err := NewBook([]Rule{cpu(), cpu()}, Flap{}, period)
	require.ErrorContains(t, err, "rule cpu: name: two rules have it")
	_, err = NewBook(nil, Flap{Raises: 1, Window: time.Minute}, period)
	require.ErrorContains(t, err, "flap: 1 raises within 1m hold nothing or everything")
	_, err = NewBook(nil, Flap{Raises: 2}, period)
	require.ErrorContains(t, err, "flap: ")
	_, err = NewBook(nil, Flap{}, 0)
	require.ErrorContains(t, err, "period: 0s is no time between two samples")
}

func TestSetsAreSelectedAndShared(t *testing.T) {
	book, err := NewBook([]Rule{
		cpu(),
		cpu(func(r *Rule) { r.Name, r.Select = "db", map[string]string{"tier": "db", "prod": "yes"} }),
		{Name: "host-cpu", Metric: HostCPU, Kind: fault.KindHostCPU, Raise: 80, Clear: 70},
	}, Flap{}, period)
	require.NoError(t, err)
	names := func(s *Set) string {
		var n []string
		for _, r := range s.Rules() {
			n = append(n, r.Name)
		}
		return strings.Join(n, " ")
	}
	plain := book.For(fault.SubjectVM, nil, nil)
	assert.Equal(t, "cpu", names(plain))
	assert.Same(t, plain, book.For(fault.SubjectVM, map[string]string{"tier": "db", "other": "x"}, map[string]Override{"host-cpu": {}}))
	assert.Equal(t, "cpu db", names(book.For(fault.SubjectVM, map[string]string{"tier": "db", "prod": "yes"}, nil)))
	assert.Equal(t, "host-cpu", names(book.For(fault.SubjectHost, nil, nil)))

	raise, other, off, on, span := 90.0, 91.0, true, false, time.Second
	different := []map[string]Override{
		nil, {"cpu": {Raise: &raise}}, {"cpu": {Raise: &other}}, {"cpu": {Clear: &raise}}, {"cpu": {Off: &off}}, {"cpu": {Off: &on}}, {"cpu": {For: &span}},
	}
	seen := map[*Set]bool{}
	for _, o := range different {
		s := book.For(fault.SubjectVM, nil, o)
		assert.False(t, seen[s], "%v", o)
		seen[s] = true
		assert.Same(t, s, book.For(fault.SubjectVM, nil, o))
	}
}

func TestOverrides(t *testing.T) {
	book, err := NewBook([]Rule{cpu(), cpu(func(r *Rule) { r.Name, r.Below, r.Raise, r.Clear = "idle", true, 5, 10 })}, Flap{}, period)
	require.NoError(t, err)
	num := func(f float64) *float64 { return &f }
	effective := func(name string, o Override) Rule {
		for _, r := range book.For(fault.SubjectVM, nil, map[string]Override{name: o}).Rules() {
			if r.Name == name {
				return *r
			}
		}
		t.Fatalf("no rule %s", name)
		return Rule{}
	}
	span := 10 * time.Minute
	assert.Equal(t, cpu(func(r *Rule) { r.Raise, r.Clear, r.For = 95, 90, span }), effective("cpu", Override{Raise: num(95), Clear: num(90), For: &span}))
	assert.Equal(t, cpu(func(r *Rule) { r.Raise = 95 }), effective("cpu", Override{Raise: num(95)}), "clear stays")
	assert.Equal(t, cpu(func(r *Rule) { r.Raise, r.Clear = 60, 60 }), effective("cpu", Override{Raise: num(60)}), "clear would be above raise")
	assert.InDelta(t, 20.0, effective("idle", Override{Raise: num(20)}).Clear, 0)
	assert.InDelta(t, 10.0, effective("idle", Override{Raise: num(2)}).Clear, 0)

	// What makes no sense is passed over and named.
	off := true
	for _, bad := range []Override{{Raise: num(math.NaN())}, {Raise: num(500)}, {Clear: num(81)}, {Raise: num(50), Clear: num(60)}, {Raise: num(95), For: new(time.Duration(-1))}} {
		assert.Equal(t, cpu(), effective("cpu", bad))
		assert.NotEmpty(t, book.Problems(map[string]Override{"cpu": bad}))
		bad.Off = &off
		assert.True(t, effective("cpu", bad).Off)
	}
	found := book.Problems(map[string]Override{"cpu": {}, "gpu": {}, "idle": {Clear: num(1)}})
	require.Len(t, found, 2)
	assert.Equal(t, "rule gpu: name: there is no such rule; known: cpu, idle", found[0].Error())
	assert.Equal(t, "rule idle: clear: 1 is below raise, 5; lift it to raise or more; between the two nothing changes", found[1].Error())
	assert.Empty(t, book.Problems(map[string]Override{"cpu": {Raise: num(60)}}))
}

// A metric that is measured less often has longer gaps.
func TestEvery(t *testing.T) {
	book, err := NewBook([]Rule{cpu()}, Flap{}, period, Every(VMCPU, time.Minute), Every("none", time.Second))
	require.NoError(t, err)
	r := &run{t, book.For(fault.SubjectVM, nil, nil).NewTrack(time.Time{})}
	r.want(0, 0, 90)
	r.want(180, 180, 90, "180 raised")
}

func TestFormat(t *testing.T) {
	for want, got := range map[string]string{
		"97.1 %": VMCPU.Format(97.14), "0.04 %": VMSteal.Format(0.041), "0 %": VMCPU.Format(-0.0001), "-0.5 s": VMClock.Format(-0.5),
		"1000/s": VMDiskOps.Format(1000), "110 MB/s": VMNetBytes.Format(110e6), "1.5 GB/s": VMNetBytes.Format(1.5e9),
		"2 kB/s": VMNetBytes.Format(2000), "12 B/s": VMNetBytes.Format(12), "200 ms": VMDiskLatency.Format(200), "100 %": VMCPU.Format(99.99),
	} {
		assert.Equal(t, want, got)
	}
	for want, d := range map[string]time.Duration{"5m": 5 * time.Minute, "1h": time.Hour, "1h5m": 65 * time.Minute, "10s": 10 * time.Second, "0s": 3, "1m10s": 70 * time.Second, "1h0m5s": time.Hour + 5*time.Second} {
		assert.Equal(t, want, short(d))
	}
}
