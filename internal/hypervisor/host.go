// Package hypervisor says what Holdfast needs from a host: one libvirtd and the
// machine under it. Everything above it sees this interface only; the libvirt
// driver and the simulated one live in its sub-packages and both pass the
// conformance suite in hosttest.
package hypervisor

import (
	"context"
	"time"
)

// Host is one libvirtd and the machine under it.
//
// Every method may be called from any number of goroutines at once. Every
// method honours its context: when it ends, the method returns the context's
// error wrapped in [ErrTimeout] (deadline) or as it is (cancelled), even when
// the hypervisor below never answers. A host that does not answer never delays
// a call on another Host.
//
// Errors match the sentinels of this package with [errors.Is].
type Host interface {
	// Name is the host's name in the site file, not its DNS name.
	Name() string

	// Connect brings the connection up if it is not, and proves that the host
	// answers. It is idempotent. The other methods connect by themselves; Connect
	// is for those who want to know.
	Connect(ctx context.Context) error

	// Domains lists every domain the host knows, active or not, with state and
	// reason. A complete list or an error, never a part of one.
	Domains(ctx context.Context) ([]Domain, error)

	// Domain looks one domain up by UUID. ErrNotFound if the host does not know it.
	Domain(ctx context.Context, uuid string) (Domain, error)

	// Definition is the domain's inactive (persistent) XML, or the live XML of a
	// transient domain. It may hold secrets: never log it, never put it into an error.
	Definition(ctx context.Context, uuid string) (string, error)

	// Start boots a defined, inactive domain. ErrAlreadyActive if it is active.
	Start(ctx context.Context, uuid string) error

	// Destroy pulls the plug of an active domain. ErrNotActive if it is not active.
	Destroy(ctx context.Context, uuid string) error

	// Reset presses the reset button of an active domain. ErrNotActive if it is not.
	Reset(ctx context.Context, uuid string) error

	// Resume continues the vCPUs of a paused domain. ErrInvalidState if it is not
	// paused, and ErrNotActive as well if it is not even active.
	Resume(ctx context.Context, uuid string) error

	// Stats samples every active domain of the host with one bulk call that does
	// not wait for a domain whose monitor is busy: such a domain is left out. The
	// first call after a QEMU began to hang may take a second longer, or, if
	// several hang at once, be the one that ends with ErrTimeout.
	Stats(ctx context.Context) ([]DomainStats, error)

	// Node samples the machine under the host.
	Node(ctx context.Context) (NodeStats, error)

	// Pools lists every storage pool that the host knows, active or not, each with
	// its figures read anew. A pool whose storage does not answer may keep the
	// call waiting until ctx ends; ask seldom, and never where something waits.
	Pools(ctx context.Context) ([]Pool, error)

	// DiskErrors says which disks of an active domain have failed, and why. It asks
	// QEMU, which keeps the first error of each disk until it ends, even if the
	// disk works again: so this tells why a paused domain is paused, and nothing
	// about one that runs. ErrNotActive if the domain is not active.
	DiskErrors(ctx context.Context, uuid string) ([]DiskError, error)

	// GuestTime asks the guest agent of a running domain for the guest's clock:
	// also the way to ask whether the guest is alive. ErrNoAgent if the domain has
	// no agent, or none that answers.
	GuestTime(ctx context.Context, uuid string) (time.Time, error)

	// Annotate replaces Holdfast's own element (package annotation) in the domain's
	// metadata, in the persistent definition and in the live one if there is one.
	// An empty element removes it. Nothing else of the definition changes.
	Annotate(ctx context.Context, uuid, element string) error

	// Events delivers what the host reports about its domains until ctx ends,
	// then the channel is closed. The first event, and the first after every
	// lost connection, is ConnectionUp: whoever listens must list the domains
	// then, because events before it may have been missed. ConnectionDown says
	// that the connection was lost, or, as the very first event, that there is
	// none; the driver reconnects by itself with backoff. Events returns an error only when ctx has already ended or the
	// Host is closed: an unreachable host is reported on the channel. A slow
	// reader loses no connection event, but may lose lifecycle events; it is then
	// told by an Overflow event, and must list again.
	Events(ctx context.Context) (<-chan Event, error)

	Guest
	Witness
	Snapshots
	Backups
	Trials
	Definitions

	// Close drops the connection and ends everything that the Host started. It
	// does not wait for a hypervisor that never answers.
	Close() error
}

// State is what a domain is doing.
type State string

