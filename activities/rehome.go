package activities

import (
	"context"
	"fmt"
	"time"

	"holdfast/internal/contract"
	"holdfast/internal/hypervisor"
	"holdfast/internal/proof"
)

// MayRehome says whether a VM may be defined on another host instead of its own: it
// must run nowhere, the other host must know nothing of it, and reach what its own
// host reaches. It changes nothing.
func (a *Activities) MayRehome(ctx context.Context, in contract.RehomeInput) error {
	defer keepAlive(ctx)()
	m, err := a.move(ctx, in)
	switch {
	case err != nil:
		return err
	case m.here.Active:
		return stepFailed(fmt.Sprintf("%s is in the way on %s: %s", in.VM, in.From, m.here.Sighting))
	case m.here.Absent:
		return notFound("host %s has no domain %s any more", in.From, in.VM)
	case !m.there.Absent:
		return stepFailed(fmt.Sprintf("%s knows %s from earlier (%s): `virsh undefine` it there if that is over", in.To, in.VM, m.there.Sighting))
	}
	answers := a.survey(ctx, in.VM.UUID, in.From, in.Elsewhere)
	if _, err := proof.MayStart(in.VM.String(), in.To, answers, in.Elsewhere); err != nil {
		return twoCopies(err)
	}
	needs, err := a.needs(ctx, m.from, in.VM.UUID)
	if err != nil {
		return moveRefused(in.From, err)
	}
	if len(needs.Pinned) > 0 {
		return stepFailed("it cannot leave " + in.From + ": " + needs.Pinned[0])
	}
	marks, err := a.markFolders(ctx, m.from, needs.Folders)
	defer marks.remove(ctx)
	if err != nil {
		return moveRefused(in.From, err)
	}
	if why := a.reaches(ctx, in.To, marks); why != "" {
		return stepFailed(in.To + ": " + why)
	}
	return nil
}

// Rehome defines a VM that runs nowhere on one host instead of another. At every moment
// one of the two has its definition at least, and afterwards exactly one: a start that
// was sent to the other and hangs there finds nothing any more. Whatever an earlier try
// came to, this one ends the same. MayRehome comes before it, unless it is Back.
func (a *Activities) Rehome(ctx context.Context, in contract.RehomeInput) (contract.RehomeResult, error) {
	defer keepAlive(ctx)()
	began := time.Now()
	m, err := a.move(ctx, in)
	if err != nil {
		return contract.RehomeResult{}, err
	}
	ctx, cancel := toTheEnd(ctx)
	defer cancel()
	var out contract.RehomeResult
	switch {
	case m.here.Active && in.Back:
		out.Stays, out.Why = true, "it runs there"
		err = m.stays(ctx)
	case m.here.Active:
		err = stepFailed(fmt.Sprintf("%s is in the way on %s: %s", in.VM, in.From, m.here.Sighting))
	case m.here.Absent:
		out.Already = true
		err = m.autostart(ctx)
	default:
		out.Why, err = m.carryOut(ctx)
		out.Stays = out.Why != ""
	}
	out.Took, out.At = time.Since(began), time.Now().UTC()
	return out, err
}

// move is one try to take a definition from one host to another.
type move struct {
	a        *Activities
	in       contract.RehomeInput
	from, to hypervisor.Host
	here     proof.Answer // of from
	there    proof.Answer // of to
}

// move asks both hosts what they know.
func (a *Activities) move(ctx context.Context, in contract.RehomeInput) (*move, error) {
	m := &move{a: a, in: in}
	var err error
	if m.from, err = a.host(in.From); err != nil {
		return nil, err
	}
	if m.to, err = a.host(in.To); err != nil {
		return nil, err
	}
	m.here, m.there = a.look(ctx, m.from, in.VM.UUID), a.look(ctx, m.to, in.VM.UUID)
	switch {
	case m.here.Error != "":
		return nil, unreachable(in.From, m.here.Error)
	case m.there.Error != "":
		return nil, unreachable(in.To, m.there.Error)
	case m.here.Absent && m.there.Absent:
		return nil, notFound("neither host %s nor %s has domain %s", in.From, in.To, in.VM)
	}
	return m, nil
}

// carryOut defines it there, and only then forgets it here. Of one that comes back it
// says why it stays, if its old host will not have it.
func (m *move) carryOut(ctx context.Context) (stays string, err error) {
	uuid := m.in.VM.UUID
	source := m.from
	if m.in.Back && !m.there.Absent {
		source = m.to // which has its own still
	}
	definition, err := source.Definition(ctx, uuid)
	if err != nil {
		return "", moveRefused(source.Name(), err)
	}
	if !m.there.Active {
		if err := m.defineAnew(ctx, definition); err != nil {
			if m.in.Back && !isUnanswered(err) {
				return brief(err), nil
			}
			return "", moveRefused(m.in.To, err)
		}
	}
	if !m.in.Back {
		now, err := m.from.Definition(ctx, uuid)
		if err != nil {
			return "", moveRefused(m.in.From, err)
		}
		if now != definition { // such as by who wants it held
			return "", unreachable(m.in.From, fmt.Sprintf("the definition of %s was changed meanwhile", m.in.VM))
		}
	}
	if err := m.from.Undefine(ctx, uuid); err != nil && !isNotFound(err) {
		return "", moveRefused(m.in.From, err)
	}
	if left := m.a.look(ctx, m.from, uuid); !left.Absent {
		return "", unreachable(m.in.From, fmt.Sprintf("%s was undefined and is still there: %s%s", m.in.VM, left.Sighting, left.Error))
	}
	if at := m.a.look(ctx, m.to, uuid); at.Absent { // somebody has undefined it under us
		if err := m.to.Define(ctx, definition); err != nil {
			return "", moveRefused(m.in.To, err)
		}
	}
	return "", m.autostart(ctx)
}

// defineAnew defines it there, in place of what an earlier try has defined: that may
// have changed since. And an undefine that is answered sees to it that one which was
// not, and hangs there, finds nothing any more.
func (m *move) defineAnew(ctx context.Context, definition string) error {
	if !m.there.Absent {
		if err := m.to.Undefine(ctx, m.in.VM.UUID); err != nil && !isNotFound(err) {
			return err
		}
	}
	if err := m.to.Define(ctx, definition); err != nil {
		return err
	}
	_, err := m.to.Domain(ctx, m.in.VM.UUID)
	return err
}

// stays leaves a VM where it runs, and nowhere else.
func (m *move) stays(ctx context.Context) error {
	switch {
	case m.there.Active:
		return twoCopies(fmt.Errorf("%s is active on %s and on %s: stop the wrong copy by hand", m.in.VM, m.in.From, m.in.To))
	case m.there.Absent:
		return nil
	}
	if err := m.to.Undefine(ctx, m.in.VM.UUID); err != nil && !isNotFound(err) {
		return moveRefused(m.in.To, err)
	}
	return nil
}

// autostart sets whether the host starts it as it boots, after it is nobody else's.
func (m *move) autostart(ctx context.Context) error {
	if m.there.Active {
		return nil // it was started there already, with what it has
	}
	on, err := m.to.Autostart(ctx, m.in.VM.UUID)
	if err == nil && on != m.in.Autostart {
		err = m.to.SetAutostart(ctx, m.in.VM.UUID, m.in.Autostart)
	}
	if err != nil {
		return moveRefused(m.in.To, err)
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
