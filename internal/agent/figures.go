// Package agent is what runs on a host beside libvirtd: it tells over HTTP what
// libvirt does not know about the machine, and renews a file on shared storage, so
// that monitors can tell a host that died from one that they cannot reach.
//
// It changes nothing on the host. Its figures are of the whole machine.
package agent

import "time"

// HostPath is where an agent answers with its [Figures], as JSON.
const HostPath = "/v1/host"

// Figures is one sample of a host. What the host's kernel does not have is nil.
type Figures struct {
	// BootID is the kernel's random ID of this boot: another one means that the
	// host was started anew.
	BootID string `json:"bootID"`
	// Now is the host's wall clock when the sample had been taken.
	Now time.Time `json:"now"`
	// Uptime in seconds since the boot.
	Uptime float64 `json:"uptimeSeconds"`

	Pressure     Pressure      `json:"pressure"`
	Memory       *Memory       `json:"memory,omitempty"`
	Disks        *Disks        `json:"disks,omitempty"`
	MemoryErrors *MemoryErrors `json:"memoryErrors,omitempty"`

	// Unread says what the kernel has and could not be read, and why.
	Unread []string `json:"unread,omitempty"`

	// Clock is how the host's clock compares with ours. [Client.Host] fills it in.
	Clock Clock `json:"-"`
}

// Pressure is the kernel's pressure stall information: the share of the last 60 s,
// in percent, in which some tasks, or all that were not idle (full), waited. Nil
// where the kernel has none, or has it off.
type Pressure struct {
	CPUSome    *float64 `json:"cpuSome,omitempty"`
	MemorySome *float64 `json:"memorySome,omitempty"`
	MemoryFull *float64 `json:"memoryFull,omitempty"`
	IOSome     *float64 `json:"ioSome,omitempty"`
	IOFull     *float64 `json:"ioFull,omitempty"`
}

// Memory of the host, in bytes.
type Memory struct {
	Total     uint64 `json:"total"`
	Available uint64 `json:"available"` // free, or of caches that can be dropped
}

// Disks counts what whole physical disks did. Partitions, and what is made from
// disks (LVM, RAID, loop devices, zram), count as the disks under them.
type Disks struct {
	// Requests is the number of reads and writes completed since the boot. It
	// falls when a disk is taken out: start counting anew then.
	Requests uint64 `json:"requests"`
	// Names of the disks, in order.
	Names []string `json:"names"`
}

// MemoryErrors are those that the memory controllers counted (EDAC), since their
// driver was loaded or an administrator reset them.
type MemoryErrors struct {
	Corrected   uint64 `json:"corrected"`
	Uncorrected uint64 `json:"uncorrected"`
}

// Clock compares the host's wall clock with ours.
type Clock struct {
	// Skew is the host's clock less ours; positive: it is ahead.
	Skew time.Duration
	// Within is how far off Skew may be: half the round trip.
	Within time.Duration
	// At is when, by our clock.
	At time.Time
}
