package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"holdfast/starter"
)

const (
	// checkEvery is how often Temporal and the hosts are asked whether they are there.
	checkEvery = 5 * time.Second
	// longestWait is the most between two attempts to reach Temporal.
	longestWait = 15 * time.Second
	// settled is how long a worker must have served for its end to be news, and not
	// one more failure in a row.
	settled = time.Minute
)

var errNotAsked = errors.New("not asked yet")

// runs is one attempt to serve. A worker of the SDK cannot be started twice.
type runs interface {
	Run(ctx context.Context) error
}

// serving serves again and again, so that it outlives a Temporal which is away.
type serving struct {
	name  string // how its errors begin
	ask   *starter.Client
	check time.Duration // how often Temporal is asked; 0 means 5 s
	log   *slog.Logger  // nil: slog.Default()
	// prepare is done before every attempt, when Temporal answers; nil: nothing.
	prepare func(ctx context.Context)
	// build makes what an attempt runs.
	build func() (runs, error)

	mu       sync.Mutex
	up       bool
	temporal error // why Temporal did not answer last; nil if it did
}

func (s *serving) setDefaults() {
	if s.check <= 0 {
		s.check = checkEvery
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	s.temporal = errNotAsked
}

// run serves until ctx ends, then lets steps under way finish within the stop
// timeout. While Temporal is away it tries again, at growing intervals.
func (s *serving) run(ctx context.Context) {
	var checks sync.WaitGroup
	defer checks.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	checks.Go(func() { every(ctx, s.check, s.checkTemporal) })
	wait := time.Second
	for {
		began := time.Now()
		err := s.serve(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > settled {
			wait = time.Second
		}
		s.log.Warn("not serving, tries again", "in", wait, "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = min(2*wait, longestWait)
	}
}

// serve is one attempt.
func (s *serving) serve(ctx context.Context) error {
	if err := s.ask.Ping(ctx); err != nil {
		return err
	}
	if s.prepare != nil {
		s.prepare(ctx)
	}
	w, err := s.build()
	if err != nil {
		return err
	}
	s.log.Info("serving")
	s.note(true)
	defer s.note(false)
	return w.Run(ctx)
}

func (s *serving) note(up bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.up = up
}

func (s *serving) checkTemporal(ctx context.Context) {
	err := s.ask.Ping(ctx)
	if ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.temporal = err
}

// ready says why it does not serve, or nil. It asks nobody.
func (s *serving) ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.temporal != nil:
		return fmt.Errorf("%s: Temporal: %w", s.name, s.temporal)
	case !s.up:
		return fmt.Errorf("%s: not serving yet; its log says why", s.name)
	}
	return nil
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
