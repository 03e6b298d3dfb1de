package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/test/lab/internal/netns"
	"holdfast/test/lab/internal/sampler"
)

// Injection is a fault that was injected.
type Injection struct {
	Fault FaultKind `json:"fault"`
	VM    string    `json:"vm,omitempty"`
	Host  string    `json:"host"` // for a VM, the one its QEMU runs on
	PID   int       `json:"pid,omitempty"`
	At    time.Time `json:"at"` // the moment right before it took effect
}

// Inject does a fault to the VM or host called target. For a VM that two
// processes hold, which is so during a migration, onHost says which of them is
// meant. The time is that right before the fault took effect, or for what
// undoes one, right before that began.
func (l *Lab) Inject(ctx context.Context, kind FaultKind, target, onHost string) (Injection, error) {
	injection := Injection{Fault: kind}
	if kind.OnVM() {
		vm, err := l.vm(target)
		if err != nil {
			return injection, err
		}
		copy, err := l.theCopy(vm, onHost)
		if errors.Is(err, errNoCopy) && kind.withoutQEMU() {
			copy, err = QEMU{Host: cmp.Or(onHost, vm.Host)}, nil
		}
		if err != nil {
			return injection, err
		}
		injection.VM, injection.Host, injection.PID = vm.Name, copy.Host, copy.PID
		err = l.onVM(ctx, &injection)
		return injection, errors.Join(err, l.record(injection, err))
	}
	host, err := l.host(target)
	if err != nil {
		return injection, err
	}
	injection.Host = host.Name
	unlock, err := lock(ctx, l.hostFile(host.Name))
	if err != nil {
		return injection, err
	}
	defer unlock()
	err = l.onHost(ctx, &injection, host)
	return injection, errors.Join(err, l.record(injection, err))
}

// record puts an injection into the sampler's log. One that failed before
// anything was done has no time and is not recorded.
func (l *Lab) record(i Injection, err error) error {
	if i.At.IsZero() {
		return nil
	}
	event := Sample{At: i.At, Event: SampleFault, VM: i.VM, Host: i.Host, PID: i.PID, Fault: string(i.Fault)}
	if err != nil {
		event.Detail = err.Error()
	}
	return sampler.Append(l.eventLog(), event)
}

// errNoCopy says that a VM does not run.
var errNoCopy = errors.New("no QEMU process runs")

// theCopy is the one QEMU process that a fault is meant for.
func (l *Lab) theCopy(vm VM, onHost string) (QEMU, error) {
	copies, err := l.copies(vm)
	if err != nil {
		return QEMU{}, err
	}
	if onHost != "" {
		copies = slices.DeleteFunc(copies, func(c QEMU) bool { return c.Host != onHost })
	}
	switch len(copies) {
	case 0:
		return QEMU{}, fmt.Errorf("%w %s; `lab status` shows what runs, `lab virsh HOST start %s` starts it", errNoCopy, vm.Name, vm.Name)
	case 1:
		return copies[0], nil
	}
	return QEMU{}, fmt.Errorf("%d QEMU processes run %s, on %s and %s: say which with --host", len(copies), vm.Name, copies[0].Host, copies[1].Host)
}

// panicWait is how long QEMU may take to inject an NMI; it needs milliseconds.
const panicWait = 10 * time.Second

func (l *Lab) onVM(ctx context.Context, i *Injection) error {
	signals := map[FaultKind]unix.Signal{FaultKill: unix.SIGKILL, FaultHang: unix.SIGSTOP, FaultUnhang: unix.SIGCONT}
	if signal, is := signals[i.Fault]; is {
		i.At = time.Now().UTC()
		return unix.Kill(i.PID, signal)
	}
	switch i.Fault {
	case FaultHangGuest:
		return l.hangGuest(ctx, i)
	case FaultUnhangGuest:
		return l.unhangGuest(ctx, i)
	case FaultPanic:
		return l.panicGuest(ctx, i)
	case FaultLose:
		return l.loseVM(ctx, i)
	case FaultFind:
		return l.findVM(ctx, i)
	case FaultBreakDisk, FaultMendDisk:
		return l.breakDisk(i)
	case FaultCorruptDisk:
		return l.corruptDisk(ctx, i)
	}
	return fmt.Errorf("unknown fault %q", i.Fault)
}

// answering finds the processes of a host whose libvirtd can be asked something,
// or says why it is needed.
func (l *Lab) answering(name, why string) (hostProcesses, error) {
	host, err := l.host(name)
	if err != nil {
		return hostProcesses{}, err
	}
	processes, err := l.hostProcesses(host)
	if err != nil {
		return hostProcesses{}, err
	}
	if processes.libvirtd == nil || processes.libvirtd.Stopped() {
		return hostProcesses{}, fmt.Errorf("%s, which does not answer on host %s; `lab start-libvirtd %s` first", why, name, name)
	}
	return processes, nil
}

