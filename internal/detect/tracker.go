package detect

import (
	"cmp"
	"slices"
	"time"

	"holdfast/internal/fault"
)

// ChangeKind says what became of a fault.
type ChangeKind string

// Kinds of change. For one VM, Raised and Cleared alternate, beginning with
// Raised; StillTrue comes in between only.
const (
	Raised    ChangeKind = "raised"
	StillTrue ChangeKind = "still true"
	Cleared   ChangeKind = "cleared"
	// Doubted: a fault is held back, because another host says that the VM was
	// stopped on purpose and nobody saw which came last. It is said once, and
	// nothing is done.
	Doubted ChangeKind = "doubted"
)

// Change is one piece of news about one VM.
type Change struct {
	Kind ChangeKind
	// Fault as it stands now; for Cleared as it last stood, for Doubted as it
	// would have been raised.
	Fault fault.Fault
	// By is the sighting that cleared it or that makes it doubtful.
	By fault.Sighting
}

// Tracker is what all hosts of a site have said about all VMs, and the faults
// that follow. A VM has one fault at most. Nothing is raised until every host
// was listed or found unreachable once, because until then a host that has the
// VM running may not have been heard.
//
// Times must come from one clock. An observation that is older than what the
// Tracker already has from the same host about the same domain changes nothing,
// so a listing carries the time at which it was asked for, not that of the
// answer: an event that arrived in between is newer than it.
//
// A Tracker is not safe for use from several goroutines at once. Hosts that
// are not of the site are ignored.
type Tracker struct {
	site, reporter string

	order   []*hostView // by name
	hosts   map[string]*hostView
	vms     map[string]*vmView // by UUID
	untried int                // hosts neither listed nor found unreachable yet
}

// hostView is what one host has said.
type hostView struct {
	name     string
	tried    bool
	listedAt time.Time            // of the last complete listing; zero: never
	lostAt   time.Time            // when it was last found unreachable; zero: never
	seen     map[string]*sighting // by UUID
}

// vmView is one VM across the hosts.
type vmView struct {
	vm        fault.VM
	on        []*sighting  // one a host, by the host's name
	fault     *fault.Fault // raised and not cleared
	seenAt    time.Time    // when the host last said so, with the monotonic reading
	clearedAt time.Time    // when the last fault was cleared
	doubted   string       // ID of the fault that was last held back
	profile   *Profile     // what its definition said last; nil: nobody has read it
}

func (v *vmView) find(host string) (int, bool) {
	return slices.BinarySearchFunc(v.on, host, func(s *sighting, name string) int {
		return cmp.Compare(s.host.name, name)
	})
}

// at is what host last said about v, or nil.
func (v *vmView) at(host string) *sighting {
	if i, ok := v.find(host); ok {
		return v.on[i]
	}
	return nil
}

// NewTracker makes a Tracker for the hosts of a site. reporter goes into the
// faults.
func NewTracker(site, reporter string, hosts []string) *Tracker {
	t := &Tracker{
		site: site, reporter: reporter,
		hosts: make(map[string]*hostView, len(hosts)),
		vms:   make(map[string]*vmView),
	}
	for _, name := range hosts {
		if t.hosts[name] == nil {
			h := &hostView{name: name, seen: make(map[string]*sighting)}
			t.hosts[name] = h
			t.order = append(t.order, h)
		}
	}
	slices.SortFunc(t.order, func(a, b *hostView) int { return cmp.Compare(a.name, b.name) })
	t.untried = len(t.order)
	return t
}

