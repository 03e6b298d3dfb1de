package ladder

import "time"

// Dump asks for the guest's memory as evidence, before it is lost. It holds whatever
// secrets the guest had. Zero: it is not wanted.
type Dump struct {
	// Pool is the host's storage pool, with a folder, that it is written to. It stays
	// there until a person removes it.
	Pool string `json:"pool,omitempty"`
	// MaxBytes is the most memory that a VM may have for it; 0: any.
	MaxBytes uint64 `json:"maxBytes,omitempty"`
	// Within is how long the repair waits for it; 0 means DefaultDumpWithin. The guest
	// stands still meanwhile. A dump that takes longer goes on, and all that QEMU is
	// asked until it has ended waits; only to destroy the VM ends it sooner.
	Within time.Duration `json:"within,omitempty"`
}

// DefaultDumpWithin is how long a repair waits for a dump that says nothing else.
const DefaultDumpWithin = time.Minute

// Most is how long a repair waits for it; 0: it is not wanted.
func (d Dump) Most() time.Duration {
	switch {
	case d.Pool == "":
		return 0
	case d.Within <= 0:
		return DefaultDumpWithin
	}
	return d.Within
}
