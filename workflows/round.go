package workflows

import (
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"holdfast/internal/contract"
)

const (
	// roundPage is how many VMs a run of a round takes on before it continues as new:
	// enough for most sites, and little enough for a history.
	roundPage = 200
	// roundNotes bounds each list of a round's result.
	roundNotes = 50
	// longestGap is the most between the turns of two VMs, so that a round of few VMs
	// is not drawn out for nothing. See config.LongestGap.
	longestGap = 5 * time.Second
	// turnTime is the most that a turn may take: a snapshot, and then some to prune.
	turnTime = 2 * time.Hour
)

// round gives every VM of a schedule its turn.
type round struct {
	in     contract.RoundInput
	at     contract.RoundCursor
	out    contract.RoundResult
	atOnce workflow.Semaphore
	gap    time.Duration
	next   time.Time // of the next turn, at the earliest
}

// Round has a snapshot made of every VM that a schedule is about, each by the VM's
// guardian, which prunes older ones then. It asks nothing but guardians, so that it
// may be cancelled at any time. That a VM could not have its turn is in the result,
// and makes no round fail.
func Round(ctx workflow.Context, in contract.RoundInput) (contract.RoundResult, error) {
	r := &round{in: in, out: contract.RoundResult{Schedule: in.Schedule, Began: workflow.Now(ctx)}, next: workflow.Now(ctx)}
	if in.On != nil {
		r.at, r.out = in.On.From, in.On.SoFar
	}
	r.atOnce = workflow.NewSemaphore(ctx, int64(max(in.AtOnce, 1)))
	if err := workflow.SetQueryHandler(ctx, contract.QueryRound, func() (contract.RoundResult, error) { return r.out, nil }); err != nil {
		return r.out, err
	}
	var page contract.RoundPage
	lctx := atLeisure(ctx, in.Site, "which VMs come next for "+in.Schedule, 10*time.Minute)
	err := workflow.ExecuteActivity(lctx, act.ListRound, contract.RoundPageInput{Class: in.Class, From: r.at, Most: roundPage}).Get(ctx, &page)
	if err != nil {
		return r.out, err
	}
	r.take(ctx, page)
	switch {
	case ctx.Err() != nil:
		return r.out, ctx.Err()
	case page.Next != nil:
		in.On = &contract.RoundProgress{From: *page.Next, SoFar: r.out}
		return r.out, workflow.NewContinueAsNewError(ctx, Round, in)
	}
	r.out.Ended = workflow.Now(ctx)
	return r.out, r.close(ctx)
}

// atLeisure is [onSite] for what waits for a worker as long as it takes: nobody is
// waiting for it, and what comes later is skipped meanwhile.
func atLeisure(ctx workflow.Context, site, summary string, startToClose time.Duration) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:           contract.SiteQueue(site),
		Summary:             summary,
		StartToCloseTimeout: startToClose,
		HeartbeatTimeout:    diskWorkNoticedAfter,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval: 10 * time.Second, BackoffCoefficient: 3, MaximumInterval: 2 * time.Minute, MaximumAttempts: 4,
		},
	})
}

// take gives the VMs of a page their turns: those of a host one after the other, and
// as many hosts at the same time as the site wants.
func (r *round) take(ctx workflow.Context, page contract.RoundPage) {
	r.out.NotRunning += page.NotRunning
	for _, n := range page.Silent {
		r.note(&r.out.Silent, n)
	}
	if len(page.VMs) > 0 {
		r.gap = min(longestGap, time.Duration(float64(r.in.Spread)*page.Share)/time.Duration(len(page.VMs)))
	}
	name := contract.ScheduledName(page.At)
	all := workflow.NewWaitGroup(ctx)
	for i := 0; i < len(page.VMs); {
		n := i
		for n < len(page.VMs) && page.VMs[n].Host == page.VMs[i].Host {
			n++
		}
		vms := page.VMs[i:n]
		i = n
		all.Add(1)
		workflow.Go(ctx, func(ctx workflow.Context) {
			defer all.Done()
			for _, vm := range vms {
				if r.one(ctx, vm, name) != nil {
					return // cancelled
				}
			}
		})
	}
	r.describe(ctx)
	all.Wait(ctx)
}

// one gives one VM its turn, when it is time.
func (r *round) one(ctx workflow.Context, vm contract.RoundVM, name string) error {
	if err := r.atOnce.Acquire(ctx, 1); err != nil {
		return err
	}
	defer r.atOnce.Release(1)
	if err := r.pace(ctx); err != nil {
		return err
	}
	req := contract.SnapshotRequest{
		Site: r.in.Site, By: r.in.Schedule,
		SnapshotInput: contract.SnapshotInput{
			VM: vm.VM, Host: vm.Host, Verb: contract.SnapshotTurn, Name: name,
			Description: contract.MadeBySchedule(r.in.Schedule), Memory: r.in.Memory,
			Turn: &contract.TurnInput{Schedule: r.in.Schedule, Class: r.in.Class, Keep: r.in.Keep, Verify: r.in.Verify},
		},
	}
	actx := atLeisure(ctx, r.in.Site, fmt.Sprintf("the turn of %s on %s", vm.VM, vm.Host), turnTime)
	var turn contract.Turn
	err := workflow.ExecuteActivity(actx, act.AskGuardian, req).Get(ctx, &turn)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		turn = contract.Turn{Failed: failureText(err)}
	}
	r.count(ctx, vm, turn)
	r.describe(ctx)
	return nil
}

