//go:build cgo

package libvirt

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"holdfast/internal/hypervisor"
)

const wanting = `<domain type='kvm'>
  <name>one</name><uuid>3e99e481-49d3-4f1e-bb2e-e52e3cc6d211</uuid>
  <maxMemory slots='4' unit='KiB'>4194304</maxMemory>
  <memory unit='KiB'>1048576</memory><currentMemory unit='KiB'>524288</currentMemory>
  <vcpu placement='static' current='2'>8</vcpu>
  <os>%s<kernel>/boot/vmlinuz</kernel></os>
  <devices>%s</devices>
</domain>`

func wantedBy(t *testing.T, os, devices string) (*wants, hypervisor.Needs) {
	t.Helper()
	definition := fmt.Sprintf(wanting, os, devices)
	w, err := wantsOf(definition, definition)
	require.NoError(t, err)
	n := w.sorted()
	return w, n
}

func TestNeedsOfDefinition(t *testing.T) {
	w, n := wantedBy(t, "<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE.fd</loader><nvram>/var/lib/libvirt/qemu/nvram/one.fd</nvram>", `
		<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/srv/b/one.qcow2'/><target dev='vda'/></disk>
		<disk type='file' device='disk'><source file='/srv/b//two.raw'/><target dev='vdb'/></disk>
		<disk type='file' device='disk'><source file='/srv/a/three.raw'/><target dev='vdc'/></disk>
		<disk type='file' device='disk'><source file='/srv/iso/four.raw'/><target dev='vdd'/><readonly/></disk>
		<disk type='file' device='cdrom'><source file='/srv/iso/five.iso'/><target dev='sda'/><readonly/></disk>
		<disk type='block' device='cdrom'><source dev='/dev/sr0'/><target dev='sdb'/></disk>
		<disk type='file' device='cdrom'><target dev='sdc'/><readonly/></disk>
		<disk type='file' device='floppy'><source file='/srv/iso/six.img'/><target dev='fda'/></disk>
		<disk type='network' device='disk'><source protocol='rbd' name='pool/one'><host name='192.0.2.1' port='6789'/></source><target dev='vde'/></disk>
		<interface type='network'><source network='storage'/></interface>
		<interface type='network'><source network='default'/></interface>
		<interface type='network'><source network='storage'/></interface>
		<interface type='bridge'><source bridge='br0'/></interface>
		<interface type='direct'><source dev='eth0' mode='bridge'/></interface>
		<serial type='pty'/><shmem name='x'/><redirdev bus='usb' type='spicevmc'/>`)
	require.Equal(t, hypervisor.Needs{
		Memory: 4 << 30, VCPUs: 8, Pinned: []string{}, Networks: []string{"default", "storage"},
		Folders: []string{"/srv/a", "/srv/b", "/var/lib/libvirt/qemu/nvram"},
	}, n)
	require.Equal(t, []writable{{"vda", "/srv/b/one.qcow2", "qcow2"}, {"vdb", "/srv/b//two.raw", ""}, {"vdc", "/srv/a/three.raw", ""}}, w.disks)

	w.upon("vda", "/srv/c/base.qcow2")
	w.upon("vda", "nbd://192.0.2.1:10809/one")
	w.upon("vda", "nbd+unix:///one?socket=/run/secret")
	w.upon("vdb", "/dev/vg/base")
	require.Equal(t, []string{"/srv/a", "/srv/b", "/srv/c", "/var/lib/libvirt/qemu/nvram"}, w.sorted().Folders)
	require.Equal(t, []string{
		"disk vda is built upon a network disk that is served by this host",
		"disk vdb is built upon the device /dev/vg/base of this host",
	}, w.sorted().Pinned)

	_, err := wantsOf("<domain><memory>many</memory></domain>", "")
	require.EqualError(t, err, "the definition cannot be read")
}

