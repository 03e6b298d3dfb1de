//go:build cgo

package libvirt

import (
	"errors"
	"fmt"

	lv "libvirt.org/go/libvirt"

	"holdfast/internal/hypervisor"
)

// sentinels by libvirt's code, where the code alone tells.
var sentinels = map[lv.ErrorNumber]error{
	lv.ERR_NO_DOMAIN:          hypervisor.ErrNotFound,
	lv.ERR_NO_DOMAIN_SNAPSHOT: hypervisor.ErrNoSnapshot,
	lv.ERR_AUTH_FAILED:        hypervisor.ErrAccess,
	lv.ERR_AUTH_CANCELLED:     hypervisor.ErrAccess,
	lv.ERR_AUTH_UNAVAILABLE:   hypervisor.ErrAccess,
	lv.ERR_ACCESS_DENIED:      hypervisor.ErrAccess,
	lv.ERR_OPERATION_DENIED:   hypervisor.ErrAccess,
	lv.ERR_OPERATION_INVALID:  hypervisor.ErrInvalidState,
	// The domain is busy with another job; what was asked for has not begun.
	lv.ERR_OPERATION_TIMEOUT: hypervisor.ErrTimeout,
	// Not connected, or did not answer. That its command failed is an answer.
	lv.ERR_AGENT_UNRESPONSIVE:    hypervisor.ErrNoAgent,
	lv.ERR_AGENT_UNSYNCED:        hypervisor.ErrNoAgent,
	lv.ERR_AGENT_COMMAND_TIMEOUT: hypervisor.ErrNoAgent,
	lv.ERR_NO_CONNECT:            hypervisor.ErrUnreachable,
	lv.ERR_INVALID_CONN:          hypervisor.ErrUnreachable,
	lv.ERR_NO_SERVER:             hypervisor.ErrUnreachable,
	lv.ERR_RPC:                   hypervisor.ErrUnreachable,
	lv.ERR_GNUTLS_ERROR:          hypervisor.ErrUnreachable,
	lv.ERR_SSH:                   hypervisor.ErrUnreachable,
	lv.ERR_LIBSSH:                hypervisor.ErrUnreachable,
	lv.ERR_UNKNOWN_HOST:          hypervisor.ErrUnreachable,
	lv.ERR_NO_MEMORY:             hypervisor.ErrNoResource,
	lv.ERR_NO_NETWORK:            hypervisor.ErrNoResource,
	lv.ERR_NO_STORAGE_POOL:       hypervisor.ErrNoResource,
	lv.ERR_NO_STORAGE_VOL:        hypervisor.ErrNoResource,
	lv.ERR_NO_NODE_DEVICE:        hypervisor.ErrNoResource,
	lv.ERR_NO_INTERFACE:          hypervisor.ErrNoResource,
	lv.ERR_NO_SECRET:             hypervisor.ErrNoResource,
	lv.ERR_DEVICE_MISSING:        hypervisor.ErrNoResource,
	lv.ERR_CPU_INCOMPATIBLE:      hypervisor.ErrNoResource,
	lv.ERR_RESOURCE_BUSY:         hypervisor.ErrNoResource,
	// The host's QEMU or kernel lacks what the definition asks for.
	lv.ERR_CONFIG_UNSUPPORTED: hypervisor.ErrNoResource,
}

// transport are the parts of libvirt that report a broken connection, whatever
// the code: a system error or an internal error of theirs is about the way to
// the host, and of all others about something on the host.
var transport = map[lv.ErrorDomain]bool{
	lv.FROM_RPC: true, lv.FROM_REMOTE: true, lv.FROM_SSH: true, lv.FROM_LIBSSH: true,
}

// sentinelOf returns the sentinel for an error of libvirt, or nil if none fits.
// alive says whether the connection it came over still stands: a libvirtd that
// is split up talks to its own parts over the same transport, and reports their
// failures in the same words.
func sentinelOf(err lv.Error, alive bool) error {
	var sentinel error
	switch err.Code {
	case lv.ERR_SYSTEM_ERROR:
		sentinel = hypervisor.ErrNoResource // a file, a device or memory that is not there
		if transport[err.Domain] {
			sentinel = hypervisor.ErrUnreachable
		}
	case lv.ERR_INTERNAL_ERROR:
		if transport[err.Domain] {
			sentinel = hypervisor.ErrUnreachable
		}
	default:
		sentinel = sentinels[err.Code]
	}
	if alive && errors.Is(sentinel, hypervisor.ErrUnreachable) {
		return hypervisor.ErrNoResource
	}
	return sentinel
}

// explain wraps what libvirt said in its sentinel. doing is what was tried, such
// as "start domain X".
func (h *Host) explain(doing string, err error, alive bool) error {
	var lerr lv.Error
	if !errors.As(err, &lerr) {
		return fmt.Errorf("%s on %s: %w", doing, h.opts.Name, err)
	}
	said := h.addr.clean(lerr.Message)
	if sentinel := sentinelOf(lerr, alive); sentinel != nil {
		return fmt.Errorf("%s on %s: %s: %w", doing, h.opts.Name, said, sentinel)
	}
	return fmt.Errorf("%s on %s: %s (libvirt error %d of part %d)", doing, h.opts.Name, said, int(lerr.Code), int(lerr.Domain))
}

// hasCode reports whether err is an error of libvirt with that code.
func hasCode(err error, code lv.ErrorNumber) bool {
	var lerr lv.Error
	return errors.As(err, &lerr) && lerr.Code == code
}
