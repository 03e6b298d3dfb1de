//go:build cgo

package libvirt

import (
	"context"
	"time"

	lv "libvirt.org/go/libvirt"

	"holdfast/internal/hypervisor"
)

// Node implements [hypervisor.Host]. libvirt knows no better measure of the
// memory that can be had than what is free, in buffers and in the page cache:
// a host with a full tmpfs has less.
func (h *Host) Node(ctx context.Context) (hypervisor.NodeStats, error) {
	return call(ctx, h, "sample the host", func(l *link) (hypervisor.NodeStats, error) {
		var out hypervisor.NodeStats
		info, err := l.conn.GetNodeInfo()
		if err != nil {
			return out, err
		}
		memory, err := l.conn.GetMemoryStats(lv.NODE_MEMORY_STATS_ALL_CELLS, 0)
		if err != nil {
			return out, err
		}
		cpu, err := l.conn.GetCPUStats(int(lv.NODE_CPU_STATS_ALL_CPUS), 0)
		if err != nil {
			return out, err
		}
		out.At = time.Now() // of the counters, which came last
		out.CPUs = int(info.Cpus)
		out.CPUTime, out.CPUIdle = nodeTime(cpu)
		const kib = 1024
		out.MemoryTotal = memory.Total * kib
		out.MemoryAvailable = (memory.Free + memory.Buffers + memory.Cached) * kib
		return out, nil
	})
}

// nodeTime adds up what libvirt counts, in ns. Time spent in guests is part of
// the user's.
func nodeTime(s *lv.NodeCPUStats) (busy, idle time.Duration) {
	return time.Duration(s.Kernel + s.User + s.Intr), time.Duration(s.Idle + s.Iowait)
}
