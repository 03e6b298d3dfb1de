package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"holdfast/internal/contract"
	"holdfast/internal/ladder"
	"holdfast/internal/proof"
)

// evidenceTime is the most that a repair waits for evidence, but for a dump. The
// activity has a shorter limit of its own; this one is for a worker that dies with it in hand.
const evidenceTime = 15 * time.Second

// evidenceSets bounds the sets that an incident keeps: its first and its last.
const evidenceSets = 12

// witness keeps what there is to see of a VM before a rung that destroys it. A
// repair never fails for want of evidence.
func (r *recovery) witness(ctx workflow.Context, d ladder.Decision) error {
	at, _ := proof.AnswerOf(r.inspection.Answers, d.At())
	if r.legacy || d.Rung == ladder.RungResume || (d.Rung == ladder.RungRestart || d.Rung == ladder.RungElsewhere) && !at.Active {
		return nil // nothing is lost by it
	}
	within := evidenceTime + r.policy.Dump.Most()
	actx := r.onSite(ctx, fmt.Sprintf("keep evidence of %s on %s before the %s", r.inc.VM, d.At(), d.Rung), within)
	o := workflow.GetActivityOptions(actx)
	o.RetryPolicy = &temporal.RetryPolicy{MaximumAttempts: 1}
	o.ScheduleToCloseTimeout = within
	actx = workflow.WithActivityOptions(actx, o)
	in := contract.EvidenceInput{
		IncidentID: r.inc.ID, VM: r.inc.VM, Host: d.At(), Before: d.Rung,
		Key: fmt.Sprintf("try-%d", len(r.inc.Attempts)+1),
	}
	if at.Active {
		in.Dump = r.policy.Dump
	}
	var out contract.EvidenceResult
	err := workflow.ExecuteActivity(actx, act.GatherEvidence, in).Get(ctx, &out)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		r.note(ctx, "no evidence was kept: "+failureText(err))
		return nil
	case out.Set.Error != "":
		r.note(ctx, "no evidence was kept: "+out.Set.Error)
		return nil
	}
	r.inc.Evidence = append(roomInside(r.inc.Evidence, evidenceSets), out.Set)
	kept := 0
	for _, item := range out.Set.Items {
		if item.Error == "" {
			kept++
		}
	}
	r.note(ctx, fmt.Sprintf("kept evidence: %d of %d items; `holdfast incident evidence %s`", kept, len(out.Set.Items), r.inc.ID))
	return nil
}
