//go:build bench

package bench

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"holdfast/internal/detect"
	"holdfast/internal/detect/rules"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/simulated"
	"holdfast/monitor"
)

const (
	scalePeriod = 10 * time.Second
	// scaleWarm is how long everything has to settle before it is measured: every
	// definition is read, every agent asked once.
	scaleWarm = 45 * time.Second
	scaleFor  = 60 * time.Second
)

// nobody takes reports and forgets them.
type nobody struct{}

func (nobody) ReportFault(context.Context, fault.Fault) error                   { return nil }
func (nobody) ReportCleared(context.Context, fault.Fault, fault.Sighting) error { return nil }

// cost is what a process used.
type cost struct {
	cores float64 // processor time a second
	heap  float64 // MiB in use after a collection
	rss   float64 // MiB
}

// TestScale measures one monitor that watches 1,000 simulated hosts with 20,000
// VMs every 10 s, and a tenth of that. The hosts live in the same process, so what
// they cost alone, asked as often by somebody who forgets the answers, is measured
// too, and taken off.
func TestScale(t *testing.T) {
	fmt.Printf("\none monitor, every %s: processor time and memory over %s, less what the simulated hosts cost\n", scalePeriod, scaleFor)
	fmt.Printf("  %6s %7s %14s %14s %14s\n", "hosts", "VMs", "cores", "heap MiB", "process MiB")
	for _, hosts := range []int{100, 1000} {
		const vms = 20
		cluster := simulated.New(simulated.Options{Site: "scale", Hosts: hosts, VMsPerHost: vms})
		alone := measure(t, func(ctx context.Context) { ask(ctx, cluster.Hosts()) })
		both := measure(t, func(ctx context.Context) { watchAll(ctx, t, cluster) })
		fmt.Printf("  %6d %7d %14.3f %14.0f %14.0f\n", hosts, hosts*vms, both.cores-alone.cores, both.heap-alone.heap, both.rss)
	}
}

// measure runs something until it has settled, and then for a while.
func measure(t *testing.T, run func(context.Context)) cost {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); run(ctx) }()
	defer func() { cancel(); <-done }()
	pause(scaleWarm)
	before := cpuTime(t)
	began := time.Now()
	pause(scaleFor)
	used := (cpuTime(t) - before).Seconds() / time.Since(began).Seconds()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	const mib = 1 << 20
	return cost{cores: used, heap: float64(m.HeapAlloc) / mib, rss: float64(m.Sys-m.HeapReleased) / mib}
}

func cpuTime(t *testing.T) time.Duration {
	var u unix.Rusage
	require.NoError(t, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// ask asks every host what a monitor asks in a period, and forgets the answers.
func ask(ctx context.Context, hosts []hypervisor.Host) {
	tick := time.NewTicker(scalePeriod)
	defer tick.Stop()
	for {
		var all errgroup.Group
		all.SetLimit(16)
		for _, h := range hosts {
			all.Go(func() error {
				_, _ = h.Domains(ctx)
				_, _ = h.Stats(ctx)
				_, _ = h.Node(ctx)
				return nil
			})
		}
		_ = all.Wait()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func watchAll(ctx context.Context, t *testing.T, cluster *simulated.Cluster) {
	site := cluster.Site()
	defer site.Close()
	m, err := monitor.New(monitor.Options{
		Site: "scale", Hosts: site, Reporter: nobody{}, Sweep: scalePeriod, Sample: scalePeriod,
		Detect: detect.Options{Rules: rules.Defaults(), Flap: rules.Flap{Raises: 4, Window: 30 * time.Minute}},
	})
	if err != nil {
		t.Error(err)
		return
	}
	_ = m.Run(ctx)
	if faults := m.Snapshot().Faults; len(faults) > 0 {
		t.Errorf("%d faults where nothing is wrong, such as %s", len(faults), faults[0].Why)
	}
}
