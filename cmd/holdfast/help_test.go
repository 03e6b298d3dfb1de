package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// TestHelpOfTheRoot compares with testdata/help.txt; UPDATE=1 writes it anew.
func TestHelpOfTheRoot(t *testing.T) {
	golden := filepath.Join("testdata", "help.txt")
	out, _, code := holdfast(t, "--help")
	require.Equal(t, exitOK, code)
	if os.Getenv("UPDATE") != "" {
		require.NoError(t, os.WriteFile(golden, []byte(out), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), out, "UPDATE=1 go test ./cmd/holdfast writes it anew")
	alone, _, code := holdfast(t)
	require.Equal(t, exitOK, code)
	require.Equal(t, out, alone, "holdfast alone shows its help")
}

// commands are ours: not cobra's completion and help.
func commands(root *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{root}
	for _, c := range root.Commands() {
		if c.Name() != "completion" && c.Name() != "help" {
			all = append(all, commands(c)...)
		}
	}
	return all
}

func TestEveryCommandTeaches(t *testing.T) {
	for _, c := range commands(newRoot(&bytes.Buffer{}, &bytes.Buffer{})) {
		t.Run(c.CommandPath(), func(t *testing.T) {
			require.NotEmpty(t, c.Short)
			require.LessOrEqual(t, len(c.Short), 80)
			require.False(t, strings.HasSuffix(c.Short, "."), "Short is a heading")
			require.Greater(t, len(c.Long), len(c.Short))
			require.NotEmpty(t, c.Example)
			require.NotNil(t, c.Args, "which arguments it takes")
			require.NotNil(t, c.ValidArgsFunction, "what a shell completes")
			for line := range strings.Lines(c.Long) {
				require.LessOrEqual(t, len(strings.TrimRight(line, "\n")), 90, "fits a terminal: %s", line)
			}
			for line := range strings.Lines(c.Example) {
				require.True(t, strings.HasPrefix(line, "  "), "examples are indented: %s", line)
			}
		})
	}
}

var example = regexp.MustCompile(`(?:^|&& )\s*(?:[A-Z_]+=\S+ )?holdfast ([^&|#]*)`)

// An example that does not work is worse than none.
func TestExamplesMakeSense(t *testing.T) {
	looked := 0
	for _, c := range commands(newRoot(&bytes.Buffer{}, &bytes.Buffer{})) {
		for line := range strings.Lines(c.Example) {
			for _, m := range example.FindAllStringSubmatch(line, -1) {
				args := strings.Fields(regexp.MustCompile(`"[^"]*"`).ReplaceAllString(m[1], "quoted"))
				root := newRoot(&bytes.Buffer{}, &bytes.Buffer{})
				found, rest, err := root.Find(args)
				require.NoError(t, err, line)
				require.NoError(t, found.ParseFlags(rest), line)
				require.NotEqual(t, root, found, line)
				require.NoError(t, found.ValidateArgs(found.Flags().Args()), line)
				looked++
			}
		}
	}
	require.Greater(t, looked, 30)
}
