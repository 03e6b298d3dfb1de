package contract

import (
	"time"

	"holdfast/internal/fault"
	"holdfast/internal/ladder"
	"holdfast/internal/proof"
)

// InspectInput asks every host of a site about one VM.
type InspectInput struct {
	VM fault.VM `json:"vm"`
	// Host is where the VM was last seen: the answer that must be waited for.
	Host string `json:"host,omitempty"`
	// Elsewhere is earlier evidence about the other hosts. A host that it covers
	// is given only a short time to answer.
	Elsewhere []fault.Sighting `json:"elsewhere,omitempty"`
	PolicyInput
}

// PolicyInput asks what the site wants done about a fault.
type PolicyInput struct {
	Kind fault.Kind `json:"kind,omitempty"`
	// Labels and Mode of the VM, from its annotation.
	Labels map[string]string `json:"labels,omitempty"`
	Mode   string            `json:"mode,omitempty"`
}

// Inspection is what the hosts said, and what the site wants done.
type Inspection struct {
	Answers []proof.Answer `json:"answers"`
	Policy  ladder.Policy  `json:"policy"`
	At      time.Time      `json:"at"` // when the last answer came, by the worker's clock
	// Labels and Mode are those of the VM's annotation, as it was found.
	Labels map[string]string `json:"labels,omitempty"`
	Mode   string            `json:"mode,omitempty"`
}

// StopRemainsInput asks for what is left of a failed VM to be removed.
type StopRemainsInput struct {
	VM   fault.VM `json:"vm"`
	Host string   `json:"host"`
	// Force: also if its guest seems to run, because that is what is wrong with it.
	Force bool `json:"force,omitempty"`
}

// StopRemainsResult says whether anything had to be removed.
type StopRemainsResult struct {
	Stopped bool   `json:"stopped"`
	Found   string `json:"found"` // state in which it was found
}

// StartInput asks for a VM to be started on a host, if that is safe.
type StartInput struct {
	VM        fault.VM         `json:"vm"`
	Host      string           `json:"host"`
	Elsewhere []fault.Sighting `json:"elsewhere,omitempty"`
}

// StartResult says how it went.
type StartResult struct {
	// Already: it was running on the host before the activity acted, as after a
	// worker died between the start and its recording.
	Already bool          `json:"already,omitempty"`
	At      time.Time     `json:"at"`   // when the host reported it running, by the worker's clock
	Took    time.Duration `json:"took"` // of the hypervisor's start call alone
	Proofs  []proof.Proof `json:"proofs,omitempty"`
}

// VitalInput asks what the guest of a VM looks like that its host calls running.
type VitalInput struct {
	VM   fault.VM   `json:"vm"`
	Host string     `json:"host"`
	Kind fault.Kind `json:"kind"` // of the fault that is to be borne out
}

// StepInput asks for a rung that needs no more than a VM and its host: resume or
// reset.
type StepInput struct {
	VM   fault.VM `json:"vm"`
	Host string   `json:"host"`
	// Elsewhere is earlier evidence about other hosts, as StartInput has it.
	Elsewhere []fault.Sighting `json:"elsewhere,omitempty"`
}

// StepResult says how it went.
type StepResult struct {
	// Already: there was nothing left to do.
	Already bool          `json:"already,omitempty"`
	Found   string        `json:"found"` // state in which it was found
	At      time.Time     `json:"at"`    // when the host reported it running, by the worker's clock
	Took    time.Duration `json:"took"`  // of the hypervisor's call alone
}

// VerifyInput asks whether a VM is well again.
type VerifyInput struct {
	VM   fault.VM `json:"vm"`
	Host string   `json:"host"`
	// StableFor is how long it must stay running, after Probes have passed.
	StableFor time.Duration `json:"stableFor"`
	Probes    ladder.Probes `json:"probes,omitzero"`
	// AgentExpected: its guest agent is known to be there, which is what counts for
	// ladder.AgentAuto.
	AgentExpected bool `json:"agentExpected,omitempty"`
}

// VerifyResult is the finding. A VM that is not well is a finding, not an error.
type VerifyResult struct {
	OK bool `json:"ok"`
	// Why it is not well; empty if it is.
	Why   string         `json:"why,omitempty"`
	Found fault.Sighting `json:"found"`
	// Active: what was found has a QEMU process behind it.
	Active bool      `json:"active,omitempty"`
	Checks []Check   `json:"checks,omitempty"`
	At     time.Time `json:"at"` // when it was decided, by the worker's clock
}

// Check is one probe of a VM, and how it ended.
type Check struct {
	What string `json:"what"` // in words
	OK   bool   `json:"ok"`
	// Said is what the last try was told: one line.
	Said string        `json:"said,omitempty"`
	Took time.Duration `json:"took"` // all tries together
}

