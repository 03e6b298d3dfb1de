package starter

import (
	"context"
	"fmt"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
)

// questionTime is the most that a question to a site may take, the time included
// that it waits for somebody to answer it.
const questionTime = time.Minute

// question starts a workflow that asks one thing and returns its answer. Callers
// that ask the same at the same time share it.
func question[T any](ctx context.Context, c *Client, id, site, summary, name string, args ...any) (T, error) {
	var out T
	run, err := c.temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID:                       id,
		TaskQueue:                contract.WorkflowQueue,
		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		WorkflowRunTimeout:       questionTime,
		WorkflowTaskTimeout:      taskTimeout,
		StaticSummary:            summary,
		TypedSearchAttributes:    temporal.NewSearchAttributes(contract.AttrSite.ValueSet(site)),
	}, name, args...)
	if err != nil {
		return out, explain(err)
	}
	err = run.Get(ctx, &out)
	return out, explain(err)
}

// Faults asks a monitor of a site for the faults that stand.
func (c *Client) Faults(ctx context.Context, in contract.FaultsInput) (contract.FaultsResult, error) {
	return question[contract.FaultsResult](ctx, c, contract.FaultsID(in), in.Site,
		"which faults stand at site "+in.Site, contract.WorkflowFaults, in)
}

// Explain asks a monitor of a site what it knows about a VM or a host.
func (c *Client) Explain(ctx context.Context, in contract.ExplainInput) (contract.ExplainResult, error) {
	return question[contract.ExplainResult](ctx, c, contract.ExplainID(in.Site, in.Name), in.Site,
		"what is known about "+in.Name, contract.WorkflowExplain, in)
}

// Probe asks the site's worker for its vote about a host. There is one, from
// "worker", with all that it tried in its reason.
func (c *Client) Probe(ctx context.Context, site, host string) ([]fault.Vote, error) {
	out, err := question[contract.ProbeResult](ctx, c, contract.ProbeID(site, host), site,
		"look at host "+host, contract.WorkflowProbe, site, contract.ProbeInput{Host: host})
	if err != nil {
		return nil, err
	}
	return []fault.Vote{out.Vote}, nil
}

// Annotate reads or changes the annotation of a VM, through its guardian.
func (c *Client) Annotate(ctx context.Context, req contract.AnnotateRequest) (contract.AnnotateReply, error) {
	return askGuardian[contract.AnnotateReply](ctx, c, req.Site, req.VM, contract.UpdateAnnotate, "", req)
}

// askGuardian asks the guardian of a VM for something and waits for the answer;
// the guardian is started if it does not run.
// once names the request; empty: each is one of its own. To ask for the same twice is
// then the same as once, as long as the guardian's run lasts.
func askGuardian[T any](ctx context.Context, c *Client, site string, vm fault.VM, update, once string, request any) (T, error) {
	var reply T
	start := c.temporal.NewWithStartWorkflowOperation(guardianOptions(site, vm), contract.WorkflowVM,
		contract.GuardianInput{Site: site, VM: vm})
	handle, err := c.temporal.UpdateWithStartWorkflow(ctx, client.UpdateWithStartWorkflowOptions{
		StartWorkflowOperation: start,
		UpdateOptions: client.UpdateWorkflowOptions{
			UpdateID:     once,
			UpdateName:   update,
			Args:         []any{request},
			WaitForStage: client.WorkflowUpdateStageCompleted,
		},
	})
	if err != nil {
		return reply, explain(err)
	}
	err = handle.Get(ctx, &reply)
	return reply, explain(err)
}

// Snapshot asks the guardian of a VM for something about the VM's snapshots.
func (c *Client) Snapshot(ctx context.Context, req contract.SnapshotRequest) (contract.SnapshotReply, error) {
	once := ""
	if req.Turn != nil && req.Verb == contract.SnapshotTurn {
		once = fmt.Sprintf("%s of %s", req.Name, req.By) // a round may ask again when its worker died
	}
	return askGuardian[contract.SnapshotReply](ctx, c, req.Site, req.VM, contract.UpdateSnapshot, once, req)
}

// Backup asks the guardian of a VM for something about the VM's backups.
func (c *Client) Backup(ctx context.Context, req contract.BackupRequest) (contract.BackupReply, error) {
	return askGuardian[contract.BackupReply](ctx, c, req.Site, req.VM, contract.UpdateBackup, "", req)
}
