package hypervisor

import (
	"context"
	"time"
)

// MaxGuestOutput is the most that is kept of each output of a command in a guest,
// in bytes.
const MaxGuestOutput = 64 << 10

// MaxPicture is the most that a [Picture] may take, in bytes.
const MaxPicture = 8 << 20

// Guest is what can be done inside of a VM, by its guest agent.
type Guest interface {
	// GuestExec runs a command in the guest and waits for its end. argv[0] is the
	// program, which the agent looks for on its own PATH; there is no shell. A
	// command that failed is no error: see GuestExit.Code.
	//
	// ErrNoAgent, ErrInvalidState and ErrNotActive as of GuestTime. An agent that
	// refuses, as many do by default (qemu-ga's --block-rpcs), or that finds no such
	// program, is an error that matches none of these and says why. Errors do not
	// quote argv. A command that is under way when ctx ends goes on: the agent has
	// no way to stop it.
	GuestExec(ctx context.Context, uuid string, argv []string) (GuestExit, error)
}

// GuestExit is how a command in a guest ended.
type GuestExit struct {
	// Code is its exit code, or 128 and the signal's number if a signal ended it.
	Code int `json:"code"`
	// Stdout and Stderr hold at most MaxGuestOutput bytes each.
	Stdout []byte `json:"stdout,omitempty"`
	Stderr []byte `json:"stderr,omitempty"`
	// Truncated: at least one of the two was longer.
	Truncated bool `json:"truncated,omitempty"`
}

// Witness tells what becomes of a VM, for whoever wants to know later why it
// failed. Nothing that is repaired waits for it: on a host where calls hang,
// these are refused first.
type Witness interface {
	// Screenshot is what is on the VM's first screen, as PNG unless the hypervisor
	// has something else that is no PPM. ErrNotActive if it is not active,
	// ErrInvalidState if it has no screen.
	Screenshot(ctx context.Context, uuid string) (Picture, error)

	// Job says what job is under way on an active domain, and whether QEMU can be
	// asked anything. It does not wait for a QEMU that hangs. ErrNotActive if the
	// domain is not active.
	Job(ctx context.Context, uuid string) (Job, error)

	// Blocks lists the disks of a domain, active or not, with what is under them. A
	// disk that cannot be looked at says so by itself.
	Blocks(ctx context.Context, uuid string) ([]Block, error)

	// Dump writes the guest's memory, and nothing else, to a file on the host, which
	// it replaces: as a compressed kdump where the hypervisor can, else as ELF. The
	// guest stands still meanwhile, and then does what it did before. The path is
	// absolute. ErrNotActive if the domain is not active, ErrNoResource if there is
	// no room for it.
	//
	// A dump that is under way when ctx ends goes on, as QEMU cannot be told to
	// leave it; to destroy the domain ends it.
	Dump(ctx context.Context, uuid, path string) error
}

// Picture is what was on a screen.
type Picture struct {
	MIME string // such as image/png
	Data []byte // at most MaxPicture
}

// Monitor is whether a domain's QEMU can be asked anything, in libvirt's words.
type Monitor string

// States of a monitor.
const (
	MonitorOK       Monitor = "ok"
	MonitorJob      Monitor = "job"      // a job holds the domain
	MonitorOccupied Monitor = "occupied" // it was asked, and has not answered yet
	MonitorError    Monitor = "error"    // there is no way to ask
)

// Job is what is under way on a domain.
type Job struct {
	// Doing is the job, in libvirt's words, such as "backup" or "outgoing
	// migration"; empty: none is under way, or Error says why nobody knows.
	Doing string `json:"doing,omitempty"`
	// Elapsed is since when. Total, Processed and Remaining are bytes, and zero for
	// a job that does not tell.
	Elapsed   time.Duration `json:"elapsed,omitempty"`
	Total     uint64        `json:"total,omitempty"`
	Processed uint64        `json:"processed,omitempty"`
	Remaining uint64        `json:"remaining,omitempty"`

	Monitor Monitor `json:"monitor"`
	// MonitorFor is how long it has been job or occupied.
	MonitorFor time.Duration `json:"monitorFor,omitempty"`
	Error      string        `json:"error,omitempty"`
}

// Block is one disk of a domain.
type Block struct {
	Device   string `json:"device"` // target, such as vda
	Kind     string `json:"kind"`   // disk, cdrom, floppy or lun
	Source   string `json:"source"` // a path, or protocol:name of one on the network; empty: no medium is in it
	Format   string `json:"format"` // such as qcow2 or raw
	ReadOnly bool   `json:"readOnly,omitempty"`
	// Backing is what its image is built upon, the nearest first, as far as the host
	// says without a look at the images.
	Backing []Backing `json:"backing,omitempty"`
	// Job is a block job of its own that is under way, such as "copy, ready".
	Job string `json:"job,omitempty"`

	Capacity   uint64 `json:"capacity,omitempty"`   // bytes, what the guest sees
	Allocation uint64 `json:"allocation,omitempty"` // bytes, highest offset written
	Physical   uint64 `json:"physical,omitempty"`   // bytes, size of what holds the image
	// Error is why the three sizes could not be read.
	Error string `json:"error,omitempty"`
}

// Backing is one image below another.
type Backing struct {
	Source string `json:"source"`
	Format string `json:"format"`
}
