// Package monitor watches the hosts of one site and reports what is wrong with
// their VMs: libvirt's events for speed, a sweep of every host for truth. It
// decides nothing (internal/detect does) and repairs nothing (a workflow does).
package monitor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/internal/contract"
	"holdfast/internal/detect"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor"
)

// Reporter carries faults to whoever repairs them; starter.Client implements
// it. Both methods are repeated until they return nil, so saying a thing twice
// must be harmless, and so must a ReportCleared of a fault whose ReportFault
// never arrived.
type Reporter interface {
	ReportFault(ctx context.Context, f fault.Fault) error
	// ReportCleared says that f is over, and the sighting that ended it. The VM
	// need not be running: it may have been stopped on purpose, or be gone.
	ReportCleared(ctx context.Context, f fault.Fault, seen fault.Sighting) error
}

// Pinger is a Reporter that can say whether it would work. With one, the
// monitor notices that Temporal is away before it has something to report.
type Pinger interface {
	Ping(ctx context.Context) error
}

// Options say what to watch, and how. Zero durations and numbers mean the
// default.
type Options struct {
	Site     string
	Hosts    *hypervisor.Site
	Reporter Reporter

	Sweep        time.Duration // between two listings of a host; 10 s
	Sample       time.Duration // between two samples of a host; 10 s
	Pools        time.Duration // between two looks at a host's storage pools; 1 min
	CallTimeout  time.Duration // of one call to a host or to the Reporter; 5 s
	ResayInitial time.Duration // until a fault is said again, doubling; 10 s
	ResayMax     time.Duration // the most between saying and saying again; 5 min
	Concurrency  int           // reports under way at once; 16

	// Detect says what is a fault. Site, Reporter, Hosts and Period are filled in;
	// what is zero gets its default.
	Detect detect.Options
	// TemporalAfter is how long Temporal may take no reports; 30 s.
	TemporalAfter time.Duration
	// Panels and Agents are those of the hosts that have any, by name.
	Panels map[string]Panel
	Agents map[string]Agent
	// Alarms are where every fault is sent.
	Alarms []Alarm
	// ResponseTo is what the site wants to become of a fault of a kind; nil or an
	// empty answer: what holds for the kind, or its rule.
	ResponseTo func(fault.Kind) fault.Response
	// Judge adds what the site file says about a VM to an explanation; nil: nothing.
	Judge func(*contract.ExplainResult)

	Identity string       // goes into the faults; empty: monitor@<hostname>
	Logger   *slog.Logger // nil: none
	Metrics  *Metrics     // nil: counted, not served
}

// flushTime is how long Run still tries to deliver what is unsent after its
// context has ended.
const flushTime = 2 * time.Second

// Monitor watches one site. Two or more may watch the same one.
type Monitor struct {
	opts    Options
	log     *slog.Logger
	metrics *Metrics
	watches []*watch
	byHost  map[string]*watch
	reports *reports
	started atomic.Bool
	began   time.Time

	mu     sync.Mutex // also orders changes on their way into the outboxes
	engine *detect.Engine
}

// New makes a Monitor; Run starts it.
func New(o Options) (*Monitor, error) {
	switch {
	case o.Site == "":
		return nil, errors.New("monitor: the site has no name: set it in the site file")
	case o.Hosts.Len() == 0:
		return nil, fmt.Errorf("monitor: site %s has no hosts: name them in the site file", o.Site)
	case o.Reporter == nil:
		return nil, errors.New("monitor: nobody to report to: set Options.Reporter")
	}
	o.setDefaults()
	m := &Monitor{opts: o, log: o.Logger.With("site", o.Site), metrics: o.Metrics, byHost: map[string]*watch{}, began: time.Now()}
	if m.metrics == nil {
		var err error
		if m.metrics, err = NewMetrics(nil); err != nil {
			return nil, err
		}
	}
	d := o.Detect
	d.Site, d.Reporter, d.Period, d.PoolsPeriod = o.Site, o.Identity, o.Sample, o.Pools
	for _, h := range o.Hosts.Hosts() {
		host := detect.HostOptions{Name: h.Name()}
		if p := o.Panels[h.Name()]; p != nil {
			host.Points = p.Points()
		}
		d.Hosts = append(d.Hosts, host)
		w := newWatch(m, h)
		m.watches = append(m.watches, w)
		m.byHost[h.Name()] = w
		m.metrics.host(h.Name())
	}
	var err error
	if m.engine, err = detect.NewEngine(d); err != nil {
		return nil, fmt.Errorf("monitor: site %s: %w", o.Site, err)
	}
	m.reports = newReports(m)
	return m, nil
}

