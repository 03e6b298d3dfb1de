package sampler

import (
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/test/lab/internal/procfs"
)

// Scanner finds new QEMU processes in the network namespaces of the hosts. It
// looks closely at each process once: whether one is in a host's namespace
// does not change, since QEMU is always libvirtd's child.
type Scanner struct {
	fs      procfs.FS
	hosts   map[uint64]string // name by inode of the network namespace
	settled map[int]struct{}  // seen, and will never be a QEMU of a host
	known   map[int]struct{}  // QEMU processes already returned
	seen    map[int]struct{}  // scratch, kept to save garbage
}

// never are programs of a host that start no QEMU and become none.
var never = []string{"tini", "sleep", "virtlogd"}

// NewScanner looks through a proc file system.
func NewScanner(fs procfs.FS) *Scanner {
	return &Scanner{fs: fs, settled: map[int]struct{}{}, known: map[int]struct{}{}, seen: map[int]struct{}{}}
}

// SetHosts tells which namespace is which host; it changes with every power-on.
func (s *Scanner) SetHosts(hosts map[uint64]string) {
	s.hosts = hosts
	clear(s.settled)
}

// Forget is told of a process's end: its number may be used again.
func (s *Scanner) Forget(pid int) { delete(s.known, pid) }

// New returns the QEMU processes that were not there the last time.
func (s *Scanner) New() ([]Copy, error) {
	pids, err := s.fs.PIDs()
	if err != nil {
		return nil, err
	}
	clear(s.seen)
	var found []Copy
	for _, pid := range pids {
		s.seen[pid] = struct{}{}
		if _, ok := s.settled[pid]; ok {
			continue
		}
		if _, ok := s.known[pid]; ok {
			continue
		}
		inode, err := s.fs.NetNS(pid)
		if err != nil {
			continue // gone, or going
		}
		host, ok := s.hosts[inode]
		if !ok {
			s.settled[pid] = struct{}{}
			continue
		}
		// A process of a host that is not QEMU may become it any moment: it is libvirtd's
		// fork until it calls exec. So it is looked at again the next time.
		args, err := s.fs.Args(pid)
		if err != nil {
			continue
		}
		qemu, ok := procfs.ParseQEMU(args)
		if !ok {
			if len(args) > 0 && slices.Contains(never, filepath.Base(args[0])) {
				s.settled[pid] = struct{}{}
			}
			continue
		}
		process, err := s.fs.Read(pid)
		if err != nil || !process.Alive() {
			continue
		}
		s.known[pid] = struct{}{}
		found = append(found, Copy{
			PID: pid, VM: qemu.Name, Host: host, Incoming: qemu.Incoming,
			Started: bootTime().Add(procfs.Ticks(process.Start)),
		})
	}
	for pid := range s.settled {
		if _, ok := s.seen[pid]; !ok {
			delete(s.settled, pid)
		}
	}
	return found, nil
}

// bootTime is the time, by the wall clock of now, that the kernel counts the
// start of processes from.
func bootTime() time.Time {
	var up unix.Timespec
	now := time.Now()
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return now // no Linux that the lab runs on lacks this clock
	}
	return now.Add(-time.Duration(up.Nano()))
}