// Listed takes the complete listing that host was asked for at that time. A
// domain that it does not have is forgotten.
func (t *Tracker) Listed(host string, at time.Time, seen []Observation) []Change {
	h := t.hosts[host]
	if h == nil || at.Before(h.listedAt) {
		return nil
	}
	touched := make([]string, 0, max(len(seen), len(h.seen)))
	listed := make(map[string]bool, len(seen))
	for _, o := range seen {
		listed[o.VM.UUID] = true
		touched = append(touched, o.VM.UUID)
		t.see(h, o, Listing, at)
	}
	for uuid, s := range h.seen {
		if !listed[uuid] && !s.at.After(at) {
			touched = append(touched, uuid)
			delete(h.seen, uuid)
			v := t.vms[uuid]
			if i, ok := v.find(host); ok {
				v.on = slices.Delete(v.on, i, i+1)
			}
		}
	}
	h.listedAt = at
	slices.Sort(touched)
	return t.judge(h, at, touched)
}

// Observed takes what an event said about one domain. It is news at once, when
// every host has been tried.
func (t *Tracker) Observed(host string, at time.Time, o Observation) []Change {
	h := t.hosts[host]
	if h == nil || at.Before(h.listedAt) && h.seen[o.VM.UUID] == nil {
		return nil // the listing knows better
	}
	t.see(h, o, Event, at)
	return t.judgeVM(at, o.VM.UUID)
}

// Defined notes an event that says no more than that host has the domain. From
// then on the host's last listing is no evidence that it has not.
func (t *Tracker) Defined(host string, at time.Time, vm fault.VM) []Change {
	h := t.hosts[host]
	if h == nil || h.seen[vm.UUID] != nil || at.Before(h.listedAt) {
		return nil
	}
	return t.Observed(host, at, Observation{VM: vm, State: noState, Reason: unknown})
}

// Unreachable notes that host could not be asked, or that its events can no
// longer be relied on. What it said before stays, with its own time.
func (t *Tracker) Unreachable(host string, at time.Time) []Change {
	h := t.hosts[host]
	if h == nil {
		return nil
	}
	if at.After(h.lostAt) {
		h.lostAt = at
	}
	touched := make([]string, 0, len(h.seen))
	for uuid := range h.seen {
		touched = append(touched, uuid)
	}
	slices.Sort(touched)
	return t.judge(h, at, touched)
}

// Settled reports whether every host was listed or found unreachable once.
func (t *Tracker) Settled() bool { return t.untried == 0 }

// Faults lists the faults that stand, by the UUID of their VM.
func (t *Tracker) Faults() []fault.Fault {
	var out []fault.Fault
	for _, v := range t.vms {
		if v.fault != nil {
			out = append(out, *v.fault)
		}
	}
	slices.SortFunc(out, func(a, b fault.Fault) int { return cmp.Compare(a.VM.UUID, b.VM.UUID) })
	return out
}

// see takes one observation in.
func (t *Tracker) see(h *hostView, o Observation, from Source, at time.Time) {
	v := t.vms[o.VM.UUID]
	if v == nil {
		v = &vmView{vm: o.VM}
		t.vms[o.VM.UUID] = v
	}
	if o.VM.Name != "" {
		v.vm.Name = o.VM.Name
	}
	s := h.seen[o.VM.UUID]
	if s == nil {
		s = &sighting{host: h}
		h.seen[o.VM.UUID] = s
		i, _ := v.find(h.name)
		v.on = slices.Insert(v.on, i, s)
		if from == Event || !h.listedAt.IsZero() {
			s.changed = at // otherwise it may have been so for long
		}
		s.take(o, from, at, Verdict{})
		s.outage = s.begin()
		return
	}
	if at.Before(s.at) {
		s.learn(o, at)
		return
	}
	s.update(o, from, at)
}

// judge goes through what an answer of h, or its silence, touched. The first
// word of the last host sets everything free that waited for it.
func (t *Tracker) judge(h *hostView, at time.Time, touched []string) []Change {
	if !h.tried {
		h.tried = true
		t.untried--
		if t.Settled() {
			touched = touched[:0]
			for uuid := range t.vms {
				touched = append(touched, uuid)
			}
			slices.Sort(touched)
		}
	}
	var changes []Change
	for _, uuid := range touched {
		changes = append(changes, t.judgeVM(at, uuid)...)
	}
	return changes
}
