package contract

import (
	"time"

	"holdfast/internal/ladder"
)

// Verb is what a person can tell an incident.
type Verb string

// Verbs; each is the name of an update of RecoverVM.
const (
	VerbApprove Verb = "approve" // climb the rung that waits for approval, or another one
	VerbReject  Verb = "reject"  // pass it over in this incident
	VerbHold    Verb = "hold"    // do nothing more until it is resumed
	VerbResume  Verb = "resume"  // go on after a hold
	VerbCancel  Verb = "cancel"  // end the incident, and undo what has not verified
	VerbRetry   Verb = "retry"   // try again with a new budget
)

// Verbs lists all of them.
func Verbs() []Verb {
	return []Verb{VerbApprove, VerbReject, VerbHold, VerbResume, VerbCancel, VerbRetry}
}

// Past is the verb as a story tells it.
func (v Verb) Past() string {
	switch v {
	case VerbHold:
		return "held"
	case VerbCancel:
		return "cancelled"
	case VerbRetry:
		return "asked for another try of"
	case VerbApprove, VerbResume:
		return string(v) + "d"
	}
	return string(v) + "ed"
}

// Act is what a person tells an incident.
type Act struct {
	Verb Verb      `json:"verb"`
	By   string    `json:"by"`
	Why  string    `json:"why"`
	At   time.Time `json:"at,omitzero"` // when it was taken; set by the incident
	// Rung is, of VerbApprove, what to climb instead of what was proposed; in the
	// record it is the rung that was meant, of VerbReject too.
	Rung ladder.Rung `json:"rung,omitempty"`
}

// ActReply is what comes of an Act.
type ActReply struct {
	IncidentID string `json:"incidentId"`
	// Said is what the incident does now, in words.
	Said string `json:"said"`
}

// Proposal is a rung that waits for a person's approval.
type Proposal struct {
	Rung ladder.Rung `json:"rung"`
	Host string      `json:"host"`
	// From is the snapshot or the backup that the VM would be put back to; a backup is
	// in the place that In names.
	From string    `json:"from,omitempty"`
	In   string    `json:"in,omitempty"`
	Why  string    `json:"why"`
	At   time.Time `json:"at"`
	// Until is when it is no longer waited for, and Then what is done then; the zero
	// time: it is waited for until somebody answers.
	Until time.Time       `json:"until,omitzero"`
	Then  ladder.Fallback `json:"then,omitempty"`
	// Escalated: it has been waited for in vain, and goes on being waited for.
	Escalated bool `json:"escalated,omitempty"`
}

// Decided is one decision of an incident, with all that it was made from.
type Decided struct {
	At        time.Time        `json:"at"`
	Situation ladder.Situation `json:"situation"`
	Decision  ladder.Decision  `json:"decision"`
}
