//go:build cgo && lab

package libvirt

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"holdfast/internal/hypervisor"
	"holdfast/test/lab"
)

// What real files, and what libvirt makes of them, have to say of taking a domain to
// another host. Its guests boot only from a disk that is right.
func TestDefinitionsOfHosts(t *testing.T) {
	l := labUpAs(t, "hypervisor-definitions", lab.Options{Hosts: 2, VMs: 1, BootDisk: true})
	for _, c := range []struct {
		name string
		test func(*testing.T, *moving)
	}{
		{"Chains", testNeedsOfChains},
		{"Firmware", testFirmwareIsKept},
		{"Transient", testTransientStays},
		{"Ties", testTies},
		{"Backups", testTakenWithBackups},
		{"OldMarks", testOldMarks},
		{"BusyPool", testMarkOfBusyPool},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := &backups{bench: &bench{Lab: l, host: "A", vm: "VM1"}}
			m := &moving{backups: b, a: b.connect(t, "A"), b: b.connect(t, "B"), files: t.TempDir()}
			b.h, b.uuid, b.where = m.a, b.describe(t, "VM1").UUID, filepath.Join(m.files, "backups")
			require.NoError(t, os.Mkdir(b.where, 0o755))
			c.test(t, m)
			for _, host := range []string{"A", "B"} {
				out, err := l.Virsh(t.Context(), host, "pool-list", "--all", "--name")
				require.NoError(t, err)
				require.Equal(t, []string{"images"}, strings.Fields(out), "no pool is left on %s", host)
			}
			require.NoError(t, m.a.Close())
			require.NoError(t, m.b.Close())
			waitClosed(t)
		})
	}
}

type moving struct {
	*backups
	a, b  *Host
	files string // a folder that both hosts see
}

func (m *moving) run(t *testing.T, command ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), command[0], command[1:]...).CombinedOutput()
	require.NoError(t, err, "%s: %s", command, out)
	return string(out)
}

// folder makes one that both hosts see.
func (m *moving) folder(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(m.files, name)
	require.NoError(t, os.MkdirAll(dir, 0o755))
	return dir
}

// made is a domain of A that nobody starts, with something in its <os> and some
// devices. How is define or create.
func (m *moving) made(t *testing.T, how, os1, devices string) (id string) {
	t.Helper()
	id = uuid.NewString()
	file := filepath.Join(m.files, id+".xml")
	text := fmt.Sprintf(`<domain type='qemu'><name>made-%s</name><uuid>%s</uuid><memory unit='MiB'>64</memory><vcpu>1</vcpu>
		<os><type arch='x86_64' machine='pc'>hvm</type>%s</os><features><acpi/></features><devices>%s</devices></domain>`, id[:8], id, os1, devices)
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	m.virsh(t, how, file)
	return id
}

func diskIn(target, format, file string) string {
	return fmt.Sprintf("<disk type='file' device='disk'><driver name='qemu' type='%s'/><source file='%s'/><target dev='%s' bus='virtio'/></disk>", format, file, target)
}

