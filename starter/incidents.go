package starter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"

	"holdfast/internal/contract"
)

// IncidentFilter selects incidents. Empty fields select all.
type IncidentFilter struct {
	Site, VM, Host, Kind string
	// Subject is what it is about, as in its ID: a VM, a host, a storage pool or a site.
	Subject              string
	OpenOnly, ClosedOnly bool
	NeedsPerson          bool
	Limit                int // 0 means 50
}

// query is the filter in Temporal's list language.
func (f IncidentFilter) query() string {
	parts := []string{fmt.Sprintf("WorkflowType IN ('%s')", strings.Join(contract.IncidentTypes(), "', '"))}
	add := func(attr, value string) {
		if value != "" {
			parts = append(parts, fmt.Sprintf("%s = '%s'", attr, quoted(value)))
		}
	}
	add(contract.AttrSite.GetName(), f.Site)
	add(contract.AttrVM.GetName(), f.VM)
	add(contract.AttrHost.GetName(), f.Host)
	add(contract.AttrFaultKind.GetName(), f.Kind)
	if f.Subject != "" {
		parts = append(parts, fmt.Sprintf("WorkflowId STARTS_WITH 'incident/%s/%s/'", quoted(f.Site), quoted(f.Subject)))
	}
	if f.OpenOnly {
		parts = append(parts, "ExecutionStatus = 'Running'")
	}
	if f.ClosedOnly {
		parts = append(parts, "ExecutionStatus != 'Running'")
	}
	if f.NeedsPerson {
		parts = append(parts, contract.AttrNeedsApproval.GetName()+" = true")
	}
	return strings.Join(parts, " AND ")
}

func quoted(value string) string { return strings.ReplaceAll(value, "'", "\\'") }

// IncidentSummary is one incident as the list shows it.
type IncidentSummary struct {
	ID          string    `json:"id"`
	RunID       string    `json:"runId"`
	Site        string    `json:"site"`
	Subject     string    `json:"subject"` // what it is about: a VM, a host, a storage pool or the site
	VM          string    `json:"vm,omitempty"`
	Host        string    `json:"host"`
	Kind        string    `json:"kind"`
	Stage       string    `json:"stage"`
	Outcome     string    `json:"outcome,omitempty"`
	NeedsPerson bool      `json:"needsPerson,omitempty"`
	Open        bool      `json:"open"`
	Opened      time.Time `json:"opened"`
	Closed      time.Time `json:"closed,omitzero"`
}

// Incidents lists incidents, newest first, at most Limit of them.
func (c *Client) Incidents(ctx context.Context, f IncidentFilter) ([]IncidentSummary, error) {
	limit := f.Limit
	if limit <= 0 {
		limit = 50
	}
	var out []IncidentSummary
	var token []byte
	for {
		resp, err := c.temporal.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
			Query: f.query(), PageSize: int32(min(limit-len(out), 1000)), NextPageToken: token,
		})
		if err != nil {
			return nil, explain(err)
		}
		for _, e := range resp.GetExecutions() {
			out = append(out, summarize(e))
		}
		token = resp.GetNextPageToken()
		if len(token) == 0 || len(out) >= limit {
			return out, nil
		}
	}
}

// CountIncidents counts the incidents that the filter selects; Limit is ignored.
func (c *Client) CountIncidents(ctx context.Context, f IncidentFilter) (int, error) {
	resp, err := c.temporal.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{Query: f.query()})
	return int(resp.GetCount()), explain(err)
}

func summarize(e *workflowpb.WorkflowExecutionInfo) IncidentSummary {
	attrs := e.GetSearchAttributes().GetIndexedFields()
	s := IncidentSummary{
		ID: e.GetExecution().GetWorkflowId(), RunID: e.GetExecution().GetRunId(),
		Subject: contract.IncidentSubject(e.GetExecution().GetWorkflowId()),
		Site:    keyword(attrs, contract.AttrSite.GetName()), VM: keyword(attrs, contract.AttrVM.GetName()),
		Host: keyword(attrs, contract.AttrHost.GetName()), Kind: keyword(attrs, contract.AttrFaultKind.GetName()),
		Stage: keyword(attrs, contract.AttrStage.GetName()), Outcome: keyword(attrs, contract.AttrOutcome.GetName()),
		Open:   e.GetStatus() == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING,
		Opened: e.GetStartTime().AsTime(),
	}
	if e.GetCloseTime() != nil {
		s.Closed = e.GetCloseTime().AsTime()
	}
	if p := attrs[contract.AttrNeedsApproval.GetName()]; p != nil {
		_ = converter.GetDefaultDataConverter().FromPayload(p, &s.NeedsPerson) // absent reads as false
	}
	if !s.Open && s.Outcome == "" {
		s.Outcome = strings.ToLower(e.GetStatus().String())
	}
	return s
}

// keyword reads one search attribute; one that is missing or of another type reads as "".
func keyword(attrs map[string]*commonpb.Payload, name string) string {
	var v string
	if p := attrs[name]; p != nil {
		_ = converter.GetDefaultDataConverter().FromPayload(p, &v)
	}
	return v
}

// Incident returns the whole record of one incident: from its result when it
// is over (needs no worker), else from the worker that runs it.
func (c *Client) Incident(ctx context.Context, id string) (contract.Incident, error) {
	var inc contract.Incident
	desc, err := c.temporal.DescribeWorkflowExecution(ctx, id, "")
	if err != nil {
		var missing *serviceerror.NotFound
		if errors.As(err, &missing) {
			return inc, NoIncidentError{ID: id}
		}
		return inc, explain(err)
	}
	info := desc.GetWorkflowExecutionInfo()
	if name := info.GetType().GetName(); !slices.Contains(contract.IncidentTypes(), name) {
		return inc, fmt.Errorf("%s is a %s workflow, not an incident", id, name)
	}
	if info.GetStatus() == enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED {
		err = c.temporal.GetWorkflow(ctx, id, info.GetExecution().GetRunId()).Get(ctx, &inc)
		return inc, explain(err)
	}
	value, err := c.temporal.QueryWorkflow(ctx, id, info.GetExecution().GetRunId(), contract.QueryIncident)
	if err != nil {
		return inc, explain(err)
	}
	if err := value.Get(&inc); err != nil {
		return inc, fmt.Errorf("record of %s: %w", id, err)
	}
	if info.GetStatus() != enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING && inc.Closed.IsZero() {
		// It was ended from outside and could not write so itself.
		inc.Closed, inc.Outcome = info.GetCloseTime().AsTime(), contract.Outcome(strings.ToLower(info.GetStatus().String()))
		inc.Next, inc.NeedsPerson = "", false
	}
	return inc, nil
}

// NoIncidentError: Temporal has no such incident, or has it no more.
type NoIncidentError struct{ ID string }

func (e NoIncidentError) Error() string {
	return fmt.Sprintf("there is no incident %s: `holdfast incident list` shows those there are", e.ID)
}
