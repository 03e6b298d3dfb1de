package workflows

import (
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/workflow"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
)

// ownerRecord is the record of a host, or of a site: then it has no host.
type ownerRecord struct {
	keeper
	in contract.RecordInput
}

// Host is the record of one host: it takes the faults of the host, keeps how it
// stands, and has one incident for each slot of its faults. Nothing is done to a
// host yet. It closes after a quiet spell.
func Host(ctx workflow.Context, in contract.RecordInput) error {
	if in.Condition == "" {
		in.Condition, in.Since = contract.HostUp, workflow.Now(ctx)
	}
	return keepRecord(ctx, in, Host)
}

// Site is the record of what belongs to no single host: the storage pools of the
// site, and the site itself.
func Site(ctx workflow.Context, in contract.RecordInput) error { return keepRecord(ctx, in, Site) }

func keepRecord(ctx workflow.Context, in contract.RecordInput, self func(workflow.Context, contract.RecordInput) error) error {
	r := &ownerRecord{in: in}
	r.keeper = newKeeper(ctx, r, in.Memory)
	r.leaves = true
	if err := workflow.SetQueryHandler(ctx, contract.QueryRecord, r.state); err != nil {
		return err
	}
	return r.run(ctx, in.Memory.Open, func() error {
		again := r.in
		again.Memory = r.mem
		return workflow.NewContinueAsNewError(ctx, self, again)
	})
}

func (r *ownerRecord) slot(f fault.Fault) string { return f.Slot() }

func (r *ownerRecord) incidentID(f fault.Fault, at time.Time) string {
	return contract.FaultIncidentID(f, at)
}

func (r *ownerRecord) start(ctx workflow.Context, id string, f fault.Fault) workflow.ChildWorkflowFuture {
	return workflow.ExecuteChildWorkflow(asIncident(ctx, id, f), WatchFault, contract.WatchInput{ID: id, Fault: f})
}

// judge says how the host stands by the faults that are open: as the worst of them.
func (r *ownerRecord) judge(ctx workflow.Context) {
	if r.in.Host == "" {
		return
	}
	is := contract.HostUp
	for _, op := range r.open {
		switch c := contract.ConditionUnder(op.Kind); {
		case c == contract.HostDown, c == contract.HostSuspect && is == contract.HostUp:
			is = c
		}
	}
	if is != r.in.Condition {
		r.in.Condition, r.in.Since = is, workflow.Now(ctx)
	}
}

func (r *ownerRecord) state() (contract.RecordState, error) {
	s := contract.RecordState{
		Site: r.in.Site, Host: r.in.Host, Condition: r.in.Condition, Since: r.in.Since, Memory: r.mem,
	}
	for _, op := range r.open {
		s.Open = append(s.Open, op.OpenIncident)
	}
	return s, nil
}

// describe keeps the workflow readable in the Temporal UI, and how the host
// stands up to date.
func (r *ownerRecord) describe(ctx workflow.Context) {
	r.judge(ctx)
	var b strings.Builder
	if r.in.Host != "" {
		fmt.Fprintf(&b, "Host **%s** of site %s: **%s** since %s.", r.in.Host, r.in.Site, r.in.Condition, r.in.Since.UTC().Format("2006-01-02 15:04:05 MST"))
	} else {
		fmt.Fprintf(&b, "Record of site **%s**: its storage pools, and the site itself.", r.in.Site)
	}
	if len(r.open) == 0 {
		fmt.Fprintf(&b, " Idle; closes %s after the last event. Last incident: `%s`.", quietSpell, r.mem.LastID)
	}
	for _, op := range r.open {
		fmt.Fprintf(&b, "\n- %s: `%s`", op.Kind, op.ID)
	}
	workflow.SetCurrentDetails(ctx, b.String())
}
