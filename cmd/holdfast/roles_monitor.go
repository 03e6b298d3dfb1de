package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"holdfast/internal/agent"
	"holdfast/internal/alert"
	alertin "holdfast/internal/alert/in"
	alertout "holdfast/internal/alert/out"
	"holdfast/internal/config"
	"holdfast/internal/contract"
	"holdfast/internal/detect"
	"holdfast/internal/detect/rules"
	"holdfast/internal/fault"
	"holdfast/internal/httpserver"
	"holdfast/internal/telemetry"
	"holdfast/internal/vantage"
	"holdfast/monitor"
	"holdfast/starter"
	"holdfast/worker"
)

// watching is a monitor and what goes with it: who answers questions about what
// it sees, and who takes the alerts of others.
type watching struct {
	*monitor.Monitor
	answers *worker.MonitorService
	alerts  *httpserver.Server // nil: none are taken
	panels  []*vantage.Panel
	out     []interface{ Close() }
}

// Run watches until ctx ends.
func (w *watching) Run(ctx context.Context) error {
	all := newParts()
	all.start(ctx, "answers", w.answers.Run)
	if w.alerts != nil {
		all.start(ctx, "alerts", w.alerts.Run)
	}
	all.start(ctx, "monitor", w.Monitor.Run)
	err := all.wait(ctx)
	err = errors.Join(err, all.stop())
	return errors.Join(err, w.close())
}

// closePanels is how long vantage points may take to end.
const closePanels = 5 * time.Second

func (w *watching) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closePanels)
	defer cancel()
	var errs []error
	for _, p := range w.panels {
		errs = append(errs, p.Close(ctx))
	}
	for _, o := range w.out {
		o.Close()
	}
	return errors.Join(errs...)
}

// routes answer what this monitor thinks of a host, for other monitors.
func (w *watching) routes() []telemetry.Route {
	return []telemetry.Route{{Pattern: "GET " + vantage.PeerPath, Handler: vantage.PeerHandler(w.Vote)}}
}

