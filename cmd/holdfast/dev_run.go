package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.temporal.io/sdk/client"

	"holdfast/activities"
	"holdfast/internal/config"
	"holdfast/internal/devserver"
	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/simulated"
	"holdfast/internal/telemetry"
	"holdfast/starter"
)

const (
	// temporalStop is how long Temporal's process may take to end in order.
	temporalStop = 10 * time.Second
	// What calls to a simulated host take, as measured on real ones.
	simulatedCall  = 2 * time.Millisecond
	simulatedStart = 250 * time.Millisecond
	simulatedDown  = 6 * time.Second
)

// dev runs Temporal, a worker and a monitor until ctx ends.
func (a *app) dev(ctx context.Context, site *config.Site, f devFlags) (err error) {
	log := a.logger(slog.LevelInfo)
	if f.data == "" { // simulated
		if f.data, err = os.MkdirTemp("", "holdfast-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(f.data)) }()
	}
	world, err := newWorld(site, f, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, world.close()) }()
	metrics, err := telemetry.NewMetrics("holdfast-dev")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, metrics.Shutdown(context.WithoutCancel(ctx))) }()
	server, closeLog, err := a.startTemporal(ctx, f)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer closeLog()
	all := newParts()
	all.start(ctx, "Temporal", func(ctx context.Context) error {
		server.Supervise(ctx, log)
		server.Stop(temporalStop)
		return nil
	})
	temporal, err := client.NewLazyClient(client.Options{
		HostPort: server.Address, Namespace: cmp.Or(a.namespace, client.DefaultNamespace),
		Logger: telemetry.TemporalLogger(log), MetricsHandler: metrics.TemporalHandler(),
	})
	if err != nil {
		return errors.Join(err, all.stop())
	}
	defer temporal.Close()
	if site.Evidence.Dir == "" {
		site.Evidence.Dir = filepath.Join(f.data, "evidence")
	}
	r := role{site: site, listen: cmp.Or(f.listen, site.Listen.Worker), temporal: temporal, namespace: cmp.Or(a.namespace, client.DefaultNamespace), metrics: metrics, log: log}
	err = a.devRoles(ctx, all, r, world, server, f)
	return errors.Join(err, all.stop())
}

// devRoles starts the worker and the monitor, says what runs where, and waits
// for the end.
func (a *app) devRoles(ctx context.Context, all *parts, r role, w world, server *devserver.Server, f devFlags) error {
	log := r.log
	r.hosts, r.log = w.forWorker, log.With("role", "worker")
	work, err := r.worker(w.injector)
	if err != nil {
		return err
	}
	r.hosts, r.log = w.forMonitor, log.With("role", "monitor")
	watch, err := r.monitor()
	if err != nil {
		return err
	}
	ready := func() error { return errors.Join(work.Ready(), watch.Ready()) }
	listening, err := telemetry.Listen(r.listen, r.metrics, ready, append(work.routes(), watch.routes()...)...)
	if err != nil {
		return err
	}
	all.start(ctx, "metrics and health", listening.Run)
	all.start(ctx, "worker", work.Run)
	all.start(ctx, "monitor", watch.Run)
	b := banner{
		site: r.site.Name, hosts: r.hosts, vms: f.hosts * f.vms, simulated: w.injector != nil, data: f.data,
		temporal: server.Address, namespace: r.namespace, ui: server.UIAddress, listening: listening.Addr().String(),
	}
	b.print(a.out)
	up, err := all.waitReady(ctx, ready)
	if up {
		fmt.Fprintln(a.out, "ready")
		err = all.wait(ctx)
	}
	fmt.Fprintln(a.out, "stopping")
	return err
}

// startTemporal starts the development server. Its own log is a file in the data
// folder, which the returned function closes.
func (a *app) startTemporal(ctx context.Context, f devFlags) (*devserver.Server, func(), error) {
	defer a.progress("starting Temporal")()
	if err := os.MkdirAll(f.data, 0o700); err != nil {
		return nil, nil, fmt.Errorf("folder for Temporal's data: %w; say where with --data", err)
	}
	out, err := os.OpenFile(temporalLog(f.data), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("log of Temporal: %w; say where with --data", err)
	}
	server, err := devserver.Start(ctx, devserver.Options{
		Address: f.temporal, UIAddress: f.ui, Database: filepath.Join(f.data, "temporal.db"),
		Namespace: a.namespace, Output: out,
	})
	if err != nil {
		return nil, nil, errors.Join(err, out.Close())
	}
	return server, func() { _ = out.Close() }, nil
}