// States, in libvirt's words.
const (
	StateRunning     State = "running"
	StateBlocked     State = "blocked" // idle, waiting for a resource; counts as running
	StatePaused      State = "paused"
	StateShutdown    State = "in shutdown" // the guest is going down, QEMU still lives
	StateShutoff     State = "shut off"
	StateCrashed     State = "crashed" // the guest crashed, QEMU still lives (on_crash=preserve)
	StatePMSuspended State = "pmsuspended"
	StateUnknown     State = "no state"
)

// Active reports whether a QEMU process stands behind the state.
func (s State) Active() bool { return s != StateShutoff && s != StateUnknown }

// Running reports whether the guest's vCPUs may execute.
func (s State) Running() bool { return s == StateRunning || s == StateBlocked }

// Reason is why a domain is in its state.
type Reason string

// Reasons that Holdfast decides by. Libvirt knows more; those come through as
// the lower-case words that `virsh domstate --reason` prints.
const (
	ReasonUnknown      Reason = "unknown"
	ReasonBooted       Reason = "booted"        // running
	ReasonMigrated     Reason = "migrated"      // running, shut off
	ReasonUser         Reason = "user"          // paused: by a person; in shutdown: on request
	ReasonIOError      Reason = "I/O error"     // paused
	ReasonPanicked     Reason = "panicked"      // crashed
	ReasonShutdown     Reason = "shutdown"      // shut off: the guest or a person shut it down in order
	ReasonDestroyed    Reason = "destroyed"     // shut off: somebody pulled the plug
	ReasonCrashed      Reason = "crashed"       // shut off: QEMU died; paused: the guest crashed
	ReasonFailed       Reason = "failed"        // shut off: it failed to start
	ReasonSaved        Reason = "saved"         // shut off: state saved to a file
	ReasonFromSnapshot Reason = "from snapshot" // shut off, running, paused
	ReasonDaemon       Reason = "daemon"        // shut off: libvirtd killed it while reconnecting
	ReasonNoSpace      Reason = "enospc"        // of an IOError: there is no room
	ReasonStartingUp   Reason = "starting up"   // paused
	ReasonMigrating    Reason = "migrating"     // paused
)

// Domain is one VM as one host sees it.
type Domain struct {
	UUID   string `json:"uuid"`
	Name   string `json:"name"`
	State  State  `json:"state"`
	Reason Reason `json:"reason"`
	// Persistent is false for a domain that the host forgets when it stops.
	Persistent bool `json:"persistent"`
	// Managed save image present: the next start resumes from it.
	ManagedSave bool `json:"managedSave,omitempty"`
}

// DomainStats is one sample of one domain. Counters grow from the domain's
// start; a field that the hypervisor did not report is zero.
type DomainStats struct {
	UUID  string    `json:"uuid"`
	Name  string    `json:"name"`
	State State     `json:"state"`
	At    time.Time `json:"at"` // when the sample was taken, by this machine's clock

	VCPUs   int           `json:"vcpus"`   // online virtual CPUs
	CPUTime time.Duration `json:"cpuTime"` // time used by the domain on the host since its start
	// VCPUTime is the sum of the time that its virtual CPUs executed, and VCPUDelay
	// of the time that they were ready and the host had no processor for them: steal.
	VCPUTime  time.Duration `json:"vcpuTime"`
	VCPUDelay time.Duration `json:"vcpuDelay"`

	MemoryMax       uint64 `json:"memoryMax"`       // bytes, the most it may get
	MemoryCurrent   uint64 `json:"memoryCurrent"`   // bytes given by the balloon
	MemoryAvailable uint64 `json:"memoryAvailable"` // bytes the guest says it has; 0: no balloon statistics
	MemoryUnused    uint64 `json:"memoryUnused"`    // bytes the guest says it does not use
	MemoryUsable    uint64 `json:"memoryUsable"`    // bytes it says it could use without swapping: unused, or of caches; 0: it does not say

	Blocks []BlockStats `json:"blocks,omitempty"`
	Nets   []NetStats   `json:"nets,omitempty"`
}

// BlockStats are the counters of one disk.
type BlockStats struct {
	Device     string        `json:"device"` // target, such as vda
	ReadOps    uint64        `json:"readOps"`
	WriteOps   uint64        `json:"writeOps"`
	ReadBytes  uint64        `json:"readBytes"`
	WriteBytes uint64        `json:"writeBytes"`
	ReadTime   time.Duration `json:"readTime"`   // total time spent on reads
	WriteTime  time.Duration `json:"writeTime"`  // total time spent on writes
	Allocation uint64        `json:"allocation"` // bytes, highest offset written
	Physical   uint64        `json:"physical"`   // bytes, size of what holds the image
	Capacity   uint64        `json:"capacity"`   // bytes, what the guest sees
}

