package monitor

import (
	"context"
	"slices"
	"sync"
	"time"

	"holdfast/internal/detect"
	"holdfast/internal/fault"
)

// Alarm is one place that every fault is sent to, besides the incidents.
type Alarm struct {
	Name string // for logs and metrics; unique
	To   Reporter
}

// reports are the ways out: Temporal for what opens incidents, and the alarms for
// all faults. None waits for another, and watching waits for none.
type reports struct {
	incidents *outbox
	alarms    []*outbox
}

func newReports(m *Monitor) *reports {
	r := &reports{incidents: newOutbox(m.opts.Reporter, m.opts, m.log, m.metrics.temporal())}
	for _, a := range m.opts.Alarms {
		r.alarms = append(r.alarms, newOutbox(a.To, m.opts, m.log.With("alarm", a.Name), m.metrics.alarm(a.Name)))
	}
	return r
}

// take hands changes on, in their order.
func (r *reports) take(changes []detect.Change) {
	told := slices.DeleteFunc(slices.Clone(changes), func(c detect.Change) bool { return c.Kind == detect.Doubted })
	for _, a := range r.alarms {
		a.take(told)
	}
	r.incidents.take(slices.DeleteFunc(told, func(c detect.Change) bool { return c.Fault.Respond() != fault.RespondIncident }))
}

// run delivers until ctx ends.
func (r *reports) run(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { r.incidents.ping(ctx) })
	for _, b := range append([]*outbox{r.incidents}, r.alarms...) {
		all.Go(func() { b.run(ctx) })
	}
}

// flush tries everything unsent once more, and returns how much was left.
func (r *reports) flush(limit time.Duration) int {
	left := make([]int, 1+len(r.alarms))
	var all sync.WaitGroup
	for i, b := range append([]*outbox{r.incidents}, r.alarms...) {
		all.Go(func() { left[i] = b.flush(limit) })
	}
	all.Wait()
	n := 0
	for _, l := range left {
		n += l
	}
	return n
}
