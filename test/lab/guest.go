package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"holdfast/test/lab/internal/record"
)

// imageSize is what a guest sees as its disk. The image grows with what is
// written, and with snapshots.
const imageSize = "64M"

// flakySize is the same for its second disk, in bytes.
const flakySize = 64 << 20

// defineGuests gives a host its storage pool and its guests, and starts these.
func (l *Lab) defineGuests(ctx context.Context, host Host, progress func(string)) error {
	// One virsh for all: each costs a connection.
	commands := []string{
		"pool-define " + l.hostFile(host.Name, "pool.xml"),
		"pool-autostart images",
		"pool-start images",
	}
	var names []string
	group, groupCtx := errgroup.WithContext(ctx)
	for _, vm := range l.info.VMs {
		if vm.Host != host.Name {
			continue
		}
		group.Go(func() error { return l.makeImage(groupCtx, vm) })
		definition, err := l.domain(vm)
		if err != nil {
			return err
		}
		file := l.hostFile(host.Name, vm.Name+".xml")
		if err := os.WriteFile(file, []byte(definition), 0o644); err != nil {
			return err
		}
		commands = append(commands, "define "+file, "start "+vm.Name)
		names = append(names, vm.Name)
	}
	if err := group.Wait(); err != nil {
		return err
	}
	processes, err := l.hostProcesses(host)
	if err != nil {
		return err
	}
	if processes.init == nil {
		return fmt.Errorf("host %s died while the lab was built", host.Name)
	}
	if err := l.localVirsh(ctx, processes.init.PID, strings.Join(commands, "; ")); err != nil {
		return fmt.Errorf("define and start guests on host %s: %w\n%s", host.Name, err, l.daemonLog(host))
	}
	if len(names) > 0 {
		progress(strings.Join(names, ", ") + " started on host " + host.Name)
	}
	return nil
}

func (l *Lab) makeImage(ctx context.Context, vm VM) error {
	out, err := exec.CommandContext(ctx, "qemu-img", "create", "-q", "-f", "qcow2", l.imageFile(vm.Host, vm.Name), imageSize).CombinedOutput()
	if err != nil {
		return fmt.Errorf("make the image of %s: %w: %s", vm.Name, err, strings.TrimSpace(string(out)))
	}
	if l.info.BootDisk {
		return l.installSystem(ctx, vm)
	}
	return nil
}

// waitGuests returns when each witness has acknowledged a write.
func (l *Lab) waitGuests(ctx context.Context, progress func(string)) error {
	ctx, cancel := context.WithTimeout(ctx, guestBoot)
	defer cancel()
	for _, vm := range l.info.VMs {
		for {
			console, err := os.ReadFile(l.consoleFile(vm.Host, vm.Name))
			if err == nil && len(record.ParseConsole(console).Boots) > 0 {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("guest %s has acknowledged no write: %w; the end of its console:\n%s",
					vm.Name, ctx.Err(), console[max(0, len(console)-2000):])
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	if len(l.info.VMs) > 0 {
		progress("every guest has acknowledged a write")
	}
	return nil
}
