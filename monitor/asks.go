package monitor

import (
	"context"
	"errors"
	"sync"
	"time"

	"holdfast/internal/annotation"
	"holdfast/internal/detect"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor"
)

// Panel asks everybody who looks at a host from elsewhere than its libvirt
// connection; internal/vantage has one.
type Panel interface {
	// Points are the names in the votes that must all find the host silent.
	Points() []string
	// Look returns the votes, by the end of ctx at the latest.
	Look(ctx context.Context) []fault.Vote
}

const (
	// asksAtOnce is how many questions to one host are under way at once: more
	// would use up connections that listings need.
	asksAtOnce = 2
	// asksKept bounds the questions that wait; the Engine asks again.
	asksKept = 4096
	// lookWithin is how long all vantage points of a host have together.
	lookWithin = 15 * time.Second
)

// asks carries out what the Engine wants to know about one host.
type asks struct {
	w *watch

	mu      sync.Mutex
	queue   []detect.Want
	running int
	closed  bool
	under   sync.WaitGroup
}

// close takes no more questions, and waits for those under way.
func (a *asks) close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.under.Wait()
}

// add takes a question. It does not block.
func (a *asks) add(ctx context.Context, want detect.Want) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.closed:
		return
	case want.Kind == detect.WantListing:
		nudge(a.w.listNow)
		return
	case want.Kind == detect.WantSample:
		nudge(a.w.sampleNow)
		return
	case want.Kind == detect.WantVotes, want.Kind == detect.WantPools:
		// Those may take long, and there is one of each at most.
		a.under.Go(func() { a.w.ask(ctx, want) })
		return
	}
	if len(a.queue) >= asksKept {
		return
	}
	a.queue = append(a.queue, want)
	if a.running < asksAtOnce {
		a.running++
		a.under.Go(func() { a.run(ctx) })
	}
}

// nudge asks for something that is done soon; asking twice is asking once.
func nudge(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (a *asks) run(ctx context.Context) {
	for {
		a.mu.Lock()
		if len(a.queue) == 0 || ctx.Err() != nil {
			a.running--
			a.mu.Unlock()
			return
		}
		want := a.queue[0]
		a.queue = a.queue[1:]
		a.mu.Unlock()
		a.w.ask(ctx, want)
	}
}

// ask answers one question.
func (w *watch) ask(ctx context.Context, want detect.Want) {
	w.m.metrics.questions.WithLabelValues(string(want.Kind)).Inc()
	within := w.m.opts.CallTimeout
	if want.Kind == detect.WantVotes {
		within = max(within, lookWithin)
	}
	parent := ctx
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	name := w.host.Name()
	asked := time.Now()
	switch want.Kind {
	case detect.WantVotes:
		if w.panel == nil || !w.looking.CompareAndSwap(false, true) {
			return
		}
		defer w.looking.Store(false)
		votes := w.panel.Look(ctx)
		w.m.tell(parent, func(e *detect.Engine) []detect.Change { e.Voted(name, time.Now(), votes...); return nil })
	case detect.WantPools:
		w.poolsOnce(parent)
	case detect.WantDefinition:
		w.describe(ctx, parent, want.VM)
	case detect.WantDisks:
		disks, err := w.host.DiskErrors(ctx, want.VM.UUID)
		if err != nil {
			w.log.Debug("no disk errors", "vm", want.VM.String(), "error", err)
			return
		}
		full := false
		for _, d := range disks {
			full = full || d.NoSpace
		}
		w.m.tell(parent, func(e *detect.Engine) []detect.Change { return e.DisksTold(name, asked, want.VM, full) })
	case detect.WantGuest:
		w.askGuest(ctx, parent, want.VM)
	}
}

// askGuest asks a guest's agent for the time.
func (w *watch) askGuest(ctx, parent context.Context, vm fault.VM) {
	asked := time.Now()
	theirs, err := w.host.GuestTime(ctx, vm.UUID)
	now := time.Now()
	switch {
	case err == nil:
	case errors.Is(err, hypervisor.ErrNoAgent), errors.Is(err, hypervisor.ErrTimeout):
		if parent.Err() != nil {
			return
		}
	default:
		// The host's trouble says nothing about the guest.
		w.log.Debug("guest agent not asked", "vm", vm.String(), "error", err)
		return
	}
	// Half the way there and back is in the answer.
	skew := theirs.Sub(asked.Add(now.Sub(asked) / 2))
	w.m.tell(parent, func(e *detect.Engine) []detect.Change { return e.GuestAnswered(w.host.Name(), now, vm, skew, err) })
}

// describe reads what a VM's definition says.
func (w *watch) describe(ctx, parent context.Context, vm fault.VM) {
	asked := time.Now()
	definition, err := w.host.Definition(ctx, vm.UUID)
	if err != nil {
		if !errors.Is(err, hypervisor.ErrNotFound) {
			w.log.Debug("definition not read", "vm", vm.String(), "error", err)
		}
		return
	}
	profile, err := profileOf(definition)
	if err != nil {
		w.log.Warn("the VM's annotation is partly not understood; `holdfast vm annotate` mends it", "vm", vm.String(), "error", err)
	}
	w.m.tell(parent, func(e *detect.Engine) []detect.Change { return e.Described(w.host.Name(), asked, vm, profile) })
}

// profileOf reads what a definition says that matters here. An error goes with
// what was understood all the same.
func profileOf(definition string) (detect.Profile, error) {
	p, err := annotation.Parse(definition)
	out := detect.Profile{Labels: p.Labels, Mode: p.Mode, HasAgent: p.HasAgent, AgentExpected: p.AgentExpected, Overrides: p.Overrides}
	for _, d := range p.Disks {
		if d.Source != "" {
			out.Disks = append(out.Disks, d.Source)
		}
	}
	return out, err
}

// poolsOnce looks at the host's storage pools, one look at a time: storage that
// hangs must hold up nothing else. One that is wanted while another is under way
// comes after it, because what that one finds may be older than the reason.
func (w *watch) poolsOnce(ctx context.Context) {
	w.poolsWanted.Store(true)
	for ctx.Err() == nil && w.poolsWanted.Load() && w.pooling.CompareAndSwap(false, true) {
		w.poolsWanted.Store(false)
		w.lookAtPools(ctx)
		w.pooling.Store(false)
	}
}

func (w *watch) lookAtPools(ctx context.Context) {
	call, cancel := context.WithTimeout(ctx, 2*w.m.opts.CallTimeout)
	defer cancel()
	asked := time.Now()
	list, err := w.host.Pools(call)
	if err != nil {
		w.log.Debug("storage pools not listed", "error", err)
		if errors.Is(err, hypervisor.ErrTimeout) && ctx.Err() == nil {
			w.m.tell(ctx, func(e *detect.Engine) []detect.Change { return e.PoolsSilent(w.host.Name(), asked, err.Error()) })
		}
		return
	}
	seen := make([]detect.PoolState, 0, len(list))
	for _, p := range list {
		seen = append(seen, detect.PoolState{
			Name: p.Name, State: string(p.State), Running: p.State == hypervisor.PoolRunning || p.State == hypervisor.PoolDegraded,
			Autostart: p.Autostart, Target: p.Target, Capacity: p.Capacity, Available: p.Available, Error: p.Error,
		})
	}
	w.m.tell(ctx, func(e *detect.Engine) []detect.Change { return e.PoolsListed(w.host.Name(), asked, seen) })
}
