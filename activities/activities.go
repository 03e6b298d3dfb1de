// Package activities holds the steps that touch the world. Each one first looks
// whether its work is already done, acts, and looks again whether it took, so
// that running it twice is the same as running it once.
package activities

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"go.temporal.io/sdk/activity"

	"holdfast/internal/agent"
	"holdfast/internal/contract"
	"holdfast/internal/evidence"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor"
	"holdfast/internal/ladder"
	"holdfast/internal/proof"
)

// Options say what a site's activities work with.
type Options struct {
	Site  string
	Hosts *hypervisor.Site
	// Policy is what the site wants done about every fault, unless PolicyFor says
	// more. PolicyFor gets the fault's kind, the VM's labels and the mode in its
	// annotation, which is empty if it has none; nil: Policy.
	Policy    ladder.Policy
	PolicyFor func(kind fault.Kind, labels map[string]string, annotatedMode string) ladder.Policy
	// BackupsTo is the pool or folder for the backups of a VM with these labels; empty:
	// it has none. nil: no VM has.
	BackupsTo func(labels map[string]string) string
	// Snapshots is what the site file says about the snapshots of a VM with these
	// labels; nil: schedules make none. AskGuardian asks the guardian of a VM for
	// something about them, as starter.Client.Snapshot does; nil: it cannot be asked.
	Snapshots   func(labels map[string]string) contract.SnapshotPolicy
	AskGuardian func(context.Context, contract.SnapshotRequest) (contract.SnapshotReply, error)
	// Vote looks at a host in other ways than through libvirt, such as TCP, and
	// returns a vote for each within ctx; nil: libvirt alone.
	Vote func(ctx context.Context, host string) []fault.Vote
	// CallTimeout bounds one question to a host; 0 means 5 s.
	CallTimeout time.Duration
	// Grace is what a host that evidence already rules out is given to answer
	// after all others have; 0 means 100 ms.
	Grace  time.Duration
	Logger *slog.Logger

	// Evidence is where evidence is kept; nil: none is gathered. EvidenceURL is where
	// this worker serves it, such as http://worker1.example.net:9464; empty: nowhere.
	Evidence    *evidence.Store
	EvidenceURL string
	// EvidenceTimeout is how long a repair waits for evidence; 0 means 5 s. A piece of
	// it has 3 s at most.
	EvidenceTimeout time.Duration
	// Logs reads the end of a log that a domain has on a host. It wants the domain's
	// name; nil: no log can be read.
	Logs func(ctx context.Context, host string, kind agent.Log, domain string) ([]byte, error)

	// Injector breaks things in a simulated site; nil on a real one.
	Injector Injector
}

// Activities are the steps of one site. Its exported methods are registered
// with the worker of that site.
type Activities struct {
	opts Options
}

// New checks the options and returns the activities of a site.
func New(o Options) (*Activities, error) {
	switch {
	case o.Site == "":
		return nil, fmt.Errorf("activities: site is empty")
	case o.Hosts == nil:
		return nil, fmt.Errorf("activities: site %s has no hosts", o.Site)
	}
	if err := o.Policy.Validate(); err != nil {
		return nil, fmt.Errorf("activities: recovery policy of site %s: %w", o.Site, err)
	}
	if o.CallTimeout <= 0 {
		o.CallTimeout = 5 * time.Second
	}
	if o.Grace <= 0 {
		o.Grace = 100 * time.Millisecond
	}
	if o.EvidenceTimeout <= 0 {
		o.EvidenceTimeout = evidenceTimeout
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return &Activities{opts: o}, nil
}

// policy is what the site wants done about a fault.
func (a *Activities) policy(in contract.PolicyInput) ladder.Policy {
	if a.opts.PolicyFor == nil {
		return a.opts.Policy
	}
	return a.opts.PolicyFor(in.Kind, in.Labels, in.Mode)
}

// Policy returns what the site wants done about a fault.
func (a *Activities) Policy(_ context.Context, in contract.PolicyInput) (ladder.Policy, error) {
	return a.policy(in), nil
}

// host finds a host of the site by name.
func (a *Activities) host(name string) (hypervisor.Host, error) {
	h, ok := a.opts.Hosts.Host(name)
	if !ok {
		return nil, notFound("site %s has no host %q: compare the site file of its workers with that of its monitors", a.opts.Site, name)
	}
	return h, nil
}

// look asks one host about one VM, within the site's call timeout.
func (a *Activities) look(ctx context.Context, h hypervisor.Host, uuid string) proof.Answer {
	ctx, cancel := context.WithTimeout(ctx, a.opts.CallTimeout)
	defer cancel()
	d, err := h.Domain(ctx, uuid)
	return answer(h.Name(), d, err)
}

// answer turns what a host said into evidence.
func answer(host string, d hypervisor.Domain, err error) proof.Answer {
	out := proof.Answer{Sighting: fault.Sighting{Host: host, At: time.Now().UTC()}}
	switch {
	case err == nil:
		out.State, out.Reason = string(d.State), string(d.Reason)
		out.Active = d.State.Active()
	case isNotFound(err):
		out.Absent = true
	default:
		out.Error = brief(err)
	}
	return out
}

// running reports whether an answer says that the guest executes.
func running(a proof.Answer) bool {
	return a.Error == "" && hypervisor.State(a.State).Running()
}

// keepAlive heartbeats until the returned function is called, which waits for
// it to end. A worker that dies is so noticed within the heartbeat timeout. What
// goes on after it was cancelled, for it must not be cut off, heartbeats on.
func keepAlive(ctx context.Context) (stop func()) {
	_, stop = keepNoting(ctx)
	return stop
}

// keepNoting is keepAlive, and note is sent at once and with every beat from then
// on: whoever goes on after a worker died finds it in its heartbeat details.
func keepNoting(ctx context.Context) (note func(string), stop func()) {
	var every time.Duration
	if activity.IsActivity(ctx) {
		every = activity.GetInfo(ctx).HeartbeatTimeout / 3
	}
	if every <= 0 {
		return func(string) {}, func() {}
	}
	done, ended := make(chan struct{}), make(chan struct{})
	// A beat's call ends with its context: with that of the activity none would arrive
	// once it is cancelled, and Temporal would take the worker for dead.
	ctx = context.WithoutCancel(ctx)
	var noted atomic.Pointer[string]
	beat := func() {
		if text := noted.Load(); text != nil {
			activity.RecordHeartbeat(ctx, *text)
			return
		}
		activity.RecordHeartbeat(ctx)
	}
	go func() {
		defer close(ended)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				beat()
			}
		}
	}()
	return func(text string) { noted.Store(&text); beat() }, func() { close(done); <-ended }
}

// toTheEnd is a context for a call that must not be cut off half-way: it ends when
// the activity's time is over, and not when the activity is cancelled.
func toTheEnd(ctx context.Context) (context.Context, context.CancelFunc) {
	uncut := context.WithoutCancel(ctx)
	if until, ok := ctx.Deadline(); ok {
		return context.WithDeadline(uncut, until)
	}
	return context.WithCancel(uncut)
}

// notedBefore is what a worker that died with this activity had noted; empty: nothing.
func notedBefore(ctx context.Context) (text string) {
	if activity.IsActivity(ctx) && activity.HasHeartbeatDetails(ctx) {
		_ = activity.GetHeartbeatDetails(ctx, &text) // of a beat that noted nothing
	}
	return text
}
