package workflows

import (
	"slices"

	"go.temporal.io/sdk/workflow"

	"holdfast/internal/contract"
)

// saga remembers how to undo what was done and has not verified yet. An undo is
// registered before its act, must do nothing where nothing happened, and runs
// on a disconnected context, so that a cancelled incident still cleans up. It is
// data, so that an incident that waits long takes it along as it continues as new.
type saga struct {
	steps []contract.Undo
}

// before registers the undo of an act that is about to happen. An act that is
// tried again while its undo is still registered needs no second: the first knows
// whether the VM ran before.
func (s *saga) before(u contract.Undo) {
	same := func(have contract.Undo) bool { have.Running = u.Running; return have == u }
	if !slices.ContainsFunc(s.steps, same) {
		s.steps = append(s.steps, u)
	}
}

// keep forgets every undo: what was done has verified.
func (s *saga) keep() { s.steps = nil }

// forget drops the undo of an act that has certainly not happened.
func (s *saga) forget(u contract.Undo) {
	s.steps = slices.DeleteFunc(s.steps, func(step contract.Undo) bool { return step == u })
}

// unwind undoes everything, newest first, and returns the names of the steps
// that could not be undone. Those stay registered.
func (s *saga) unwind(ctx workflow.Context, undo func(workflow.Context, contract.Undo) error) (failed []string) {
	ctx, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	var left []contract.Undo
	for _, step := range slices.Backward(s.steps) {
		if err := undo(ctx, step); err != nil {
			workflow.GetLogger(ctx).Warn("undo failed", "step", step.String(), "error", err)
			failed = append(failed, step.String()+": "+failureText(err))
			left = append(left, step)
		}
	}
	slices.Reverse(left)
	s.steps = left
	return failed
}
