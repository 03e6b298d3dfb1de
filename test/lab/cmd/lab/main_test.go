package main

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// run runs a command that needs no lab, and returns its exit code.
func run(t *testing.T, args ...string) (code int, out string) {
	t.Helper()
	var both bytes.Buffer
	code = runTo(t, &both, &both, args...)
	return code, both.String()
}

func runTo(t *testing.T, stdout, stderr io.Writer, args ...string) (code int) {
	t.Helper()
	cmd := command()
	cmd.SetArgs(append(args, "--dir", t.TempDir()))
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	return exitCode(cmd.Execute())
}

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		want int
		args []string
	}{
		{0, []string{"list"}},
		{0, []string{"list", "-o", "json"}},
		{exitUsage, []string{"list", "-o", "xml"}},
		{exitUsage, []string{"list", "more"}},
		{exitUsage, []string{"nonsense"}},
		{exitUsage, []string{"kill"}},
		{exitUsage, []string{"kill", "--nonsense", "VM1"}},
		{exitUsage, []string{"do", "VM1", "set-generation"}},
		{exitUsage, []string{"do", "VM1", "set-generation", "x"}},
		{exitUsage, []string{"do", "VM1", "cpu", "2"}},
		{exitNotFound, []string{"do", "VM1", "set-generation", "2", "--name", "x"}},
		{exitUsage, []string{"down", "--all", "--name", "x"}},
		{exitNotFound, []string{"status", "--name", "x"}},
		{exitNotFound, []string{"kill", "VM1", "--name", "x"}},
		{exitNotFound, []string{"power-off", "A", "--name", "x"}},
		{exitFailed, []string{"status", "--name", "X"}},
	} {
		code, _ := run(t, c.args...)
		require.Equal(t, c.want, code, c.args)
	}
	require.Equal(t, exitFailed, exitCode(errors.New("x")))
}

func TestListOfNothing(t *testing.T) {
	var out bytes.Buffer // without what is said beside it of labs of others that were left behind
	require.Zero(t, runTo(t, &out, io.Discard, "list", "-o", "json"))
	require.JSONEq(t, "[]", out.String())
}

// Whoever asks a command for help learns more than its name.
func TestEveryCommandTeaches(t *testing.T) {
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		if c.Hidden || c.Name() == "help" || c.Name() == "completion" {
			return
		}
		require.NotEmpty(t, c.Short, c.CommandPath())
		require.Greater(t, len(c.Long), len(c.Short)+20, c.CommandPath())
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(command())
}
