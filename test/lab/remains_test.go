//go:build lab

package lab

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A lab up that is killed at any point leaves something that lab down removes.
func TestDownAfterKilledUp(t *testing.T) {
	for _, point := range []string{"network", "host A", "started"} {
		t.Run(point, func(t *testing.T) {
			base := t.TempDir()
			up := exec.Command(command, "up", "--name", "killed", "--dir", base, "--small-pool", "--flaky")
			stderr, err := up.StderrPipe()
			require.NoError(t, err)
			require.NoError(t, up.Start())
			lines := bufio.NewScanner(stderr)
			reached := false
			for !reached && lines.Scan() {
				t.Log(lines.Text())
				reached = strings.Contains(lines.Text(), point)
			}
			_ = up.Process.Kill()
			_ = up.Wait()
			require.True(t, reached)
			out, err := exec.Command(command, "down", "--name", "killed", "--dir", base).CombinedOutput()
			require.NoError(t, err, string(out))
			dir, err := labDir(base, "killed")
			require.NoError(t, err)
			nothingLeft(t, dir, nil)
		})
	}
}

func TestDownWithoutTheFolder(t *testing.T) {
	o := options(t, "lost")
	o.VMs = -1
	l, err := Up(t.Context(), o)
	require.NoError(t, err)
	inodes := fixture{l, t, t.Context()}.inodes()
	require.NoError(t, os.RemoveAll(l.Info().Dir))
	orphans, err := Orphans()
	require.NoError(t, err)
	require.Contains(t, orphans, l.Info().Dir)
	name, err := Down(t.Context(), o.Dir, "lost")
	require.NoError(t, err)
	require.Equal(t, "lost", name)
	nothingLeft(t, l.Info().Dir, inodes)
}

func TestInterruptedUpCleansUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o := options(t, "interrupted")
	o.Progress = func(line string) {
		if strings.Contains(line, "host") {
			cancel()
		}
	}
	_, err := Up(ctx, o)
	require.ErrorIs(t, err, context.Canceled)
	dir, err := labDir(o.Dir, "interrupted")
	require.NoError(t, err)
	nothingLeft(t, dir, nil)
}
