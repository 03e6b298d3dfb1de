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

	"holdfast/internal/hypervisor"
	"holdfast/starter"
)

const (
	// checkEvery is how often Temporal and the hosts are asked whether they are there.
	checkEvery = 5 * time.Second
	// checksAtOnce bounds the hosts that are asked at the same time.
	checksAtOnce = 32
	// longestWait is the most between two attempts to reach Temporal.
	longestWait = 15 * time.Second
	// settled is how long a worker must have served for its end to be news, and not
	// one more failure in a row.
	settled = time.Minute
)

// ServiceOptions say what a Service runs.
type ServiceOptions struct {
	Options
	// Hosts are kept connected, so that a repair need not connect first.
	Hosts *hypervisor.Site
	// CallTimeout bounds one question to a host; 0 means 5 s.
	CallTimeout time.Duration
	// Namespace is where missing search attributes are registered.
	Namespace string
	// Check is how often Temporal and the hosts are asked; 0 means 5 s.
	Check  time.Duration
	Logger *slog.Logger // nil: slog.Default()
}

// Service is a worker that outlives a Temporal which is away: it starts without
// one, and begins anew when it comes back.
type Service struct {
	opts ServiceOptions
	log  *slog.Logger
	ask  *starter.Client

	mu       sync.Mutex
	serving  bool
	temporal error            // why Temporal did not answer last; nil if it did
	hosts    map[string]error // what each host said last; nil: it answered
}

var errNotAsked = errors.New("not asked yet")

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
	if o.Check <= 0 {
		o.Check = checkEvery
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	s := &Service{
		opts: o, log: o.Logger.With("site", o.Site), ask: starter.New(o.Client),
		temporal: errNotAsked, hosts: make(map[string]error, o.Hosts.Len()),
	}
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
	checks.Go(func() { every(ctx, s.opts.Check, s.checkTemporal) })
	checks.Go(func() { every(ctx, s.opts.Check, s.checkHosts) })
	wait := time.Second
	for {
		began := time.Now()
		err := s.serve(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(began) > settled {
			wait = time.Second
		}
		s.log.Warn("not serving, tries again", "in", wait, "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		wait = min(2*wait, longestWait)
	}
}

// serve is one attempt. A worker of the SDK cannot be started twice.
func (s *Service) serve(ctx context.Context) error {
	if err := s.ask.Ping(ctx); err != nil {
		return err
	}
	if err := s.ask.EnsureSearchAttributes(ctx, s.opts.Namespace); err != nil {
		// Often a matter of rights, and then an operator of Temporal has made them.
		s.log.Warn("search attributes were not checked: if they are missing, incidents fail", "error", err)
	}
	w, err := New(s.opts.Options)
	if err != nil {
		return err
	}
	s.log.Info("serving")
	s.note(func() { s.serving = true })
	defer s.note(func() { s.serving = false })
	return w.Run(ctx)
}

func (s *Service) note(set func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set()
}

func (s *Service) checkTemporal(ctx context.Context) {
	err := s.ask.Ping(ctx)
	if ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.temporal = err
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
	s.mu.Lock()
	before := s.hosts[h.Name()]
	s.hosts[h.Name()] = err
	s.mu.Unlock()
	// The driver says at a higher level what happens to its connection.
	if (err == nil) != (before == nil) || errors.Is(before, errNotAsked) {
		s.log.Debug("asked host", "host", h.Name(), "error", err)
	}
}

// Ready says why the service cannot do its work, or nil. It asks nobody.
func (s *Service) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.temporal != nil:
		return fmt.Errorf("worker: Temporal: %w", s.temporal)
	case !s.serving:
		return errors.New("worker: not serving yet; its log says why")
	}
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

// every does a thing now and then again and again, until ctx ends.
func every(ctx context.Context, interval time.Duration, do func(context.Context)) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		do(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
