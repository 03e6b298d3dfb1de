//go:build cgo

package libvirt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"path"
	"slices"
	"strings"

	lv "libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"holdfast/internal/hypervisor"
)

// Needs implements [hypervisor.Host]. What a domain only reads (media, a kernel, its
// firmware) is left out: if another host lacks it, libvirt says so at the start.
func (h *Host) Needs(ctx context.Context, uuid string) (hypervisor.Needs, error) {
	ctx, cancel := h.bounded(ctx)
	defer cancel()
	found, err := domain(ctx, h, "look what is needed by domain", uuid, readWants)
	if err != nil {
		return hypervisor.Needs{}, err
	}
	for _, d := range found.disks {
		files, _, err := h.chain(ctx, "look what is needed by domain "+uuid, d.file, d.format, true)
		if err != nil && !ofKernel(files[len(files)-1]) { // what is on a device makes no difference any more
			return hypervisor.Needs{}, err
		}
		for _, below := range files[1:] {
			found.upon(d.target, below)
		}
	}
	return found.sorted(), nil
}

// wants are needs in the making.
type wants struct {
	hypervisor.Needs
	disks []writable // whose chains are to be looked at
}

// writable is a disk that the domain can write to, in a file.
type writable struct{ target, file, format string }

func readWants(d *lv.Domain) (*wants, error) {
	persistent, err := d.IsPersistent()
	if err != nil {
		return nil, err
	}
	live, err := d.GetXMLDesc(0)
	if err != nil {
		return nil, err
	}
	definition, autostart := live, false
	if persistent {
		if definition, err = d.GetXMLDesc(lv.DOMAIN_XML_INACTIVE); err != nil {
			return nil, err
		}
		if autostart, err = d.GetAutostart(); err != nil {
			return nil, err
		}
	}
	w, err := wantsOf(definition, live)
	if err != nil {
		return nil, err
	}
	w.Autostart = autostart
	ties, _, err := tiesOf(d)
	w.Pinned = append(w.Pinned, ties...)
	return w, err
}

// wantsOf reads a definition. live is that of the domain as it runs, or the same one.
func wantsOf(definition, live string) (*wants, error) {
	var d, now libvirtxml.Domain
	if d.Unmarshal(definition) != nil || now.Unmarshal(live) != nil || d.Memory == nil {
		return nil, errors.New("the definition cannot be read") // why would quote it
	}
	const kib = 1024 // libvirt's own unit, whatever a person has written
	w := &wants{}
	w.Memory, w.VCPUs = uint64(d.Memory.Value)*kib, 1
	if d.MaximumMemory != nil {
		w.Memory = max(w.Memory, uint64(d.MaximumMemory.Value)*kib)
	}
	if d.VCPU != nil {
		w.VCPUs = int(d.VCPU.Value)
	}
	w.firmware(&d, &now)
	if d.Devices == nil {
		return w, nil
	}
	for _, disk := range d.Devices.Disks {
		w.disk(disk)
	}
	for _, i := range d.Devices.Interfaces {
		w.network(i)
	}
	w.hostdevs(d.Devices)
	w.others(d.Devices)
	return w, nil
}

func (w *wants) pin(format string, args ...any) {
	w.Pinned = append(w.Pinned, fmt.Sprintf(format, args...))
}

// file is one that the domain writes to.
func (w *wants) file(file string) { w.Folders = append(w.Folders, path.Dir(path.Clean(file))) }

