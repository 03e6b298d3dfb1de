// Command witness is the whole userland of a lab guest: the init of an
// initramfs. It writes an increasing number to its disk, and only when the disk
// has it says so on its console. Comparing the two afterwards shows whether an
// acknowledged write was lost.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"holdfast/test/lab/internal/record"
)

const (
	disk     = "/dev/vda"
	interval = 100 * time.Millisecond
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "witness is the init of a lab guest; it is not run by hand (see: lab up --help)")
		os.Exit(2)
	}
	fmt.Printf("witness: %v\n", run())
	// A dead init is a kernel panic, which would look like an injected fault.
	for {
		time.Sleep(time.Hour)
	}
}

// run returns only with what keeps the witness from its work.
func run() error {
	if err := mounts(); err != nil {
		return err
	}
	if err := modules(); err != nil {
		return err
	}
	// An injected NMI is how the lab makes the kernel panic.
	if err := os.WriteFile("/proc/sys/kernel/unknown_nmi_panic", []byte("1"), 0); err != nil {
		return err
	}
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	go powerButton()
	return witness(strings.TrimSpace(string(id)))
}

func mounts() error {
	for _, m := range []struct{ kind, at string }{{"devtmpfs", "/dev"}, {"proc", "/proc"}, {"sysfs", "/sys"}} {
		if err := os.MkdirAll(m.at, 0o755); err != nil {
			return err
		}
		// The kernel may have mounted devtmpfs by itself.
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	return nil
}

// modules loads /modules/*.ko; their names begin with their place in the order.
func modules() error {
	files, err := filepath.Glob("/modules/*.ko")
	if err != nil {
		return err
	}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("load %s: %w", file, err)
		}
	}
	return nil
}

// witness writes and acknowledges for ever.
func witness(bootID string) error {
	f, err := openDisk()
	if err != nil {
		return err
	}
	// O_DIRECT wants aligned memory; a mapping is.
	buf, err := unix.Mmap(-1, 0, record.Size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	if _, err := unix.Pread(f, buf, 0); err != nil {
		return fmt.Errorf("read %s: %w", disk, err)
	}
	last, err := record.Newest(buf)
	if err != nil && !errors.Is(err, record.ErrBlank) {
		return err
	}
	r := record.Record{N: last.N, BootID: bootID}
	fmt.Print(r.StartLine())

	slot := buf[:record.SlotSize]
	for ; ; time.Sleep(interval) {
		r.N++
		r.Encode(slot)
		// The descriptor is O_SYNC: the write comes back when the disk has flushed it.
		if _, err := unix.Pwrite(f, slot, record.Slot(r.N)*record.SlotSize); err != nil {
			fmt.Printf("error %s write %d: %v\n", bootID, r.N, err)
			r.N--
			continue
		}
		fmt.Print(r.AckLine())
	}
}

// openDisk waits for the disk: its driver finds it some time after it is loaded.
func openDisk() (int, error) {
	deadline := time.Now().Add(time.Minute)
	for {
		f, err := unix.Open(disk, unix.O_RDWR|unix.O_DIRECT|unix.O_SYNC|unix.O_CLOEXEC, 0)
		if err == nil {
			return f, nil
		}
		if time.Now().After(deadline) {
			return -1, fmt.Errorf("open %s: %w", disk, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// powerButton turns the guest off in order when the button is pressed, which is
// what `virsh shutdown` does.
func powerButton() {
	events, _ := filepath.Glob("/dev/input/event*")
	for _, name := range events {
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		go func() {
			defer f.Close()
			const keyEvent, powerKey = 1, 116
			var event struct {
				_          syscall.Timeval
				kind, code uint16
				value      int32
			}
			raw := unsafe.Slice((*byte)(unsafe.Pointer(&event)), unsafe.Sizeof(event))
			for {
				if _, err := f.Read(raw); err != nil {
					return
				}
				if event.kind == keyEvent && event.code == powerKey && event.value == 1 {
					unix.Sync()
					fmt.Printf("witness: power off: %v\n", unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF))
				}
			}
		}()
	}
}
