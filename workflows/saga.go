package workflows

import (
	"go.temporal.io/sdk/workflow"
)

// saga remembers how to undo what was done and has not verified yet. An undo is
// registered before its act, must do nothing where nothing happened, and runs
// on a disconnected context, so that a cancelled incident still cleans up.
type saga struct {
	steps []undoStep
}

type undoStep struct {
	name string
	undo func(workflow.Context) error
}

// before registers the undo of an act that is about to happen. An act that is
// tried again while its undo is still registered, under the same name, needs no second.
func (s *saga) before(name string, undo func(workflow.Context) error) {
	for _, step := range s.steps {
		if step.name == name {
			return
		}
	}
	s.steps = append(s.steps, undoStep{name, undo})
}

// keep forgets every undo: what was done has verified.
func (s *saga) keep() { s.steps = nil }

// unwind undoes everything, newest first, and returns the names of the steps
// that could not be undone.
func (s *saga) unwind(ctx workflow.Context) (failed []string) {
	ctx, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	for i := len(s.steps) - 1; i >= 0; i-- {
		if err := s.steps[i].undo(ctx); err != nil {
			workflow.GetLogger(ctx).Warn("undo failed", "step", s.steps[i].name, "error", err)
			failed = append(failed, s.steps[i].name)
		}
	}
	s.steps = nil
	return failed
}
