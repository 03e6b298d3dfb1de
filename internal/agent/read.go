package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
	"github.com/prometheus/procfs/blockdevice"
)

// reader reads a host's figures from the kernel's file systems.
type reader struct {
	procfs, sysfs string
	proc          procfs.FS
	block         blockdevice.FS
}

func newReader(proc, sys string) (*reader, error) {
	r := &reader{procfs: proc, sysfs: sys}
	var err error
	if r.proc, err = procfs.NewFS(proc); err != nil {
		return nil, fmt.Errorf("%w: --procfs is where the host's /proc is mounted", err)
	}
	if r.block, err = blockdevice.NewFS(proc, sys); err != nil {
		return nil, fmt.Errorf("%w: --sysfs is where the host's /sys is mounted", err)
	}
	return r, nil
}

// read takes a sample. It fails if the host cannot be told from another.
func (r *reader) read() (Figures, error) {
	f := Figures{}
	var err error
	if f.BootID, err = r.bootID(); err != nil {
		return Figures{}, err
	}
	if f.Uptime, err = r.uptime(); err != nil {
		return Figures{}, err
	}
	unread := func(what string, err error) {
		if err != nil && !lacks(err) {
			f.Unread = append(f.Unread, what+": "+err.Error())
		}
	}
	f.Pressure, err = r.pressure()
	unread("pressure", err)
	f.Memory, err = r.memory()
	unread("memory", err)
	f.Disks, err = r.disks()
	unread("disks", err)
	f.MemoryErrors, err = r.memoryErrors()
	unread("memory errors", err)
	f.Now = time.Now() // last: it is what the question is answered with
	return f, nil
}

// lacks: the kernel does not have it, or has it switched off.
func lacks(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EOPNOTSUPP)
}

func (r *reader) bootID() (string, error) {
	words, err := r.proc.SysctlStrings("kernel.random.boot_id")
	if err != nil {
		return "", fmt.Errorf("read the boot ID: %w; --procfs is where the host's /proc is mounted", err)
	}
	if len(words) != 1 {
		return "", errors.New("read the boot ID: sys/kernel/random/boot_id does not hold one; --procfs is where the host's /proc is mounted")
	}
	return words[0], nil
}

func (r *reader) uptime() (float64, error) {
	content, err := os.ReadFile(filepath.Join(r.procfs, "uptime"))
	if err != nil {
		return 0, fmt.Errorf("read the uptime: %w", err)
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(content)), " ")
	seconds, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0, fmt.Errorf("read the uptime: %w", err)
	}
	return seconds, nil
}

// pressure returns what there is, and the first error.
func (r *reader) pressure() (Pressure, error) {
	var p Pressure
	var first error
	for _, one := range []struct {
		resource   string
		some, full **float64
	}{
		{"cpu", &p.CPUSome, nil}, // full says nothing about a whole machine's processors
		{"memory", &p.MemorySome, &p.MemoryFull},
		{"io", &p.IOSome, &p.IOFull},
	} {
		stats, err := r.proc.PSIStatsForResource(one.resource)
		if err != nil {
			if first == nil {
				first = err
			}
			continue
		}
		if stats.Some != nil {
			*one.some = &stats.Some.Avg60
		}
		if stats.Full != nil && one.full != nil {
			*one.full = &stats.Full.Avg60
		}
	}
	return p, first
}

func (r *reader) memory() (*Memory, error) {
	m, err := r.proc.Meminfo()
	if err != nil {
		return nil, err
	}
	if m.MemTotalBytes == nil || m.MemAvailableBytes == nil {
		return nil, errors.New("meminfo holds no MemTotal or no MemAvailable")
	}
	return &Memory{Total: *m.MemTotalBytes, Available: *m.MemAvailableBytes}, nil
}

// disks sums over whole physical disks: those that sysfs lists as block devices
// of their own, which partitions are not, with hardware under them, which LVM,
// RAID, loop devices and zram have not.
func (r *reader) disks() (*Disks, error) {
	all, err := r.block.ProcDiskstats()
	if err != nil {
		return nil, err
	}
	requests, paths := make(map[string]uint64), make(map[string]uint64)
	for _, d := range all {
		name := d.DeviceName
		switch n := d.ReadIOs + d.WriteIOs; {
		case !r.physical(name):
		case r.hidden(name):
			paths[nvmePath.ReplaceAllString(name, "$1$2")] += n
		default:
			requests[name] += n
		}
	}
	sum := &Disks{Names: []string{}}
	for name, n := range requests {
		sum.Requests += max(n, paths[name])
		sum.Names = append(sum.Names, name)
	}
	slices.Sort(sum.Names)
	return sum, nil
}

// nvmePath is a path to a multipath NVMe disk: nvme0c1n1 is one to nvme0n1. Older
// kernels count requests only for the paths, newer ones for both.
var nvmePath = regexp.MustCompile(`^(nvme[0-9]+)c[0-9]+(n[0-9]+)$`)

func (r *reader) physical(name string) bool {
	_, err := os.Stat(filepath.Join(r.sysfs, "block", inSysfs(name), "device"))
	return err == nil
}

func (r *reader) hidden(name string) bool {
	content, err := os.ReadFile(filepath.Join(r.sysfs, "block", inSysfs(name), "hidden"))
	return err == nil && strings.TrimSpace(string(content)) == "1"
}

// inSysfs is how sysfs writes a name such as cciss/c0d0.
func inSysfs(name string) string { return strings.ReplaceAll(name, "/", "!") }

// memoryErrors sums over the memory controllers that have a driver.
func (r *reader) memoryErrors() (*MemoryErrors, error) {
	folder := filepath.Join(r.sysfs, "devices", "system", "edac", "mc")
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var sum *MemoryErrors
	for _, e := range entries {
		if !controller.MatchString(e.Name()) {
			continue
		}
		if sum == nil {
			sum = new(MemoryErrors)
		}
		for file, total := range map[string]*uint64{"ce_count": &sum.Corrected, "ue_count": &sum.Uncorrected} {
			n, err := readCounter(filepath.Join(folder, e.Name(), file))
			if err != nil {
				return nil, err
			}
			*total += n
		}
	}
	return sum, nil
}

var controller = regexp.MustCompile(`^mc[0-9]+$`)

func readCounter(path string) (uint64, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(content)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return n, nil
}
