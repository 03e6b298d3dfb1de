package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// gate is before every write to a disk. Closed, it holds them up, as a frozen
// file system does; it is closed only when none is under way.
type gate struct {
	mu     sync.RWMutex
	closed atomic.Bool
}

// writes is the gate of this guest's disks.
var writes gate

// errFrozen says why a task was not done that would have to wait for a thaw.
var errFrozen = errors.New("the file systems are frozen; thaw them first (virsh domfsthaw)")

// enter waits until the gate is open. A leave must follow.
func (g *gate) enter() { g.mu.RLock() }

// tryEnter is enter for what the lab waits for.
func (g *gate) tryEnter() error {
	if !g.mu.TryRLock() {
		return errFrozen
	}
	return nil
}

func (g *gate) leave() { g.mu.RUnlock() }

// frozen says whether the gate is closed.
func (g *gate) frozen() bool { return g.closed.Load() }

// freeze closes the gate once what was written has reached the disks, and returns
// how many there are. It must not be closed.
func (g *gate) freeze(flush func() (int, error)) (int, error) {
	g.mu.Lock()
	disks, err := flush()
	if err != nil {
		g.mu.Unlock()
		return 0, err
	}
	g.closed.Store(true)
	return disks, nil
}

// thaw opens the gate, and says whether it was closed.
func (g *gate) thaw() bool {
	if !g.closed.CompareAndSwap(true, false) {
		return false
	}
	g.mu.Unlock()
	return true
}

// flushDisks has all disks keep what they were given, and counts them.
func flushDisks() (int, error) {
	disks, err := filepath.Glob("/dev/vd?")
	for _, disk := range disks {
		if err := flushDisk(disk); err != nil {
			return 0, fmt.Errorf("flush %s: %w", disk, err)
		}
	}
	return len(disks), err
}

func flushDisk(disk string) error {
	fd, err := unix.Open(disk, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Fsync(fd)
}