func (o *Options) setDefaults() {
	usual := detect.DefaultOptions()
	for _, d := range []struct {
		set *time.Duration
		to  time.Duration
	}{
		{&o.Sweep, 10 * time.Second},
		{&o.Sample, usual.Period},
		{&o.Pools, usual.PoolsPeriod},
		{&o.TemporalAfter, 30 * time.Second},
		{&o.Detect.HungAfter, usual.HungAfter},
		{&o.Detect.BootWithin, usual.BootWithin},
		{&o.Detect.UnreachableAfter, usual.UnreachableAfter},
		{&o.Detect.StormWindow, usual.StormWindow},
		{&o.Detect.Flap.Window, usual.Flap.Window},
		{&o.CallTimeout, 5 * time.Second},
		{&o.ResayInitial, 10 * time.Second},
		{&o.ResayMax, 5 * time.Minute},
	} {
		if *d.set <= 0 {
			*d.set = d.to
		}
	}
	if o.Detect.StormShare <= 0 {
		o.Detect.StormShare = usual.StormShare
	}
	o.ResayMax = max(o.ResayMax, o.ResayInitial)
	if o.Concurrency <= 0 {
		o.Concurrency = 16
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Identity == "" {
		o.Identity = "monitor"
		if name, err := os.Hostname(); err == nil {
			o.Identity += "@" + name
		}
	}
}

// Run watches until ctx ends, then delivers what is unsent for up to 2 s, and
// returns when everything it started has ended. It can be called once.
func (m *Monitor) Run(ctx context.Context) error {
	if !m.started.CompareAndSwap(false, true) {
		return errors.New("monitor: Run was called before: make a new Monitor")
	}
	// Reporting outlives watching, so that the last events are delivered too.
	reporting, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var watches, reports sync.WaitGroup
	reports.Go(func() { m.reports.run(reporting) })
	for _, w := range m.watches {
		watches.Go(func() { w.run(ctx) })
	}
	watches.Go(func() { m.ticking(ctx) })
	<-ctx.Done()
	watches.Wait()
	if left := m.reports.flush(flushTime); left > 0 {
		m.log.Warn("stopped with signals unsent: the next monitor finds those faults again, not their clearing",
			"unsent", left)
	}
	stop()
	reports.Wait()
	return nil
}

// tickEvery is how often time-based judgements are made.
const tickEvery = time.Second

// ticking lets time pass for the Engine, until ctx ends.
func (m *Monitor) ticking(ctx context.Context) {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case at := <-tick.C:
			since, err := m.reports.incidents.away()
			m.tell(ctx, func(e *detect.Engine) []detect.Change {
				changes := e.Tick(at)
				switch {
				case err == nil:
					return append(changes, e.TemporalAway(at, time.Time{}, "")...)
				case at.Sub(since) >= m.opts.TemporalAfter:
					return append(changes, e.TemporalAway(at, since, err.Error())...)
				}
				return changes
			})
		}
	}
}

// tell feeds the Engine, hands what follows to the outboxes, and has asked what it
// wants to know. It does not wait for anything but its turn.
func (m *Monitor) tell(ctx context.Context, feed func(*detect.Engine) []detect.Change) {
	m.mu.Lock()
	changes := feed(m.engine)
	m.respond(changes)
	m.reports.take(changes)
	wants := m.engine.TakeWants()
	m.mu.Unlock()
	for _, c := range changes {
		m.note(c)
	}
	for _, want := range wants {
		if w := m.byHost[want.Host]; w != nil && ctx.Err() == nil {
			w.asks.add(ctx, want)
		}
	}
}

