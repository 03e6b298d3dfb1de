package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"holdfast/internal/contract"
	"holdfast/internal/hypervisor"
	"holdfast/starter"
)

// checksAtOnce bounds the hosts that are asked at the same time.
const checksAtOnce = 32

// ServiceOptions say what a Service runs.
type ServiceOptions struct {
	Options
	// Hosts are kept connected, so that a repair need not connect first.
	Hosts *hypervisor.Site
	// CallTimeout bounds one question to a host; 0 means 5 s.
	CallTimeout time.Duration
	// Namespace is where missing search attributes are registered.
	Namespace string
	// Schedules are all that the site has in Temporal: those that are missing are made
	// and what else there is of the site's is removed.
	Schedules []contract.Schedule
	// Check is how often Temporal and the hosts are asked; 0 means 5 s.
	Check  time.Duration
	Logger *slog.Logger // nil: slog.Default()
}

// Service is a worker that outlives a Temporal which is away: it starts without
// one, and begins anew when it comes back.
type Service struct {
	serving
	opts ServiceOptions

	asked sync.Mutex
	hosts map[string]error // what each host said last; nil: it answered

	schedulesDue chan struct{} // with something in it: they may not be what they should be
}

// NewService checks the options. Nothing runs until Run.
func NewService(o ServiceOptions) (*Service, error) {
	if _, err := New(o.Options); err != nil { // says now what is wrong, not at the first attempt
		return nil, err
	}
	if o.Hosts.Len() == 0 {
		return nil, fmt.Errorf("worker: site %s has no hosts: name them in the site file", o.Site)
	}
	if o.CallTimeout <= 0 {
		o.CallTimeout = 5 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	s := &Service{opts: o, hosts: make(map[string]error, o.Hosts.Len()), schedulesDue: make(chan struct{}, 1)}
	s.name, s.ask, s.check, s.log = "worker", starter.New(o.Client), o.Check, o.Logger.With("site", o.Site)
	s.prepare = func(ctx context.Context) {
		s.ensureSearchAttributes(ctx)
		select {
		case s.schedulesDue <- struct{}{}:
		default: // they are due already
		}
	}
	s.build = func() (runs, error) { return New(o.Options) }
	s.setDefaults()
	for _, h := range o.Hosts.Hosts() {
		s.hosts[h.Name()] = errNotAsked
	}
	return s, nil
}

// Run serves until ctx ends, then lets steps under way finish within the stop
// timeout. While Temporal is away it tries again, at growing intervals.
func (s *Service) Run(ctx context.Context) error {
	var checks sync.WaitGroup
	defer checks.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	checks.Go(func() { every(ctx, s.check, s.checkHosts) })
	checks.Go(func() { s.keepSchedules(ctx) })
	s.run(ctx)
	return nil
}

func (s *Service) ensureSearchAttributes(ctx context.Context) {
	if err := s.ask.EnsureSearchAttributes(ctx, s.opts.Namespace); err != nil {
		// Often a matter of rights, and then an operator of Temporal has made them.
		s.log.Warn("search attributes were not checked: if they are missing, incidents fail", "error", err)
	}
}

// checkHosts asks every host once. One that does not answer delays no other.
func (s *Service) checkHosts(ctx context.Context) {
	var group errgroup.Group
	group.SetLimit(checksAtOnce)
	for _, h := range s.opts.Hosts.Hosts() {
		group.Go(func() error {
			s.checkHost(ctx, h)
			return nil
		})
	}
	_ = group.Wait() // no check returns an error
}

func (s *Service) checkHost(ctx context.Context, h hypervisor.Host) {
	asking, cancel := context.WithTimeout(ctx, s.opts.CallTimeout)
	defer cancel()
	err := h.Connect(asking)
	if ctx.Err() != nil {
		return
	}
	s.asked.Lock()
	before := s.hosts[h.Name()]
	s.hosts[h.Name()] = err
	s.asked.Unlock()
	// The driver says at a higher level what happens to its connection.
	if (err == nil) != (before == nil) || errors.Is(before, errNotAsked) {
		s.log.Debug("asked host", "host", h.Name(), "error", err)
	}
}

// Ready says why the service cannot do its work, or nil. It asks nobody.
func (s *Service) Ready() error {
	if err := s.ready(); err != nil {
		return err
	}
	s.asked.Lock()
	defer s.asked.Unlock()
	var silent []string
	for _, h := range s.opts.Hosts.Hosts() {
		err := s.hosts[h.Name()]
		if err == nil {
			return nil
		}
		if len(silent) < 3 { // the rest is in the log
			silent = append(silent, fmt.Sprintf("%s: %v", h.Name(), err))
		}
	}
	return fmt.Errorf("worker: none of the %d hosts of site %s answers: %s", s.opts.Hosts.Len(), s.opts.Site, strings.Join(silent, "; "))
}
