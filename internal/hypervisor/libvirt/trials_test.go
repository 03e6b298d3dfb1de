//go:build cgo

package libvirt

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	lv "libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"holdfast/internal/hypervisor"
)

// A domain with all that must not be in a trial of it.
const rich = `<domain type='kvm' id='7'>
  <name>web</name><uuid>5be62b26-b39d-4b81-a264-c35c9bc0f04a</uuid>
  <metadata><holdfast:vm xmlns:holdfast='https://holdfast.dev/xmlns/domain/1' agent='expected'/></metadata>
  <memory unit='KiB'>1048576</memory><memtune><hard_limit unit='KiB'>2097152</hard_limit></memtune>
  <memoryBacking><hugepages/><locked/></memoryBacking>
  <vcpu placement='static' cpuset='2-3'>2</vcpu>
  <cputune><vcpupin vcpu='0' cpuset='2'/></cputune><numatune><memory mode='strict' nodeset='1'/></numatune>
  <sysinfo type='smbios'><system><entry name='uuid'>5be62b26-b39d-4b81-a264-c35c9bc0f04a</entry><entry name='serial'>s1</entry></system></sysinfo>
  <os firmware='efi'><type arch='x86_64' machine='q35'>hvm</type><smbios mode='sysinfo'/></os>
  <on_crash>preserve</on_crash>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='none' io='native'/><source file='/img/web.now' index='1'/>
      <backingStore type='file'><format type='qcow2'/><source file='/img/web.qcow2'/><backingStore/></backingStore>
      <target dev='vda' bus='virtio'/><serial>d1</serial><boot order='1'/><address type='pci' domain='0x0000' bus='0x04' slot='0x00' function='0x0'/></disk>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/data/web.layer'/><target dev='vdb' bus='virtio'/></disk>
    <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/img/shared.img'/><target dev='vdc' bus='virtio'/><readonly/></disk>
    <disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='/iso/seed.iso'/><target dev='sda' bus='sata'/><readonly/></disk>
    <disk type='block' device='cdrom'><source dev='/dev/sr0'/><target dev='sdb' bus='sata'/><readonly/></disk>
    <disk type='file' device='floppy'><source file='/iso/floppy.img'/><target dev='fda' bus='fdc'/></disk>
    <interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/></interface>
    <filesystem type='mount'><source dir='/srv'/><target dir='srv'/></filesystem>
    <hostdev mode='subsystem' type='pci' managed='yes'><source><address domain='0' bus='1' slot='0' function='0'/></source></hostdev>
    <serial type='file'><source path='/var/log/web-serial.log'/><log file='/var/log/web.log'/><target port='0'/></serial>
    <console type='file'><source path='/var/log/web-serial.log'/><target type='serial' port='0'/></console>
    <channel type='unix'><source mode='bind' path='/run/web-agent.sock'/><target type='virtio' name='org.qemu.guest_agent.0' state='connected'/></channel>
    <channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel>
    <input type='evdev'><source dev='/dev/input/event1'/></input><input type='tablet' bus='usb'/>
    <tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>
    <graphics type='spice' port='5900' passwd='secret'><listen type='address' address='0.0.0.0'/></graphics>
    <sound model='ich9'><audio id='1'/></sound><audio id='1' type='spice'/>
    <video><model type='virtio' heads='1'><acceleration accel3d='yes'/></model></video>
    <redirdev bus='usb' type='spicevmc'/>
    <watchdog model='i6300esb' action='dump'/>
    <rng model='virtio'><backend model='egd' type='unix'><source mode='connect' path='/run/egd'/></backend></rng>
    <shmem name='shared'><model type='ivshmem-plain'/></shmem>
    <vsock model='virtio'><cid auto='no' address='3'/></vsock>
    <memballoon model='virtio'/>
  </devices>
</domain>`

var someTrial = hypervisor.Trial{
	UUID: "11111111-2222-4333-8444-555555555555", Of: "5be62b26-b39d-4b81-a264-c35c9bc0f04a",
	Name: trialName("5be62b26-b39d-4b81-a264-c35c9bc0f04a"),
}

func someTried() tried {
	return tried{what: `snapshot "a<b"`, bases: map[string]base{
		"vda": {file: "/img/web.qcow2", format: "raw"},
		"vdb": {file: "/data/web.base", format: "qcow2", below: []string{"/data/web.first"}},
	}}
}

func makeTrialXML(t *testing.T, definition string, of tried) (string, error) {
	t.Helper()
	disks, err := parseImages(definition)
	require.NoError(t, err)
	layers, err := of.layersFor(someTrial, disks)
	require.NoError(t, err)
	return trialXML(definition, definition, someTrial, of, layers)
}

