package fault

// Kind classifies a fault. The values are search attributes and metric labels:
// short, lower case, never renamed.
type Kind string

// Kinds of fault of a VM.
const (
	// KindCrashed: the QEMU process died without anybody asking it to.
	KindCrashed Kind = "crashed"
	// KindStartFailed: the hypervisor tried to start the VM and could not.
	KindStartFailed Kind = "start-failed"
	// KindPanicked: the guest's kernel panicked and QEMU waits (on_crash=preserve).
	KindPanicked Kind = "panicked"
	// KindLost: the VM ran, and its host came back without knowing why it stopped,
	// as after a power cut, or without knowing the VM at all.
	KindLost Kind = "lost"
	// KindHung: QEMU does not answer its monitor, or the guest agent is silent
	// while the vCPUs make no progress.
	KindHung Kind = "hung"
	// KindWatchdog: the guest stopped feeding its watchdog device.
	KindWatchdog Kind = "watchdog"
	// KindIOError: QEMU paused the VM because a disk failed (EIO and the like).
	KindIOError Kind = "io-error"
	// KindNoSpace: QEMU paused the VM because a disk's storage is full (ENOSPC).
	KindNoSpace Kind = "no-space"
	// KindPaused: the VM is paused, and neither a person nor an operation asked for it.
	KindPaused Kind = "paused"
	// KindBootFailed: the guest agent has not answered within a time after the
	// start, where one is expected.
	KindBootFailed Kind = "boot-failed"
	// KindClock: the guest's clock is off.
	KindClock Kind = "clock-skew"
	// KindCPU, KindMemory, KindDiskIO and KindNet: the VM is at its limits.
	KindCPU    Kind = "cpu-pressure"
	KindMemory Kind = "memory-pressure"
	KindDiskIO Kind = "disk-pressure"
	KindNet    Kind = "net-pressure"
	// KindDiskFull: what a disk has allocated comes near its capacity, and grows.
	KindDiskFull Kind = "disk-full"
	// KindRequested is no observation: a person asked for a recovery.
	KindRequested Kind = "requested"
	// KindAlert: an alert from outside that is mapped to no other kind.
	KindAlert Kind = "alert"
)

// Kinds of fault of a host.
const (
	// KindHostUnreachable: no vantage point reaches the host.
	KindHostUnreachable Kind = "host-unreachable"
	// KindHostOff: its power supply says that it is off.
	KindHostOff Kind = "host-off"
	// KindLibvirtdDead: the host lives and nothing listens where libvirtd should.
	KindLibvirtdDead Kind = "libvirtd-dead"
	// KindLibvirtdHung: the host lives and its libvirtd accepts and does not answer.
	KindLibvirtdHung Kind = "libvirtd-hung"
	// KindMemoryErrors: the host's memory has errors.
	KindMemoryErrors Kind = "memory-errors"
	// KindHostCPU, KindHostMemory, KindHostDiskIO and KindHostPSI: the host is at its limits.
	KindHostCPU    Kind = "host-cpu"
	KindHostMemory Kind = "host-memory"
	KindHostDiskIO Kind = "host-disk"
	KindHostPSI    Kind = "host-psi"
	// KindHostClock: the host's clock is off.
	KindHostClock Kind = "host-clock"
)

// Kinds of fault of a storage pool.
const (
	// KindPoolLost: a storage pool that was active no longer is.
	KindPoolLost Kind = "pool-lost"
	// KindPoolFull: a storage pool has little room left.
	KindPoolFull Kind = "pool-full"
)

// Kinds of fault of the site, or of who watches it.
const (
	// KindCutOff: all or most hosts became unreachable for this monitor at once,
	// which says more about the monitor than about them.
	KindCutOff Kind = "monitor-cut-off"
	// KindTemporalAway: Temporal does not take reports.
	KindTemporalAway Kind = "temporal-unreachable"
	// KindLate: the monitor cannot keep the period it is to sample in.
	KindLate Kind = "sampling-late"
	// KindStorm: more hosts than the site allows failed within a window, so
	// nothing is done to hosts until that is over.
	KindStorm Kind = "storm"
)

// Level says how bad a fault is, in the words of alerting.
type Level string

// Levels.
const (
	Critical Level = "critical" // a service is down
	Major    Level = "major"    // a service is at risk or degraded
	Warning  Level = "warning"  // worth a look in working hours
)

// Response is what becomes of a fault of a kind, unless the site says otherwise.
type Response string

// Responses. Every fault is listed, counted and sent as an alarm as well.
const (
	// RespondIncident opens an incident, which does what the ladder says.
	RespondIncident Response = "incident"
	// RespondAlarm opens none: the alarm is all.
	RespondAlarm Response = "alarm"
)

// SubjectType is what kind of thing a fault is about.
type SubjectType string

// Types of subject.
const (
	SubjectVM   SubjectType = "vm"
	SubjectHost SubjectType = "host"
	SubjectPool SubjectType = "pool"
	SubjectSite SubjectType = "site" // the site as a whole, or who watches it
)

// Info is what holds for every fault of a kind.
type Info struct {
	Kind     Kind
	Subject  SubjectType
	Level    Level
	Response Response
	// Severity orders faults of one subject: a worse one preempts a lesser
	// operation. 1 to 3.
	Severity int
	// Source is where it is seen, Confirmation what must hold before it is raised.
	Source, Confirmation string
	// Lab is the command that makes one in the lab; empty if the lab cannot, and
	// then NoLab says why.
	Lab, NoLab string
}

// Lookup returns what holds for a kind, and whether it is one.
func Lookup(k Kind) (Info, bool) {
	i, ok := byKind[k]
	return i, ok
}

// Kinds lists every kind, in the order of the documentation.
func Kinds() []Kind {
	out := make([]Kind, len(catalogue))
	for i, info := range catalogue {
		out[i] = info.Kind
	}
	return out
}

// Catalogue lists what holds for every kind, in the order of the documentation.
func Catalogue() []Info { return append([]Info(nil), catalogue...) }

// Severity orders faults of one VM: a worse one preempts a lesser operation. 0
// is no kind at all.
func (k Kind) Severity() int { return byKind[k].Severity }

// Level is how bad a fault of the kind is.
func (k Kind) Level() Level { return byKind[k].Level }

// Subject is what a fault of the kind is about.
func (k Kind) Subject() SubjectType { return byKind[k].Subject }

var byKind = func() map[Kind]Info {
	m := make(map[Kind]Info, len(catalogue))
	for _, i := range catalogue {
		m[i.Kind] = i
	}
	return m
}()
