package starter

import (
	"context"
	"errors"
	"fmt"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
)

// keeper is the workflow that takes the faults of a subject: how it is started,
// or found if it runs.
type keeper struct {
	options client.StartWorkflowOptions
	name    string // its type
	input   any
}

// keeperOf is the guardian of a VM, or the record of a host or of a site.
func keeperOf(f fault.Fault) keeper {
	switch f.Kind.Subject() {
	case fault.SubjectVM:
		return keeper{guardianOptions(f.Site, f.VM), contract.WorkflowVM, contract.GuardianInput{Site: f.Site, VM: f.VM}}
	case fault.SubjectHost:
		o := recordOptions(contract.HostRecordID(f.Site, f.Host), f.Site, contract.AttrHost.ValueSet(f.Host))
		o.StaticSummary = fmt.Sprintf("record of host %s at site %s", f.Host, f.Site)
		return keeper{o, contract.WorkflowHost, contract.RecordInput{Site: f.Site, Host: f.Host}}
	}
	o := recordOptions(contract.SiteRecordID(f.Site), f.Site)
	o.StaticSummary = "record of site " + f.Site
	return keeper{o, contract.WorkflowSite, contract.RecordInput{Site: f.Site}}
}

func recordOptions(id, site string, attrs ...temporal.SearchAttributeUpdate) client.StartWorkflowOptions {
	return client.StartWorkflowOptions{
		ID:                       id,
		TaskQueue:                contract.WorkflowQueue,
		WorkflowTaskTimeout:      taskTimeout,
		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		TypedSearchAttributes:    temporal.NewSearchAttributes(append(attrs, contract.AttrSite.ValueSet(site))...),
	}
}

// ReportFault brings a fault to whoever keeps its subject: the guardian of a VM,
// the record of a host, or that of the site for its storage pools and itself. It
// is started if it does not run. A fault that opens no incident is left alone.
// Saying the same fault twice is harmless.
func (c *Client) ReportFault(ctx context.Context, f fault.Fault) error {
	if err := f.Validate(); err != nil {
		return err
	}
	if f.Respond() != fault.RespondIncident {
		return nil
	}
	k := keeperOf(f)
	_, err := c.temporal.SignalWithStartWorkflow(ctx, k.options.ID, contract.SignalFault, f, k.options, k.name, k.input)
	return err
}

// ReportCleared tells whoever keeps the subject of a fault that it is gone. That
// nobody does means that nobody waits for it.
func (c *Client) ReportCleared(ctx context.Context, f fault.Fault, seen fault.Sighting) error {
	if f.Respond() != fault.RespondIncident {
		return nil
	}
	err := c.temporal.SignalWorkflow(ctx, keeperOf(f).options.ID, "", contract.SignalCleared,
		contract.Cleared{FaultID: f.ID, Seen: seen})
	var gone *serviceerror.NotFound
	if errors.As(err, &gone) {
		return nil
	}
	return err
}

// Record returns how a host stands, or what is open for a site if host is
// empty. False: it has no record, as nothing has happened for a while.
func (c *Client) Record(ctx context.Context, site, host string) (contract.RecordState, bool, error) {
	id := contract.SiteRecordID(site)
	if host != "" {
		id = contract.HostRecordID(site, host)
	}
	var out contract.RecordState
	value, err := c.temporal.QueryWorkflow(ctx, id, "", contract.QueryRecord)
	var gone *serviceerror.NotFound
	if errors.As(err, &gone) {
		return out, false, nil
	}
	if err != nil {
		return out, false, explain(err)
	}
	if err := value.Get(&out); err != nil {
		return out, false, fmt.Errorf("record %s: %w", id, err)
	}
	return out, true, nil
}
