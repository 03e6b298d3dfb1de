package lab

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// sleeper is what a host's first process waits for: nothing. That the daemons
// run beside it, not under it, lets them die without taking the host along.
var sleeper = []string{"tini", "--", "sleep", "infinity"}

// BootHost starts the first process of a host and returns; the process lives
// on. It must run in the host's network namespace. Only the lab command calls it.
func BootHost(dir, host string) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	cmd := exec.Command(exe, "internal", "host-init", "--dir", dir, "--host", host)
	cmd.ExtraFiles = []*os.File{write}
	cmd.Dir = "/"
	cmd.Env = hostEnvironment
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
		Setsid:     true, // a Ctrl-C at lab up must not reach it
	}
	if err := cmd.Start(); err != nil {
		write.Close()
		return fmt.Errorf("start the first process of host %s (this needs root): %w", host, err)
	}
	write.Close()
	// The pipe is closed when the child becomes tini; a reason on it says it could not.
	reason, err := bufio.NewReader(read).ReadString(0)
	if reason != "" {
		return errors.Join(fmt.Errorf("host %s: %s", host, reason), cmd.Wait())
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return cmd.Process.Release()
}

// hostEnvironment is all that a host's processes inherit.
var hostEnvironment = []string{
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"HOME=/root", "LANG=C.UTF-8",
}

// InitHost is a host's first process until it becomes tini: it makes the host's
// own view of the file system. Only the lab command calls it; it returns only
// on failure.
func InitHost(dir, host string) error {
	pipe := os.NewFile(3, "boot")
	unix.CloseOnExec(3)
	err := initHost(dir, host)
	fmt.Fprint(pipe, err)
	return err
}

func initHost(dir, host string) error {
	if err := unix.Sethostname([]byte(host)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	if err := mountHost(dir, host); err != nil {
		return err
	}
	tini, err := exec.LookPath(sleeper[0])
	if err != nil {
		return fmt.Errorf("%w; deploy/install-packages.sh installs it", err)
	}
	return unix.Exec(tini, sleeper, hostEnvironment)
}

// mountHost makes the mounts that set a host apart from the machine.
func mountHost(dir, host string) error {
	// Whatever is mounted from here on stays in here.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	// The copy of the machine's mounts would keep other network namespaces alive
	// after their removal.
	if err := errors.Join(detachBelow("/run"), detachForeignPools(dir)); err != nil {
		return err
	}
	own := func(name string) string { return filepath.Join(dir, "hosts", host, name) }
	var info Info
	if err := readJSON(filepath.Join(dir, "lab.json"), &info); err != nil {
		return err
	}
	l := &Lab{info: info}
	state, err := l.hostState(host)
	if err != nil {
		return err
	}
	for _, m := range []struct{ from, to string }{
		{own("etc-libvirt"), "/etc/libvirt"},
		{own("var-lib-libvirt"), "/var/lib/libvirt"},
		{own("var-log-libvirt"), "/var/log/libvirt"},
		{own("var-cache-libvirt"), "/var/cache/libvirt"},
		{l.imageDir(host), hostImages},
		{filepath.Join(dir, "boot"), hostBoot},
		{own("etc-hosts"), "/etc/hosts"},
		{own("etc-resolv.conf"), "/etc/resolv.conf"},
	} {
		if m.to == hostImages && state.PoolLost {
			continue
		}
		err := unix.Mount(m.from, m.to, "", unix.MS_BIND, "")
		// A resolv.conf that points into the machine's /run is gone with it: as good as empty.
		if errors.Is(err, fs.ErrNotExist) && m.to == "/etc/resolv.conf" {
			continue
		}
		if err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.from, m.to, err)
		}
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	// A /proc of the host's processes, and a /sys of its network interfaces.
	for _, kind := range []string{"proc", "sysfs"} {
		at := "/" + strings.TrimSuffix(kind, "fs")
		if err := unix.Mount(kind, at, kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", at, err)
		}
	}
	return nil
}
