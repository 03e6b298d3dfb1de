//go:build cgo

package libvirt

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	lv "libvirt.org/go/libvirt"

	"holdfast/internal/hypervisor"
)

const sampled = lv.DOMAIN_STATS_STATE | lv.DOMAIN_STATS_CPU_TOTAL | lv.DOMAIN_STATS_BALLOON |
	lv.DOMAIN_STATS_VCPU | lv.DOMAIN_STATS_INTERFACE | lv.DOMAIN_STATS_BLOCK

const sampledHow = lv.CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE | lv.CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT

// Stats implements [hypervisor.Host].
//
// NOWAIT leaves out a domain whose monitor is held by another call, and nothing
// else: the first statistics call after a QEMU began to hang takes its monitor
// and hangs with it, for good. So if the call takes long, a second one is sent
// beside it, which then finds that monitor held, and goes around. A domain that
// hangs costs a connection and one of the host's workers.
func (h *Host) Stats(ctx context.Context) ([]hypervisor.DomainStats, error) {
	ctx, cancel := h.bounded(ctx)
	defer cancel()
	first, cancelFirst := context.WithCancel(ctx)
	defer cancelFirst() // whoever is second has lost its reader
	type result struct {
		stats []hypervisor.DomainStats
		err   error
	}
	results := make(chan result, 2)
	ask := func() {
		stats, err := callWithin(first, h, mostStuckForStats, "sample domains", sample)
		results <- result{stats, err}
	}
	go ask()
	under := 1
	patience := time.NewTimer(h.opts.StatsPatience)
	defer patience.Stop()
	for {
		select {
		case r := <-results:
			if under--; r.err == nil || under == 0 {
				return r.stats, r.err
			}
		case <-patience.C:
			under++
			go ask()
		}
	}
}

func sample(l *link) ([]hypervisor.DomainStats, error) {
	stats, err := sampleAll(l)
	return slices.DeleteFunc(stats, func(s hypervisor.DomainStats) bool { return onTrial(s.Name) }), err
}

// sampleAll is sample, and domains on trial.
func sampleAll(l *link) ([]hypervisor.DomainStats, error) {
	records, err := allDomainStats(l.raw, sampled, sampledHow)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	stats := make([]hypervisor.DomainStats, 0, len(records))
	for _, r := range records {
		if s, complete := r.stats(now); complete {
			stats = append(stats, s)
		}
	}
	return stats, nil
}

func (r record) state() (hypervisor.State, hypervisor.Reason) {
	var state, reason uint64
	for _, p := range r.Params {
		switch p.Key {
		case "state.state":
			state = p.Number
		case "state.reason":
			reason = p.Number
		}
	}
	return stateAndReason(lv.DomainState(state), int(reason))
}

// stats puts a record into the interface's words and units. It is not complete
// if the domain's monitor was held: libvirt then reports what it knows by
// itself. QEMU's own part always has the resident size, and a disk's requests.
func (r record) stats(now time.Time) (s hypervisor.DomainStats, complete bool) {
	s = hypervisor.DomainStats{UUID: r.UUID, Name: r.Name, At: now}
	s.State, _ = r.state()
	const kib = 1024
	for _, p := range r.Params {
		group, rest, _ := strings.Cut(p.Key, ".")
		switch group {
		case "block":
			complete = block(&s, rest, p) || complete
			continue
		case "net":
			iface(&s, rest, p)
			continue
		case "vcpu":
			vcpu(&s, rest, p)
			continue
		}
		switch p.Key {
		case "cpu.time": // ns
			s.CPUTime = time.Duration(p.Number)
		case "balloon.maximum":
			s.MemoryMax = p.Number * kib
		case "balloon.current":
			s.MemoryCurrent = p.Number * kib
		case "balloon.available":
			s.MemoryAvailable = p.Number * kib
		case "balloon.unused":
			s.MemoryUnused = p.Number * kib
		case "balloon.usable":
			s.MemoryUsable = p.Number * kib
		case "balloon.rss":
			complete = true
		}
	}
	return s, complete
}

// vcpu reads "current", or one parameter of one of them, such as "3.delay".
func vcpu(s *hypervisor.DomainStats, rest string, p param) {
	number, key, _ := strings.Cut(rest, ".")
	switch {
	case number == "current":
		s.VCPUs = int(p.Number)
	case key == "time": // ns
		s.VCPUTime += time.Duration(p.Number)
	case key == "delay": // ns; libvirt before 7.2 has none
		s.VCPUDelay += time.Duration(p.Number)
	}
}

// mostDevices bounds an index that comes from the host.
const mostDevices = 4096

// device splits "3.rd.reqs" into the third entry of list, which grows as needed,
// and "rd.reqs". It returns nil for a key that is about no single device.
func device[T any](list *[]T, rest string) (*T, string) {
	number, key, ok := strings.Cut(rest, ".")
	if !ok {
		return nil, ""
	}
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 || n >= mostDevices {
		return nil, ""
	}
	for len(*list) <= n {
		var none T
		*list = append(*list, none)
	}
	return &(*list)[n], key
}

// block reads one parameter of a disk and reports whether QEMU gave it.
func block(s *hypervisor.DomainStats, rest string, p param) (fromQEMU bool) {
	b, key := device(&s.Blocks, rest)
	if b == nil {
		return false
	}
	switch key {
	case "name":
		b.Device = p.Text
	case "rd.reqs":
		b.ReadOps = p.Number
		return true
	case "rd.bytes":
		b.ReadBytes = p.Number
	case "rd.times": // ns
		b.ReadTime = time.Duration(p.Number)
	case "wr.reqs":
		b.WriteOps = p.Number
	case "wr.bytes":
		b.WriteBytes = p.Number
	case "wr.times":
		b.WriteTime = time.Duration(p.Number)
	case "allocation":
		b.Allocation = p.Number
	case "physical":
		b.Physical = p.Number
	case "capacity":
		b.Capacity = p.Number
	}
	return false
}

func iface(s *hypervisor.DomainStats, rest string, p param) {
	n, key := device(&s.Nets, rest)
	if n == nil {
		return
	}
	switch key {
	case "name":
		n.Device = p.Text
	case "rx.bytes":
		n.RxBytes = p.Number
	case "tx.bytes":
		n.TxBytes = p.Number
	case "rx.drop":
		n.RxDrops = p.Number
	case "tx.drop":
		n.TxDrops = p.Number
	}
}
