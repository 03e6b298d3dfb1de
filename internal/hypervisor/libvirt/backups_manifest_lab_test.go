//go:build cgo && lab

package libvirt

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"holdfast/internal/hypervisor"
)

// manifestPath is the manifest of a backup of VM1.
func (b *backups) manifestPath(name string) string {
	return filepath.Join(b.where, manifestFile(b.uuid, name))
}

// change writes a file of the place anew, and returns what was in it.
func (b *backups) change(t *testing.T, file string, to func(string) string) string {
	t.Helper()
	before, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, []byte(to(string(before))), 0o600))
	return string(before)
}

func (b *backups) names(t *testing.T) []string {
	t.Helper()
	list, err := b.h.Backups(t.Context(), b.where, b.uuid)
	require.NoError(t, err)
	names := []string{}
	for _, one := range list {
		names = append(names, one.Name)
	}
	return names
}

// Only what nobody has written to its end is a leftover, and what a backup builds
// upon stays, though nobody can tell any more that it does.
func testManifestsThatAreNotWell(t *testing.T, b *backups) {
	one := b.backup(t, "one")
	require.Equal(t, "one", b.backup(t, "two").Parent)
	back := func(text string) func(string) string { return func(string) string { return text } }

	whole := b.change(t, b.manifestPath("two"), func(s string) string { return s[:len(s)/2] })
	require.Equal(t, []string{"one"}, b.names(t))
	err := b.h.DeleteBackup(t.Context(), b.where, b.uuid, "one")
	require.ErrorIs(t, err, hypervisor.ErrInvalidState)
	require.ErrorContains(t, err, `"two", whose manifest`)
	b.change(t, b.manifestPath("two"), back(whole))

	whole = b.change(t, b.manifestPath("one"), func(s string) string { return s[:len(s)/2] })
	_, err = b.h.CreateBackup(t.Context(), b.uuid, b.options("one"))
	require.ErrorIs(t, err, hypervisor.ErrInvalidState)
	require.ErrorContains(t, err, `"two" builds upon it`)
	require.FileExists(t, one.Disks[0].File)
	b.change(t, b.manifestPath("one"), back(whole))

	whole = b.change(t, b.manifestPath("two"), func(s string) string { return strings.Replace(s, `"version":1`, `"version":2`, 1) })
	_, err = b.h.Backups(t.Context(), b.where, b.uuid)
	require.ErrorContains(t, err, "version 2")
	require.ErrorContains(t, b.h.DeleteBackup(t.Context(), b.where, b.uuid, "one"), "version 2")
	_, err = b.h.CreateBackup(t.Context(), b.uuid, b.options("two"))
	require.ErrorContains(t, err, "version 2")
	b.change(t, b.manifestPath("two"), back(whole))

	// Of one that has no copies nothing can be lost.
	require.NoError(t, os.WriteFile(b.manifestPath("three"), nil, 0o600))
	require.NoError(t, b.h.DeleteBackup(t.Context(), b.where, b.uuid, "two"))
	b.backup(t, "three")
	require.Equal(t, []string{"one", "three"}, b.names(t))
}

// Whoever has restored may have died before it could say so, or in the middle.
func testRestoreWithoutEnd(t *testing.T, b *backups) {
	b.backup(t, "one")
	b.virsh(t, "destroy", b.vm)
	had := b.image(t)
	restore := func(name, keep string) error {
		return b.h.RestoreBackup(t.Context(), b.uuid, hypervisor.RestoreOptions{Where: b.where, Name: name, Keep: keep})
	}
	require.NoError(t, restore("one", "had"))
	made := b.image(t)
	unended := func(s string) string { return strings.Replace(s, `"ended":"yes"`, `"ended":"no "`, 1) }
	ended := b.change(t, b.manifestPath("had"), unended)
	require.Equal(t, []string{"one", "had"}, b.names(t))
	require.Equal(t, ended, b.change(t, b.manifestPath("had"), unended), "it is noted when somebody looks")
	require.NoError(t, restore("had", "tried"), "it can be undone")
	require.Equal(t, had, b.image(t))

	// One that did not come through: its files go, unless somebody else has them.
	mine := filepath.Join(filepath.Dir(had), restoredFile(b.uuid, "again", "0123456789", "vda"))
	begun := manifest{Version: manifestVersion, Domain: b.uuid, Restored: &restored{
		From: "one", Attempt: "0123456789", Made: true, Files: map[string]string{"vda": mine, "vdb": had, "vdc": made},
	}}
	begun.Name, begun.Kept = "again", true
	text, err := json.Marshal(begun)
	require.NoError(t, err)
	begin := func() {
		require.NoError(t, os.WriteFile(b.manifestPath("again"), text, 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(b.images(t), filepath.Base(mine)), nil, 0o600))
	}
	begin()
	b.virsh(t, "start", b.vm)
	require.ErrorIs(t, restore("one", "again"), hypervisor.ErrAlreadyActive)
	require.FileExists(t, filepath.Join(b.images(t), filepath.Base(mine)), "of a domain that is active nothing is taken away")
	b.virsh(t, "destroy", b.vm)
	err = restore("one", "again")
	require.NotErrorIs(t, err, hypervisor.ErrUnreachable)
	for _, file := range []string{had, made} {
		require.FileExists(t, filepath.Join(b.images(t), filepath.Base(file)), "the domain has it, or another backup keeps it")
	}
	require.Equal(t, had, b.image(t))
	require.FileExists(t, b.manifestPath("again"))
	require.ErrorIs(t, err, hypervisor.ErrExists)
}
