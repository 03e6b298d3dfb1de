package activities

import (
	"context"
	"time"

	"holdfast/internal/contract"
)

// Injector breaks and mends things in a simulated site.
type Injector interface {
	// InjectOn does one of the actions of contract.SimFaultInput and says what it did;
	// host is its On.
	InjectOn(action, target, host string, count int) (string, error)
}

// SimulateFault breaks something in a simulated site; on a real one it refuses.
func (a *Activities) SimulateFault(_ context.Context, in contract.SimFaultInput) (contract.SimFaultResult, error) {
	if a.opts.Injector == nil {
		return contract.SimFaultResult{}, badInput("site %s is real: `holdfast sim` only works with `holdfast dev --simulated`", a.opts.Site)
	}
	done, err := a.opts.Injector.InjectOn(in.Action, in.Target, in.On, in.Count)
	if err != nil {
		return contract.SimFaultResult{}, badInput("%s", err)
	}
	return contract.SimFaultResult{Done: done, At: time.Now().UTC()}, nil
}
