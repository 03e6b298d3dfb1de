package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/test/lab/internal/nbd"
	"holdfast/test/lab/internal/procfs"
)

// A flaky disk is a guest's second one, vdb. QEMU reads and writes it through a
// server that runs on the same host, one for all VMs, so that any VM can run on
// any host; and the server can be told to fail each request with an I/O error.

// flakySocket is where a host's server listens: in the host's /run, with which it goes.
var flakySocket = filepath.Join(hostRun, "lab-disks.sock")

// serveDisksArgs is how the server of a host is called, and how it is found again.
func serveDisksArgs(dir, host string) []string {
	return []string{"internal", "serve-disks", "--dir", dir, "--host", host}
}

// flakyFile is a VM's flaky disk in a host's pool.
func flakyFile(vm string) string { return vm + "-vdb.raw" }

// brokenFile is there while a VM's flaky disk is broken on a host. A power cycle
// does not mend it.
func (l *Lab) brokenFile(host, vm string) string { return l.hostFile(host, "broken", vm) }

// makeFlakyDisks makes the files of the flaky disks on every host.
func (l *Lab) makeFlakyDisks() error {
	for _, host := range l.info.Hosts {
		if err := os.MkdirAll(filepath.Dir(l.brokenFile(host.Name, "any")), 0o755); err != nil {
			return err
		}
		for _, vm := range l.info.VMs {
			file, err := os.OpenFile(filepath.Join(l.imageDir(host.Name), flakyFile(vm.Name)), os.O_RDWR|os.O_CREATE, 0o644)
			if err != nil {
				return err
			}
			if err := errors.Join(file.Truncate(flakySize), file.Close()); err != nil {
				return fmt.Errorf("make the second disk of %s: %w", vm.Name, err)
			}
		}
	}
	return nil
}

// startDiskServer starts the server of a host, if it does not run, and returns
// when it serves.
func (l *Lab) startDiskServer(ctx context.Context, host Host, processes hostProcesses) error {
	args := serveDisksArgs(l.info.Dir, host.Name)
	runs := slices.ContainsFunc(processes.all, func(p procfs.Process) bool { return len(p.Args) > 1 && slices.Equal(p.Args[1:], args) })
	if !l.info.Flaky || runs {
		return nil
	}
	if err := l.startDaemon(ctx, host, processes.init.PID, append([]string{"setsid", "--fork", l.info.Binary}, args...)...); err != nil {
		return err
	}
	conn, err := net.Dial("unix", filepath.Join("/proc", strconv.Itoa(processes.init.PID), "root", flakySocket))
	if err != nil {
		log, _ := os.ReadFile(l.hostFile(host.Name, filepath.Base(diskLog)))
		return fmt.Errorf("host %s does not serve the second disks: %w: %s", host.Name, err, log)
	}
	return conn.Close()
}

// diskLog is where a host's server of disks says what went wrong.
const diskLog = "disks.log"

// ServeDisks is the server of a host's flaky disks. Only the lab command calls
// it, inside the host; it returns only on failure.
func ServeDisks(dir, host string) error {
	l := &Lab{}
	if err := readJSON(filepath.Join(dir, "lab.json"), &l.info); err != nil {
		return err
	}
	log, err := os.Create(l.hostFile(host, diskLog))
	if err != nil {
		return err
	}
	listener, err := net.Listen("unix", flakySocket)
	if err != nil {
		fmt.Fprintln(log, err)
		return err
	}
	// Whoever started it waits for the end of what it has to say: now it serves.
	for _, standard := range []int{1, 2} {
		if err := unix.Dup2(int(log.Fd()), standard); err != nil {
			return err
		}
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			err := nbd.Serve(conn, func(export string) (nbd.Disk, bool) { return l.flakyDisk(host, export) })
			if err != nil {
				fmt.Fprintln(log, err)
			}
		}()
	}
}

// flakyDisk is a VM's flaky disk as the server of a host has it.
func (l *Lab) flakyDisk(host, vm string) (nbd.Disk, bool) {
	if _, err := l.vm(vm); err != nil {
		return nbd.Disk{}, false
	}
	broken := l.brokenFile(host, vm)
	return nbd.Disk{
		Path: filepath.Join(hostImages, flakyFile(vm)),
		Fails: func() bool {
			_, err := os.Stat(broken)
			return err == nil
		},
	}, true
}

// breakDisk has a VM's flaky disk fail, or not any more.
func (l *Lab) breakDisk(i *Injection) error {
	if !l.info.Flaky {
		return fmt.Errorf("the VMs of lab %s have no second disk to break; `lab up --flaky` makes one that they have", l.info.Name)
	}
	file := l.brokenFile(i.Host, i.VM)
	i.At = time.Now().UTC()
	if i.Fault == FaultBreakDisk {
		return os.WriteFile(file, nil, 0o644)
	}
	err := os.Remove(file)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the second disk of %s is not broken on host %s", i.VM, i.Host)
	}
	return err
}

// BreakDisk has every read and write of a VM's second disk fail (Options.Flaky),
// on the host that the VM runs on. QEMU pauses the VM at the first.
func (l *Lab) BreakDisk(ctx context.Context, vm string) (time.Time, error) {
	return l.at(l.Inject(ctx, FaultBreakDisk, vm, ""))
}

// MendDisk undoes BreakDisk. A VM that was paused goes on when it is resumed.
func (l *Lab) MendDisk(ctx context.Context, vm string) (time.Time, error) {
	return l.at(l.Inject(ctx, FaultMendDisk, vm, ""))
}
