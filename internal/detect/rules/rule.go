// Package rules holds measured values against thresholds: for how long a value
// must be too high before it is a fault, how far it must fall before that is
// over, and what a value that is missing means. It is pure: values and their
// times come in, transitions come out.
//
// A [Book] is the rules of a site, a [Set] those that apply to one subject, a
// [Track] what they make of that subject's values. What holds for a rule with
// Below is the same turned round.
//
//   - A value above Raise begins a spell; one that is exactly Raise does not. When
//     every value of the spell was above Raise and the newest is at least For
//     later than the first, by the values' own times, the fault is raised. A value
//     that is not above Raise ends the spell.
//   - Once raised, a value at or below Clear begins a spell the other way. When
//     every value of it was at or below Clear for at least For, the fault is
//     cleared. A value above Clear ends that spell.
//   - A value between Clear and Raise, or at Raise, therefore changes nothing: it
//     raises nothing and clears nothing.
//   - For 0, one value is enough.
//   - A missing value is none. It raises nothing and clears nothing, for however
//     long, and a fault that is raised stays so. For counts between values that are
//     there: when two of them are more than three periods apart, a spell begins
//     anew with the later one. One lost sample is two periods, and does not matter.
//     A value that is not a number, or infinite, is missing.
//   - A value that is not newer than the last one of the same rule is ignored.
//   - Values of the first Warmup after the subject's start, and those from before
//     it, are ignored. A start ends every spell; what is raised stays raised until
//     values of the new run clear it.
//   - Slope holds a metric's change a minute against the thresholds: from the oldest
//     value that is no older than For to the newest. There is none until values
//     without a gap reach back For, and as it looks back over all of For, one of it
//     is enough to raise or to clear. Long spans are kept at a sixteenth of For.
//   - A fault that was raised [Flap].Raises times within Flap.Window is flapping: it
//     is held raised until every value for the whole Window was at or within Clear.
//   - The absence of a value clears nothing, but the absence of the thing does: a
//     device that is no longer among those of its subject has no faults.
package rules

import (
	"time"

	"holdfast/internal/fault"
)

// Metric is a thing that is measured.
type Metric string

// Metrics of a VM. Each is about that VM alone, never about its host.
const (
	VMCPU         Metric = "vm.cpu"          // % of its virtual CPUs' time that they executed
	VMSteal       Metric = "vm.steal"        // % of its virtual CPUs' time that they waited for the host
	VMMemory      Metric = "vm.memory"       // % of the memory that the guest has and uses, by its balloon
	VMDiskOps     Metric = "vm.disk.ops"     // requests/s, all disks
	VMDiskLatency Metric = "vm.disk.latency" // ms a request, of the slowest disk
	VMDiskFull    Metric = "vm.disk.full"    // % of its capacity that a disk has allocated, by disk
	VMNetBytes    Metric = "vm.net.bytes"    // bytes/s, all interfaces, both ways
	VMNetDrops    Metric = "vm.net.drops"    // packets/s dropped, all interfaces, both ways
	VMClock       Metric = "vm.clock"        // s that the guest's clock is off, without sign
)

// Metrics of a host and of its storage pools.
const (
	HostCPU       Metric = "host.cpu"        // % of its processors' time that they were busy
	HostMemory    Metric = "host.memory"     // % of its memory that is not available
	HostDiskOps   Metric = "host.disk.ops"   // requests/s, all its disks; needs the agent
	HostPSICPU    Metric = "host.psi.cpu"    // % of the last minute that something waited; needs the agent
	HostPSIMemory Metric = "host.psi.memory" // the same for memory
	HostPSIIO     Metric = "host.psi.io"     // the same for I/O
	HostClock     Metric = "host.clock"      // s that the host's clock is off, without sign; needs the agent
	PoolFull      Metric = "pool.full"       // % of a storage pool that is used, by pool
)