// What an image is built upon is in the image alone.
func testNeedsOfChains(t *testing.T, m *moving) {
	top, middle, below, raw := m.folder(t, "top"), m.folder(t, "middle"), m.folder(t, "below"), m.folder(t, "raw")
	m.run(t, "qemu-img", "create", "-q", "-f", "raw", below+"/base.raw", "4M")
	m.run(t, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", "../below/base.raw", middle+"/one.qcow2")
	m.run(t, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", middle+"/one.qcow2", top+"/one.qcow2")
	// A guest has written an image to its raw disk.
	m.run(t, "cp", top+"/one.qcow2", raw+"/guest.raw")
	id := m.made(t, "define", "", diskIn("vda", "qcow2", top+"/one.qcow2")+diskIn("vdb", "raw", raw+"/guest.raw"))
	n, err := m.a.Needs(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, []string{below, middle, raw, top}, n.Folders)
	require.Empty(t, n.Pinned)
	require.NoError(t, m.a.Undefine(t.Context(), id))

	for name, upon := range map[string]string{"nbd": "nbd://192.0.2.1:10809/base", "unix": "nbd+unix:///base?socket=/run/nbd.sock", "device": "/dev/no-such-device"} {
		m.run(t, "qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", upon, top+"/"+name, "4M")
	}
	m.run(t, "qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", "/dev/no-such-device", top+"/volume", "4M")
	id = m.made(t, "define", "", diskIn("vda", "qcow2", top+"/nbd")+diskIn("vdb", "qcow2", top+"/unix")+
		diskIn("vdc", "qcow2", top+"/device")+diskIn("vdd", "qcow2", top+"/volume"))
	n, err = m.a.Needs(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, []string{top}, n.Folders)
	require.Equal(t, []string{
		"disk vdb is built upon a network disk that is served by this host",
		"disk vdc is built upon the device /dev/no-such-device of this host",
		"disk vdd is built upon the device /dev/no-such-device of this host",
	}, n.Pinned)
	require.NoError(t, m.a.Undefine(t.Context(), id))

	id = m.made(t, "define", "", diskIn("vda", "qcow2", top+"/one.qcow2"))
	require.NoError(t, os.Rename(below, below+".gone"))
	_, err = m.a.Needs(t.Context(), id)
	require.ErrorIs(t, err, hypervisor.ErrNoPool)
	require.NoError(t, m.a.Undefine(t.Context(), id))
}

func testFirmwareIsKept(t *testing.T, m *moving) {
	dir := m.folder(t, "nvram")
	nvram := filepath.Join(dir, "made.fd")
	require.NoError(t, os.WriteFile(nvram, []byte("variables"), 0o600))
	id := m.made(t, "define", "<loader readonly='yes' type='pflash'>/srv/none/CODE.fd</loader><nvram>"+nvram+"</nvram>", "")
	n, err := m.a.Needs(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, []string{dir}, n.Folders, "and not that of what is only read")
	definition, err := m.a.Definition(t.Context(), id)
	require.NoError(t, err)
	require.NoError(t, m.b.Define(t.Context(), definition))
	require.NoError(t, m.a.Undefine(t.Context(), id))
	require.FileExists(t, nvram)
	require.NoError(t, m.b.Undefine(t.Context(), id))
	require.FileExists(t, nvram)
}

func testTransientStays(t *testing.T, m *moving) {
	id := m.made(t, "create", "", "")
	n, err := m.a.Needs(t.Context(), id)
	require.NoError(t, err)
	require.Len(t, n.Pinned, 1)
	require.Contains(t, n.Pinned[0], "transient")
	_, err = m.a.Autostart(t.Context(), id)
	require.ErrorIs(t, err, hypervisor.ErrInvalidState)
	require.ErrorIs(t, m.a.SetAutostart(t.Context(), id, true), hypervisor.ErrInvalidState)
	require.ErrorIs(t, m.a.Undefine(t.Context(), id), hypervisor.ErrAlreadyActive)
	definition, err := m.a.Definition(t.Context(), id)
	require.NoError(t, err)
	require.ErrorIs(t, m.a.Define(t.Context(), definition), hypervisor.ErrExists)
	require.NoError(t, m.a.Destroy(t.Context(), id))
}

// What Undefine refuses for is what Needs has called pinned, and nothing is lost.
func testTies(t *testing.T, m *moving) {
	m.up(t)
	m.backup(t, "one")
	n, err := m.a.Needs(t.Context(), m.uuid)
	require.NoError(t, err)
	require.Empty(t, n.Pinned, "a checkpoint of our own ties it to no host")
	refused := func(word string) {
		t.Helper()
		points := m.virsh(t, "checkpoint-list", m.vm, "--name")
		n, err := m.a.Needs(t.Context(), m.uuid)
		require.NoError(t, err)
		require.Len(t, n.Pinned, 1)
		require.Contains(t, n.Pinned[0], word)
		err = m.a.Undefine(t.Context(), m.uuid)
		require.ErrorIs(t, err, hypervisor.ErrInvalidState)
		require.ErrorContains(t, err, n.Pinned[0])
		require.Equal(t, points, m.virsh(t, "checkpoint-list", m.vm, "--name"))
	}
	m.virsh(t, "checkpoint-create-as", m.vm, "others")
	m.virsh(t, "destroy", m.vm)
	refused("1 checkpoint of another backup program that only this host knows of, others:")
	m.virsh(t, "checkpoint-delete", m.vm, "others", "--metadata")
	m.virsh(t, "start", m.vm)
	m.virsh(t, "managedsave", m.vm)
	refused("managed save image")
	m.virsh(t, "managedsave-remove", m.vm)
	m.snapshot(t, "first")
	m.snapshot(t, "second")
	refused("2 snapshots that only this host knows of, first, second:")
	for _, name := range []string{"first", "second"} {
		require.NoError(t, m.a.DeleteSnapshot(t.Context(), m.uuid, name))
	}
}

func (m *moving) snapshot(t *testing.T, name string) {
	t.Helper()
	_, err := m.h.CreateSnapshot(t.Context(), m.uuid, hypervisor.SnapshotOptions{Name: name})
	require.NoError(t, err)
}

// up has the VM run on the host that it is on, and its guest booted.
func (m *moving) up(t *testing.T) {
	t.Helper()
	if strings.TrimSpace(m.virsh(t, "domstate", m.vm)) == "shut off" {
		require.NoError(t, m.h.Start(t.Context(), m.uuid))
	}
	require.Eventually(t, func() bool {
		_, err := m.h.GuestTime(t.Context(), m.uuid)
		return err == nil
	}, patience, 100*time.Millisecond, "its agent never answered")
}

// take is what brings the VM from one host to the other.
func (m *moving) take(t *testing.T, name string, to *Host) {
	t.Helper()
	m.virsh(t, "destroy", m.vm)
	definition, err := m.h.Definition(t.Context(), m.uuid)
	require.NoError(t, err)
	require.NoError(t, to.Define(t.Context(), definition))
	require.NoError(t, m.h.Undefine(t.Context(), m.uuid))
	m.host, m.h = name, to
	require.Empty(t, strings.Fields(m.virsh(t, "checkpoint-list", m.vm, "--name")), "the other host knows of no checkpoint")
	m.up(t)
}

// Of what a VM has changed only the host knows that it is on: elsewhere it begins anew.
func testTakenWithBackups(t *testing.T, m *moving) {
	m.up(t)
	m.backup(t, "one")
	m.io(t, "write -P 17 32M 1M")
	require.Equal(t, "one", m.backup(t, "two").Parent)
	m.take(t, "B", m.b)
	m.io(t, "write -P 18 34M 1M")
	three := m.backup(t, "three")
	require.Empty(t, three.Parent)
	require.Contains(t, three.Why, "does not know any more what has changed since the one before, two")
	m.io(t, "write -P 19 36M 1M")
	require.Equal(t, "three", m.backup(t, "four").Parent)
	m.take(t, "A", m.a)
	m.io(t, "write -P 20 38M 1M")
	require.Empty(t, m.backup(t, "five").Parent)
	m.io(t, "write -P 21 40M 1M")
	require.Equal(t, "five", m.backup(t, "six").Parent)

	// The bitmaps that nobody knows of any more are in no one's way.
	m.snapshot(t, "layer")
	m.io(t, "write -P 22 42M 1M")
	require.NoError(t, m.h.DeleteSnapshot(t.Context(), m.uuid, "layer"))
	require.Equal(t, "six", m.backup(t, "seven").Parent)
	m.virsh(t, "destroy", m.vm)
	m.snapshot(t, "inside")
	m.up(t)
	m.io(t, "write -P 23 44M 1M")
	m.virsh(t, "destroy", m.vm)
	require.NoError(t, m.h.RevertSnapshot(t.Context(), m.uuid, "inside"))
	require.NoError(t, m.h.DeleteSnapshot(t.Context(), m.uuid, "inside"))
	m.up(t)
	require.Empty(t, m.backup(t, "eight").Parent)
	require.NoError(t, m.h.Destroy(t.Context(), m.uuid))
	require.NoError(t, m.h.RestoreBackup(t.Context(), m.uuid, hypervisor.RestoreOptions{Where: m.where, Name: "four"}))
	m.up(t)
}

// What a worker that died has left goes with the next mark in the folder, and
// nothing else.
func testOldMarks(t *testing.T, m *moving) {
	folder := m.folder(t, "marks")
	long := time.Now().Add(-2 * time.Hour)
	write := func(name, content string, at time.Time) {
		t.Helper()
		file := filepath.Join(folder, name)
		require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
		require.NoError(t, os.Chtimes(file, at, at))
	}
	write(hypervisor.MarkPrefix+"old", "", long)
	write(hypervisor.MarkPrefix+"young", "", time.Now().Add(-50*time.Minute))
	write(hypervisor.MarkPrefix+"full", "somebody's", long)
	write("empty", "", long)
	mark := hypervisor.MarkPrefix + uuid.NewString()
	require.NoError(t, m.a.Mark(t.Context(), folder, mark))
	there, err := m.b.Marked(t.Context(), folder+"/", mark)
	require.NoError(t, err)
	require.True(t, there)
	require.NoError(t, m.b.Unmark(t.Context(), folder, mark))
	entries, err := os.ReadDir(folder)
	require.NoError(t, err)
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	require.Equal(t, []string{hypervisor.MarkPrefix + "full", hypervisor.MarkPrefix + "young", "empty"}, left)

	require.ErrorIs(t, m.a.Mark(t.Context(), filepath.Join(folder, "empty"), mark), hypervisor.ErrNoPool, "it is a file")
	for _, folder := range []string{"/dev", "/proc", "/dev/mapper"} {
		require.ErrorIs(t, m.a.Mark(t.Context(), folder, mark), hypervisor.ErrNoPool)
	}
}

// While libvirt makes a volume it does not look into the folder, and knows nothing of
// what another host has put there.
func testMarkOfBusyPool(t *testing.T, m *moving) {
	folder := m.folder(t, "busy")
	m.run(t, "qemu-io", "-f", "raw", "-c", "write -q -P 7 0 512M", create(t, filepath.Join(folder, "big"), 512<<20))
	m.virsh(t, "pool-create-as", "busy", "dir", "--target", folder)
	copied := make(chan error, 1)
	go func() {
		_, err := m.Virsh(t.Context(), "A", "vol-clone", "big", "copy", "--pool", "busy")
		copied <- err
	}()
	require.Eventually(t, func() bool {
		_, err := os.Stat(filepath.Join(folder, "copy"))
		return err == nil
	}, patience, time.Millisecond)
	mark := hypervisor.MarkPrefix + uuid.NewString()
	require.NoError(t, m.b.Mark(t.Context(), folder, mark))
	if len(copied) > 0 {
		t.Log("the copy has ended already")
	}
	there, err := m.a.Marked(t.Context(), folder, mark)
	require.NoError(t, err)
	require.True(t, there)
	require.NoError(t, m.a.Unmark(t.Context(), folder, mark))
	require.NoError(t, <-copied)
	m.virsh(t, "pool-destroy", "busy")
}

func create(t *testing.T, file string, size int64) string {
	t.Helper()
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	require.NoError(t, os.Truncate(file, size))
	return file
}
