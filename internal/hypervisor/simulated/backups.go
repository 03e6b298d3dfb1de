package simulated

import (
	"context"
	"errors"

	"holdfast/internal/hypervisor"
)

var errNotYet = errors.New("backups: not yet")

// Backups implements [hypervisor.Host].
func (h *host) Backups(context.Context, string, string) ([]hypervisor.Backup, error) {
	return nil, errNotYet
}

// CreateBackup implements [hypervisor.Host].
func (h *host) CreateBackup(context.Context, string, hypervisor.BackupOptions) (hypervisor.Backup, error) {
	return hypervisor.Backup{}, errNotYet
}

// CheckBackup implements [hypervisor.Host].
func (h *host) CheckBackup(context.Context, string, string, string) error { return errNotYet }

// RestoreBackup implements [hypervisor.Host].
func (h *host) RestoreBackup(context.Context, string, hypervisor.RestoreOptions) error {
	return errNotYet
}

// DeleteBackup implements [hypervisor.Host].
func (h *host) DeleteBackup(context.Context, string, string, string) error { return errNotYet }
