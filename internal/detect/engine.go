package detect

import (
	"cmp"
	"slices"
	"time"

	"holdfast/internal/detect/rules"
	"holdfast/internal/fault"
)

// Options say what an Engine watches, and how patiently. All durations and
// numbers must be positive; the monitor fills in defaults.
type Options struct {
	Site, Reporter string
	Hosts          []HostOptions
	Rules          []rules.Rule
	// OverridesFor returns what a VM's class changes about the rules; nil: nothing.
	OverridesFor func(labels map[string]string) map[string]rules.Override
	// Period is how often a host is sampled, PoolsPeriod how often its storage
	// pools are looked at. Guest agents are asked for the time a fifth as often.
	Period, PoolsPeriod time.Duration
	// HungAfter is how long a VM must show no sign of life, or be paused without
	// a reason, before it is a fault.
	HungAfter time.Duration
	// BootWithin is how long a guest agent that is expected may take to answer.
	BootWithin time.Duration
	// UnreachableAfter is how long a host must be silent before it is a fault.
	UnreachableAfter time.Duration
	// StormShare is the percentage of the site's hosts above which StormWindow
	// makes failures a storm.
	StormShare  float64
	StormWindow time.Duration
	Flap        rules.Flap
}

// DefaultOptions are those of a site that sets nothing, with the usual rules and
// without hosts.
func DefaultOptions() Options {
	return Options{
		Rules:  rules.Defaults(),
		Period: 10 * time.Second, PoolsPeriod: time.Minute,
		HungAfter: 30 * time.Second, BootWithin: 5 * time.Minute, UnreachableAfter: 15 * time.Second,
		StormShare: 30, StormWindow: 5 * time.Minute,
		Flap: rules.Flap{Raises: 4, Window: 30 * time.Minute},
	}
}

// HostOptions are one host and who else looks at it.
type HostOptions struct {
	Name string
	// Points are the vantage points that must all find the host silent before it
	// counts as unreachable, by the names in their votes. A power command is none:
	// it can only say that a host is off.
	Points []string
}

// Engine is everything that is known of a site, and the faults that follow. It
// is pure: what was seen and when comes in, changes of faults come out, and what
// it wants asked. It holds the Tracker's rules for what befalls a VM's running,
// and adds what takes time, measuring, or more than one look.
//
// Times must come from one clock, and do not run backwards by more than an
// answer takes. An Engine is not safe for use from several goroutines at once.
type Engine struct {
	o       Options
	tracker *Tracker
	book    *rules.Book

	guests  map[string]*life // by UUID: the domains that are active somewhere
	nodes   map[string]*node // by host
	order   []*node          // by name
	pools   map[string]*pool // by name
	gone    map[string]*gone // by UUID
	moving  map[string]*life // by UUID: migrated away, not seen elsewhere yet
	pending map[string]*life // paused by an I/O error, cause not settled yet
	stand   map[string]*standing
	raises  map[string][]time.Time // by slot, within the flap window
	late    map[string]int         // samples in a row that came late, by host
	alerts  map[string]Alert       // by fingerprint: those that stand
	wants   []Want
	asked   map[Want]time.Time
	values  rules.Values // used again and again
}

// NewEngine makes an Engine. It fails on rules that make no sense.
func NewEngine(o Options) (*Engine, error) {
	book, err := rules.NewBook(o.Rules, o.Flap, o.Period, rules.Every(rules.PoolFull, o.PoolsPeriod), rules.Every(rules.VMClock, 5*o.PoolsPeriod))
	if err != nil {
		return nil, err
	}
	names := make([]string, len(o.Hosts))
	for i, h := range o.Hosts {
		names[i] = h.Name
	}
	e := &Engine{
		o: o, tracker: NewTracker(o.Site, o.Reporter, names), book: book,
		guests: map[string]*life{}, nodes: map[string]*node{}, pools: map[string]*pool{},
		gone: map[string]*gone{}, moving: map[string]*life{}, pending: map[string]*life{}, stand: map[string]*standing{},
		raises: map[string][]time.Time{}, late: map[string]int{}, alerts: map[string]Alert{}, asked: map[Want]time.Time{},
	}
	for _, h := range o.Hosts {
		if e.nodes[h.Name] == nil {
			n := &node{name: h.Name, points: h.Points, votes: map[string]fault.Vote{}, guests: map[string]*life{}}
			e.nodes[h.Name] = n
			e.order = append(e.order, n)
		}
	}
	slices.SortFunc(e.order, func(a, b *node) int { return cmp.Compare(a.name, b.name) })
	return e, nil
}

// guestEvery is how often an agent that answers is asked for the time.
func (e *Engine) guestEvery() time.Duration { return 5 * e.o.PoolsPeriod }

// WantKind says what is to be asked.
type WantKind string

