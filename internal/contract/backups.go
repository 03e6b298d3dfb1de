package contract

import (
	"time"

	"holdfast/internal/fault"
	"holdfast/internal/proof"
)

// Backup is a copy of a VM's disks, apart from them. The fields are those of
// hypervisor.Backup.
type Backup struct {
	Name        string       `json:"name"`
	Description string       `json:"description,omitempty"`
	Created     time.Time    `json:"created"`
	Parent      string       `json:"parent,omitempty"`
	Kept        bool         `json:"kept,omitempty"`
	Quiesced    bool         `json:"quiesced,omitempty"`
	Why         string       `json:"why,omitempty"`
	Disks       []BackupDisk `json:"disks"`
}

// Bytes is how long its files are together; 0 of one that was kept.
func (b Backup) Bytes() (n uint64) {
	for _, d := range b.Disks {
		n += d.Bytes
	}
	return n
}

// BackupDisk is the copy of one disk, as hypervisor.BackupDisk has it.
type BackupDisk struct {
	Target string `json:"target"`
	File   string `json:"file"`
	Format string `json:"format"`
	Bytes  uint64 `json:"bytes,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
}

// BackupVerb is what a person wants of a VM's backups.
type BackupVerb string

// Verbs. To restore one is an incident of its own: see BackupReply.
const (
	BackupList    BackupVerb = "list"
	BackupCreate  BackupVerb = "create"
	BackupCheck   BackupVerb = "check"
	BackupDelete  BackupVerb = "delete"
	BackupRestore BackupVerb = "restore"
)

// BackupInput is what is to be done on a host.
type BackupInput struct {
	VM   fault.VM   `json:"vm"`
	Host string     `json:"host"`
	Verb BackupVerb `json:"verb"`
	Name string     `json:"name,omitempty"`
	// In is the pool or the folder that the backups are in; empty: the one of the
	// site file. A new one is made there only.
	In string `json:"in,omitempty"`
	// Of BackupCreate, as hypervisor.BackupOptions has them. A VM that runs gets its
	// file systems frozen for the moment if its agent answers, unless NoFreeze.
	Description string `json:"description,omitempty"`
	Full        bool   `json:"full,omitempty"`
	NoFreeze    bool   `json:"noFreeze,omitempty"`
	// Boot is of BackupCheck: one that is as it was written is booted as well. Within is
	// as in TrialInput.
	Boot   bool          `json:"boot,omitempty"`
	Within time.Duration `json:"within,omitempty"`
}

// BackupRequest asks a guardian for something about its VM's backups.
type BackupRequest struct {
	Site string `json:"site"`
	By   string `json:"by"`
	Why  string `json:"why,omitempty"`
	BackupInput
}

// BackupReply says what came of it.
type BackupReply struct {
	In      string   `json:"in"` // the pool or the folder that they are in
	Backups []Backup `json:"backups"`
	// Already: it was so before.
	Already bool `json:"already,omitempty"`
	// Note is what a person should know besides, such as that nothing was frozen.
	Note string        `json:"note,omitempty"`
	Took time.Duration `json:"took,omitempty"`
	// IncidentID is the incident that restores a backup.
	IncidentID string `json:"incidentId,omitempty"`
	// Trial is what came of Boot.
	Trial *TrialResult `json:"trial,omitempty"`
}

// BackupRef is one backup of a VM.
type BackupRef struct {
	In   string `json:"in"`
	Name string `json:"name"`
}

// RestoreBackupInput asks for a VM to be put upon disks made from a backup. The VM
// must not run anywhere.
type RestoreBackupInput struct {
	VM        fault.VM         `json:"vm"`
	Host      string           `json:"host"`
	Elsewhere []fault.Sighting `json:"elsewhere,omitempty"`
	BackupRef
	// Keep is what the disks that it has are called as a backup from then on.
	Keep string `json:"keep"`
	// IfThere: that there is no such backup is no error, and nothing is done.
	IfThere bool `json:"ifThere,omitempty"`
}

// RestoreBackupResult says how it went.
type RestoreBackupResult struct {
	// Nothing was done: there is no such backup.
	Nothing bool          `json:"nothing,omitempty"`
	Took    time.Duration `json:"took"` // of the hypervisor's call alone
	At      time.Time     `json:"at"`
	Proofs  []proof.Proof `json:"proofs,omitempty"`
}
