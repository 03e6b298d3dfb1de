package contract

import (
	"time"

	"holdfast/internal/fault"
	"holdfast/internal/ladder"
)

// Stage is how far an incident has come. While a rung is climbed the stage is
// the rung's name, and it stays the last rung climbed once the incident closed.
type Stage string

// Stages that are no rung.
const (
	StageConfirm     Stage = "confirm"      // asking the hosts whether the fault is real
	StageWait        Stage = "wait"         // for a host or a worker that does not answer
	StageNeedsPerson Stage = "needs person" // nothing more is done until a person acts
	StageObserve     Stage = "observe"      // saying what would be done, in observe mode
	StageWatch       Stage = "watch"        // nothing but a person can mend it: until it is over
	StageHeld        Stage = "held"         // a person wants hands off
)

// StageOf is the stage in which a rung is climbed.
func StageOf(r ladder.Rung) Stage { return Stage(r) }

// Outcome is how an incident ended.
type Outcome string

// Outcomes. An open incident has none.
const (
	OutcomeRecovered Outcome = "recovered"   // a rung was climbed and it verified
	OutcomeCleared   Outcome = "cleared"     // the VM ran without anything done by this incident
	OutcomeStoodDown Outcome = "stood down"  // a person wants the VM as it is
	OutcomeCancelled Outcome = "cancelled"   // a person cancelled the incident
	OutcomeHandBack  Outcome = "person done" // it needed a person, who brought the VM back
)

// Entry is one line of an incident's story.
type Entry struct {
	At    time.Time `json:"at"`
	Stage Stage     `json:"stage"`
	Text  string    `json:"text"`
}

// Incident is the durable record of handling one fault to its end: the answer
// to QueryIncident and the result of RecoverVM and WatchFault.
type Incident struct {
	ID    string      `json:"id"`
	Site  string      `json:"site"`
	VM    fault.VM    `json:"vm"`
	Host  string      `json:"host"`
	Fault fault.Fault `json:"fault"`
	// Also are faults that stand besides, without their Elsewhere. No rung
	// mends them, and the incident stays open until they are over.
	Also []fault.Fault `json:"also,omitempty"`
	// More counts the faults that reached the incident while it was open.
	More    int     `json:"more,omitempty"`
	Stage   Stage   `json:"stage"`
	Outcome Outcome `json:"outcome,omitempty"`
	// Why is the newest decision's reason.
	Why string `json:"why"`
	// Next says what is going to happen, while the incident is open.
	Next        string `json:"next,omitempty"`
	NeedsPerson bool   `json:"needsPerson,omitempty"`

	Opened   time.Time `json:"opened"`
	Started  time.Time `json:"started,omitzero"`  // when a start of the VM last took, by the worker's clock
	Verified time.Time `json:"verified,omitzero"` // when it was found to have stayed running
	Closed   time.Time `json:"closed,omitzero"`

	Attempts []ladder.Attempt `json:"attempts,omitempty"`
	Timeline []Entry          `json:"timeline"`

	// Evidence is what was gathered before state was destroyed, oldest first.
	Evidence []EvidenceSet `json:"evidence,omitempty"`

	// Proposal is what waits for a person's approval; nil: nothing does.
	Proposal *Proposal `json:"proposal,omitempty"`
	// Held says who wants nothing more done by this incident, and why; empty: nobody.
	Held string `json:"held,omitempty"`
	// Acts are what people told the incident, oldest first.
	Acts []Act `json:"acts,omitempty"`
	// Decisions are the decisions that differ from the one before, oldest first.
	Decisions []Decided `json:"decisions,omitempty"`
}

// RecoverInput starts RecoverVM.
type RecoverInput struct {
	ID    string      `json:"id"`
	Fault fault.Fault `json:"fault"`
	// Recent are the attempts of earlier incidents of this VM, for its budget.
	Recent []ladder.Attempt `json:"recent,omitempty"`
	// Carry is the record so far, when an incident that waits long continues as new.
	Carry *Incident `json:"carry,omitempty"`
	// OursStopped and Forgiven go with Carry: whether the incident itself stopped
	// the VM, and the time before which attempts count no more.
	OursStopped bool      `json:"oursStopped,omitempty"`
	Forgiven    time.Time `json:"forgiven,omitzero"`
	// Restore is the snapshot that a person wants the VM put back to, and Backup the
	// backup. They go with Ordered, which may also be set from the start.
	Restore string     `json:"restore,omitempty"`
	Backup  *BackupRef `json:"backup,omitempty"`
	// Approved, Rejected and Ordered go with Carry: what people said of rungs.
	Approved []ladder.Rung   `json:"approved,omitempty"`
	Rejected []ladder.Turned `json:"rejected,omitempty"`
	Ordered  ladder.Rung     `json:"ordered,omitempty"`
	// Undo goes with Carry: how to undo what has not verified.
	Undo []Undo `json:"undo,omitempty"`
	// Down and Undoing go with Carry: the incident has stopped the VM and asked for no
	// start since; what is in Undo comes before anything else.
	Down    bool `json:"down,omitempty"`
	Undoing bool `json:"undoing,omitempty"`
	// Been goes with Carry: the hosts between which it has moved the VM.
	Been []string `json:"been,omitempty"`
	// Asked goes with Carry: a person asked for the repair, so that it is made in
	// observe mode too.
	Asked bool `json:"asked,omitempty"`
}

