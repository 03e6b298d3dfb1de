// Package contract is what the parts of Holdfast agree on when they talk
// through Temporal: workflow IDs, task queues, names of signals, updates and
// queries, their typed inputs, and search attributes. Names here are on disk in
// every operator's Temporal: they are added to, never changed.
package contract

import (
	"fmt"
	"regexp"
	"time"

	"go.temporal.io/sdk/temporal"
)

// WorkflowQueue is where workflow tasks run. It is never a site's own queue, or
// the failover of a dead site would wait for the dead.
const WorkflowQueue = "holdfast"

// SiteQueue is where the activities of a site run: those with libvirt access.
func SiteQueue(site string) string { return "holdfast.site." + site }

// Workflow types.
const (
	WorkflowVM        = "VM"
	WorkflowRecoverVM = "RecoverVM"
	WorkflowInventory = "Inventory"
	WorkflowSimFault  = "SimulateFault"
)

// Names of signals, updates and queries.
const (
	SignalFault   = "fault"   // fault.Fault: to a guardian, or from it to its incident
	SignalCleared = "cleared" // Cleared: the fault is gone
	SignalStatus  = "status"  // Status: an incident tells its guardian
	SignalRetry   = "retry"   // Retry: a person wants an incident that waits for one to try again
	UpdateRecover = "recover" // RecoverRequest -> RecoverReply
	QueryGuardian = "guardian"
	QueryIncident = "incident"
)

// GuardianID is the workflow that owns a VM while anything is being done to it.
func GuardianID(site, uuid string) string { return fmt.Sprintf("vm/%s/%s", site, uuid) }

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
