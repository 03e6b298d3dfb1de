package simulated

import (
	"fmt"
	"time"

	"holdfast/internal/hypervisor"
)

// Load is what the guest of a VM does. A new load changes how fast the counters
// grow, and never where they stand.
type Load struct {
	CPU         float64       // percent of what all its virtual CPUs could do
	Steal       float64       // percent of that which the host had no processor for
	MemoryUsed  float64       // percent of the memory that the guest has
	DiskOps     float64       // a second, two reads for each write, of 4 KiB each
	DiskLatency time.Duration // of each
	NetBytes    float64       // a second, three in for two out
	NetDrops    float64       // packets a second, in and out alike
}

// CalmLoad is what a VM does until [Cluster.SetLoad]: a quarter of a CPU, and a
// little of everything else.
func CalmLoad() Load {
	return Load{
		CPU: 12.5, MemoryUsed: 50,
		DiskOps: 150, DiskLatency: 133 * time.Microsecond, NetBytes: 20_000,
	}
}

func (l Load) check() error {
	for _, f := range []struct {
		name  string
		value float64
		most  float64
	}{
		{"CPU", l.CPU, 100}, {"Steal", l.Steal, 100}, {"CPU and Steal", l.CPU + l.Steal, 100}, {"MemoryUsed", l.MemoryUsed, 100},
		{"DiskOps", l.DiskOps, 1e9}, {"DiskLatency", float64(l.DiskLatency), float64(time.Hour)},
		{"NetBytes", l.NetBytes, 1e12}, {"NetDrops", l.NetDrops, 1e9},
	} {
		if !within(f.value, f.most) {
			return fmt.Errorf("load: %s is %v: give it 0 to %v", f.name, f.value, f.most)
		}
	}
	return nil
}

// within is false for what is no number, too.
func within(v, most float64) bool { return v >= 0 && v <= most }

// SetLoad changes what the VM's guest does, from now on and wherever it runs.
func (c *Cluster) SetLoad(vm string, l Load) error {
	return c.changeLoad(vm, func(Load) Load { return l })
}

// changeLoad makes a new load of the present one.
func (c *Cluster) changeLoad(vm string, change func(Load) Load) error {
	v, err := c.vm(vm)
	if err != nil {
		return err
	}
	next := change(*v.load.Load())
	if err := next.check(); err != nil {
		return err
	}
	return c.whereActive(v, func(d *domain) error {
		if d != nil {
			d.settle(time.Now()) // what was done so far was done under the old one
		}
		v.load.Store(&next)
		return nil
	})
}

// SetAllocation says how many bytes of the VM's disk have been written, of the
// 10 GiB that the guest sees: also the size of the file that holds it.
func (c *Cluster) SetAllocation(vm string, bytes uint64) error {
	v, err := c.vm(vm)
	if err != nil {
		return err
	}
	v.allocation.Store(bytes)
	return nil
}

const (
	vcpus          = 2
	memoryBytes    = 1 << 30
	guestBytes     = memoryBytes - 32<<20 // what the guest's kernel leaves to the guest
	diskBytes      = 10 << 30
	firstAllocated = 1 << 30
	blockBytes     = 4096
)

// counters of one QEMU. They are kept as numbers with a fraction, so that
// nothing is lost however often they are read.
type counters struct {
	at              time.Time // until when they are complete
	cpu, steal      float64   // ns
	reads, writes   float64
	readNs, writeNs float64
	rx, tx, rxDrop  float64
	txDrop          float64
}

// fresh are the counters of a QEMU whose guest has just booted, which takes a
// few reads.
func fresh(now time.Time) counters {
	const latency = float64(100 * time.Microsecond)
	return counters{at: now, reads: 1000, writes: 200, readNs: 1000 * latency, writeNs: 200 * latency}
}

// grow adds what the load did until now, if the guest was doing anything.
func (c *counters) grow(now time.Time, busy bool, l *Load) {
	ns := float64(now.Sub(c.at))
	c.at = now
	if !busy || ns <= 0 {
		return
	}
	c.cpu += ns * vcpus * l.CPU / 100
	c.steal += ns * vcpus * l.Steal / 100
	s := ns / float64(time.Second)
	reads, writes := s*l.DiskOps*2/3, s*l.DiskOps/3
	c.reads += reads
	c.writes += writes
	c.readNs += reads * float64(l.DiskLatency)
	c.writeNs += writes * float64(l.DiskLatency)
	c.rx += s * l.NetBytes * 3 / 5
	c.tx += s * l.NetBytes * 2 / 5
	c.rxDrop += s * l.NetDrops / 2
	c.txDrop += s * l.NetDrops / 2
}

// busy: the vCPUs execute.
func (d *domain) busy() bool { return d.state.Running() && !d.hung && !d.guest.hung }

// settle brings the counters up to now. Whatever changes how they grow comes
// after it.
func (d *domain) settle(now time.Time) { d.counters.grow(now, d.busy(), d.vm.load.Load()) }

// sample fills in out, with block and nic for its one disk and interface.
func (d *domain) sample(now time.Time, out *hypervisor.DomainStats, block []hypervisor.BlockStats, nic []hypervisor.NetStats) {
	d.settle(now)
	c, l := &d.counters, d.vm.load.Load()
	allocated := d.vm.allocation.Load()
	block[0] = hypervisor.BlockStats{
		Device: diskTarget, ReadOps: uint64(c.reads), WriteOps: uint64(c.writes),
		ReadBytes: uint64(c.reads) * blockBytes, WriteBytes: uint64(c.writes) * blockBytes,
		ReadTime: time.Duration(c.readNs), WriteTime: time.Duration(c.writeNs),
		Allocation: allocated, Physical: allocated, Capacity: diskBytes,
	}
	nic[0] = hypervisor.NetStats{
		Device: d.vm.nic, RxBytes: uint64(c.rx), TxBytes: uint64(c.tx), RxDrops: uint64(c.rxDrop), TxDrops: uint64(c.txDrop),
	}
	*out = hypervisor.DomainStats{
		UUID: d.vm.uuid, Name: d.vm.name, State: d.state, At: now,
		VCPUs: vcpus, CPUTime: time.Second + time.Duration(c.cpu), // the second is QEMU's own
		VCPUTime: time.Duration(c.cpu), VCPUDelay: time.Duration(c.steal),
		MemoryMax: memoryBytes, MemoryCurrent: memoryBytes,
		MemoryAvailable: guestBytes, MemoryUnused: uint64(guestBytes * (1 - l.MemoryUsed/100)),
		Blocks: block, Nets: nic,
	}
}
