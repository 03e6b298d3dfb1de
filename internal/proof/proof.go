// Package proof decides whether a VM may be started on a host: the first rule
// of Holdfast, never two copies. It is pure; see docs/adr/0001.
package proof

import (
	"fmt"
	"strings"
	"time"

	"holdfast/internal/fault"
)

// Kind is the type of evidence that a VM cannot be running on a host.
type Kind string

// Kinds of proof. Fencing and leases will add theirs.
const (
	// ReportedStopped: the host itself said, in this attempt, that it does not run the VM.
	ReportedStopped Kind = "reported stopped"
	// NeverThere: the host does not answer now, but its last complete listing had
	// no such domain, active or defined, and it was made after the VM was last seen there.
	NeverThere Kind = "never there"
)

// Proof says why one host cannot be running the VM.
type Proof struct {
	Kind Kind      `json:"kind"`
	Host string    `json:"host"`
	At   time.Time `json:"at"` // when the evidence was made, by the observer's clock
}

// Answer is what one host said in this attempt, or that it said nothing.
type Answer struct {
	fault.Sighting
	// Active: a QEMU process stands behind the state.
	Active bool `json:"active,omitempty"`
	// Error is why the host did not answer; empty if it did.
	Error string `json:"error,omitempty"`
}

// AnswerOf picks the answer of one host; false if it was not asked. The empty
// name is no host's.
func AnswerOf(answers []Answer, host string) (Answer, bool) {
	for _, a := range answers {
		if a.Host == host && host != "" {
			return a, true
		}
	}
	return Answer{}, false
}

// Refusal names the hosts that may be running the VM, and why each may.
type Refusal struct {
	VM      string
	Target  string
	Running []string // hosts that say they run it
	Unknown []string // hosts that neither answered nor are covered by proof
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("refused to start %s on %s: %s", r.VM, r.Target, r.Why())
}

// Why says which hosts may be running it.
func (r *Refusal) Why() string {
	var parts []string
	if len(r.Running) > 0 {
		parts = append(parts, fmt.Sprintf("it is active on %s", strings.Join(r.Running, ", ")))
	}
	if len(r.Unknown) > 0 {
		parts = append(parts, fmt.Sprintf("%s may be running it and cannot be asked", strings.Join(r.Unknown, ", ")))
	}
	return strings.Join(parts, "; ")
}

// Covered reports whether the evidence alone excludes a host that does not
// answer: its newest sighting says that it did not know the domain.
func Covered(host string, evidence []fault.Sighting) (Proof, bool) {
	var newest fault.Sighting
	for _, s := range evidence {
		if s.Host == host && s.At.After(newest.At) {
			newest = s
		}
	}
	if newest.Host == "" || !newest.Absent {
		return Proof{}, false
	}
	return Proof{Kind: NeverThere, Host: host, At: newest.At}, true
}

// MayStart returns the proof that the VM may be started on target: one entry for
// every other host of the site. answers holds one entry for each host, target
// included, made in this attempt; evidence is what was seen earlier. If any host
// may be running it, the error is a *[Refusal] and no proof is returned.
func MayStart(vm, target string, answers []Answer, evidence []fault.Sighting) ([]Proof, error) {
	refusal := &Refusal{VM: vm, Target: target}
	proofs := make([]Proof, 0, len(answers))
	for _, a := range answers {
		if a.Host == target {
			continue
		}
		if a.Error == "" {
			if a.Active {
				refusal.Running = append(refusal.Running, a.Host)
				continue
			}
			proofs = append(proofs, Proof{Kind: ReportedStopped, Host: a.Host, At: a.At})
			continue
		}
		p, ok := Covered(a.Host, evidence)
		if !ok {
			refusal.Unknown = append(refusal.Unknown, a.Host)
			continue
		}
		proofs = append(proofs, p)
	}
	if len(refusal.Running)+len(refusal.Unknown) > 0 {
		return nil, refusal
	}
	return proofs, nil
}
