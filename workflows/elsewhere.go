package workflows

import (
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"holdfast/internal/contract"
	"holdfast/internal/ladder"
)

// elsewhereChange marks incidents that may take a VM to another host.
const elsewhereChange = "elsewhere"

// errTheirs: what is on the other host is somebody else's by now.
var errTheirs = errors.New("it was not taken there")

// elsewhere removes what is left of the VM, defines it on another host that reaches its
// disks, and nowhere else, and starts it there. If it does not verify, it is brought back.
func (r *recovery) elsewhere(ctx workflow.Context, d ladder.Decision) error {
	if err := r.clearAway(ctx, d.Source); err != nil {
		return err
	}
	in := contract.RehomeInput{VM: r.inc.VM, From: d.Source, To: d.Host, Elsewhere: r.earlier(), Autostart: r.places.Autostart}
	actx := r.onSite(ctx, fmt.Sprintf("ask whether %s may be taken from %s to %s", in.VM, in.From, in.To), 2*time.Minute)
	if err := workflow.ExecuteActivity(actx, act.MayRehome, in).Get(ctx, nil); err != nil {
		return err
	}
	undo := contract.Undo{Rung: ladder.RungElsewhere, Host: d.Host, Source: d.Source, Autostart: in.Autostart}
	r.undo.before(undo)
	r.been = append(r.been, d.Source, d.Host)
	r.down = true // until it is started there: who finds it running before that has not found ours
	err := r.startThere(ctx, d, in)
	switch {
	case errors.Is(err, errTheirs):
		r.undo.forget(undo)
		return temporal.NewNonRetryableApplicationError(err.Error(), contract.ErrTypeStepFailed, nil)
	case err == nil || ctx.Err() != nil || counts(err):
		return err
	case noWorker(err) || failureType(err) == contract.ErrTypeTwoCopies:
		// Whoever looks again must find it where it was. If it runs there by then it stays,
		// whoever has started it.
		r.down = true
		if left := r.undo.unwind(ctx, r.undoOne); len(left) > 0 {
			r.note(ctx, "could not "+left[0])
			r.undoing = true
		}
		return err
	}
	// A host that did not answer has had its try, or it would be the best one for ever.
	return temporal.NewNonRetryableApplicationError(failureText(err), contract.ErrTypeStepFailed, nil)
}

func (r *recovery) startThere(ctx workflow.Context, d ladder.Decision, in contract.RehomeInput) error {
	moved, err := r.rehome(ctx, in)
	if err != nil {
		return err
	}
	if moved.Theirs != "" {
		return fmt.Errorf("%w: %s", errTheirs, moved.Theirs)
	}
	r.inc.Host = d.Host
	r.note(ctx, fmt.Sprintf("taken from %s to %s in %s", d.Source, d.Host, moved.Took.Round(time.Millisecond)))
	started, err := r.start(ctx, d.Host)
	if err != nil {
		return err
	}
	r.began(ctx, d.Host, started)
	return nil
}

// rehome has the VM defined on one host instead of another.
func (r *recovery) rehome(ctx workflow.Context, in contract.RehomeInput) (contract.RehomeResult, error) {
	in.VM = r.inc.VM
	actx := r.uncut(ctx, fmt.Sprintf("define %s on %s instead of %s", in.VM, in.To, in.From), 2*time.Minute)
	var out contract.RehomeResult
	err := workflow.ExecuteActivity(actx, act.Rehome, in).Get(ctx, &out)
	return out, err
}

// bringBack has the VM defined where it came from, if it came to be elsewhere, and
// leaves it stopped. What others have started there stays there; and whoever calls the
// incident off while it runs there leaves it there, too.
func (r *recovery) bringBack(ctx workflow.Context, u contract.Undo) error {
	var err error
	if r.calledOff || r.down {
		err = r.stopRemains(ctx, u.Host, false)
	} else {
		err = r.stop(ctx, u.Host, true)
	}
	switch {
	case failureType(err) == contract.ErrTypeNotFound: // the host is not in the site file any more
		r.note(ctx, fmt.Sprintf("it is not brought back to %s: %s", u.Source, failureText(err)))
		return nil
	case err != nil:
		return err
	}
	out, err := r.rehome(ctx, contract.RehomeInput{From: u.Host, To: u.Source, Autostart: u.Autostart, Back: true})
	switch {
	case err != nil:
		return err
	case out.Gone:
		r.note(ctx, fmt.Sprintf("it is not brought back: neither %s nor %s has it any more", u.Host, u.Source))
		return nil
	case out.Stays:
		r.inc.Host = u.Host
		r.note(ctx, fmt.Sprintf("it stays on %s: %s", u.Host, out.Why))
		return nil
	case !out.Already:
		r.note(ctx, fmt.Sprintf("brought back to %s", u.Source))
	}
	r.inc.Host = u.Source
	return nil
}

// lookElsewhere finds out which other host could have the VM. One on which it has
// failed a moment ago is none.
func (r *recovery) lookElsewhere(ctx workflow.Context, host string) error {
	not := make(map[string]string)
	for _, a := range r.tried() {
		if !a.OK && workflow.Now(ctx).Sub(a.Ended) <= r.policy.Window {
			not[a.Host] = "it has failed there: " + a.Error
		}
	}
	actx := r.onSite(ctx, fmt.Sprintf("look for another host that could have %s", r.inc.VM), 2*time.Minute)
	var found ladder.Places
	err := workflow.ExecuteActivity(actx, act.Places, contract.PlacesInput{VM: r.inc.VM, Host: host, Not: not}).Get(ctx, &found)
	if err == nil {
		r.places = &found
	}
	return err
}
