package main

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"holdfast/internal/contract"
	"holdfast/starter"
)

const simLong = `Break and mend things in the simulated site of holdfast dev --simulated, to see what
Holdfast does about them. On a site with real hosts these commands do nothing but
refuse.`

func (a *app) simCommand() *cobra.Command {
	return asGroup(&cobra.Command{
		Use:   "sim",
		Short: "Break and mend things in a simulated site",
		Long:  simLong,
		Example: `  holdfast sim kill VM1              # its QEMU dies: Holdfast starts it again
  holdfast sim fail-starts VM2 all   # and when that cannot work, it asks a person
  holdfast sim cut B                 # a host that may still run its VMs`,
	},
		a.simOnVM(contract.SimKill, "Kill the QEMU process of a VM",
			"Kill the QEMU process of a VM, as a crash or the OOM killer would.\nHoldfast starts the VM again."),
		a.simOnVM(contract.SimPanic, "Let the guest's kernel panic",
			"Let the guest's kernel panic while its QEMU lives on, as on_crash=preserve does.\nHoldfast removes what is left and starts the VM again."),
		a.simOnVM(contract.SimShutdown, "Shut a VM down in order, as a person would",
			"Shut a VM down in order, as a person would with virsh shutdown. That is intent:\nHoldfast leaves it stopped. holdfast recover starts it."),
		a.simOnVM(contract.SimDestroy, "Pull the plug of a VM, as a person would",
			"Pull the plug of a VM, as a person would with virsh destroy. That is intent:\nHoldfast leaves it stopped. holdfast recover starts it."),
		a.simFailStarts(),
		a.simOnHost(contract.SimPowerOff, "Cut a host's power",
			"Cut a host's power: its libvirtd and its VMs are gone at once."),
		a.simOnHost(contract.SimPowerOn, "Give a host its power back",
			"Give a host its power back. It boots, and none of its VMs runs: Holdfast starts those\nthat ran."),
		a.simOnHost(contract.SimCut, "Take a host off the network",
			"Take a host off the network. Its VMs run on and nobody can see it, so Holdfast must\nnot start them elsewhere."),
		a.simOnHost(contract.SimHeal, "Put a host back on the network",
			"Put a host back on the network after holdfast sim cut."),
		a.simOnHost(contract.SimHangLibvirtd, "Let libvirtd on a host hang",
			"Let libvirtd on a host hang, as a SIGSTOP does: calls get no answer, VMs run on."),
		a.simOnHost(contract.SimStartLibvirtd, "Let libvirtd on a host go on",
			"Let libvirtd on a host go on after holdfast sim hang-libvirtd. It then does what it was\nasked meanwhile."),
	)
}

func (a *app) simOnVM(action, short, long string) *cobra.Command {
	return &cobra.Command{
		Use: action + " VM", Short: short, Long: long + "\n\nFor a site made by holdfast dev --simulated only.",
		Example:           fmt.Sprintf("  holdfast sim %s VM1\n  holdfast incident watch VM1 --wait 30s", action),
		Args:              wants("VM"),
		ValidArgsFunction: a.completeVMs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.simulate(cmd, contract.SimFaultInput{Action: action, Target: args[0]})
		},
	}
}

func (a *app) simOnHost(action, short, long string) *cobra.Command {
	return &cobra.Command{
		Use: action + " HOST", Short: short, Long: long + "\n\nFor a site made by holdfast dev --simulated only.",
		Example:           fmt.Sprintf("  holdfast sim %s B\n  holdfast host list", action),
		Args:              wants("HOST"),
		ValidArgsFunction: a.completeHost,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.simulate(cmd, contract.SimFaultInput{Action: action, Target: args[0]})
		},
	}
}

func (a *app) simFailStarts() *cobra.Command {
	cmd := &cobra.Command{
		Use:   contract.SimFailStarts + " VM [N]",
		Short: "Let the next starts of a VM fail",
		Long: `Let the next N starts of a VM fail, as with a disk that is not there: 1 if N is left
out, every one if it is "all", none if it is 0. After too many failures within a
time Holdfast stops and asks a person.

For a site made by holdfast dev --simulated only.`,
		Example: `  holdfast sim fail-starts VM2 all && holdfast sim kill VM2
  holdfast incident watch VM2 --wait 30s                     # exit code 3: needs a person
  holdfast sim fail-starts VM2 0 && holdfast recover VM2 --watch`,
		Args:              wants("VM", "[N]"),
		ValidArgsFunction: a.completeVMs,
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		in := contract.SimFaultInput{Action: contract.SimFailStarts, Target: args[0], Count: 1}
		switch {
		case len(args) < 2:
		case args[1] == "all":
			in.Count = -1
		default:
			n, err := strconv.Atoi(args[1])
			if err != nil {
				return usage(cmd, "N is %q: write a number, or all", args[1])
			}
			in.Count = n
		}
		return a.simulate(cmd, in)
	}
	return cmd
}

func (a *app) simulate(cmd *cobra.Command, in contract.SimFaultInput) error {
	var done contract.SimFaultResult
	err := a.ask(cmd, in.Action+" "+in.Target, func(ctx context.Context, c *starter.Client) (err error) {
		done, err = c.SimulateFault(ctx, a.site, in)
		return err
	})
	if err != nil {
		return err
	}
	return a.print(done, func(w io.Writer) { fmt.Fprintln(w, done.Done) })
}
