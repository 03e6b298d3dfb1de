package starter

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"holdfast/internal/contract"
)

// Act tells an open incident what a person wants. What makes no sense is refused
// with the incident's own words, and leaves nothing in its history.
func (c *Client) Act(ctx context.Context, id string, a contract.Act) (contract.ActReply, error) {
	var reply contract.ActReply
	handle, err := c.temporal.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID: id, UpdateName: string(a.Verb), Args: []any{a}, WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err == nil {
		err = handle.Get(ctx, &reply)
	}
	var gone *serviceerror.NotFound
	if errors.As(err, &gone) {
		return reply, fmt.Errorf("there is no open incident %s: `holdfast incident show %s` tells how it ended", id, id)
	}
	if err = explain(err); err != nil && strings.Contains(err.Error(), "unknown update") {
		return reply, fmt.Errorf("%s takes no %s: its worker is of an older release", id, a.Verb)
	}
	return reply, err
}
