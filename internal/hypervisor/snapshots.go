package hypervisor

import (
	"context"
	"time"
)

// Snapshots are what a host can do with the snapshots of a domain.
//
// There are two kinds. An internal snapshot is kept inside of the domain's qcow2
// images, with the guest's memory if it ran. An external one is a layer: what was
// the image stays as it is, and the domain writes to a new qcow2 file upon it.
//
// A call that ends with [ErrTimeout] or [ErrUnreachable] may take effect later,
// and it takes as long as the disks and the memory are big: give it a deadline
// that fits, and find out by listing what became of it.
//
// The host keeps what it knows of snapshots across a restart of libvirtd, and
// for itself: another host that runs the domain knows nothing of them. As long as
// a domain has any, libvirt neither migrates nor undefines it. And a layer changes
// which files the definition names, mostly without an event: whoever keeps a copy
// of the definition must read it anew, or the domain is started elsewhere from an
// image that a snapshot is built upon.
type Snapshots interface {
	// Snapshots lists those of a domain, oldest first.
	Snapshots(ctx context.Context, uuid string) ([]Snapshot, error)

	// CreateSnapshot makes one, of all disks that the domain can write to; removable
	// ones are left out. What it can be follows from the domain and the options:
	//
	//   - active, with Memory: internal. The guest stands still until its memory is
	//     in the image.
	//   - active, without: external, at one moment for all disks.
	//   - not active: internal or, with External, external. This is also how the
	//     present state is kept before another one is put back.
	//
	// ErrExists if the name is taken. ErrNotActive if memory is asked for and there
	// is none. ErrInvalidState if the domain or a disk of it forbids it: an internal
	// snapshot needs every disk to be a qcow2 file, an external one a file, and
	// neither can be of a disk that is a device, on the network, encrypted or shared
	// with another domain; the error names the disk. ErrNoResource if there is no
	// room, or if no storage pool has the folder that a layer has to be made in.
	// ErrNoAgent: see SnapshotOptions.Quiesce.
	CreateSnapshot(ctx context.Context, uuid string, o SnapshotOptions) (Snapshot, error)

	// RevertSnapshot puts a snapshot back in place of the present state, which is
	// lost unless it was kept by a snapshot of its own: revert to that to undo. The
	// domain must not be active, so that whoever reverts has stopped it before;
	// ErrAlreadyActive otherwise.
	//
	// Afterwards the domain is in the Snapshot's State. That means that a snapshot
	// with Memory STARTS the domain: what holds for Start, above all that it runs
	// nowhere else, holds for this.
	//
	// An internal snapshot also puts back the definition of its day, as libvirt has
	// it, but for Holdfast's own element, which stays. An external one changes
	// nothing of the definition but the files: each of its disks gets a new layer
	// upon the snapshot's file, and the file that was in use stays where it is. A
	// disk that was added since stays as it is.
	//
	// ErrNoSnapshot if there is none of that name. ErrInvalidState if a managed save
	// image would be resumed upon the wrong disks, or if other snapshots lie upon
	// what would be changed. ErrNoResource if there is no room, or no storage pool to
	// make a layer in. A revert that failed has left the definition as it was.
	RevertSnapshot(ctx context.Context, uuid, name string) error

	// DeleteSnapshot gives up a snapshot, and never the present state. An internal
	// one is removed from the images. The layer of an external one is merged into
	// what it lies upon while the domain runs, which takes as long as there is
	// something in it; ErrInvalidState if the domain is not active: start it first.
	//
	// A snapshot beside the domain's present chain of files, as they are after a
	// revert, is forgotten, and its files stay where they are: nobody can tell what
	// else lies upon them. So is one whose state is in files that the domain does not
	// have while it is restored from a backup, which is not listed: who undoes the
	// restore has its files back, and not the snapshot.
	//
	// ErrNoSnapshot if there is none of that name. ErrInvalidState if the state of
	// another snapshot would be lost with it; the error names that one.
	DeleteSnapshot(ctx context.Context, uuid, name string) error
}

// Snapshot is one state of a domain that can be had back.
type Snapshot struct {
	Name        string    `json:"name"`
	Description string    `json:"description,omitempty"`
	Parent      string    `json:"parent,omitempty"` // name of the one it came after
	Created     time.Time `json:"created"`          // in whole seconds, by the host's clock
	Memory      bool      `json:"memory,omitempty"`
	External    bool      `json:"external,omitempty"`
	// Current: it is the last that was made or reverted to.
	Current bool `json:"current,omitempty"`
	// State is the one that the domain is in after a revert: running or paused if
	// the snapshot has memory, and shut off otherwise.
	State State `json:"state"`
	// Disks are those that it covers, by target, such as vda.
	Disks []string `json:"disks"`
}

// SnapshotOptions say what snapshot to make.
type SnapshotOptions struct {
	// Name must not be empty, begin with a dot, or have a slash in it.
	Name        string
	Description string
	// Memory keeps the guest's memory, too.
	Memory bool
	// External makes a layer of a domain that is not active; one of an active domain
	// without memory is always external.
	External bool
	// Quiesce freezes the guest's file systems through its agent, for the moment of
	// the snapshot. If that cannot be done the call ends with ErrNoAgent, nothing is
	// left frozen, as far as the agent can be reached, and there is no snapshot. It
	// means nothing if the domain is not active, or if memory is kept.
	Quiesce bool
}
