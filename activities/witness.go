package activities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"regexp"
	"time"

	"holdfast/internal/agent"
	"holdfast/internal/contract"
	"holdfast/internal/evidence"
	"holdfast/internal/hypervisor"
)

// gathering is one attempt of GatherEvidence.
type gathering struct {
	a  *Activities
	h  hypervisor.Host
	in contract.EvidenceInput
}

// piece is one thing to look at.
type piece struct {
	name string
	// asksQEMU: it is worth a try only if QEMU answers. waits: until that is known, as
	// what is asked of QEMU is then left out of it.
	asksQEMU, waits bool
	look            func(ctx context.Context) (data []byte, mime string, err error)
}

// piecesStats is the piece that tells whether QEMU answers: the host's statistics
// leave out whoever does not, at the cost of no more than one call.
const piecesStats = "stats.json"

func (g *gathering) pieces() []piece {
	uuid := g.in.VM.UUID
	return []piece{
		{name: "screenshot.png", asksQEMU: true, look: func(ctx context.Context) ([]byte, string, error) {
			p, err := g.h.Screenshot(ctx, uuid)
			return p.Data, p.MIME, err
		}},
		{name: "domain.json", look: figures(func(ctx context.Context) (any, error) { return g.h.Domain(ctx, uuid) })},
		{name: "job.json", waits: true, look: figures(func(ctx context.Context) (any, error) { return g.h.Job(ctx, uuid) })},
		{name: "blocks.json", waits: true, look: figures(func(ctx context.Context) (any, error) { return g.h.Blocks(ctx, uuid) })},
		{name: "disk-errors.json", asksQEMU: true, look: figures(func(ctx context.Context) (any, error) {
			failed, err := g.h.DiskErrors(ctx, uuid)
			if failed == nil {
				failed = []hypervisor.DiskError{} // that there is none is a finding
			}
			return failed, err
		})},
		{name: "agent.json", look: figures(g.agentState)},
		{name: piecesStats, look: figures(g.stats)},
		{name: "qemu.log", look: g.log(agent.LogQEMU)},
		{name: "console.log", look: g.log(agent.LogConsole)},
	}
}

// figures are written as JSON.
func figures(look func(ctx context.Context) (any, error)) func(context.Context) ([]byte, string, error) {
	return func(ctx context.Context) ([]byte, string, error) {
		value, err := look(ctx)
		if err != nil {
			return nil, "", err
		}
		text, err := json.MarshalIndent(value, "", "  ")
		return append(text, '\n'), "application/json", err
	}
}

// agentState is how a guest agent did when it was asked.
type agentState struct {
	Answers   bool          `json:"answers"`
	Took      time.Duration `json:"took"`
	GuestTime time.Time     `json:"guestTime,omitzero"`
	// Ahead is how much its clock is ahead of the worker's, as far as the time that
	// the answer took lets tell.
	Ahead time.Duration `json:"ahead,omitempty"`
	Error string        `json:"error,omitempty"`
}

// agentState: that it does not answer is a finding.
func (g *gathering) agentState(ctx context.Context) (any, error) {
	began := time.Now()
	now, err := g.h.GuestTime(ctx, g.in.VM.UUID)
	took := time.Since(began)
	switch {
	case errors.Is(err, hypervisor.ErrNoAgent):
		return agentState{Took: took, Error: brief(err)}, nil
	case err != nil:
		return nil, err
	}
	return agentState{Answers: true, Took: took, GuestTime: now, Ahead: now.Sub(began.Add(took / 2))}, nil
}

func (g *gathering) stats(ctx context.Context) (any, error) {
	all, err := g.h.Stats(ctx)
	if err != nil {
		return nil, err
	}
	if s := statsOf(all, g.in.VM.UUID); s != nil {
		return s, nil
	}
	return nil, errors.New("the host's statistics lack it: it is not active, or its QEMU does not answer")
}

func (g *gathering) log(kind agent.Log) func(ctx context.Context) ([]byte, string, error) {
	return func(ctx context.Context) ([]byte, string, error) {
		if g.a.opts.Logs == nil {
			return nil, "", errors.New("this worker has no way to read logs on hosts")
		}
		name := g.in.VM.Name
		if name == "" {
			d, err := g.h.Domain(ctx, g.in.VM.UUID)
			if err != nil {
				return nil, "", err
			}
			name = d.Name
		}
		text, err := g.a.opts.Logs(ctx, g.in.Host, kind, name)
		return text, "text/plain; charset=utf-8", err
	}
}

// dump comes last, because the guest stands still for it.
func (g *gathering) dump(ctx context.Context) evidence.Item {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, g.in.Dump.Most())
	defer cancel()
	item := evidence.Item{Name: "memory.dump", MIME: "application/octet-stream"}
	file, err := g.dumpFile(ctx)
	if err == nil {
		err = g.h.Dump(ctx, g.in.VM.UUID, file)
	}
	item.At, item.Took = time.Now().UTC(), time.Since(began)
	if err != nil {
		item.MIME, item.Error = "", brief(err)
		return item
	}
	item.HostPath = file
	return item
}

var notInFile = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

// dumpFile is where the memory goes, if there is room for it.
func (g *gathering) dumpFile(ctx context.Context) (string, error) {
	need, err := g.memory(ctx)
	if err != nil {
		return "", err
	}
	if most := g.in.Dump.MaxBytes; most > 0 && need > most {
		return "", fmt.Errorf("the guest has %d MiB of memory, and the most to dump is %d MiB", need>>20, most>>20)
	}
	pools, err := g.h.Pools(ctx)
	if err != nil {
		return "", err
	}
	for _, p := range pools {
		switch {
		case p.Name != g.in.Dump.Pool:
			continue
		case p.State != hypervisor.PoolRunning:
			return "", fmt.Errorf("pool %s is %s", p.Name, p.State)
		case !path.IsAbs(p.Target):
			return "", fmt.Errorf("pool %s has no folder", p.Name)
		case p.Available < need:
			return "", fmt.Errorf("pool %s has room for %d MiB, and the guest has %d MiB of memory", p.Name, p.Available>>20, need>>20)
		}
		name := notInFile.ReplaceAllString(g.in.VM.String(), "_")
		return path.Join(p.Target, "holdfast-"+name+"-"+evidence.Folder(g.in.IncidentID+" "+g.in.Key)+".dump"), nil
	}
	return "", fmt.Errorf("host %s has no pool %s", g.in.Host, g.in.Dump.Pool)
}

// memory is the most that the guest may have, in bytes.
func (g *gathering) memory(ctx context.Context) (uint64, error) {
	all, err := g.h.Stats(ctx)
	if err != nil {
		return 0, err
	}
	if s := statsOf(all, g.in.VM.UUID); s != nil {
		return s.MemoryMax, nil
	}
	return 0, errors.New("how much memory the guest has is not known: it is not active, or its QEMU does not answer")
}
