package activities

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"holdfast/internal/contract"
	"holdfast/internal/evidence"
)

const (
	// evidenceTimeout is how long a repair waits for evidence, and pieceTimeout how
	// long for one piece of it.
	evidenceTimeout = 5 * time.Second
	pieceTimeout    = 3 * time.Second
	// indexTimeout is how long the folder may take at the end.
	indexTimeout = time.Second
)

// GatherEvidence keeps what there is to see of a VM, all of it at once, before
// something is done to it that may destroy it. It fails no repair and holds none
// up: what cannot be had in time is part of the result. What was gathered for a
// key is not gathered again. The domain's definition is no evidence: it may hold
// secrets.
func (a *Activities) GatherEvidence(ctx context.Context, in contract.EvidenceInput) (contract.EvidenceResult, error) {
	switch {
	case in.IncidentID == "":
		return contract.EvidenceResult{}, badInput("gather evidence: incidentId is empty")
	case in.VM.UUID == "":
		return contract.EvidenceResult{}, badInput("gather evidence: vm.uuid is empty")
	case in.Key == "":
		return contract.EvidenceResult{}, badInput("gather evidence: key is empty")
	}
	defer keepAlive(ctx)()
	out := contract.EvidenceResult{Set: contract.EvidenceSet{
		Key: in.Key, Before: in.Before, Host: in.Host, Worker: machine(), At: time.Now().UTC(),
	}}
	h, err := a.host(in.Host)
	switch {
	case a.opts.Evidence == nil:
		out.Set.Error = "this worker keeps no evidence: set evidence.dir in its site file"
		return out, nil
	case err != nil:
		out.Set.Error = brief(err)
		return out, nil
	}
	g := gathering{a: a, h: h, in: in}
	gathering, cancel := context.WithTimeout(ctx, a.opts.EvidenceTimeout)
	defer cancel()
	if set, found := g.before(gathering); found {
		a.fill(&out.Set, in, set)
		out.Already = true
		return out, nil
	}
	items := g.all(gathering)
	if in.Dump.Pool != "" {
		items = append(items, g.dump(ctx))
	}
	set, err := g.finish(ctx, items)
	if err != nil {
		out.Set.Error = brief(err)
	}
	a.fill(&out.Set, in, set)
	return out, ctx.Err()
}

// machine is the name of the machine that this runs on.
func machine() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}

// fill says where the pieces of a set are.
func (a *Activities) fill(out *contract.EvidenceSet, in contract.EvidenceInput, set evidence.Set) {
	if !set.At.IsZero() {
		out.At = set.At
	}
	folder := evidence.Folder(in.IncidentID)
	for _, i := range set.Items {
		item := contract.EvidenceItem{
			Name: i.Name, MIME: i.MIME, Bytes: i.Bytes, SHA256: i.SHA256, At: i.At, Took: i.Took, Error: i.Error,
		}
		switch {
		case i.HostPath != "":
			item.Path, item.OnHost = i.HostPath, true
		case i.File != "":
			item.Path = filepath.Join(a.opts.Evidence.Dir(), folder, i.File)
			if a.opts.EvidenceURL != "" && out.Error == "" {
				item.URL = a.opts.EvidenceURL + evidence.Path + folder + "/" + i.File
			}
		}
		out.Items = append(out.Items, item)
	}
}

// before is the set that was gathered for the same key.
func (g *gathering) before(ctx context.Context) (evidence.Set, bool) {
	type answer struct {
		set   evidence.Set
		found bool
	}
	asked, err := aside(ctx, func() (answer, error) {
		set, found, err := g.a.opts.Evidence.Find(g.in.IncidentID, g.in.Key)
		return answer{set, found}, err
	})
	if err != nil {
		g.a.opts.Logger.Warn("earlier evidence cannot be read, gathers it anew", "incident", g.in.IncidentID, "error", err)
	}
	return asked.set, asked.found && err == nil
}

// all looks at everything at once, but asks QEMU only when it has been seen to
// answer somebody: whoever asks one that hangs takes one of libvirtd's workers
// from it until it is gone, and a repair needs those.
func (g *gathering) all(ctx context.Context) []evidence.Item {
	pieces := g.pieces()
	items := make([]evidence.Item, len(pieces))
	answered := make(chan struct{}) // closed when silent is set
	var silent error
	var wg sync.WaitGroup
	for i, p := range pieces {
		wg.Go(func() {
			if p.asksQEMU {
				<-answered
				if silent != nil {
					items[i] = notHad(p, fmt.Errorf("QEMU was not asked: %w", silent), 0)
					return
				}
			}
			if p.waits {
				<-answered
			}
			items[i] = g.one(ctx, p)
			if p.name == piecesStats {
				if items[i].Error != "" {
					silent = errors.New(items[i].Error)
				}
				close(answered)
			}
		})
	}
	wg.Wait()
	return items
}

func notHad(p piece, err error, took time.Duration) evidence.Item {
	return evidence.Item{Name: p.name, At: time.Now().UTC(), Error: brief(err), Took: took}
}

// one looks at one thing and keeps it, or says why not.
func (g *gathering) one(ctx context.Context, p piece) evidence.Item {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, pieceTimeout)
	defer cancel()
	item, err := aside(ctx, func() (evidence.Item, error) {
		data, mime, err := p.look(ctx)
		if err != nil {
			return evidence.Item{}, err
		}
		if ctx.Err() != nil {
			return evidence.Item{}, ctx.Err() // nobody waits any more
		}
		return g.a.opts.Evidence.Put(g.in.IncidentID, g.in.Key, p.name, mime, data)
	})
	took := time.Since(began)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return notHad(p, fmt.Errorf("not had within %s: %w", took.Round(100*time.Millisecond), err), took)
	case err != nil:
		return notHad(p, err, took)
	}
	item.Took = took
	return item
}

// finish writes the set down. A repair does not wait for a folder that hangs.
func (g *gathering) finish(ctx context.Context, items []evidence.Item) (evidence.Set, error) {
	ctx, cancel := context.WithTimeout(ctx, indexTimeout)
	defer cancel()
	set, err := aside(ctx, func() (evidence.Set, error) {
		return g.a.opts.Evidence.Finish(g.in.IncidentID, g.in.Key, items)
	})
	if err != nil {
		return evidence.Set{Items: items}, err
	}
	return set, nil
}

// aside does what may never return on a goroutine of its own, which then ends
// when it does.
func aside[T any](ctx context.Context, do func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	results := make(chan result, 1)
	go func() {
		value, err := do()
		results <- result{value, err}
	}()
	select {
	case r := <-results:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}
