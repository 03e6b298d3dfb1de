package activities

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"holdfast/internal/annotation"
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
	out := contract.Inspection{Answers: answers}
	if err := a.addPolicy(ctx, in, &out); err != nil {
		return contract.Inspection{}, err
	}
	out.At = time.Now().UTC()
	return out, nil
}

// addPolicy adds the policy for a VM as its annotation is now, on the host that
// matters. What the fault says of it may be old, or missing: a monitor that
// started after the VM stopped has not read its definition. A definition that
// cannot be read is an error: it may say observe, or that a person wants hands off.
func (a *Activities) addPolicy(ctx context.Context, in contract.InspectInput, out *contract.Inspection) error {
	answers := out.Answers
	home, found := proof.AnswerOf(answers, in.Host)
	if !found || home.Error != "" || home.Absent {
		i := slices.IndexFunc(answers, func(x proof.Answer) bool { return x.Error == "" && !x.Absent })
		if i < 0 {
			out.Policy = a.policy(in.PolicyInput) // nothing can be started anywhere
			return nil
		}
		home = answers[i]
	}
	h, err := a.host(home.Host)
	var have annotation.Annotation
	if err == nil {
		have, err = a.annotationOn(ctx, h, in.VM.UUID)
	}
	// A mistake in it is none of a repair's business.
	if err != nil && !errors.As(err, new(annotation.Problem)) {
		return unreachable(home.Host, fmt.Sprintf("the definition of %s could not be read, so nobody knows whether it says that it be left alone: %s", in.VM, brief(err)))
	}
	in.Labels, in.Mode = have.Labels, have.Mode
	p := a.policy(in.PolicyInput)
	p.AgentExpected, p.Held = have.AgentExpected, have.Held
	out.Policy, out.Labels, out.Mode = p, have.Labels, have.Mode
	return nil
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
