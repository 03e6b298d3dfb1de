package rules

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// show lists the values there are, such as "vm.cpu=50 vda=-".
func show(v *Values) string {
	var all []string
	for _, m := range Metrics() {
		if x, has := v.Get(m); has {
			all = append(all, fmt.Sprintf("%s=%.4g", m, x))
		}
	}
	for _, d := range v.devices {
		if x, has := v.GetDevice(VMDiskFull, d.name); has {
			all = append(all, fmt.Sprintf("%s=%.4g", d.name, x))
		} else {
			all = append(all, d.name+"=-")
		}
	}
	return strings.Join(all, " ")
}

const gib = 1 << 30

// sample is what a busy VM has at that second, in a run that began at 0.
func sample(at int) VMSample {
	n := uint64(at)
	return VMSample{
		At: sec(at), Run: "A/1", VCPUs: 2, CPU: time.Duration(at) * time.Second, Delay: time.Duration(at) * 100 * time.Millisecond,
		MemoryAvailable: 4 * gib, MemoryUnused: 1 * gib,
		Disks: []Disk{
			{Device: "vda", Ops: 100 * n, Time: time.Duration(at) * 200 * time.Millisecond, Allocation: gib, Capacity: 10 * gib},
			{Device: "vdb", Ops: 10 * n, Time: time.Duration(at) * 300 * time.Millisecond, Allocation: 5 * gib, Capacity: 5 * gib},
		},
		NetBytes: 1000 * n, NetDrops: 2 * n,
	}
}

const steady = "vm.cpu=50 vm.steal=5 vm.memory=75 vm.disk.ops=110 vm.disk.latency=30 vm.net.bytes=1000 vm.net.drops=2 vda=- vdb=-"

// meter takes samples one after the other, and shows the values of the last.
func meter(m *Meter, samples ...VMSample) string {
	v := &Values{}
	for _, s := range samples {
		v.Reset()
		m.Take(&s, v)
	}
	return show(v)
}

// with is a sample that something is different in.
func with(at int, change func(*VMSample)) VMSample {
	s := sample(at)
	change(&s)
	return s
}

func TestMeter(t *testing.T) {
	var m Meter
	assert.Equal(t, "vm.memory=75 vda=- vdb=-", meter(&m, sample(100)), "one sample makes no rate")
	assert.Equal(t, steady, meter(&m, sample(110)))
	assert.Equal(t, steady, meter(&m, sample(117)), "whatever the interval")
	m.Reset()
	assert.Equal(t, "vm.memory=75 vda=- vdb=-", meter(&m, sample(120)))
}

func TestMeterWithoutTime(t *testing.T) {
	var m Meter
	meter(&m, sample(100), sample(110))
	assert.Empty(t, meter(&m, sample(110)), "the same sample")
	assert.Empty(t, meter(&m, sample(105)), "an older one")
	assert.Equal(t, steady, meter(&m, sample(120)), "which are forgotten")
}

// A VM that was started anew, or came from another host, counts from 0.
func TestMeterOfARunThatBeganAnew(t *testing.T) {
	const none = "vm.memory=75 vda=- vdb=-"
	migrated := func(at int) VMSample { // it began at 105, on B
		s := sample(at - 105)
		s.At, s.Run = sec(at), "B/7"
		return s
	}
	var m Meter
	assert.Equal(t, none, meter(&m, sample(100), migrated(110)))
	assert.Equal(t, steady, meter(&m, migrated(120)))

	// Without a name for the run, any counter that is less says so.
	for name, less := range map[string]func(*VMSample){
		"cpu": func(s *VMSample) { s.CPU = 0 }, "delay": func(s *VMSample) { s.Delay = 0 },
		"bytes": func(s *VMSample) { s.NetBytes = 0 }, "drops": func(s *VMSample) { s.NetDrops = 0 },
		"ops": func(s *VMSample) { s.Disks[1].Ops = 0 }, "time": func(s *VMSample) { s.Disks[0].Time = 0 },
	} {
		var m Meter
		assert.Equal(t, none, meter(&m, sample(100), with(110, less)), name)
	}
	// And a run that has overtaken the one before is told by its name.
	assert.Equal(t, none, meter(&Meter{}, sample(1), with(500, func(s *VMSample) { s.Run = "B/1" })))
}

