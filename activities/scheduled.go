package activities

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"holdfast/internal/annotation"
	"holdfast/internal/contract"
	"holdfast/internal/hypervisor"
	"holdfast/internal/retention"
)

// crowding is how many more snapshots of schedules than its rule keeps a VM may
// have before no more are made of it: then pruning does not work, and each may be a
// layer.
const crowding = 3

// ScheduledSnapshot makes the snapshot that a schedule wants of a VM, unless there
// is a reason to pass it over, and plans which older ones may go. For SnapshotPrune
// it only plans. What forbids the snapshot is part of the result; an error means
// that the host did not answer.
func (a *Activities) ScheduledSnapshot(ctx context.Context, in contract.SnapshotInput) (contract.Turn, error) {
	var out contract.Turn
	if in.Turn == nil {
		return out, badInput("scheduled snapshot: turn is empty")
	}
	h, err := a.host(in.Host)
	if err != nil {
		return out, err
	}
	defer keepAlive(ctx)()
	ctx, cancel := toTheEnd(ctx)
	defer cancel()
	policy, err := a.passOver(ctx, h, in, &out)
	if err != nil || out.Passed != "" {
		return out, err
	}
	if in.Turn.Verify {
		err := a.newestLayer(ctx, h, in, &out)
		return out, err
	}
	if out.Rule = in.Turn.Keep; out.Rule == "" {
		out.Rule = policy.Keep
	}
	rule, err := retention.Parse(out.Rule)
	if err != nil {
		return out, badInput("what to keep of the snapshots of %s: %v", in.VM, err)
	}
	if in.Verb == contract.SnapshotTurn {
		if err := a.turn(ctx, h, in, rule, &out); err != nil {
			return out, err
		}
	}
	have, err := a.snapshots(ctx, h, in.VM.UUID)
	if err != nil {
		return out, a.snapshotRefused(in.Host, err)
	}
	out.Plan = planSnapshots(rule, time.Now(), have)
	return out, nil
}

// passOver looks whether the VM is there and may have its turn, and returns what the
// site file says about it.
func (a *Activities) passOver(ctx context.Context, h hypervisor.Host, in contract.SnapshotInput, out *contract.Turn) (contract.SnapshotPolicy, error) {
	var policy contract.SnapshotPolicy
	pass := func(kind contract.PassedFor, format string, args ...any) {
		out.Passed, out.Why = kind, fmt.Sprintf(format, args...)
	}
	at := a.look(ctx, h, in.VM.UUID)
	asked := in.Verb == contract.SnapshotPrune
	switch {
	case at.Error != "":
		return policy, unreachable(in.Host, at.Error)
	case at.Absent && asked:
		return policy, notFound("host %s has no domain %s", in.Host, in.VM)
	case at.Absent:
		pass(contract.PassedMoved, "it is not on %s any more", in.Host)
		return policy, nil
	case !running(at) && !asked:
		pass(contract.PassedNotRunning, "%s", at.Sighting)
		return policy, nil
	}
	have, err := a.annotationOn(ctx, h, in.VM.UUID)
	if err != nil && !errors.As(err, new(annotation.Problem)) {
		return policy, unreachable(in.Host, "its definition could not be read: "+brief(err))
	}
	if a.opts.Snapshots != nil {
		policy = a.opts.Snapshots(have.Labels)
	}
	switch {
	case asked:
	case have.Held != "":
		pass(contract.PassedHeld, "%s", have.Held)
	case have.Mode == annotation.ModeObserve:
		pass(contract.PassedHeld, "its annotation says observe: nothing is done to it")
	case policy.Every == 0 || policy.Class != in.Turn.Class:
		pass(contract.PassedMoved, "its labels put it under %s now", orTheSite(policy))
	}
	return policy, nil
}

func orTheSite(p contract.SnapshotPolicy) string {
	switch {
	case p.Every == 0:
		return "no schedule"
	case p.Class == "":
		return "the site's schedule"
	}
	return "that of class " + p.Class
}