// pace waits until there is a gap to the turn before.
func (r *round) pace(ctx workflow.Context) error {
	now := workflow.Now(ctx)
	at := r.next
	if now.After(at) {
		at = now
	}
	r.next = at.Add(r.gap)
	if wait := at.Sub(now); wait > 0 {
		return workflow.NewTimerWithOptions(ctx, wait, workflow.TimerOptions{Summary: "until the next VM's turn"}).Get(ctx, nil)
	}
	return nil
}

// count adds a turn to the result, and to the metrics.
func (r *round) count(ctx workflow.Context, vm contract.RoundVM, turn contract.Turn) {
	n := contract.RoundNote{VM: vm.VM.String(), Host: vm.Host, Passed: turn.Passed, Why: turn.Why}
	outcome := "made"
	r.out.VMs++
	switch {
	case turn.Failed != "":
		n.Why, outcome = turn.Failed, "failed"
		r.out.Failed++
		r.note(&r.out.Failures, n)
	case turn.Passed != "":
		outcome = string(turn.Passed)
		r.out.Passed++
		r.note(&r.out.Skipped, n)
	case turn.Verified != "":
		outcome = "verified"
		r.out.Verified++
	default:
		r.out.Made++
	}
	r.out.Pruned += len(turn.Pruned)
	r.out.NotPruned += len(turn.NotPruned)
	for i, s := range turn.NotPruned {
		if i == 0 { // the others are most often for the same reason
			r.note(&r.out.Stuck, contract.RoundNote{VM: n.VM, Host: n.Host, Why: s.Name + ": " + s.Why})
		}
	}
	class := r.in.Class
	if class == "" {
		class = "-"
	}
	metrics := workflow.GetMetricsHandler(ctx)
	counted := func(name, outcome string, n int) {
		if n > 0 {
			metrics.WithTags(map[string]string{"class": class, "outcome": outcome}).Counter(name).Inc(int64(n))
		}
	}
	counted("holdfast_scheduled_snapshots", outcome, 1)
	counted("holdfast_pruned_snapshots", "pruned", len(turn.Pruned))
	counted("holdfast_pruned_snapshots", "failed", len(turn.NotPruned))
}

// note adds to a list of the result, as long as there is room.
func (r *round) note(list *[]contract.RoundNote, n contract.RoundNote) {
	if len(*list) < roundNotes {
		*list = append(*list, n)
	}
}

// close says in the index whether all went well, for lists and alerts.
func (r *round) close(ctx workflow.Context) error {
	r.describe(ctx)
	outcome := contract.RoundComplete
	if !r.out.Complete() {
		outcome = contract.RoundIncomplete
	}
	return workflow.UpsertTypedSearchAttributes(ctx, contract.AttrOutcome.ValueSet(outcome))
}

// describe keeps the round readable in the Temporal UI.
func (r *round) describe(ctx workflow.Context) {
	var b strings.Builder
	if r.in.Verify {
		fmt.Fprintf(&b, "Of %d VMs **%d** boot from their newest snapshot; passed over: %d, failed: **%d**, shut off: %d.",
			r.out.VMs, r.out.Verified, r.out.Passed, r.out.Failed, r.out.NotRunning)
	} else {
		fmt.Fprintf(&b, "**%d** of %d VMs have a new snapshot; passed over: %d, failed: **%d**, shut off: %d. Pruned: %d, could not be pruned: **%d**.\n\nKeeps %s.",
			r.out.Made, r.out.VMs, r.out.Passed, r.out.Failed, r.out.NotRunning, r.out.Pruned, r.out.NotPruned, r.in.Keep)
	}
	for _, part := range []struct {
		title string
		notes []contract.RoundNote
	}{
		{"failed", r.out.Failures}, {"could not be pruned", r.out.Stuck}, {"did not answer", r.out.Silent}, {"passed over", r.out.Skipped},
	} {
		if len(part.notes) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n\n**%s**\n", part.title)
		for _, n := range part.notes {
			who := n.Host
			if n.VM != "" {
				who = n.VM + " on " + n.Host
			}
			fmt.Fprintf(&b, "\n- %s: %s", inMarkdown(who), inMarkdown(n.Why))
		}
	}
	workflow.SetCurrentDetails(ctx, b.String())
}
