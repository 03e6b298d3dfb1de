package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"holdfast/test/lab/internal/netns"
)

// PowerState says whether a host has power, as a BMC would: whether anything
// runs on it, whatever its cable and its libvirtd do. An error means that it is
// not known. It waits for no lock and asks nobody, so it answers at once.
func (l *Lab) PowerState(host string) (on bool, err error) {
	h, err := l.host(host)
	if err != nil {
		return false, err
	}
	// Whoever may not look at other people's processes sees none of them, and whoever
	// has no view of the namespaces finds none: neither is a host without power.
	if os.Geteuid() != 0 {
		return false, errors.New("only root sees a host's processes: run it with sudo")
	}
	if _, err := netns.Inode(switchNetNS(l.id)); err != nil {
		return false, fmt.Errorf("the switch of lab %s cannot be seen from here: %w; if the lab does not run, `lab down --name %s` and `lab up --name %s`",
			l.info.Name, err, l.info.Name, l.info.Name)
	}
	if _, err := os.Stat(l.file("lab.json")); errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("%w: %s was taken down", ErrNotFound, l.info.Name)
	}
	processes, err := l.hostProcesses(h)
	// Not the first process alone: while anything is left, a guest may be.
	return len(processes.all) > 0, err
}

// PowerCommand is a program with its arguments that asks for a host's power: it
// prints on or off and exits with 0 for on, 2 for off, anything else for
// unknown, as the ClusterLabs fence agents do for --action=status. It works from
// every folder and with next to no environment.
func (l *Lab) PowerCommand(host string) []string {
	// A Go program that dies of its own fault exits with 2, which would be "off", and
	// takes a guest's second copy for safe; with this it dies of a signal instead.
	return []string{"/usr/bin/env", "GOTRACEBACK=crash", l.info.Binary, "power-state", host, "--name", l.info.Name, "--dir", l.parent()}
}

// powerEntry is what a host's entry in the site file says about its power.
func (l *Lab) powerEntry(host string) (string, error) {
	command, err := json.Marshal(l.PowerCommand(host)) // which is YAML, too
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("    power: {command: %s}\n", command), nil
}
