package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestMain also plays the processes that the tests below run: by the role in
// the environment, with a file to make as soon as it can be interrupted.
func TestMain(m *testing.M) {
	ready := os.Getenv("RUNALL_TEST_READY")
	switch os.Getenv("RUNALL_TEST_ROLE") {
	case "":
		os.Exit(m.Run())
	case "parent": // dies of the signal, as go does when its test binary does not
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), "RUNALL_TEST_ROLE=child")
		must(child.Run())
	case "child": // takes its time to clean up
		interrupt := make(chan os.Signal, 1)
		signal.Notify(interrupt, os.Interrupt)
		must(os.WriteFile(ready, nil, 0o600))
		<-interrupt
		<-time.After(300 * time.Millisecond)
		must(os.WriteFile(ready+".cleaned", nil, 0o600))
	case "deaf":
		signal.Ignore(os.Interrupt)
		must(os.WriteFile(ready, nil, 0o600))
		<-time.After(time.Hour)
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func TestCommandSaysHowItEnded(t *testing.T) {
	ctx := t.Context()
	require.NoError(t, command{argv: []string{"true"}}.run(ctx))
	require.ErrorContains(t, command{argv: []string{"false"}}.run(ctx), "false: exit status 1")
	require.ErrorContains(t, command{argv: []string{"no-such-tool"}}.run(ctx), "deploy/tools.txt")
	require.NoError(t, command{argv: []string{"sh", "-c", `test "$A" = b`}, env: []string{"A=b"}}.run(ctx))
}

// The process that is interrupted may be gone before those that it started.
func TestCommandWaitsForItsGroup(t *testing.T) {
	ready := interrupt(t, "parent", time.Minute)
	require.FileExists(t, ready+".cleaned")
}

func TestCommandKillsWhatDoesNotEnd(t *testing.T) {
	interrupt(t, "deaf", 100*time.Millisecond)
}

// interrupt runs this test binary in a role and interrupts it when it is
// ready. It returns the name of the file that said so.
func interrupt(t *testing.T, role string, grace time.Duration) string {
	t.Helper()
	ready := filepath.Join(t.TempDir(), "ready")
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- command{
			argv:  []string{os.Args[0]},
			env:   []string{"RUNALL_TEST_ROLE=" + role, "RUNALL_TEST_READY=" + ready},
			grace: grace,
		}.run(ctx)
	}()
	require.Eventually(t, func() bool {
		_, err := os.Stat(ready)
		return err == nil
	}, 30*time.Second, 10*time.Millisecond)
	cancel(errors.New("enough"))
	require.ErrorContains(t, <-ended, "interrupted: enough")
	return ready
}
