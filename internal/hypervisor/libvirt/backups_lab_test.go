//go:build cgo && lab

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/hypervisor"
	"holdfast/test/lab"
)

// What libvirt does with backups that the simulated hosts do not. That one is
// right is seen by comparing it with the disk, cluster by cluster.
func TestBackupFaults(t *testing.T) {
	for _, c := range []struct {
		name string
		test func(*testing.T, *backups)
	}{
		{"Contents", testContents},
		{"Layers", testBackupAcrossLayers},
		{"KilledUponLayer", testKilledUponLayer},
		{"ForgottenBitmaps", testRevertWithForgottenBitmaps},
		{"RawDisk", testBackupOfRawDisk},
		{"Manifests", testManifestsThatAreNotWell},
		{"RestoreWithoutEnd", testRestoreWithoutEnd},
		{"Folder", testTwoInOneFolder},
		{"Cancelled", testCancelledBackup},
		{"DeadWorker", testBackupOfDeadWorker},
		{"KilledInTheMiddle", testKilledInTheMiddle},
		{"LibvirtdKilledInTheMiddle", testLibvirtdKilledInTheMiddle},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := labUp(t, lab.Options{Hosts: 1, VMs: 2})
			b := &backups{bench: &bench{Lab: l, host: "A", vm: "VM1"}}
			b.h = b.connect(t, "A")
			b.uuid = b.describe(t, "VM1").UUID
			b.where = filepath.Join(l.Info().Dir, "backups")
			require.NoError(t, os.Mkdir(b.where, 0o755))
			c.test(t, b)
			require.NoError(t, b.h.Close())
			waitClosed(t)
		})
	}
}

type backups struct {
	*bench
	h           *Host
	uuid, where string
}

func (b *backups) options(name string) hypervisor.BackupOptions {
	return hypervisor.BackupOptions{Where: b.where, Name: name}
}

// io has QEMU read or write the running VM's disk, as a guest would.
func (b *backups) io(t *testing.T, commands ...string) {
	t.Helper()
	for _, c := range commands {
		out := b.virsh(t, "qemu-monitor-command", b.vm, "--hmp", fmt.Sprintf("qemu-io -d virtio-disk0/virtio-backend %q", c))
		require.NotContains(t, strings.ToLower(out), "error", c)
		require.NotContains(t, out, "Permission", c)
	}
}

// backup makes one of what a VM that stands still has on its disks, and compares.
func (b *backups) backup(t *testing.T, name string) hypervisor.Backup {
	t.Helper()
	return b.backupIn(t, name, b.h.CreateBackup)
}

