package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/test/lab"
)

func vantageCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "vantage",
		Short: "Places beside this one from which the hosts can be reached, or not",
		Long: `A vantage is a network namespace on the lab's switch, with an address of its own in
the lab's subnet: a place for a monitor that loses its way to some hosts while a
worker elsewhere still has one. Run a program there with ip netns exec NETNS; lab
vantage add and list print the NETNS. lab down removes all of it.`,
		Example: `  lab vantage add mon1
  lab vantage forward mon1 127.0.0.1:7233   # to a Temporal server that listens here
  ip netns exec $(lab vantage list | jq -r '.[0].netns') bin/holdfast monitor site.yaml
  lab vantage cut mon1 A`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		vantageAddCommand(o), vantageListCommand(o),
		vantageCutCommand(o, "cut", "Cut a vantage off from hosts",
			`cut drops every packet between the vantage and the hosts, or all hosts if none are
named. Nobody is told: a connection attempt waits until its own time is over. Others
reach those hosts as before. It prints the time right before it took effect.`, (*lab.Lab).CutVantage),
		vantageCutCommand(o, "heal", "Let a vantage reach hosts again",
			`heal ends what lab vantage cut began, for the hosts, or for all if none are named. It
prints the time right before it took effect.`, (*lab.Lab).HealVantage),
		vantageForwardCommand(o), vantageUnforwardCommand(o), vantageRemoveCommand(o),
	)
	return cmd
}

func vantageAddCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Make a vantage",
		Long: `add makes a vantage from which every host can be reached, and prints its network
namespace and its address.`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := o.open()
			if err != nil {
				return err
			}
			v, err := l.Vantage(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return o.show(cmd.OutOrStdout(), v, func(w io.Writer) { vantageTable(w, v) })
		},
	}
	outputFlag(cmd, o, "json")
	return cmd
}

func vantageListCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show the vantages of a lab",
		Long:  "list shows each vantage, which hosts it is cut off from, and what is forwarded into it.",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := o.open()
			if err != nil {
				return err
			}
			vantages, err := l.Vantages()
			if err != nil {
				return err
			}
			return o.show(cmd.OutOrStdout(), vantages, func(w io.Writer) { vantageTable(w, vantages...) })
		},
	}
	outputFlag(cmd, o, "json")
	return cmd
}

func vantageTable(w io.Writer, vantages ...lab.Vantage) {
	fmt.Fprintln(w, "NAME\tNETNS\tADDRESS\tCUT OFF FROM\tFORWARDS")
	for _, v := range vantages {
		var forwards []string
		for target, inside := range v.Forwards {
			forwards = append(forwards, inside+" to "+target)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", v.Name, v.NetNS, v.Address, strings.Join(v.Cut, " "), strings.Join(forwards, ", "))
	}
}

type changeCut = func(l *lab.Lab, ctx context.Context, vantage string, hosts ...string) (time.Time, error)

func vantageCutCommand(o *options, name, short, long string, do changeCut) *cobra.Command {
	return &cobra.Command{
		Use:   name + " NAME [HOST...]",
		Short: short,
		Long:  long,
		Args:  usage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := o.open()
			if err != nil {
				return err
			}
			at, err := do(l, cmd.Context(), args[0], args[1:]...)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), at.Format(time.RFC3339Nano))
			return err
		},
	}
}

func vantageForwardCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "forward NAME HOST:PORT",
		Short: "Let a vantage reach something that listens here",
		Long: `forward makes an address of the root namespace reachable from inside the vantage,
such as that of a Temporal server on 127.0.0.1, and prints the address to use there:
the same port on 127.0.0.1, unless that is taken.`,
		Args: usage(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := o.open()
			if err != nil {
				return err
			}
			inside, err := l.Forward(cmd.Context(), args[0], args[1])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), inside)
			return err
		},
	}
}

func vantageUnforwardCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "unforward NAME HOST:PORT",
		Short: "End what lab vantage forward began",
		Long:  "unforward ends the connections that go that way, and takes no more.",
		Args:  usage(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := o.open()
			if err != nil {
				return err
			}
			return l.Unforward(cmd.Context(), args[0], args[1])
		},
	}
}

func vantageRemoveCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove a vantage",
		Long:  "remove ends what runs in the vantage and removes the vantage.",
		Args:  usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := o.open()
			if err != nil {
				return err
			}
			return l.RemoveVantage(cmd.Context(), args[0])
		},
	}
}

// relayCommand is one of those that lab runs of itself; --dir is internal's.
func relayCommand() *cobra.Command {
	var vantage, namespace, target string
	cmd := &cobra.Command{
		Use: "relay", Short: "Carry connections out of a vantage", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := cmd.Flags().GetString("dir")
			if err != nil {
				return err
			}
			return lab.Relay(cmd.Context(), dir, vantage, namespace, target)
		},
	}
	cmd.Flags().StringVar(&vantage, "vantage", "", "the vantage")
	cmd.Flags().StringVar(&namespace, "netns", "", "its network namespace")
	cmd.Flags().StringVar(&target, "to", "", "host:port to carry to")
	return cmd
}
