package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/test/lab/internal/netns"
	"holdfast/test/lab/internal/procfs"
)

// Down removes the lab: its processes, namespaces, links, mounts and its folder.
func (l *Lab) Down(ctx context.Context) error {
	unlock, err := lock(ctx, l.info.Dir)
	if err != nil {
		return err
	}
	defer unlock()
	return l.remove(ctx)
}

// Down removes the lab of a name, or what is left of it, whether or not
// anything was written down about it, and returns the name. That there is
// nothing is no error.
func Down(ctx context.Context, dir, name string) (string, error) {
	l, err := locate(dir, name)
	if err != nil {
		return name, err
	}
	return l.info.Name, l.Down(ctx)
}

// remove does the work of Down; the caller holds the lock. It goes by names
// alone, so that it works on any remains.
func (l *Lab) remove(ctx context.Context) error {
	if err := l.stopHelpers(ctx); err != nil {
		return err
	}
	// Once more after each time: what a killed lab up had begun may still have come.
	for {
		names, err := netns.List(namespacePrefix(l.id))
		if err != nil {
			return err
		}
		if len(names) == 0 {
			break
		}
		if err := removeNamespaces(ctx, names); err != nil {
			return err
		}
	}
	// Last, since it bears the lab's folder: see Orphans.
	if err := removeLink(ctx, uplink(l.id)); err != nil {
		return err
	}
	// A helper that was between fork and exec was overlooked. Without the folder
	// none can begin, so that this time is the last.
	if err := detachBelow(l.info.Dir); err != nil {
		return err
	}
	_ = os.RemoveAll(l.info.Dir)
	if err := l.stopHelpers(ctx); err != nil {
		return err
	}
	return errors.Join(detachBelow(l.info.Dir), os.RemoveAll(l.info.Dir))
}

// Orphans are the folders of labs on this machine, of any checkout, that run
// although their folder was deleted. Down removes them all the same.
func Orphans() ([]string, error) {
	files, err := filepath.Glob(aliasFile("hf*"))
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, file := range files {
		alias, err := os.ReadFile(file)
		dir := strings.TrimSpace(string(alias))
		if err != nil || !filepath.IsAbs(dir) || uplink(identity(dir)) != filepath.Base(filepath.Dir(file)) {
			continue // gone meanwhile, or no lab's
		}
		if _, err := os.Stat(filepath.Join(dir, "lab.json")); errors.Is(err, fs.ErrNotExist) {
			dirs = append(dirs, dir)
		}
	}
	return dirs, nil
}

// removeNamespaces removes network namespaces with all that runs in them.
func removeNamespaces(ctx context.Context, names []string) error {
	var inodes []uint64
	for _, name := range names {
		inode, err := netns.Inode(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		inodes = append(inodes, inode)
	}
	if err := killAll(ctx, inodes...); err != nil {
		return err
	}
	for _, name := range names {
		if err := netns.Delete(name); err != nil {
			return err
		}
	}
	return nil
}

// removeLink removes an interface of the root namespace, if it is there.
func removeLink(ctx context.Context, name string) error {
	if _, err := os.Stat("/sys/class/net/" + name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	err := netns.IP(ctx, "", "link del "+name)
	if _, gone := os.Stat("/sys/class/net/" + name); errors.Is(gone, fs.ErrNotExist) {
		return nil // with its other end, which the kernel removes in its own time
	}
	return err
}

// stopHelpers ends the sampler, and what a killed lab command left at work.
func (l *Lab) stopHelpers(ctx context.Context) error { return endAll(ctx, l.helpers) }

// endAll asks processes to end until none is found any more. Those that do not
// are killed.
func endAll(ctx context.Context, find func() ([]int, error)) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	signal := unix.SIGTERM
	asked := time.Now()
	for {
		pids, err := find()
		if err != nil || len(pids) == 0 {
			return err
		}
		if time.Since(asked) > 2*time.Second {
			signal = unix.SIGKILL
		}
		for _, pid := range pids {
			_ = unix.Kill(pid, signal)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("process %d, which works for the lab, does not end: %w", pids[0], ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// helperPrograms are what lab runs outside of the hosts for longer than a moment.
var helperPrograms = []string{"ip", "nsenter", "qemu-img", "setsid", "unshare"}

// helpers finds the lab's sampler, guard, holders and relays, and those helper
// programs that name its folder or its namespaces.
func (l *Lab) helpers() ([]int, error) {
	var found []int
	for _, own := range []func() ([]int, error){
		l.supervisors, l.guards, func() ([]int, error) { return l.holders("") }, func() ([]int, error) { return l.relays("", "") },
	} {
		pids, err := own()
		if err != nil {
			return nil, err
		}
		found = append(found, pids...)
	}
	pids, err := procfs.Default.PIDs()
	if err != nil {
		return nil, err
	}
	for _, pid := range pids {
		args, err := procfs.Default.Args(pid)
		if err != nil || len(args) == 0 || !slices.Contains(helperPrograms, filepath.Base(args[0])) {
			continue
		}
		if slices.ContainsFunc(args[1:], func(arg string) bool {
			return arg == l.info.Dir || strings.HasPrefix(arg, l.info.Dir+"/") || strings.Contains(arg, namespacePrefix(l.id))
		}) {
			found = append(found, pid)
		}
	}
	return found, nil
}
