package main

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"holdfast/test/lab/internal/record"
)

// bootOption is on the kernel's command line of a guest whose boot depends on its
// disk, with anything for a value.
const bootOption = "lab.boot"

// kernelOption is the value of an option of the kernel's command line, "" if
// there is none.
func kernelOption(name string) (string, error) {
	raw, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return "", err
	}
	for _, option := range strings.Fields(string(raw)) {
		if value, is := strings.CutPrefix(option, name+"="); is {
			return value, nil
		}
	}
	return "", nil
}

// mountRoot does what an initramfs does before it hands over: it looks whether
// there is a system to hand over to.
func mountRoot() error {
	option, err := kernelOption(bootOption)
	if err != nil || option == "" {
		return err
	}
	generation, err := readSystem()
	if err == nil {
		say(fmt.Sprintf("witness: booted from vda, generation %d", generation))
	}
	return err
}

// noRoot ends as a kernel without a root file system does: with the end of init
// the kernel panics.
func noRoot(err error) {
	kernelLog(fmt.Sprintf("witness: unable to boot from vda: %v", err))
	os.Exit(1)
}

// kernelLog says something wherever the kernel says what is critical: on the
// serial console and on the screen.
func kernelLog(line string) {
	if os.WriteFile("/dev/kmsg", []byte("<2>"+line+"\n"), 0) != nil {
		fmt.Println(line)
	}
}

// say says something on the serial console and on the screen.
func say(line string) {
	fmt.Println(line)
	// A guest without a screen has a terminal all the same, which nobody sees.
	_ = os.WriteFile("/dev/tty0", []byte(line+"\r\n"), 0)
}

// onSystem opens vda with memory for a whole system.
func onSystem(use func(fd int, buf []byte) error) error {
	fd, err := openDisk(disk, unix.O_SYNC)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	buf, err := aligned(record.SystemSize)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Munmap(buf) }()
	return use(fd, buf)
}

// readSystem is the generation that is on the disk, by all of its bytes.
func readSystem() (generation uint64, err error) {
	err = onSystem(func(fd int, buf []byte) error {
		n, err := unix.Pread(fd, buf, record.SystemStart)
		if err != nil {
			return fmt.Errorf("read it: %w", err)
		}
		generation, err = record.ParseSystem(buf[:n])
		return err
	})
	return generation, err
}

// writeSystem returns when the disk has all of a generation, or with nil all of
// what is none.
func writeSystem(generation *uint64) error {
	return onSystem(func(fd int, buf []byte) error {
		if generation != nil {
			record.EncodeSystem(buf, *generation)
		} else {
			for i := range buf {
				buf[i] = record.CorruptByte
			}
		}
		if err := writes.tryEnter(); err != nil {
			return err
		}
		defer writes.leave()
		n, err := unix.Pwrite(fd, buf, record.SystemStart)
		if err == nil && n < len(buf) {
			err = fmt.Errorf("%d bytes of %d were written", n, len(buf))
		}
		return err
	})
}
