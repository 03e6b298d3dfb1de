package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/test/lab/internal/procfs"
	"holdfast/test/lab/internal/record"
	"holdfast/test/lab/internal/sampler"
)

// Sample is one line of the sampler's log.
type Sample = sampler.Event

// Kinds of sample.
const (
	SampleStart      = sampler.Start      // a QEMU process began
	SampleEnd        = sampler.End        // a QEMU process ended
	SampleOverlap    = sampler.Overlap    // two processes held the same guest from then on
	SampleOverlapEnd = sampler.OverlapEnd // and until then
	SampleBothRan    = sampler.BothRan    // and the guest ran in both
	SampleBoot       = sampler.Boot       // the first acknowledgement of a boot on a host
	SampleFault      = sampler.Fault      // the lab injected a fault
	SampleSampler    = sampler.Sampler    // the sampler began or ended
)

// Status is what the lab looks like from outside of libvirt.
type Status struct {
	Name    string        `json:"name"`
	At      time.Time     `json:"at"`
	Hosts   []HostStatus  `json:"hosts"`
	VMs     []VMStatus    `json:"vms"`
	Sampler SamplerStatus `json:"sampler"`
}

// DaemonState is what a daemon's process does.
type DaemonState string

// States of a daemon.
const (
	DaemonAlive   DaemonState = "alive"
	DaemonStopped DaemonState = "stopped" // by SIGSTOP
	DaemonDead    DaemonState = "dead"
)

// HostStatus is one host.
type HostStatus struct {
	Name     string      `json:"name"`
	Power    string      `json:"power"` // on, off
	Link     string      `json:"link"`  // up, cut; the state that the cable is in, powered or not
	Libvirtd DaemonState `json:"libvirtd"`
	URI      string      `json:"uri"`
}

// VMStatus is one guest.
type VMStatus struct {
	Name   string `json:"name"`
	UUID   string `json:"uuid"`
	Copies []QEMU `json:"copies"` // QEMU processes alive now
	Acked  uint64 `json:"acked"`  // highest number acknowledged on any console
	// Lost counts acknowledged numbers that a later boot did not find on its disk.
	Lost  uint64   `json:"lost"`
	Boots []string `json:"boots"` // boot IDs, in order of their first acknowledgement
	// OnDisk is the number on each disk image there is, by host; with shared
	// storage there is one image, listed under the host the VM was made on. It is
	// the image that the VM has now (Lab.Disk), read with those it is built upon.
	OnDisk map[string]uint64 `json:"onDisk"`
	// Starts is how many QEMU processes for this guest the sampler saw begin,
	// those that were to receive a migration among them.
	Starts int `json:"starts"`
	// TwoCopies: the sampler saw two processes hold this guest that were not the
	// two ends of a migration, or saw the guest run in both ends of one.
	TwoCopies bool `json:"twoCopies"`
	// Overlaps are all times when two processes held this guest.
	Overlaps []Sample `json:"overlaps,omitempty"`
}

// QEMU is a process that holds a guest.
type QEMU struct {
	PID      int    `json:"pid"` // in the root namespace
	Host     string `json:"host"`
	Stopped  bool   `json:"stopped"`  // by SIGSTOP
	Held     bool   `json:"held"`     // its virtual CPUs are, QEMU itself is not
	Incoming bool   `json:"incoming"` // started to receive a migration
}

// SamplerStatus says whether what the sampler saw can be relied on.
type SamplerStatus struct {
	Alive        bool      `json:"alive"`
	At           time.Time `json:"at"`           // its last look, to a second
	LongestGapMS float64   `json:"longestGapMs"` // longest time between two looks
}

// Highest is the highest number on any of the VM's images.
func (v VMStatus) Highest() uint64 {
	var highest uint64
	for _, n := range v.OnDisk {
		highest = max(highest, n)
	}
	return highest
}

// Status looks at the lab. It asks no libvirtd.
func (l *Lab) Status(ctx context.Context) (Status, error) {
	status := Status{Name: l.info.Name, At: time.Now().UTC()}
	for _, host := range l.info.Hosts {
		state, err := l.hostState(host.Name)
		if err != nil {
			return Status{}, err
		}
		processes, err := l.hostProcesses(host)
		if err != nil {
			return Status{}, err
		}
		h := HostStatus{Name: host.Name, URI: host.URI, Power: "on", Link: "up", Libvirtd: DaemonAlive}
		if processes.init == nil {
			h.Power = "off"
		}
		if state.Cut {
			h.Link = "cut"
		}
		switch {
		case processes.libvirtd == nil:
			h.Libvirtd = DaemonDead
		case processes.libvirtd.Stopped():
			h.Libvirtd = DaemonStopped
		}
		status.Hosts = append(status.Hosts, h)
	}
	events, err := l.Events(ctx)
	if err != nil {
		return Status{}, err
	}
	for _, vm := range l.info.VMs {
		v, err := l.vmStatus(ctx, vm, events)
		if err != nil {
			return Status{}, err
		}
		status.VMs = append(status.VMs, v)
	}
	status.Sampler, err = l.samplerStatus()
	return status, err
}

