package monitor

import (
	"bytes"
	"context"
	"errors"
	"math"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"holdfast/internal/fault"
	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/simulated"
)

// patience is the deadline of every wait. Nothing is expected to take that
// long: it only ends a test that would never end.
const patience = 20 * time.Second

// never is a period that no test lives to see.
const never = time.Hour

var errAway = errors.New("temporal is away")

// said is one thing that reached the Reporter.
type said struct {
	fault   fault.Fault
	cleared bool
	seen    fault.Sighting
}

// reporter is a Reporter that a test can break.
type reporter struct {
	mu       sync.Mutex
	away     error // returned while set
	refuse   func(said) error
	hold     chan struct{} // calls wait for it to be closed while set
	attempts []said
	got      []said
	pings    int
}

func (r *reporter) ReportFault(ctx context.Context, f fault.Fault) error {
	return r.take(ctx, said{fault: f})
}

func (r *reporter) ReportCleared(ctx context.Context, f fault.Fault, seen fault.Sighting) error {
	return r.take(ctx, said{fault: f, cleared: true, seen: seen})
}

func (r *reporter) Ping(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pings++
	return r.away
}

func (r *reporter) take(ctx context.Context, s said) error {
	r.mu.Lock()
	r.attempts = append(r.attempts, s)
	hold := r.hold
	r.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.away != nil {
		return r.away
	}
	if r.refuse != nil {
		if err := r.refuse(s); err != nil {
			return err
		}
	}
	r.got = append(r.got, s)
	return nil
}

func (r *reporter) setAway(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = err
}

func (r *reporter) tried() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.attempts)
}

// about is what arrived about one VM, in order.
func (r *reporter) about(vm string) []said {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []said
	for _, s := range r.got {
		if s.fault.VM.Name == vm {
			out = append(out, s)
		}
	}
	return out
}

// faults are the IDs of one VM's faults that arrived, each once, in order.
func (r *reporter) faults(vm string) []string {
	var out []string
	for _, s := range r.about(vm) {
		if !s.cleared && (len(out) == 0 || out[len(out)-1] != s.fault.ID) {
			out = append(out, s.fault.ID)
		}
	}
	return out
}

func (r *reporter) cleared(vm string) []said {
	var out []said
	for _, s := range r.about(vm) {
		if s.cleared {
			out = append(out, s)
		}
	}
	return out
}

// rig is a simulated site, a monitor on it and the reporter it talks to.
type rig struct {
	t       *testing.T
	cluster *simulated.Cluster
	to      *reporter
	m       *Monitor
	reg     *prometheus.Registry
	stop    func()
}

// newRig makes a monitor with listings only where the test calls for them:
// tune what differs.
func newRig(t *testing.T, sim simulated.Options, tune func(*Options)) *rig {
	t.Helper()
	if sim.Site == "" {
		sim.Site = "test"
	}
	r := &rig{t: t, cluster: simulated.New(sim), to: &reporter{}, reg: prometheus.NewRegistry()}
	metrics, err := NewMetrics(r.reg)
	require.NoError(t, err)
	hosts := r.cluster.Site()
	o := Options{
		Site: "test", Hosts: hosts, Reporter: r.to, Identity: "monitor-1", Metrics: metrics,
		Sweep: never, CallTimeout: 5 * time.Second, ResayInitial: never, ResayMax: never,
	}
	if tune != nil {
		tune(&o)
	}
	r.m, err = New(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, hosts.Close()) })
	return r
}

// run starts the monitor, and stops it at the end of the test at the latest.
func (r *rig) run() *rig {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.m.Run(ctx) }()
	var once sync.Once
	r.stop = func() {
		once.Do(func() {
			cancel()
			require.NoError(r.t, <-ended)
		})
	}
	r.t.Cleanup(r.stop)
	return r
}

// watching waits until every host was listed once.
func (r *rig) watching() *rig {
	r.t.Helper()
	r.eventually("every host is tried", func() bool { return r.m.Ready() == nil })
	return r
}

func (r *rig) eventually(what string, cond func() bool) {
	r.t.Helper()
	require.Eventually(r.t, cond, patience, time.Millisecond, what)
}

func (r *rig) do(err error) {
	r.t.Helper()
	require.NoError(r.t, err)
}

// sweep lists every host until after now, so that whatever a listing could
// bring has been brought.
func (r *rig) swept() {
	r.t.Helper()
	since := time.Now()
	r.eventually("a sweep of every host", func() bool {
		for _, h := range r.m.Snapshot().Hosts {
			if !h.Listed.After(since) {
				return false
			}
		}
		return true
	})
}

// metric is the value of one series: the sum over those that match; NaN, which
// equals nothing, if there is none.
func (r *rig) metric(name string, labels ...string) float64 {
	r.t.Helper()
	families, err := r.reg.Gather()
	assert.NoError(r.t, err) // in a condition's goroutine a test cannot be ended
	sum, found := 0.0, false
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, s := range f.GetMetric() {
			match := true
			for i := 0; i < len(labels); i += 2 {
				match = match && strings.Contains(s.String(), `name:"`+labels[i]+`"`) &&
					strings.Contains(s.String(), `value:"`+labels[i+1]+`"`)
			}
			if match {
				found = true
				sum += s.GetGauge().GetValue() + s.GetCounter().GetValue() + float64(s.GetHistogram().GetSampleCount())
			}
		}
	}
	if !found {
		return math.NaN()
	}
	return sum
}

// goroutines counts those that run this package's code, tests aside.
func goroutines(t *testing.T) int {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, pprof.Lookup("goroutine").WriteTo(&b, 2))
	n := 0
	for _, g := range strings.Split(b.String(), "\n\n") {
		if strings.Contains(g, "holdfast/monitor.(*watch)") || strings.Contains(g, "holdfast/monitor.(*outbox)") ||
			strings.Contains(g, "holdfast/monitor.(*Monitor)") {
			n++
		}
	}
	return n
}

// start boots a VM through the host, as a person would.
func (r *rig) start(vm, host string) {
	r.t.Helper()
	v, ok := r.cluster.VM(vm)
	require.True(r.t, ok, vm)
	h := r.cluster.Host(host)
	defer h.Close()
	require.NoError(r.t, h.Start(context.Background(), v.UUID))
}

// hosts wraps every host of a site, in order.
func wrap(t *testing.T, site *hypervisor.Site, by func(hypervisor.Host) hypervisor.Host) *hypervisor.Site {
	t.Helper()
	var hosts []hypervisor.Host
	for _, h := range site.Hosts() {
		hosts = append(hosts, by(h))
	}
	wrapped, err := hypervisor.NewSite(hosts...)
	require.NoError(t, err)
	return wrapped
}

// signal is a Reporter that only says that it was called.
type signal chan struct{}

func (s signal) ReportFault(context.Context, fault.Fault) error { s <- struct{}{}; return nil }

func (s signal) ReportCleared(context.Context, fault.Fault, fault.Sighting) error {
	s <- struct{}{}
	return nil
}
