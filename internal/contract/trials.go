package contract

import (
	"time"

	"holdfast/internal/fault"
)

const (
	// DefaultTrialWithin is how long a trial has if nobody says otherwise.
	DefaultTrialWithin = 5 * time.Minute
	// LongestTrial is the most that it may have.
	LongestTrial = time.Hour
)

// TrialInput asks whether a snapshot of a VM, or a backup, boots. A throw-away copy
// of the VM is started upon it, without network, beside the VM if that runs.
type TrialInput struct {
	VM   fault.VM `json:"vm"`
	Host string   `json:"host"`
	// One of the two.
	Snapshot string     `json:"snapshot,omitempty"`
	Backup   *BackupRef `json:"backup,omitempty"`
	// Within is how long its guest has to get up; 0 means DefaultTrialWithin.
	Within time.Duration `json:"within,omitempty"`
	// StableFor is how long a guest has to run of which nobody knows that it has an
	// agent; 0 means 1 min, and at most half of Within.
	StableFor time.Duration `json:"stableFor,omitempty"`
}

// Of is what is tried, in words.
func (in TrialInput) Of() string {
	if in.Backup != nil {
		return "backup " + in.Backup.Name
	}
	return "snapshot " + in.Snapshot
}

// TrialProof is by what a guest was found to have got up.
type TrialProof string

// Proofs of a trial.
const (
	TrialByAgent TrialProof = "agent" // its guest agent answered
	// TrialByRunning: it has read its disks and run for a while. That is less: nobody
	// knows that it has an agent, and none answered.
	TrialByRunning TrialProof = "running"
)

// TrialResult is the finding. What does not boot is a finding, not an error; what
// cannot be tried is an error.
type TrialResult struct {
	Booted bool       `json:"booted"`
	By     TrialProof `json:"by,omitempty"`
	// Why is what was seen, in words.
	Why  string        `json:"why"`
	Took time.Duration `json:"took"` // from its start until that was seen
	At   time.Time     `json:"at"`
	// Screen is what was on its screen then, of one that did not boot, if evidence is
	// kept; EvidenceID is what it is kept under.
	Screen     *EvidenceItem `json:"screen,omitempty"`
	EvidenceID string        `json:"evidenceId,omitempty"`
}
