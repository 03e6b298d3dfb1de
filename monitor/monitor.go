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
	CallTimeout  time.Duration // of one call to a host or to the Reporter; 5 s
	ResayInitial time.Duration // until a fault is said again, doubling; 10 s
	ResayMax     time.Duration // the most between saying and saying again; 5 min
	Concurrency  int           // reports under way at once; 16

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
	outbox  *outbox
	started atomic.Bool

	mu      sync.Mutex // also orders changes on their way into the outbox
	tracker *detect.Tracker
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
	m := &Monitor{opts: o, log: o.Logger.With("site", o.Site), metrics: o.Metrics}
	if m.metrics == nil {
		var err error
		if m.metrics, err = NewMetrics(nil); err != nil {
			return nil, err
		}
	}
	var names []string
	for _, h := range o.Hosts.Hosts() {
		names = append(names, h.Name())
		m.watches = append(m.watches, newWatch(m, h))
		m.metrics.host(h.Name())
	}
	m.tracker = detect.NewTracker(o.Site, o.Identity, names)
	m.outbox = newOutbox(o, m.log, m.metrics)
	return m, nil
}

func (o *Options) setDefaults() {
	for _, d := range []struct {
		set *time.Duration
		to  time.Duration
	}{
		{&o.Sweep, 10 * time.Second},
		{&o.CallTimeout, 5 * time.Second},
		{&o.ResayInitial, 10 * time.Second},
		{&o.ResayMax, 5 * time.Minute},
	} {
		if *d.set <= 0 {
			*d.set = d.to
		}
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
	reports.Go(func() { m.outbox.run(reporting) })
	reports.Go(func() { m.outbox.ping(reporting) })
	for _, w := range m.watches {
		watches.Go(func() { w.run(ctx) })
	}
	<-ctx.Done()
	watches.Wait()
	if left := m.outbox.flush(flushTime); left > 0 {
		m.log.Warn("stopped with signals unsent: the next monitor finds those faults again, not their clearing",
			"unsent", left)
	}
	stop()
	reports.Wait()
	return nil
}

// tell feeds the Tracker and hands what follows to the outbox. It does not wait
// for anything but its turn.
func (m *Monitor) tell(feed func(*detect.Tracker) []detect.Change) {
	m.mu.Lock()
	changes := feed(m.tracker)
	m.outbox.take(changes)
	m.mu.Unlock()
	for _, c := range changes {
		m.note(c)
	}
}

func (m *Monitor) note(c detect.Change) {
	log := m.log.With("vm", c.Fault.VM.String(), "uuid", c.Fault.VM.UUID, "host", c.Fault.Host,
		"kind", string(c.Fault.Kind), "fault", c.Fault.ID)
	switch c.Kind {
	case detect.Raised:
		m.metrics.raised.WithLabelValues(string(c.Fault.Kind)).Inc()
		m.metrics.current.WithLabelValues(string(c.Fault.Kind)).Inc()
		log.Warn("fault", "why", c.Fault.Why)
	case detect.Cleared:
		m.metrics.current.WithLabelValues(string(c.Fault.Kind)).Dec()
		log.Info("fault is over", "seen", c.By.String())
	case detect.Doubted:
		log.Warn("not reported: another host has the VM stopped on purpose, and which came last is not known; "+
			"if it should run, start it by hand", "why", c.Fault.Why, "seen", c.By.String())
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
	if err := m.outbox.trouble(); err != nil {
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
	Error     string    `json:"error,omitempty"` // why it is not connected
}

// Snapshot may be called at any time, before Run and after it too.
func (m *Monitor) Snapshot() Snapshot {
	s := Snapshot{Site: m.opts.Site}
	for _, w := range m.watches {
		s.Hosts = append(s.Hosts, w.now())
	}
	m.mu.Lock()
	s.Faults = m.tracker.Faults()
	m.mu.Unlock()
	s.Unsent = m.outbox.waiting()
	if err := m.outbox.trouble(); err != nil {
		s.ReportError = err.Error()
	}
	return s
}
