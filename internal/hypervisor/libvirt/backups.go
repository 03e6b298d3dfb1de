//go:build cgo

package libvirt

import (
	"context"
	"errors"

	"holdfast/internal/hypervisor"
)

var errNotYet = errors.New("backups: not yet")

// Backups implements [hypervisor.Host].
func (h *Host) Backups(context.Context, string, string) ([]hypervisor.Backup, error) {
	return nil, errNotYet
}

// CreateBackup implements [hypervisor.Host].
func (h *Host) CreateBackup(context.Context, string, hypervisor.BackupOptions) (hypervisor.Backup, error) {
	return hypervisor.Backup{}, errNotYet
}

// CheckBackup implements [hypervisor.Host].
func (h *Host) CheckBackup(context.Context, string, string, string) error { return errNotYet }

// RestoreBackup implements [hypervisor.Host].
func (h *Host) RestoreBackup(context.Context, string, hypervisor.RestoreOptions) error {
	return errNotYet
}

// DeleteBackup implements [hypervisor.Host].
func (h *Host) DeleteBackup(context.Context, string, string, string) error { return errNotYet }
