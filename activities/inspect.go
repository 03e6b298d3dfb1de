package activities

import (
	"context"
	"time"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/proof"
)

// Inspect asks every host of the site about one VM and returns what each said.
// A host that does not answer is part of the result, not an error.
func (a *Activities) Inspect(ctx context.Context, in contract.InspectInput) (contract.Inspection, error) {
	if in.VM.UUID == "" {
		return contract.Inspection{}, badInput("inspect: vm.uuid is empty")
	}
	defer keepAlive(ctx)()
	answers := a.survey(ctx, in.VM.UUID, in.Host, in.Elsewhere)
	return contract.Inspection{Answers: answers, Policy: a.policy(in.PolicyInput), At: time.Now().UTC()}, nil
}

// survey asks all hosts at once. It waits for every host that could be running
// the VM, up to the call timeout; a host that earlier evidence rules out gets a
// short grace after those, so that a hung neighbour does not delay a repair.
func (a *Activities) survey(ctx context.Context, uuid, home string, evidence []fault.Sighting) []proof.Answer {
	hosts := a.opts.Hosts.Hosts()
	type reply struct {
		i int
		proof.Answer
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	replies := make(chan reply, len(hosts)) // buffered: a late answer blocks nobody
	answers := make([]proof.Answer, len(hosts))
	optional := make([]bool, len(hosts))
	needed := 0
	for i, h := range hosts {
		answers[i] = proof.Answer{
			Sighting: fault.Sighting{Host: h.Name(), At: time.Now().UTC()},
			Error:    "no answer in time",
		}
		_, covered := proof.Covered(h.Name(), evidence)
		optional[i] = covered && h.Name() != home
		if !optional[i] {
			needed++
		}
		go func() { replies <- reply{i, a.look(ctx, h, uuid)} }()
	}
	var grace <-chan time.Time
	for left := len(hosts); left > 0; left-- {
		if needed == 0 && grace == nil {
			grace = time.After(a.opts.Grace)
		}
		select {
		case r := <-replies:
			answers[r.i] = r.Answer
			if !optional[r.i] {
				needed--
			}
		case <-grace:
			return answers
		}
	}
	return answers
}
