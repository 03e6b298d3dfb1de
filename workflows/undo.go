package workflows

import (
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"holdfast/internal/contract"
	"holdfast/internal/ladder"
	"holdfast/internal/proof"
)

// undoOne takes back one rung that has not verified.
func (r *recovery) undoOne(ctx workflow.Context, u contract.Undo) error {
	switch u.Rung {
	case ladder.RungSnapshot:
		return r.unrevert(ctx, u)
	case ladder.RungBackup:
		return r.unrestore(ctx, u)
	case ladder.RungElsewhere:
		return r.bringBack(ctx, u)
	}
	return r.stopRemains(ctx, u.Host, false)
}

// undoFirst tries again to undo what could not be undone. Nothing else is done before:
// what verified then would be upon what did not.
func (r *recovery) undoFirst(ctx workflow.Context) error {
	left := r.undo.unwind(ctx, r.undoOne)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if len(left) == 0 {
		r.undoing = false
		r.note(ctx, "undone by now")
		r.setNeedsPerson(ctx, false)
		return nil
	}
	r.setNeedsPerson(ctx, true)
	return r.hold(ctx, r.inc.Stage, r.backoff(), "could not "+left[0])
}

// patienceOfCancel is how long a cancelled incident tries to undo what has not
// verified. A worker that is restarted, or a host, is back by then.
const patienceOfCancel = 10 * time.Minute

// undoAll undoes everything, and returns what could not be undone.
func (r *recovery) undoAll(ctx workflow.Context) (left []string) {
	until := workflow.Now(ctx).Add(patienceOfCancel)
	for wait := 5 * time.Second; ; wait = min(2*wait, time.Minute) {
		left = r.undo.unwind(ctx, r.undoOne)
		if len(left) == 0 || r.noBackup || workflow.Now(ctx).Add(wait).After(until) {
			return left
		}
		r.inc.Why = "could not " + left[0]
		r.show(ctx, r.inc.Stage, true, fmt.Sprintf("tries again in %s to %s", wait, left[0]))
		timer := workflow.TimerOptions{Summary: "before it tries again to undo"}
		if workflow.NewTimerWithOptions(ctx, wait, timer).Get(ctx, nil) != nil {
			return left
		}
	}
}

// startedByOthers: a VM that this incident has stopped, and not started since, runs
// because a person has started it. It is theirs, with all that it has written.
func (r *recovery) startedByOthers(ctx workflow.Context) {
	i := slices.IndexFunc(r.inspection.Answers, func(a proof.Answer) bool { return a.Error == "" && a.Running() })
	if !r.down || r.noBackup || i < 0 {
		return
	}
	r.inc.Host = r.inspection.Answers[i].Host
	r.oursStopped, r.down, r.undoing = false, false, false
	text := fmt.Sprintf("somebody has started %s on %s meanwhile: it stays as it is", r.inc.VM, r.inc.Host)
	for _, u := range r.undo.steps {
		switch {
		case u.Rung == ladder.RungElsewhere:
			text += fmt.Sprintf("; if %s or %s knows it besides, `virsh undefine` it there", u.Source, u.Host)
		case u.Kept != "":
			text += fmt.Sprintf("; if its disks were kept before, that is called %s", u.Kept)
		}
	}
	r.note(ctx, text)
	r.undo.keep()
}
