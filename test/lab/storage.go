package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// poolFaults are done to the storage pool of a host.
var poolFaults = []FaultKind{FaultLosePool, FaultRestorePool, FaultFillPool, FaultEmptyPool}

// SmallPool is the size of the images' file system where Options.SmallPool is set.
const SmallPool = "384m"

// filler is the file that leaves no room.
const filler = ".filler"

// mountSmallPools gives the images a file system of their own that can be filled:
// all hosts one, or each of them one, as the storage is. Down takes it away.
func (l *Lab) mountSmallPools() error {
	for _, host := range l.info.Hosts {
		at := l.imageDir(host.Name)
		if err := os.MkdirAll(at, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("tmpfs", at, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size="+SmallPool); err != nil {
			return fmt.Errorf("mount a small file system on %s: %w", at, err)
		}
		if l.info.Storage == StorageShared {
			return nil
		}
	}
	return nil
}

// onPool does something to a host's storage pool, below libvirt, and has libvirt
// look at it.
func (l *Lab) onPool(ctx context.Context, i *Injection, host Host, processes hostProcesses) error {
	root := filepath.Join("/proc", strconv.Itoa(processes.init.PID), "root")
	images := filepath.Join(root, hostImages)
	i.At = time.Now().UTC()
	switch i.Fault {
	case FaultLosePool:
		// What is open stays open: guests run on, until something has to be opened.
		if err := l.enter(ctx, processes.init.PID, []string{"--pid"}, "umount", "-l", hostImages); err != nil {
			return err
		}
		if err := os.Rename(images, images+".lost"); err != nil {
			return err
		}
		// libvirt finds out, and calls the pool inactive; that is no failure of ours.
		_ = l.localVirsh(ctx, processes.init.PID, "pool-refresh images")
		return nil
	case FaultRestorePool:
		if err := os.Rename(images+".lost", images); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := l.enter(ctx, processes.init.PID, []string{"--pid"}, "mount", "--bind", l.imageDir(host.Name), hostImages); err != nil {
			return err
		}
		return l.localVirsh(ctx, processes.init.PID, "pool-start images")
	case FaultFillPool:
		if !l.info.SmallPool {
			return fmt.Errorf("the images of lab %s are on this machine's own file system, which nobody should fill: make the lab with --small-pool", l.info.Name)
		}
		if err := fill(filepath.Join(images, filler)); err != nil {
			return err
		}
	case FaultEmptyPool:
		if err := os.Remove(filepath.Join(images, filler)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return l.localVirsh(ctx, processes.init.PID, "pool-refresh images")
}

// fill writes a file until there is no room for another block.
func fill(name string) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	block := make([]byte, 1<<20)
	for len(block) > 0 {
		if _, err = f.Write(block); errors.Is(err, unix.ENOSPC) {
			block = block[:len(block)/2]
			err = nil
		}
		if err != nil {
			break
		}
	}
	return errors.Join(err, f.Close())
}

// loseVM makes a host forget a VM: nothing of it runs there, and libvirtd comes
// back without having heard of it. Its disk stays.
func (l *Lab) loseVM(ctx context.Context, i *Injection) error {
	host, err := l.host(i.Host)
	if err != nil {
		return err
	}
	processes, err := l.hostProcesses(host)
	if err != nil {
		return err
	}
	if processes.libvirtd == nil {
		return fmt.Errorf("no libvirtd runs on host %s; `lab start-libvirtd %s` starts it", host.Name, host.Name)
	}
	root := filepath.Join("/proc", strconv.Itoa(processes.init.PID), "root")
	i.At = time.Now().UTC()
	if err := unix.Kill(processes.libvirtd.PID, unix.SIGKILL); err != nil {
		return err
	}
	if err := unix.Kill(i.PID, unix.SIGKILL); err != nil {
		return err
	}
	for _, name := range []string{
		"/etc/libvirt/qemu/" + i.VM + ".xml", "/run/libvirt/qemu/" + i.VM + ".xml", "/run/libvirt/qemu/" + i.VM + ".pid",
	} {
		if err := os.Remove(filepath.Join(root, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return l.startDaemons(ctx, host)
}

// Find defines a VM that was lost again on its first host, and starts it.
func (l *Lab) Find(ctx context.Context, name string) error {
	vm, err := l.vm(name)
	if err != nil {
		return err
	}
	processes, err := l.answering(vm.Host, "the VM is defined through libvirtd")
	if err != nil {
		return err
	}
	return l.localVirsh(ctx, processes.init.PID, "define "+l.hostFile(vm.Host, vm.Name+".xml")+"; start "+vm.Name)
}

func onPool(k FaultKind) bool { return slices.Contains(poolFaults, k) }
