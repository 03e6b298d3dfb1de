// Command holdfast keeps libvirt/KVM virtual machines running: it is the worker,
// the monitor, and what an operator types. Each command has a file; what they do
// is in the packages that they call.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"holdfast/internal/config"
)

// Exit codes. They are written down in the help of the root command.
const (
	exitOK          = 0
	exitError       = 1
	exitUsage       = 2
	exitNeedsPerson = 3
	exitDiffers     = 4
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is the command line; it returns the exit code.
func run(args []string, out, errOut io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	root := newRoot(out, errOut)
	root.SetArgs(args)
	return report(errOut, root.ExecuteContext(ctx))
}

// usageError is a command line that makes no sense.
type usageError struct {
	error
	command string // whose help says how to write it
}

func usage(cmd *cobra.Command, format string, args ...any) error {
	return usageError{error: fmt.Errorf(format, args...), command: cmd.CommandPath()}
}

// needsPersonError: the incident that was followed waits for a person.
type needsPersonError struct {
	vm, id, why string
	watched     bool // there is nothing that could be tried
}

func (e needsPersonError) Error() string {
	if e.watched {
		return fmt.Sprintf("%s needs a person: %s; it closes by itself when that is over, or cancel it to have it dismissed", e.id, e.why)
	}
	return fmt.Sprintf("%s needs a person: %s; when it is mended, or to try again: `holdfast recover %s`", e.id, e.why, e.vm)
}

// report prints an error once and returns the exit code that goes with it.
func report(w io.Writer, err error) int {
	var bad usageError
	var person needsPersonError
	var site config.Errors
	var differs differsError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &bad):
		fmt.Fprintf(w, "holdfast: %s\nSee `%s --help`.\n", err, bad.command)
		return exitUsage
	case errors.As(err, &differs):
		return exitDiffers
	case errors.As(err, &person):
		fmt.Fprintf(w, "holdfast: %s\n", err)
		return exitNeedsPerson
	case errors.As(err, &site):
		reportSite(w, site)
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(w, "holdfast: interrupted")
	default:
		fmt.Fprintf(w, "holdfast: %s\n", strings.TrimSpace(err.Error()))
	}
	return exitError
}

func reportSite(w io.Writer, problems config.Errors) {
	for _, p := range problems {
		fmt.Fprintln(w, p.Error())
	}
	things := "a mistake"
	if n := len(problems); n > 1 {
		things = fmt.Sprintf("%d mistakes", n)
	}
	file := problems[0].File
	fmt.Fprintf(w, "holdfast: %s has %s: mend it and try again with `holdfast config check %s`\n", file, things, file)
}
