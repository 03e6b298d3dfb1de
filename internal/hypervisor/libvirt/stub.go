//go:build !cgo

package libvirt

import (
	"errors"

	"holdfast/internal/hypervisor"
)

// New says that this build cannot talk to libvirt.
func New(Options) (hypervisor.Host, error) {
	return nil, errors.New("this build of holdfast has no libvirt driver (built with CGO_ENABLED=0): use one built by `make build`, or try `holdfast dev --simulated`")
}
