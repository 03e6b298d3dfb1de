// Package contract is what the parts of Holdfast agree on when they talk
// through Temporal: workflow IDs, task queues, names of signals, updates and
// queries, their typed inputs, and search attributes. Names here are on disk in
// every operator's Temporal: they are added to, never changed.
package contract

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"

	"holdfast/internal/fault"
)

// WorkflowQueue is where workflow tasks run. It is never a site's own queue, or
// the failover of a dead site would wait for the dead.
const WorkflowQueue = "holdfast"

// SiteQueue is where the activities of a site run: those with libvirt access.
func SiteQueue(site string) string { return "holdfast.site." + site }

// MonitorQueue is where questions to the monitors of a site run.
func MonitorQueue(site string) string { return "holdfast.monitor." + site }

// Workflow types.
const (
	WorkflowVM         = "VM"
	WorkflowHost       = "Host"
	WorkflowSite       = "Site"
	WorkflowRecoverVM  = "RecoverVM"
	WorkflowWatchFault = "WatchFault"
	WorkflowInventory  = "Inventory"
	WorkflowSimFault   = "SimulateFault"
	WorkflowFaults     = "Faults"
	WorkflowExplain    = "Explain"
	WorkflowProbe      = "Probe"
	WorkflowRound      = "Round"
)

// IncidentTypes are the workflow types that are incidents.
func IncidentTypes() []string { return []string{WorkflowRecoverVM, WorkflowWatchFault} }

// Names of signals, updates and queries.
const (
	SignalFault    = "fault"    // fault.Fault: to a guardian or a record, or from it to its incident
	SignalCleared  = "cleared"  // Cleared: the fault is gone
	SignalStatus   = "status"   // Status: an incident tells its guardian
	SignalRetry    = "retry"    // Retry: a person wants an incident that waits for one to try again
	SignalLook     = "look"     // to an incident: what it decides by has changed, look again
	SignalAdopted  = "adopted"  // Adopted: an incident's record has continued as new
	SignalEnded    = "ended"    // Ended: an incident tells the record that adopted it
	UpdateRecover  = "recover"  // RecoverRequest -> RecoverReply
	UpdateAnnotate = "annotate" // AnnotateRequest -> AnnotateReply
	UpdateSnapshot = "snapshot" // SnapshotRequest -> SnapshotReply
	UpdateBackup   = "backup"   // BackupRequest -> BackupReply
	QueryGuardian  = "guardian"
	QueryRecord    = "record"
	QueryIncident  = "incident"
	QueryRound     = "round" // RoundResult
)

// GuardianID is the workflow that owns a VM while anything is being done to it.
func GuardianID(site, uuid string) string { return fmt.Sprintf("vm/%s/%s", site, uuid) }

// HostRecordID is the workflow that owns a host.
func HostRecordID(site, host string) string { return fmt.Sprintf("host/%s/%s", site, host) }

// SiteRecordID is the workflow that owns what belongs to no host: the site's
// storage pools, and the site itself.
func SiteRecordID(site string) string { return "site/" + site }

// ProbeID is one at a time for a host.
func ProbeID(site, host string) string { return fmt.Sprintf("probe/%s/%s", site, host) }

// ExplainID is one at a time for a VM or a host, as it was called.
func ExplainID(site, name string) string { return fmt.Sprintf("explain/%s/%s", site, name) }

// FaultsID is one at a time for a question: whoever asks the same meanwhile
// shares the answer.
func FaultsID(in FaultsInput) string {
	return fmt.Sprintf("faults/%s/%s/%s/%s/%s/%s", in.Site, in.Kind, in.VM, in.Host, in.Level, in.Slot)
}

// InventoryID is one at a time for a site: whoever asks meanwhile shares the answer.
func InventoryID(site string) string { return "inventory/" + site }

var plainName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// IncidentID names an incident so that a person can read it and type it. The
// last part is the UTC second in which it was opened: unique, as a VM has one
// incident at a time, and sorted by age also over restarts of the guardian.
func IncidentID(site, name, uuid string, opened time.Time) string {
	if !plainName.MatchString(name) {
		name = uuid
	}
	return fmt.Sprintf("incident/%s/%s/%s", site, name, opened.UTC().Format("20060102-150405"))
}

var notPlain = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// FaultIncidentID is IncidentID for whatever the fault is about.
func FaultIncidentID(f fault.Fault, opened time.Time) string {
	if f.Kind.Subject() == fault.SubjectVM {
		return IncidentID(f.Site, f.VM.Name, f.VM.UUID, opened)
	}
	plain := notPlain.ReplaceAllString(f.Subject(), "-")
	return IncidentID(f.Site, plain[:min(len(plain), 64)], "unnamed", opened)
}

// IncidentSubject is the part of an incident's ID that says what it is about;
// empty if it is no incident's.
func IncidentSubject(id string) string {
	if parts := strings.Split(id, "/"); len(parts) == 4 && parts[0] == "incident" {
		return parts[2]
	}
	return ""
}

// Search attributes. All but the last are of type Keyword.
var (
	AttrSite          = temporal.NewSearchAttributeKeyKeyword("Site")
	AttrHost          = temporal.NewSearchAttributeKeyKeyword("Host")
	AttrVM            = temporal.NewSearchAttributeKeyKeyword("VM")
	AttrFaultKind     = temporal.NewSearchAttributeKeyKeyword("FaultKind")
	AttrStage         = temporal.NewSearchAttributeKeyKeyword("Stage")
	AttrOutcome       = temporal.NewSearchAttributeKeyKeyword("Outcome")
	AttrNeedsApproval = temporal.NewSearchAttributeKeyBool("NeedsApproval")
)

// SearchAttributes lists every search attribute a Temporal namespace must have.
func SearchAttributes() []temporal.SearchAttributeKey {
	return []temporal.SearchAttributeKey{AttrSite, AttrHost, AttrVM, AttrFaultKind, AttrStage, AttrOutcome, AttrNeedsApproval}
}
