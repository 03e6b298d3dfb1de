//go:build cgo && lab

package libvirt

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/hosttest"
	"holdfast/test/lab"
)

// markAt is where the suite's mark is on a disk, in bytes: behind all that a
// lab's guest writes to it unless it is told to.
const markAt = 63 << 20

// disk reads and writes the suite's mark by QEMU's own tool.
func (b *bench) disk(t *testing.T) hosttest.Disk {
	return hosttest.Disk{
		Mark: func(ctx context.Context, mark byte) error {
			_, err := b.qemuIO(ctx, t, fmt.Sprintf("write -q -P %d %d 64k", mark, markAt))
			return err
		},
		ReadMark: func(ctx context.Context) (byte, error) {
			out, err := b.qemuIO(ctx, t, fmt.Sprintf("read -v %d 1", markAt), "-r")
			var mark byte
			if err == nil {
				_, err = fmt.Sscanf(out, fmt.Sprintf("%08x:  %%x", markAt), &mark)
			}
			return mark, err
		},
	}
}

// qemuIO runs a command on what the VM would start from.
func (b *bench) qemuIO(ctx context.Context, t *testing.T, command string, options ...string) (string, error) {
	chain, err := b.imageChain(ctx, t, "vda")
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, "qemu-io", append(options, "-c", command, chain)...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("qemu-io: %w: %s", err, out)
	}
	return string(out), err
}

// imageChain is what the VM would start from, as QEMU's tools are told of it here:
// what an image says of those below leads nowhere but on the host.
func (b *bench) imageChain(ctx context.Context, t *testing.T, target string) (string, error) {
	var open func(file, format string) (map[string]any, error)
	open = func(file, format string) (map[string]any, error) {
		here := filepath.Join(b.images(t), filepath.Base(file))
		out, err := exec.CommandContext(ctx, "qemu-img", "info", "-U", "--output=json", here).Output()
		if err != nil {
			return nil, fmt.Errorf("look at %s: %w", here, err)
		}
		var info struct {
			Format  string `json:"format"`
			Backing string `json:"backing-filename"`
		}
		if err := json.Unmarshal(out, &info); err != nil {
			return nil, err
		}
		options := map[string]any{"driver": cmp.Or(format, info.Format), "file": map[string]any{"driver": "file", "filename": here}}
		if info.Backing != "" && format == "" {
			options["backing"], err = open(info.Backing, "")
		}
		return options, err
	}
	format := ""
	if strings.HasSuffix(b.imageOf(t, target), ".raw") {
		format = "raw"
	}
	chain, err := open(b.imageOf(t, target), format)
	if err != nil {
		return "", err
	}
	name, err := json.Marshal(chain)
	return "json:" + string(name), err
}

// images is the host's folder of images as this test sees it.
func (b *bench) images(t *testing.T) string {
	t.Helper()
	for _, h := range b.Info().Hosts {
		if h.Name == b.host {
			return h.Images
		}
	}
	require.FailNow(t, "the lab has no host "+b.host)
	return ""
}

// image is the file that vda of the VM is, by its persistent definition.
func (b *bench) image(t *testing.T) string {
	t.Helper()
	return b.imageOf(t, "vda")
}

func (b *bench) imageOf(t *testing.T, target string) string {
	t.Helper()
	for line := range strings.Lines(b.virsh(t, "domblklist", b.vm, "--inactive")) {
		if fields := strings.Fields(line); len(fields) == 2 && fields[0] == target {
			return fields[1]
		}
	}
	require.FailNow(t, b.vm+" has no "+target)
	return ""
}

func (b *bench) virsh(t *testing.T, args ...string) string {
	t.Helper()
	out, err := b.Virsh(t.Context(), b.host, args...)
	require.NoError(t, err, "virsh %s: %s", strings.Join(args, " "), out)
	return out
}

// forgetSnapshots gives the VM the disk that it was made with, shut off, if it
// has snapshots or another disk.
func (b *bench) forgetSnapshots(ctx context.Context, t *testing.T) {
	t.Helper()
	virsh := func(args ...string) string {
		t.Helper()
		out, err := b.Virsh(ctx, b.host, args...)
		require.NoError(t, err, "virsh %s: %s", strings.Join(args, " "), out)
		return out
	}
	names := strings.Fields(virsh("snapshot-list", b.vm, "--name"))
	made := filepath.Join(b.images(t), b.vm+".qcow2")
	if strings.Contains(virsh("domblklist", b.vm, "--inactive"), "/"+b.vm+".qcow2") && len(names) == 0 {
		return
	}
	if strings.TrimSpace(virsh("domstate", b.vm)) != "shut off" {
		virsh("destroy", b.vm)
	}
	for _, name := range names {
		virsh("snapshot-delete", b.vm, name, "--metadata")
		_ = exec.CommandContext(ctx, "qemu-img", "snapshot", "-d", name, made).Run() // if it is in there
	}
	virsh("define", filepath.Join(b.Info().Dir, "hosts", b.host, b.vm+".xml"))
	layers, err := filepath.Glob(filepath.Join(b.images(t), b.vm+".*"))
	require.NoError(t, err)
	for _, file := range layers {
		if file != made {
			require.NoError(t, os.Remove(file))
		}
	}
}