func temporalLog(data string) string { return filepath.Join(data, "temporal.log") }

// world is what is looked after: worker and monitor have connections of their
// own, as they would on two machines.
type world struct {
	forWorker, forMonitor *hypervisor.Site
	injector              activities.Injector // nil on real hosts
}

func newWorld(site *config.Site, f devFlags, log *slog.Logger) (world, error) {
	if f.hosts > 0 {
		cluster := simulated.New(simulated.Options{
			Site: site.Name, Hosts: f.hosts, VMsPerHost: f.vms,
			CallLatency: simulatedCall, StartLatency: simulatedStart, DownAfter: simulatedDown,
		})
		return world{cluster.Site(), cluster.Site(), cluster}, nil
	}
	w := world{}
	var err error
	if w.forWorker, err = libvirtSite(site, log.With("role", "worker")); err != nil {
		return w, err
	}
	if w.forMonitor, err = libvirtSite(site, log.With("role", "monitor")); err != nil {
		return w, errors.Join(err, w.close())
	}
	return w, nil
}

func (w world) close() error { return errors.Join(w.forMonitor.Close(), w.forWorker.Close()) }

// banner says what runs where, and what to try next.
type banner struct {
	site, data, temporal, namespace, ui, listening string
	hosts                                          *hypervisor.Site
	vms                                            int
	simulated                                      bool
}

func (b banner) print(w io.Writer) {
	var names []string
	for _, h := range b.hosts.Hosts() {
		names = append(names, h.Name())
	}
	if len(names) > 8 {
		names = append(names[:8], "…")
	}
	what := plural(b.hosts.Len(), "host")
	if b.simulated {
		what = plural(b.hosts.Len(), "simulated host") + " with " + plural(b.vms, "VM")
	}
	ui := "none"
	if b.ui != "" {
		ui = "http://" + b.ui
	}
	fmt.Fprintf(w, "site %s: %s (%s)\n", b.site, what, strings.Join(names, ", "))
	columns(w, nil, [][]string{
		{"  Temporal", b.temporal, "namespace " + b.namespace},
		{"  web UI", ui},
		{"  data", b.data, "and " + filepath.Base(temporalLog(b.data))},
		{"  metrics", "http://" + b.listening + "/metrics", "also /healthz, /readyz"},
	})
	fmt.Fprintf(w, "listening on %s\n\nIn another terminal:\n", b.listening)
	for _, line := range b.next() {
		fmt.Fprintln(w, "  "+line)
	}
	fmt.Fprint(w, "Ctrl-C stops it all.\n\n")
}

// next are commands to try, which find this Temporal and this site.
func (b banner) next() []string {
	var lines []string
	if t, err := (starter.DialOptions{}).Target(); err != nil || !sameAddress(t.Address, b.temporal) {
		lines = append(lines, "export TEMPORAL_ADDRESS="+b.temporal)
	} else if t.Namespace != b.namespace {
		lines = append(lines, "export TEMPORAL_NAMESPACE="+b.namespace)
	}
	if s := cmp.Or(os.Getenv("HOLDFAST_SITE"), "default"); s != b.site {
		lines = append(lines, "export HOLDFAST_SITE="+b.site)
	}
	lines = append(lines, "holdfast vm list")
	if b.simulated && b.vms > 0 {
		return append(lines, "holdfast sim kill VM1 && holdfast incident watch VM1 --wait 30s", "holdfast sim --help")
	}
	return append(lines, "holdfast incident list", "holdfast recover --help")
}

// sameAddress takes localhost and 127.0.0.1 for the same.
func sameAddress(a, b string) bool {
	plain := strings.NewReplacer("localhost:", "127.0.0.1:", "0.0.0.0:", "127.0.0.1:")
	return plain.Replace(a) == plain.Replace(b)
}
