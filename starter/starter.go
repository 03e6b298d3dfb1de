// Package starter is the typed client of Holdfast's workflows: what the monitor
// and the operator's commands use to report, start, ask and list. It talks to
// Temporal only.
package starter

import (
	"context"
	"errors"
	"fmt"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
)

// DialOptions change what the environment and the configuration file say about
// Temporal. Both are those of the `temporal` command (TEMPORAL_ADDRESS,
// TEMPORAL_NAMESPACE, TEMPORAL_TLS, TEMPORAL_API_KEY, TEMPORAL_PROFILE, ...).
type DialOptions struct {
	Profile   string // profile of the configuration file; empty: the default one
	Address   string // overrides the environment, if not empty
	Namespace string // overrides the environment, if not empty
	Identity  string // shown in histories; empty: process and host
	Logger    log.Logger
	Metrics   client.MetricsHandler
}

// Dial prepares a connection to Temporal. It is made at the first call, so that
// a monitor can start while Temporal is away.
func Dial(o DialOptions) (client.Client, error) {
	opts, err := o.load()
	if err != nil {
		return nil, err
	}
	if o.Identity != "" {
		opts.Identity = o.Identity
	}
	opts.Logger, opts.MetricsHandler = o.Logger, o.Metrics
	c, err := client.NewLazyClient(opts)
	if err != nil {
		return nil, fmt.Errorf("connection settings of Temporal: %w", err)
	}
	return c, nil
}

// Client starts and asks Holdfast's workflows.
type Client struct {
	temporal client.Client
}

// New wraps a Temporal client, which stays the caller's to close.
func New(c client.Client) *Client { return &Client{temporal: c} }

// taskTimeout bounds a workflow task; see workflows.taskTimeout.
const taskTimeout = 5 * time.Second

// guardianOptions start the guardian of a VM, or find the one that runs.
func guardianOptions(site string, vm fault.VM) client.StartWorkflowOptions {
	return client.StartWorkflowOptions{
		ID:                       contract.GuardianID(site, vm.UUID),
		TaskQueue:                contract.WorkflowQueue,
		WorkflowTaskTimeout:      taskTimeout,
		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		StaticSummary:            fmt.Sprintf("guardian of %s at site %s", vm, site),
		TypedSearchAttributes: temporal.NewSearchAttributes(
			contract.AttrSite.ValueSet(site), contract.AttrVM.ValueSet(vm.String())),
	}
}

// Recover asks the guardian of a VM to recover it now, and returns which
// incident has it.
func (c *Client) Recover(ctx context.Context, req contract.RecoverRequest) (contract.RecoverReply, error) {
	return askGuardian[contract.RecoverReply](ctx, c, req.Site, req.VM, contract.UpdateRecover, "", req)
}

// Inventory asks the site's worker what its hosts hold. Callers that ask at the
// same time share one answer.
func (c *Client) Inventory(ctx context.Context, site string) (contract.InventoryResult, error) {
	return question[contract.InventoryResult](ctx, c, contract.InventoryID(site), site,
		"what the hosts of site "+site+" hold", contract.WorkflowInventory, site)
}

// SimulateFault breaks or mends something in a simulated site.
func (c *Client) SimulateFault(ctx context.Context, site string, in contract.SimFaultInput) (contract.SimFaultResult, error) {
	var out contract.SimFaultResult
	run, err := c.temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID:                                       fmt.Sprintf("sim/%s/%s/%s", site, in.Action, in.Target),
		TaskQueue:                                contract.WorkflowQueue,
		WorkflowExecutionErrorWhenAlreadyStarted: true,
		WorkflowRunTimeout:                       time.Minute,
		StaticSummary:                            fmt.Sprintf("simulated fault: %s %s", in.Action, in.Target),
		TypedSearchAttributes:                    temporal.NewSearchAttributes(contract.AttrSite.ValueSet(site)),
	}, contract.WorkflowSimFault, site, in)
	if err != nil {
		return out, explain(err)
	}
	err = run.Get(ctx, &out)
	return out, explain(err)
}

// EnsureSearchAttributes registers the search attributes that the namespace
// lacks. It needs the rights of an operator of Temporal; without them the error
// says which command registers them.
func (c *Client) EnsureSearchAttributes(ctx context.Context, namespace string) error {
	operator := c.temporal.OperatorService()
	have, err := operator.ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: namespace})
	if err != nil {
		return fmt.Errorf("listing search attributes of namespace %s: %w", namespace, err)
	}
	missing := map[string]enumspb.IndexedValueType{}
	for _, key := range contract.SearchAttributes() {
		got, ok := have.GetCustomAttributes()[key.GetName()]
		switch {
		case !ok:
			missing[key.GetName()] = key.GetValueType()
		case got != key.GetValueType():
			return fmt.Errorf("search attribute %s of namespace %s is a %s, and Holdfast needs a %s: give Holdfast a namespace of its own", key.GetName(), namespace, got, key.GetValueType())
		}
	}
	if len(missing) == 0 {
		return nil
	}
	_, err = operator.AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{Namespace: namespace, SearchAttributes: missing})
	var exists *serviceerror.AlreadyExists
	if err != nil && !errors.As(err, &exists) {
		return fmt.Errorf("adding search attributes to namespace %s: %w (by hand: temporal operator search-attribute create --name Site --type Keyword, and so on)", namespace, err)
	}
	return nil
}

// explain strips Temporal's wrapping from what a workflow said, and turns a
// missing server into what to do about it.
func explain(err error) error {
	if err == nil {
		return nil
	}
	var app *temporal.ApplicationError
	if errors.As(err, &app) {
		return errors.New(app.Message())
	}
	var unavailable *serviceerror.Unavailable
	if errors.As(err, &unavailable) {
		return fmt.Errorf("cannot reach Temporal (%w): check --address or TEMPORAL_ADDRESS, or start `holdfast dev`", err)
	}
	return err
}