func (l *Lab) panicGuest(ctx context.Context, i *Injection) error {
	processes, err := l.answering(i.Host, "the panic is injected through libvirtd")
	if err != nil {
		return err
	}
	i.At = time.Now().UTC()
	ctx, cancel := context.WithTimeout(ctx, panicWait)
	defer cancel()
	// The witness told its kernel to panic on it.
	err = l.localVirsh(ctx, processes.init.PID, "inject-nmi", i.VM)
	if ctx.Err() != nil {
		return fmt.Errorf("QEMU of %s does not take the NMI; if it hangs, `lab unhang %s` first: %w", i.VM, i.VM, err)
	}
	return err
}

func (l *Lab) onHost(ctx context.Context, i *Injection, host Host) error {
	state, err := l.hostState(host.Name)
	if err != nil {
		return err
	}
	processes, err := l.hostProcesses(host)
	if err != nil {
		return err
	}
	off := processes.init == nil
	if off && !slices.Contains([]FaultKind{FaultPowerOn, FaultCut, FaultHeal}, i.Fault) {
		return fmt.Errorf("host %s is off; `lab power-on %s` starts it", host.Name, host.Name)
	}
	if i.Fault.onPool() {
		return l.onPool(ctx, i, host, processes)
	}
	switch i.Fault {
	case FaultPowerOff:
		return l.powerOff(ctx, i, host, processes)
	case FaultPowerOn:
		if !off {
			return fmt.Errorf("host %s is on", host.Name)
		}
		return l.powerOn(ctx, i, host, state)
	case FaultCut, FaultHeal:
		state.Cut = i.Fault == FaultCut
		if err := l.setHostState(host.Name, state); err != nil {
			return err
		}
		i.At = time.Now().UTC()
		if off {
			return nil // it has no link; the next power-on makes one in this state
		}
		return l.setLink(ctx, host, !state.Cut)
	case FaultKillLibvirtd, FaultHangLibvirtd:
		if processes.libvirtd == nil {
			return fmt.Errorf("no libvirtd runs on host %s; `lab start-libvirtd %s` starts it", host.Name, host.Name)
		}
		signal := unix.SIGKILL
		if i.Fault == FaultHangLibvirtd {
			signal = unix.SIGSTOP
		}
		i.PID = processes.libvirtd.PID
		i.At = time.Now().UTC()
		if err := unix.Kill(i.PID, signal); err != nil || signal != unix.SIGKILL {
			return err
		}
		return l.libvirtdGone(ctx, host, i.PID)
	case FaultStartLibvirtd:
		i.At = time.Now().UTC()
		if processes.libvirtd != nil {
			i.PID = processes.libvirtd.PID
			if err := unix.Kill(i.PID, unix.SIGCONT); err != nil {
				return err
			}
		}
		return l.startDaemons(ctx, host)
	}
	return fmt.Errorf("unknown fault %q", i.Fault)
}