func TestNeedsPinned(t *testing.T) {
	disk := func(kind, source string) string {
		return "<disk type='" + kind + "' device='disk'>" + source + "<target dev='vdb'/></disk>"
	}
	network := func(host string) string {
		return disk("network", "<source protocol='nbd' name='x'>"+host+"</source>")
	}
	const pci = "<source><address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x1'/></source>"
	for _, c := range []struct{ device, says string }{
		{disk("block", "<source dev='/dev/sdb'/>"), "disk vdb is the device /dev/sdb of this host"},
		{disk("dir", "<source dir='/srv/x'/>"), "disk vdb is made of the folder /srv/x of this host"},
		{disk("volume", "<source pool='images' volume='x'/>"), "disk vdb is volume x of storage pool images"},
		{disk("nvme", "<source type='pci' managed='yes' namespace='1'><address domain='0x0000' bus='0x01' slot='0x00' function='0x0'/></source>"), "disk vdb is an NVMe device"},
		{disk("vhostuser", "<source type='unix' path='/run/x'/>"), "disk vdb is served by a program of this host"},
		{disk("vhostvdpa", "<source dev='/dev/vhost-vdpa-0'/>"), "disk vdb is the device /dev/vhost-vdpa-0"},
		{network("<host transport='unix' socket='/run/nbd'/>"), "disk vdb is reached through the socket /run/nbd"},
		{network("<host name='localhost' port='1'/>"), "disk vdb is reached at localhost"},
		{network("<host name='127.0.0.2'/>"), "disk vdb is reached at 127.0.0.2"},
		{network("<host name='::1'/>"), "disk vdb is reached at ::1"},
		{"<hostdev mode='subsystem' type='pci'>" + pci + "</hostdev>", "it has the PCI device 0000:01:00.1 of this host"},
		{"<hostdev mode='subsystem' type='usb'><source><vendor id='0x1234'/><product id='0xbeef'/></source></hostdev>", "it has the USB device 1234:beef"},
		{"<hostdev mode='subsystem' type='mdev' model='vfio-pci'><source><address uuid='c2177883-f1bb-47f0-914d-32a22e3a8804'/></source></hostdev>", "it has the mediated device c2177883"},
		{"<hostdev mode='subsystem' type='scsi'><source><adapter name='scsi_host0'/><address bus='0' target='0' unit='0'/></source></hostdev>", "it has a SCSI device"},
		{"<interface type='hostdev'><mac address='52:54:00:00:00:01'/>" + pci + "</interface>", "interface 52:54:00:00:00:01 is the PCI device 0000:01:00.1"},
		{"<interface type='vdpa'><source dev='/dev/vhost-vdpa-0'/></interface>", "an interface is the device /dev/vhost-vdpa-0"},
		{"<filesystem type='mount'><source dir='/srv/x'/><target dir='share'/></filesystem>", "file system share is shared with this host"},
		{"<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>", "the state of its TPM"},
		{"<tpm model='tpm-tis'><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>", "its TPM is the device /dev/tpm0"},
		{"<input type='evdev'><source dev='/dev/input/event1'/></input>", "it has an input device"},
		{"<serial type='dev'><source path='/dev/ttyS0'/></serial>", "a serial port is the device /dev/ttyS0"},
	} {
		_, n := wantedBy(t, "", c.device)
		require.Len(t, n.Pinned, 1, c.device)
		require.True(t, strings.HasPrefix(n.Pinned[0], c.says), "%s: %s", c.device, n.Pinned[0])
		require.Empty(t, n.Folders)
	}
	w, err := wantsOf(strings.Replace(fmt.Sprintf(wanting, "", ""), "<os>", "<os firmware='efi'>", 1), fmt.Sprintf(wanting, "", ""))
	require.NoError(t, err)
	require.Len(t, w.Pinned, 1)
	require.Contains(t, w.Pinned[0], "the variables of its firmware")
	_, n := wantedBy(t, "", "<tpm model='tpm-crb'><backend type='emulator'><source type='dir' path='/srv/tpm/one'/></backend></tpm><memory model='nvdimm'><source><path>/srv/nv/one</path></source></memory>")
	require.Empty(t, n.Pinned)
	require.Equal(t, []string{"/srv/nv", "/srv/tpm/one"}, n.Folders)
	_, n = wantedBy(t, "", "<hostdev mode='subsystem' type='scsi'><source protocol='iscsi' name='iqn.x/1'><host name='192.0.2.1' port='3260'/></source></hostdev>")
	require.Empty(t, n.Pinned, "QEMU reaches it by its address")
}

func TestMarkNames(t *testing.T) {
	require.NoError(t, checkMark("/srv", hypervisor.MarkPrefix+"x"))
	for _, mark := range []string{"", "x", "vm.qcow2", hypervisor.MarkPrefix, hypervisor.MarkPrefix + "../x", hypervisor.MarkPrefix + "a b", hypervisor.MarkPrefix + "a\n"} {
		require.Error(t, checkMark("/srv", mark), "%q", mark)
	}
	for _, folder := range []string{"", ".", "srv", "images", "/srv\x00"} {
		require.Error(t, checkMark(folder, hypervisor.MarkPrefix+"x"), "%q", folder)
	}
}

func TestSecretsOfDefinition(t *testing.T) {
	require.Equal(t, []string{"one&two", "c00kie"}, secretsOf(`<domain><graphics type='vnc' passwd='one&amp;two' passwdValidTo='2030-01-01T00:00:00'/>
		<disk><source><cookies><cookie name='x'>c00kie</cookie></cookies></source></disk><title>plain</title></domain>`))
}

// libvirt's own test driver knows definitions, and neither firmware nor TPM.
func TestTestDriverDefinitions(t *testing.T) {
	h := newHost(t, Options{URI: "test:///default"})
	ctx := t.Context()
	domains, err := h.Domains(ctx)
	require.NoError(t, err)
	id := domains[0].UUID
	definition, err := h.Definition(ctx, id)
	require.NoError(t, err)
	require.ErrorIs(t, h.Define(ctx, definition), hypervisor.ErrExists)
	require.ErrorIs(t, h.Undefine(ctx, id), hypervisor.ErrAlreadyActive)
	require.NoError(t, h.Destroy(ctx, id))
	require.NoError(t, h.SetAutostart(ctx, id, true))
	on, err := h.Autostart(ctx, id)
	require.NoError(t, err)
	require.True(t, on)
	require.NoError(t, h.Undefine(ctx, id))
	require.ErrorIs(t, h.Undefine(ctx, id), hypervisor.ErrNotFound)
	require.NoError(t, h.Define(ctx, definition))
	on, err = h.Autostart(ctx, id)
	require.NoError(t, err)
	require.False(t, on)
	networks, err := h.Networks(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"default"}, networks)
	require.NoError(t, h.Start(ctx, id)) // the next test may get the same one
}
