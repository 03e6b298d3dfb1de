package activities

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/internal/contract"
	"holdfast/internal/hypervisor"
	"holdfast/internal/proof"
)

// rehoming is what Rehome notes before it changes anything.
const rehoming = "rehoming"

// Rehome defines a VM that runs nowhere on one host instead of another. At every moment
// one of the two has its definition at least, and afterwards exactly one: a start that
// was sent to the other and hangs there finds nothing any more.
func (a *Activities) Rehome(ctx context.Context, in contract.RehomeInput) (contract.RehomeResult, error) {
	from, err := a.host(in.From)
	if err != nil {
		return contract.RehomeResult{}, err
	}
	to, err := a.host(in.To)
	if err != nil {
		return contract.RehomeResult{}, err
	}
	before := notedBefore(ctx)
	note, stop := keepNoting(ctx)
	defer stop()
	began := time.Now()
	m := move{a: a, in: in, from: from, to: to, begun: in.Back || before == rehoming}
	if err := m.look(ctx); err != nil {
		return contract.RehomeResult{}, err
	}
	if in.Back && m.here.Active {
		return contract.RehomeResult{Stays: true, At: m.here.At}, nil
	}
	out := contract.RehomeResult{Already: m.thereOnly()}
	if !out.Already && !in.Back {
		if out.Proofs, err = m.mayMove(ctx); err != nil {
			return out, err
		}
	}
	note(rehoming)
	uncut, cancel := toTheEnd(ctx)
	defer cancel()
	if err := m.carryOut(uncut); err != nil {
		return out, err
	}
	out.Took, out.At = time.Since(began), time.Now().UTC()
	return out, nil
}

// move is one try to take a definition from one host to another.
type move struct {
	a        *Activities
	in       contract.RehomeInput
	from, to hypervisor.Host
	begun    bool // by whoever died, so that To may have it already
	here     proof.Answer
	there    proof.Answer
}

// look asks both hosts, and says what stands in the way.
func (m *move) look(ctx context.Context) error {
	m.here, m.there = m.a.look(ctx, m.from, m.in.VM.UUID), m.a.look(ctx, m.to, m.in.VM.UUID)
	switch {
	case m.here.Error != "":
		return unreachable(m.in.From, m.here.Error)
	case m.there.Error != "":
		return unreachable(m.in.To, m.there.Error)
	case m.here.Absent && m.there.Absent:
		return notFound("neither host %s nor %s has domain %s", m.in.From, m.in.To, m.in.VM)
	case m.here.Active && !m.in.Back:
		return stepFailed(fmt.Sprintf("%s is in the way on %s: %s", m.in.VM, m.in.From, m.here.Sighting))
	case !m.here.Absent && !m.there.Absent && !m.begun:
		return stepFailed(fmt.Sprintf("%s knows %s from earlier (%s): `virsh undefine` it there if that is over", m.in.To, m.in.VM, m.there.Sighting))
	}
	return nil
}

// thereOnly: it has been moved.
func (m *move) thereOnly() bool { return m.here.Absent }

// mayMove asks everybody once more: the VM must run nowhere, and To must reach what
// From does.
func (m *move) mayMove(ctx context.Context) ([]proof.Proof, error) {
	in := m.in
	proofs, err := proof.MayStart(in.VM.String(), in.To, m.a.survey(ctx, in.VM.UUID, in.From, in.Elsewhere), in.Elsewhere)
	if err != nil {
		return nil, twoCopies(err)
	}
	needs, err := m.a.needs(ctx, m.from, in.VM.UUID)
	if err != nil {
		return nil, moveRefused(in.From, err)
	}
	if len(needs.Pinned) > 0 {
		return nil, stepFailed("it cannot leave " + in.From + ": " + needs.Pinned[0])
	}
	marks, err := m.a.markFolders(ctx, m.from, needs.Folders)
	defer marks.remove(ctx)
	if err != nil {
		return nil, moveRefused(in.From, err)
	}
	if why := m.a.reaches(ctx, in.To, marks); why != "" {
		return nil, stepFailed(in.To + ": " + why)
	}
	return proofs, nil
}

// carryOut defines it there, and only then forgets it here.
func (m *move) carryOut(ctx context.Context) error {
	uuid := m.in.VM.UUID
	if !m.thereOnly() {
		definition, err := m.from.Definition(ctx, uuid)
		if err != nil {
			return moveRefused(m.in.From, err)
		}
		if err := m.to.Define(ctx, definition); err != nil && !errors.Is(err, hypervisor.ErrExists) {
			return moveRefused(m.in.To, err)
		}
		if err := m.defined(ctx); err != nil {
			return err
		}
		if err := m.from.Undefine(ctx, uuid); err != nil && !isNotFound(err) {
			return moveRefused(m.in.From, err)
		}
		if left := m.a.look(ctx, m.from, uuid); !left.Absent {
			return unreachable(m.in.From, fmt.Sprintf("%s was undefined and is still there: %s%s", m.in.VM, left.Sighting, left.Error))
		}
		// An undefine of an earlier try that was not answered may have come through late.
		if err := m.to.Define(ctx, definition); err != nil && !errors.Is(err, hypervisor.ErrExists) {
			return moveRefused(m.in.To, err)
		}
		if err := m.defined(ctx); err != nil {
			return err
		}
	}
	if m.there.Active {
		return nil // it was started there already, with what it has
	}
	on, err := m.to.Autostart(ctx, uuid)
	if err == nil && on != m.in.Autostart {
		err = m.to.SetAutostart(ctx, uuid, m.in.Autostart)
	}
	if err != nil {
		return moveRefused(m.in.To, err)
	}
	return nil
}

// defined proves that the new host has it.
func (m *move) defined(ctx context.Context) error {
	switch at := m.a.look(ctx, m.to, m.in.VM.UUID); {
	case at.Error != "":
		return unreachable(m.in.To, at.Error)
	case at.Absent: // it has a domain of that name, or it was undefined under us
		return stepFailed(fmt.Sprintf("%s has another domain called %s: rename one of the two", m.in.To, m.in.VM.Name))
	}
	return nil
}

// moveRefused sorts out why a host refused its part.
func moveRefused(host string, err error) error {
	switch {
	case isUnanswered(err):
		return unreachable(host, brief(err))
	case isNotFound(err):
		return notFound("%s", brief(err))
	}
	return stepFailed(brief(err))
}
