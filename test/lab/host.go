package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/test/lab/internal/netns"
	"holdfast/test/lab/internal/procfs"
)

// hostState is what was done to a host, as far as it cannot be seen from
// outside. It is written before the thing is done.
type hostState struct {
	Cut      bool `json:"cut"`      // its cable is pulled
	PoolLost bool `json:"poolLost"` // the folder of its images is gone
}

func (l *Lab) hostState(host string) (hostState, error) {
	var state hostState
	err := readJSON(l.hostFile(host, "state.json"), &state)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return state, err
}

func (l *Lab) setHostState(host string, state hostState) error {
	return writeJSON(l.hostFile(host, "state.json"), state)
}

// connect makes a host's network namespace and plugs it into the lab's switch.
// A host whose link is cut is plugged in with its cable pulled. Its guests are on
// the same network as itself, by a bridge whose hardware address is the host's
// own whichever of them runs.
func (l *Lab) connect(ctx context.Context, host Host, cut bool) error {
	if err := netns.Create(ctx, host.NetNS); err != nil {
		return err
	}
	if err := netns.IP(ctx, switchNetNS(l.id),
		fmt.Sprintf("link add %s type veth peer name eth0 address %s netns %s", host.Name, macAddress(l.id, host.Name), host.NetNS),
		fmt.Sprintf("link set %s master br0 %s", host.Name, upDown(!cut)),
	); err != nil {
		return err
	}
	return netns.IP(ctx, host.NetNS,
		fmt.Sprintf("link add %s address %s type bridge stp_state 0 forward_delay 0", guestBridge, macAddress(l.id, host.Name)),
		fmt.Sprintf("link set eth0 master %s up", guestBridge),
		fmt.Sprintf("addr add %s/24 dev %s", host.Address, guestBridge),
		"link set "+guestBridge+" up")
}

func upDown(up bool) string {
	if up {
		return "up"
	}
	return "down"
}

// bootHost brings a connected host up: first process, virtlogd, libvirtd. It
// returns when libvirtd answers.
func (l *Lab) bootHost(ctx context.Context, host Host) error {
	boot := exec.CommandContext(ctx, "nsenter", "--net="+netns.Path(host.NetNS), "--",
		l.info.Binary, "internal", "boot-host", "--dir", l.info.Dir, "--host", host.Name)
	if out, err := boot.CombinedOutput(); err != nil {
		return fmt.Errorf("boot host %s: %w: %s", host.Name, err, strings.TrimSpace(string(out)))
	}
	return l.startDaemons(ctx, host)
}

// startDaemons starts the daemons that do not run, and waits for libvirtd's answer.
func (l *Lab) startDaemons(ctx context.Context, host Host) error {
	processes, err := l.hostProcesses(host)
	if err != nil {
		return err
	}
	if processes.init == nil {
		return fmt.Errorf("host %s is off; `lab power-on %s` starts it", host.Name, host.Name)
	}
	if err := l.startDiskServer(ctx, host, processes); err != nil {
		return err
	}
	if processes.virtlogd == nil {
		if err := l.startDaemon(ctx, host, processes.init.PID, "virtlogd", "--daemon"); err != nil {
			return err
		}
	}
	if processes.libvirtd == nil {
		if err := l.startDaemon(ctx, host, processes.init.PID, "libvirtd", "--daemon", "--listen"); err != nil {
			return err
		}
	}
	return l.waitLibvirtd(ctx, host, processes.init.PID)
}

// libvirtdStart is how long a libvirtd may take until it answers. On an idle
// machine it takes half a second.
const libvirtdStart = time.Minute

func (l *Lab) waitLibvirtd(ctx context.Context, host Host, init int) error {
	ctx, cancel := context.WithTimeout(ctx, libvirtdStart)
	defer cancel()
	for {
		err := l.localVirsh(ctx, init, "uri")
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("libvirtd on host %s does not answer: %w\n%s", host.Name, err, l.daemonLog(host))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// daemonLog is the end of what libvirtd wrote to its log, for an error message.
func (l *Lab) daemonLog(host Host) string {
	raw, err := os.ReadFile(l.hostFile(host.Name, "var-log-libvirt", "libvirtd.log"))
	if err != nil {
		return ""
	}
	return string(raw[max(0, len(raw)-2000):])
}

// startDaemon runs a program inside a host that puts itself into the background.
func (l *Lab) startDaemon(ctx context.Context, host Host, init int, args ...string) error {
	err := l.enter(ctx, init, []string{"--uts", "--ipc", "--pid"}, args...)
	if err != nil {
		return fmt.Errorf("start %s on host %s: %w\n%s", args[0], host.Name, err, l.daemonLog(host))
	}
	return nil
}

// localVirsh runs virsh inside a host, whether or not the host can be reached
// over the network. It stays outside of the PID namespace: to enter that one
// nsenter forks, and when it is killed the child lives on.
func (l *Lab) localVirsh(ctx context.Context, init int, args ...string) error {
	return l.enter(ctx, init, nil, append([]string{"virsh", "-q", "-c", "qemu:///system"}, args...)...)
}

// enter runs a program in a host's file system and network, and in further
// namespaces of it.
func (l *Lab) enter(ctx context.Context, init int, namespaces []string, program ...string) error {
	args := slices.Concat([]string{"--target", strconv.Itoa(init), "--mount", "--net"}, namespaces, []string{"--"}, program)
	cmd := exec.CommandContext(ctx, "nsenter", args...)
	cmd.Env = hostEnvironment
	cmd.Dir = "/"
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(program, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// hostProcesses are the processes on a host that the lab cares for.
type hostProcesses struct {
	init, libvirtd, virtlogd *procfs.Process // nil: does not run
	all                      []procfs.Process
}

// hostProcesses looks through /proc. A host without a network namespace is off
// and has none.
func (l *Lab) hostProcesses(host Host) (hostProcesses, error) {
	inode, err := netns.Inode(host.NetNS)
	if errors.Is(err, fs.ErrNotExist) {
		return hostProcesses{}, nil
	}
	if err != nil {
		return hostProcesses{}, err
	}
	all, err := procfs.Default.In(inode)
	if err != nil {
		return hostProcesses{}, err
	}
	found := hostProcesses{all: all}
	for i := range all {
		if all[i].InnerID == 1 {
			found.init = &all[i]
		}
	}
	if found.init == nil {
		return found, nil
	}
	for i, p := range all {
		// Daemons are the first process's children; what they fork looks like them for a moment.
		if p.PPID != found.init.PID || len(p.Args) == 0 {
			continue
		}
		switch filepath.Base(p.Args[0]) {
		case "libvirtd":
			found.libvirtd = &all[i]
		case "virtlogd":
			found.virtlogd = &all[i]
		}
	}
	return found, nil
}

// killAll kills every process in the network namespaces and waits until they
// are gone. What they start meanwhile is killed too.
func killAll(ctx context.Context, inodes ...uint64) error {
	// An error elsewhere must not end the machine.
	if own, err := procfs.Default.NetNS(os.Getpid()); err != nil || slices.Contains(inodes, own) {
		return errors.Join(err, errors.New("refused to kill every process in this process's own network namespace"))
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		left, err := procfs.Default.In(inodes...)
		if err != nil || len(left) == 0 {
			return err
		}
		for _, p := range left {
			_ = unix.Kill(p.PID, unix.SIGKILL)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d processes do not die, such as %d (%s)", len(left), left[0].PID, left[0].Comm)
		case <-time.After(2 * time.Millisecond):
		}
	}
}