// WatchInput starts WatchFault.
type WatchInput struct {
	ID    string      `json:"id"`
	Fault fault.Fault `json:"fault"`
	// Carry is the record so far, when an incident continues as new.
	Carry *Incident `json:"carry,omitempty"`
	// Adopted goes with Carry: the record must be told of the end.
	Adopted bool `json:"adopted,omitempty"`
}

// Cleared says that a fault is gone, and what was seen instead.
type Cleared struct {
	FaultID string         `json:"faultId"`
	Seen    fault.Sighting `json:"seen"`
}

// Status is what an incident tells its guardian about how it waits.
type Status struct {
	ID          string `json:"id"`
	NeedsPerson bool   `json:"needsPerson"`
	// Watches: it waits for its faults to be over, and wants to hear that they are
	// still true: no rung mends them.
	Watches bool `json:"watches,omitempty"`
	// Observes: it acts when a person asks, and does not ask for one.
	Observes bool `json:"observes,omitempty"`
}

// Adopted says that the record which opened an incident has continued as new: it
// no longer sees by itself how the incident ends.
type Adopted struct {
	ID string `json:"id"` // of the incident
}

// Ended is how an incident that was adopted has ended.
type Ended struct {
	ID       string           `json:"id"`
	Source   string           `json:"source,omitempty"` // of its fault
	Outcome  Outcome          `json:"outcome,omitempty"`
	Attempts []ladder.Attempt `json:"attempts,omitempty"`
}

// Retry asks an incident that waits for a person to try again.
type Retry struct {
	By  string `json:"by"`
	Why string `json:"why,omitempty"`
}

// RecoverRequest asks a guardian to recover its VM now.
type RecoverRequest struct {
	Site string   `json:"site"`
	VM   fault.VM `json:"vm"`
	// Host is where the VM is, if the asker knows.
	Host string `json:"host,omitempty"`
	By   string `json:"by"`
	Why  string `json:"why,omitempty"`
}

// RecoverReply says which incident has the VM.
type RecoverReply struct {
	IncidentID string `json:"incidentId"`
	// Already: the incident was open before the request.
	Already bool `json:"already"`
	// Retrying: it was waiting for a person and tries again now.
	Retrying bool `json:"retrying,omitempty"`
	// Watching: no rung mends its fault. The request has the VM started
	// if it does not run, and nothing else.
	Watching bool `json:"watching,omitempty"`
}

// GuardianInput starts or continues a VM workflow.
type GuardianInput struct {
	Site string   `json:"site"`
	VM   fault.VM `json:"vm"`
	// Memory is what an earlier run of the same guardian remembers.
	Memory Memory `json:"memory,omitzero"`
}

// Memory is what a guardian remembers between operations.
type Memory struct {
	// Recent are attempts that may still count against the VM's budget, oldest first.
	Recent []ladder.Attempt `json:"recent,omitempty"`
	// Handled are the IDs of faults whose incident has closed, oldest first.
	Handled []string `json:"handled,omitempty"`
	// Dismissed are the IDs of faults whose incident a person cancelled.
	Dismissed []string `json:"dismissed,omitempty"`
	// LastClosed is when the last incident closed.
	LastClosed time.Time `json:"lastClosed,omitzero"`
	// LastID is the ID of the last incident.
	LastID string `json:"lastId,omitempty"`
	// Open are the incidents that were open when it continued as new.
	Open []OpenIncident `json:"open,omitempty"`
}

// OpenIncident is what a guardian or a record knows of an incident that is open.
type OpenIncident struct {
	ID   string     `json:"id"`
	Slot string     `json:"slot,omitempty"`
	Kind fault.Kind `json:"kind"` // of the newest fault that it was told
	// Faults are the IDs of the faults that it knows of, Alerts of those among them
	// that are alerts from outside.
	Faults []string `json:"faults,omitempty"`
	Alerts []string `json:"alerts,omitempty"`
	Status Status   `json:"status"` // as it last told
}

// RecordInput starts or continues a Host or a Site workflow.
type RecordInput struct {
	Site string `json:"site"`
	Host string `json:"host,omitempty"` // empty for the site's own record
	// Memory, Condition and Since are what an earlier run remembers.
	Memory    Memory    `json:"memory,omitzero"`
	Condition Condition `json:"condition,omitempty"`
	Since     time.Time `json:"since,omitzero"`
}

// Condition is how a host stands, as far as its faults say.
type Condition string

// Conditions. Fencing and recovery will add theirs.
const (
	HostUp      Condition = "up"
	HostSuspect Condition = "suspect" // it does not answer; its VMs may run
	HostDown    Condition = "down"    // its power supply says that it is off
)

// ConditionUnder is the condition of a host that has a fault of this kind.
func ConditionUnder(k fault.Kind) Condition {
	switch k {
	case fault.KindHostOff:
		return HostDown
	case fault.KindHostUnreachable, fault.KindLibvirtdDead, fault.KindLibvirtdHung:
		return HostSuspect
	}
	return HostUp
}

// RecordState is the answer to QueryRecord.
type RecordState struct {
	Site string `json:"site"`
	Host string `json:"host,omitempty"`
	// Condition of the host, and since when; empty for a site's record.
	Condition Condition      `json:"condition,omitempty"`
	Since     time.Time      `json:"since,omitzero"`
	Open      []OpenIncident `json:"open,omitempty"`
	Memory    Memory         `json:"memory"`
}

// GuardianState is the answer to QueryGuardian.
type GuardianState struct {
	Site    string   `json:"site"`
	VM      fault.VM `json:"vm"`
	Current string   `json:"current,omitempty"` // ID of the running incident
	Memory  Memory   `json:"memory"`
}
