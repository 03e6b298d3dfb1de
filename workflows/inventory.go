package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"holdfast/internal/contract"
)

// Inventory asks a site's hosts what they hold: the operator's commands talk to
// Temporal and never to libvirt.
func Inventory(ctx workflow.Context, site string) (contract.InventoryResult, error) {
	var out contract.InventoryResult
	ctx = onSite(ctx, site, "list the VMs of every host of "+site, 30*time.Second)
	err := workflow.ExecuteActivity(ctx, act.Inventory).Get(ctx, &out)
	return out, explain(err, site)
}

// SimulateFault breaks or mends something in a simulated site.
func SimulateFault(ctx workflow.Context, site string, in contract.SimFaultInput) (contract.SimFaultResult, error) {
	var out contract.SimFaultResult
	ctx = onSite(ctx, site, fmt.Sprintf("%s %s", in.Action, in.Target), 30*time.Second)
	err := workflow.ExecuteActivity(ctx, act.SimulateFault, in).Get(ctx, &out)
	return out, explain(err, site)
}

// explain turns a missing worker into words that say what to do.
func explain(err error, site string) error {
	if err != nil && noWorker(err) {
		return temporal.NewNonRetryableApplicationError(noWorkerText(site), contract.ErrTypeUnreachable, nil)
	}
	return err
}
