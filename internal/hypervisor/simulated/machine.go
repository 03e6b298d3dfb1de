package simulated

import (
	"fmt"
	"sync"
	"time"

	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/broadcast"
)

// machine is one host as it really is, whoever is connected to it.
type machine struct {
	index int // the order in which two are locked
	name  string
	opts  Options
	hub   broadcast.Hub

	mu      sync.Mutex
	vms     map[string]*vm // all that there are; nobody changes it any more
	marks   *marks         // of all hosts
	domains map[string]*domain
	order   []*domain // as defined, so that listings are the same every time

	node  nodeState
	pool  pool
	dumps map[string]uint64 // bytes, by path

	trialFiles []string // names
	own        bool     // its folders are not the storage that the others share

	off        bool // no power
	cut        bool // no network; guests run on
	libvirtd   daemon
	gone       chan struct{} // closed while the connection counts as lost
	lost       bool
	lostTimer  *time.Timer
	dropEvents bool

	// pending is what was sent and not read yet: libvirtd hangs, or the network
	// may still come back.
	pending []func()
}

type daemon int

const (
	daemonRuns daemon = iota
	daemonHangs
	daemonDead
)

func newMachine(index int, opts Options) *machine {
	name := hostName(index)
	m := &machine{
		index:   index,
		name:    name,
		opts:    opts,
		node:    nodeState{Node: CalmNode()},
		pool:    newPool(opts.Site, name),
		gone:    make(chan struct{}),
		domains: make(map[string]*domain, opts.VMsPerHost),
	}
	m.hub.Buffer = opts.EventBuffer
	m.node.boot(time.Now())
	m.hub.Publish(m.event(hypervisor.EventConnectionUp))
	return m
}

// All methods below expect the caller to hold m.mu.

func (m *machine) silent() bool { return m.off || m.cut || m.libvirtd == daemonHangs }

// submit hands a request to libvirtd. It is served now, or when libvirtd reads
// its socket again, or never; it fails if there is no connection.
func (m *machine) submit(serve func()) error {
	if m.lost {
		return m.unreachable()
	}
	if m.silent() {
		m.pending = append(m.pending, serve)
		return nil
	}
	serve()
	return nil
}

func (m *machine) unreachable() error {
	return fmt.Errorf("host %s: %s: %w", m.name, m.trouble(), hypervisor.ErrUnreachable)
}

func (m *machine) trouble() string {
	switch {
	case m.off, m.cut:
		return "no route to host"
	case m.libvirtd == daemonDead:
		return "connection refused"
	case m.libvirtd == daemonHangs:
		return "keepalive not answered"
	}
	return "connection lost"
}

// linkChanged settles, after a fault came or went, whether the connection
// stands, and lets libvirtd read what it has not read yet.
func (m *machine) linkChanged() {
	dead := m.libvirtd == daemonDead && !m.off && !m.cut // the living kernel refuses at once
	unplugged := (m.off || m.cut) && m.opts.DownAfter == 0
	if m.lostTimer != nil && !m.silent() {
		m.lostTimer.Stop()
		m.lostTimer = nil
	}
	switch {
	case dead, unplugged:
		m.lose()
	case m.silent():
		if !m.lost && m.lostTimer == nil && m.opts.DownAfter > 0 {
			m.armLostTimer()
		}
		return
	case m.lost:
		m.lost = false
		m.gone = make(chan struct{})
		m.hub.Publish(m.event(hypervisor.EventConnectionUp))
	}
	if !m.silent() && m.libvirtd == daemonRuns {
		m.catchUp()
	}
}

// catchUp serves what waited, in order. A request that waits again, such as
// for a hung QEMU, goes elsewhere, so this ends.
func (m *machine) catchUp() {
	waited := m.pending
	m.pending = nil
	for _, serve := range waited {
		serve()
	}
}

func (m *machine) armLostTimer() {
	var timer *time.Timer
	timer = time.AfterFunc(m.opts.DownAfter, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.lostTimer == timer { // else the host came back as the timer fired
			m.lostTimer = nil
			m.lose()
		}
	})
	m.lostTimer = timer
}

// lose drops the connection. What a hung libvirtd has in its socket buffer
// stays there and is served when it goes on: only the caller has left.
func (m *machine) lose() {
	if m.libvirtd != daemonHangs || m.off || m.cut {
		m.pending = nil
	}
	if m.lost {
		return
	}
	m.lost = true
	close(m.gone)
	if m.libvirtd == daemonRuns { // it notices as well that its clients are gone
		m.endTrials(everyTrial)
	}
	ev := m.event(hypervisor.EventConnectionDown)
	ev.Reason = hypervisor.Reason(m.trouble())
	m.hub.Publish(ev)
}

// tell publishes an event about d, if anybody can receive it.
func (m *machine) tell(d *domain, kind hypervisor.EventKind, why hypervisor.Reason) {
	m.tellOf(d, hypervisor.Event{Kind: kind, Reason: why})
}

// tellOf is tell, with more about the event.
func (m *machine) tellOf(d *domain, ev hypervisor.Event) {
	if d.onTrial != nil || m.dropEvents || m.lost || m.off || m.cut || m.libvirtd == daemonDead {
		return
	}
	say := func() {
		ev.Host, ev.UUID, ev.Name, ev.At = m.name, d.vm.uuid, d.vm.name, time.Now()
		m.hub.Publish(ev)
	}
	if m.libvirtd == daemonHangs { // it will notice, later
		m.pending = append(m.pending, say)
		return
	}
	say()
}

func (m *machine) event(kind hypervisor.EventKind) hypervisor.Event {
	return hypervisor.Event{Host: m.name, Kind: kind, At: time.Now()}
}

// define adds v, shut off, unless it is there.
func (m *machine) define(v *vm) *domain {
	if d, ok := m.domains[v.uuid]; ok {
		return d
	}
	d := &domain{vm: v, on: m, state: hypervisor.StateShutoff, reason: hypervisor.ReasonUnknown}
	v.mu.Lock()
	d.annotation = v.annotation
	v.mu.Unlock()
	m.domains[v.uuid] = d
	m.order = append(m.order, d)
	return d
}

// forget removes d. It leaves the order that somebody may be going through alone.
func (m *machine) forget(d *domain) {
	delete(m.domains, d.vm.uuid)
	order := make([]*domain, 0, len(m.order))
	for _, other := range m.order {
		if other != d {
			order = append(order, other)
		}
	}
	m.order = order
}

func (m *machine) find(uuid string) (*domain, error) {
	d, ok := m.domains[uuid]
	if !ok {
		return nil, fmt.Errorf("domain %s on %s: %w", uuid, m.name, hypervisor.ErrNotFound)
	}
	return d, nil
}
