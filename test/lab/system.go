package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"holdfast/test/lab/internal/record"
	"holdfast/test/lab/internal/task"
)

// A guest's system is a part of its disk that stands for its root file system
// (record.EncodeSystem). With Options.BootDisk a guest boots only if it is whole.

// installSystem writes generation 0 to a new image.
func (l *Lab) installSystem(ctx context.Context, vm VM) error {
	i, err := l.image(vm.Host, vm.Disk)
	if err != nil {
		return err
	}
	system := make([]byte, record.SystemSize)
	record.EncodeSystem(system, 0)
	file, err := os.CreateTemp(l.info.Dir, "system-")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = file.Write(system)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	// By its name alone: qemu-io knows no quotes.
	return writeImage(ctx, i, "-s "+filepath.Base(file.Name()), filepath.Dir(file.Name()))
}

// writeImage fills the system on an image that no QEMU has open; qemu-io refuses
// another. What with is an option of its write, which is run in dir.
func writeImage(ctx context.Context, i image, what, dir string) error {
	name, err := i.name()
	if err != nil {
		return err
	}
	write := fmt.Sprintf("write -q %s %d %d", what, record.SystemStart, record.SystemSize)
	cmd := exec.CommandContext(ctx, "qemu-io", "-c", write, "-c", "flush", name)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	// Not all that fails ends with an exit code.
	if said := bytes.TrimSpace(out); err != nil || len(said) > 0 {
		return errors.Join(fmt.Errorf("write to %s: %s", i.file, said), err)
	}
	return nil
}

// corruptDisk breaks the system on a VM's disk: through the guest if there is a
// QEMU, which alone may write to the image, else on the image.
func (l *Lab) corruptDisk(ctx context.Context, i *Injection) error {
	if !l.info.BootDisk {
		return fmt.Errorf("the VMs of lab %s boot whatever their disks hold; `lab up --boot-disk` makes one whose VMs do not", l.info.Name)
	}
	vm, err := l.vm(i.VM)
	if err != nil {
		return err
	}
	if i.PID != 0 {
		i.At = time.Now().UTC()
		_, err := l.order(ctx, vm, QEMU{PID: i.PID, Host: i.Host}, task.Corrupt, TaskOptions{})
		if err != nil {
			return fmt.Errorf("%w (of a VM that is off the image is overwritten: `lab virsh %s destroy %s` first)", err, i.Host, i.VM)
		}
		return nil
	}
	disk, err := l.activeDisk(vm, i.Host)
	if err != nil {
		return err
	}
	broken, err := l.image(i.Host, disk)
	if err != nil {
		return err
	}
	i.At = time.Now().UTC()
	return writeImage(ctx, broken, fmt.Sprintf("-P %d", record.CorruptByte), "/")
}

// CorruptDisk breaks what a VM boots from (Options.BootDisk): a guest that runs
// runs on, and its next boot says so on its console and ends in a kernel panic,
// before there is a guest agent. It is the image that the VM has now, not those
// that this one is built upon.
func (l *Lab) CorruptDisk(ctx context.Context, vm string) (time.Time, error) {
	return l.at(l.Inject(ctx, FaultCorruptDisk, vm, ""))
}

// Generation is the generation of data that a running guest finds on its disk, by
// all of it: 0 as it was made with Options.BootDisk, else an error until
// SetGeneration wrote one.
func (l *Lab) Generation(ctx context.Context, vm string) (uint64, error) {
	done, err := l.Do(ctx, vm, TaskGeneration, TaskOptions{})
	if err != nil {
		return 0, err
	}
	if done.Generation == nil {
		return 0, fmt.Errorf("guest of %s names no generation: %s", vm, done.Said)
	}
	return *done.Generation, nil
}

// SetGeneration has a running guest write a generation of data to its disk, 512
// KiB that no other generation has, and returns when the disk has all of it. One
// that is cut short by the end of the guest leaves a broken one.
func (l *Lab) SetGeneration(ctx context.Context, vm string, generation uint64) error {
	_, err := l.Do(ctx, vm, TaskSetGeneration, TaskOptions{Generation: generation})
	return err
}

// ConsoleFile is where the root namespace finds all that a VM said on its serial
// console on a host. On the host it is what its definition names.
func (l *Lab) ConsoleFile(host, vm string) (string, error) {
	if _, err := l.host(host); err != nil {
		return "", err
	}
	guest, err := l.vm(vm)
	return l.consoleFile(host, guest.Name), err
}