// NetStats are the counters of one interface.
type NetStats struct {
	Device  string `json:"device"` // as the host names it, such as vnet3
	RxBytes uint64 `json:"rxBytes"`
	TxBytes uint64 `json:"txBytes"`
	RxDrops uint64 `json:"rxDrops"`
	TxDrops uint64 `json:"txDrops"`
}

// NodeStats is one sample of the machine under a host. Counters grow from its boot.
type NodeStats struct {
	At      time.Time     `json:"at"` // when the sample was taken, by this machine's clock
	CPUs    int           `json:"cpus"`
	CPUTime time.Duration `json:"cpuTime"` // of all processors, busy
	CPUIdle time.Duration `json:"cpuIdle"` // of all processors, idle or waiting for I/O

	MemoryTotal     uint64 `json:"memoryTotal"`     // bytes
	MemoryAvailable uint64 `json:"memoryAvailable"` // bytes: free, or of caches that can be dropped
}

// PoolState is what a storage pool is doing.
type PoolState string

// States of a pool, in libvirt's words.
const (
	PoolInactive     PoolState = "inactive"
	PoolBuilding     PoolState = "building"
	PoolRunning      PoolState = "running"
	PoolDegraded     PoolState = "degraded"
	PoolInaccessible PoolState = "inaccessible"
)

// Pool is one storage pool as one host sees it.
type Pool struct {
	Name      string    `json:"name"`
	UUID      string    `json:"uuid"`
	State     PoolState `json:"state"`
	Autostart bool      `json:"autostart"`
	Target    string    `json:"target,omitempty"` // folder in which its volumes are; empty if it has none
	Capacity  uint64    `json:"capacity"`         // bytes; 0 if it is not running
	Available uint64    `json:"available"`        // bytes
	// Error is why its figures could not be read.
	Error string `json:"error,omitempty"`
}

// DiskError is a disk that failed under a domain.
type DiskError struct {
	Device  string `json:"device"`            // target, such as vda
	NoSpace bool   `json:"noSpace,omitempty"` // there is no room for what the guest wrote
}

// EventKind says what an Event is about.
type EventKind string

// Kinds of event. The ones about a domain carry its UUID.
const (
	EventConnectionUp   EventKind = "connection up"
	EventConnectionDown EventKind = "connection down"
	EventOverflow       EventKind = "overflow" // events were lost: list again
	EventDefined        EventKind = "defined"
	EventUndefined      EventKind = "undefined"
	EventStarted        EventKind = "started"
	EventSuspended      EventKind = "suspended"
	EventResumed        EventKind = "resumed"
	EventStopped        EventKind = "stopped"
	EventShutdown       EventKind = "shutdown"  // the guest is going down
	EventCrashed        EventKind = "crashed"   // the guest crashed or panicked
	EventRebooted       EventKind = "rebooted"  // the guest rebooted
	EventWatchdog       EventKind = "watchdog"  // the guest's watchdog fired
	EventIOError        EventKind = "I/O error" // a disk failed under it
	EventAgent          EventKind = "agent"     // its guest agent's channel was opened or closed
	EventMemory         EventKind = "memory"    // memory of the host or of the guest failed
	EventAnnotated      EventKind = "annotated" // its metadata changed
)

// Reasons of EventAgent.
const (
	ReasonAgentConnected    Reason = "connected"
	ReasonAgentDisconnected Reason = "disconnected"
)

// Event is one thing that a host reported.
type Event struct {
	Host string
	Kind EventKind
	// UUID and Name of the domain; empty for connection events and Overflow.
	UUID, Name string
	// Reason in the same words as Domain.Reason where it is about the same thing.
	// They are raw: a QEMU that was killed is stopped (failed) in the event and
	// shut off (crashed) in the listing. For Watchdog it is the watchdog's action,
	// for IOError QEMU's word (enospc) or "I/O error", for Agent one of the two
	// above, for Memory who is hit (hypervisor or guest) and how, for
	// ConnectionDown free text.
	Reason Reason
	// Device is the disk of an IOError, as the guest's definition calls it.
	Device string
	// At is when this machine received the event.
	At time.Time
}
