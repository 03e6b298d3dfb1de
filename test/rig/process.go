package rig

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Process is a program that a test started. It dies with the test, also when
// the test is killed.
type Process struct {
	Name string
	cmd  *exec.Cmd
	done chan struct{}
	log  *os.File
}

// Run starts a program in the background. Its output goes to a file, whose end
// is shown if the test fails.
func Run(t testing.TB, name string, env []string, binary string, args ...string) *Process {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), name+".log"))
	require.NoError(t, err)
	p := &Process{Name: name, cmd: exec.Command(binary, args...), done: make(chan struct{}), log: log}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the child dies with this thread, so it must live as long
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // how it ended is asked through Wait and ExitCode
			close(p.done)
		}
	}()
	require.NoError(t, <-started, "start %s", name)
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("output of %s:\n%s", name, p.tail())
		}
		_ = log.Close()
	})
	return p
}

// Kill ends the process with SIGKILL and waits until it is gone.
func (p *Process) Kill() { p.Signal(syscall.SIGKILL); <-p.done }

// Signal sends a signal to a process that may have ended already.
func (p *Process) Signal(sig syscall.Signal) { _ = p.cmd.Process.Signal(sig) }

// Wait waits until the process has ended by itself, and returns how.
func (p *Process) Wait(t testing.TB) *os.ProcessState {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(Deadline):
		t.Fatalf("%s did not end within %s; its output:\n%s", p.Name, Deadline, p.tail())
	}
	return p.cmd.ProcessState
}

// tail is the end of what the process has printed.
func (p *Process) tail() []byte {
	text, err := os.ReadFile(p.log.Name())
	if err != nil {
		return []byte(err.Error())
	}
	return text[max(0, len(text)-4000):]
}

// Command runs a program to its end and returns what it printed on stdout and its exit code.
func Command(t testing.TB, env []string, binary string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Deadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append(os.Environ(), env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if cmd.ProcessState == nil {
		require.NoError(t, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// Build builds a command of the project and returns the path of the binary.
func Build(dir, pkg string, tags string) (string, error) {
	binary := filepath.Join(dir, filepath.Base(pkg))
	cmd := exec.Command("go", "build", "-tags", tags, "-o", binary, pkg)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", pkg, err, out)
	}
	return binary, nil
}

// Once remembers the result of something costly that several tests need.
type Once[T any] struct {
	once  sync.Once
	value T
	err   error
}

// Get makes the value the first time it is asked for.
func (o *Once[T]) Get(t testing.TB, build func() (T, error)) T {
	t.Helper()
	o.once.Do(func() { o.value, o.err = build() })
	require.NoError(t, o.err)
	return o.value
}
