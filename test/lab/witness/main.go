// Command witness is the whole userland of a lab guest: the init of an
// initramfs. It writes an increasing number to its disk, and only when the disk
// has it says so on its console. Comparing the two afterwards shows whether an
// acknowledged write was lost.
//
// Beside that it is a guest agent, as far as libvirt and the lab have use for
// one, answers by HTTP, and does what the lab asks of a guest (package task): to
// be busy, to fill its disk, to fall silent.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"holdfast/test/lab/internal/record"
)

const (
	disk     = "/dev/vda" // bears the records and the note
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
	// Where the agent looks for the programs that it is asked to run.
	if err := os.Setenv("PATH", "/bin"); err != nil {
		return err
	}
	if err := mounts(); err != nil {
		return err
	}
	if err := modules(); err != nil {
		return err
	}
	if err := mountRoot(); err != nil {
		noRoot(err)
	}
	// An injected NMI is how the lab makes the kernel panic.
	if err := os.WriteFile("/proc/sys/kernel/unknown_nmi_panic", []byte("1"), 0); err != nil {
		return err
	}
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	// What keeps threads busy must not keep the witness from its next write.
	runtime.GOMAXPROCS(runtime.NumCPU() + 3)
	boot := strings.TrimSpace(string(id))
	var acked atomic.Uint64
	go powerButton()
	go company()
	go neighbours(boot, &acked)
	say("witness: boot " + boot)
	return witness(boot, &acked)
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
func witness(bootID string, acked *atomic.Uint64) error {
	f, err := openDisk(disk, unix.O_SYNC)
	if err != nil {
		return err
	}
	buf, err := aligned(record.Size)
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
		writes.enter()
		_, err := unix.Pwrite(f, slot, record.Slot(r.N)*record.SlotSize)
		writes.leave()
		if err != nil {
			fmt.Printf("error %s write %d: %v\n", bootID, r.N, err)
			r.N--
			continue
		}
		fmt.Print(r.AckLine())
		acked.Store(r.N)
	}
}

// neighbours is what the guest does for those on its network.
func neighbours(bootID string, acked *atomic.Uint64) {
	err := network()
	if err == nil {
		err = serve(func() string { return fmt.Sprintf("boot %s\nacked %d\n", bootID, acked.Load()) })
	}
	fmt.Printf("witness: network: %v\n", err)
}

// company is what the guest does beside its writes. A guest whose definition has
// no channels does without.
func company() {
	v := newVoice(newAgent())
	if err := v.recall(); err != nil {
		fmt.Printf("witness: note: %v\n", err)
	}
	go func() { fmt.Printf("witness: tasks: %v\n", newTasks(v).serve()) }()
	fmt.Printf("witness: agent: %v\n", v.speak())
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
