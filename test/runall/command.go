package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// grace is how long an interrupted stage may take to clean up: a lab of three
// hosts is taken down in seconds, a machine under load takes its time.
const grace = 2 * time.Minute

// command is a program to run, its output shown as it comes.
type command struct {
	argv []string
	env  []string // added to this process's own
	// grace overrides how long the command may take to end once interrupted.
	grace time.Duration
}

// run runs the command in a process group of its own. When ctx ends, the whole
// group is interrupted: go test ignores the signal and waits for its test
// binaries, which get it too and clean up. run returns when nothing of the
// group is left; what outlives the grace is killed.
func (c command) run(ctx context.Context) error {
	if c.grace == 0 {
		c.grace = grace
	}
	fmt.Println("+", strings.Join(append(c.env[:len(c.env):len(c.env)], c.argv...), " "))
	cmd := exec.CommandContext(ctx, c.argv[0], c.argv[1:]...)
	cmd.Env = append(os.Environ(), c.env...)
	// One stream, so that what is last stays last.
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var killAt time.Time
	cmd.Cancel = func() error {
		killAt = time.Now().Add(c.grace)
		// Whatever signal came in: of SIGTERM, go and gotestsum die without waiting.
		return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT)
	}
	cmd.WaitDelay = c.grace

	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%w: `make test` installs the tools listed in deploy/tools.txt and puts them on PATH", err)
	}
	if !killAt.IsZero() {
		awaitGroup(cmd.Process.Pid, killAt)
		return fmt.Errorf("%s: interrupted: %w", c.argv[0], context.Cause(ctx))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", c.argv[0], err)
	}
	return nil
}

// awaitGroup waits until no process of the group is left, and kills what is
// still there at the given time.
func awaitGroup(pgid int, killAt time.Time) {
	for syscall.Kill(-pgid, 0) == nil {
		if time.Now().After(killAt) {
			fmt.Printf("process group %d did not end when interrupted: killing it\n", pgid)
			_ = syscall.Kill(-pgid, syscall.SIGKILL)
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}
