package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"holdfast/test/lab/internal/record"
	"holdfast/test/lab/internal/task"
)

// diskWait is how long a disk may take to appear: its driver finds it some time
// after it is loaded.
const diskWait = time.Minute

// openDisk opens a disk without the kernel's cache, and waits for it.
func openDisk(path string, flags int) (int, error) {
	deadline := time.Now().Add(diskWait)
	for {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC|flags, 0)
		if err == nil {
			return fd, nil
		}
		if time.Now().After(deadline) {
			return -1, fmt.Errorf("open %s: %w", path, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// aligned is memory as O_DIRECT wants it; a mapping is.
func aligned(size int) ([]byte, error) {
	return unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
}

// target is a disk that a task works on, with a buffer for it.
type target struct {
	fd   int
	buf  []byte
	size int64
}

// openTarget opens a disk that is there already.
func openTarget(disk string, buffer int) (*target, error) {
	fd, err := unix.Open("/dev/"+disk, unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open disk %s: %w", disk, err)
	}
	size, err := unix.Seek(fd, 0, unix.SEEK_END)
	if err == nil && size < record.FillStart+record.BlockSize {
		err = fmt.Errorf("%d bytes are too few for the lab's tasks", size)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("disk %s: %w", disk, err)
	}
	buf, err := aligned(buffer)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &target{fd: fd, buf: buf, size: size}, nil
}

func (t *target) close() {
	unix.Close(t.fd)
	_ = unix.Munmap(t.buf)
}

// smallRequests reads and writes 4 KiB at a time, and waits for each.
func smallRequests(o task.Options) (work, error) {
	rate := o.Rate
	if rate == 0 {
		rate = task.DefaultDiskRate
	}
	const size = 4 << 10
	t, err := openTarget(o.Disk, size)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, count *atomic.Int64) error {
		defer t.close()
		// Each request keeps a thread waiting: better one of its own.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		began := time.Now()
		for {
			done := count.Load()
			if err := pace(ctx, began, done, rate); err != nil {
				return nil
			}
			at := record.BusyStart + rand.Int64N((record.BusyEnd-record.BusyStart)/size)*size
			var err error
			if done%2 == 0 {
				_, err = unix.Pread(t.fd, t.buf, at)
			} else {
				writes.enter()
				_, err = unix.Pwrite(t.fd, t.buf, at)
				writes.leave()
			}
			if err != nil {
				return err
			}
			count.Add(1)
		}
	}, nil
}

// keepWriting writes new blocks, slowly. At the end of the disk it discards what
// it wrote, and begins again.
func keepWriting(o task.Options) (work, error) {
	rate := o.Rate
	if rate == 0 {
		rate = task.DefaultWrite
	}
	t, err := openTarget(o.Disk, record.BlockSize)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, count *atomic.Int64) error {
		defer t.close()
		at, err := t.firstUnwritten()
		if err != nil {
			return err
		}
		began := time.Now()
		for {
			if err := pace(ctx, began, count.Load(), rate); err != nil {
				return nil
			}
			if at+record.BlockSize > t.size {
				writes.enter()
				err := t.discard()
				writes.leave()
				if err != nil {
					return err
				}
				at = record.FillStart
			}
			if err := t.writeBlock(at); err != nil {
				return err
			}
			at += record.BlockSize
			count.Add(1)
		}
	}, nil
}

// fill writes blocks until the wanted share of the disk was written once.
func fill(o task.Options) (work, error) {
	percent := o.Percent
	if percent == 0 {
		percent = task.DefaultFill
	}
	t, err := openTarget(o.Disk, record.BlockSize)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, count *atomic.Int64) error {
		defer t.close()
		at, err := t.firstUnwritten()
		if err != nil {
			return err
		}
		for ; at+record.BlockSize <= t.size && at < t.size*int64(percent)/100 && ctx.Err() == nil; at += record.BlockSize {
			if err := t.writeBlock(at); err != nil {
				return err
			}
			count.Add(1)
		}
		return nil
	}, nil
}

// writeBlock writes a block that begins with something else than zero, by which
// firstUnwritten knows it.
func (t *target) writeBlock(at int64) error {
	for i := 0; i < len(t.buf); i += 512 {
		t.buf[i] = byte(at>>16) | 1
		t.buf[i+1] = byte(i >> 9)
	}
	writes.enter()
	n, err := unix.Pwrite(t.fd, t.buf, at)
	writes.leave()
	if err == nil && n < len(t.buf) {
		err = fmt.Errorf("%d bytes of %d were written", n, len(t.buf))
	}
	if err != nil {
		return fmt.Errorf("write at %d: %w", at, err)
	}
	return nil
}

// firstUnwritten finds where the blocks end: they are written in order.
func (t *target) firstUnwritten() (int64, error) {
	low, high := int64(0), (t.size-record.FillStart)/record.BlockSize // in blocks
	for low < high {
		middle := (low + high) / 2
		if _, err := unix.Pread(t.fd, t.buf[:4096], record.FillStart+middle*record.BlockSize); err != nil {
			return 0, fmt.Errorf("look for the first unwritten block: %w", err)
		}
		if t.buf[0] != 0 {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return record.FillStart + low*record.BlockSize, nil
}

// discard gives back all blocks of a disk.
func discard(disk string) error {
	t, err := openTarget(disk, record.BlockSize)
	if err != nil {
		return err
	}
	defer t.close()
	if err := writes.tryEnter(); err != nil {
		return err
	}
	defer writes.leave()
	return t.discard()
}

func (t *target) discard() error {
	const blkDiscard = 0x1277
	region := [2]uint64{record.FillStart, uint64(t.size) - record.FillStart}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(t.fd), blkDiscard, uintptr(unsafe.Pointer(&region)))
	if errors.Is(errno, unix.EOPNOTSUPP) {
		return errors.New("this disk takes no discard; its definition needs discard='unmap'")
	}
	if errno != 0 {
		return fmt.Errorf("discard: %w", errno)
	}
	return nil
}