// What libvirt does with snapshots that the simulated hosts do not, and what it
// must be kept from.
func TestSnapshotFaults(t *testing.T) {
	l := labUp(t, lab.Options{Hosts: 2, VMs: 4, Flaky: true, SmallPool: true})
	b := &bench{Lab: l, host: "A", vm: "VM1"}
	for _, c := range []struct {
		name string
		test func(*testing.T, *bench, *Host, string)
	}{
		{"NetworkDisk", testNetworkDisk},
		{"ManagedSave", testSnapshotOfSaved},
		{"FailedRevert", testFailedRevert},
		{"Definition", testRevertOfDefinition},
		{"NoPool", testLayerWithoutPool},
		{"NoRoom", testSnapshotWithoutRoom},
		{"Migration", testMigrationWithSnapshot},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.repair(t)
			h := b.connect(t, "A")
			c.test(t, b, h, b.describe(t, "VM1").UUID)
			require.NoError(t, h.Close())
			waitClosed(t)
		})
	}
}

// withoutDisk takes vdb out of the definition: it is on the network.
func (b *bench) withoutDisk(t *testing.T) {
	t.Helper()
	b.virsh(t, "detach-disk", b.vm, "vdb", "--config")
	t.Cleanup(func() {
		_, err := b.Virsh(context.Background(), b.host, "define", filepath.Join(b.Info().Dir, "hosts", b.host, b.vm+".xml"))
		require.NoError(t, err)
	})
	b.virsh(t, "destroy", b.vm)
}

func testNetworkDisk(t *testing.T, _ *bench, h *Host, uuid string) {
	for _, o := range []hypervisor.SnapshotOptions{{Name: "memory", Memory: true}, {Name: "layer"}} {
		_, err := h.CreateSnapshot(t.Context(), uuid, o)
		require.ErrorIs(t, err, hypervisor.ErrInvalidState)
		require.ErrorContains(t, err, "disk vdb is not a file")
	}
	list, err := h.Snapshots(t.Context(), uuid)
	require.NoError(t, err)
	require.Empty(t, list)
}

// A managed save image holds the memory of a guest that knows other disks.
func testSnapshotOfSaved(t *testing.T, b *bench, h *Host, uuid string) {
	b.withoutDisk(t)
	_, err := h.CreateSnapshot(t.Context(), uuid, hypervisor.SnapshotOptions{Name: "good"})
	require.NoError(t, err)
	require.NoError(t, h.Start(t.Context(), uuid))
	b.virsh(t, "managedsave", b.vm)
	_, err = h.CreateSnapshot(t.Context(), uuid, hypervisor.SnapshotOptions{Name: "layer", External: true})
	require.ErrorIs(t, err, hypervisor.ErrInvalidState)
	require.ErrorContains(t, err, "managed save")
	require.ErrorIs(t, h.RevertSnapshot(t.Context(), uuid, "good"), hypervisor.ErrInvalidState)
	b.virsh(t, "managedsave-remove", b.vm)
	require.NoError(t, h.RevertSnapshot(t.Context(), uuid, "good"))
}

// libvirt changes the definition before it knows whether the revert works.
func testFailedRevert(t *testing.T, b *bench, h *Host, uuid string) {
	b.withoutDisk(t)
	require.NoError(t, h.Start(t.Context(), uuid))
	_, err := h.CreateSnapshot(t.Context(), uuid, hypervisor.SnapshotOptions{Name: "layer"})
	require.NoError(t, err)
	_, err = h.CreateSnapshot(t.Context(), uuid, hypervisor.SnapshotOptions{Name: "memory", Memory: true})
	require.NoError(t, err)
	require.NoError(t, h.Destroy(t.Context(), uuid))
	lost := filepath.Join(b.images(t), filepath.Base(b.image(t)))
	require.NoError(t, h.RevertSnapshot(t.Context(), uuid, "layer"))
	before, err := h.Definition(t.Context(), uuid)
	require.NoError(t, err)
	require.NoError(t, os.Remove(lost))
	require.ErrorIs(t, h.RevertSnapshot(t.Context(), uuid, "memory"), hypervisor.ErrNoResource)
	after, err := h.Definition(t.Context(), uuid)
	require.NoError(t, err)
	require.Equal(t, before, after)
	require.NoError(t, h.Start(t.Context(), uuid))
}

