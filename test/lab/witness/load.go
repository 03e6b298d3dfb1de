package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/test/lab/internal/task"
)

// burn keeps every virtual CPU busy, and gives way to whatever else the guest
// has to do.
func burn(task.Options) (work, error) {
	return func(ctx context.Context, count *atomic.Int64) error {
		var group sync.WaitGroup
		for range runtime.NumCPU() {
			group.Go(func() {
				// Never unlocked: the thread ends with the goroutine, and its low priority with it.
				runtime.LockOSThread()
				_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), 19)
				for ctx.Err() == nil {
					x := uint64(count.Load()) | 1
					for range 200_000 {
						x ^= x << 13
						x ^= x >> 7
						x ^= x << 17
					}
					count.Add(int64(1 | x&1))
				}
			})
		}
		group.Wait()
		return nil
	}, nil
}

// memoryStep is how much hold takes between two looks at what is left.
const memoryStep = 512 << 10

// hold takes memory, and writes to all of it, until the wanted share of the
// guest's memory is not available any more. There is no swap: it stays there.
func hold(o task.Options) (work, error) {
	percent := o.Percent
	if percent == 0 {
		percent = task.DefaultMemory
	}
	total, available, err := memory()
	if err != nil {
		return nil, err
	}
	keep := total * uint64(100-percent) / 100
	// With less than this the kernel would look for somebody to kill, and init is all there is.
	if least := uint64(4 << 20); keep < least {
		return nil, fmt.Errorf("memory: %d %% of %d MiB would leave the guest less than %d MiB", percent, total>>20, least>>20)
	}
	if available <= keep {
		return nil, fmt.Errorf("memory: already %d of %d MiB are in use", (total-available)>>20, total>>20)
	}
	return func(ctx context.Context, count *atomic.Int64) error {
		var held [][]byte
		defer func() {
			for _, part := range held {
				_ = unix.Munmap(part)
			}
		}()
		for ctx.Err() == nil {
			_, available, err := memory()
			if err != nil {
				return err
			}
			if available < keep+memoryStep {
				break
			}
			part, err := unix.Mmap(-1, 0, memoryStep, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_POPULATE)
			if err != nil {
				return fmt.Errorf("take memory: %w", err)
			}
			held = append(held, part)
			count.Add(memoryStep)
		}
		<-ctx.Done()
		return nil
	}, nil
}

// memory is what the kernel manages and what it could still give, in bytes.
func memory() (total, available uint64, err error) {
	raw, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(raw)) {
		var kib uint64
		if _, err := fmt.Sscanf(line, "MemTotal: %d kB", &kib); err == nil {
			total = kib << 10
		}
		if _, err := fmt.Sscanf(line, "MemAvailable: %d kB", &kib); err == nil {
			available = kib << 10
		}
	}
	if total == 0 {
		return 0, 0, fmt.Errorf("/proc/meminfo has no MemTotal")
	}
	return total, available, nil
}

// Ports of the ib700 watchdog, which the kernel has no driver for: one byte to
// the first arms it, one to the second disarms it.
const (
	watchdogArm    = 0x443
	watchdogDisarm = 0x441
)

// armWatchdog arms the watchdog and does not feed it. It is disarmed when the
// task is stopped, or some time after it has fired.
func armWatchdog(o task.Options) (work, error) {
	timeout := o.Timeout
	if timeout == 0 {
		timeout = task.DefaultWatchdog
	}
	// 0 means 30 s, 1 means 28 s, and so on to 15, which means 0.
	code := byte(15 - timeout/(2*time.Second))
	if err := outByte(watchdogArm, code); err != nil {
		return nil, err
	}
	return func(ctx context.Context, count *atomic.Int64) error {
		_ = sleep(ctx, timeout+time.Second)
		if ctx.Err() == nil {
			count.Add(1)
		}
		return outByte(watchdogDisarm, 0)
	}, nil
}

// outByte writes to an I/O port.
func outByte(at uint16, value byte) error {
	// What the kernel permits it permits to one thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if _, _, errno := unix.Syscall(unix.SYS_IOPERM, uintptr(at), 1, 1); errno != 0 {
		return fmt.Errorf("ask for I/O port %#x: %w", at, errno)
	}
	outb(at, value)
	_, _, _ = unix.Syscall(unix.SYS_IOPERM, uintptr(at), 1, 0)
	return nil
}

// outb is the instruction of that name.
//
//go:noescape
func outb(at uint16, value byte)
