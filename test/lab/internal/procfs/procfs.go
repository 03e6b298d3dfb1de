// Package procfs reads the few things of /proc that the lab goes by: which
// processes live in which network namespace, and what they are.
package procfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// FS is a mounted proc file system; its root can be a made-up tree in tests.
type FS struct{ Root string }

// Default is the one of this machine.
var Default = FS{Root: "/proc"}

// Process is one process as /proc shows it.
type Process struct {
	PID     int
	PPID    int
	NetNS   uint64   // inode of its network namespace
	State   byte     // R, S, D, T (stopped), t, Z (zombie), X
	Start   uint64   // clock ticks from boot to its start; with PID, unique
	Args    []string // empty for a kernel thread or a zombie
	Comm    string
	InnerID int // its PID in its own, innermost PID namespace
}

// Alive is false for what is dead and only waits to be reaped.
func (p Process) Alive() bool { return p.State != 'Z' && p.State != 'X' }

// Stopped reports whether the process got SIGSTOP and no SIGCONT since.
func (p Process) Stopped() bool { return p.State == 'T' || p.State == 't' }

// PIDs lists the process IDs, in no order.
func (f FS) PIDs() ([]int, error) {
	dir, err := os.Open(f.Root)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	pids := make([]int, 0, len(names))
	for _, name := range names {
		if name[0] < '1' || name[0] > '9' {
			continue
		}
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// NetNS is the inode of a process's network namespace. An error means that the
// process is gone, is a zombie, or is somebody else's.
func (f FS) NetNS(pid int) (uint64, error) {
	link, err := os.Readlink(f.path(pid, "ns/net"))
	if err != nil {
		return 0, err
	}
	return parseNS(link)
}

// parseNS reads "net:[4026531840]".
func parseNS(link string) (uint64, error) {
	_, number, ok := strings.Cut(strings.TrimSuffix(link, "]"), ":[")
	if !ok {
		return 0, fmt.Errorf("not a namespace link: %q", link)
	}
	return strconv.ParseUint(number, 10, 64)
}

// Args is a process's command line.
func (f FS) Args(pid int) ([]string, error) {
	raw, err := os.ReadFile(f.path(pid, "cmdline"))
	if err != nil {
		return nil, err
	}
	raw = bytes.TrimRight(raw, "\x00")
	if len(raw) == 0 {
		return nil, nil
	}
	return strings.Split(string(raw), "\x00"), nil
}

// Read gathers all of a Process.
func (f FS) Read(pid int) (Process, error) {
	raw, err := os.ReadFile(f.path(pid, "stat"))
	if err != nil {
		return Process{}, err
	}
	p, err := parseStat(string(raw))
	if err != nil {
		return Process{}, fmt.Errorf("%s: %w", f.path(pid, "stat"), err)
	}
	if !p.Alive() {
		return p, nil // a zombie has neither namespaces nor a command line
	}
	if p.NetNS, err = f.NetNS(pid); err != nil {
		return Process{}, err
	}
	if p.Args, err = f.Args(pid); err != nil {
		return Process{}, err
	}
	status, err := os.ReadFile(f.path(pid, "status"))
	if err != nil {
		return Process{}, err
	}
	p.InnerID = parseInnerID(string(status))
	return p, nil
}

// parseStat reads /proc/PID/stat. The second field is in parentheses and may
// itself hold spaces and parentheses, so the rest is counted from the last one.
func parseStat(stat string) (Process, error) {
	open, end := strings.IndexByte(stat, '('), strings.LastIndexByte(stat, ')')
	if open < 0 || end < open {
		return Process{}, errors.New("no command in parentheses")
	}
	pid, err := strconv.Atoi(strings.TrimSpace(stat[:open]))
	if err != nil {
		return Process{}, err
	}
	const state, ppid, start = 0, 1, 19 // fields 3, 4 and 22 of proc(5)
	rest := strings.Fields(stat[end+1:])
	if len(rest) <= start {
		return Process{}, fmt.Errorf("%d fields after the command, want more than %d", len(rest), start)
	}
	p := Process{PID: pid, Comm: stat[open+1 : end], State: rest[state][0]}
	if p.PPID, err = strconv.Atoi(rest[ppid]); err != nil {
		return Process{}, err
	}
	if p.Start, err = strconv.ParseUint(rest[start], 10, 64); err != nil {
		return Process{}, err
	}
	return p, nil
}

// parseInnerID reads the last number of the NSpid line of /proc/PID/status.
func parseInnerID(status string) int {
	for line := range strings.Lines(status) {
		if list, is := strings.CutPrefix(line, "NSpid:"); is {
			ids := strings.Fields(list)
			if len(ids) == 0 {
				return 0
			}
			id, _ := strconv.Atoi(ids[len(ids)-1])
			return id
		}
	}
	return 0
}

// In lists the live processes in any of the network namespaces.
func (f FS) In(inodes ...uint64) ([]Process, error) {
	pids, err := f.PIDs()
	if err != nil {
		return nil, err
	}
	var found []Process
	for _, pid := range pids {
		inode, err := f.NetNS(pid)
		if err != nil {
			continue // gone meanwhile
		}
		for _, wanted := range inodes {
			if inode != wanted {
				continue
			}
			if p, err := f.Read(pid); err == nil && p.Alive() && p.NetNS == wanted {
				found = append(found, p)
			}
		}
	}
	return found, nil
}

// QEMU describes the guest that a QEMU process runs.
type QEMU struct {
	Name, UUID string
	Incoming   bool // started to receive a migration
}

// ParseQEMU reads a command line as libvirt writes it. It is false for every
// other process, such as the QEMU that libvirt runs to learn its capabilities.
func ParseQEMU(args []string) (QEMU, bool) {
	if len(args) == 0 || !strings.Contains(args[0][strings.LastIndexByte(args[0], '/')+1:], "qemu") {
		return QEMU{}, false
	}
	var q QEMU
	for i := 1; i+1 < len(args); i++ {
		switch args[i] {
		case "-name":
			for field := range strings.SplitSeq(args[i+1], ",") {
				if name, is := strings.CutPrefix(field, "guest="); is {
					q.Name = name
				}
			}
		case "-uuid":
			q.UUID = args[i+1]
		case "-incoming":
			q.Incoming = true
		}
	}
	return q, q.UUID != ""
}

// VCPUs lists the threads of a QEMU process that run its virtual CPUs, by the
// names that libvirt has QEMU give them.
func (f FS) VCPUs(pid int) ([]int, error) {
	threads, err := FS{Root: f.path(pid, "task")}.PIDs()
	if err != nil {
		return nil, err
	}
	var found []int
	for _, thread := range threads {
		name, err := os.ReadFile(f.path(pid, "task/"+strconv.Itoa(thread)+"/comm"))
		if err == nil && strings.HasPrefix(string(name), "CPU ") { // "CPU 0/TCG"
			found = append(found, thread)
		}
	}
	return found, nil
}

// Held reports whether another process holds a thread of a process, as a
// debugger does.
func (f FS) Held(pid, thread int) bool {
	raw, err := os.ReadFile(f.path(pid, "task/"+strconv.Itoa(thread)+"/stat"))
	if err != nil {
		return false
	}
	p, err := parseStat(string(raw))
	return err == nil && p.State == 't'
}

// Ticks is how long n clock ticks last: USER_HZ is 100 on every Linux that Go runs on.
func Ticks(n uint64) time.Duration { return time.Duration(n) * 10 * time.Millisecond }

func (f FS) path(pid int, name string) string {
	return f.Root + "/" + strconv.Itoa(pid) + "/" + name
}
