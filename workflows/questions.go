package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"holdfast/internal/contract"
)

// Faults asks a monitor of a site for the faults that stand. Operators never
// talk to a monitor themselves; whichever of them is there answers.
func Faults(ctx workflow.Context, in contract.FaultsInput) (contract.FaultsResult, error) {
	var out contract.FaultsResult
	ctx = onMonitor(ctx, in.Site, "ask a monitor of "+in.Site+" for faults")
	err := workflow.ExecuteActivity(ctx, asks.Faults, in).Get(ctx, &out)
	return out, explainMonitor(err, in.Site)
}

// Explain asks a monitor of a site what it knows about a VM or a host.
func Explain(ctx workflow.Context, in contract.ExplainInput) (contract.ExplainResult, error) {
	var out contract.ExplainResult
	ctx = onMonitor(ctx, in.Site, "ask a monitor of "+in.Site+" about "+in.Name)
	err := workflow.ExecuteActivity(ctx, asks.Explain, in).Get(ctx, &out)
	return out, explainMonitor(err, in.Site)
}

// explainMonitor turns a missing monitor into words that say what to do.
func explainMonitor(err error, site string) error {
	if err != nil && noWorker(err) {
		text := fmt.Sprintf("no monitor of site %s answers: start `holdfast monitor`", site)
		return temporal.NewNonRetryableApplicationError(text, contract.ErrTypeUnreachable, nil)
	}
	return err
}

// probeTime is how long a worker may take to look at a host: longer than it
// gives any one look.
const probeTime = 15 * time.Second

// Probe asks the site's worker for its vote about a host: it sees the host from
// another place than a monitor may.
func Probe(ctx workflow.Context, site string, in contract.ProbeInput) (contract.ProbeResult, error) {
	var out contract.ProbeResult
	ctx = onSite(ctx, site, "look at host "+in.Host, probeTime)
	err := workflow.ExecuteActivity(ctx, act.Probe, in).Get(ctx, &out)
	return out, explain(err, site)
}
