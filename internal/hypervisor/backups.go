package hypervisor

import (
	"context"
	"time"
)

// Backups are what a host can do to keep copies of a domain's disks apart from
// them, in a storage pool of kind dir, fs or netfs.
//
// Where says which: the name of a pool of the host, or the absolute path of a
// folder on it. A backup is a qcow2 file for each disk that the domain can write
// to and that is not removable, and one file that describes it, written last: what
// has none is what a try has left that did not end, and the next try of the same
// name removes it.
//
// The first backup of a domain is a full one. Those after it hold what has changed
// since the one before, each file an overlay of that one's, as long as the host
// knows what has changed: it forgets when a QEMU is killed, when a disk is put
// back to a snapshot or replaced, and for a domain that is not active. Then the
// backup is a full one by itself.
//
// A call that ends with [ErrTimeout] or [ErrUnreachable] may take effect later, and
// it takes as long as the disks are big: give it a deadline that fits, and find out
// by listing what became of it. A backup that ends with its context is given up: its
// job is aborted if the host answers, and its files go with the next try.
type Backups interface {
	// Backups lists those of a domain that are whole, oldest first. The domain need
	// not exist any more. ErrNoPool if where is no pool, or none that is active. What
	// describes one and cannot be read, or is of a newer Holdfast, is an error: none of
	// them may be taken for one that is not there.
	Backups(ctx context.Context, where, uuid string) ([]Backup, error)

	// CreateBackup makes one, at one moment for all disks. It reads back what it has
	// written once, for its sums.
	//
	// ErrExists if the name is taken by a backup that is whole. ErrInvalidState if a
	// disk is none that can be copied: a device, on the network, encrypted; the error
	// names it. ErrNoPool. ErrNoResource if there is no room for what the
	// disks take, and 1 GiB or a tenth of the pool beside, whichever is less: the
	// error says how much is lacking. ErrNoAgent: see BackupOptions.Quiesce.
	CreateBackup(ctx context.Context, uuid string, o BackupOptions) (Backup, error)

	// CheckBackup reads all files of a backup, and of those that it builds upon, and
	// compares them with their sums. ErrDamaged names the file; ErrNoBackup; ErrNoPool.
	CheckBackup(ctx context.Context, where, uuid, name string) error

	// RestoreBackup puts a domain that is not active upon disks made from a backup,
	// after CheckBackup has passed. The files that it had stay where they are, and are
	// a backup called keep from then on: to restore that one undoes this, without a
	// copy. To restore twice with the same keep is the same as once.
	//
	// Of the definition nothing changes but the files of those disks. Snapshots of
	// the domain whose state is in the files it had are not listed while it has others.
	//
	// ErrAlreadyActive. ErrNoBackup, ErrNoPool. ErrExists if keep is the name of
	// another backup. ErrDamaged. ErrNoResource if there is no room, or no pool has the
	// folder of a disk. ErrInvalidState if the backup is of disks that the domain does
	// not have, or of the files that it has already, or of files that a layer, a
	// snapshot or another backup is built upon by now: the error says which. One that
	// failed has left the definition as it was.
	RestoreBackup(ctx context.Context, uuid string, o RestoreOptions) error

	// DeleteBackup removes a backup: of one that was kept, the files that it keeps, but
	// for those that another one keeps, too.
	// ErrNoBackup; ErrNoPool. ErrInvalidState if another backup builds upon it or may,
	// or what another one keeps, or if the domain uses a file of it as far as this host
	// knows; the error says which.
	DeleteBackup(ctx context.Context, where, uuid, name string) error
}

// Backup is one copy of a domain's disks.
type Backup struct {
	Name        string    `json:"name"`
	Description string    `json:"description,omitempty"`
	Created     time.Time `json:"created"` // when the disks were as they are in it, by the host's clock if it tells
	// Parent is the backup that it builds upon; empty: it is a full one.
	Parent string `json:"parent,omitempty"`
	// Kept: it is the files that the domain had before a restore, where they were.
	Kept bool `json:"kept,omitempty"`
	// Quiesced: the guest's file systems were frozen for the moment.
	Quiesced bool `json:"quiesced,omitempty"`
	// Why says why it is a full one though there was one before; empty otherwise.
	Why   string       `json:"why,omitempty"`
	Disks []BackupDisk `json:"disks"`
}

// BackupDisk is the copy of one disk.
type BackupDisk struct {
	Target string `json:"target"` // such as vda
	File   string `json:"file"`   // its path on the host
	Format string `json:"format"` // of the file, such as qcow2
	Bytes  uint64 `json:"bytes"`  // length of the file; 0 if Kept
	SHA256 string `json:"sha256,omitempty"`
}

// BackupOptions say what backup to make.
type BackupOptions struct {
	Where string
	// Name must be [A-Za-z0-9][A-Za-z0-9._-]{0,99}.
	Name        string
	Description string
	// Full makes a full one in any case.
	Full bool
	// Quiesce freezes the guest's file systems through its agent for the moment. If
	// that cannot be done the call ends with ErrNoAgent and nothing is left frozen, as
	// far as the agent can be reached. It means nothing if the domain is not active.
	Quiesce bool
}

// RestoreOptions say what to put a domain back to.
type RestoreOptions struct {
	Where string
	Name  string
	// Keep is what the files that it has are called as a backup; empty: they are not
	// kept as one, and stay where they are all the same.
	Keep string
}