// backupIn is backup with another way to make it.
func (b *backups) backupIn(t *testing.T, name string, create func(context.Context, string, hypervisor.BackupOptions) (hypervisor.Backup, error)) hypervisor.Backup {
	t.Helper()
	active := strings.TrimSpace(b.virsh(t, "domstate", b.vm)) != "shut off"
	if active {
		b.virsh(t, "suspend", b.vm)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	made, err := create(ctx, b.uuid, b.options(name))
	require.NoError(t, err)
	if active {
		b.io(t, "flush")
	}
	for _, d := range made.Disks {
		b.compare(t, d.Target, d.File)
	}
	if active {
		b.virsh(t, "resume", b.vm)
	}
	require.NoError(t, b.h.CheckBackup(t.Context(), b.where, b.uuid, name))
	return made
}

// compare says whether a disk of the VM holds what a file and those below hold.
func (b *backups) compare(t *testing.T, target, file string) {
	t.Helper()
	chain, err := b.imageChain(t.Context(), t, target)
	require.NoError(t, err)
	out, err := exec.CommandContext(t.Context(), "qemu-img", "compare", "-U", chain, file).CombinedOutput()
	require.NoError(t, err, "disk %s and %s: %s", target, file, out)
}

// What was written, zeroed and discarded after a full one is in the next.
func testContents(t *testing.T, b *backups) {
	b.io(t, "write -P 17 32M 2M")
	one := b.backup(t, "one")
	require.Empty(t, one.Parent+one.Why)
	b.io(t, "write -z 32M 512k", "discard 33M 64k", "write -P 0 33619968 64k", "write -P 18 40M 3k")
	two := b.backup(t, "two")
	require.Equal(t, "one", two.Parent)
	require.Less(t, two.Disks[0].Bytes, one.Disks[0].Bytes)
	b.virsh(t, "destroy", b.vm)
	three := b.backup(t, "three")
	require.Empty(t, three.Parent)
	require.Contains(t, three.Why, "not active")
	b.virsh(t, "start", b.vm)
	four := b.backup(t, "four")
	require.Empty(t, four.Parent)
	require.Contains(t, four.Why, "three")
	b.io(t, "write -P 19 44M 1M")
	require.Equal(t, "four", b.backup(t, "five").Parent)
	require.Len(t, strings.Fields(b.virsh(t, "checkpoint-list", b.vm, "--name")), 1, "the newest is enough")

	b.virsh(t, "destroy", b.vm)
	require.NoError(t, b.h.RestoreBackup(t.Context(), b.uuid, hypervisor.RestoreOptions{Where: b.where, Name: "two", Keep: "had"}))
	b.compare(t, "vda", two.Disks[0].File)
	require.NoError(t, b.h.RestoreBackup(t.Context(), b.uuid, hypervisor.RestoreOptions{Where: b.where, Name: "had"}))
	require.Equal(t, "/var/lib/libvirt/images/VM1.qcow2", b.image(t))
	b.virsh(t, "start", b.vm)
	b.io(t, "write -P 20 46M 1M")
	require.Equal(t, "five", b.backup(t, "six").Parent, "the bitmap has gone with the file")
}

// libvirt carries on what it knows of changes when a layer is made or merged.
func testBackupAcrossLayers(t *testing.T, b *backups) {
	b.backup(t, "one")
	_, err := b.h.CreateSnapshot(t.Context(), b.uuid, hypervisor.SnapshotOptions{Name: "layer"})
	require.NoError(t, err)
	b.io(t, "write -P 21 40M 1M")
	require.Equal(t, "one", b.backup(t, "two").Parent)
	b.io(t, "write -P 22 42M 1M", "write -z 40M 64k")
	require.NoError(t, b.h.DeleteSnapshot(t.Context(), b.uuid, "layer"))
	b.io(t, "write -P 23 44M 1M")
	b.backup(t, "three")
	_, err = b.h.CreateSnapshot(t.Context(), b.uuid, hypervisor.SnapshotOptions{Name: "memory", Memory: true})
	require.NoError(t, err)
	b.io(t, "write -P 24 46M 1M")
	require.Equal(t, "three", b.backup(t, "four").Parent)
	require.NoError(t, b.h.DeleteSnapshot(t.Context(), b.uuid, "memory"))
	b.io(t, "write -P 25 48M 1M")
	require.Equal(t, "four", b.backup(t, "five").Parent)

	// Another layer upon the file that the bitmap is in.
	_, err = b.h.CreateSnapshot(t.Context(), b.uuid, hypervisor.SnapshotOptions{Name: "again"})
	require.NoError(t, err)
	b.io(t, "write -P 26 50M 1M")
	b.virsh(t, "destroy", b.vm)
	require.NoError(t, b.h.RevertSnapshot(t.Context(), b.uuid, "again"))
	b.virsh(t, "start", b.vm)
	b.io(t, "write -P 27 52M 1M")
	six := b.backup(t, "six")
	require.Empty(t, six.Parent)
	require.NotEmpty(t, six.Why)
}

// A QEMU that was killed has kept what it knew of the file below the layer, and
// not of the layer.
func testKilledUponLayer(t *testing.T, b *backups) {
	b.backup(t, "one")
	_, err := b.h.CreateSnapshot(t.Context(), b.uuid, hypervisor.SnapshotOptions{Name: "layer"})
	require.NoError(t, err)
	b.io(t, "write -P 31 40M 1M", "flush")
	_, err = b.Kill(t.Context(), b.vm)
	require.NoError(t, err)
	b.waitState(t, "shut off")
	b.virsh(t, "start", b.vm)
	b.io(t, "write -P 32 42M 1M")
	require.NoError(t, b.h.DeleteSnapshot(t.Context(), b.uuid, "layer"))
	b.io(t, "write -P 33 44M 1M")
	b.backup(t, "two")
	_, err = b.Kill(t.Context(), b.vm)
	require.NoError(t, err)
	b.waitState(t, "shut off")
	b.virsh(t, "start", b.vm)
	three := b.backup(t, "three")
	require.Empty(t, three.Parent)
	require.Contains(t, three.Why, "two")
	require.Equal(t, "three", b.backup(t, "four").Parent)
	require.Len(t, strings.Fields(b.virsh(t, "checkpoint-list", b.vm, "--name")), 1)
}

func (b *backups) waitState(t *testing.T, want string) {
	t.Helper()
	require.Eventually(t, func() bool {
		out, err := b.Virsh(t.Context(), b.host, "domstate", b.vm)
		return err == nil && strings.TrimSpace(out) == want
	}, patience, 50*time.Millisecond)
}

// Bitmaps that libvirt knows nothing of any more forbid a revert, too.
func testRevertWithForgottenBitmaps(t *testing.T, b *backups) {
	_, err := b.h.CreateSnapshot(t.Context(), b.uuid, hypervisor.SnapshotOptions{Name: "good", Memory: true})
	require.NoError(t, err)
	b.backup(t, "one")
	b.virsh(t, "destroy", b.vm)
	for _, name := range strings.Fields(b.virsh(t, "checkpoint-list", b.vm, "--name")) {
		b.virsh(t, "checkpoint-delete", b.vm, name, "--metadata")
	}
	_, err = b.Virsh(t.Context(), b.host, "snapshot-revert", b.vm, "good")
	require.ErrorContains(t, err, "bitmaps", "this libvirt reverts with bitmaps in the image: the driver need not take them out")
	require.NoError(t, b.h.RevertSnapshot(t.Context(), b.uuid, "good"))
	b.waitState(t, "running")
	require.Empty(t, b.backup(t, "two").Parent)
	require.Equal(t, "two", b.backup(t, "three").Parent)
	b.virsh(t, "destroy", b.vm)
	out, err := exec.CommandContext(t.Context(), "qemu-img", "check", filepath.Join(b.images(t), "VM1.qcow2")).CombinedOutput()
	require.NotContains(t, string(out), "ERROR", "%v", err)
}

// attach gives the VM a second disk with that many MiB of data.
func (b *backups) attach(t *testing.T, format string, size, data int) {
	t.Helper()
	file := "second." + format
	here := filepath.Join(b.images(t), file)
	for _, command := range [][]string{
		{"qemu-img", "create", "-q", "-f", format, here, fmt.Sprintf("%dM", size)},
		{"qemu-io", "-f", format, "-c", fmt.Sprintf("write -q -P 77 0 %dM", data), here},
	} {
		out, err := exec.CommandContext(t.Context(), command[0], command[1:]...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	b.virsh(t, "attach-disk", b.vm, "/var/lib/libvirt/images/"+file, "vdb", "--subdriver", format, "--config")
	b.virsh(t, "destroy", b.vm)
	b.virsh(t, "start", b.vm)
}

// A raw disk has no place for what has changed.
func testBackupOfRawDisk(t *testing.T, b *backups) {
	b.attach(t, "raw", 32, 4)
	one := b.backup(t, "one")
	require.Len(t, one.Disks, 2)
	two := b.backup(t, "two")
	require.Empty(t, two.Parent)
	require.Contains(t, two.Why, "vdb is of format raw")
	require.Empty(t, strings.Fields(b.virsh(t, "checkpoint-list", b.vm, "--name")))
	b.virsh(t, "destroy", b.vm)
	b.backup(t, "three")
	require.NoError(t, b.h.RestoreBackup(t.Context(), b.uuid, hypervisor.RestoreOptions{Where: b.where, Name: "one", Keep: "had"}))
	file := filepath.Join(b.images(t), filepath.Base(b.imageOf(t, "vdb")))
	out, err := exec.CommandContext(t.Context(), "qemu-img", "compare", "-f", "raw", "-F", "qcow2", file, one.Disks[1].File).CombinedOutput()
	require.NoError(t, err, "%s", out)
	b.virsh(t, "start", b.vm)
}

// Two at once in a folder that no pool has, and in the end there is none. Of one VM
// a second worker is told that there is a backup under way, and tries again.
func testTwoInOneFolder(t *testing.T, b *backups) {
	other := b.connect(t, "A") // as another worker is
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	errs := make(chan error, 4)
	for i, vm := range []string{"VM1", "VM2", "VM1", "VM2"} {
		// Each VM has one worker, as its guardian sees to: of two that back up the same one
		// libvirt tells the slower no more how its job has ended, so that it tries again.
		h, uuid := []*Host{b.h, other}[i%2], b.describe(t, vm).UUID
		go func() {
			var err error
			for n := 0; n < 3 && err == nil; n++ {
				pause := newPause()
				for {
					_, err = h.CreateBackup(ctx, uuid, b.options(fmt.Sprintf("n%d-%d", i, n)))
					if !errors.Is(err, hypervisor.ErrInvalidState) || pause(ctx) != nil {
						break
					}
				}
			}
			errs <- err
		}()
	}
	for range 4 {
		require.NoError(t, <-errs)
	}
	require.Equal(t, "images", strings.TrimSpace(b.virsh(t, "pool-list", "--all", "--name")))
	require.NoError(t, other.Close())
}

// begun starts a backup that takes seconds, and returns when libvirt copies.
func (b *backups) begun(ctx context.Context, t *testing.T, h *Host, name string) <-chan error {
	t.Helper()
	ended := make(chan error, 1)
	go func() {
		_, err := h.CreateBackup(ctx, b.uuid, b.options(name))
		ended <- err
	}()
	require.Eventually(t, func() bool {
		_, err := b.Virsh(t.Context(), b.host, "backup-dumpxml", b.vm)
		return err == nil
	}, patience, 5*time.Millisecond)
	require.Empty(t, ended, "it was too fast: give it a bigger disk")
	return ended
}

func (b *backups) noJob(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		_, err := b.Virsh(t.Context(), b.host, "backup-dumpxml", b.vm)
		return err != nil
	}, patience, 50*time.Millisecond)
}

func (b *backups) files(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(b.where, "*"))
	require.NoError(t, err)
	return files
}

