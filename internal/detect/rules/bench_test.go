package rules

import (
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"holdfast/internal/fault"
)

// A quiet VM costs no garbage, and little memory.
func TestTakeAllocatesNothingForAQuietVM(t *testing.T) {
	track, m, samples := benchVM(t)
	v := &Values{}
	n := 0
	require.Zero(t, testing.AllocsPerRun(100, func() {
		s := &samples[n%2]
		s.At = sec(10 * n)
		v.Reset()
		m.Take(s, v)
		if len(track.Take(s.At, v)) != 0 {
			t.Fatal("it is quiet")
		}
		n++
	}))
	require.LessOrEqual(t, unsafe.Sizeof(state{}), uintptr(100))
}

func benchVM(t testing.TB) (*Track, *Meter, [2]VMSample) {
	book, err := NewBook(Defaults(), Flap{Raises: 4, Window: 30 * time.Minute}, period)
	require.NoError(t, err)
	return book.For(fault.SubjectVM, nil, nil).NewTrack(epoch.Add(-time.Hour)), &Meter{}, [2]VMSample{sample(0), sample(0)}
}

// BenchmarkTake is a sample of one VM held against the default rules: divide by
// the rules, which it reports, for the cost of one.
func BenchmarkTake(b *testing.B) {
	track, _, _ := benchVM(b)
	v := &Values{}
	for _, m := range []Metric{VMCPU, VMSteal, VMMemory, VMDiskOps, VMDiskLatency, VMNetBytes, VMNetDrops} {
		v.Set(m, 1)
	}
	v.SetDevice(VMDiskFull, "vda", 10)
	b.ReportAllocs()
	at := epoch
	for b.Loop() {
		at = at.Add(period)
		track.Take(at, v)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/8, "ns/rule")
}

// BenchmarkTakeRaised is the same with a fault that stands.
func BenchmarkTakeRaised(b *testing.B) {
	track, _, _ := benchVM(b)
	v := &Values{}
	v.Set(VMCPU, 99)
	b.ReportAllocs()
	at := epoch
	for b.Loop() {
		at = at.Add(period)
		track.Take(at, v)
	}
}

// BenchmarkMeter makes the values of one VM with two disks.
func BenchmarkMeter(b *testing.B) {
	_, m, samples := benchVM(b)
	v := &Values{}
	b.ReportAllocs()
	at := epoch
	for b.Loop() {
		at = at.Add(period)
		samples[0].At = at
		v.Reset()
		m.Take(&samples[0], v)
	}
}

// BenchmarkNewTrack is the memory of one VM.
func BenchmarkNewTrack(b *testing.B) {
	track, _, _ := benchVM(b)
	b.ReportAllocs()
	for b.Loop() {
		track.set.NewTrack(epoch)
	}
}

// BenchmarkFor finds the set of one VM, as at start-up.
func BenchmarkFor(b *testing.B) {
	book, err := NewBook(Defaults(), Flap{}, period)
	require.NoError(b, err)
	raise := 90.0
	labels, overrides := map[string]string{"tier": "db"}, map[string]Override{"cpu": {Raise: &raise}}
	b.ReportAllocs()
	for b.Loop() {
		book.For(fault.SubjectVM, labels, overrides)
	}
}
