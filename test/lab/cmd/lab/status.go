package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/test/lab"
)

func statusCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what runs where, as seen from outside of libvirt",
		Long: `status reads /proc, the guests' consoles and their disk images; it asks no libvirtd.

For a host: whether it has power, whether its cable is cut, and whether its
libvirtd is alive, stopped or dead.

For a guest: on which hosts a QEMU process holds it now, the highest number that
its witness acknowledged (acked) and the number on its disk (disk), how many
QEMU processes for it ever started, how many boots acknowledged something, and
whether two copies of it were ever seen at once. acked above disk means that an
acknowledged write was lost.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := o.open()
			if err != nil {
				return err
			}
			status, err := l.Status(cmd.Context())
			if err != nil {
				return err
			}
			return o.show(cmd.OutOrStdout(), status, func(w io.Writer) { statusTable(w, status) })
		},
	}
	outputFlag(cmd, o, "table")
	return cmd
}

func statusTable(w io.Writer, status lab.Status) {
	fmt.Fprintln(w, "HOST\tPOWER\tLINK\tLIBVIRTD\tURI")
	for _, h := range status.Hosts {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", h.Name, h.Power, h.Link, h.Libvirtd, h.URI)
	}
	fmt.Fprintln(w)
	fmt.Fprintln(w, "VM\tRUNS ON\tACKED\tDISK\tSTARTS\tBOOTS\tTWO COPIES")
	for _, v := range status.VMs {
		var on []string
		for _, c := range v.Copies {
			name := c.Host
			if c.Stopped {
				name += " (stopped)"
			}
			if c.Held {
				name += " (held)"
			}
			if c.Incoming {
				name += " (migrated in)"
			}
			on = append(on, name)
		}
		if len(on) == 0 {
			on = []string{"-"}
		}
		var disks []string
		for host, n := range v.OnDisk {
			disks = append(disks, fmt.Sprintf("%d (%s)", n, host))
		}
		slices.Sort(disks)
		copies := "never"
		if v.TwoCopies {
			copies = "SEEN"
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%d\t%d\t%s\n", v.Name, strings.Join(on, ", "), v.Acked, strings.Join(disks, ", "), v.Starts, len(v.Boots), copies)
	}
	fmt.Fprintln(w)
	if status.Sampler.Alive {
		fmt.Fprintf(w, "sampler alive, longest time between two looks %.0f ms\n", status.Sampler.LongestGapMS)
	} else {
		fmt.Fprintf(w, "sampler DEAD since about %s: starts and copies after that were not seen; lab down and lab up begin anew\n", status.Sampler.At.Format(time.RFC3339))
	}
	for _, v := range status.VMs {
		for _, e := range v.Overlaps {
			fmt.Fprintf(w, "%s %s %s on %s (migration: %t)\n", e.At.Format(time.RFC3339Nano), v.Name, e.Event, strings.Join(e.Hosts, " and "), e.Migration)
		}
	}
}

func eventsCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show every start and end of a QEMU process, and every fault injected",
		Long: `events prints the sampler's log in order of time: QEMU processes that started
(to 10 ms) and ended, the first acknowledgement of each boot, times when two
processes held one guest, and the faults that lab injected.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := o.open()
			if err != nil {
				return err
			}
			events, err := l.Events(cmd.Context())
			if err != nil {
				return err
			}
			return o.show(cmd.OutOrStdout(), events, func(w io.Writer) {
				fmt.Fprintln(w, "AT\tEVENT\tVM\tHOST\tPID\tDETAIL")
				for _, e := range events {
					detail := strings.TrimSpace(strings.Join([]string{e.Fault, strings.Join(e.Hosts, " and "), e.BootID, e.Detail}, " "))
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\n", e.At.UTC().Format("2006-01-02T15:04:05.000Z"), e.Event, e.VM, e.Host, e.PID, detail)
				}
			})
		},
	}
	outputFlag(cmd, o, "table")
	return cmd
}