// again makes the backup that did not come about, as a caller would: libvirt may
// still be busy with what it was about, and then nothing has been done.
func (b *backups) again(t *testing.T, name string) {
	t.Helper()
	b.backupIn(t, name, func(ctx context.Context, uuid string, o hypervisor.BackupOptions) (hypervisor.Backup, error) {
		deadline, cancel := context.WithTimeout(ctx, 3*time.Minute)
		defer cancel()
		pause := newPause()
		for {
			made, err := b.h.CreateBackup(deadline, uuid, o)
			late := errors.Is(err, hypervisor.ErrTimeout) || errors.Is(err, hypervisor.ErrUnreachable)
			if !late || pause(deadline) != nil {
				return made, err
			}
			t.Logf("once more: %v", err)
		}
	})
	require.Len(t, b.files(t), 3, "two disks, a manifest, and nothing of the try before")
	require.Len(t, strings.Fields(b.virsh(t, "checkpoint-list", b.vm, "--name")), 1)
}

func testCancelledBackup(t *testing.T, b *backups) {
	b.attach(t, "qcow2", 2048, 1024)
	ctx, cancel := context.WithCancel(t.Context())
	ended := b.begun(ctx, t, b.h, "one")
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	b.noJob(t)
	b.again(t, "one")
}

// The job runs on when the worker is gone.
func testBackupOfDeadWorker(t *testing.T, b *backups) {
	b.attach(t, "qcow2", 2048, 1024)
	dead := b.connect(t, "A")
	ended := b.begun(t.Context(), t, dead, "one")
	require.NoError(t, dead.Close())
	require.ErrorIs(t, <-ended, hypervisor.ErrClosed)
	_, err := b.h.CreateBackup(t.Context(), b.uuid, b.options("two"))
	require.ErrorIs(t, err, hypervisor.ErrInvalidState)
	require.ErrorContains(t, err, "domjobabort")
	list, err := b.h.Backups(t.Context(), b.where, b.uuid)
	require.NoError(t, err)
	require.Empty(t, list)
	b.again(t, "one")
}

func testKilledInTheMiddle(t *testing.T, b *backups) {
	b.attach(t, "qcow2", 2048, 1024)
	ended := b.begun(t.Context(), t, b.h, "one")
	_, err := b.Kill(t.Context(), b.vm)
	require.NoError(t, err)
	require.Error(t, <-ended)
	b.waitState(t, "shut off")
	b.virsh(t, "start", b.vm)
	b.again(t, "one")
}

func testLibvirtdKilledInTheMiddle(t *testing.T, b *backups) {
	b.attach(t, "qcow2", 2048, 1024)
	ended := b.begun(t.Context(), t, b.h, "one")
	_, err := b.KillLibvirtd(t.Context(), b.host)
	require.NoError(t, err)
	require.ErrorIs(t, <-ended, hypervisor.ErrUnreachable)
	_, err = b.StartLibvirtd(t.Context(), b.host)
	require.NoError(t, err)
	require.NoError(t, b.h.Connect(t.Context()))
	b.again(t, "one")
}
