package activities

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor"
)

// workerVote is what the worker's own vote is from.
const workerVote = "worker"

// Probe looks at a host from where the worker is: it asks its libvirtd, and
// looks in the other ways that the worker has, all at once. A host that does not
// answer is the result, not an error.
func (a *Activities) Probe(ctx context.Context, in contract.ProbeInput) (contract.ProbeResult, error) {
	h, ok := a.opts.Hosts.Host(in.Host)
	if !ok {
		why := fmt.Sprintf("host %q is not in the worker's site file: compare it with that of the monitors", in.Host)
		return contract.ProbeResult{Vote: fault.Vote{From: workerVote, Says: fault.NoVerdict, Why: why, At: time.Now().UTC()}}, nil
	}
	defer keepAlive(ctx)()
	ctx, cancel := context.WithTimeout(ctx, a.opts.CallTimeout)
	defer cancel()
	var others []fault.Vote
	var wg sync.WaitGroup
	if a.opts.Vote != nil {
		wg.Go(func() { others = a.opts.Vote(ctx, in.Host) })
	}
	looks := []fault.Vote{askLibvirt(ctx, h)}
	wg.Wait()
	looks = append(looks, others...)
	return contract.ProbeResult{Vote: sum(looks), Looks: looks}, nil
}

// askLibvirt is what the host's libvirtd says by answering or not.
func askLibvirt(ctx context.Context, h hypervisor.Host) fault.Vote {
	err := h.Connect(ctx)
	v := fault.Vote{From: "libvirt", Says: fault.HostAnswers, At: time.Now().UTC()}
	if err == nil {
		return v
	}
	v.Why = brief(err)
	switch {
	case errors.Is(err, hypervisor.ErrAccess):
		// It answered: with a refusal.
	case errors.Is(err, hypervisor.ErrClosed), errors.Is(err, context.Canceled):
		v.Says = fault.NoVerdict
	default:
		v.Says = fault.HostSilent
	}
	return v
}

// weight orders verdicts: one look that finds life settles it, and one that
// finds no power says more than silence.
var weight = map[fault.Verdict]int{
	fault.HostAnswers: 6, fault.HostAccepts: 5, fault.HostRefuses: 4, fault.HostAlive: 3,
	fault.HostOff: 2, fault.HostSilent: 1, fault.NoVerdict: 0,
}

// sum is the one vote that follows from several looks.
func sum(looks []fault.Vote) fault.Vote {
	out := fault.Vote{From: workerVote, Says: fault.NoVerdict}
	parts := make([]string, len(looks))
	for i, v := range looks {
		if weight[v.Says] > weight[out.Says] {
			out.Says = v.Says
		}
		if v.At.After(out.At) {
			out.At = v.At
		}
		parts[i] = fmt.Sprintf("%s: %s", v.From, v.Says)
		if v.Why != "" {
			parts[i] += " (" + v.Why + ")"
		}
	}
	out.Why = strings.Join(parts, "; ")
	return out
}
