package activities

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"

	"holdfast/internal/contract"
	"holdfast/internal/hypervisor"
	"holdfast/internal/proof"
)

// Resume lets a paused VM execute again. It leaves one alone that runs, and one
// that a person has paused.
func (a *Activities) Resume(ctx context.Context, in contract.StepInput) (contract.StepResult, error) {
	return a.step(ctx, in, func(p press) error {
		switch {
		case running(p.found):
			return errAlready
		case p.found.State != string(hypervisor.StatePaused), p.found.Reason == string(hypervisor.ReasonUser):
			return stepFailed(fmt.Sprintf("nothing to resume: %s", p.found.Sighting))
		}
		return p.host.Resume(p.ctx, in.VM.UUID)
	})
}

// pressed is what Reset notes before it presses.
const pressed = "pressed"

// Reset presses the reset button of a VM, and lets it execute if its QEMU had
// stopped: one whose guest panicked stays stopped over a reset. What a worker that
// died has pressed already is not pressed again.
func (a *Activities) Reset(ctx context.Context, in contract.StepInput) (contract.StepResult, error) {
	before := notedBefore(ctx)
	return a.step(ctx, in, func(p press) error {
		p.note(pressed)
		// One that is still as its guest left it was not reset, whatever was noted.
		if before != pressed || p.found.State == string(hypervisor.StateCrashed) {
			if err := p.host.Reset(p.ctx, in.VM.UUID); err != nil {
				return err
			}
		}
		after := a.look(p.ctx, p.host, in.VM.UUID)
		if after.Error == "" && after.Active && !running(after) {
			return p.host.Resume(p.ctx, in.VM.UUID)
		}
		return nil
	})
}

// press is one try to do something to a VM that is active.
type press struct {
	ctx   context.Context
	host  hypervisor.Host
	found proof.Answer
	note  func(string) // for whoever goes on if this worker dies
}

// errAlready: there is nothing left to do.
var errAlready = errors.New("already done")

// step looks, acts, and looks whether the VM runs.
func (a *Activities) step(ctx context.Context, in contract.StepInput, do func(press) error) (contract.StepResult, error) {
	h, err := a.host(in.Host)
	if err != nil {
		return contract.StepResult{}, err
	}
	note, stop := keepNoting(ctx)
	defer stop()
	found := a.look(ctx, h, in.VM.UUID)
	out := contract.StepResult{Found: found.Sighting.String(), At: time.Now().UTC()}
	switch {
	case found.Error != "":
		return out, unreachable(in.Host, found.Error)
	case found.Absent:
		return out, notFound("host %s has no domain %s", in.Host, in.VM)
	case !found.Active:
		return out, stepFailed(fmt.Sprintf("%s does not run: %s", in.VM, found.Sighting))
	}
	if !running(found) {
		// To let it execute is as good as a start: another may have started it elsewhere.
		if _, err := proof.MayStart(in.VM.String(), in.Host, a.survey(ctx, in.VM.UUID, in.Host, in.Elsewhere), in.Elsewhere); err != nil {
			return out, twoCopies(err)
		}
	}
	// A QEMU whose virtual CPUs stand still may never answer a reset.
	call, cancel := context.WithTimeout(ctx, 2*a.opts.CallTimeout)
	defer cancel()
	began := time.Now()
	err = do(press{ctx: call, host: h, found: found, note: note})
	out.Took, out.At = time.Since(began), time.Now().UTC()
	if errors.Is(err, errAlready) {
		out.Already = true
		return out, nil
	}
	if err != nil {
		return out, a.refused(ctx, h, in, err)
	}
	after := a.look(ctx, h, in.VM.UUID)
	switch {
	case after.Error != "":
		return out, unreachable(in.Host, after.Error)
	case !running(after):
		return out, stepFailed(fmt.Sprintf("it does not run afterwards: %s", after.Sighting))
	}
	return out, nil
}

// refused sorts out why a step could not be done.
func (a *Activities) refused(ctx context.Context, h hypervisor.Host, in contract.StepInput, err error) error {
	switch {
	case temporal.IsApplicationError(err):
		return err
	case isNotFound(err):
		return notFound("host %s has no domain %s any more", in.Host, in.VM)
	case isUnanswered(err):
		// If the host answers, it is the VM's QEMU that does not. That counts as a try,
		// so that something heavier comes next.
		if after := a.look(ctx, h, in.VM.UUID); after.Error != "" {
			return unreachable(in.Host, brief(err))
		}
	}
	return stepFailed(brief(err))
}

func stepFailed(text string) error {
	return temporal.NewNonRetryableApplicationError(text, contract.ErrTypeStepFailed, nil)
}
