package rules

import (
	"slices"
	"time"
)

// VMSample is what was read of one VM at one time. Counters grow from its start.
type VMSample struct {
	// At is when it was read, by the clock of whoever read it.
	At time.Time
	// Run names the QEMU process, such as by its host and when it started: another
	// one counts from 0 again. Counters that are less than before say so too; Run
	// is for those that have overtaken what they were.
	Run string
	// Paused: the guest does not execute. See [Meter.Take].
	Paused bool

	VCPUs      int           // online virtual CPUs
	CPU, Delay time.Duration // executed, and waited for the host; sums of all virtual CPUs
	// By its balloon, in bytes: what the guest has, what it does not use, and what
	// it could give without swapping, which counts what it uses for caches. 0: not
	// reported.
	MemoryAvailable, MemoryUnused, MemoryUsable uint64

	Disks              []Disk
	NetBytes, NetDrops uint64 // of all interfaces, both ways
}

// Disk is what was read of one disk.
type Disk struct {
	Device string        // target, such as vda; unique in its VM
	Ops    uint64        // requests
	Time   time.Duration // spent on them, in total
	// Allocation, in bytes, is the highest offset written, Physical the size of
	// what holds the image, and Capacity what the guest sees.
	Allocation, Physical, Capacity uint64
}

// allocated is how much of what holds the image is taken. The highest offset
// written begins at 0 with every QEMU; the size of an image that grows stays.
// What holds a raw image is as large as it can get from the first day on.
func (d *Disk) allocated() uint64 { return max(d.Allocation, d.Physical) }

// Meter makes values out of the samples of one VM. The zero Meter has seen none.
// It is not safe for use from several goroutines at once.
type Meter struct {
	last  VMSample // its Disks are in disks
	disks []diskMeter
}

// diskMeter is a disk, and what is remembered of it.
type diskMeter struct {
	Disk
	// grown: its allocation was seen to grow, so that it says something. All of a
	// preallocated disk is taken from the first day on, and always will be.
	grown bool
	seen  bool // it is among the disks of the newest sample
}

// Take sets the values of what happened since the sample before. The VM's disks
// are the devices of v.
//
// Rates take two samples. There is none for an interval of no length, or in which
// any counter got smaller, or Run changed, because the VM was started anew or
// came from another host. There is none, and no memory either, for an interval
// that began or ended with the guest paused: it says nothing about what the
// guest needs. Shares of virtual CPUs need as many at both ends. Latency is that
// of the slowest disk that had a request. A sample that is older than the one
// before is ignored, and sets nothing.
//
// A disk has a fullness once its allocation was seen to grow, and keeps it from
// then on; before, it cannot be told from a preallocated one, which is always full.
func (m *Meter) Take(s *VMSample, v *Values) {
	interval := s.At.Sub(m.last.At)
	first := m.last.At.IsZero()
	if !first && interval <= 0 {
		return
	}
	m.fullness(s, v)
	whole := !first && !s.Paused && !m.last.Paused && !m.begunAnew(s)
	if !s.Paused && (first || !m.last.Paused) {
		memory(s, v)
	}
	if whole {
		m.rates(s, v, interval.Seconds())
	}
	m.remember(s)
}

// Reset forgets the sample before, but not which disks grow.
func (m *Meter) Reset() { m.last = VMSample{} }

// begunAnew reports counters that do not go on from the sample before.
func (m *Meter) begunAnew(s *VMSample) bool {
	l := &m.last
	if s.Run != l.Run || s.CPU < l.CPU || s.Delay < l.Delay || s.NetBytes < l.NetBytes || s.NetDrops < l.NetDrops {
		return true
	}
	for i := range s.Disks {
		d := &s.Disks[i]
		if was := m.disk(d.Device); was != nil && (d.Ops < was.Ops || d.Time < was.Time) {
			return true
		}
	}
	return false
}

func (m *Meter) rates(s *VMSample, v *Values, seconds float64) {
	l := &m.last
	if s.VCPUs > 0 && s.VCPUs == l.VCPUs {
		all := seconds * float64(s.VCPUs)
		v.set(iVMCPU, share((s.CPU-l.CPU).Seconds(), all))
		v.set(iVMSteal, share((s.Delay-l.Delay).Seconds(), all))
	}
	v.set(iVMNetBytes, float64(s.NetBytes-l.NetBytes)/seconds)
	v.set(iVMNetDrops, float64(s.NetDrops-l.NetDrops)/seconds)

	var ops uint64
	var slowest float64
	known := false
	for i := range s.Disks {
		d := &s.Disks[i]
		was := m.disk(d.Device)
		if was == nil { // plugged in since
			continue
		}
		known = true
		if n := d.Ops - was.Ops; n > 0 {
			ops += n
			slowest = max(slowest, float64((d.Time-was.Time).Microseconds())/1000/float64(n))
		}
	}
	if known {
		v.set(iVMDiskOps, float64(ops)/seconds)
	}
	if ops > 0 {
		v.set(iVMDiskLatency, slowest)
	}
}

// memory is what the guest uses of what it has. What it could give back counts
// as not used: a guest fills what is free with caches, and would always be full.
func memory(s *VMSample, v *Values) {
	free := max(s.MemoryUnused, s.MemoryUsable)
	if s.MemoryAvailable > 0 && free <= s.MemoryAvailable {
		v.set(iVMMemory, share(float64(s.MemoryAvailable-free), float64(s.MemoryAvailable)))
	}
}

func (m *Meter) fullness(s *VMSample, v *Values) {
	v.NoMoreDevices()
	for i := range s.Disks {
		d := &s.Disks[i]
		was := m.disk(d.Device)
		if was != nil && d.allocated() > was.allocated() && was.allocated() > 0 {
			was.grown = true
		}
		if was == nil || !was.grown || d.Capacity == 0 {
			v.Device(d.Device)
			continue
		}
		v.SetDevice(VMDiskFull, d.Device, share(float64(d.allocated()), float64(d.Capacity)))
	}
}

// remember keeps the sample in memory of its own, without making garbage.
func (m *Meter) remember(s *VMSample) {
	m.last = *s
	m.last.Disks = nil
	for i := range m.disks {
		m.disks[i].seen = false
	}
	for _, d := range s.Disks {
		was := m.disk(d.Device)
		if was == nil {
			m.disks = append(m.disks, diskMeter{Disk: d, seen: true})
			continue
		}
		was.Disk, was.seen = d, true
	}
	m.disks = slices.DeleteFunc(m.disks, func(d diskMeter) bool { return !d.seen })
}

func (m *Meter) disk(device string) *diskMeter {
	for i := range m.disks {
		if m.disks[i].Device == device {
			return &m.disks[i]
		}
	}
	return nil
}

// share is a part of a whole in percent. No more than 100: what is above comes
// from counters that were read a moment after the clock.
func share(part, whole float64) float64 { return min(100*part/whole, 100) }
