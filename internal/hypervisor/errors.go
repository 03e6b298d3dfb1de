package hypervisor

import "errors"

// Sentinel errors. Drivers wrap them with what the hypervisor said, so that
// errors.Is decides and the text explains. The text never holds a definition.
var (
	// ErrUnreachable: there is no connection to the host and none could be made,
	// or it was lost before the answer came. In that case, as with ErrTimeout,
	// whether the call takes effect is unknown.
	ErrUnreachable = errors.New("host unreachable")
	// ErrTimeout: the host did not answer in time. Whether the call takes effect is
	// unknown, and stays so: what was sent to a libvirtd that hangs is carried out
	// when it goes on, however much later. Only a fence ends that.
	ErrTimeout = errors.New("host did not answer in time")
	// ErrNotFound: the host does not know the domain.
	ErrNotFound = errors.New("domain not found")
	// ErrNoSnapshot: the domain has no snapshot of that name.
	ErrNoSnapshot = errors.New("no such snapshot")
	// ErrNoBackup: the domain has no backup of that name there.
	ErrNoBackup = errors.New("no such backup")
	// ErrNoPool: the host has no storage pool of that name or folder, or it does not run.
	ErrNoPool = errors.New("no such storage pool")
	// ErrDamaged: a backup is not what was written, or a file that is needed is gone.
	ErrDamaged = errors.New("it is damaged")
	// ErrExists: the domain has a snapshot, or a backup, of that name.
	ErrExists = errors.New("the name is taken")
	// ErrAlreadyActive: the domain is active and cannot be started.
	ErrAlreadyActive = errors.New("domain is already active")
	// ErrNotActive: the domain is not active.
	ErrNotActive = errors.New("domain is not active")
	// ErrInvalidState: the domain is in a state that forbids the call.
	ErrInvalidState = errors.New("domain is in the wrong state for this")
	// ErrNoAgent: the domain has no guest agent, or none that answers.
	ErrNoAgent = errors.New("no guest agent answers")
	// ErrNoResource: the host lacks what the domain needs (memory, a device, a disk file).
	ErrNoResource = errors.New("host lacks a resource the domain needs")
	// ErrAccess: the host refused: credentials or permissions.
	ErrAccess = errors.New("host refused access")
	// ErrClosed: Close was called on the Host.
	ErrClosed = errors.New("host is closed")
)
