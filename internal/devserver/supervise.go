package devserver

import (
	"context"
	"log/slog"
	"time"
)

const (
	// longestWait is the most between two attempts to bring the process back.
	longestWait = 30 * time.Second
	// settled is how long a process must have run for its end to be news, and not
	// one more failure in a row.
	settled = time.Minute
)

// Supervise brings the process back whenever it ends, at once the first time and
// then at growing intervals, until ctx ends. It leaves the process running: Stop
// is the caller's.
func (s *Server) Supervise(ctx context.Context, log *slog.Logger) {
	var wait time.Duration
	for {
		began := time.Now()
		select {
		case <-ctx.Done():
			return
		case <-s.Done():
		}
		if time.Since(began) > settled {
			wait = 0
		}
		log.Error("Temporal's process ended, starting it again", "address", s.Address, "in", wait)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = min(max(2*wait, time.Second), longestWait)
		if err := s.Restart(ctx); err != nil {
			if ctx.Err() == nil {
				log.Error("Temporal's process did not start", "error", err)
			}
			continue // it is not running, so the next round begins at once
		}
		log.Info("Temporal's process runs again", "address", s.Address)
	}
}
