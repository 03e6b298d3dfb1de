package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/spf13/cobra"

	"holdfast/test/lab"
)

// faults are the commands that break something or put it right.
var faults = []struct {
	kind        lab.FaultKind
	short, long string
}{
	{lab.FaultKill, "Kill a VM's QEMU (SIGKILL)",
		"kill sends SIGKILL to the QEMU process that holds the VM, as an out-of-memory killer would.\nlibvirtd notices within about 0.2 s and shows the domain as shut off (crashed)."},
	{lab.FaultHang, "Hang a VM's QEMU (SIGSTOP)",
		"hang stops the QEMU process: the guest stands still and its monitor answers no more, while\nlibvirt goes on calling it running. lab unhang ends it."},
	{lab.FaultUnhang, "Let a hung QEMU go on (SIGCONT)", "unhang ends what lab hang began."},
	{lab.FaultHangGuest, "Stop a VM's virtual CPUs, and not its QEMU",
		"hang-guest holds the threads that run the virtual CPUs, as a debugger does: the guest stands still\nand its agent is silent, while QEMU and libvirt answer and call it running. It makes sure that QEMU\nanswers; a thread that was caught holding QEMU's lock is let go and caught again. What waits for\nvirtual CPUs, such as a suspend, a reset or an orderly end of QEMU, waits until lab unhang-guest. (A\nguest that hangs by itself, and that a reset helps, makes lab do VM halt.)"},
	{lab.FaultUnhangGuest, "Let stopped virtual CPUs go on", "unhang-guest ends what lab hang-guest began."},
	{lab.FaultLose, "Make a host forget a VM",
		"lose kills the host's libvirtd and the VM's QEMU, removes the domain's definition and state, and starts\nlibvirtd again, which has then never heard of it. The disk stays; other guests of the host run on."},
	{lab.FaultLosePool, "Take a host's storage pool away",
		"lose-pool takes the folder of the images away under libvirt, which finds the pool inactive. Guests keep\nwhat they have open. lab restore-pool ends it."},
	{lab.FaultRestorePool, "Give a host's storage pool back", "restore-pool ends what lab lose-pool began."},
	{lab.FaultFillPool, "Fill a host's storage pool",
		"fill-pool leaves no room where the host's images are: a guest that then writes where its image has to\ngrow is paused (I/O error, enospc). It needs a lab that was made with --small-pool. lab empty-pool ends it."},
	{lab.FaultEmptyPool, "Make room in a host's storage pool", "empty-pool ends what lab fill-pool began."},
	{lab.FaultPanic, "Make a guest's kernel panic",
		"panic injects an NMI, on which the guest's kernel was told to panic. The domain stays, as\ncrashed (panicked), until somebody destroys or resets it. It needs an answering libvirtd."},
	{lab.FaultPowerOff, "Take the power of a host away",
		"power-off pulls the host's cable and kills everything on it at once: libvirtd, guests, /run.\nDefinitions and disks stay, as they would on a disk. It returns when nothing runs there any more."},
	{lab.FaultPowerOn, "Give a host its power back",
		"power-on boots the host and returns when its libvirtd answers. Guests are not started. A host\nthat was cut stays cut."},
	{lab.FaultCut, "Pull the network cable of a host",
		"cut takes the host off the network. It and its guests run on, and do not know. lab heal ends it."},
	{lab.FaultHeal, "Plug the network cable of a host in again", "heal ends what lab cut began."},
	{lab.FaultKillLibvirtd, "Kill a host's libvirtd (SIGKILL)",
		"kill-libvirtd kills libvirtd alone; guests run on. lab start-libvirtd starts it again."},
	{lab.FaultHangLibvirtd, "Hang a host's libvirtd (SIGSTOP)",
		"hang-libvirtd stops libvirtd: connections are still accepted, but nothing answers; guests run on.\nlab start-libvirtd ends it."},
	{lab.FaultStartLibvirtd, "Start or continue a host's libvirtd",
		"start-libvirtd starts a dead libvirtd, continues a stopped one, and returns when it answers."},
}

