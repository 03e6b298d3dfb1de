package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// remembered is where a host keeps what it knows of a VM: definition, autostart,
// the state of the running one, snapshots and a saved state.
func remembered(vm string) []string {
	return []string{
		"/etc/libvirt/qemu/" + vm + ".xml",
		"/etc/libvirt/qemu/autostart/" + vm + ".xml",
		"/run/libvirt/qemu/" + vm + ".xml",
		"/run/libvirt/qemu/" + vm + ".pid",
		"/var/lib/libvirt/qemu/snapshot/" + vm,
		"/var/lib/libvirt/qemu/save/" + vm + ".save",
	}
}

// loseVM makes a host forget a VM: nothing of it runs there, and libvirtd comes
// back without having heard of it. Its disks stay, and so do other guests.
func (l *Lab) loseVM(ctx context.Context, i *Injection) error {
	host, err := l.host(i.Host)
	if err != nil {
		return err
	}
	unlock, err := lock(ctx, l.hostFile(host.Name))
	if err != nil {
		return err
	}
	defer unlock()
	processes, err := l.hostProcesses(host)
	if err != nil {
		return err
	}
	if processes.init == nil {
		return fmt.Errorf("host %s is off; `lab power-on %s` starts it", host.Name, host.Name)
	}
	// libvirtd first: it must not see the other's end.
	var pids []int
	if processes.libvirtd != nil {
		pids = append(pids, processes.libvirtd.PID)
	}
	if i.PID != 0 {
		pids = append(pids, i.PID)
	}
	i.At = time.Now().UTC()
	for _, pid := range pids {
		if err := killAndWait(ctx, pid); err != nil {
			return err
		}
	}
	root := filepath.Join("/proc", strconv.Itoa(processes.init.PID), "root")
	for _, name := range remembered(i.VM) {
		if err := os.RemoveAll(filepath.Join(root, name)); err != nil {
			return err
		}
	}
	return l.startDaemons(ctx, host)
}

// killAndWait kills a process and waits until it is gone.
func killAndWait(ctx context.Context, pid int) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	for {
		ended, err := endsWithin(pid, 100*time.Millisecond)
		if err != nil || ended {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("process %d does not die: %w", pid, ctx.Err())
		}
	}
}

// findVM defines a VM again as it was made, and starts it.
func (l *Lab) findVM(ctx context.Context, i *Injection) error {
	processes, err := l.answering(i.Host, "the VM is defined through libvirtd")
	if err != nil {
		return err
	}
	// Definitions are with the host that a VM was made on.
	vm, err := l.vm(i.VM)
	if err != nil {
		return err
	}
	definition := l.hostFile(vm.Host, vm.Name+".xml")
	if _, err := os.Stat(definition); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w; `lab down` and `lab up` begin anew", err)
	}
	i.At = time.Now().UTC()
	return l.localVirsh(ctx, processes.init.PID, "define "+definition+"; start "+vm.Name)
}

// Lose makes the host that a VM runs on, or was made on, forget it.
func (l *Lab) Lose(ctx context.Context, vm string) (time.Time, error) {
	return l.at(l.Inject(ctx, FaultLose, vm, ""))
}

// Find defines a VM that was lost again on the host that it was made on, and
// starts it.
func (l *Lab) Find(ctx context.Context, vm string) error {
	_, err := l.Inject(ctx, FaultFind, vm, "")
	return err
}
