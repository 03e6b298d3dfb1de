// Package simulated is a site of in-memory hosts and VMs with injected faults,
// for tests at a scale that no lab has and for people without KVM. It passes
// the same conformance suite as the libvirt driver, and its states, reasons and
// events are those that libvirt 9.0 with QEMU 7.2 gives for the same fault.
//
// It costs no goroutine per VM and per host, only one per subscription, and no
// call looks at more than one host.
package simulated

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"holdfast/internal/hypervisor"
)

// namespace of the VMs' UUIDs: the same options give the same UUIDs, always.
var namespace = uuid.MustParse("6f1d9b7e-3f0c-5a52-9d3e-0c5b0a7f4d11")

// Options describe the site to make.
type Options struct {
	// Site goes into the VMs' UUIDs, so that two sites do not share any.
	Site string
	// Hosts is how many: A, B, … Z, AA, AB, …
	Hosts int
	// VMsPerHost VMs are defined and running on each host at the start: VM1 on
	// A, VM2 on B, and so on round.
	VMsPerHost int
	// CallLatency is what every call takes, StartLatency what a start takes on top.
	CallLatency, StartLatency time.Duration
	// DownAfter is how long a host may be silent (cut, powered off, libvirtd
	// hung) before the connection counts as lost: until then calls wait for their
	// context, after that they fail with ErrUnreachable at once. 0: a cut or
	// powered off host is lost at once and a hung libvirtd never.
	DownAfter time.Duration
	// NoAgents: the guests have no guest agent, and no channel for one.
	NoAgents bool
	// EventBuffer is how many unread events one subscriber may have; 0 is
	// broadcast.DefaultBuffer.
	EventBuffer int
}

// Cluster is the site. Its methods may be called from any goroutine; those
// that take a VM take its name or its UUID.
type Cluster struct {
	opts     Options
	machines []*machine
	byName   map[string]*machine
	vms      []*vm
	byVM     map[string]*vm // by name and by UUID
	marks    marks
}

// vm is the identity of a VM, whichever hosts have it defined.
type vm struct {
	name, uuid string
	nic        string // as every host calls it

	load       atomic.Pointer[Load]
	allocation atomic.Uint64 // bytes of its disk

	mu         sync.Mutex
	activeOn   []string // hosts where it is active; more than one is a disaster
	starts     int
	failStarts int            // how many of the next starts fail; negative: all
	failOn     map[string]int // the same, by the host that they are on
	storedOn   string         // the host that alone reaches its disk; empty: all that share storage
	copies     []TwoCopies
	annotation string   // the latest; goes into its next definition
	lostBy     *machine // the host that lost it last
	told       told     // what it tells to whoever looks at it
	disk       content
	stored     storage
	// How many of the next of each fail; negative: all.
	failSnapshots, failReverts, failBackups, failRestores int
}

func newVM(site string, n int) *vm {
	name := fmt.Sprintf("VM%d", n)
	v := &vm{name: name, uuid: uuid.NewSHA1(namespace, []byte(site+"/"+name)).String(), nic: "vnet-" + name}
	calm := CalmLoad()
	v.load.Store(&calm)
	v.allocation.Store(firstAllocated)
	return v
}

// VM says what a simulated VM is called.
type VM struct{ Name, UUID string }

// TwoCopies is the disaster that Holdfast must never cause: a VM active on
// more than one host at once.
type TwoCopies struct {
	VM    string
	UUID  string
	Hosts []string // where it was active at that moment, the newest last
	At    time.Time
}

// New makes a site. It panics on a negative count, which is a mistake in the
// caller's source.
func New(opts Options) *Cluster {
	if opts.Hosts < 0 || opts.VMsPerHost < 0 {
		panic("simulated.New: Hosts and VMsPerHost cannot be negative")
	}
	c := &Cluster{
		opts:   opts,
		byName: make(map[string]*machine, opts.Hosts),
		byVM:   make(map[string]*vm, 2*opts.Hosts*opts.VMsPerHost),
	}
	for i := range opts.Hosts {
		m := newMachine(i, opts)
		m.vms, m.marks = c.byVM, &c.marks
		c.machines = append(c.machines, m)
		c.byName[m.name] = m
	}
	for i := range opts.Hosts * opts.VMsPerHost {
		v := newVM(opts.Site, i+1)
		c.vms = append(c.vms, v)
		c.byVM[v.name], c.byVM[v.uuid] = v, v
		m := c.machines[i%opts.Hosts]
		m.mu.Lock()
		m.define(v)
		m.domains[v.uuid].boot()
		m.mu.Unlock()
	}
	return c
}

