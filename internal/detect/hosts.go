package detect

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"holdfast/internal/detect/rules"
	"holdfast/internal/fault"
)

// node is one host: whether it answers, and who says what about it.
type node struct {
	name   string
	points []string // that must agree
	guests map[string]*life
	sorted []*life // the same, by UUID
	pools  []*pool // that it has, by name
	track  *rules.Track
	meter  rules.NodeMeter

	answeredAt  time.Time // when it was last asked and answered
	silentSince time.Time // zero: it answers
	silentWhy   string
	failedAt    time.Time             // when it was last found not to answer
	votes       map[string]fault.Vote // by vantage point, the newest
	doubt       string                // why a fault of it is held back
	memory      time.Time             // of the last memory failure
}

// What libvirt's own connection is called among the votes.
const ownVote = "libvirt"

const (
	// votesEvery is how often the vantage points of a silent host are asked.
	votesEvery = 5 * time.Second
	// votesFresh is how old a vote may be to count.
	votesFresh = 20 * time.Second
	// atOnce is how far apart hosts may fall silent to have done so at once.
	atOnce = 30 * time.Second
	// memoryQuiet is how long after the last failure of a host's memory it is over.
	memoryQuiet = time.Hour
)

func (n *node) silent(at time.Time, why string) {
	n.silentWhy = why
	if at.After(n.failedAt) {
		n.failedAt = at
	}
	if n.silentSince.IsZero() && !at.Before(n.answeredAt) {
		n.silentSince = at
		n.votes = map[string]fault.Vote{}
	}
}

// answered notes that a host was asked at that time, and answered.
func (e *Engine) answered(n *node, at time.Time) []Change {
	if at.Before(n.answeredAt) {
		return nil
	}
	n.answeredAt = at
	if n.silentSince.IsZero() || at.Before(n.silentSince) {
		return nil
	}
	n.silentSince, n.silentWhy, n.doubt = time.Time{}, "", ""
	return e.release(at, fault.HostSlot(n.name), n.answers())
}

func (n *node) answers() fault.Sighting {
	return fault.Sighting{Host: n.name, State: "answers", At: wall(n.answeredAt)}
}

// Voted takes what vantage points say about a host. What follows is judged with
// the next Tick, as hosts may fail together.
func (e *Engine) Voted(host string, at time.Time, votes ...fault.Vote) {
	n := e.nodes[host]
	if n == nil {
		return
	}
	for _, v := range votes {
		if !v.At.Before(n.votes[v.From].At) {
			n.votes[v.From] = v
		}
	}
}

// fresh are the votes that count, the monitor's own first, then by name.
func (n *node) fresh(at time.Time) []fault.Vote {
	out := []fault.Vote{{From: ownVote, Says: fault.HostSilent, Why: n.silentWhy, At: wall(n.failedAt)}}
	for _, from := range sortedKeys(n.votes) {
		if v := n.votes[from]; at.Sub(v.At) <= votesFresh && !v.At.Before(n.silentSince) {
			out = append(out, v)
		}
	}
	return out
}

// opinion is what the votes about a silent host come to. kind is empty where
// nothing is to be raised; why says so.
func (e *Engine) opinion(n *node, at time.Time) (kind fault.Kind, why string) {
	votes := n.fresh(at)
	said := map[string]fault.Verdict{}
	var alive []fault.Vote
	for _, v := range votes {
		said[v.From] = v.Says
		switch {
		case v.Says == fault.HostOff:
			return fault.KindHostOff, fmt.Sprintf("libvirt on %s does not answer, and %s says that it is off", n.name, v.From)
		case v.Says.Alive():
			alive = append(alive, v)
		}
	}
	if n.failedAt.Sub(n.silentSince) < e.o.UnreachableAfter {
		return "", "" // one that has not been asked since may have come back
	}
	if len(alive) > 0 {
		return lives(n.name, n.silentWhy, alive)
	}
	if len(n.points) == 0 {
		return "", fmt.Sprintf("%s is silent, and no vantage point is configured that could confirm it", n.name)
	}
	for _, p := range n.points {
		if said[p] != fault.HostSilent {
			return "", fmt.Sprintf("%s is silent, and %s has not confirmed it", n.name, p)
		}
	}
	if s := e.stand[fault.HostSlot(n.name)]; s != nil && s.fault.Kind == fault.KindLibvirtdHung && !n.heardBy("agent", "heartbeat") {
		// A libvirtd that hangs accepts until its queue is full, and looks silent then.
		return fault.KindLibvirtdHung, s.fault.Why
	}
	return fault.KindHostUnreachable, fmt.Sprintf("nothing reaches %s: %s", n.name, n.silentWhy)
}

// heardBy: one of these is among the points that look at the host.
func (n *node) heardBy(points ...string) bool {
	return slices.ContainsFunc(points, func(p string) bool { return slices.Contains(n.points, p) })
}

