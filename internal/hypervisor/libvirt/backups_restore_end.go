//go:build cgo

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"holdfast/internal/hypervisor"
)

// stillMine: another attempt that keeps under the same name takes this one's
// files for leftovers.
func (r *restoreRun) stillMine(ctx context.Context) error {
	found, err := r.look(ctx, r.uuid)
	if err != nil {
		return err
	}
	m, err := findManifest(found.manifests, r.record.Name)
	if err != nil || m.Restored == nil || m.Restored.Attempt != r.record.Restored.Attempt {
		return r.refuse(fmt.Errorf("another restore has begun meanwhile: one at a time: %w", hypervisor.ErrInvalidState))
	}
	return nil
}

// end says that it has ended, or forgets it if nothing is to be kept.
func (r *restoreRun) end(ctx context.Context) error {
	if r.o.Keep == "" {
		return r.remove(ctx, manifestFile(r.uuid, namelessKeep))
	}
	r.record.Restored.Ended = true
	return r.rewrite(ctx, r.record)
}

// giveUp takes away what this attempt has made, unless it came through.
func (r *restoreRun) giveUp(ctx context.Context) {
	if _, err := r.read(ctx, r.host); err != nil || r.has(r.record.Restored.Files) {
		return // the next attempt finds it
	}
	if err := r.takeAway(ctx); err != nil {
		r.host.log.Warn("files of a restore that was given up are still there; the next one removes them", "domain", r.uuid, "keep", r.o.Keep, "error", err)
	}
}

// takeAway removes what an attempt that did not come through has made, but for
// what is in use all the same.
func (r *restoreRun) takeAway(ctx context.Context) error {
	name := r.record.Name
	found, err := r.look(ctx, r.uuid)
	if err != nil {
		return err
	}
	used, err := r.host.usedFiles(ctx, r.doing, r.uuid)
	if err != nil {
		return err
	}
	if r.record.Restored.Made {
		if err := r.removeMade(ctx, found, used); err != nil && !errors.Is(err, hypervisor.ErrNoPool) {
			return err // of a pool that is not there nothing can be removed
		}
	}
	if m, err := findManifest(found.manifests, name); err != nil || !m.sameAttempt(r.record) {
		return nil //nolint:nilerr // another attempt's, or none
	}
	return r.remove(ctx, manifestFile(r.uuid, name))
}

// removeMade removes the files that an attempt has made and that nobody uses.
func (r *restoreRun) removeMade(ctx context.Context, found stored, used map[string]bool) error {
	name := r.record.Name
	others := slices.DeleteFunc(slices.Clone(found.manifests), func(m manifest) bool { return m.Name == name })
	chains, err := r.host.chains(ctx, r.doing, r.disks, others)
	if err != nil {
		return err
	}
	for _, file := range r.record.Restored.Files {
		if used[file] && name != namelessKeep { // what it had must not be forgotten
			return r.refuse(fmt.Errorf("the domain uses %s, which an earlier restore that kept %q has made: keep what it has under another name: %w", file, name, hypervisor.ErrExists))
		}
	}
	for _, file := range r.record.Restored.Files {
		if used[file] || found.named(file, name) || upon(file, chains) != "" {
			continue
		}
		if err := r.host.removeFile(ctx, file, r.place, true); err != nil && !errors.Is(err, hypervisor.ErrNoPool) {
			return err
		}
	}
	return nil
}