// Rule is a threshold on a metric and what crossing it means.
type Rule struct {
	// Name tells rules apart, for people and for overrides: unique in a site.
	Name string
	// Metric it looks at, and Kind of the fault that it raises.
	Metric Metric
	Kind   fault.Kind
	// Below turns it round: too little is the fault. Otherwise too much is.
	Below bool
	// Slope holds the metric's change a minute, over For, against the thresholds
	// instead of the metric itself.
	Slope bool
	// Raise is the threshold; a value that is exactly that is not yet too much.
	// Clear is where it is over: at most Raise (at least, if Below). In between
	// nothing changes.
	Raise, Clear float64
	// For is how long every value must be beyond Raise before the fault is raised,
	// and how long within Clear before it is over. 0: one value is enough.
	For time.Duration
	// Warmup is how long after a VM's start the rule does not look at it.
	Warmup time.Duration
	// Select are the labels that a VM must have, all of them; none: every VM.
	Select map[string]string
	// Level and Response of the fault; empty: those of its kind.
	Level    fault.Level
	Response fault.Response
	// Off switches the rule off, for the VMs that an override is about.
	Off bool
}

// Override is what one VM's annotation changes about a rule, by its name. What
// is nil stays.
type Override struct {
	Raise, Clear *float64
	For          *time.Duration
	Off          *bool
}

// Defaults are the rules of a site that sets none. CPU 80 %, memory 80 % and
// 1000 disk requests a second are the mission's.
func Defaults() []Rule {
	const span, warmup = 5 * time.Minute, 2 * time.Minute
	return []Rule{
		{Name: "cpu", Metric: VMCPU, Kind: fault.KindCPU, Raise: 80, Clear: 70, For: span, Warmup: warmup},
		{Name: "steal", Metric: VMSteal, Kind: fault.KindCPU, Raise: 20, Clear: 10, For: span, Warmup: warmup},
		{Name: "memory", Metric: VMMemory, Kind: fault.KindMemory, Raise: 80, Clear: 75, For: span, Warmup: warmup},
		{Name: "disk-ops", Metric: VMDiskOps, Kind: fault.KindDiskIO, Raise: 1000, Clear: 800, For: span, Warmup: warmup},
		{Name: "disk-latency", Metric: VMDiskLatency, Kind: fault.KindDiskIO, Raise: 200, Clear: 100, For: span, Warmup: warmup},
		{Name: "net", Metric: VMNetBytes, Kind: fault.KindNet, Raise: 110e6, Clear: 90e6, For: span, Warmup: warmup},
		{Name: "net-drops", Metric: VMNetDrops, Kind: fault.KindNet, Raise: 100, Clear: 10, For: span, Warmup: warmup},
		{Name: "disk-full", Metric: VMDiskFull, Kind: fault.KindDiskFull, Raise: 90, Clear: 85, For: time.Minute},
		{Name: "clock", Metric: VMClock, Kind: fault.KindClock, Raise: 5, Clear: 2, Warmup: span},
		{Name: "host-cpu", Metric: HostCPU, Kind: fault.KindHostCPU, Raise: 80, Clear: 70, For: span},
		{Name: "host-memory", Metric: HostMemory, Kind: fault.KindHostMemory, Raise: 80, Clear: 75, For: span},
		{Name: "host-disk", Metric: HostDiskOps, Kind: fault.KindHostDiskIO, Raise: 1000, Clear: 800, For: span},
		{Name: "host-psi-cpu", Metric: HostPSICPU, Kind: fault.KindHostPSI, Raise: 60, Clear: 40, For: span},
		{Name: "host-psi-memory", Metric: HostPSIMemory, Kind: fault.KindHostPSI, Raise: 20, Clear: 10, For: span},
		{Name: "host-psi-io", Metric: HostPSIIO, Kind: fault.KindHostPSI, Raise: 40, Clear: 20, For: span},
		{Name: "host-clock", Metric: HostClock, Kind: fault.KindHostClock, Raise: 2, Clear: 1, For: time.Minute},
		{Name: "pool-full", Metric: PoolFull, Kind: fault.KindPoolFull, Raise: 90, Clear: 85},
	}
}