// hostName counts A, B, … Z, AA, AB, …
func hostName(i int) string {
	var name []byte
	for i++; i > 0; i = (i - 1) / 26 {
		name = append(name, byte('A'+(i-1)%26))
	}
	slices.Reverse(name)
	return string(name)
}

// Host returns a new connection to the host of that name; closing it leaves
// the host and other connections alone. It panics if there is no such host:
// use [Cluster.Site] where the name comes from outside.
func (c *Cluster) Host(name string) hypervisor.Host {
	m, err := c.machine(name)
	if err != nil {
		panic(err)
	}
	return newHost(m)
}

// Hosts returns a new connection to every host, in order.
func (c *Cluster) Hosts() []hypervisor.Host {
	hosts := make([]hypervisor.Host, 0, len(c.machines))
	for _, m := range c.machines {
		hosts = append(hosts, newHost(m))
	}
	return hosts
}

// Site returns a new connection to every host as a site.
func (c *Cluster) Site() *hypervisor.Site {
	site, err := hypervisor.NewSite(c.Hosts()...)
	if err != nil {
		panic(err) // the names are ours and differ
	}
	return site
}

// VMs lists every VM, VM1 first.
func (c *Cluster) VMs() []VM {
	out := make([]VM, 0, len(c.vms))
	for _, v := range c.vms {
		out = append(out, VM{Name: v.name, UUID: v.uuid})
	}
	return out
}

// VM finds a VM by name or UUID.
func (c *Cluster) VM(nameOrUUID string) (VM, bool) {
	v, ok := c.byVM[nameOrUUID]
	if !ok {
		return VM{}, false
	}
	return VM{Name: v.name, UUID: v.uuid}, true
}

// ActiveOn names the hosts where the VM is active, whether or not anybody can
// reach them: the truth that no single connection can tell.
func (c *Cluster) ActiveOn(vm string) ([]string, error) {
	v, err := c.vm(vm)
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.activeOn), nil
}

// Starts counts how often the VM was started since the site was made, failed
// starts included, the first boot not.
func (c *Cluster) Starts(vm string) (int, error) {
	v, err := c.vm(vm)
	if err != nil {
		return 0, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.starts, nil
}

// TwoCopies reports every moment at which a VM became active on a second host.
// Empty is the only acceptable answer.
func (c *Cluster) TwoCopies() []TwoCopies {
	var out []TwoCopies
	for _, v := range c.vms {
		v.mu.Lock()
		out = append(out, v.copies...)
		v.mu.Unlock()
	}
	return out
}

func (c *Cluster) machine(name string) (*machine, error) {
	m, ok := c.byName[name]
	if !ok {
		return nil, fmt.Errorf("simulated site has no host %q: it has %d, from A on", name, len(c.machines))
	}
	return m, nil
}

func (c *Cluster) vm(nameOrUUID string) (*vm, error) {
	v, ok := c.byVM[nameOrUUID]
	if !ok {
		return nil, fmt.Errorf("simulated site has no VM %q: it has %d, from VM1 on", nameOrUUID, len(c.vms))
	}
	return v, nil
}

// activated notes that v runs on host from now on.
func (v *vm) activated(host string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if slices.Contains(v.activeOn, host) {
		return
	}
	v.activeOn = append(v.activeOn, host)
	if since := v.stored.since.host; since != "" && since != host {
		v.stored.since = tracking{lost: "it has run on host " + host + " since the last one, which was made by host " + since}
	}
	if len(v.activeOn) > 1 {
		v.copies = append(v.copies, TwoCopies{
			VM: v.name, UUID: v.uuid, Hosts: slices.Clone(v.activeOn), At: time.Now(),
		})
	}
}

func (v *vm) deactivated(host string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.activeOn = slices.DeleteFunc(v.activeOn, func(h string) bool { return h == host })
}

// moved is a migration that has come through: it stops here as it goes on there.
func (v *vm) moved(from, to string) {
	v.deactivated(from)
	v.activated(to)
}

func (v *vm) annotated(element string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.annotation = element
}

// takeStart counts a start on a host and says whether it must fail.
func (v *vm) takeStart(host string) (fails bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.starts++
	there := v.failOn[host]
	if there > 0 {
		v.failOn[host]--
	}
	everywhere := v.failStarts
	if everywhere > 0 {
		v.failStarts--
	}
	return there != 0 || everywhere != 0
}
