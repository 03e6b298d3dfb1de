package activities

import (
	"context"
	"slices"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
)

// Watcher knows what is wrong at a site: a monitor.
type Watcher interface {
	// Faults returns what it sees: all faults that stand, the worst first.
	Faults(ctx context.Context) (contract.FaultsResult, error)
	// Explain returns what it knows about one VM or host. A name that it does not
	// know is an error which says so.
	Explain(ctx context.Context, in contract.ExplainInput) (contract.ExplainResult, error)
}

// Questions are the activities that a monitor answers.
type Questions struct {
	watcher Watcher
}

// NewQuestions returns the questions to a watcher.
func NewQuestions(w Watcher) *Questions { return &Questions{watcher: w} }

// mostFaults bounds an answer: a payload may have 2 MiB, and a fault with all its
// evidence and the sightings of many hosts may have some KiB.
const mostFaults = 250

// mostSightings bounds what is told of each fault.
const mostSightings = 16

// Faults returns the faults that stand and that the question selects.
func (q *Questions) Faults(ctx context.Context, in contract.FaultsInput) (contract.FaultsResult, error) {
	out, err := q.watcher.Faults(ctx)
	if err != nil {
		return contract.FaultsResult{}, badInput("%s", brief(err))
	}
	out.Faults = slices.DeleteFunc(slices.Clone(out.Faults), func(f fault.Fault) bool { return !selects(in, f) })
	out.Doubts = slices.DeleteFunc(slices.Clone(out.Doubts), func(d contract.Doubt) bool { return !selects(in, d.Fault) })
	if left := len(out.Faults) - mostFaults; left > 0 {
		out.Faults, out.Left = out.Faults[:mostFaults], out.Left+left
	}
	out.Doubts = out.Doubts[:min(len(out.Doubts), mostFaults)]
	for i := range out.Faults {
		f := &out.Faults[i]
		f.Elsewhere = f.Elsewhere[:min(len(f.Elsewhere), mostSightings)]
	}
	for i := range out.Doubts {
		f := &out.Doubts[i].Fault
		f.Elsewhere = f.Elsewhere[:min(len(f.Elsewhere), mostSightings)]
	}
	if in.Slot != "" {
		out.Hosts = nil // a workflow asks, about one fault
	}
	return out, nil
}

// selects reports whether a question is about a fault.
func selects(in contract.FaultsInput, f fault.Fault) bool {
	switch {
	case in.Kind != "" && f.Kind != in.Kind,
		in.VM != "" && f.VM.Name != in.VM && f.VM.UUID != in.VM,
		in.Host != "" && f.Host != in.Host,
		in.Slot != "" && f.Slot() != in.Slot:
		return false
	}
	return in.Level == "" || levels[f.HowBad()] >= levels[in.Level]
}

var levels = map[fault.Level]int{fault.Warning: 1, fault.Major: 2, fault.Critical: 3}

// Explain returns what the monitor knows about one VM or host.
func (q *Questions) Explain(ctx context.Context, in contract.ExplainInput) (contract.ExplainResult, error) {
	out, err := q.watcher.Explain(ctx, in)
	if err != nil {
		return contract.ExplainResult{}, notFound("%s", brief(err))
	}
	return out, nil
}
