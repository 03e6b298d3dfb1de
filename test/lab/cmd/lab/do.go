package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/test/lab"
)

// doArgs are a VM, a task and for one of them a number.
func doArgs(cmd *cobra.Command, args []string) error {
	want := 2
	if len(args) > 1 && lab.Task(args[1]) == lab.TaskSetGeneration {
		want = 3
	}
	return cobra.ExactArgs(want)(cmd, args)
}

func doCommand(o *options) *cobra.Command {
	var particulars lab.TaskOptions
	var onHost, what string
	cmd := &cobra.Command{
		Use:   "do VM TASK [N]",
		Short: "Have a guest do something: be busy, fill its disk, fall silent, ...",
		Long: `do tells the guest of a VM to do one of these tasks. It goes by a channel of its
own, past libvirtd and the guest agent, and so works when those do not.

  cpu       keep every virtual CPU busy
  memory    hold so much memory that --percent (90) of it is in use
  disk      --rate (2000) requests of 4 KiB a second, half reads, half writes
  write     --rate (10) new blocks of 64 KiB a second: the image must find room for each
  fill      write blocks until --percent (97) of the disk were written once
  empty     end write and fill, and discard what they wrote
  net       send --rate (150) MB/s to nobody
  mute      the guest agent gives no answer, in later boots neither; see --boots and --closed
  unmute    it answers again
  clock     set the clock --by (1m) ahead of what it says, or behind if negative
  watchdog  arm the watchdog with --timeout (2s) and do not feed it
  halt      stop all virtual CPUs for good: only a reset or a power-off ends it
  stop      end everything that lasts, or only --what
  list      say what lasts, and how far it is

  set-generation N  write generation N of its data to vda, and return when all of it
                    is there
  generation        say which generation vda holds, by all of it

Without flags each is enough for Holdfast's default rules to call it a fault. cpu,
memory, disk, write and net last until they are stopped, --for is over, or
the guest boots anew. A task that is begun again is begun anew.

It returns when the guest has taken the task on, and prints the time right before
it was told.`,
		Example: `  lab do VM1 cpu --for 10m
  lab do VM1 clock --by=-30s
  lab do VM1 write --disk vdb --rate 20
  lab do VM1 mute --boots 1 --closed && lab virsh A reset VM1
  lab do VM1 set-generation 2`,
		Args: usage(doArgs),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 3 {
				generation, err := strconv.ParseUint(args[2], 10, 64)
				if err != nil {
					return usageError{err}
				}
				particulars.Generation = generation
			}
			l, err := o.open()
			if err != nil {
				return err
			}
			particulars.What = lab.Task(what)
			done, err := l.Do(cmd.Context(), args[0], lab.Task(args[1]), particulars, onHost)
			if err != nil {
				return err
			}
			return o.show(cmd.OutOrStdout(), done, func(w io.Writer) {
				fmt.Fprintln(w, "TASK\tVM\tHOST\tAT\tSAID\tRUNNING")
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", done.Task, done.VM, done.Host, done.At.Format(time.RFC3339Nano), done.Said, strings.Join(done.Running, "; "))
			})
		},
	}
	doFlags(cmd, &particulars, &what)
	cmd.Flags().StringVar(&onHost, "host", "", "which copy of the VM, while a migration makes two of it")
	outputFlag(cmd, o, "json")
	return cmd
}

// doFlags are the particulars of the tasks.
func doFlags(cmd *cobra.Command, particulars *lab.TaskOptions, what *string) {
	flags := cmd.Flags()
	flags.DurationVar(&particulars.For, "for", 0, "how long it lasts; 0: until it is stopped")
	flags.StringVar(&particulars.Disk, "disk", "", "disk, write, fill, empty: which disk (default vda)")
	flags.IntVar(&particulars.Rate, "rate", 0, "disk: requests/s; write: blocks/s; net: MB/s")
	flags.IntVar(&particulars.Percent, "percent", 0, "memory, fill: how much")
	flags.DurationVar(&particulars.By, "by", 0, "clock: how far off, such as 1h or -30s")
	flags.DurationVar(&particulars.Timeout, "timeout", 0, "watchdog: 2s, 4s and so on to 30s")
	flags.IntVar(&particulars.Boots, "boots", 0, "mute: in so many boots to come; 0: in all")
	flags.BoolVar(&particulars.Closed, "closed", false, "mute: the agent does not even open its port, as if it had not started")
	flags.StringVar(what, "what", "", "stop: end only this task")
}
