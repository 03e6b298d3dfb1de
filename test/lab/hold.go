package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/test/lab/internal/procfs"
)

// A guest whose virtual CPUs stand still, while its QEMU goes on and answers: a
// process of the lab's own holds the threads that run them, as a debugger does.
// The kernel lets them go when that process ends, however that comes about.

const (
	// holdTries is how often to let go and try again when a thread was caught while
	// it held the lock that all of QEMU needs.
	holdTries = 40
	// holdCheck is how long a QEMU may take to answer that does not lack its lock.
	holdCheck = time.Second
	// held is what a holder says when every thread stands.
	held = "held"
)

// holdArgs is how the holders of a lab are called, up to the VM, and how they are found again.
func holdArgs(dir string) []string { return []string{"internal", "hold", "--dir", dir} }

// holders finds the processes that hold a VM's virtual CPUs, or with "" any VM's.
func (l *Lab) holders(vm string) ([]int, error) {
	args := holdArgs(l.info.Dir)
	if vm != "" {
		args = append(args, "--vm", vm)
	}
	return calledWith(args)
}

// hangGuest holds the virtual CPUs of a VM, with its QEMU's lock free.
func (l *Lab) hangGuest(ctx context.Context, i *Injection) error {
	if pids, err := l.holders(i.VM); err != nil || len(pids) > 0 {
		return errors.Join(err, fmt.Errorf("the virtual CPUs of %s are held already; `lab unhang-guest %s` lets them go", i.VM, i.VM))
	}
	processes, err := l.answering(i.Host, "that QEMU still answers is asked through libvirtd")
	if err != nil {
		return err
	}
	for range holdTries {
		i.At = time.Now().UTC()
		if err := l.startHolder(ctx, i); err != nil {
			return errors.Join(err, l.letGo(ctx, i.VM))
		}
		checkCtx, cancel := context.WithTimeout(ctx, holdCheck)
		err := l.localVirsh(checkCtx, processes.init.PID, "dommemstat", i.VM)
		late := checkCtx.Err() != nil
		cancel()
		if err == nil {
			return nil
		}
		if err := errors.Join(l.letGo(ctx, i.VM), ctx.Err()); err != nil {
			return err
		}
		if !late {
			return fmt.Errorf("ask whether QEMU of %s still answers: %w", i.VM, err)
		}
	}
	return fmt.Errorf("each of %d times the virtual CPUs of %s were caught with QEMU's lock; try again", holdTries, i.VM)
}

// startHolder starts a holder and returns when it holds.
func (l *Lab) startHolder(ctx context.Context, i *Injection) error {
	args := append([]string{"--fork", l.info.Binary}, holdArgs(l.info.Dir)...)
	cmd := exec.CommandContext(ctx, "setsid", append(args, "--vm", i.VM, "--pid", strconv.Itoa(i.PID))...)
	cmd.Dir = "/"
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	cmd.Stdout = write
	err = cmd.Run()
	write.Close()
	if err != nil {
		return fmt.Errorf("start the holder of %s: %w", i.VM, err)
	}
	// It says one line and closes the pipe, as does its end.
	if err := read.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	line, err := bufio.NewReader(read).ReadString('\n')
	if said := strings.TrimSpace(line); said != held {
		return fmt.Errorf("hold the virtual CPUs of %s: %s%w", i.VM, said, err)
	}
	return nil
}

// letGo ends the holders of a VM.
func (l *Lab) letGo(ctx context.Context, vm string) error {
	return endAll(ctx, func() ([]int, error) { return l.holders(vm) })
}

// unhangGuest lets the virtual CPUs of a VM go on.
func (l *Lab) unhangGuest(ctx context.Context, i *Injection) error {
	pids, err := l.holders(i.VM)
	if err != nil {
		return err
	}
	if len(pids) == 0 {
		return fmt.Errorf("the virtual CPUs of %s are not held; `lab unhang %s` lets a hung QEMU go on", i.VM, i.VM)
	}
	i.At = time.Now().UTC()
	return l.letGo(ctx, i.VM)
}

// Hold stops the threads that run a QEMU's virtual CPUs, says so on standard
// output, and keeps them until it is killed, the QEMU has ended, or the lab in
// dir is gone. Only the lab command calls it.
func Hold(ctx context.Context, dir string, pid int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	threads, err := procfs.Default.VCPUs(pid)
	if err == nil && len(threads) == 0 {
		err = fmt.Errorf("process %d runs no virtual CPUs", pid)
	}
	stopped, ended := make(chan error, len(threads)), make(chan struct{}, len(threads))
	for _, thread := range threads {
		go func() {
			holdThread(thread, stopped)
			ended <- struct{}{}
		}()
	}
	for range threads {
		err = errors.Join(err, <-stopped)
	}
	if err != nil {
		fmt.Println(err)
		return err
	}
	fmt.Println(held)
	if err := os.Stdout.Close(); err != nil {
		return err
	}
	for range threads {
		if !lastsUntil(ctx, ended, filepath.Join(dir, "lab.json")) {
			return nil
		}
	}
	return nil
}

// lastsUntil waits for one more end; it is false if ctx or the file went first.
func lastsUntil(ctx context.Context, ended <-chan struct{}, file string) bool {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ended:
			return true
		case <-ctx.Done():
			return false
		case <-ticker.C:
			if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
				return false
			}
		}
	}
}

// holdThread stops a thread, says that it did or could not, and returns when the
// thread has died. This process's end lets the thread go on.
func holdThread(thread int, stopped chan<- error) {
	// The kernel knows the holder as a thread, not as a process.
	runtime.LockOSThread()
	for _, request := range []uintptr{unix.PTRACE_SEIZE, unix.PTRACE_INTERRUPT} {
		if _, _, errno := unix.Syscall6(unix.SYS_PTRACE, request, uintptr(thread), 0, 0, 0, 0); errno != 0 {
			stopped <- fmt.Errorf("stop thread %d: %w", thread, errno)
			return
		}
	}
	told := false
	for {
		var status unix.WaitStatus
		// A thread that died would keep its whole process from ending until it was waited for.
		_, err := unix.Wait4(thread, &status, unix.WALL, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil || !status.Stopped():
			if !told {
				stopped <- errors.Join(fmt.Errorf("thread %d ended before it could be stopped", thread), err)
			}
			return
		case !told:
			told = true
			stopped <- nil
		}
	}
}