// libvirtdGone waits until a libvirtd that was killed has ended: on a busy machine
// that takes a while, in which it would be taken for one that need not be started.
func (l *Lab) libvirtdGone(ctx context.Context, host Host, pid int) error {
	ctx, cancel := context.WithTimeout(ctx, libvirtdStart)
	defer cancel()
	for {
		now, err := l.hostProcesses(host)
		if err != nil || now.libvirtd == nil || now.libvirtd.PID != pid {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("libvirtd on host %s (process %d) does not end: %w", host.Name, pid, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (l *Lab) setLink(ctx context.Context, host Host, up bool) error {
	return netns.IP(ctx, switchNetNS(l.id), fmt.Sprintf("link set %s %s", host.Name, upDown(up)))
}

// powerOff ends everything on a host at once. The cable goes first: a host that
// loses its power sends no farewell to its peers, as a dying process's kernel would.
func (l *Lab) powerOff(ctx context.Context, i *Injection, host Host, processes hostProcesses) error {
	inode := processes.init.NetNS
	i.At = time.Now().UTC()
	if err := l.setLink(ctx, host, false); err != nil {
		return err
	}
	if err := unix.Kill(processes.init.PID, unix.SIGKILL); err != nil {
		return err
	}
	if err := killAll(ctx, inode); err != nil {
		return err
	}
	return l.unplug(ctx, host)
}

// unplug removes what connect made, or the part of it that is there. With the
// namespace the host's connections are forgotten, as they are by a machine
// without power.
func (l *Lab) unplug(ctx context.Context, host Host) error {
	err := netns.IP(ctx, switchNetNS(l.id), "link del "+host.Name)
	if err != nil && !strings.Contains(err.Error(), "Cannot find device") {
		return err
	}
	return netns.Delete(host.NetNS)
}

func (l *Lab) powerOn(ctx context.Context, i *Injection, host Host, state hostState) error {
	// What an interrupted power-off or power-on left.
	if inode, err := netns.Inode(host.NetNS); err == nil {
		if err := killAll(ctx, inode); err != nil {
			return err
		}
		if err := l.unplug(ctx, host); err != nil {
			return err
		}
	}
	i.At = time.Now().UTC()
	if err := l.connect(ctx, host, state.Cut); err != nil {
		return err
	}
	return l.bootHost(ctx, host)
}

func (l *Lab) at(i Injection, err error) (time.Time, error) { return i.At, err }

// Kill ends a VM's QEMU with SIGKILL and returns when.
func (l *Lab) Kill(ctx context.Context, vm string) (time.Time, error) {
	return l.at(l.Inject(ctx, FaultKill, vm, ""))
}

// Hang stops a VM's QEMU with SIGSTOP.
func (l *Lab) Hang(ctx context.Context, vm string) (time.Time, error) {
	return l.at(l.Inject(ctx, FaultHang, vm, ""))
}

// Unhang lets a stopped QEMU go on.
func (l *Lab) Unhang(ctx context.Context, vm string) (time.Time, error) {
	return l.at(l.Inject(ctx, FaultUnhang, vm, ""))
}

// HangGuest stops a VM's virtual CPUs: its guest stands still, its QEMU answers.
func (l *Lab) HangGuest(ctx context.Context, vm string) (time.Time, error) {
	return l.at(l.Inject(ctx, FaultHangGuest, vm, ""))
}

// UnhangGuest lets stopped virtual CPUs go on.
func (l *Lab) UnhangGuest(ctx context.Context, vm string) (time.Time, error) {
	return l.at(l.Inject(ctx, FaultUnhangGuest, vm, ""))
}

// Panic makes a guest's kernel panic. The domain stays, as crashed.
func (l *Lab) Panic(ctx context.Context, vm string) (time.Time, error) {
	return l.at(l.Inject(ctx, FaultPanic, vm, ""))
}

// PowerOff takes a host's power away; it returns when nothing of it is left.
func (l *Lab) PowerOff(ctx context.Context, host string) (time.Time, error) {
	return l.at(l.Inject(ctx, FaultPowerOff, host, ""))
}

// PowerOn boots a host; it returns when libvirtd answers. Guests are not started.
func (l *Lab) PowerOn(ctx context.Context, host string) (time.Time, error) {
	return l.at(l.Inject(ctx, FaultPowerOn, host, ""))
}

// Cut pulls a host's network cable. What runs on it runs on.
func (l *Lab) Cut(ctx context.Context, host string) (time.Time, error) {
	return l.at(l.Inject(ctx, FaultCut, host, ""))
}

// Heal plugs a host's network cable in again.
func (l *Lab) Heal(ctx context.Context, host string) (time.Time, error) {
	return l.at(l.Inject(ctx, FaultHeal, host, ""))
}

// KillLibvirtd ends a host's libvirtd with SIGKILL. Its guests run on.
func (l *Lab) KillLibvirtd(ctx context.Context, host string) (time.Time, error) {
	return l.at(l.Inject(ctx, FaultKillLibvirtd, host, ""))
}

// HangLibvirtd stops a host's libvirtd with SIGSTOP.
func (l *Lab) HangLibvirtd(ctx context.Context, host string) (time.Time, error) {
	return l.at(l.Inject(ctx, FaultHangLibvirtd, host, ""))
}

// StartLibvirtd starts a dead libvirtd or continues a stopped one, and returns
// when it answers.
func (l *Lab) StartLibvirtd(ctx context.Context, host string) (time.Time, error) {
	return l.at(l.Inject(ctx, FaultStartLibvirtd, host, ""))
}

// URI is how the root namespace reaches a host's libvirtd.
func (l *Lab) URI(host string) (string, error) {
	h, err := l.host(host)
	return h.URI, err
}

// Virsh runs virsh against a host's URI, over the lab's network, and returns
// what it printed. An error holds what it said, and is an *exec.ExitError if
// virsh ran and failed.
func (l *Lab) Virsh(ctx context.Context, host string, args ...string) (string, error) {
	uri, err := l.URI(host)
	if err != nil {
		return "", err
	}
	var stderr strings.Builder
	cmd := exec.CommandContext(ctx, "virsh", append([]string{"-c", uri}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("virsh %s on host %s: %w: %s", strings.Join(args, " "), host, err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}
