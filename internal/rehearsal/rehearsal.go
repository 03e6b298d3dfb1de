// Package rehearsal replays the decisions that an incident recorded under another
// policy, for those who want to change theirs. It asks nobody and changes nothing.
package rehearsal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/ladder"
)

// Policies gives the policy for a fault of a VM with these labels and the mode of
// its annotation, as config.Site.PolicyFor does.
type Policies func(kind fault.Kind, labels map[string]string, annotated string) ladder.Policy

// Result is what a replay came to.
type Result struct {
	Incident  string     `json:"incident"`
	Decisions []Replayed `json:"decisions"`
	// Differ counts the decisions that would differ, Redecided those that this
	// release decides otherwise than recorded even under the recorded policy.
	Differ    int `json:"differ"`
	Redecided int `json:"redecided"`
}

// Replayed is a decision as it was, and as it would have been in the same
// situation.
type Replayed struct {
	At   time.Time  `json:"at"`
	Kind fault.Kind `json:"kind"` // of the fault at that time
	// Tried counts the tries that the situation knew of: those after the first
	// decision that differs might not have come about.
	Tried int             `json:"tried"`
	Was   ladder.Decision `json:"was"`
	Would ladder.Decision `json:"would"`
	// Differs: something else would have been done. What is done for another reason
	// does not count.
	Differs bool `json:"differs"`
	// Release is what this release decides under the recorded policy, where that does
	// something else than what was recorded; nil: it does not.
	Release *ladder.Decision `json:"release,omitempty"`
	// Policy is what differs between the two policies.
	Policy []Change `json:"policy,omitempty"`
}

// ErrNoDecisions is for an incident of which nothing can be replayed.
var ErrNoDecisions = errors.New("it has no recorded decisions")

// Replay decides everything that the incident decided once more. The error is an
// [ErrNoDecisions] that says why there are none.
func Replay(inc contract.Incident, policies Policies) (Result, error) {
	if len(inc.Decisions) == 0 {
		if s := inc.Fault.Kind.Subject(); s != fault.SubjectVM {
			return Result{}, fmt.Errorf("%w: it is about a %s, for which no policy decides anything yet", ErrNoDecisions, s)
		}
		return Result{}, fmt.Errorf("%w: it was opened by a release that did not record them, or has not decided anything yet", ErrNoDecisions)
	}
	out := Result{Incident: inc.ID, Decisions: make([]Replayed, len(inc.Decisions))}
	for i, d := range inc.Decisions {
		r := replay(d, policies)
		out.Decisions[i] = r
		if r.Differs {
			out.Differ++
		}
		if r.Release != nil {
			out.Redecided++
		}
	}
	return out, nil
}

func replay(d contract.Decided, policies Policies) Replayed {
	s := d.Situation
	recorded := s.Policy
	tested := policies(s.Fault.Kind, s.Fault.Labels, s.Fault.Mode)
	// These two are the VM's own, and not the site file's.
	tested.Held, tested.AgentExpected = recorded.Held, recorded.AgentExpected

	r := Replayed{At: d.At, Kind: s.Fault.Kind, Tried: len(s.Tried), Was: d.Decision, Policy: Changes(recorded, tested)}
	if now := ladder.Next(s); !sameDeed(now, d.Decision) {
		r.Release = &now
	}
	s.Policy = tested
	r.Would = ladder.Next(s)
	r.Differs = !sameDeed(r.Was, r.Would)
	if r.Was.Action == ladder.ActApprove && r.Would.Action == ladder.ActApprove && ApprovalText(recorded) != ApprovalText(tested) {
		r.Differs = true
	}
	return r
}

// SameReason reports that a decision would be made in the same words, with the
// same rungs turned down.
func (r Replayed) SameReason() bool {
	was, would := r.Was, r.Would
	return was.Why == would.Why && same(ladder.Decision{Turned: was.Turned}, ladder.Decision{Turned: would.Turned})
}

// sameDeed reports that the same is done, for whatever reason.
func sameDeed(a, b ladder.Decision) bool {
	a.Why, b.Why, a.Turned, b.Turned = "", "", nil, nil
	return same(a, b)
}

// same compares what would be recorded: an empty list is as good as none.
func same(a, b ladder.Decision) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
