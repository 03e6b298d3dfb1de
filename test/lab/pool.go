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
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// SmallPoolMiB is how much room there is for images with Options.SmallPool.
const SmallPoolMiB = 384

// poolSource is what the small pools of all labs are called as mounts: so a host
// knows those of other labs, which are none of its business.
const poolSource = "holdfast-lab-pool"

// filler is the file that leaves no room in a pool.
const filler = "lab-filler.raw"

// poolFaults are done to the storage pool of a host.
var poolFaults = []FaultKind{FaultLosePool, FaultRestorePool, FaultFillPool, FaultEmptyPool}

func (k FaultKind) onPool() bool { return slices.Contains(poolFaults, k) }

// mountSmallPools gives the images a file system of their own that can be filled:
// all hosts one, or each of them one, as the storage is. Hosts that are booted
// later see it, and Down unmounts whatever is mounted in the lab's folder.
func (l *Lab) mountSmallPools() error {
	for _, host := range l.info.Hosts {
		at := l.imageDir(host.Name)
		if err := os.MkdirAll(at, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(poolSource, at, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("size=%dm,mode=755", SmallPoolMiB)); err != nil {
			return fmt.Errorf("mount a pool of %d MiB on %s: %w", SmallPoolMiB, at, err)
		}
		if l.info.Storage == StorageShared {
			return nil
		}
	}
	return nil
}

// detachForeignPools takes other labs' pools out of a host's view. There they
// would outlive their labs.
func detachForeignPools(dir string) error {
	return detach(func(m mountPoint) bool {
		return m.source == poolSource && !strings.HasPrefix(m.at, dir+"/")
	})
}

// onPool does something to a host's storage pool, below libvirt, and has libvirt
// look at it.
func (l *Lab) onPool(ctx context.Context, i *Injection, host Host, processes hostProcesses) error {
	var err error
	look := "pool-refresh images"
	switch i.Fault {
	case FaultLosePool:
		err = l.losePool(ctx, i, host, processes.init.PID)
	case FaultRestorePool:
		err, look = l.restorePool(ctx, i, host, processes.init.PID), "pool-start images"
	case FaultFillPool:
		err = l.fillPool(i, host)
	case FaultEmptyPool:
		err = l.emptyPool(i, host)
	}
	if err != nil || processes.libvirtd == nil || processes.libvirtd.Stopped() {
		return err // a libvirtd that is started later looks by itself
	}
	err = l.localVirsh(ctx, processes.init.PID, look)
	switch {
	case err == nil || ctx.Err() != nil:
		return err
	case i.Fault == FaultLosePool:
		return nil // it has seen that there is nothing, and calls the pool inactive
	case i.Fault == FaultRestorePool && strings.Contains(err.Error(), "already active"):
		return nil // somebody who watches was faster
	}
	return err
}

// losePool takes the folder of the images away. What is open stays open, and
// guests run on until something has to be opened.
func (l *Lab) losePool(ctx context.Context, i *Injection, host Host, init int) error {
	state, err := l.hostState(host.Name)
	if err != nil {
		return err
	}
	if state.PoolLost {
		return fmt.Errorf("the pool of host %s is lost already; `lab restore-pool %s` gives it back", host.Name, host.Name)
	}
	// A power cycle does not bring it back.
	state.PoolLost = true
	if err := l.setHostState(host.Name, state); err != nil {
		return err
	}
	i.At = time.Now().UTC()
	if err := l.enter(ctx, init, []string{"--pid"}, "umount", "--lazy", hostImages); err != nil {
		return err
	}
	images := filepath.Join("/proc", strconv.Itoa(init), "root", hostImages)
	return os.Rename(images, images+".lost")
}

// restorePool undoes losePool. That there is nothing to undo is no error.
func (l *Lab) restorePool(ctx context.Context, i *Injection, host Host, init int) error {
	state, err := l.hostState(host.Name)
	if err != nil {
		return err
	}
	i.At = time.Now().UTC()
	if !state.PoolLost {
		return nil
	}
	images := filepath.Join("/proc", strconv.Itoa(init), "root", hostImages)
	// What an interrupted restore-pool did is done.
	if err := os.Rename(images+".lost", images); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := l.enter(ctx, init, []string{"--pid"}, "mount", "--bind", l.imageDir(host.Name), hostImages); err != nil {
		return err
	}
	state.PoolLost = false
	return l.setHostState(host.Name, state)
}

// fillPool writes to a small pool until nothing is left.
func (l *Lab) fillPool(i *Injection, host Host) error {
	if !l.info.SmallPool {
		return fmt.Errorf("the images of lab %s are on this machine's own file system, which nobody should fill; `lab up --small-pool` makes a lab that has one for them", l.info.Name)
	}
	dir := l.imageDir(host.Name)
	file, err := os.OpenFile(filepath.Join(dir, filler), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	i.At = time.Now().UTC()
	// Guests may make room, and take it, at the same time.
	for range 100 {
		var system unix.Statfs_t
		if err := unix.Fstatfs(int(file.Fd()), &system); err != nil {
			return err
		}
		free := int64(system.Bavail) * system.Bsize
		if free == 0 {
			return nil
		}
		info, err := file.Stat()
		if err != nil {
			return err
		}
		if err := unix.Fallocate(int(file.Fd()), 0, info.Size(), free); err != nil && !errors.Is(err, unix.ENOSPC) {
			return fmt.Errorf("fill %s: %w", dir, err)
		}
	}
	return fmt.Errorf("the pool of host %s does not stay full: its guests make room in it", host.Name)
}

// emptyPool undoes fillPool. That there is nothing to undo is no error.
func (l *Lab) emptyPool(i *Injection, host Host) error {
	i.At = time.Now().UTC()
	err := os.Remove(filepath.Join(l.imageDir(host.Name), filler))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// LosePool takes the folder of the images away from a host. Its guests run on.
func (l *Lab) LosePool(ctx context.Context, host string) (time.Time, error) {
	return l.at(l.Inject(ctx, FaultLosePool, host, ""))
}

// RestorePool gives it back, and starts the pool.
func (l *Lab) RestorePool(ctx context.Context, host string) (time.Time, error) {
	return l.at(l.Inject(ctx, FaultRestorePool, host, ""))
}

// FillPool leaves no room in a host's pool (Options.SmallPool). With shared
// storage it is every host's pool.
func (l *Lab) FillPool(ctx context.Context, host string) (time.Time, error) {
	return l.at(l.Inject(ctx, FaultFillPool, host, ""))
}

// EmptyPool takes away what FillPool wrote.
func (l *Lab) EmptyPool(ctx context.Context, host string) (time.Time, error) {
	return l.at(l.Inject(ctx, FaultEmptyPool, host, ""))
}