// turn makes the snapshot. That it cannot be made is no error: it is said in the
// result, once as a reason to pass the VM over, and otherwise as a failure.
func (a *Activities) turn(ctx context.Context, h hypervisor.Host, in contract.SnapshotInput, rule retention.Rule, out *contract.Turn) error {
	have, err := a.snapshots(ctx, h, in.VM.UUID)
	if err != nil {
		return a.snapshotRefused(in.Host, err)
	}
	if n := crowd(have); n >= rule.Most()+crowding {
		out.Failed = fmt.Sprintf("it has %d snapshots of schedules where %s keeps at most %d, so they are not pruned, and no more are made: `holdfast snapshot prune %s` says why", n, rule, rule.Most(), in.VM)
		return nil
	}
	var made contract.SnapshotReply
	err = a.createSnapshot(ctx, h, in, &made)
	switch {
	case err == nil:
		out.Made, out.Already, out.Note = in.Name, made.Already, made.Note
	case isNotFound(err):
		out.Passed, out.Why = contract.PassedMoved, fmt.Sprintf("it is not on %s any more", in.Host)
	case errors.Is(err, hypervisor.ErrInvalidState), errors.Is(err, hypervisor.ErrNotActive):
		out.Passed, out.Why = contract.PassedUnsupported, brief(err)
	case isUnanswered(err):
		return unreachable(in.Host, brief(err))
	default:
		out.Failed = brief(err)
	}
	return nil
}

// newestLayer finds the newest snapshot that a schedule has made of a VM, and that
// can be tried: a layer of its present state.
func (a *Activities) newestLayer(ctx context.Context, h hypervisor.Host, in contract.SnapshotInput, out *contract.Turn) error {
	have, err := a.snapshots(ctx, h, in.VM.UUID)
	if err != nil {
		return a.snapshotRefused(in.Host, err)
	}
	line := presentLine(have)
	for _, s := range slices.Backward(have) { // they come with the oldest first
		if s.Scheduled() && s.External && line[s.Name] {
			out.Newest = s.Name
			return nil
		}
	}
	out.Passed, out.Why = contract.PassedNothing, "no schedule has made a snapshot of it that could be tried"
	return nil
}

// crowd counts the snapshots of schedules that the present state builds upon, or
// that are inside of its images.
func crowd(have []contract.Snapshot) (n int) {
	line := presentLine(have)
	for _, s := range have {
		if s.Scheduled() && (!s.External || line[s.Name]) {
			n++
		}
	}
	return n
}

// presentLine are the names of the snapshots that the present state came after: the
// current one and those before it.
func presentLine(have []contract.Snapshot) map[string]bool {
	parent := make(map[string]string, len(have))
	at := ""
	for _, s := range have {
		parent[s.Name] = s.Parent
		if s.Current {
			at = s.Name
		}
	}
	line := make(map[string]bool, len(have))
	for at != "" && !line[at] {
		line[at] = true
		at = parent[at]
	}
	return line
}

// planSnapshots says of every snapshot of a VM whether it stays, the newest first.
// Only those of schedules may go. Of a layer that lies beside the present state, as
// after a restore, the host could only forget, and its files would stay: so it
// stays, too, and counts for nothing.
func planSnapshots(rule retention.Rule, now time.Time, have []contract.Snapshot) []contract.PlannedSnapshot {
	line := presentLine(have)
	said := make(map[string]contract.PlannedSnapshot, len(have))
	var items []retention.Item
	for _, s := range have {
		one := contract.PlannedSnapshot{Name: s.Name, Created: s.Created, Keep: true}
		switch {
		case s.Kept:
			one.Why = "an incident kept it"
		case !s.Scheduled():
			one.Why = "no schedule made it"
		case s.External && !line[s.Name]:
			one.Why = "it lies beside the present state since that was put back: delete it when nobody wants it any more"
		default:
			items = append(items, retention.Item{Name: s.Name, At: s.Created})
			continue
		}
		said[s.Name] = one
	}
	plan := rule.Plan(now, items)
	for _, c := range plan.Keep {
		said[c.Name] = contract.PlannedSnapshot{Name: c.Name, Created: c.At, Keep: true, Why: c.Why}
	}
	for _, c := range plan.Prune {
		said[c.Name] = contract.PlannedSnapshot{Name: c.Name, Created: c.At, Why: c.Why}
	}
	out := make([]contract.PlannedSnapshot, 0, len(have))
	for i := len(have) - 1; i >= 0; i-- { // they come with the oldest first
		out = append(out, said[have[i].Name])
	}
	return out
}
