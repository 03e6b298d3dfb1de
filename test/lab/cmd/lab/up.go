package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"holdfast/test/lab"
)

func upCommand(o *options) *cobra.Command {
	var up lab.Options
	var storage string
	var vms int
	var wait bool
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Build a lab: hosts, and guests that run",
		Long: `up starts hosts A, B, ... and guests VM1, VM2, ..., each guest defined and started
on one host: VM1 on A, VM2 on B, round and round. It returns when the guests are
started and each has acknowledged its first write, after about five seconds; the
first lab of a machine fetches a kernel package, which it does not install.

It prints what it made as JSON, with the path of a site file for the worker, and
the address at which each guest answers GET / by HTTP. If it fails or is
interrupted it removes what it made.

A guest has one disk, vda, a qcow2 image in the pool images of its host. Its guest
agent knows guest-exec (busybox is there), guest-fsfreeze and the time. Its serial
console is in /var/log/libvirt/console/VM.log of its host.`,
		Example: `  lab up
  lab up --name three --hosts 3 --vms 6 --storage local
  lab up | jq -r '.hosts[].uri'`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var mu sync.Mutex
			begun := time.Now()
			up.Progress = func(line string) {
				mu.Lock()
				defer mu.Unlock()
				fmt.Fprintf(cmd.ErrOrStderr(), "%5.1fs %s\n", time.Since(begun).Seconds(), line)
			}
			up.Name, up.Dir, up.Storage, up.NoWaitGuests = o.name, o.dir, lab.Storage(storage), !wait
			if up.VMs = vms; vms == 0 {
				up.VMs = -1
			}
			l, err := lab.Up(cmd.Context(), up)
			if err != nil {
				return err
			}
			info := l.Info()
			return o.show(cmd.OutOrStdout(), info, func(w io.Writer) {
				fmt.Fprintln(w, "HOST\tURI\tNETNS\tVMS")
				for _, host := range info.Hosts {
					var names []string
					for _, vm := range info.VMs {
						if vm.Host == host.Name {
							names = append(names, vm.Name)
						}
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", host.Name, host.URI, host.NetNS, strings.Join(names, " "))
				}
			})
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&up.Hosts, "hosts", 2, "how many hosts, 1 to 26")
	flags.IntVar(&vms, "vms", 2, "how many guests, from 0; each takes 128 MiB and about 7% of a core")
	flags.StringVar(&storage, "storage", string(lab.StorageShared), "shared: all hosts see one folder of images; local: each has its own, under the same path")
	flags.BoolVar(&up.SmallPool, "small-pool", false, fmt.Sprintf("put the images on a file system of %d MiB, in memory, that lab fill-pool may fill", lab.SmallPoolMiB))
	flags.BoolVar(&up.Flaky, "flaky", false, "give every guest a second disk, vdb, that lab break-disk can have fail")
	flags.BoolVar(&up.BootDisk, "boot-disk", false, "have every guest boot only if what its disk, vda, holds is right: see lab corrupt-disk")
	flags.BoolVar(&up.Power, "power", false, "give each host in the site file a power command, lab power-state")
	flags.BoolVar(&wait, "wait-guests", true, "wait until every guest has acknowledged a write")
	flags.BoolVar(&up.KeepFailed, "keep-failed", false, "if it fails, leave what there is to be looked at")
	outputFlag(cmd, o, "json")
	return cmd
}

func downCommand(o *options) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Remove a lab and everything that belongs to it",
		Long: `down ends the lab's processes, removes its namespaces and links, and deletes its
folder with the guests' disks. It works on whatever is left of a lab: one whose
sampler was killed, one that was half built, one whose folder was deleted.
That there is nothing to remove is no error.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			removed := []string{}
			var failed error
			if all {
				if o.name != "" {
					return usageError{errors.New("--all and --name exclude each other")}
				}
				labs, err := lab.List(o.dir)
				if err != nil {
					return err
				}
				var dirs []string
				for _, l := range labs {
					dirs = append(dirs, l.Info().Dir)
				}
				orphans, err := lab.Orphans()
				if err != nil {
					return err
				}
				for _, dir := range append(dirs, orphans...) {
					name, err := lab.Down(cmd.Context(), filepath.Dir(dir), filepath.Base(dir))
					if err != nil {
						failed = errors.Join(failed, fmt.Errorf("lab %s: %w", dir, err))
						continue
					}
					removed = append(removed, name)
				}
			} else {
				name, err := lab.Down(cmd.Context(), o.dir, o.name)
				if err != nil {
					return err
				}
				removed = append(removed, name)
			}
			return errors.Join(failed, o.show(cmd.OutOrStdout(), map[string]any{"removed": removed}, func(w io.Writer) {
				for _, name := range removed {
					fmt.Fprintln(w, "removed lab", name)
				}
			}))
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "remove every lab in --dir, and those on this machine whose folder was deleted")
	outputFlag(cmd, o, "table")
	return cmd
}

func listCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the labs of this checkout",
		Long: `list shows the labs in --dir: those that are up, and those whose lab up is at work
or failed. On stderr it names labs of this machine that run although their folder
was deleted; lab down --all removes them.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			labs, err := lab.List(o.dir)
			if err != nil {
				return err
			}
			orphans, err := lab.Orphans()
			if err != nil {
				return err
			}
			for _, dir := range orphans {
				fmt.Fprintf(cmd.ErrOrStderr(), "lab %s runs, but its folder is gone; lab down --all removes it\n", dir)
			}
			infos := []lab.Info{}
			for _, l := range labs {
				infos = append(infos, l.Info())
			}
			return o.show(cmd.OutOrStdout(), infos, func(w io.Writer) {
				fmt.Fprintln(w, "NAME\tUP\tHOSTS\tVMS\tSTORAGE\tSUBNET\tCREATED\tDIR")
				for _, i := range infos {
					fmt.Fprintf(w, "%s\t%t\t%d\t%d\t%s\t%s\t%s\t%s\n", i.Name, i.Up, len(i.Hosts), len(i.VMs), i.Storage, i.Subnet, i.Created.Format(time.RFC3339), i.Dir)
				}
			})
		},
	}
	outputFlag(cmd, o, "table")
	return cmd
}
