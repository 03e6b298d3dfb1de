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

// What Rehome notes as it goes along, for whoever goes on after a worker that died.
const (
	rehoming  = "rehoming"  // from here on the new host may have it
	leaving   = "leaving"   // from here on the old one may not have it any more
	redefined = "redefined" // what comes back is defined again for certain
)

// Rehome defines a VM that runs nowhere on one host instead of another. At every moment
// one of the two has its definition at least, and afterwards exactly one: a start that
// was sent to the other and hangs there finds nothing any more. Whatever an earlier try
// came to, this one ends the same. MayRehome comes before it, unless it is Back.
func (a *Activities) Rehome(ctx context.Context, in contract.RehomeInput) (contract.RehomeResult, error) {
	before := notedBefore(ctx)
	note, stop := keepNoting(ctx)
	defer stop()
	began := time.Now()
	if _, err := a.host(in.To); err != nil && in.Back {
		return contract.RehomeResult{Stays: true, Why: brief(err), At: began.UTC()}, nil
	}
	m, err := a.move(ctx, in)
	if err != nil {
		return contract.RehomeResult{}, err
	}
	m.before, m.note = before, note
	ctx, cancel := toTheEnd(ctx)
	defer cancel()
	var out contract.RehomeResult
	switch {
	case m.here.Absent && m.there.Absent && in.Back:
		out.Gone = true
	case m.here.Absent && m.there.Absent:
		err = notFound("neither host %s nor %s has domain %s", in.From, in.To, in.VM)
	case m.here.Active && in.Back:
		out.Stays, out.Why = true, "it runs there"
		err = m.stays(ctx)
	case m.here.Active:
		err = stepFailed(fmt.Sprintf("%s is in the way on %s: %s", in.VM, in.From, m.here.Sighting))
	case m.here.Absent:
		out.Already = true
		err = m.autostart(ctx)
	default:
		err = m.carryOut(ctx, &out)
	}
	out.Took, out.At = time.Since(began), time.Now().UTC()
	return out, err
}

// move is one try to take a definition from one host to another.
type move struct {
	a        *Activities
	in       contract.RehomeInput
	from, to hypervisor.Host
	before   string // what was noted by whoever died
	note     func(string)
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
	}
	return m, nil
}

// carryOut defines it there, and only then forgets it here.
func (m *move) carryOut(ctx context.Context, out *contract.RehomeResult) error {
	definition, err := m.from.Definition(ctx, m.in.VM.UUID)
	if err != nil {
		return moveRefused(m.in.From, err)
	}
	if m.in.Back {
		out.Why, err = m.defineBack(ctx, definition)
		out.Stays = out.Why != ""
	} else {
		out.Theirs, err = m.defineThere(ctx, definition)
	}
	if err != nil || out.Stays || out.Theirs != "" {
		return err
	}
	if err := m.from.Undefine(ctx, m.in.VM.UUID); err != nil && !isNotFound(err) {
		return moveRefused(m.in.From, err)
	}
	if left := m.a.look(ctx, m.from, m.in.VM.UUID); !left.Absent {
		return unreachable(m.in.From, fmt.Sprintf("%s was undefined and is still there: %s%s", m.in.VM, left.Sighting, left.Error))
	}
	if at := m.a.look(ctx, m.to, m.in.VM.UUID); at.Absent { // somebody has undefined it under us
		if err := m.to.Define(ctx, definition); err != nil {
			return moveRefused(m.in.To, err)
		}
	}
	return m.autostart(ctx)
}

// defineThere has the new host define it, unless an earlier try has. Of what others have
// defined there meanwhile it says so, and leaves it alone.
func (m *move) defineThere(ctx context.Context, definition string) (theirs string, err error) {
	if !m.there.Absent {
		have, err := m.to.Definition(ctx, m.in.VM.UUID)
		switch {
		case err != nil:
			return "", moveRefused(m.in.To, err)
		case m.there.Active || m.before == "" && have != definition:
			return fmt.Sprintf("somebody has defined %s on %s meanwhile (%s)", m.in.VM, m.in.To, m.there.Sighting), nil
		case m.before == rehoming && have != definition: // it was changed since
			return "", m.startOver(ctx)
		}
	} else {
		m.note(rehoming)
		if err := m.to.Define(ctx, definition); err != nil {
			return "", moveRefused(m.in.To, err)
		}
	}
	if now, err := m.from.Definition(ctx, m.in.VM.UUID); err != nil {
		return "", moveRefused(m.in.From, err)
	} else if now != definition && m.before != leaving {
		return "", m.startOver(ctx)
	}
	if _, err := m.to.Domain(ctx, m.in.VM.UUID); err != nil {
		return "", moveRefused(m.in.To, err)
	}
	m.note(leaving)
	return "", nil
}

// startOver has the next try take along what was changed of the definition meanwhile,
// such as by who wants the VM held.
func (m *move) startOver(ctx context.Context) error {
	if err := m.to.Undefine(ctx, m.in.VM.UUID); err != nil && !isNotFound(err) {
		return moveRefused(m.in.To, err)
	}
	return unreachable(m.in.From, fmt.Sprintf("the definition of %s was changed meanwhile", m.in.VM))
}

// defineBack has the old host define it again, or says why that will not have it. If it
// has it still, that is done anew, once: an undefine that is answered sees to it that one
// which was not, and hangs there, finds nothing any more.
func (m *move) defineBack(ctx context.Context, definition string) (stays string, err error) {
	if !m.there.Absent {
		if m.there.Active || m.before == redefined {
			return "", nil
		}
		own, err := m.to.Definition(ctx, m.in.VM.UUID)
		if err == nil {
			err = m.to.Undefine(ctx, m.in.VM.UUID)
		}
		switch {
		case err != nil && isUnanswered(err):
			return "", unreachable(m.in.To, brief(err))
		case err != nil: // it keeps it
			return "", nil
		}
		definition = own
	}
	if err := m.to.Define(ctx, definition); err != nil {
		if at := m.a.look(ctx, m.to, m.in.VM.UUID); isUnanswered(err) || !at.Absent {
			return "", unreachable(m.in.To, brief(err))
		}
		return brief(err), nil
	}
	if _, err := m.to.Domain(ctx, m.in.VM.UUID); err != nil {
		return "", moveRefused(m.in.To, err)
	}
	m.note(redefined)
	return "", nil
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
