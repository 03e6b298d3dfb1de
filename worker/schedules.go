package worker

import (
	"context"
	"time"
)

const (
	// schedulesTime is how long it may take to make the schedules what they should be.
	schedulesTime = 30 * time.Second
	// longestSchedulesWait is the most between two tries.
	longestSchedulesWait = 5 * time.Minute
)

// keepSchedules makes the schedules of the site what the site file says, whenever
// Temporal has come, or come back: it may be another one, which has none. It holds
// up no repair.
func (s *Service) keepSchedules(ctx context.Context) {
	wait := time.Second
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.schedulesDue:
		}
		for !s.makeSchedules(ctx) {
			select {
			case <-ctx.Done():
				return
			case <-s.schedulesDue:
				wait = time.Second
			case <-time.After(wait):
				wait = min(2*wait, longestSchedulesWait)
			}
		}
		wait = time.Second
	}
}

// makeSchedules reports whether they are what they should be.
func (s *Service) makeSchedules(ctx context.Context) bool {
	asking, cancel := context.WithTimeout(ctx, schedulesTime)
	defer cancel()
	changes, err := s.ask.KeepSchedules(asking, s.opts.Namespace, s.opts.Site, s.opts.Schedules)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		s.log.Warn("the schedules of snapshots are not what the site file says, tries again", "error", err)
	case changes.Any() || len(changes.Left) > 0:
		s.log.Info("the schedules of snapshots are what the site file says now", "made", changes.Made, "changed", changes.Changed,
			"removed", changes.Removed, "left as they are paused", changes.Left)
	}
	return err == nil
}
