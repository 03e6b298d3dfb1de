package detect

import (
	"fmt"
	"time"

	"holdfast/internal/detect/rules"
	"holdfast/internal/fault"
)

// ruled turns what rules say into changes of faults. about makes the fault that
// a rule's subject would have.
func (e *Engine) ruled(said []rules.Change, at time.Time, about func(r *rules.Rule, device string) fault.Fault) []Change {
	var changes []Change
	for _, c := range said {
		f := about(c.Rule, c.Device)
		f.Kind, f.Rule, f.Level, f.Response = c.Rule.Kind, c.Rule.Name, c.Rule.Level, c.Rule.Response
		slot := f.Slot()
		if c.Kind == rules.Cleared {
			by := f.Seen
			by.Host, by.At = f.Host, wall(at)
			by.State, by.Reason = "measured", c.Why
			changes = append(changes, e.drop(at, slot, by)...)
			continue
		}
		f.First, f.Why = c.Since, fmt.Sprintf("%s: %s", f.Subject(), c.Why)
		f.Evidence = []fault.Evidence{{What: string(c.Rule.Metric), Value: c.Why, Since: wall(c.Since), At: wall(at)}}
		out := e.hold(at, f)
		if s := e.stand[slot]; s != nil {
			s.fault.Flapping = c.Flapping
			out[len(out)-1].Fault.Flapping = c.Flapping
		}
		changes = append(changes, out...)
	}
	return changes
}

// NodeSampled takes a sample of the machine under a host, and of what its agent
// says, if there is one.
func (e *Engine) NodeSampled(host string, at time.Time, s rules.NodeSample) []Change {
	n := e.nodes[host]
	if n == nil {
		return nil
	}
	if n.track == nil {
		n.track = e.book.For(fault.SubjectHost, nil, nil).NewTrack(at)
	}
	e.values.Reset()
	n.meter.Take(&s, &e.values)
	changes := e.ruled(n.track.Take(at, &e.values), at, func(r *rules.Rule, device string) fault.Fault {
		return fault.Fault{Host: host, Device: device}
	})
	if !n.memory.IsZero() && at.Sub(n.memory) >= memoryQuiet {
		n.memory = time.Time{}
		changes = append(changes, e.release(at, fault.Fault{Kind: fault.KindMemoryErrors, Host: host}.Slot(), n.answers())...)
	}
	return changes
}

// lateTimes is how many samples in a row must be late.
const lateTimes = 3

// Lateness notes how much later than planned an answering host was sampled.
func (e *Engine) Lateness(host string, at time.Time, by time.Duration) []Change {
	slot := fault.SiteSlot(fault.KindLate)
	if by <= 2*e.o.Period {
		delete(e.late, host)
		if len(e.late) == 0 {
			return e.release(at, slot, fault.Sighting{Host: e.o.Reporter, State: "in time", At: wall(at)})
		}
		return nil
	}
	e.late[host]++
	if e.late[host] < lateTimes {
		return nil
	}
	return e.hold(at, fault.Fault{
		Kind: fault.KindLate, Why: fmt.Sprintf("%s samples hosts late: %s came %s after its time, and the period is %s", e.o.Reporter, host, by.Round(time.Second), e.o.Period),
		Evidence: []fault.Evidence{{What: "lateness of " + host, Value: by.Round(time.Millisecond).String(), At: wall(at)}},
	})
}

// TemporalAway notes since when Temporal takes no reports, and why; a zero since
// means that it does.
func (e *Engine) TemporalAway(at, since time.Time, why string) []Change {
	slot := fault.SiteSlot(fault.KindTemporalAway)
	if since.IsZero() {
		return e.release(at, slot, fault.Sighting{Host: "Temporal", State: "answers", At: wall(at)})
	}
	return e.hold(at, fault.Fault{
		Kind: fault.KindTemporalAway, First: since,
		Why:      fmt.Sprintf("Temporal has taken no report since %s: %s. Faults are kept and sent when it is back; nothing is repaired until then", clock(since), why),
		Evidence: []fault.Evidence{{What: "last error", Value: why, Since: wall(since), At: wall(at)}},
	})
}
