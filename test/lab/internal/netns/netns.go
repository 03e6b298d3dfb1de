// Package netns makes, finds and removes named network namespaces in the way
// that `ip netns` does, so that ip(8) can work in them; unlike `ip netns` it
// leaves no mount behind when the last one is gone.
package netns

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const dir = "/run/netns"

// Path is the file that stands for a named namespace.
func Path(name string) string { return filepath.Join(dir, name) }

// Inode identifies the namespace for as long as it lives: it is the number in
// the link /proc/PID/ns/net of every process in it. fs.ErrNotExist if there is
// none, or only the empty file that one was to be mounted on.
func Inode(name string) (uint64, error) {
	var system unix.Statfs_t
	var stat unix.Stat_t
	err := unix.Statfs(Path(name), &system)
	if err == nil && system.Type != unix.NSFS_MAGIC {
		err = fs.ErrNotExist
	}
	if err == nil {
		err = unix.Stat(Path(name), &stat)
	}
	if err != nil {
		return 0, &fs.PathError{Op: "stat", Path: Path(name), Err: err}
	}
	return stat.Ino, nil
}

// Create makes an empty namespace with its loopback up.
func Create(ctx context.Context, name string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(Path(name), os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return fmt.Errorf("network namespace %s is there already, left by another run: lab down --all removes it: %w", name, err)
	}
	file.Close()

	// In a process of its own: a thread of this one that moved into the namespace
	// would have to be ended, and Go cannot end the first thread of a process.
	if out, err := exec.CommandContext(ctx, "unshare", "--net="+Path(name), "true").CombinedOutput(); err != nil {
		return errors.Join(fmt.Errorf("make network namespace %s (this needs root): %w: %s", name, err, out), Delete(name))
	}
	return IP(ctx, name, "link set lo up")
}

// Delete removes the namespace; none there is no error. What runs in it goes on
// in it until it ends.
func Delete(name string) error {
	for {
		if err := unix.Unmount(Path(name), unix.MNT_DETACH); err != nil && err != unix.EINVAL && err != unix.ENOENT {
			return fmt.Errorf("unmount %s: %w", Path(name), err)
		}
		err := os.Remove(Path(name))
		if errors.Is(err, unix.EBUSY) {
			continue // mounted on again that very moment, or more than once
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		break
	}
	// Only an empty folder that nobody mounted anything on can go.
	_ = os.Remove(dir)
	return nil
}

// List names the namespaces whose name begins with prefix.
func List(prefix string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), prefix) {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}

// IP runs ip(8) commands as one batch, in a named namespace or, with "", in
// this process's own. It stops at the first that fails.
func IP(ctx context.Context, namespace string, commands ...string) error {
	args := []string{"-batch", "-"}
	if namespace != "" {
		args = append([]string{"-n", namespace}, args...)
	}
	cmd := exec.CommandContext(ctx, "ip", args...)
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s <<< %q: %w: %s", strings.Join(args, " "), strings.Join(commands, "; "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
