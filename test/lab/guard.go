package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// guardArgs is how the guard of a lab is called, up to the owner, and how it is found again.
func guardArgs(dir string) []string { return []string{"internal", "guard", "--dir", dir} }

// startGuard starts the process that takes the lab down when this one has ended.
func (l *Lab) startGuard(ctx context.Context) error {
	args := append([]string{"--fork", l.info.Binary}, guardArgs(l.info.Dir)...)
	cmd := exec.CommandContext(ctx, "setsid", append(args, "--owner", strconv.Itoa(os.Getpid()))...)
	cmd.Dir = "/"
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("start the lab's guard: %w", err)
	}
	return nil
}

// Guard takes the lab in dir down once the process owner has ended, however
// that came about, and returns when the lab is gone. Only the lab command calls
// it: a test that is killed, or runs into its time limit, cannot clean up itself.
func Guard(ctx context.Context, dir string, owner int) error {
	for {
		if _, err := os.Stat(filepath.Join(dir, "lab.json")); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		ended, err := endsWithin(owner, 500*time.Millisecond)
		if err != nil {
			return err
		}
		if ended {
			_, err := Down(ctx, filepath.Dir(dir), filepath.Base(dir))
			return err
		}
	}
}

// endsWithin reports whether a process has ended, waiting for it so long.
func endsWithin(pid int, wait time.Duration) (bool, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("watch process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(wait.Milliseconds()))
	if errors.Is(err, unix.EINTR) {
		return false, nil
	}
	return n > 0, err
}