func TestTrialXML(t *testing.T) {
	text, err := makeTrialXML(t, rich, someTried())
	require.NoError(t, err)
	for _, gone := range []string{
		">5be62b26-b39d-4b81-a264-c35c9bc0f04a<", "metadata", "br0", "/srv", "hostdev", "/var/log", "web-agent", "spice'", `spicevmc"`, "secret", "evdev", "<tpm",
		"cpuset", "vcpupin", "strict", "hard_limit", "locked", "/dev/sr0", "floppy.img", "accel3d", "egd", "ivshmem", "vsock", `"dump"`, "/img/web.now", "/data/web.layer", "index=",
	} {
		require.NotContains(t, text, gone)
	}
	var d libvirtxml.Domain
	require.NoError(t, d.Unmarshal(text))
	require.Nil(t, d.ID)
	require.Equal(t, someTrial.Name, d.Name)
	require.True(t, onTrial(d.Name))
	require.Equal(t, someTrial.UUID, d.UUID)
	require.Equal(t, `Holdfast tries snapshot "a<b" of web`, d.Title)
	require.Equal(t, "preserve", d.OnCrash)
	require.NotNil(t, d.MemoryBacking.MemoryHugePages)
	require.Len(t, d.SysInfo[0].SMBIOS.System.Entry, 1, "the serial number")

	disks := d.Devices.Disks
	require.Len(t, disks, 6, "each target is still there")
	vda := disks[0]
	require.Equal(t, "/img/holdfast-trial-5be62b26-b39d-4b81-a264-c35c9bc0f04a.11111111.vda.qcow2", vda.Source.File.File)
	require.Equal(t, "qcow2", vda.Driver.Type)
	require.Equal(t, "native", vda.Driver.IO)
	require.Equal(t, "raw", vda.BackingStore.Format.Type)
	require.Equal(t, "/img/web.qcow2", vda.BackingStore.Source.File.File)
	require.NotNil(t, vda.BackingStore.BackingStore, "nobody looks what a raw image seems to be")
	require.Equal(t, "d1", vda.Serial)
	require.NotNil(t, vda.Address)
	require.Equal(t, "/data/holdfast-trial-5be62b26-b39d-4b81-a264-c35c9bc0f04a.11111111.vdb.qcow2", disks[1].Source.File.File)
	require.Nil(t, disks[1].BackingStore.BackingStore)
	require.Equal(t, "/img/shared.img", disks[2].Source.File.File)
	require.Equal(t, "optional", disks[3].Source.StartupPolicy)
	require.Contains(t, text, `<disk device="cdrom">`)
	require.Contains(t, text, `<disk device="floppy">`)
	require.Len(t, d.Devices.Channels, 2)
	for _, c := range d.Devices.Channels {
		require.Equal(t, &libvirtxml.DomainChardevSourceUNIX{Mode: "bind"}, c.Source.UNIX)
	}
	require.Contains(t, text, `<serial type="pty">`)
	require.Len(t, d.Devices.Inputs, 1)
	require.Contains(t, d.OS.NVRam.NVRam, trialFiles(someTrial.Of, someTrial.UUID)+"nvram")
	require.Equal(t, "efi", d.OS.Firmware)
}

// libvirt has said which firmware the domain runs with, and so where the variables
// are that the trial gets a copy of.
func TestTrialOfUEFI(t *testing.T) {
	const chosen = `<loader readonly='yes' type='pflash'>/fw/CODE.fd</loader><nvram template='/fw/VARS.fd'>/nvram/web_VARS.fd</nvram>`
	live := strings.Replace(rich, "<smbios mode", chosen+"<smbios mode", 1)
	disks, err := parseImages(rich)
	require.NoError(t, err)
	layers, err := someTried().layersFor(someTrial, disks)
	require.NoError(t, err)
	text, err := trialXML(rich, live, someTrial, someTried(), layers)
	require.NoError(t, err)
	var d libvirtxml.Domain
	require.NoError(t, d.Unmarshal(text))
	require.Empty(t, d.OS.Firmware)
	require.Equal(t, "/fw/CODE.fd", d.OS.Loader.Path)
	require.Equal(t, "/nvram/web_VARS.fd", d.OS.NVRam.Template)
	require.Contains(t, d.OS.NVRam.NVRam, trialPrefix)
}

func TestUntriable(t *testing.T) {
	of := someTried()
	delete(of.bases, "vdb")
	_, err := makeTrialXML(t, rich, of)
	require.ErrorIs(t, err, hypervisor.ErrInvalidState)
	require.ErrorContains(t, err, "disk vdb")

	own := strings.Replace(rich, "<domain type='kvm'", "<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'", 1)
	own = strings.Replace(own, "</domain>", "<qemu:commandline><qemu:arg value='-netdev'/><qemu:arg value='user,id=x'/></qemu:commandline></domain>", 1)
	_, err = makeTrialXML(t, own, someTried())
	require.ErrorIs(t, err, hypervisor.ErrInvalidState)
	require.ErrorContains(t, err, "qemu:commandline")

	disks, err := parseImages(rich)
	require.NoError(t, err)
	require.NoError(t, someTried().untouched(disks))
	for _, file := range []string{"/data/web.base", "/data/web.first"} {
		changed, err := parseImages(strings.Replace(rich, "/data/web.layer", file, 1))
		require.NoError(t, err)
		require.ErrorIs(t, someTried().untouched(changed), hypervisor.ErrInvalidState)
	}
	_, err = someTried().layersFor(someTrial, disks[:1])
	require.ErrorContains(t, err, "vdb is not in the domain's definition")
}

func TestUntriableErrors(t *testing.T) {
	l := &link{host: &Host{}}
	said := func(text string) error { return lv.Error{Code: lv.ERR_INTERNAL_ERROR, Message: text} }
	for text, sentinel := range map[string]error{
		"cannot set up guest memory 'pc.ram': Cannot allocate memory":            hypervisor.ErrNoResource,
		`/img/web.qcow2: Failed to get "write" lock`:                             hypervisor.ErrInvalidState,
		"Could not open '/data/web.first': No such file or directory":            hypervisor.ErrDamaged,
		"Could not open '/data/web.base': Image is not in qcow2 format":          hypervisor.ErrDamaged,
		"qemu-img: /img/holdfast: error: No space left on device /img/web.qcow2": hypervisor.ErrNoResource,
	} {
		require.ErrorIs(t, l.untriable(said(text), someTried()), sentinel, text)
	}
	for _, text := range []string{"Could not open '/data/web.base': Permission denied", "Could not open '/iso/seed.iso': No such file or directory"} {
		require.NotErrorIs(t, l.untriable(said(text), someTried()), hypervisor.ErrDamaged, text)
	}
}
