package activities

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor"
	"holdfast/internal/proof"
)

// StopRemains removes what is left of a VM that failed: a QEMU process whose
// guest crashed, or that was started and never came to run. It leaves a running
// VM alone unless it is told that this is what is wrong, and does nothing where nothing is left; so it is also the undo of
// a start that did not verify.
func (a *Activities) StopRemains(ctx context.Context, in contract.StopRemainsInput) (contract.StopRemainsResult, error) {
	h, err := a.host(in.Host)
	if err != nil {
		return contract.StopRemainsResult{}, err
	}
	defer keepAlive(ctx)()
	found := a.look(ctx, h, in.VM.UUID)
	out := contract.StopRemainsResult{Found: found.Sighting.String()}
	switch {
	case found.Error != "":
		return out, unreachable(in.Host, found.Error)
	case !found.Active || running(found) && !in.Force:
		return out, nil
	}
	ctx, cancel := toTheEnd(ctx)
	defer cancel()
	err = h.Destroy(ctx, in.VM.UUID)
	if err != nil && !errors.Is(err, hypervisor.ErrNotActive) {
		return out, unreachable(in.Host, brief(err))
	}
	if left := a.look(ctx, h, in.VM.UUID); left.Error != "" || left.Active {
		return out, unreachable(in.Host, fmt.Sprintf("%s was stopped and is still there: %s%s", in.VM, left.Sighting, left.Error))
	}
	out.Stopped = true
	return out, nil
}

// Start starts a VM on a host when every other host that could be running it
// has been ruled out in this same attempt. Errors are application errors of the
// types in contract: TwoCopies, StartFailed, Unreachable, NotFound.
func (a *Activities) Start(ctx context.Context, in contract.StartInput) (contract.StartResult, error) {
	h, err := a.host(in.Host)
	if err != nil {
		return contract.StartResult{}, err
	}
	defer keepAlive(ctx)()
	here, answers, err := a.defined(ctx, in.VM, in.Host, in.Elsewhere)
	switch {
	case err != nil:
		return contract.StartResult{}, err
	case running(here):
		return contract.StartResult{Already: true, At: here.At}, nil
	case here.Active:
		return contract.StartResult{}, startFailed(fmt.Sprintf("%s is in the way: %s", in.VM, here.Sighting))
	}
	proofs, err := proof.MayStart(in.VM.String(), in.Host, answers, in.Elsewhere)
	if err != nil {
		return contract.StartResult{}, twoCopies(err)
	}
	out, err := a.start(ctx, h, in)
	out.Proofs = proofs
	return out, err
}

// defined asks all hosts about a VM that has to be defined on one of them.
func (a *Activities) defined(ctx context.Context, vm fault.VM, host string, elsewhere []fault.Sighting) (here proof.Answer, answers []proof.Answer, err error) {
	answers = a.survey(ctx, vm.UUID, host, elsewhere)
	here, asked := proof.AnswerOf(answers, host)
	switch {
	case !asked:
		err = unreachable(host, "was not asked")
	case here.Error != "":
		err = unreachable(host, here.Error)
	case here.Absent:
		err = notFound("host %s has no domain %s", host, vm)
	}
	return here, answers, err
}

// start acts and looks whether it took.
func (a *Activities) start(ctx context.Context, h hypervisor.Host, in contract.StartInput) (contract.StartResult, error) {
	began := time.Now()
	ctx, cancel := toTheEnd(ctx)
	defer cancel()
	err := h.Start(ctx, in.VM.UUID)
	took := time.Since(began)
	switch {
	case err == nil, errors.Is(err, hypervisor.ErrAlreadyActive):
		// The look below decides.
	case isNotFound(err):
		return contract.StartResult{}, notFound("host %s has no domain %s any more", in.Host, in.VM)
	case isUnanswered(err):
		return contract.StartResult{}, unreachable(in.Host, brief(err))
	default:
		return contract.StartResult{}, startFailed(brief(err))
	}
	at := time.Now().UTC()
	after := a.look(ctx, h, in.VM.UUID)
	switch {
	case after.Error != "":
		return contract.StartResult{}, unreachable(in.Host, after.Error)
	case !running(after):
		return contract.StartResult{}, startFailed(fmt.Sprintf("%s was started and is not running: %s", in.VM, after.Sighting))
	}
	return contract.StartResult{At: at, Took: took, Already: err != nil}, nil
}
