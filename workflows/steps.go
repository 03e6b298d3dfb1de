package workflows

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/ladder"
	"holdfast/internal/proof"
)

// onSite is [onSite] with the priority of the VM's repairs, as far as it is known.
func (r *recovery) onSite(ctx workflow.Context, summary string, startToClose time.Duration) workflow.Context {
	return workflow.WithPriority(onSite(ctx, r.inc.Site, summary, startToClose), temporal.Priority{PriorityKey: r.policy.Priority})
}

// onDisks is [onDisks] with the same.
func (r *recovery) onDisks(ctx workflow.Context, summary string, startToClose time.Duration) workflow.Context {
	if r.noBackup {
		return r.onSite(ctx, summary, startToClose)
	}
	return workflow.WithPriority(onDisks(ctx, r.inc.Site, summary, startToClose), temporal.Priority{PriorityKey: r.policy.Priority})
}

// uncut is onSite for what takes effect at once: whoever cancels it waits for its end.
func (r *recovery) uncut(ctx workflow.Context, summary string, startToClose time.Duration) workflow.Context {
	o := workflow.GetActivityOptions(r.onSite(ctx, summary, startToClose))
	o.WaitForCancellation = !r.noBackup
	return workflow.WithActivityOptions(ctx, o)
}

// inspect asks all hosts about the VM. It waits, as long as it takes, while no
// worker of the site is there to ask.
func (r *recovery) inspect(ctx workflow.Context) error {
	f := r.inc.Fault
	for {
		actx := r.onSite(ctx, fmt.Sprintf("ask every host about %s", r.inc.VM), 30*time.Second)
		in := contract.InspectInput{
			VM: f.VM, Host: f.Host, Elsewhere: r.earlier(),
			PolicyInput: contract.PolicyInput{Kind: f.Kind, Labels: f.Labels, Mode: f.Mode},
		}
		// Into a value of its own: JSON leaves in a used one what it does not mention.
		var found contract.Inspection
		err := workflow.ExecuteActivity(actx, act.Inspect, in).Get(ctx, &found)
		if err == nil {
			r.inspection, r.policy = found, found.Policy
			r.vital, r.stock, r.places = nil, nil, nil
			return nil
		}
		if err := r.notNow(ctx, contract.StageWait, err); err != nil {
			return err
		}
	}
}

// earlier is what the other hosts said before of the VM, as far as that is still
// evidence: not of a host that this incident, or a recent one, has taken it to since.
func (r *recovery) earlier() []fault.Sighting {
	return slices.DeleteFunc(slices.Clone(r.inc.Fault.Elsewhere), func(s fault.Sighting) bool {
		moved := func(a ladder.Attempt) bool {
			return a.Rung == ladder.RungElsewhere && a.Host == s.Host && !s.At.After(a.Ended)
		}
		return slices.Contains(r.been, s.Host) || slices.ContainsFunc(r.input.Recent, moved)
	})
}

func (r *recovery) stopRemains(ctx workflow.Context, host string, force bool) error {
	actx := r.uncut(ctx, fmt.Sprintf("remove what is left of %s on %s", r.inc.VM, host), time.Minute)
	return workflow.ExecuteActivity(actx, act.StopRemains, contract.StopRemainsInput{VM: r.inc.VM, Host: host, Force: force}).Get(ctx, nil)
}

// stop is stopRemains for this incident's own purposes: who finds the VM stopped after
// that must not take it for a person's intent.
func (r *recovery) stop(ctx workflow.Context, host string, force bool) error {
	r.oursStopped = true // it may take effect whatever the answer
	err := r.stopRemains(ctx, host, force)
	r.down = r.down || err == nil
	return err
}

func (r *recovery) start(ctx workflow.Context, host string) (contract.StartResult, error) {
	r.down = false
	actx := r.uncut(ctx, fmt.Sprintf("start %s on %s", r.inc.VM, host), 2*time.Minute)
	in := contract.StartInput{VM: r.inc.VM, Host: host, Elsewhere: r.earlier()}
	var out contract.StartResult
	err := workflow.ExecuteActivity(actx, act.Start, in).Get(ctx, &out)
	return out, err
}

