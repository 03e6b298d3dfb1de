package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lockWait is how long a command waits for another that works on the same thing.
const lockWait = 2 * time.Minute

// lock makes the folder if need be and takes its lock: of the lab's own folder
// for what builds or removes the lab, of a host's for what changes the host. The
// kernel gives the lock back when its holder dies.
func lock(ctx context.Context, dir string) (unlock func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	for {
		unlock, err := tryLock(dir)
		if err == nil || !errors.Is(err, unix.EWOULDBLOCK) {
			return unlock, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("another lab command works on %s and does not end; stop it, then try again: %w", dir, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// tryLock returns unix.EWOULDBLOCK if another holds the lock.
func tryLock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, unix.EWOULDBLOCK // removed that very moment: again
	}
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	// Who held it may have removed the folder: then this lock is on nothing.
	var held, there unix.Stat_t
	if unix.Fstat(int(f.Fd()), &held) != nil || unix.Stat(dir, &there) != nil || held.Ino != there.Ino {
		f.Close()
		return nil, unix.EWOULDBLOCK
	}
	return func() { f.Close() }, nil
}