// faultCommands are the commands of the chosen faults.
func faultCommands(o *options, chosen func(lab.FaultKind) bool) []*cobra.Command {
	var commands []*cobra.Command
	for _, fault := range faults {
		if chosen(fault.kind) {
			commands = append(commands, faultCommand(o, fault.kind, fault.short, fault.long))
		}
	}
	return commands
}

func faultCommand(o *options, kind lab.FaultKind, short, long string) *cobra.Command {
	target, onHost := "HOST", ""
	if kind.OnVM() {
		target = "VM"
	}
	cmd := &cobra.Command{
		Use:   string(kind) + " " + target,
		Short: short,
		Long: long + `

It prints what it did and the time right before it took effect. The time is in
the log of lab events, too.`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := o.open()
			if err != nil {
				return err
			}
			injection, err := l.Inject(cmd.Context(), kind, args[0], onHost)
			if err != nil {
				return err
			}
			return o.show(cmd.OutOrStdout(), injection, func(w io.Writer) {
				fmt.Fprintln(w, "FAULT\tVM\tHOST\tPID\tAT")
				fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", injection.Fault, injection.VM, injection.Host, injection.PID, injection.At.Format(time.RFC3339Nano))
			})
		},
	}
	if kind.OnVM() {
		cmd.Flags().StringVar(&onHost, "host", "", "which copy of the VM, while a migration makes two of it")
	}
	outputFlag(cmd, o, "json")
	return cmd
}

// errPassed marks that virsh itself has said what went wrong.
var errPassed = errors.New("virsh failed")

func virshCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "virsh HOST COMMAND [ARG...]",
		Short: "Run virsh against a host",
		Long: `virsh runs virsh against the host's URI, over the lab's network, and exits with
virsh's exit code. All that follows HOST goes to virsh; flags of lab come before it.`,
		Example: `  lab virsh A list --all
  lab --name three virsh B domstate VM2 --reason`,
		Args: usage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := o.open()
			if err != nil {
				return err
			}
			uri, err := l.URI(args[0])
			if err != nil {
				return err
			}
			virsh := exec.CommandContext(cmd.Context(), "virsh", append([]string{"-c", uri}, args[1:]...)...)
			virsh.Stdin, virsh.Stdout, virsh.Stderr = os.Stdin, cmd.OutOrStdout(), cmd.ErrOrStderr()
			err = virsh.Run()
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				return fmt.Errorf("%w: %w", errPassed, err)
			}
			return err
		},
	}
	cmd.Flags().SetInterspersed(false)
	return cmd
}

// internalCommand holds what lab runs of itself, inside hosts and aside.
func internalCommand() *cobra.Command {
	var dir, host, vm string
	var owner, pid int
	internal := &cobra.Command{Use: "internal", Short: "What lab runs of itself; not for use by hand", Hidden: true}
	internal.PersistentFlags().StringVar(&dir, "dir", "", "the lab's own folder")
	internal.PersistentFlags().StringVar(&host, "host", "", "the host")
	internal.PersistentFlags().StringVar(&vm, "vm", "", "the VM")
	internal.PersistentFlags().IntVar(&pid, "pid", 0, "the VM's QEMU")
	internal.PersistentFlags().IntVar(&owner, "owner", 0, "the process that the guard watches")
	internal.AddCommand(
		&cobra.Command{Use: "boot-host", Short: "Start the first process of a host", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error { return lab.BootHost(dir, host) }},
		&cobra.Command{Use: "host-init", Short: "Be the first process of a host", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error { return lab.InitHost(dir, host) }},
		&cobra.Command{Use: "supervise", Short: "Be the sampler of a lab", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return lab.Supervise(cmd.Context(), dir) }},
		&cobra.Command{Use: "guard", Short: "Take a lab down when its owner has ended", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return lab.Guard(cmd.Context(), dir, owner) }},
		&cobra.Command{Use: "hold", Short: "Keep a VM's virtual CPUs from running", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return lab.Hold(cmd.Context(), dir, pid) }},
	)
	return internal
}
