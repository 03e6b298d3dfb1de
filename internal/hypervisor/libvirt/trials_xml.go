//go:build cgo

package libvirt

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"libvirt.org/go/libvirtxml"

	"holdfast/internal/hypervisor"
)

// trialPrefix begins the names of domains on trial and of their files. Nothing
// else is to be called that: such a domain is nobody's VM.
const trialPrefix = "holdfast-trial-"

// onTrial reports whether a domain of that name is on trial.
func onTrial(name string) bool { return strings.HasPrefix(name, trialPrefix) }

// trialName is the name of the one trial that there is of a domain at a time:
// libvirt refuses a second one.
func trialName(of string) string { return trialPrefix + of }

// trialFiles begins the names of the files of all trials of a domain, and with the
// UUID of one those of that alone.
func trialFiles(of, trial string) string {
	if trial == "" {
		return trialPrefix + of + "."
	}
	first, _, _ := strings.Cut(trial, "-")
	return trialPrefix + of + "." + first + "."
}

// tried is what a trial is of: for each disk the file that has its state in it.
type tried struct {
	what  string // in words, such as snapshot "x"
	bases map[string]base
}

type base struct {
	file, format string
	below        []string // files that it is built upon, as far as that is known
}

// files are all that it is in, as far as they are known.
func (t tried) files() []string {
	var out []string
	for _, b := range t.bases {
		out = append(append(out, b.file), b.below...)
	}
	return out
}

// layersFor are the layers of a trial, beside the files that the domain has now.
func (t tried) layersFor(trial hypervisor.Trial, disks []imageElement) (map[string]layer, error) {
	out := make(map[string]layer, len(t.bases))
	for target, b := range t.bases {
		d := image(disks, target)
		if d == nil {
			return nil, fmt.Errorf("its disk %s is not in the domain's definition any more: %w", target, hypervisor.ErrInvalidState)
		}
		if d.Type != "file" || d.Source.File == "" {
			return nil, fmt.Errorf("disk %s is not a file any more, so that there is no folder for a layer: %w", target, hypervisor.ErrInvalidState)
		}
		name := trialFiles(trial.Of, trial.UUID) + target + ".qcow2"
		out[target] = layer{file: path.Join(path.Dir(d.Source.File), name), upon: b.file, format: b.format}
	}
	return out, nil
}

// untouched makes sure that nobody writes to what is tried: disks are those of the
// domain as it runs.
func (t tried) untouched(disks []imageElement) error {
	for target, b := range t.bases {
		for _, d := range disks {
			if file := d.Source.File; file != "" && d.ReadOnly == nil && (file == b.file || slices.Contains(b.below, file)) {
				return fmt.Errorf("the domain itself writes to %s, so that the state of disk %s is lost: %w", file, target, hypervisor.ErrInvalidState)
			}
		}
	}
	return nil
}

// trialXML is the definition of a trial, made from that of the domain that it
// stands for. live is the definition of the domain as it runs, or the same one.
func trialXML(definition, live string, trial hypervisor.Trial, t tried, layers map[string]layer) (string, error) {
	var d, now libvirtxml.Domain
	if d.Unmarshal(definition) != nil || now.Unmarshal(live) != nil || d.Devices == nil {
		return "", errors.New("the definition cannot be read")
	}
	if d.QEMUCommandline != nil && len(d.QEMUCommandline.Args) > 0 {
		return "", fmt.Errorf("it has arguments for QEMU of its own (qemu:commandline), and nobody knows which files and networks those name: %w", hypervisor.ErrInvalidState)
	}
	d.Title = fmt.Sprintf("Holdfast tries %s of %s", t.what, d.Name)
	d.ID, d.Name, d.UUID = nil, trial.Name, trial.UUID
	d.Description, d.Metadata = "", nil
	// Who looks at one that crashed wants to see why. One that powers off is gone.
	d.OnPoweroff, d.OnReboot, d.OnCrash = "destroy", "restart", "preserve"
	forgetUUID(&d)
	freeOfHost(&d)
	freeDevices(d.Devices)
	if err := trialDisks(d.Devices.Disks, layers); err != nil {
		return "", err
	}
	folders := foldersOf(layers)
	if len(folders) == 0 {
		return "", fmt.Errorf("there is no disk in it: %w", hypervisor.ErrInvalidState)
	}
	ownNVRAM(&d, &now, path.Join(folders[0], trialFiles(trial.Of, trial.UUID)+"nvram"))
	return d.Marshal()
}

