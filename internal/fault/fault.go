// Package fault defines what can be wrong with a VM or a host, and the evidence
// for saying so. It is pure data: it imports no clock, no Temporal, no libvirt.
package fault

import (
	"fmt"
	"time"
)

// VM names a domain: the UUID decides, the name is for people.
type VM struct {
	UUID string `json:"uuid"`
	Name string `json:"name"`
}

// String is the name, or the UUID of a VM whose name is not known.
func (v VM) String() string {
	if v.Name != "" {
		return v.Name
	}
	return v.UUID
}

// Sighting is what one host said about one VM, and when.
type Sighting struct {
	Host string `json:"host"`
	// State and Reason in libvirt's words; empty where the host does not know the VM.
	State  string `json:"state,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Absent: the host answered and has no such domain, neither active nor defined.
	Absent bool `json:"absent,omitempty"`
	// At is when the host answered, by the observer's clock.
	At time.Time `json:"at"`
}

// Running: the host says that the guest executes, or could as soon as it has to.
func (s Sighting) Running() bool { return s.State == "running" || s.State == "blocked" }

// String reads like "A: shut off (crashed)".
func (s Sighting) String() string {
	switch {
	case s.Absent:
		return s.Host + ": not there"
	case s.Reason == "":
		return s.Host + ": " + s.State
	default:
		return fmt.Sprintf("%s: %s (%s)", s.Host, s.State, s.Reason)
	}
}

// Fault is one classified observation that something is wrong, with its evidence.
type Fault struct {
	// ID names this occurrence: the same ID is said again until it is gone, and a
	// later fault of the same VM has another.
	ID   string `json:"id"`
	Kind Kind   `json:"kind"`
	Site string `json:"site"`
	VM   VM     `json:"vm"`
	// Host is where the VM was when it failed.
	Host string `json:"host"`
	// First is when it was first seen, Last when it was last found still true.
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	// Seen is what the fault was concluded from.
	Seen Sighting `json:"seen"`
	// Elsewhere is what the other hosts of the site last said about this VM: proof
	// of where it cannot be running, should such a host not answer now.
	Elsewhere []Sighting `json:"elsewhere,omitempty"`
	// Reporter is the monitor or the person who says so.
	Reporter string `json:"reporter"`
	// Why is the sentence an operator reads first.
	Why string `json:"why"`

	// Pool is the storage pool that a fault of a pool is about.
	Pool string `json:"pool,omitempty"`
	// Device tells faults of one kind of one VM apart, such as the disk vda.
	Device string `json:"device,omitempty"`
	// Rule is the name of the rule that a measured value broke.
	Rule string `json:"rule,omitempty"`
	// Level and Response, where the site's rule or policy set another than the
	// kind's own.
	Level    Level    `json:"level,omitempty"`
	Response Response `json:"response,omitempty"`
	// Labels of the VM, from its annotation.
	Labels map[string]string `json:"labels,omitempty"`
	// Mode of the VM, from its annotation; empty: none is set there.
	Mode string `json:"mode,omitempty"`
	// Evidence is what was measured or told, besides Seen.
	Evidence []Evidence `json:"evidence,omitempty"`
	// Votes are those of the vantage points about a host.
	Votes []Vote `json:"votes,omitempty"`
	// Inhibits counts the faults that are held back because this one explains them.
	Inhibits int `json:"inhibits,omitempty"`
	// Flapping: it came and went so often that it is held up until it is quiet.
	Flapping bool `json:"flapping,omitempty"`
	// Source is where a fault comes from that no monitor saw itself, such as
	// "alert/<fingerprint>".
	Source string `json:"source,omitempty"`
	// Frozen says why nothing may be done to the host; empty: it may.
	Frozen string `json:"frozen,omitempty"`
}

// EvidenceAgent is what an Evidence is called that is about a guest agent.
const EvidenceAgent = "guest agent"

// Evidence is one thing that speaks for a fault: what, its value, and since when.
type Evidence struct {
	What  string    `json:"what"`           // such as "vm.cpu" or "guest agent"
	Value string    `json:"value"`          // in words, with its unit, such as "97.1 % (limit 80 %)"
	Since time.Time `json:"since,omitzero"` // from when on it held
	At    time.Time `json:"at"`             // of the newest observation
	From  string    `json:"from,omitempty"` // who saw it, if not the reporter
}

// Verdict is what a vantage point says about a host.
type Verdict string

// Verdicts.
const (
	// HostAnswers: its libvirtd answers the vantage point.
	HostAnswers Verdict = "answers"
	// HostAccepts: its kernel accepts connections to where libvirtd listens.
	HostAccepts Verdict = "accepts"
	// HostRefuses: its kernel refuses them: it lives, and nothing listens there.
	HostRefuses Verdict = "refuses"
	// HostAlive: something else on it lives, such as its agent.
	HostAlive Verdict = "alive"
	// HostSilent: nothing answers.
	HostSilent Verdict = "silent"
	// HostOff: it has no power.
	HostOff Verdict = "off"
	// NoVerdict: the vantage point could not look, or what it sees says nothing.
	NoVerdict Verdict = "unknown"
)

// Alive reports that the host's kernel runs.
func (v Verdict) Alive() bool {
	return v == HostAnswers || v == HostAccepts || v == HostRefuses || v == HostAlive
}

// Vote is what one vantage point says about a host, and when it looked.
type Vote struct {
	From string    `json:"from"` // such as "libvirt", "tcp", "worker", "power"
	Says Verdict   `json:"says"`
	Why  string    `json:"why,omitempty"`
	At   time.Time `json:"at"`
}

// Subject names what the fault is about, as people call it.
func (f Fault) Subject() string {
	switch f.Kind.Subject() {
	case SubjectHost:
		return f.Host
	case SubjectPool:
		return f.Pool
	case SubjectSite:
		return f.Site
	}
	return f.VM.String()
}

// VMSlot is the slot of what befalls a VM's running.
func VMSlot(uuid string) string { return "vm/" + uuid }

// HostSlot is the one slot of a host.
func HostSlot(host string) string { return "host/" + host }

// PoolSlot is the slot of one kind of fault of a storage pool.
func PoolSlot(pool string, kind Kind) string { return "pool/" + pool + "/" + string(kind) }

// SiteSlot is the slot of one kind of fault of the site.
func SiteSlot(kind Kind) string { return "site/" + string(kind) }

// Slot is the place that the fault takes: two faults of one slot are the same
// trouble, or one has taken the other's place. All that can befall a VM's
// running shares one; what is measured has one a kind.
func (f Fault) Slot() string {
	if f.Source != "" {
		return f.Source
	}
	switch f.Kind.Subject() {
	case SubjectHost:
		switch f.Kind {
		case KindHostUnreachable, KindHostOff, KindLibvirtdDead, KindLibvirtdHung:
			return HostSlot(f.Host)
		}
		return HostSlot(f.Host) + "/" + string(f.Kind) + "/" + f.Rule
	case SubjectPool:
		return PoolSlot(f.Pool, f.Kind)
	case SubjectSite:
		return SiteSlot(f.Kind)
	}
	switch f.Kind {
	case KindCPU, KindMemory, KindDiskIO, KindNet, KindDiskFull, KindClock, KindAlert, KindBootFailed, KindWatchdog:
		return VMSlot(f.VM.UUID) + "/" + string(f.Kind) + "/" + f.Rule + "/" + f.Device
	}
	return VMSlot(f.VM.UUID)
}

// HowBad is the fault's level, or that of its kind.
func (f Fault) HowBad() Level {
	if f.Level != "" {
		return f.Level
	}
	return f.Kind.Level()
}

// Respond is what is to become of the fault.
func (f Fault) Respond() Response {
	if f.Response != "" {
		return f.Response
	}
	return byKind[f.Kind].Response
}

// Validate reports the first field that makes the fault unusable.
func (f Fault) Validate() error {
	switch {
	case f.ID == "":
		return fmt.Errorf("fault: id is empty")
	case f.Kind.Severity() == 0:
		return fmt.Errorf("fault %s: kind %q is not known", f.ID, f.Kind)
	case f.Site == "":
		return fmt.Errorf("fault %s: site is empty", f.ID)
	case f.Kind.Subject() == SubjectVM && f.VM.UUID == "":
		return fmt.Errorf("fault %s: vm.uuid is empty", f.ID)
	case f.Kind.Subject() == SubjectHost && f.Host == "":
		return fmt.Errorf("fault %s: host is empty", f.ID)
	case f.Kind.Subject() == SubjectPool && f.Pool == "":
		return fmt.Errorf("fault %s: pool is empty", f.ID)
	}
	return nil
}