func (r role) monitor() (*watching, error) {
	m := r.site.Monitor
	counted, err := monitor.NewMetrics(r.metrics.Registry)
	if err != nil {
		return nil, err
	}
	w := &watching{}
	o := monitor.Options{
		Site: r.site.Name, Hosts: r.hosts, Reporter: starter.New(r.temporal),
		Sweep: m.Sweep, Sample: m.Sample, Pools: m.Pools, CallTimeout: m.CallTimeout,
		ResayInitial: m.Resay.Initial, ResayMax: m.Resay.Max, TemporalAfter: m.TemporalAfter,
		Detect: detect.Options{
			Rules: r.site.RuleSet(), OverridesFor: r.site.OverridesFor,
			HungAfter: m.HungAfter, BootWithin: m.BootWithin, UnreachableAfter: m.UnreachableAfter,
			StormShare: m.Storm.Share, StormWindow: m.Storm.Window,
			Flap: rules.Flap{Raises: m.Flap.Raises, Window: m.Flap.Window},
		},
		ResponseTo: r.site.ResponseFor, Judge: r.judge,
		Panels: map[string]monitor.Panel{}, Agents: map[string]monitor.Agent{},
		Logger: r.log, Metrics: counted,
	}
	if err := r.build(w, o); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

// build makes the parts of w, which its caller closes if one cannot be made.
func (r role) build(w *watching, o monitor.Options) (err error) {
	if err := r.addVantages(w, &o); err != nil {
		return err
	}
	if err := r.addAlarms(w, &o); err != nil {
		return err
	}
	if w.Monitor, err = monitor.New(o); err != nil {
		return err
	}
	if w.answers, err = worker.NewMonitorService(r.temporal, r.site.Name, w.Monitor, worker.MonitorOptions{Logger: r.log}); err != nil {
		return err
	}
	w.alerts, err = r.alertsIn(w.Monitor)
	return err
}

// judge adds what the site file says about a VM.
func (r role) judge(x *contract.ExplainResult) {
	x.Class = r.site.ClassOf(x.Labels)
	kind := fault.KindHostUnreachable
	if x.Subject == fault.SubjectVM {
		kind = fault.KindCrashed
	}
	for _, f := range x.Faults {
		kind = f.Kind
		break
	}
	x.Mode, x.ModeWhy = r.site.ModeFor(kind, x.Labels, x.Mode)
}

// workerPoint is the site's worker, which looks from where it runs.
type workerPoint struct {
	ask        *starter.Client
	site, host string
}

func (p workerPoint) Name() string { return "worker" }

func (p workerPoint) Look(ctx context.Context) fault.Vote {
	votes, err := p.ask.Probe(ctx, p.site, p.host)
	if err != nil || len(votes) == 0 {
		return fault.Vote{From: p.Name(), Says: fault.NoVerdict, Why: fmt.Sprintf("no worker answers: %v", err), At: time.Now().UTC()}
	}
	v := votes[0]
	v.From = p.Name()
	return v
}

// panel is a vantage.Panel with the points that must agree: a power supply that
// is on says nothing about life.
type panel struct{ *vantage.Panel }

func (p panel) Points() []string {
	var names []string
	for _, n := range p.Names() {
		if n != "power" {
			names = append(names, n)
		}
	}
	return names
}

func (r role) addVantages(w *watching, o *monitor.Options) error {
	v := r.site.Monitor.Vantages
	inFile := map[string]config.Host{} // simulated hosts are in no file
	for _, h := range r.site.Hosts {
		inFile[h.Name] = h
	}
	for _, watched := range r.hosts.Hosts() {
		h := inFile[watched.Name()]
		h.Name = watched.Name()
		var points []vantage.Point
		if v.TCP {
			points = append(points, direct(h.URI)...)
		}
		if h.Agent != "" {
			client := agent.Client{URL: h.Agent}
			if h.AgentTokenFile != "" {
				var err error
				if client.Token, err = alert.TokenFile(h.AgentTokenFile).Read(); err != nil {
					return fmt.Errorf("agent of host %s: %w", h.Name, err)
				}
			}
			points = append(points, vantage.Agent(client))
			o.Agents[h.Name] = &hostAgent{client: client}
		}
		if h.Heartbeat != "" {
			points = append(points, vantage.Heartbeat(h.Heartbeat))
		}
		if v.Worker {
			points = append(points, workerPoint{starter.New(r.temporal), r.site.Name, h.Name})
		}
		for _, url := range v.Peers {
			points = append(points, vantage.Peer(url, h.Name, 3*r.site.Monitor.Sweep))
		}
		if h.Power != nil {
			points = append(points, vantage.Power(h.Power.Command, h.Power.Timeout))
		}
		p, err := vantage.NewPanel(h.Name, points...)
		if err != nil {
			return err
		}
		w.panels = append(w.panels, p)
		o.Panels[h.Name] = panel{p}
	}
	return nil
}

// direct is the point that tries the host's own port, if it has one.
func direct(uri string) []vantage.Point {
	if addr, ok := vantage.FromURI(uri); ok {
		return []vantage.Point{vantage.TCP(addr)}
	}
	if paths, ok := vantage.SocketsFromURI(uri); ok {
		return []vantage.Point{vantage.Socket(paths)}
	}
	return nil
}

// hostAgent takes a host's figures from its agent.
type hostAgent struct {
	client    agent.Client
	corrected uint64
	errors    uint64
}

// manyCorrected is how many errors of memory that were corrected between two
// samples are worth as much as one that was not.
const manyCorrected = 10

// Figures implements [monitor.Agent]. One sample of a host is under way at a time.
func (h *hostAgent) Figures(ctx context.Context) (rules.AgentSample, uint64, error) {
	f, err := h.client.Host(ctx)
	if err != nil {
		return rules.AgentSample{}, 0, err
	}
	s := rules.AgentSample{
		At: f.Clock.At, PSICPU: orNaN(f.Pressure.CPUSome), PSIMemory: orNaN(f.Pressure.MemorySome), PSIIO: orNaN(f.Pressure.IOSome),
		// What the way there and back took may be to blame for so much of it.
		ClockSkew: max(f.Clock.Skew.Abs()-f.Clock.Within, 0).Seconds(),
	}
	if f.Disks != nil {
		s.DiskOps = f.Disks.Requests
	}
	if e := f.MemoryErrors; e != nil {
		if h.corrected != 0 && e.Corrected >= h.corrected+manyCorrected {
			h.errors++
		}
		h.corrected = e.Corrected
		return s, h.errors + e.Uncorrected, nil
	}
	return s, h.errors, nil
}

func orNaN(v *float64) float64 {
	if v == nil {
		return math.NaN()
	}
	return *v
}

func (r role) addAlarms(w *watching, o *monitor.Options) error {
	out := r.site.Alerts.Out
	for _, t := range out.Alertmanager {
		am, err := alertout.NewAlertmanager(target(t), alertout.AlertmanagerOptions{Repeat: r.site.Monitor.Resay.Max})
		if err != nil {
			return err
		}
		w.out = append(w.out, am)
		o.Alarms = append(o.Alarms, monitor.Alarm{Name: am.String(), To: am})
	}
	for _, t := range out.Webhook {
		hook, err := alertout.NewWebhook(target(t))
		if err != nil {
			return err
		}
		w.out = append(w.out, hook)
		o.Alarms = append(o.Alarms, monitor.Alarm{Name: hook.String(), To: hook})
	}
	return nil
}

func target(t config.Target) alertout.Target {
	return alertout.Target{URL: t.URL, TokenFile: alert.TokenFile(t.TokenFile), CAFile: t.CAFile}
}

// alertsIn takes the alerts of others, where the site file says so.
func (r role) alertsIn(sink alertin.Sink) (*httpserver.Server, error) {
	c := r.site.Alerts.In
	if c.Listen == "" {
		return nil, nil
	}
	metrics, err := alertin.NewMetrics(r.metrics.Registry)
	if err != nil {
		return nil, err
	}
	mapping := alertin.Mapping{VM: c.VM, Host: c.Host}
	for _, k := range c.Kinds {
		mapping.Kinds = append(mapping.Kinds, alertin.KindRule{Match: k.Match, Kind: k.Kind})
	}
	handler, err := alertin.NewHandler(alertin.Options{
		Mapping: mapping, Sink: sink, TokenFile: alert.TokenFile(c.TokenFile),
		MaxBody: int64(c.MaxBody), Rate: c.Rate, Burst: c.Burst, Logger: r.log, Metrics: metrics,
	})
	if err != nil {
		return nil, err
	}
	server, err := alertin.Listen(c.Listen, handler, alertin.TLS{Cert: c.TLS.Cert, Key: c.TLS.Key, ClientCA: c.TLS.ClientCA})
	if err != nil {
		return nil, err
	}
	r.log.Info("takes alerts", slog.String("at", "http(s)://"+server.Addr().String()+alertin.Path))
	return server, nil
}