// respond puts what the site wants to become of a fault into it, where its rule
// does not say.
func (m *Monitor) respond(changes []detect.Change) {
	if m.opts.ResponseTo == nil {
		return
	}
	for i := range changes {
		if f := &changes[i].Fault; f.Response == "" {
			f.Response = m.opts.ResponseTo(f.Kind)
		}
	}
}

func (m *Monitor) note(c detect.Change) {
	f := c.Fault
	log := m.log.With("about", f.Subject(), "kind", string(f.Kind), "fault", f.ID)
	if f.VM.UUID != "" {
		log = log.With("uuid", f.VM.UUID, "host", f.Host)
	}
	switch c.Kind {
	case detect.Raised:
		m.metrics.raised.WithLabelValues(string(f.Kind)).Inc()
		m.metrics.current.WithLabelValues(string(f.Kind)).Inc()
		log.Warn("fault", "level", string(f.HowBad()), "why", f.Why)
	case detect.Cleared:
		m.metrics.current.WithLabelValues(string(f.Kind)).Dec()
		log.Info("fault is over", "seen", c.By.String())
	case detect.Doubted:
		if f.Kind.Subject() != fault.SubjectVM {
			log.Warn("held back", "why", f.Why)
			return
		}
		log.Warn("not reported: another host has the VM stopped on purpose, and which came last is not known; "+
			"if it should run, start it by hand", "why", f.Why, "seen", c.By.String())
	}
}

// Ready returns nil once every host was tried once and the Reporter worked, or
// was not needed; otherwise what is missing.
func (m *Monitor) Ready() error {
	var waiting []string
	for _, w := range m.watches {
		if !w.now().Tried {
			waiting = append(waiting, w.host.Name())
		}
	}
	if len(waiting) > 0 {
		return fmt.Errorf("monitor: %d of %d hosts not tried yet: %s",
			len(waiting), len(m.watches), strings.Join(waiting, ", "))
	}
	if err := m.reports.incidents.trouble(); err != nil {
		return fmt.Errorf("monitor: reports do not get through, faults are kept until they do; check Temporal's address and that it runs: %w", err)
	}
	return nil
}

// Snapshot is what the monitor knows at one moment.
type Snapshot struct {
	Site   string        `json:"site"`
	Hosts  []HostStatus  `json:"hosts"`  // in the order of the site file
	Faults []fault.Fault `json:"faults"` // that stand now
	// Unsent counts reports that were not delivered yet.
	Unsent int `json:"unsent"`
	// ReportError is why the last report failed; empty if it did not.
	ReportError string `json:"reportError,omitempty"`
}

// HostStatus is how the monitor stands with one host.
type HostStatus struct {
	Host      string    `json:"host"`
	Tried     bool      `json:"tried"` // it answered, or was found not to, at least once
	Connected bool      `json:"connected"`
	Listed    time.Time `json:"listed"`          // when it was asked for its last complete listing; zero: never
	Sampled   time.Time `json:"sampled"`         // when its last statistics were asked for; zero: never
	Failed    time.Time `json:"failed"`          // when it last did not answer; zero: never
	Error     string    `json:"error,omitempty"` // why it is not connected
}

// Snapshot may be called at any time, before Run and after it too.
func (m *Monitor) Snapshot() Snapshot {
	s := Snapshot{Site: m.opts.Site}
	for _, w := range m.watches {
		s.Hosts = append(s.Hosts, w.now())
	}
	m.mu.Lock()
	s.Faults = m.engine.Faults()
	m.mu.Unlock()
	s.Unsent = m.reports.incidents.waiting()
	if err := m.reports.incidents.trouble(); err != nil {
		s.ReportError = err.Error()
	}
	return s
}