// forgetUUID: libvirt refuses a UUID in the guest's BIOS that is not the domain's.
func forgetUUID(d *libvirtxml.Domain) {
	for _, s := range d.SysInfo {
		if s.SMBIOS != nil && s.SMBIOS.System != nil {
			system := s.SMBIOS.System
			system.Entry = slices.DeleteFunc(system.Entry, func(e libvirtxml.DomainSysInfoEntry) bool { return e.Name == "uuid" })
		}
	}
}

// freeOfHost takes away what a guest does not see: a trial is not to sit on the
// processors and the memory that somebody has set aside for the domain.
func freeOfHost(d *libvirtxml.Domain) {
	d.BlockIOTune, d.MemoryTune, d.CPUTune, d.NUMATune, d.ThrottleGroups, d.Perf = nil, nil, nil, nil, nil, nil
	if d.MemoryBacking != nil {
		d.MemoryBacking.MemoryLocked = nil
	}
	if d.VCPU != nil {
		d.VCPU.Placement, d.VCPU.CPUSet = "static", ""
	}
}

// freeDevices takes away devices that lead out of the domain, or makes them lead
// nowhere where their guest would miss them.
func freeDevices(l *libvirtxml.DomainDeviceList) {
	l.Interfaces, l.Hostdevs, l.Filesystems, l.Shmems, l.Leases, l.VSock = nil, nil, nil, nil, nil, nil
	l.Graphics, l.Smartcards, l.RedirDevs, l.RedirFilters, l.TPMs, l.PStore = nil, nil, nil, nil, nil, nil
	l.Inputs = slices.DeleteFunc(l.Inputs, func(i libvirtxml.DomainInput) bool { return i.Type == "passthrough" || i.Type == "evdev" })
	l.Memorydevs = slices.DeleteFunc(l.Memorydevs, func(m libvirtxml.DomainMemorydev) bool { return m.Model == "nvdimm" || m.Model == "virtio-pmem" })
	l.Channels = slices.DeleteFunc(l.Channels, func(c libvirtxml.DomainChannel) bool { return c.Target == nil || c.Target.VirtIO == nil })
	for i := range l.Channels {
		c := &l.Channels[i]
		c.Source, c.Protocol, c.Log = &libvirtxml.DomainChardevSource{UNIX: &libvirtxml.DomainChardevSourceUNIX{Mode: "bind"}}, nil, nil // libvirt finds a path
		c.Target.VirtIO.State = ""
	}
	for i := range l.Serials {
		l.Serials[i].Source, l.Serials[i].Protocol, l.Serials[i].Log = terminal(), nil, nil
	}
	for i := range l.Parallels {
		l.Parallels[i].Source, l.Parallels[i].Protocol, l.Parallels[i].Log = terminal(), nil, nil
	}
	for i := range l.Consoles {
		l.Consoles[i].Source, l.Consoles[i].Protocol, l.Consoles[i].Log, l.Consoles[i].TTY = terminal(), nil, nil, ""
	}
	for i, a := range l.Audios {
		l.Audios[i] = libvirtxml.DomainAudio{ID: a.ID, None: &libvirtxml.DomainAudioNone{}}
	}
	for i := range l.Videos {
		v := &l.Videos[i]
		v.Model.Accel = nil
		if v.Driver != nil && v.Driver.Name == "vhostuser" {
			v.Driver = nil
		}
	}
	for i := range l.Watchdogs {
		l.Watchdogs[i].Action = "none" // what it does on the host, such as a dump, is nobody's wish
	}
	for i := range l.RNGs {
		if l.RNGs[i].Backend != nil && l.RNGs[i].Backend.EGD != nil {
			l.RNGs[i].Backend = &libvirtxml.DomainRNGBackend{Random: &libvirtxml.DomainRNGBackendRandom{Device: "/dev/urandom"}}
		}
	}
}