// sorted is what there is, each once.
func (w *wants) sorted() hypervisor.Needs {
	out := w.Needs
	for _, list := range []*[]string{&out.Folders, &out.Networks, &out.Pinned} {
		*list = append([]string{}, *list...)
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return out
}

// firmware is the file that its variables are in.
func (w *wants) firmware(d, now *libvirtxml.Domain) {
	if d.OS == nil {
		return
	}
	const what = "the variables of its firmware"
	nvram := d.OS.NVRam
	if nvram == nil && d.OS.Firmware == "efi" && now.OS != nil {
		nvram = now.OS.NVRam
	}
	switch {
	case nvram != nil && nvram.NVRam != "":
		w.file(strings.TrimSpace(nvram.NVRam))
	case nvram != nil && nvram.Source != nil && nvram.Source.File != nil:
		w.file(nvram.Source.File.File)
	case nvram != nil && nvram.Source != nil:
		w.source(what, nvram.Source)
	case d.OS.Firmware == "efi" && (d.OS.Loader == nil || d.OS.Loader.Stateless != "yes"):
		w.pin("%s are in a file that this host's libvirt chooses as it starts: give the file in its definition (virsh edit, <nvram>)", what)
	}
}

func (w *wants) disk(d libvirtxml.DomainDisk) {
	empty := d.Source == nil || d.Source.File != nil && d.Source.File.File == ""
	if empty || d.Device == "cdrom" || d.Device == "floppy" || d.ReadOnly != nil {
		return
	}
	target, format := "", ""
	if d.Target != nil {
		target = d.Target.Dev
	}
	if d.Driver != nil {
		format = d.Driver.Type
	}
	if d.Source.File == nil {
		w.source("disk "+target, d.Source)
		return
	}
	if ofKernel(d.Source.File.File) {
		w.pin("disk %s is the device %s of this host", target, d.Source.File.File)
		return
	}
	w.file(d.Source.File.File)
	w.disks = append(w.disks, writable{target, d.Source.File.File, format})
}

// source is what a disk is, that is no file.
func (w *wants) source(what string, s *libvirtxml.DomainDiskSource) {
	switch {
	case s.Block != nil:
		w.pin("%s is the device %s of this host", what, s.Block.Dev)
	case s.Dir != nil:
		w.pin("%s is made of the folder %s of this host", what, s.Dir.Dir)
	case s.Volume != nil:
		w.pin("%s is volume %s of storage pool %s, which may be another on another host: give its file in the definition (virsh edit)", what, s.Volume.Volume, s.Volume.Pool)
	case s.NVME != nil:
		w.pin("%s is an NVMe device of this host", what)
	case s.VHostUser != nil:
		w.pin("%s is served by a program of this host, through a socket", what)
	case s.VHostVDPA != nil:
		w.pin("%s is the device %s of this host", what, s.VHostVDPA.Dev)
	case s.Network != nil:
		for _, host := range s.Network.Hosts {
			switch {
			case host.Transport == "unix" || host.Socket != "":
				w.pin("%s is reached through the socket %s of this host", what, cmp.Or(host.Socket, "that is the default"))
			case loopback(host.Name):
				w.pin("%s is reached at %s, which is this host", what, host.Name)
			}
		}
	default:
		w.pin("%s is of a kind that Holdfast does not know", what)
	}
}

func loopback(host string) bool {
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || strings.HasPrefix(host, "localhost.") || ip != nil && ip.IsLoopback()
}

// upon is what a disk is built upon, by the image: a path or what libvirt has for it.
func (w *wants) upon(target, below string) {
	switch {
	case strings.HasPrefix(below, "json:"):
		w.pin("disk %s is built upon something that only the image describes", target)
	case ofKernel(below):
		w.pin("disk %s is built upon the device %s of this host", target, below)
	case path.IsAbs(below):
		w.file(below)
	// What an image names may hold a password: it is not quoted.
	case strings.Contains(below, "unix"), strings.Contains(below, "localhost"), strings.Contains(below, "127.0.0."), strings.Contains(below, "::1"):
		w.pin("disk %s is built upon a network disk that is served by this host", target)
	}
}

func (w *wants) network(i libvirtxml.DomainInterface) {
	name := "an interface"
	if i.MAC != nil {
		name = "interface " + i.MAC.Address
	}
	switch s := i.Source; {
	case s == nil:
	case s.Network != nil:
		w.Networks = append(w.Networks, s.Network.Network)
	case s.Hostdev != nil:
		w.pin("%s is %s of this host", name, cmp.Or(pciDevice(s.Hostdev.PCI), usbDevice(s.Hostdev.USB), "a device"))
	case s.VDPA != nil:
		w.pin("%s is the device %s of this host", name, s.VDPA.Device)
	}
}

func (w *wants) hostdevs(l *libvirtxml.DomainDeviceList) {
	for _, d := range l.Hostdevs {
		what := "a device"
		switch {
		case d.SubsysPCI != nil:
			what = cmp.Or(pciDevice(d.SubsysPCI.Source), "a PCI device")
		case d.SubsysUSB != nil:
			what = cmp.Or(usbDevice(d.SubsysUSB.Source), "a USB device")
		case d.SubsysMDev != nil && d.SubsysMDev.Source != nil && d.SubsysMDev.Source.Address != nil:
			what = "the mediated device " + d.SubsysMDev.Source.Address.UUID
		case d.SubsysSCSI != nil && d.SubsysSCSI.Source != nil && d.SubsysSCSI.Source.ISCSI != nil:
			continue // QEMU reaches it by its address
		case d.SubsysSCSI != nil, d.SubsysSCSIHost != nil:
			what = "a SCSI device"
		}
		w.pin("it has %s of this host", what)
	}
}

func pciDevice(s *libvirtxml.DomainHostdevSubsysPCISource) string {
	if s == nil || s.Address == nil {
		return ""
	}
	part := func(n *uint) uint {
		if n == nil {
			return 0
		}
		return *n
	}
	a := s.Address
	return fmt.Sprintf("the PCI device %04x:%02x:%02x.%x", part(a.Domain), part(a.Bus), part(a.Slot), part(a.Function))
}

func usbDevice(s *libvirtxml.DomainHostdevSubsysUSBSource) string {
	switch {
	case s == nil:
		return ""
	case s.Vendor != nil && s.Product != nil:
		return fmt.Sprintf("the USB device %s:%s", strings.TrimPrefix(s.Vendor.ID, "0x"), strings.TrimPrefix(s.Product.ID, "0x"))
	}
	return "a USB device"
}

// others are the devices that have something of the host behind them.
func (w *wants) others(l *libvirtxml.DomainDeviceList) {
	for _, f := range l.Filesystems {
		name := ""
		if f.Target != nil {
			name = f.Target.Dir
		}
		w.pin("file system %s is shared with this host", name)
	}
	for _, t := range l.TPMs {
		w.tpm(t.Backend)
	}
	for _, m := range l.Memorydevs {
		if m.Source != nil && m.Source.Path != "" {
			w.fileOrDevice("a memory device", m.Source.Path)
		}
	}
	if l.PStore != nil && l.PStore.Path != "" {
		w.file(l.PStore.Path)
	}
	for _, i := range l.Inputs {
		if i.Type == "passthrough" || i.Type == "evdev" {
			w.pin("it has an input device of this host")
		}
	}
	device := func(what string, s *libvirtxml.DomainChardevSource) {
		if s != nil && s.Dev != nil {
			w.pin("%s is the device %s of this host", what, s.Dev.Path)
		}
	}
	for _, c := range l.Serials {
		device("a serial port", c.Source)
	}
	for _, c := range l.Parallels {
		device("a parallel port", c.Source)
	}
	for _, c := range l.Consoles {
		device("a console", c.Source)
	}
	for _, c := range l.Channels {
		device("a channel", c.Source)
	}
}

func (w *wants) fileOrDevice(what, file string) {
	if ofKernel(file) {
		w.pin("%s is %s of this host", what, file)
		return
	}
	w.file(file)
}

// tpm: where the state of an emulated one is cannot be said before libvirt 10.10.
func (w *wants) tpm(b *libvirtxml.DomainTPMBackend) {
	switch {
	case b == nil:
	case b.Passthrough != nil && b.Passthrough.Device != nil:
		w.pin("its TPM is the device %s of this host", b.Passthrough.Device.Path)
	case b.Emulator != nil && b.Emulator.Source != nil && b.Emulator.Source.Dir != nil:
		w.Folders = append(w.Folders, path.Clean(b.Emulator.Source.Dir.Path))
	case b.Emulator != nil && b.Emulator.Source != nil && b.Emulator.Source.File != nil:
		w.fileOrDevice("the state of its TPM", b.Emulator.Source.File.Path)
	case b.Emulator != nil:
		w.pin("the state of its TPM is in a folder of this host's libvirt")
	default:
		w.pin("its TPM is served by this host")
	}
}
