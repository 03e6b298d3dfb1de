package hypervisor

import "context"

// Definitions are what hosts can do so that a domain that is not active is started on
// another host of the site from then on: its definition is taken there, and nothing
// else. Its disks stay where they are, so both hosts have to reach them: see Mark.
type Definitions interface {
	// Needs says what a domain needs of the host that it is started on. It reads the
	// files of its disks, so it may take as long as their storage does. Sorted, without
	// duplicates. ErrNotFound; ErrNoPool if a folder of its files cannot be read.
	Needs(ctx context.Context, uuid string) (Needs, error)

	// Networks are the names of the virtual networks of the host that are active, sorted.
	Networks(ctx context.Context) ([]string, error)

	// Define makes the host know the domain of a definition, as Definition returns it.
	// It does not start it, nor mark it for autostart. ErrExists if the host knows a
	// domain of that UUID or name already: that one stays as it is. ErrInvalidState if
	// the host refuses the definition, ErrNoResource if it has not what it names.
	Define(ctx context.Context, definition string) error

	// Undefine makes the host forget a domain that is not active. Its disks, its
	// firmware's variables and the state of its TPM stay where they are. ErrNotFound if
	// the host does not know it; ErrAlreadyActive if it is active; ErrInvalidState if
	// something would be lost with it: a snapshot, a managed save image, a checkpoint of
	// another program. Those of our own backups are dropped: the next one is full.
	Undefine(ctx context.Context, uuid string) error

	// Autostart says whether the host starts the domain by itself as it boots;
	// SetAutostart says that it shall, or shall not. ErrNotFound; ErrInvalidState of a
	// transient domain.
	Autostart(ctx context.Context, uuid string) (bool, error)
	SetAutostart(ctx context.Context, uuid string, on bool) error

	// Mark makes an empty file of that name in a folder of the host, through libvirt's
	// storage driver; Marked says whether one is there, and Unmark removes it, and is no
	// error if it is gone. Whoever makes a mark with a name that nobody can guess on one
	// host, and finds it on another, knows that the folder is the same storage.
	//
	// A mark is a name without a slash that begins with MarkPrefix; a folder is an
	// absolute path. ErrExists if the file is there already; ErrNoPool if the host
	// cannot use the folder, or has none there; ErrNoResource if there is no room.
	Mark(ctx context.Context, folder, mark string) error
	Marked(ctx context.Context, folder, mark string) (bool, error)
	Unmark(ctx context.Context, folder, mark string) error
}

// MarkPrefix begins the name of every mark, so that a person who finds one that a
// worker which died has left knows what it is.
const MarkPrefix = ".holdfast-mark-"

// Needs are what a domain needs of a host.
type Needs struct {
	Memory uint64 `json:"memory"` // bytes, the most that the guest may use
	VCPUs  int    `json:"vcpus"`  // the most that it may use
	// Folders are those that it writes to files in, its disks and its firmware's
	// variables, and those of all files that its disks are built upon.
	Folders []string `json:"folders"`
	// Networks are the virtual networks that it is connected to, by name.
	Networks []string `json:"networks"`
	// Pinned says in words what it cannot have on any other host, such as a device that
	// is passed through, or a snapshot that only this host knows of; empty: nothing.
	Pinned []string `json:"pinned"`
	// Autostart: the host starts it by itself as it boots.
	Autostart bool `json:"autostart,omitempty"`
}
