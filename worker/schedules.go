package worker

import (
	"context"
	"time"
)

// schedulesTime is how long it may take to make the schedules what they should be.
const schedulesTime = 30 * time.Second

// keepSchedules makes the schedules of the site what the site file says, whenever
// Temporal has come, or come back: it may be another one, which has none. It holds
// up no repair.
func (s *Service) keepSchedules(ctx context.Context) {
	if !s.schedulesDue.Load() {
		return
	}
	asking, cancel := context.WithTimeout(ctx, schedulesTime)
	defer cancel()
	changes, err := s.ask.KeepSchedules(asking, s.opts.Namespace, s.opts.Site, s.opts.Schedules)
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		s.log.Warn("schedules of snapshots are not as the site file says, tries again", "error", err)
		return
	case changes.Any() || len(changes.Left) > 0:
		s.log.Info("schedules of snapshots are as the site file says", "made", changes.Made, "changed", changes.Changed, "removed", changes.Removed,
			"paused and left", changes.Left)
	}
	s.schedulesDue.Store(false)
}