// Kinds of want.
const (
	WantVotes      WantKind = "votes"       // look at Host from every vantage point: then Voted
	WantListing    WantKind = "listing"     // list Host now: then Listed or Unreachable
	WantSample     WantKind = "sample"      // sample Host now: then Sampled
	WantDefinition WantKind = "definition"  // read VM's definition on Host: then Described
	WantGuest      WantKind = "guest agent" // ask VM's guest agent on Host: then GuestAnswered
	WantDisks      WantKind = "disk errors" // ask Host for VM's disk errors: then DisksTold
	WantPools      WantKind = "pools"       // list Host's storage pools now: then PoolsListed
)

// Want is something that the Engine wants to know.
type Want struct {
	Kind WantKind
	Host string
	VM   fault.VM
}

// now is for what is wanted whenever it is: a look that is to confirm another must
// not be dropped because that other one has just been.
const now = time.Duration(0)

// want asks for something, unless it was asked for within the last while.
func (e *Engine) want(at time.Time, w Want, every time.Duration) {
	if last, ok := e.asked[w]; ok && at.Sub(last) < every {
		return
	}
	e.asked[w] = at
	e.wants = append(e.wants, w)
}

// TakeWants returns what is to be asked, and forgets it.
func (e *Engine) TakeWants() []Want {
	w := e.wants
	e.wants = nil
	return w
}

// Listed takes the complete listing that host was asked for at that time, as
// Tracker.Listed does.
func (e *Engine) Listed(host string, at time.Time, seen []Observation) []Change {
	n := e.nodes[host]
	if n == nil {
		return nil
	}
	vanished := e.vanished(n, at, seen)
	changes := e.lifecycle(at, e.tracker.Listed(host, at, seen))
	changes = append(changes, e.answered(n, at)...)
	for _, o := range seen {
		changes = append(changes, e.noticed(n, at, o)...)
	}
	for _, g := range vanished {
		e.vanish(n, g, at)
	}
	return append(changes, e.judgeGone(at)...)
}

// Observed takes what an event said about one domain, as Tracker.Observed does.
func (e *Engine) Observed(host string, at time.Time, o Observation) []Change {
	n := e.nodes[host]
	if n == nil {
		return nil
	}
	changes := e.lifecycle(at, e.tracker.Observed(host, at, o))
	return append(changes, e.noticed(n, at, o)...)
}

// Defined notes an event that says no more than that host has the domain.
func (e *Engine) Defined(host string, at time.Time, vm fault.VM) []Change {
	if e.nodes[host] == nil {
		return nil
	}
	if g := e.guests[vm.UUID]; g != nil && g.node.name == host {
		e.want(at, Want{WantDefinition, host, vm}, now)
	}
	return e.lifecycle(at, e.tracker.Defined(host, at, vm))
}

// Unreachable notes that host could not be asked, and why.
func (e *Engine) Unreachable(host string, at time.Time, why string) []Change {
	n := e.nodes[host]
	if n == nil {
		return nil
	}
	n.silent(at, why)
	delete(e.late, host) // nobody can say how late it would be
	return e.lifecycle(at, e.tracker.Unreachable(host, at))
}

// Tick lets time pass. It is called about once a second.
func (e *Engine) Tick(at time.Time) []Change {
	changes := e.judgeHosts(at)
	changes = append(changes, e.judgePending(at)...)
	changes = append(changes, e.judgeGone(at)...)
	changes = append(changes, e.judgeMoving(at)...)
	changes = append(changes, e.judgeAlerts(at)...)
	return append(changes, e.calmed(at)...)
}

// Settled reports whether every host was listed or found unreachable once.
func (e *Engine) Settled() bool { return e.tracker.Settled() }

// Faults lists the faults that stand, the worst first, then by subject.
func (e *Engine) Faults() []fault.Fault {
	out := e.tracker.Faults()
	for i := range out {
		e.label(&out[i])
	}
	for _, s := range e.stand {
		out = append(out, s.fault)
	}
	slices.SortFunc(out, func(a, b fault.Fault) int {
		return cmp.Or(levels[a.HowBad()]-levels[b.HowBad()], cmp.Compare(a.Slot(), b.Slot()))
	})
	return out
}

var levels = map[fault.Level]int{fault.Critical: 0, fault.Major: 1, fault.Warning: 2}

// lifecycle passes on what the Tracker says. A fault of a VM's running that the
// Engine itself holds gives way to it.
func (e *Engine) lifecycle(at time.Time, changes []Change) []Change {
	if len(changes) == 0 {
		return nil
	}
	out := make([]Change, 0, len(changes)+1)
	for _, c := range changes {
		e.label(&c.Fault)
		if c.Kind == Raised {
			delete(e.gone, c.Fault.VM.UUID)
			out = append(out, e.drop(at, c.Fault.Slot(), c.Fault.Seen)...)
		}
		out = append(out, c)
	}
	return out
}

// label puts what is known of the VM into its fault.
func (e *Engine) label(f *fault.Fault) {
	if v := e.tracker.vms[f.VM.UUID]; v != nil && v.profile != nil {
		f.Labels, f.Mode = v.profile.Labels, v.profile.Mode
	}
}
