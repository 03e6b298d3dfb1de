package hypervisor

import "context"

// Trials are what a host can do to find out whether a snapshot or a backup boots:
// a throw-away domain beside the real one.
//
// It has the hardware of the domain that it stands for, but no network, no device of
// the host and no folder shared with it, and disks that are new layers upon the files
// that are tried, so that nothing it does is kept. It has a name and a UUID of its
// own, and ends with the connection that made it, so that one whose maker died is gone.
//
// Domains, Stats and Events leave out domains on trial: they are nobody's VMs, and
// what becomes of them is no fault. All that takes a UUID takes theirs.
type Trials interface {
	// Try boots one. What an earlier trial of the same domain has left is removed
	// first: there is one at a time for each domain.
	//
	// ErrNoSnapshot, ErrNoBackup, ErrNoPool. ErrInvalidState if it cannot be tried: an
	// internal snapshot is inside of an image that is in use, so that nobody else can
	// read it; the error says so. ErrDamaged if a file of it is gone, or is no image any
	// more. ErrNoResource if the host has not the memory that the domain may use, free,
	// or no room for the layers.
	Try(ctx context.Context, uuid string, of TrialOf) (Trial, error)

	// TrialStats samples a trial's domain, as Stats does those that are no trials.
	// ErrNotFound if it has ended; ErrTimeout if its QEMU does not answer.
	TrialStats(ctx context.Context, t Trial) (DomainStats, error)

	// EndTrial destroys a trial's domain and removes its layers. One that has ended
	// already is no error.
	EndTrial(ctx context.Context, t Trial) error
}

// TrialOf is what is tried: a snapshot of the domain, or a backup.
type TrialOf struct {
	Snapshot string `json:"snapshot,omitempty"`
	// Backup is one in the place that Where names, as in [Backups].
	Backup string `json:"backup,omitempty"`
	Where  string `json:"where,omitempty"`
}

// Trial is a domain on trial.
type Trial struct {
	UUID string `json:"uuid"`
	Name string `json:"name"`
	Of   string `json:"of"` // UUID of the domain that it stands for
}