func TestMeterOfAPausedVM(t *testing.T) {
	paused := func(at int) VMSample { // its counters stand still
		s := sample(110)
		s.At, s.Paused = sec(at), true
		return s
	}
	resumed := func(at int) VMSample { // 30 s later than it would be
		s := sample(at - 30)
		s.At = sec(at)
		return s
	}
	var m Meter
	assert.Equal(t, steady, meter(&m, sample(100), sample(110)))
	assert.Equal(t, "vda=- vdb=-", meter(&m, paused(120)))
	assert.Equal(t, "vda=- vdb=-", meter(&m, paused(140)))
	assert.Equal(t, "vda=- vdb=-", meter(&m, resumed(150)), "it was paused for part of it")
	assert.Equal(t, steady, meter(&m, resumed(160)))
}

func TestMeterOfHotPlug(t *testing.T) {
	var m Meter
	more := func(s *VMSample) { s.VCPUs = 4; s.CPU += 2 * time.Second }
	assert.NotContains(t, meter(&m, sample(100), with(110, more)), "vm.cpu")
	assert.Contains(t, meter(&m, with(120, more)), "vm.cpu=25 vm.steal=2.5 vm.memory=75 vm.disk.ops=110")

	third := func(s *VMSample) { s.Disks = append(s.Disks, Disk{Device: "vdc", Ops: 1e6, Time: time.Hour}) }
	assert.Contains(t, meter(&m, with(130, func(s *VMSample) { more(s); third(s) })), "vm.disk.ops=110 vm.disk.latency=30")
	assert.Contains(t, meter(&m, with(140, func(s *VMSample) { more(s); third(s) })), "vdc=-")
	assert.NotContains(t, meter(&m, with(150, more)), "vdc")
	assert.Contains(t, meter(&m, with(160, func(s *VMSample) { more(s); s.Disks = nil })), "vm.memory=75 vm.net.bytes=1000")
	assert.NotContains(t, meter(&m, with(170, func(s *VMSample) { more(s); s.Disks = nil })), "vm.disk")
	assert.NotContains(t, meter(&m, with(180, func(s *VMSample) { s.VCPUs = 0 }), with(190, func(s *VMSample) { s.VCPUs = 0 })), "vm.cpu")
}

func TestMeterNoRequestsNoLatency(t *testing.T) {
	var m Meter
	idle := func(s *VMSample) { s.Disks = sample(100).Disks }
	assert.Contains(t, meter(&m, sample(100), with(110, idle)), "vm.disk.ops=0 vm.net")
}

func TestMeterMemory(t *testing.T) {
	for want, change := range map[string]func(*VMSample){
		"vm.memory=75":  func(*VMSample) {}, // as in the sample
		"vm.memory=10":  func(s *VMSample) { s.MemoryAvailable, s.MemoryUnused, s.MemoryUsable = 100, 5, 90 },
		"vm.memory=100": func(s *VMSample) { s.MemoryUnused = 0 },
		"vda=-":         func(s *VMSample) { s.MemoryAvailable = 0 },
		"vda=- vdb=-":   func(s *VMSample) { s.MemoryUnused = 5 * gib },
	} {
		var m Meter
		assert.Contains(t, meter(&m, with(1, change)), want)
	}
}

func TestMeterFullness(t *testing.T) {
	at := 0
	disk := func(m *Meter, run string, d Disk) string {
		at += 10
		d.Device = "vda"
		return meter(m, VMSample{At: sec(at), Run: run, Disks: []Disk{d}})
	}
	thin := func(allocation uint64) Disk { return Disk{Allocation: allocation * gib, Capacity: 10 * gib} }
	image := func(physical, highest uint64) Disk {
		return Disk{Allocation: highest * gib, Physical: physical * gib, Capacity: 10 * gib}
	}
	var m Meter
	assert.Contains(t, disk(&m, "", thin(5)), "vda=-")
	assert.Contains(t, disk(&m, "", thin(5)), "vda=-")
	assert.Contains(t, disk(&m, "", thin(9)), "vda=90")
	assert.Contains(t, disk(&m, "", thin(9)), "vda=90", "it goes on counting")
	assert.Contains(t, disk(&m, "", thin(4)), "vda=40", "trimmed")

	m = Meter{}
	for range 10 { // preallocated: all of it is there, and what is written lies within
		assert.Contains(t, disk(&m, "", image(10, uint64(at)/20)), "vda=-")
	}

	m = Meter{}
	disk(&m, "1", image(5, 5))
	assert.Contains(t, disk(&m, "1", image(9, 9)), "vda=90")
	assert.Contains(t, disk(&m, "2", image(9, 0)), "vda=90", "a new QEMU has written nothing yet")
	assert.Contains(t, disk(&m, "2", image(10, 2)), "vda=100")

	m = Meter{}
	disk(&m, "", thin(0))
	assert.Contains(t, disk(&m, "", thin(10)), "vda=-", "0 is not known")
	assert.Contains(t, disk(&m, "", Disk{Allocation: 11 * gib}), "vda=-", "no capacity")
}