// lives judges a host whose libvirtd is silent for this monitor and whose
// kernel somebody has seen alive.
func lives(host, silent string, alive []fault.Vote) (fault.Kind, string) {
	best := alive[0]
	for _, v := range alive {
		switch v.Says {
		case fault.HostAnswers:
			return "", fmt.Sprintf("%s is silent for this monitor alone: %s reaches its libvirtd", host, v.From)
		case fault.HostRefuses, fault.HostAccepts:
			if best.Says == fault.HostAlive {
				best = v
			}
		}
	}
	switch best.Says {
	case fault.HostRefuses:
		return fault.KindLibvirtdDead, fmt.Sprintf("%s lives, and nothing listens where its libvirtd should (%s: %s)", host, best.From, best.Why)
	case fault.HostAccepts:
		return fault.KindLibvirtdHung, fmt.Sprintf("%s lives, and its libvirtd accepts connections and answers nothing (%s): %s", host, best.From, silent)
	}
	if own[best.From] { // this monitor reaches the host, so it is not the network
		return fault.KindLibvirtdHung, fmt.Sprintf("%s lives (%s: %s), and its libvirtd does not answer: dead or hung, nobody could tell", host, best.From, best.Why)
	}
	return "", fmt.Sprintf("%s lives (%s: %s), but this monitor cannot reach its libvirtd, and nobody could tell whether it runs", host, best.From, best.Why)
}

// judgeHosts goes through the hosts that are silent, and what it means together.
func (e *Engine) judgeHosts(at time.Time) []Change {
	var silent []*node
	for _, n := range e.order {
		if n.silentSince.IsZero() {
			continue
		}
		silent = append(silent, n)
		e.want(at, Want{Kind: WantVotes, Host: n.name}, votesEvery)
		e.want(at, Want{Kind: WantListing, Host: n.name}, votesEvery)
	}
	changes := e.judgeCutOff(at, silent)
	_, cutOff := e.stand[fault.SiteSlot(fault.KindCutOff)]
	for _, n := range silent {
		kind, why := e.opinion(n, at)
		if cutOff && kind != fault.KindHostOff {
			n.doubt = "this monitor is cut off from most hosts, so their silence says nothing about " + n.name
			continue
		}
		if kind == "" {
			changes = append(changes, e.unsure(n, at, why)...)
			continue
		}
		n.doubt = ""
		changes = append(changes, e.hold(at, e.hostFault(n, kind, why, at))...)
	}
	return append(changes, e.judgeStorm(at)...)
}

// unsure is a silent host with no fault to raise. One that stands stays, until
// the host answers or is known to live.
func (e *Engine) unsure(n *node, at time.Time, why string) []Change {
	if n.doubt == why || why == "" {
		return nil
	}
	n.doubt = why
	f := e.hostFault(n, fault.KindHostUnreachable, why, at)
	f.Site, f.Reporter, f.Last, f.First = e.o.Site, e.o.Reporter, wall(at), wall(n.silentSince)
	f.ID = faultID(n.name, f.Kind, f.Slot(), f.First)
	return []Change{{Kind: Doubted, Fault: f, By: fault.Sighting{Host: n.name, At: wall(at)}}}
}

func (e *Engine) hostFault(n *node, kind fault.Kind, why string, at time.Time) fault.Fault {
	f := fault.Fault{
		Kind: kind, Host: n.name, First: n.silentSince, Why: why, Votes: n.fresh(at), Inhibits: len(n.guests),
		Seen: fault.Sighting{Host: n.name, At: wall(n.answeredAt)},
	}
	if len(n.guests) > 0 {
		f.Evidence = append(f.Evidence, fault.Evidence{What: "VMs that ran on it when it last answered", Value: guestList(n), At: wall(n.answeredAt)})
	}
	if cur := e.stand[f.Slot()]; cur != nil {
		f.Frozen = cur.fault.Frozen
	}
	return f
}

// named is how many VMs a list spells out.
const named = 8

