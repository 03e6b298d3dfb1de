package activities

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"holdfast/internal/annotation"
	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor"
)

// hostsAtOnce bounds the hosts that are listed at the same time for a round.
const hostsAtOnce = 8

// ListRound returns the next VMs of a round: those that are active, and whose class
// has its snapshots from the schedule. A host that does not answer is part of the
// page, not an error.
func (a *Activities) ListRound(ctx context.Context, in contract.RoundPageInput) (contract.RoundPage, error) {
	if a.opts.Snapshots == nil || in.Most <= 0 {
		return contract.RoundPage{}, badInput("site %s has no snapshots in its site file, or the page no room", a.opts.Site)
	}
	defer keepAlive(ctx)()
	hosts := a.opts.Hosts.Hosts()
	out := contract.RoundPage{At: time.Now().UTC()}
	at := in.From
	for at.Host < len(hosts) && len(out.VMs) < in.Most && ctx.Err() == nil {
		some := hosts[at.Host:min(at.Host+hostsAtOnce, len(hosts))]
		for _, found := range a.roundOn(ctx, some, in.Class) {
			if at = found.addTo(&out, at, in.Most); len(out.VMs) >= in.Most {
				break
			}
		}
	}
	if at.Host < len(hosts) {
		out.Next = &at
	}
	if len(hosts) > 0 {
		out.Share = float64(min(at.Host+1, len(hosts))-in.From.Host) / float64(len(hosts))
	}
	return out, ctx.Err()
}

// roundHost is what a host has for a round.
type roundHost struct {
	host   string
	vms    []contract.RoundVM // by their UUIDs
	off    int
	silent []contract.RoundNote
}

// addTo puts what there is room for onto a page, and says where it ended. What
// concerns the whole host is noted with the last of it.
func (r roundHost) addTo(page *contract.RoundPage, at contract.RoundCursor, most int) contract.RoundCursor {
	vms := slices.DeleteFunc(r.vms, func(v contract.RoundVM) bool { return v.VM.UUID <= at.After })
	if room := most - len(page.VMs); len(vms) > room {
		page.VMs = append(page.VMs, vms[:room]...)
		return contract.RoundCursor{Host: at.Host, After: vms[room-1].VM.UUID}
	}
	page.VMs = append(page.VMs, vms...)
	page.NotRunning += r.off
	page.Silent = append(page.Silent, r.silent...)
	return contract.RoundCursor{Host: at.Host + 1}
}

func (a *Activities) roundOn(ctx context.Context, hosts []hypervisor.Host, class string) []roundHost {
	out := make([]roundHost, len(hosts))
	var wg sync.WaitGroup
	for i, h := range hosts {
		wg.Go(func() { out[i] = a.roundOf(ctx, h, class) })
	}
	wg.Wait()
	return out
}

func (a *Activities) roundOf(ctx context.Context, h hypervisor.Host, class string) roundHost {
	out := roundHost{host: h.Name()}
	listing, cancel := context.WithTimeout(ctx, a.opts.CallTimeout)
	defer cancel()
	domains, err := h.Domains(listing)
	if err != nil {
		out.silent = append(out.silent, contract.RoundNote{Host: h.Name(), Why: brief(err)})
		return out
	}
	for _, d := range domains {
		vm := fault.VM{UUID: d.UUID, Name: d.Name}
		have, err := a.annotationOn(ctx, h, d.UUID)
		switch policy := a.opts.Snapshots(have.Labels); {
		case isNotFound(err):
		case err != nil && !errors.As(err, new(annotation.Problem)):
			out.silent = append(out.silent, contract.RoundNote{VM: vm.String(), Host: h.Name(), Why: "its definition could not be read: " + brief(err)})
			if isUnanswered(err) {
				return out // the others would each take as long to say so
			}
		case policy.Every == 0 || policy.Class != class:
		case !d.State.Active():
			out.off++
		default:
			out.vms = append(out.vms, contract.RoundVM{VM: vm, Host: h.Name()})
		}
	}
	slices.SortFunc(out.vms, func(x, y contract.RoundVM) int { return strings.Compare(x.VM.UUID, y.VM.UUID) })
	return out
}

// AskGuardian asks the guardian of a VM to have its turn, and waits until it has
// had it. To ask twice is the same as once, as the snapshot's name is the same.
func (a *Activities) AskGuardian(ctx context.Context, req contract.SnapshotRequest) (contract.Turn, error) {
	if a.opts.AskGuardian == nil {
		return contract.Turn{}, badInput("this worker of site %s can ask no guardian", a.opts.Site)
	}
	defer keepAlive(ctx)()
	reply, err := a.opts.AskGuardian(ctx, req)
	switch {
	case ctx.Err() != nil:
		return contract.Turn{}, ctx.Err()
	case err != nil:
		return contract.Turn{}, unreachable(req.Host, "its guardian of "+req.VM.String()+" could not be asked: "+brief(err))
	case reply.Turn == nil:
		return contract.Turn{}, badInput("the guardian of %s is of an older release", req.VM)
	case reply.Turn.Unanswered:
		return contract.Turn{}, unreachable(req.Host, reply.Turn.Failed)
	}
	turn := *reply.Turn
	turn.Plan = nil // 20 lines a VM would fill the round's history
	return turn, nil
}
