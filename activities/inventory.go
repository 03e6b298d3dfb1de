package activities

import (
	"context"
	"sync"
	"time"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor"
)

// Inventory lists what every host of the site holds. A host that does not
// answer is listed with its error.
func (a *Activities) Inventory(ctx context.Context) (contract.InventoryResult, error) {
	defer keepAlive(ctx)()
	hosts := a.opts.Hosts.Hosts()
	lists := make([][]hypervisor.Domain, len(hosts))
	errs := make([]error, len(hosts))
	var wg sync.WaitGroup
	for i, h := range hosts {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, a.opts.CallTimeout)
			defer cancel()
			lists[i], errs[i] = h.Domains(ctx)
		})
	}
	wg.Wait()
	out := contract.InventoryResult{Site: a.opts.Site, At: time.Now().UTC()}
	for i, h := range hosts {
		state := contract.HostState{Name: h.Name(), Connected: errs[i] == nil, Defined: len(lists[i])}
		if errs[i] != nil {
			state.Error = brief(errs[i])
		}
		for _, d := range lists[i] {
			if d.State.Active() {
				state.Active++
			}
			out.VMs = append(out.VMs, contract.VMState{
				VM:   fault.VM{UUID: d.UUID, Name: d.Name},
				Host: h.Name(), State: string(d.State), Reason: string(d.Reason), Active: d.State.Active(),
			})
		}
		out.Hosts = append(out.Hosts, state)
	}
	return out, nil
}
