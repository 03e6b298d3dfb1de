package rules

import (
	"math"
	"time"
)

// NodeSample is what was read of the machine under a host at one time.
type NodeSample struct {
	// At is when it was read, by the clock of whoever read it.
	At time.Time
	// Busy and Idle are the time of all processors since the machine's start.
	Busy, Idle time.Duration

	MemoryTotal, MemoryAvailable uint64 // bytes

	// Agent is what the agent on the machine says; nil if none does.
	Agent *AgentSample
}

// AgentSample is what the agent on a host read of its machine.
type AgentSample struct {
	At      time.Time // when it was read
	DiskOps uint64    // requests of all disks since the machine's start
	// PSI are the percentages of the last minute in which something waited, and
	// ClockSkew the seconds that the clock is off, either way. NaN: not known.
	PSICPU, PSIMemory, PSIIO float64
	ClockSkew                float64
}

// NodeMeter makes values out of the samples of one host. The zero NodeMeter has
// seen none. It is not safe for use from several goroutines at once.
type NodeMeter struct {
	last     NodeSample
	agentAt  time.Time
	agentOps uint64
}

// Take sets the values of what happened since the sample before, by the rules of
// [Meter.Take]: no rate for an interval of no length, or in which a counter got
// smaller. What the agent said is taken once, when it is new.
func (m *NodeMeter) Take(s *NodeSample, v *Values) {
	first := m.last.At.IsZero()
	if first || s.At.Sub(m.last.At) > 0 {
		if !first && s.Busy >= m.last.Busy && s.Idle >= m.last.Idle {
			busy, idle := (s.Busy - m.last.Busy).Seconds(), (s.Idle - m.last.Idle).Seconds()
			v.set(iHostCPU, share(busy, busy+idle)) // NaN, and so missing, if no time went by
		}
		if s.MemoryTotal > 0 && s.MemoryAvailable <= s.MemoryTotal {
			v.set(iHostMemory, share(float64(s.MemoryTotal-s.MemoryAvailable), float64(s.MemoryTotal)))
		}
		m.last = *s
		m.last.Agent = nil
	}
	if s.Agent != nil {
		m.takeAgent(s.Agent, v)
	}
}

func (m *NodeMeter) takeAgent(a *AgentSample, v *Values) {
	interval := a.At.Sub(m.agentAt)
	first := m.agentAt.IsZero()
	if !first && interval <= 0 {
		return
	}
	if !first && a.DiskOps >= m.agentOps {
		v.set(iHostDiskOps, float64(a.DiskOps-m.agentOps)/interval.Seconds())
	}
	v.set(iHostPSICPU, a.PSICPU)
	v.set(iHostPSIMemory, a.PSIMemory)
	v.set(iHostPSIIO, a.PSIIO)
	v.set(iHostClock, math.Abs(a.ClockSkew))
	m.agentAt, m.agentOps = a.At, a.DiskOps
}

// Used is how much of a capacity is not available, in percent, and whether that
// can be said: of a storage pool, for [PoolFull].
func Used(capacity, available uint64) (percent float64, known bool) {
	if capacity == 0 || available > capacity {
		return 0, false
	}
	return share(float64(capacity-available), float64(capacity)), true
}