func guestList(n *node) string {
	names := make([]string, 0, len(n.guests))
	for _, g := range n.guests {
		names = append(names, g.vm.String())
	}
	slices.Sort(names)
	if more := len(names) - named; more > 0 {
		names = append(names[:named], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}

// judgeCutOff tells a monitor that sees nobody from a site where nobody is. All
// hosts at once, or most, are more likely to be the monitor's own trouble: only
// votes from elsewhere, or a power supply, speak against that.
func (e *Engine) judgeCutOff(at time.Time, silent []*node) []Change {
	slot := fault.SiteSlot(fault.KindCutOff)
	var lost []*node // silent, neither off nor within this monitor's reach
	newest := time.Time{}
	for _, n := range silent {
		if !n.reachedOrOff(at) {
			lost = append(lost, n)
			if n.silentSince.After(newest) {
				newest = n.silentSince
			}
		}
	}
	all := len(lost) == len(e.order) && len(lost) > 1
	most := false
	if together := countSince(lost, newest.Add(-atOnce)); !all && len(e.order) >= 3 && 2*together > len(e.order) {
		most = !e.confirmedElsewhere(lost, at)
	}
	_, stands := e.stand[slot]
	switch {
	case !all && !most && (!stands || 2*len(lost) <= len(e.order)):
		return e.release(at, slot, fault.Sighting{Host: e.o.Site, State: "hosts answer", At: wall(at)})
	case !stands && !e.lastedLong(lost):
		return nil
	}
	f := fault.Fault{
		Kind: fault.KindCutOff, First: newest, Inhibits: len(lost),
		Why: fmt.Sprintf("%d of %d hosts fell silent for this monitor at once: it says nothing about them while that is so", len(lost), len(e.order)),
	}
	for _, n := range lost[:min(len(lost), named)] {
		f.Votes = append(f.Votes, n.fresh(at)...)
		f.Evidence = append(f.Evidence, fault.Evidence{What: n.name, Value: n.silentWhy, Since: wall(n.silentSince), At: wall(at)})
	}
	return e.hold(at, f)
}

func countSince(nodes []*node, from time.Time) int {
	n := 0
	for _, x := range nodes {
		if !x.silentSince.Before(from) {
			n++
		}
	}
	return n
}

// lastedLong: every one of them has been silent for long enough to be believed.
func (e *Engine) lastedLong(nodes []*node) bool {
	for _, n := range nodes {
		if n.failedAt.Sub(n.silentSince) < e.o.UnreachableAfter {
			return false
		}
	}
	return true
}

// own are the vantage points that share this monitor's place in the network.
var own = map[string]bool{ownVote: true, "tcp": true, "socket": true, "agent": true}

// reachedOrOff: something of the silent host answers this monitor itself, or its
// power supply says that it is off. Then the monitor's link is not to blame.
func (n *node) reachedOrOff(at time.Time) bool {
	for _, v := range n.fresh(at) {
		if v.Says == fault.HostOff || own[v.From] && v.Says.Alive() {
			return true
		}
	}
	return false
}

// confirmedElsewhere: for each of them, somebody at another place finds it
// silent, and nobody there finds it alive.
func (e *Engine) confirmedElsewhere(nodes []*node, at time.Time) bool {
	for _, n := range nodes {
		confirmed := false
		for _, v := range n.fresh(at) {
			if own[v.From] {
				continue
			}
			if v.Says.Alive() {
				return false
			}
			confirmed = confirmed || v.Says == fault.HostSilent
		}
		if !confirmed {
			return false
		}
	}
	return true
}

// judgeStorm freezes what is done to hosts when too many failed within a window.
func (e *Engine) judgeStorm(at time.Time) []Change {
	slot := fault.SiteSlot(fault.KindStorm)
	var hit []string
	for _, n := range e.order {
		if s := e.stand[fault.HostSlot(n.name)]; s != nil && at.Sub(s.fault.First) <= e.o.StormWindow {
			hit = append(hit, n.name)
		}
	}
	limit := e.o.StormShare * float64(len(e.order)) / 100
	if len(hit) < 2 || float64(len(hit)) <= limit {
		changes := e.release(at, slot, fault.Sighting{Host: e.o.Site, State: "calm", At: wall(at)})
		if e.stand[slot] == nil {
			changes = append(changes, e.freeze(at, "")...)
		}
		return changes
	}
	why := fmt.Sprintf("%d of %d hosts failed within %s, more than %.0f %%: nothing is done to hosts until this is over", len(hit), len(e.order), e.o.StormWindow, e.o.StormShare)
	changes := e.hold(at, fault.Fault{
		Kind: fault.KindStorm, Why: why, Inhibits: len(hit),
		Evidence: []fault.Evidence{{What: "hosts", Value: strings.Join(hit[:min(len(hit), 4*named)], ", "), At: wall(at)}},
	})
	return append(changes, e.freeze(at, why)...)
}

// freeze puts why nothing may be done into the faults of hosts, or takes it out
// if it is empty, and says so where it is new.
func (e *Engine) freeze(at time.Time, why string) []Change {
	var changes []Change
	for _, n := range e.order {
		s := e.stand[fault.HostSlot(n.name)]
		if s == nil || s.fault.Frozen == why {
			continue
		}
		s.fault.Frozen, s.fault.Last = why, wall(at)
		changes = append(changes, Change{Kind: StillTrue, Fault: s.fault})
	}
	return changes
}

// MemoryFailed notes that memory of a host failed, and how.
func (e *Engine) MemoryFailed(host string, at time.Time, how string) []Change {
	n := e.nodes[host]
	if n == nil {
		return nil
	}
	n.memory = at
	return e.hold(at, fault.Fault{
		Kind: fault.KindMemoryErrors, Host: host, Why: fmt.Sprintf("memory of %s failed: %s", host, how),
		Evidence: []fault.Evidence{{What: "memory failure", Value: how, At: wall(at)}},
	})
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