// agentExpected: the guest agent answers when the VM is well, as its annotation
// says, or as the fault does that is about its silence.
func (r *recovery) agentExpected() bool {
	return r.policy.AgentExpected || slices.ContainsFunc(r.inc.Fault.Evidence, func(e fault.Evidence) bool { return e.What == fault.EvidenceAgent })
}

func (r *recovery) verify(ctx workflow.Context, host string) (contract.VerifyResult, error) {
	probes := r.policy.Probes
	if r.legacy || len(r.inc.Attempts) == 0 && r.inc.Started.IsZero() {
		probes = ladder.Probes{} // nothing was done: that it runs is what was wrong
	}
	r.show(ctx, r.inc.Stage, r.inc.NeedsPerson, fmt.Sprintf("verifies that %s stays running for %s", r.inc.VM, r.policy.StableFor))
	actx := r.onSite(ctx, fmt.Sprintf("verify that %s stays running on %s", r.inc.VM, host), r.policy.StableFor+probes.Within+time.Minute)
	in := contract.VerifyInput{
		VM: r.inc.VM, Host: host, StableFor: r.policy.StableFor,
		Probes: probes, AgentExpected: r.agentExpected(),
	}
	var out contract.VerifyResult
	err := workflow.ExecuteActivity(actx, act.Verify, in).Get(ctx, &out)
	return out, err
}

// hold says why nothing is done now, and waits.
func (r *recovery) hold(ctx workflow.Context, stage contract.Stage, wait time.Duration, why string) error {
	r.waits++
	if r.inc.Why != why {
		r.note(ctx, "waits: "+why)
	}
	r.inc.Why = why
	r.show(ctx, stage, r.inc.NeedsPerson, fmt.Sprintf("looks again in %s", wait))
	return r.sleep(ctx, wait, "next look: "+why)
}

// notNow waits because an activity could not be done, and says why.
func (r *recovery) notNow(ctx workflow.Context, stage contract.Stage, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case noWorker(err):
		return r.hold(ctx, stage, r.backoff(), noWorkerText(r.inc.Site))
	}
	return r.hold(ctx, stage, r.backoff(), failureText(err))
}

// backoff is the wait before the next look: 1 s, 2 s, 4 s ... 30 s.
func (r *recovery) backoff() time.Duration {
	return min(time.Second<<min(r.waits, 5), 30*time.Second)
}

// sleep waits for the time or for something worth a look, whichever comes
// first. A history that has grown long continues as new here, where nothing is
// under way.
func (r *recovery) sleep(ctx workflow.Context, d time.Duration, summary string) error {
	mayRenew := !r.noBackup || len(r.undo.steps) == 0
	if mayRenew && workflow.GetInfo(ctx).GetContinueAsNewSuggested() && r.wake.Len() == 0 {
		if err := r.drain(ctx); err != nil {
			return err
		}
		if r.wake.Len() == 0 && r.over == "" {
			in := r.input
			in.Carry, in.OursStopped, in.Forgiven, in.Asked = &r.inc, r.oursStopped, r.forgiven, r.asked
			in.Undo, in.Down, in.Undoing, in.Been = r.undo.steps, r.down, r.undoing, r.been
			in.Approved, in.Rejected, in.Ordered = r.people.approved, r.people.rejected, r.people.ordered
			return workflow.NewContinueAsNewError(ctx, RecoverVM, in)
		}
	}
	return r.rest(ctx, d, summary)
}

func noWorkerText(site string) string {
	return fmt.Sprintf("no worker of site %s took the work within %s: start `holdfast worker` there", site, noWorkerAfter)
}

// proofText says in words why no second copy can be.
func proofText(proofs []proof.Proof) string {
	if len(proofs) == 0 {
		return "no other host in the site"
	}
	parts := make([]string, len(proofs))
	for i, p := range proofs {
		parts[i] = fmt.Sprintf("%s %s", p.Host, p.Kind)
	}
	return "no second copy: " + strings.Join(parts, ", ")
}