func terminal() *libvirtxml.DomainChardevSource {
	return &libvirtxml.DomainChardevSource{Pty: &libvirtxml.DomainChardevSourcePty{}}
}

// trialDisks puts the layers in, takes out media that cannot be shared, and leaves
// what is only read.
func trialDisks(disks []libvirtxml.DomainDisk, layers map[string]layer) error {
	for i := range disks {
		d := &disks[i]
		target := ""
		if d.Target != nil {
			target = d.Target.Dev
		}
		d.Mirror, d.Transient, d.Shareable, d.ThrottleFilters, d.RawIO, d.SGIO, d.Snapshot = nil, nil, nil, nil, "", "", ""
		y, ours := layers[target]
		file := d.Source != nil && d.Source.File != nil
		switch {
		case ours:
			layered(d, y)
		case d.Source == nil, file && d.Source.File.File == "":
			d.Source = nil // there is no medium in it
		case d.Device == "cdrom" && file, d.Device == "floppy" && file && d.ReadOnly != nil:
			d.Source.StartupPolicy = "optional" // a medium that is gone is no reason not to boot
		case d.Device == "cdrom", d.Device == "floppy":
			d.Source, d.BackingStore, d.Auth = nil, nil, nil
		case d.ReadOnly == nil:
			return fmt.Errorf("disk %s is not part of it, and nobody knows whether the guest boots without: %w", target, hypervisor.ErrInvalidState)
		}
	}
	return nil
}

// layered has a disk use a layer. The format of what that lies upon is said, and
// never found out: what a guest has written to a raw image may look like any.
func layered(d *libvirtxml.DomainDisk, y layer) {
	d.Source = &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: y.file}}
	d.BackingStore = &libvirtxml.DomainDiskBackingStore{
		Format: &libvirtxml.DomainDiskFormat{Type: y.format},
		Source: &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: y.upon}},
	}
	if y.format == "raw" {
		d.BackingStore.BackingStore = &libvirtxml.DomainDiskBackingStore{} // the end of the chain
	}
	d.Auth, d.Encryption, d.ReadOnly = nil, nil, nil
	if d.Driver == nil {
		d.Driver = &libvirtxml.DomainDiskDriver{Name: "qemu"}
	}
	d.Driver.Type, d.Driver.MetadataCache = "qcow2", nil
}

// ownNVRAM gives a domain with UEFI its variables in a file of its own, which
// libvirt makes as a copy of those that the real one has. now is the real one as it
// runs: there libvirt has said which firmware it has chosen.
func ownNVRAM(d, now *libvirtxml.Domain, file string) {
	if d.OS == nil || d.OS.Firmware != "efi" && d.OS.NVRam == nil {
		return
	}
	from := d.OS
	if now.OS != nil && now.OS.Loader != nil && now.OS.NVRam != nil {
		from = now.OS
	}
	own := &libvirtxml.DomainNVRam{NVRam: file}
	if from.NVRam != nil {
		own.Format, own.Template = from.NVRam.Format, from.NVRam.NVRam
		if own.Template == "" && from.NVRam.Source != nil && from.NVRam.Source.File != nil {
			own.Template = from.NVRam.Source.File.File
		}
	}
	if from.Loader != nil && from.Loader.Path != "" && own.Template != "" {
		// Who names the template has to name the firmware, too.
		d.OS.Firmware, d.OS.FirmwareInfo, d.OS.Loader = "", nil, from.Loader
	} else if d.OS.Firmware != "" {
		own.Template = ""
	}
	d.OS.NVRam = own
}
