package contract

import (
	"strings"
	"time"

	"holdfast/internal/fault"
	"holdfast/internal/proof"
)

// KeptPrefix begins the names of snapshots and backups that keep the state of a VM
// from before it was put back to another one.
const KeptPrefix = "holdfast-before-"

// KeptName is the name of what keeps a VM's state from before an incident puts it
// back.
func KeptName(incidentID string) string {
	return KeptPrefix + incidentID[strings.LastIndexByte(incidentID, '/')+1:]
}

// Snapshot is a snapshot of a VM, on the host that knows of it. The fields are
// those of hypervisor.Snapshot.
type Snapshot struct {
	Name        string    `json:"name"`
	Description string    `json:"description,omitempty"`
	Parent      string    `json:"parent,omitempty"`
	Created     time.Time `json:"created"`
	Memory      bool      `json:"memory,omitempty"`
	External    bool      `json:"external,omitempty"`
	Current     bool      `json:"current,omitempty"`
	State       string    `json:"state"`
	Disks       []string  `json:"disks"`
	Host        string    `json:"host"`
	// Kept: it is what a VM was before it was put back to another snapshot.
	Kept bool `json:"kept,omitempty"`
}

// SnapshotVerb is what a person wants of a VM's snapshots.
type SnapshotVerb string

// Verbs. To restore one is an incident of its own: see SnapshotReply.
const (
	SnapshotList    SnapshotVerb = "list"
	SnapshotCreate  SnapshotVerb = "create"
	SnapshotDelete  SnapshotVerb = "delete"
	SnapshotRestore SnapshotVerb = "restore"
	// SnapshotTurn makes the one that a schedule wants and prunes older ones of
	// schedules; SnapshotPrune only prunes.
	SnapshotTurn  SnapshotVerb = "turn"
	SnapshotPrune SnapshotVerb = "prune"
	// SnapshotVerify boots a throw-away copy of the VM from one.
	SnapshotVerify SnapshotVerb = "verify"
)

// SnapshotInput is what is to be done on a host.
type SnapshotInput struct {
	VM   fault.VM     `json:"vm"`
	Host string       `json:"host"`
	Verb SnapshotVerb `json:"verb"`
	Name string       `json:"name,omitempty"`
	// Of SnapshotCreate, as hypervisor.SnapshotOptions has them. A VM that runs gets
	// its file systems frozen for the moment if its agent answers, unless NoFreeze.
	Description string `json:"description,omitempty"`
	Memory      bool   `json:"memory,omitempty"`
	External    bool   `json:"external,omitempty"`
	NoFreeze    bool   `json:"noFreeze,omitempty"`
	// Turn is of SnapshotTurn and SnapshotPrune.
	Turn *TurnInput `json:"turn,omitempty"`
	// Within is of SnapshotVerify, as TrialInput has it.
	Within time.Duration `json:"within,omitempty"`
}

// SnapshotRequest asks a guardian for something about its VM's snapshots.
type SnapshotRequest struct {
	Site string `json:"site"`
	By   string `json:"by"`
	Why  string `json:"why,omitempty"`
	SnapshotInput
}

// SnapshotReply says what came of it.
type SnapshotReply struct {
	Snapshots []Snapshot `json:"snapshots"`
	// Already: it was so before.
	Already bool `json:"already,omitempty"`
	// Note is what a person should know besides, such as that nothing was frozen.
	Note string        `json:"note,omitempty"`
	Took time.Duration `json:"took,omitempty"`
	// IncidentID is the incident that restores a snapshot.
	IncidentID string `json:"incidentId,omitempty"`
	// Turn is what came of SnapshotTurn and SnapshotPrune.
	Turn *Turn `json:"turn,omitempty"`
	// Trial is what came of SnapshotVerify.
	Trial *TrialResult `json:"trial,omitempty"`
}

// RevertInput asks for a VM's disks to be put back to a snapshot. The VM must not
// run anywhere.
type RevertInput struct {
	VM        fault.VM         `json:"vm"`
	Host      string           `json:"host"`
	Elsewhere []fault.Sighting `json:"elsewhere,omitempty"`
	Name      string           `json:"name"`
}

// RevertResult says how it went.
type RevertResult struct {
	// Running: the snapshot had the guest's memory, so that the VM runs.
	Running bool          `json:"running,omitempty"`
	Took    time.Duration `json:"took"` // of the hypervisor's call alone
	At      time.Time     `json:"at"`
	Proofs  []proof.Proof `json:"proofs,omitempty"`
}

// StockInput asks what a VM could be put back to, as it was before a time.
type StockInput struct {
	VM     fault.VM  `json:"vm"`
	Host   string    `json:"host"`
	Before time.Time `json:"before"`
	// Name is the snapshot that a person wants; empty: the newest.
	Name string `json:"name,omitempty"`
	// Backup is the backup that a person wants; nil: the newest.
	Backup *BackupRef `json:"backup,omitempty"`
}
