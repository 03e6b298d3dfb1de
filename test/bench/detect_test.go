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
)

// heard is a Reporter that hands on what is said for the first time.
type heard chan fault.Fault

func (h heard) ReportFault(_ context.Context, f fault.Fault) error { h <- f; return nil }

func (h heard) ReportCleared(context.Context, fault.Fault, fault.Sighting) error { return nil }

// tcpOnly is a host's own port as the one who confirms.
type tcpOnly struct{ *vantage.Panel }

func (p tcpOnly) Points() []string { return p.Names() }

// detected is one thing that can be done, and what must be seen.
type detected struct {
	what    string
	kind    fault.Kind
	patient string // the setting that has to be waited for, if any
	breaks  func() (lab.Injection, error)
	mends   func() error
}

// TestDetect measures the time from an injection to the first report of its fault,
// in a lab of two hosts with the default periods.
func TestDetect(t *testing.T) {
	binary, err := rig.Build(t.TempDir(), "holdfast/test/lab/cmd/lab", "")
	require.NoError(t, err)
	l, err := lab.Up(t.Context(), lab.Options{Name: fmt.Sprintf("detect-%d", os.Getpid()), Hosts: 3, VMs: 3, SmallPool: true, Binary: binary, Guard: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Down(context.Background())) })
	got := make(heard, 1024)
	watching := watchLab(t, l, got)
	rig.Eventually(t, "all is calm", func() error {
		x := watching.Snapshot()
		for _, h := range x.Hosts {
			if h.Sampled.IsZero() {
				return fmt.Errorf("host %s is not sampled yet", h.Host)
			}
		}
		return nil
	})
	pause(2 * detectPeriod) // agents have answered
	fmt.Printf("\ninjection to fault, %d runs each; listings and samples every %s, rules for %s\n", detectRuns, detectPeriod, detectFor)
	fmt.Printf("  %-34s %9s %9s   %s\n", "", "median", "worst", "of which is patience")
	for _, d := range detections(t, l) {
		var took []float64
		for range detectRuns {
			took = append(took, d.measure(t, watching, got))
		}
		fmt.Printf("  %-34s %7.2f s %7.2f s   %s\n", d.what, median(took), quantile(took, 1), d.patient)
	}
}

func (d detected) measure(t *testing.T, m *monitor.Monitor, got heard) float64 {
	for len(got) > 0 {
		<-got
	}
	i, err := d.breaks()
	require.NoError(t, err)
	var took float64
	limit := time.After(3 * rig.Deadline)
	for took == 0 {
		select {
		case f := <-got:
			if f.Kind == d.kind {
				took = time.Since(i.At).Seconds()
			}
		case <-limit:
			t.Fatalf("%s was not seen; faults: %+v", d.what, m.Snapshot().Faults)
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

func detections(t *testing.T, l *lab.Lab) []detected {
	inject := func(kind lab.FaultKind, target string) func() (lab.Injection, error) {
		return func() (lab.Injection, error) { return l.Inject(t.Context(), kind, target, "") }
	}
	undo := func(kind lab.FaultKind, target string) func() error {
		return func() error { _, err := l.Inject(t.Context(), kind, target, ""); return err }
	}
	do := func(what lab.Task) func() (lab.Injection, error) {
		return func() (lab.Injection, error) {
			d, err := l.Do(t.Context(), "VM1", what, lab.TaskOptions{})
			return lab.Injection{At: d.At}, err
		}
	}
	stop := func() error { _, err := l.Do(t.Context(), "VM1", lab.TaskStop, lab.TaskOptions{}); return err }
	virsh := func(args ...string) func() error {
		return func() error { _, err := l.Virsh(t.Context(), "A", args...); return err }
	}
	// A guest takes a while until its kernel can panic, and its agent answers.
	booted := func(commands string) func() error {
		return func() error {
			err := virsh(commands)()
			pause(2 * detectPeriod)
			return err
		}
	}
	return []detected{
		{"crashed (SIGKILL of QEMU)", fault.KindCrashed, "", inject(lab.FaultKill, "VM1"), booted("start VM1")},
		{"panicked", fault.KindPanicked, "", inject(lab.FaultPanic, "VM1"), booted("destroy VM1; start VM1")},
		{"no-space", fault.KindNoSpace, "", func() (lab.Injection, error) {
			if _, err := l.Do(t.Context(), "VM1", lab.TaskWrite, lab.TaskOptions{}); err != nil {
				return lab.Injection{}, err
			}
			return l.Inject(t.Context(), lab.FaultFillPool, "A", "")
		}, func() error {
			if err := undo(lab.FaultEmptyPool, "A")(); err != nil {
				return err
			}
			if err := virsh("resume", "VM1")(); err != nil {
				return err
			}
			return stop()
		}},
		{"hung (SIGSTOP of QEMU)", fault.KindHung, "hungAfter 30 s", inject(lab.FaultHang, "VM1"), undo(lab.FaultUnhang, "VM1")},
		{"hung (guest stands still)", fault.KindHung, "hungAfter 30 s", inject(lab.FaultHangGuest, "VM1"), undo(lab.FaultUnhangGuest, "VM1")},
		{"cpu-pressure", fault.KindCPU, "for 10 s", do(lab.TaskCPU), stop},
		{"pool-lost", fault.KindPoolLost, "pools 15 s", inject(lab.FaultLosePool, "B"), undo(lab.FaultRestorePool, "B")},
		{"libvirtd-dead", fault.KindLibvirtdDead, "unreachableAfter 15 s", inject(lab.FaultKillLibvirtd, "B"), undo(lab.FaultStartLibvirtd, "B")},
		{"libvirtd-hung", fault.KindLibvirtdHung, "unreachableAfter 15 s", inject(lab.FaultHangLibvirtd, "B"), undo(lab.FaultStartLibvirtd, "B")},
		{"host-unreachable (cable pulled)", fault.KindHostUnreachable, "unreachableAfter 15 s", inject(lab.FaultCut, "C"), undo(lab.FaultHeal, "C")},
	}
}

// watchLab runs a monitor of the lab's hosts in this process.
func watchLab(t *testing.T, l *lab.Lab, to heard) *monitor.Monitor {
	var hosts []hypervisor.Host
	panels := map[string]monitor.Panel{}
	for _, h := range l.Info().Hosts {
		host, err := libvirt.New(libvirt.Options{Name: h.Name, URI: h.URI})
		require.NoError(t, err)
		hosts = append(hosts, host)
		addr, ok := vantage.FromURI(h.URI)
		require.True(t, ok)
		p, err := vantage.NewPanel(h.Name, vantage.TCP(addr))
		require.NoError(t, err)
		panels[h.Name] = tcpOnly{p}
	}
	site, err := hypervisor.NewSite(hosts...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = site.Close() })
	m, err := monitor.New(monitor.Options{
		Site: "lab", Hosts: site, Reporter: nobody{}, Alarms: []monitor.Alarm{{Name: "bench", To: to}},
		Sweep: detectPeriod, Sample: detectPeriod, Pools: detectPools, Panels: panels, ResayInitial: time.Hour, ResayMax: time.Hour,
		Detect: detect.Options{Rules: []rules.Rule{
			// What the machine has no processor for is steal: the guest gets a part.
			{Name: "cpu", Metric: rules.VMCPU, Kind: fault.KindCPU, Raise: 40, Clear: 30, For: detectFor},
		}},
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-ended) })
	return m
}
