package main

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Exit codes of power-state, which are those of the ClusterLabs fence agents.
const (
	powerUnknown = 1
	powerOff     = 2
)

// exitError ends the command with an exit code of its own. Without a reason
// nothing went wrong, and nothing is said.
type exitError struct {
	code   int
	reason error
}

func (e exitError) Error() string {
	if e.reason == nil {
		return ""
	}
	return e.reason.Error()
}

func powerStateCommand(o *options) *cobra.Command {
	// Whatever goes wrong here must not look like "off", which wrong usage does elsewhere.
	unknown := func(err error) error { return exitError{powerUnknown, fmt.Errorf("power unknown: %w", err)} }
	exactlyOne := usage(cobra.ExactArgs(1))
	cmd := &cobra.Command{
		Use:   "power-state HOST",
		Short: "Say whether a host has power, as a fence agent does",
		Long: `power-state prints on or off, and exits with 0 if the host has power, with 2 if it
has none, and with 1 if that is not known; why is on stderr then. It is what the
ClusterLabs fence agents do for --action=status, so that a site file can have it
as a host's power command; lab up --power writes such a site file.

A host has power while anything runs on it, whatever its cable and its libvirtd
do.`,
		Example: `  lab power-state A
  lab power-off A; lab power-state A   # off, exit code 2`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := exactlyOne(cmd, args); err != nil {
				return unknown(err)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			debug.SetTraceback("crash") // die of a signal: a panic would exit with 2
			l, err := o.open()
			if err != nil {
				return unknown(err)
			}
			on, err := l.PowerState(args[0])
			if err != nil {
				return unknown(err)
			}
			if !on {
				fmt.Fprintln(cmd.OutOrStdout(), "off")
				return exitError{code: powerOff}
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "on")
			return err
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return unknown(err) })
	return cmd
}
