// Package fault defines what can be wrong with a VM or a host, and the evidence
// for saying so. It is pure data: it imports no clock, no Temporal, no libvirt.
package fault

import (
	"fmt"
	"time"
)

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
	// as after a power cut.
	KindLost Kind = "lost"
	// KindRequested is no observation: a person asked for a recovery.
	KindRequested Kind = "requested"
)

// Kinds lists every kind, in the order of the documentation.
func Kinds() []Kind {
	return []Kind{KindCrashed, KindStartFailed, KindPanicked, KindLost, KindRequested}
}

// Severity orders faults of one VM: a worse one preempts a lesser operation.
func (k Kind) Severity() int {
	switch k {
	case KindCrashed, KindLost, KindStartFailed:
		return 3
	case KindPanicked:
		return 2
	case KindRequested:
		return 1
	}
	return 0
}

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
	case f.VM.UUID == "":
		return fmt.Errorf("fault %s: vm.uuid is empty", f.ID)
	}
	return nil
}
