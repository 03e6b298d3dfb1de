//go:build unix

package vantage

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
)

// inGroup gives a command a process group of its own, which is killed as a whole
// when the command's context ends. killRest is for after Run: it kills what the
// command left behind. The kernel does not give away the number of a group that
// has members, and goes round all others before it gives away one that had some.
func inGroup(cmd *exec.Cmd) (killRest func()) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		if errors.Is(err, syscall.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	}
	return func() {
		if cmd.Process != nil {
			_ = cmd.Cancel() // mostly there is nothing left
		}
	}
}
