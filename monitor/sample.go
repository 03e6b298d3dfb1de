package monitor

import (
	"context"
	"math/rand/v2"
	"time"

	"holdfast/internal/detect"
	"holdfast/internal/detect/rules"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor"
)

// Agent is what `holdfast agent` on a host says about its machine.
type Agent interface {
	// Figures asks it. MemoryErrors counts what the machine's memory has had of them.
	Figures(ctx context.Context) (sample rules.AgentSample, memoryErrors uint64, err error)
}

// sampling takes a host's statistics once a period, each host at a place of its
// own within it, and its storage pools now and then.
func (w *watch) sampling(ctx context.Context) {
	every := w.m.opts.Sample
	timer := time.NewTimer(rand.N(every) + 1)
	defer timer.Stop()
	planned := time.Now().Add(every)
	pools := time.Now() // the first look comes with the first sample
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.sampleNow:
			if w.now().Connected {
				w.sample(ctx)
			}
			continue
		case <-timer.C:
		}
		asked := time.Now()
		if w.now().Connected {
			late := asked.Sub(planned)
			if w.sample(ctx) {
				w.m.tell(ctx, func(e *detect.Engine) []detect.Change { return e.Lateness(w.host.Name(), asked, late) })
			}
			if !asked.Before(pools) {
				pools = asked.Add(w.m.opts.Pools)
				w.asks.add(ctx, detect.Want{Kind: detect.WantPools, Host: w.host.Name()})
			}
		}
		planned = asked.Add(every)
		timer.Reset(max(time.Until(planned), time.Millisecond))
	}
}

// sample takes everything that is measured of a host, once. It reports whether
// the host answered.
func (w *watch) sample(ctx context.Context) bool {
	call, cancel := context.WithTimeout(ctx, w.m.opts.CallTimeout)
	defer cancel()
	name := w.host.Name()
	asked := time.Now()
	stats, err := w.host.Stats(call)
	if err != nil {
		if ctx.Err() == nil {
			w.m.metrics.sampleFailures.WithLabelValues(name).Inc()
			w.log.Debug("no statistics", "error", err)
		}
		return false
	}
	samples := w.samples(stats)
	w.m.tell(ctx, func(e *detect.Engine) []detect.Change { return e.Sampled(name, asked, samples) })
	w.sampleNode(call, ctx)
	w.m.metrics.sampleSeconds.Observe(time.Since(asked).Seconds())
	w.mu.Lock()
	w.status.Sampled = asked
	w.mu.Unlock()
	return true
}

// sampleNode samples the machine under the host.
func (w *watch) sampleNode(call, ctx context.Context) {
	node, err := w.host.Node(call)
	if err != nil {
		w.log.Debug("no figures of the machine", "error", err)
		return
	}
	s := rules.NodeSample{
		At: node.At, Busy: node.CPUTime, Idle: node.CPUIdle,
		MemoryTotal: node.MemoryTotal, MemoryAvailable: node.MemoryAvailable,
	}
	if w.agent != nil {
		figures, errs, err := w.agent.Figures(call)
		if err != nil {
			w.log.Debug("the agent does not answer", "error", err)
		} else {
			s.Agent = &figures
			w.countMemoryErrors(ctx, errs)
		}
	}
	w.m.tell(ctx, func(e *detect.Engine) []detect.Change { return e.NodeSampled(w.host.Name(), node.At, s) })
}

// countMemoryErrors tells of a counter that grew.
func (w *watch) countMemoryErrors(ctx context.Context, n uint64) {
	was, known := w.memoryErrors, w.memoryKnown
	w.memoryErrors, w.memoryKnown = n, true
	if known && n > was {
		w.m.tell(ctx, func(e *detect.Engine) []detect.Change {
			return e.MemoryFailed(w.host.Name(), time.Now(), "its EDAC counters grew")
		})
	}
}

// samples puts a host's statistics as the Engine takes them. The slices are used
// again with the next: the Engine keeps none.
func (w *watch) samples(stats []hypervisor.DomainStats) []detect.VMSample {
	w.buffer = w.buffer[:0]
	for i := range stats {
		s := &stats[i]
		v := detect.VMSample{VM: fault.VM{UUID: s.UUID, Name: s.Name}}
		v.At, v.VCPUs, v.CPU, v.Delay = s.At, s.VCPUs, s.VCPUTime, s.VCPUDelay
		if v.CPU == 0 {
			v.CPU = s.CPUTime // a hypervisor that does not say it by virtual CPU
		}
		v.Paused = !s.State.Running()
		v.MemoryAvailable, v.MemoryUnused, v.MemoryUsable = s.MemoryAvailable, s.MemoryUnused, s.MemoryUsable
		for _, b := range s.Blocks {
			v.Disks = append(v.Disks, rules.Disk{
				Device: b.Device, Ops: b.ReadOps + b.WriteOps, Time: b.ReadTime + b.WriteTime,
				Allocation: b.Allocation, Physical: b.Physical, Capacity: b.Capacity,
			})
		}
		for _, n := range s.Nets {
			v.NetBytes += n.RxBytes + n.TxBytes
			v.NetDrops += n.RxDrops + n.TxDrops
		}
		w.buffer = append(w.buffer, v)
	}
	return w.buffer
}
