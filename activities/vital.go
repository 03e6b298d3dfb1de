package activities

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor"
	"holdfast/internal/ladder"
)

// vitalSpan is the time between two samples of a guest's virtual CPUs. A Linux
// guest that idles still executes now and then within it.
const vitalSpan = 2 * time.Second

// Vital looks at the guest of a VM that its host calls running, to see whether
// what a monitor said of it still is so: it is asked right before a rung that
// would cost a healthy guest its memory. A host that does not answer is an error.
func (a *Activities) Vital(ctx context.Context, in contract.VitalInput) (ladder.Vital, error) {
	h, err := a.host(in.Host)
	if err != nil {
		return ladder.Vital{}, err
	}
	defer keepAlive(ctx)()
	answers := make(chan error, 1) // buffered: it may be nobody waits for it any more
	go func() { answers <- a.askAgent(ctx, h, in.VM.UUID) }()
	before, err := a.sample(ctx, h, in.VM.UUID)
	if err != nil {
		return ladder.Vital{}, unreachable(in.Host, brief(err))
	}
	select {
	case <-ctx.Done():
		return ladder.Vital{}, ctx.Err()
	case <-time.After(vitalSpan):
	}
	after, err := a.sample(ctx, h, in.VM.UUID)
	if err != nil {
		return ladder.Vital{}, unreachable(in.Host, brief(err))
	}
	return judgeVital(in, before, after, <-answers), nil
}

// judgeVital weighs what was found. What would end the fault in a monitor's eyes
// counts as well, and nothing less.
func judgeVital(in contract.VitalInput, before, after *hypervisor.DomainStats, agent error) ladder.Vital {
	v := ladder.Vital{Reachable: after != nil}
	moved := before != nil && after != nil && after.VCPUTime != before.VCPUTime
	switch {
	case agent == nil:
		v.Well, v.Why = true, "its guest agent answers"
	case !v.Reachable:
		v.Why = "its QEMU does not answer"
	case in.Kind == fault.KindHung && moved:
		v.Well, v.Why = true, fmt.Sprintf("its virtual CPUs execute, though its guest agent does not answer (%s)", brief(agent))
	case moved:
		v.Why = fmt.Sprintf("its guest agent does not answer (%s), though its virtual CPUs execute", brief(agent))
	default:
		v.Why = fmt.Sprintf("its virtual CPUs stand still, and its guest agent does not answer (%s)", brief(agent))
	}
	return v
}

// askAgent asks the guest agent of a VM for a sign of life.
func (a *Activities) askAgent(ctx context.Context, h hypervisor.Host, uuid string) error {
	ctx, cancel := context.WithTimeout(ctx, a.opts.CallTimeout)
	defer cancel()
	_, err := h.GuestTime(ctx, uuid)
	return err
}

// sample is the newest sample of one VM; nil if its QEMU does not give one.
func (a *Activities) sample(ctx context.Context, h hypervisor.Host, uuid string) (*hypervisor.DomainStats, error) {
	ctx, cancel := context.WithTimeout(ctx, a.opts.CallTimeout)
	defer cancel()
	all, err := h.Stats(ctx)
	if errors.Is(err, hypervisor.ErrTimeout) {
		// One that hangs may hold up the first call after it began to: see Host.Stats.
		if _, err := h.Domain(ctx, uuid); err == nil {
			return nil, nil
		}
	}
	if err != nil {
		return nil, err
	}
	return statsOf(all, uuid), nil
}

// statsOf is what a host says of one VM; nil: it is not active, or its QEMU does not
// answer.
func statsOf(all []hypervisor.DomainStats, uuid string) *hypervisor.DomainStats {
	for i := range all {
		if all[i].UUID == uuid {
			return &all[i]
		}
	}
	return nil
}
