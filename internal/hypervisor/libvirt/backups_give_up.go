//go:build cgo

package libvirt

import (
	"context"
	"path"

	lv "libvirt.org/go/libvirt"
)

// giveUp takes away what this attempt has made, as far as the host answers.
func (r *backupRun) giveUp(ctx context.Context) {
	doing := "give up backup " + r.o.Name + " of domain " + r.uuid
	if r.wrote { // a manifest without its files would be taken for a backup
		if err := r.unwrite(ctx); err != nil {
			r.host.log.Warn("the manifest of a backup that was given up may be there, so that its files stay", "domain", r.uuid, "backup", r.o.Name, "error", err)
			return
		}
	}
	var files, paths []string
	for _, file := range r.files {
		files, paths = append(files, path.Base(file)), append(paths, file)
	}
	if r.began {
		if err := r.abort(ctx, doing, paths); err != nil {
			r.host.log.Warn("the job of a backup that was given up may still run", "domain", r.uuid, "backup", r.o.Name, "error", err)
			return // the next try of the same name finds it
		}
		if err := r.forget(ctx, doing, r.m.Checkpoint); err != nil {
			r.host.log.Warn("the checkpoint of a backup that was given up is still there", "domain", r.uuid, "checkpoint", r.m.Checkpoint, "error", err)
		}
	}
	if err := r.remove(ctx, files...); err != nil {
		r.host.log.Warn("the files of a backup that was given up are still there; the next try of the same name removes them", "domain", r.uuid, "backup", r.o.Name, "error", err)
	}
}

// unwrite removes the manifest that this attempt has written, if there is one. It
// fails if there may be one after it.
func (r *backupRun) unwrite(ctx context.Context) error {
	found, err := r.look(ctx, r.uuid)
	if err != nil {
		return err
	}
	file := manifestFile(r.uuid, r.o.Name)
	if odd := found.odd[file]; odd != nil { // ours, or of somebody who is about to write it
		return odd
	}
	m, err := findManifest(found.manifests, r.o.Name)
	if err != nil || !m.sameFiles(r.m) {
		return nil //nolint:nilerr // there is none, or somebody else's
	}
	return r.remove(ctx, file)
}

func (r *backupRun) forget(ctx context.Context, doing string, names ...string) error {
	_, err := onDomain(ctx, r.host, doing+": delete its checkpoints", r.uuid, func(_ *link, d *lv.Domain) (struct{}, error) {
		for _, name := range names {
			if name == "" {
				continue
			}
			if err := forgetCheckpoint(d, name); err != nil {
				return struct{}{}, err
			}
		}
		return struct{}{}, nil
	})
	return err
}

// tidy deletes the checkpoints that nothing needs any more.
func (r *backupRun) tidy(ctx context.Context) {
	if old := superfluous(r.subject.checkpoints, r.folder, r.m.Checkpoint); len(old) > 0 {
		if err := r.forget(ctx, "tidy up after backup "+r.o.Name, old...); err != nil {
			r.host.log.Warn("a checkpoint that no backup needs is still there; the next backup deletes it", "domain", r.uuid, "error", err)
		}
	}
}