// InventoryResult is what a site's hosts hold.
type InventoryResult struct {
	Site  string      `json:"site"`
	Hosts []HostState `json:"hosts"`
	VMs   []VMState   `json:"vms"`
	At    time.Time   `json:"at"`
}

// HostState is one host as the site's worker sees it.
type HostState struct {
	Name      string `json:"name"`
	Connected bool   `json:"connected"`
	Active    int    `json:"active"`  // active domains
	Defined   int    `json:"defined"` // all domains
	Error     string `json:"error,omitempty"`
}

// VMState is one VM on one host.
type VMState struct {
	VM     fault.VM `json:"vm"`
	Host   string   `json:"host"`
	State  string   `json:"state"`
	Reason string   `json:"reason"`
	Active bool     `json:"active"`
}

// SimFaultInput breaks or mends something in a simulated site.
type SimFaultInput struct {
	Action string `json:"action"` // one of the Sim constants
	Target string `json:"target"` // name of a VM or of a host
	// Count is how many of the next starts fail, for SimFailStarts, or snapshots,
	// reverts, backups and restores for theirs: negative is all of them, 0 none. Of other actions it is seconds (SimSkewClock),
	// milliseconds (SimSlowDisk), packets a second (SimDropPackets), or a percentage.
	Count int `json:"count,omitempty"`
	// On is the host that it is about, for SimFailStarts; empty: all. Of no other action.
	On string `json:"on,omitempty"`
}

// Actions of SimFaultInput, on a VM.
const (
	SimKill          = "kill"
	SimPanic         = "panic"
	SimShutdown      = "shutdown"
	SimDestroy       = "destroy"
	SimLose          = "lose"
	SimFind          = "find"
	SimFailStarts    = "fail-starts"
	SimFailSnapshots = "fail-snapshots"
	SimFailReverts   = "fail-reverts"
	SimFailBackups   = "fail-backups"
	SimFailRestores  = "fail-restores"
	SimHang          = "hang"
	SimUnhang        = "unhang"
	SimHangGuest     = "hang-guest"
	SimUnhangGuest   = "unhang-guest"
	SimMuteAgent     = "mute-agent"
	SimUnmuteAgent   = "unmute-agent"
	SimStopAgent     = "stop-agent"
	SimStartAgent    = "start-agent"
	SimSkewClock     = "skew-clock"
	SimPause         = "pause"
	SimResume        = "resume"
	SimIOError       = "io-error"
	SimNoSpace       = "no-space"
	SimMendDisk      = "mend-disk"
	SimMemoryFailure = "memory-failure"
	SimWatchdog      = "watchdog"
	SimLoad          = "load"
	SimSteal         = "steal"
	SimCorruptDisk   = "corrupt-disk"
	SimDamageBackups = "damage-backups"
	SimFillMemory    = "fill-memory"
	SimSlowDisk      = "slow-disk"
	SimDropPackets   = "drop-packets"
	SimCalm          = "calm"
)

// Actions of SimFaultInput, on a host.
const (
	SimPowerOff       = "power-off"
	SimPowerOn        = "power-on"
	SimCut            = "cut"
	SimHeal           = "heal"
	SimHangLibvirtd   = "hang-libvirtd"
	SimKillLibvirtd   = "kill-libvirtd"
	SimStartLibvirtd  = "start-libvirtd"
	SimLosePool       = "lose-pool"
	SimRestorePool    = "restore-pool"
	SimFillPool       = "fill-pool"
	SimLoadHost       = "load-host"
	SimFillHostMemory = "fill-host-memory"
	SimCalmHost       = "calm-host"
)

// SimFaultResult is what was done, in words.
type SimFaultResult struct {
	Done string    `json:"done"`
	At   time.Time `json:"at"`
}

// Types of application errors that activities return and workflows decide by.
const (
	// ErrTypeTwoCopies: starting it might make a second copy (a *proof.Refusal). Never retried blindly.
	ErrTypeTwoCopies = "TwoCopies"
	// ErrTypeStartFailed: the hypervisor refused or failed to start the VM.
	ErrTypeStartFailed = "StartFailed"
	// ErrTypeStepFailed: the hypervisor refused to resume or reset the VM, or it did
	// not run afterwards.
	ErrTypeStepFailed = "StepFailed"
	// ErrTypeUnreachable: the host cannot be asked; what it does is unknown.
	ErrTypeUnreachable = "Unreachable"
	// ErrTypeNotFound: no such VM or host.
	ErrTypeNotFound = "NotFound"
	// ErrTypeBadInput: the request makes no sense; retrying cannot help.
	ErrTypeBadInput = "BadInput"
)
