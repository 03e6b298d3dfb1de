package activities

import (
	"context"
	"fmt"
	"sync"
	"time"

	"holdfast/internal/contract"
	"holdfast/internal/hypervisor"
	"holdfast/internal/ladder"
	"holdfast/internal/proof"
)

const (
	// verifyEvery is how often a VM that has to stay running is looked at.
	verifyEvery = 250 * time.Millisecond
	// bootEvery is the same while its probes have not passed yet: a boot takes long.
	bootEvery = time.Second
	// probeEvery is how long after a probe that failed it is tried again.
	probeEvery = 500 * time.Millisecond
)

// Verify says whether a VM is well again: it runs, then all its probes pass
// within the time that they have, and then it stays running for the given time,
// with its agent still answering at the end if that was asked for. It ends as
// soon as the VM is found not to run. A VM that is not well is a finding, not an
// error. The times count from the first look of this attempt.
func (a *Activities) Verify(ctx context.Context, in contract.VerifyInput) (contract.VerifyResult, error) {
	h, err := a.host(in.Host)
	if err != nil {
		return contract.VerifyResult{}, err
	}
	if err := in.Probes.Validate(); err != nil {
		return contract.VerifyResult{}, badInput("verify: %s", err)
	}
	defer keepAlive(ctx)()
	v := verification{a: a, h: h, in: in}
	for _, step := range []func(context.Context) (well bool, err error){v.passProbes, v.stayRunning, v.askAgain} {
		if well, err := step(ctx); err != nil || !well {
			return v.out, err
		}
	}
	v.out.OK = true
	return v.out, nil
}

// verification is one attempt of Verify.
type verification struct {
	a   *Activities
	h   hypervisor.Host
	in  contract.VerifyInput
	out contract.VerifyResult
}

// agentWanted: an agent that does not answer is a VM that is not well.
func agentWanted(in contract.VerifyInput) bool {
	switch in.Probes.Agent {
	case ladder.AgentRequired:
		return true
	case ladder.AgentAuto:
		return in.AgentExpected
	}
	return false
}

// look notes how the VM is, and why that is not well.
func (v *verification) look(ctx context.Context) (well bool, err error) {
	found := v.a.look(ctx, v.h, v.in.VM.UUID)
	v.out.Found, v.out.Active, v.out.At = found.Sighting, found.Active, time.Now().UTC()
	if found.Error != "" {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		return false, unreachable(v.in.Host, found.Error)
	}
	if !running(found) {
		v.out.Why = "it does not stay running: it is " + describe(found)
	}
	return running(found), nil
}

func describe(found proof.Answer) string {
	switch {
	case found.Absent:
		return "not there any more"
	case found.Reason != "":
		return found.State + " (" + found.Reason + ")"
	}
	return found.State
}

// passProbes tries every probe again and again, side by side, until it passes or
// the time for all of them is over, and looks at the VM meanwhile.
func (v *verification) passProbes(ctx context.Context) (well bool, err error) {
	probes := v.a.probesOf(v.h, v.in)
	if well, err := v.look(ctx); err != nil || !well || len(probes) == 0 {
		return well, err
	}
	trying, cancel := context.WithTimeout(ctx, v.in.Probes.Within)
	checks := make([]contract.Check, len(probes))
	var wg sync.WaitGroup
	for i, p := range probes {
		wg.Go(func() { checks[i] = p.until(trying) })
	}
	done := make(chan struct{})
	go func() { defer close(done); wg.Wait() }()
	well, err = v.watch(ctx, done)
	cancel()
	<-done
	v.out.Checks = checks
	if err != nil || !well {
		return false, err
	}
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	for _, c := range checks {
		if !c.OK {
			v.out.Why = fmt.Sprintf("%s did not pass within %s: %s", c.What, v.in.Probes.Within, c.Said)
			return false, nil
		}
	}
	return true, nil
}

// watch looks at the VM until done is closed or it does not run.
func (v *verification) watch(ctx context.Context, done <-chan struct{}) (well bool, err error) {
	tick := time.NewTicker(bootEvery)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return true, nil
		case <-ctx.Done():
			return false, ctx.Err()
		case <-tick.C:
			if well, err := v.look(ctx); err != nil || !well {
				return well, err
			}
		}
	}
}

// stayRunning looks at the VM until it has been running for long enough.
func (v *verification) stayRunning(ctx context.Context) (well bool, err error) {
	began := time.Now()
	for {
		if well, err := v.look(ctx); err != nil || !well {
			return well, err
		}
		left := v.in.StableFor - time.Since(began)
		if left <= 0 {
			return true, nil
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(min(verifyEvery, left)):
		}
	}
}

// askAgain asks the agent at the end, with as much patience as one call has: a
// guest may answer for a while and then hang for the same reason as before.
func (v *verification) askAgain(ctx context.Context) (well bool, err error) {
	if !agentWanted(v.in) {
		return true, nil
	}
	asking, cancel := context.WithTimeout(ctx, v.a.opts.CallTimeout)
	defer cancel()
	p := v.a.agentProbe(v.h, v.in.VM.UUID)
	p.what += ", at the end"
	c := p.until(asking)
	v.out.Checks = append(v.out.Checks, c)
	v.out.At = time.Now().UTC()
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case !c.OK:
		v.out.Why = "its guest agent answered, and does not any more: " + c.Said
	}
	return c.OK, nil
}