func TestNodeMeter(t *testing.T) {
	var m NodeMeter
	take := func(s NodeSample) string {
		v := &Values{}
		m.Take(&s, v)
		return show(v)
	}
	node := func(at int) NodeSample {
		return NodeSample{At: sec(at), Busy: time.Duration(at) * time.Second, Idle: time.Duration(at) * 3 * time.Second, MemoryTotal: 100, MemoryAvailable: 40}
	}
	assert.Equal(t, "host.memory=60", take(node(100)))
	assert.Equal(t, "host.cpu=25 host.memory=60", take(node(110)))
	assert.Empty(t, take(node(110)))
	assert.Equal(t, "host.memory=60", take(func() NodeSample { s := node(5); s.At = sec(120); return s }()), "rebooted")
	assert.Equal(t, "host.memory=60", take(func() NodeSample { s := node(5); s.At = sec(130); return s }()), "nothing counted")

	agent := func(at int, ops uint64) *AgentSample {
		return &AgentSample{At: sec(at), DiskOps: ops, PSICPU: 1, PSIMemory: math.NaN(), PSIIO: 3, ClockSkew: -0.5}
	}
	m = NodeMeter{}
	s := node(100)
	s.Agent = agent(99, 1000)
	assert.Equal(t, "host.memory=60 host.psi.cpu=1 host.psi.io=3 host.clock=0.5", take(s))
	s = node(110)
	s.Agent = agent(104, 2000)
	assert.Equal(t, "host.cpu=25 host.memory=60 host.disk.ops=200 host.psi.cpu=1 host.psi.io=3 host.clock=0.5", take(s))
	s = node(120)
	s.Agent = agent(104, 2000)
	assert.Equal(t, "host.cpu=25 host.memory=60", take(s), "nothing new from the agent")
	s = node(130)
	s.Agent = agent(130, 0)
	assert.NotContains(t, take(s), "host.disk.ops", "rebooted")
}

func TestUsed(t *testing.T) {
	used, known := Used(200, 20)
	assert.True(t, known)
	assert.InDelta(t, 90, used, 0)
	_, known = Used(0, 0)
	assert.False(t, known)
	_, known = Used(10, 11)
	assert.False(t, known)
}

// Whatever the samples hold, values are finite and not negative, and no share is
// above 100 %.
func TestMeterValuesAreInRange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m Meter
		v := &Values{}
		at := epoch
		counter := rapid.SampledFrom([]uint64{0, 1, 1000, math.MaxInt64, math.MaxUint64})
		span := rapid.SampledFrom([]time.Duration{0, 1, time.Second, time.Hour, math.MaxInt64})
		for range rapid.IntRange(1, 20).Draw(t, "samples") {
			at = at.Add(rapid.SampledFrom([]time.Duration{-period, 0, 1, period, time.Hour}).Draw(t, "step"))
			s := VMSample{
				At: at, VCPUs: rapid.IntRange(-1, 4).Draw(t, "vcpus"), CPU: span.Draw(t, "cpu"), Delay: span.Draw(t, "delay"),
				Paused: rapid.Bool().Draw(t, "paused"), MemoryAvailable: counter.Draw(t, "memory"), MemoryUnused: counter.Draw(t, "unused"),
				NetBytes: counter.Draw(t, "net"), NetDrops: counter.Draw(t, "drops"),
			}
			for _, d := range slices.Sorted(maps.Keys(map[string]bool{"vda": true, "vdb": true})) {
				if rapid.Bool().Draw(t, d) {
					s.Disks = append(s.Disks, Disk{Device: d, Ops: counter.Draw(t, "ops"), Time: span.Draw(t, "time"), Allocation: counter.Draw(t, "allocation"), Capacity: counter.Draw(t, "capacity")})
				}
			}
			v.Reset()
			m.Take(&s, v)
			for _, metric := range Metrics() {
				if x, has := v.Get(metric); has {
					require.True(t, finite(x) && x >= 0, "%s %v", metric, x)
					require.False(t, metric.Unit() == "%" && x > 100, "%s %v", metric, x)
				}
			}
		}
	})
}
