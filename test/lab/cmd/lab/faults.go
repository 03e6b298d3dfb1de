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
	{lab.FaultPanic, "Make a guest's kernel panic",
		"panic injects an NMI, on which the guest's kernel was told to panic. The domain stays, as\ncrashed (panicked), until somebody destroys or resets it. It needs an answering libvirtd."},
	{lab.FaultLose, "Make a host forget a VM",
		"lose kills the host's libvirtd and the VM's QEMU, removes the domain's definition and all state of it,\nand starts libvirtd again, which has then never heard of it. The disks stay; other guests of the host run\non. A VM that does not run is forgotten by the host it was made on, or by --host. lab find ends it."},
	{lab.FaultFind, "Tell a host of a lost VM again",
		"find defines a VM as it was made, on the host that it was made on, and starts it."},
	{lab.FaultBreakDisk, "Have a VM's second disk fail",
		"break-disk has each read and write of vdb fail with an I/O error, on the host that the VM runs on. Every\nguest of a lab that was built with --flaky has a vdb. At the first (lab do VM write --disk vdb) QEMU pauses\nthe VM, and libvirt says paused (I/O error). lab mend-disk ends it; the guest goes on when it is resumed."},
	{lab.FaultMendDisk, "Have a VM's second disk work again", "mend-disk ends what lab break-disk began."},
	{lab.FaultCorruptDisk, "Break what a VM boots from",
		"corrupt-disk overwrites the part of vda that a guest boots from: through the guest if the VM runs, which\nthen runs on until it is booted anew, else on its image. The next boot finds it broken, says so on its\nscreen and its serial console, and panics before it has a guest agent: libvirt says crashed (panicked),\nand a reset does not help. The lab must have been built with --boot-disk. What ends it is an older state of\nthe disk; lab do VM set-generation N tells states apart. Overlays have only the uppermost image overwritten."},
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
	{lab.FaultLosePool, "Take a host's storage pool away",
		"lose-pool takes the folder of the images away under libvirt, which looks, and finds the pool inactive.\nGuests run on with what they have open. It stays so over a power cycle, until lab restore-pool."},
	{lab.FaultRestorePool, "Give a host's storage pool back", "restore-pool ends what lab lose-pool began, and starts the pool."},
	{lab.FaultFillPool, "Leave no room in a host's storage pool",
		"fill-pool writes to the file system that the host's images are on until nothing is left; with shared\nstorage that is the pool of all hosts. The lab must have been built with --small-pool. A guest that\nthen writes to a new block (lab do VM write) is paused: libvirt says paused (I/O error), and virsh\ndomblkerror says no space. lab empty-pool ends it; the guest goes on when it is resumed."},
	{lab.FaultEmptyPool, "Make room in a host's storage pool again", "empty-pool takes away what lab fill-pool wrote."},
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
		&cobra.Command{Use: "serve-disks", Short: "Serve the second disks of a host's guests", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error { return lab.ServeDisks(dir, host) }},
		&cobra.Command{Use: "supervise", Short: "Be the sampler of a lab", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return lab.Supervise(cmd.Context(), dir) }},
		&cobra.Command{Use: "guard", Short: "Take a lab down when its owner has ended", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return lab.Guard(cmd.Context(), dir, owner) }},
		&cobra.Command{Use: "hold", Short: "Keep a VM's virtual CPUs from running", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return lab.Hold(cmd.Context(), dir, pid) }},
	)
	return internal
}
