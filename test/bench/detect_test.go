//go:build bench

package bench

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/detect"
	"holdfast/internal/detect/rules"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/libvirt"
	"holdfast/internal/vantage"
	"holdfast/monitor"
	"holdfast/test/lab"
	"holdfast/test/rig"
)

const (
	detectRuns   = 2
	detectPeriod = 10 * time.Second // of listings and of samples, the default
	detectFor    = 10 * time.Second // of rules; the default is 5 min
	detectPools  = 15 * time.Second // of storage pools; the default is 1 min
	detectBoot   = 40 * time.Second // that a guest may take to boot; the default is 5 min
)

// heard is a Reporter that hands on what is said for the first time.
type heard chan fault.Fault

func (h heard) ReportFault(_ context.Context, f fault.Fault) error { h <- f; return nil }

func (h heard) ReportCleared(context.Context, fault.Fault, fault.Sighting) error { return nil }

// tcpOnly has a host's own port as the one who must confirm its silence.
type tcpOnly struct{ *vantage.Panel }

func (p tcpOnly) Points() []string { return []string{"tcp"} }

// TestDetect measures the time from an injection to the first report of its
// fault, for each kind that the lab can make, with the default periods.
func TestDetect(t *testing.T) {
	binary, err := rig.Build(t.TempDir(), "holdfast/test/lab/cmd/lab", "")
	require.NoError(t, err)
	l, err := lab.Up(t.Context(), lab.Options{
		Name: fmt.Sprintf("detect-%d", os.Getpid()), Hosts: 3, VMs: 3, SmallPool: true, Flaky: true, Binary: binary, Guard: true,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Down(context.Background())) })
	got := make(heard, 1024)
	temporal := &temporal{}
	watching := watchLab(t, l, got, temporal)
	rig.Eventually(t, "all is calm", func() error {
		x := watching.Snapshot()
		for _, h := range x.Hosts {
			if h.Sampled.IsZero() {
				return fmt.Errorf("host %s is not sampled yet", h.Host)
			}
		}
		return nil
	})
	in := injector{t, l, watching}
	in.agentsAnswer("VM1", "VM2", "VM3")
	fmt.Printf("\ninjection to fault; listings and samples every %s, pools every %s, rules for %s\n", detectPeriod, detectPools, detectFor)
	fmt.Printf("  %-40s %9s %9s   %s\n", "", "best", "worst", "of which is patience")
	for _, d := range append(in.guests(), in.hosts(temporal)...) {
		var took []float64
		runs := detectRuns
		if d.once {
			runs = 1
		}
		for range runs {
			took = append(took, d.measure(t, watching, got))
		}
		fmt.Printf("  %-40s %7.2f s %7.2f s   %s\n", d.name(), quantile(took, 0), quantile(took, 1), d.patient)
	}
}

func (d detected) measure(t *testing.T, m *monitor.Monitor, got heard) float64 {
	for len(got) > 0 {
		<-got
	}
	at, err := d.breaks()
	require.NoError(t, err)
	var took float64
	limit := time.After(3 * rig.Deadline)
	for took == 0 {
		select {
		case f := <-got:
			if f.Kind == d.kind {
				took = time.Since(at).Seconds()
			}
		case <-limit:
			t.Fatalf("%s was not seen; faults: %+v", d.name(), m.Snapshot().Faults)
		}
	}
	require.NoError(t, d.mends())
	rig.Eventually(t, "it is over", func() error {
		if s := m.Snapshot().Faults; len(s) > 0 {
			return fmt.Errorf("%s of %s stands", s[0].Kind, s[0].Subject())
		}
		return nil
	})
	return took
}

// watchLab runs a monitor of the lab's hosts in this process.
func watchLab(t *testing.T, l *lab.Lab, to heard, reports monitor.Reporter) *monitor.Monitor {
	var hosts []hypervisor.Host
	panels := map[string]monitor.Panel{}
	for _, h := range l.Info().Hosts {
		host, err := libvirt.New(libvirt.Options{Name: h.Name, URI: h.URI})
		require.NoError(t, err)
		hosts = append(hosts, host)
		addr, ok := vantage.FromURI(h.URI)
		require.True(t, ok)
		p, err := vantage.NewPanel(h.Name, vantage.TCP(addr), vantage.Power(l.PowerCommand(h.Name), detectPeriod))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, p.Close(context.Background())) })
		panels[h.Name] = tcpOnly{p}
	}
	site, err := hypervisor.NewSite(hosts...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = site.Close() })
	m, err := monitor.New(monitor.Options{
		Site: "lab", Hosts: site, Reporter: reports, Alarms: []monitor.Alarm{{Name: "bench", To: to}},
		Sweep: detectPeriod, Sample: detectPeriod, Pools: detectPools, Panels: panels,
		Detect: detect.Options{BootWithin: detectBoot, Rules: measured()},
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-ended) })
	return m
}

// measured are rules that an emulated guest on a shared processor can break.
func measured() []rules.Rule {
	rule := func(name string, metric rules.Metric, kind fault.Kind, raise float64) rules.Rule {
		return rules.Rule{Name: name, Metric: metric, Kind: kind, Raise: raise, Clear: 0.7 * raise, For: detectFor}
	}
	clock := rule("clock", rules.VMClock, fault.KindClock, 1000)
	clock.For = 0
	full := rule("pool-full", rules.PoolFull, fault.KindPoolFull, 90)
	full.Clear, full.For = 85, 0
	return []rules.Rule{
		// What the machine has no processor for is steal: the guest gets a part.
		rule("cpu", rules.VMCPU, fault.KindCPU, 40),
		rule("memory", rules.VMMemory, fault.KindMemory, 80),
		rule("disk-ops", rules.VMDiskOps, fault.KindDiskIO, 400),
		rule("net", rules.VMNetBytes, fault.KindNet, 200e3),
		rule("disk-full", rules.VMDiskFull, fault.KindDiskFull, 90),
		clock, full,
	}
}
