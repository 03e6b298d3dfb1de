package activities

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"holdfast/internal/contract"
	"holdfast/internal/hypervisor"
	"holdfast/internal/ladder"
	"holdfast/internal/placement"
)

const (
	// mostPlaces bounds the hosts that are asked whether they reach a VM's disks: each
	// has to read its storage for it.
	mostPlaces = 8
	// placesFound is how long the storage of a VM may take to say what it is, and to
	// take a mark. A repair does not wait for one that hangs.
	placesFound = 20 * time.Second
	// placesAsked is how long other hosts are asked for, one after the other.
	placesAsked = 45 * time.Second
	// othersKept bounds the hosts of which it is kept why they were turned down.
	othersKept = 8
)

// Places finds the host that a VM is best taken to. That there is none is a finding,
// not an error.
func (a *Activities) Places(ctx context.Context, in contract.PlacesInput) (ladder.Places, error) {
	h, err := a.host(in.Host)
	if err != nil {
		return ladder.Places{}, err
	}
	defer keepAlive(ctx)()
	needs, err := a.needs(ctx, h, in.VM.UUID)
	switch {
	case err != nil && isNotFound(err):
		return ladder.Places{}, notFound("host %s has no domain %s", in.Host, in.VM)
	case errors.Is(err, hypervisor.ErrUnreachable):
		return ladder.Places{}, unreachable(in.Host, brief(err))
	case err != nil: // it will say so the next time as well
		return ladder.Places{Why: "what it needs of a host cannot be found out: " + brief(err)}, nil
	}
	vm := placement.Needs{Memory: needs.Memory, VCPUs: needs.VCPUs, Networks: needs.Networks, Pinned: needs.Pinned}
	fit, unfit := placement.Rank(vm, a.offers(ctx, in))
	out, asked := ladder.Places{Autostart: needs.Autostart}, 0
	if len(fit) > 0 {
		m, err := a.markFolders(ctx, h, needs.Folders)
		defer m.remove(ctx)
		if err != nil {
			out.Why = fmt.Sprintf("whether another host reaches its disks cannot be found out: %s", brief(err))
			return out, nil
		}
		for began := time.Now(); len(fit) > 0 && out.Best == "" && asked < mostPlaces && time.Since(began) < placesAsked; asked++ {
			c := fit[0]
			if why := a.reaches(ctx, c.Host, m); why != "" {
				unfit = append(unfit, placement.Refusal{Host: c.Host, Why: why})
			} else {
				out.Best, out.Why = c.Host, c.Why
			}
			fit = fit[1:]
		}
	}
	if out.Best == "" {
		out.Why = placement.Explain(vm, unfit)
		if len(fit) > 0 {
			out.Why += fmt.Sprintf("; %d more were not asked whether they reach its disks", len(fit))
		}
	}
	out.Others = unfit[:min(len(unfit), othersKept)]
	return out, nil
}

func (a *Activities) needs(ctx context.Context, h hypervisor.Host, uuid string) (hypervisor.Needs, error) {
	ctx, cancel := context.WithTimeout(ctx, placesFound)
	defer cancel()
	return h.Needs(ctx, uuid)
}

// offers asks all other hosts at once what they have.
func (a *Activities) offers(ctx context.Context, in contract.PlacesInput) []placement.Host {
	others := slices.DeleteFunc(slices.Clone(a.opts.Hosts.Hosts()), func(h hypervisor.Host) bool { return h.Name() == in.Host })
	out := make([]placement.Host, len(others))
	var asked sync.WaitGroup
	for i, h := range others {
		asked.Go(func() {
			out[i] = placement.Host{Name: h.Name(), Against: in.Not[h.Name()]}
			if out[i].Against == "" {
				a.ask(ctx, h, in.VM.UUID, &out[i])
			}
		})
	}
	asked.Wait()
	return out
}

// ask asks one host what it has.
func (a *Activities) ask(ctx context.Context, h hypervisor.Host, uuid string, out *placement.Host) {
	ctx, cancel := context.WithTimeout(ctx, a.opts.CallTimeout)
	defer cancel()
	domains, err := h.Domains(ctx)
	if err == nil {
		for _, d := range domains {
			if d.UUID == uuid {
				out.Against = fmt.Sprintf("it knows the VM from earlier (%s): `virsh undefine` it there if that is over", d.State)
			}
			if d.State.Active() {
				out.Active++
			}
		}
		var node hypervisor.NodeStats
		if node, err = h.Node(ctx); err == nil {
			out.CPUs, out.MemoryTotal, out.MemoryAvailable = node.CPUs, node.MemoryTotal, node.MemoryAvailable
			out.Networks, err = h.Networks(ctx)
		}
	}
	if err != nil {
		out.Error = "it does not answer: " + brief(err)
	}
}

// marks are files with names that nobody can guess: a host on which one is found has
// the same storage in that folder as the host that made it.
type marks struct {
	host hypervisor.Host
	name string
	in   []string // folders
	// within bounds their removal.
	within time.Duration
}

// markFolders leaves a mark in each folder. The caller removes them, also after an error.
func (a *Activities) markFolders(ctx context.Context, h hypervisor.Host, folders []string) (*marks, error) {
	m := &marks{host: h, name: hypervisor.MarkPrefix + rand.Text(), within: a.opts.CallTimeout}
	ctx, cancel := context.WithTimeout(ctx, placesFound)
	defer cancel()
	for _, folder := range folders {
		m.in = append(m.in, folder) // first: whatever the answer, it may be there
		if err := h.Mark(ctx, folder, m.name); err != nil {
			return m, err
		}
	}
	return m, nil
}

// remove takes the marks away. One that stays is empty, and in nobody's way.
func (m *marks) remove(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.within)
	defer cancel()
	for _, folder := range m.in {
		_ = m.host.Unmark(ctx, folder, m.name)
	}
}

// reaches says why a host does not reach the folders in which the marks are; empty:
// it does.
//
// The host makes a mark of its own before it looks: a client of NFS may go by what it
// knows of a folder for a minute (acdirmax, see nfs(5)), but not once it has changed the
// folder itself and was told by the server that others had changed it, too.
func (a *Activities) reaches(ctx context.Context, name string, m *marks) string {
	h, err := a.host(name)
	if err != nil {
		return brief(err)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*a.opts.CallTimeout)
	defer cancel()
	for _, folder := range m.in {
		own, err := a.markFolders(ctx, h, []string{folder})
		var there bool
		if err == nil {
			there, err = h.Marked(ctx, folder, m.name)
		}
		own.remove(ctx)
		switch {
		case err != nil:
			return fmt.Sprintf("whether it reaches %s cannot be found out: %s", folder, brief(err))
		case !there:
			return fmt.Sprintf("its %s is not the same storage", folder)
		}
	}
	return ""
}