// The definition goes back with an internal snapshot, and stays with a layer.
func testRevertOfDefinition(t *testing.T, b *bench, h *Host, uuid string) {
	b.withoutDisk(t)
	for _, external := range []bool{false, true} {
		name := fmt.Sprint("external-", external)
		_, err := h.CreateSnapshot(t.Context(), uuid, hypervisor.SnapshotOptions{Name: name, External: external})
		require.NoError(t, err)
		b.virsh(t, "setmaxmem", b.vm, "192MiB", "--config")
		require.NoError(t, h.RevertSnapshot(t.Context(), uuid, name))
		after, err := h.Definition(t.Context(), uuid)
		require.NoError(t, err)
		if external {
			require.Contains(t, after, "<memory unit='KiB'>196608</memory>")
			require.Contains(t, after, "/VM1.external-true-")
		} else {
			require.Contains(t, after, "<memory unit='KiB'>131072</memory>")
		}
	}
}

// Where no layer can be made, no snapshot is made that needs one to be reverted to.
func testLayerWithoutPool(t *testing.T, b *bench, h *Host, uuid string) {
	b.withoutDisk(t)
	_, err := h.CreateSnapshot(t.Context(), uuid, hypervisor.SnapshotOptions{Name: "good", External: true})
	require.NoError(t, err)
	b.virsh(t, "pool-destroy", "images")
	err = h.RevertSnapshot(t.Context(), uuid, "good")
	require.ErrorIs(t, err, hypervisor.ErrNoResource)
	require.ErrorContains(t, err, "pool-start")
	_, err = h.CreateSnapshot(t.Context(), uuid, hypervisor.SnapshotOptions{Name: "second", External: true})
	require.ErrorIs(t, err, hypervisor.ErrNoResource)
	b.virsh(t, "pool-start", "images")
	require.NoError(t, h.RevertSnapshot(t.Context(), uuid, "good"))
}

// Where there is no room, nothing is half done.
func testSnapshotWithoutRoom(t *testing.T, b *bench, h *Host, uuid string) {
	b.withoutDisk(t)
	_, err := h.CreateSnapshot(t.Context(), uuid, hypervisor.SnapshotOptions{Name: "good", External: true})
	require.NoError(t, err)
	_, err = b.Inject(t.Context(), lab.FaultFillPool, "A", "")
	require.NoError(t, err)
	before, err := h.Definition(t.Context(), uuid)
	require.NoError(t, err)
	_, err = h.CreateSnapshot(t.Context(), uuid, hypervisor.SnapshotOptions{Name: "layer", External: true})
	require.ErrorIs(t, err, hypervisor.ErrNoResource)
	require.ErrorIs(t, h.RevertSnapshot(t.Context(), uuid, "good"), hypervisor.ErrNoResource)
	after, err := h.Definition(t.Context(), uuid)
	require.NoError(t, err)
	require.Equal(t, before, after)

	require.NoError(t, h.Start(t.Context(), uuid))
	for _, o := range []hypervisor.SnapshotOptions{{Name: "layer"}, {Name: "memory", Memory: true}} {
		_, err = h.CreateSnapshot(t.Context(), uuid, o)
		require.ErrorIs(t, err, hypervisor.ErrNoResource)
		d, err := h.Domain(t.Context(), uuid)
		require.NoError(t, err)
		require.Equal(t, hypervisor.StateRunning, d.State, "it goes on")
	}
	list, err := h.Snapshots(t.Context(), uuid)
	require.NoError(t, err)
	require.Len(t, list, 1)
	files, err := filepath.Glob(filepath.Join(b.images(t), b.vm+".*"))
	require.NoError(t, err)
	require.Len(t, files, 2, "the image and the layer of the snapshot that there is")
	_, err = b.Inject(t.Context(), lab.FaultEmptyPool, "A", "")
	require.NoError(t, err)
}

// libvirt does not migrate a domain that has snapshots. A later one that does
// makes the simulated hosts wrong.
func testMigrationWithSnapshot(t *testing.T, b *bench, h *Host, uuid string) {
	b.withoutDisk(t)
	require.NoError(t, h.Start(t.Context(), uuid))
	_, err := h.CreateSnapshot(t.Context(), uuid, hypervisor.SnapshotOptions{Name: "memory", Memory: true})
	require.NoError(t, err)
	uri, err := b.URI("B")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := b.Virsh(ctx, b.host, "migrate", "--live", "--unsafe", b.vm, uri)
	require.Error(t, err)
	require.Contains(t, out+err.Error(), "cannot migrate domain with 1 snapshots")
}
