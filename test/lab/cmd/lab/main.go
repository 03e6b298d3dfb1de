// Command lab builds real libvirt hosts and guests on one machine, breaks them
// on purpose and watches them from outside.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"holdfast/test/lab"
)

// Exit codes, besides those that virsh gives through `lab virsh`.
const (
	exitFailed   = 1
	exitUsage    = 2
	exitNotFound = 3
)

const long = `lab builds real libvirt hosts and guests on this machine, breaks them on purpose,
and watches from outside of libvirt what becomes of them. It needs root.

A host is a set of Linux namespaces with its own virtlogd, libvirtd, /run,
/etc/libvirt and address. A guest is a QEMU process that a host's libvirtd
started; in it runs a witness, which writes a growing number to its disk and
says on its console what is safely there. A sampler reads /proc every 50 ms and
remembers each QEMU process, and when two of them held the same guest.

  lab up                  hosts A and B with guests VM1 and VM2; prints what it made
  lab status              what runs where, what was acknowledged, what is on disk
  lab kill VM1            break something (see the commands below)
  lab do VM1 cpu          have a guest do something: be busy, fill its disk, fall silent
  lab virsh A list --all  ask a host's libvirtd
  lab down                remove all of it

Labs of different --name live side by side. Without --name a command means the
checkout's own default lab.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no such lab; lab virsh exits with
virsh's own, lab power-state as fence agents do.`

// options are the flags that every command has.
type options struct {
	name, dir, output string
}

// usageError is what the caller typed wrong.
type usageError struct{ error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	err := command().ExecuteContext(ctx)
	stop()
	os.Exit(exitCode(err))
}

// exitCode says what went wrong, unless virsh has, and how to exit.
func exitCode(err error) int {
	var exit *exec.ExitError
	var wrong usageError
	var own exitError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errPassed) && errors.As(err, &exit):
		return exit.ExitCode()
	case errors.As(err, &own):
		if own.reason != nil {
			fmt.Fprintln(os.Stderr, "lab:", err)
		}
		return own.code
	}
	fmt.Fprintln(os.Stderr, "lab:", err)
	switch {
	case errors.As(err, &wrong):
		return exitUsage
	case errors.Is(err, lab.ErrNotFound):
		return exitNotFound
	}
	return exitFailed
}

func command() *cobra.Command {
	var o options
	root := &cobra.Command{
		Use:           "lab",
		Short:         "Real libvirt hosts and guests on one machine, to break on purpose",
		Long:          long,
		SilenceUsage:  true,
		SilenceErrors: true,
		// Without this cobra takes a mistyped command for an argument.
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	flags := root.PersistentFlags()
	flags.StringVar(&o.name, "name", "", "name of the lab (default: the checkout's folder with -default after it)")
	flags.StringVar(&o.dir, "dir", "", "folder that labs are in (default: build/lab of the checkout)")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	add := func(id, title string, commands ...*cobra.Command) {
		root.AddGroup(&cobra.Group{ID: id, Title: title})
		for _, c := range commands {
			c.GroupID = id
		}
		root.AddCommand(commands...)
	}
	add("labs", "Build and remove:", upCommand(&o), downCommand(&o), listCommand(&o))
	add("watch", "Look:", statusCommand(&o), eventsCommand(&o), virshCommand(&o), powerStateCommand(&o))
	add("vm", "Break a VM:", append(faultCommands(&o, lab.FaultKind.OnVM), doCommand(&o))...)
	add("vantage", "Look from elsewhere:", vantageCommand(&o))
	add("host", "Break a host:", faultCommands(&o, func(k lab.FaultKind) bool { return !k.OnVM() })...)
	internal := internalCommand()
	internal.AddCommand(relayCommand())
	root.AddCommand(internal)
	return root
}

// usage makes an argument check fail with exit code 2 and a hint.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
		}
		return nil
	}
}

// outputFlag gives a command -o, with what it prints by default.
func outputFlag(cmd *cobra.Command, o *options, standard string) {
	cmd.Flags().StringP("output", "o", standard, "what to print: json or table")
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.output, _ = cmd.Flags().GetString("output")
		if o.output != "json" && o.output != "table" {
			return usageError{fmt.Errorf("--output %q: it is json or table", o.output)}
		}
		return run(cmd, args)
	}
}

// show prints a value as JSON, or calls table to print it for people.
func (o *options) show(w io.Writer, v any, table func(w io.Writer)) error {
	if o.output == "table" {
		columns := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		table(columns)
		return columns.Flush()
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

func (o *options) open() (*lab.Lab, error) { return lab.Open(o.dir, o.name) }