func (l *Lab) vmStatus(ctx context.Context, vm VM, events []Sample) (VMStatus, error) {
	// Disk last: whatever is acknowledged by now must be on it by then.
	v := VMStatus{Name: vm.Name, UUID: vm.UUID, Boots: []string{}}
	var err error
	if v.Copies, err = l.copies(vm); err != nil {
		return v, err
	}
	for _, e := range events {
		if e.VM != vm.Name {
			continue
		}
		switch e.Event {
		case SampleStart:
			v.Starts++
		case SampleOverlap, SampleOverlapEnd, SampleBothRan:
			v.Overlaps = append(v.Overlaps, e)
			v.TwoCopies = v.TwoCopies || e.Event == SampleBothRan || (e.Event == SampleOverlap && !e.Migration)
		case SampleBoot:
			if !slices.Contains(v.Boots, e.BootID) {
				v.Boots = append(v.Boots, e.BootID)
			}
		}
	}
	for _, host := range l.info.Hosts {
		content, err := os.ReadFile(l.consoleFile(host.Name, vm.Name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return v, err
		}
		console := record.ParseConsole(content)
		v.Acked = max(v.Acked, console.Highest)
		v.Lost += console.Lost
		for _, id := range console.Boots { // those that a dead sampler did not see
			if !slices.Contains(v.Boots, id) {
				v.Boots = append(v.Boots, id)
			}
		}
	}
	v.OnDisk, err = l.onDisk(ctx, vm)
	return v, err
}

// copies finds the QEMU processes of a VM in the hosts' namespaces.
func (l *Lab) copies(vm VM) ([]QEMU, error) {
	hosts := l.hostInodes()
	var inodes []uint64
	for inode := range hosts {
		inodes = append(inodes, inode)
	}
	processes, err := procfs.Default.In(inodes...)
	if err != nil {
		return nil, err
	}
	found := []QEMU{}
	for _, p := range processes {
		if q, is := procfs.ParseQEMU(p.Args); is && q.UUID == vm.UUID {
			threads, _ := procfs.Default.VCPUs(p.PID) // none, if it ends this very moment
			isHeld := slices.ContainsFunc(threads, func(thread int) bool { return procfs.Default.Held(p.PID, thread) })
			found = append(found, QEMU{PID: p.PID, Host: hosts[p.NetNS], Stopped: p.Stopped(), Held: isHeld, Incoming: q.Incoming})
		}
	}
	slices.SortFunc(found, func(a, b QEMU) int { return strings.Compare(a.Host, b.Host) })
	return found, nil
}

// dumpLine is "00000010:  68 6f ... 00  ho......" of qemu-io.
var dumpLine = regexp.MustCompile(`(?m)^[0-9a-f]{8,}:  ((?:[0-9a-f]{2} ){1,16})`)

// parseDump turns qemu-io's dump back into bytes.
func parseDump(out []byte) []byte {
	var content []byte
	for _, line := range dumpLine.FindAllSubmatch(out, -1) {
		for _, pair := range bytes.Fields(line[1]) {
			b, err := strconv.ParseUint(string(pair), 16, 8)
			if err != nil {
				return nil
			}
			content = append(content, byte(b))
		}
	}
	return content
}

func (l *Lab) samplerStatus() (SamplerStatus, error) {
	var pulse sampler.Pulse
	if err := readJSON(l.pulseFile(), &pulse); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return SamplerStatus{}, err
	}
	pids, err := l.supervisors()
	if err != nil {
		return SamplerStatus{}, err
	}
	return SamplerStatus{
		Alive: len(pids) > 0, At: pulse.At,
		LongestGapMS: float64(pulse.LongestGap) / float64(time.Millisecond),
	}, nil
}

// Events is the sampler's log so far, in order of time.
func (l *Lab) Events(context.Context) ([]Sample, error) {
	if _, err := os.Stat(filepath.Dir(l.eventLog())); err != nil {
		return nil, fmt.Errorf("the lab's sampler never ran: %w", err)
	}
	events, err := sampler.Read(l.eventLog())
	slices.SortStableFunc(events, func(a, b Sample) int { return a.At.Compare(b.At) })
	return events, err
}
