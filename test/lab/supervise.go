package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/test/lab/internal/netns"
	"holdfast/test/lab/internal/procfs"
	"holdfast/test/lab/internal/sampler"
)

// superviseArgs is how the sampler of a lab is called, and how it is found again.
func superviseArgs(dir string) []string { return []string{"internal", "supervise", "--dir", dir} }

// Supervise is the lab's sampler. Only the lab command calls it; it runs until
// ctx ends or the lab's folder is gone.
func Supervise(ctx context.Context, dir string) error {
	l := &Lab{}
	if err := readJSON(filepath.Join(dir, "lab.json"), &l.info); err != nil {
		return err
	}
	// A guest that hogs the processors must not keep the sampler from watching it.
	// The group is this process with all its threads; "this process" would be one of them.
	if err := unix.Setpriority(unix.PRIO_PGRP, 0, -15); err != nil {
		return fmt.Errorf("raise the sampler's priority: %w", err)
	}
	// It is one loop: handing it from one processor to another only costs.
	runtime.GOMAXPROCS(1)
	config := sampler.Config{
		FS:    procfs.Default,
		Hosts: l.hostInodes,
		Log:   l.eventLog(),
		Pulse: l.pulseFile(),
	}
	for _, host := range l.info.Hosts {
		for _, vm := range l.info.VMs {
			config.Consoles = append(config.Consoles, &sampler.Console{VM: vm.Name, Host: host.Name, Path: l.consoleFile(host.Name, vm.Name)})
		}
	}
	return sampler.Watch(ctx, config)
}

func (l *Lab) eventLog() string  { return l.file("sampler", "events.jsonl") }
func (l *Lab) pulseFile() string { return l.file("sampler", "pulse.json") }

// hostInodes tells the hosts apart by their network namespaces. A host that is
// off has none.
func (l *Lab) hostInodes() map[uint64]string {
	hosts := make(map[uint64]string, len(l.info.Hosts))
	for _, host := range l.info.Hosts {
		if inode, err := netns.Inode(host.NetNS); err == nil {
			hosts[inode] = host.Name
		}
	}
	return hosts
}

// startSupervisor starts the sampler and returns when it watches.
func (l *Lab) startSupervisor(ctx context.Context) error {
	if err := os.MkdirAll(l.file("sampler"), 0o755); err != nil {
		return err
	}
	output, err := os.Create(l.file("sampler", "output.log"))
	if err != nil {
		return err
	}
	defer output.Close()
	// setsid --fork makes it nobody's child: it outlives lab up, and is reaped when it ends.
	cmd := exec.CommandContext(ctx, "setsid", append([]string{"--fork", l.info.Binary}, superviseArgs(l.info.Dir)...)...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = output, output, "/"
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("start the sampler: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		if _, err := os.Stat(l.pulseFile()); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			said, _ := os.ReadFile(output.Name())
			return fmt.Errorf("the sampler does not start: %w: %s", ctx.Err(), said)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// supervisors finds the lab's samplers; there is one, or none.
func (l *Lab) supervisors() ([]int, error) { return calledWith(superviseArgs(l.info.Dir)) }

// guards finds the lab's guards; there is one, or none.
func (l *Lab) guards() ([]int, error) { return calledWith(guardArgs(l.info.Dir)) }

// calledWith finds the processes, but for this one, whose arguments begin so.
func calledWith(want []string) ([]int, error) {
	pids, err := procfs.Default.PIDs()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(pids, func(pid int) bool {
		args, err := procfs.Default.Args(pid)
		return err != nil || pid == os.Getpid() || len(args) <= len(want) || !slices.Equal(args[1:1+len(want)], want)
	}), nil
}
