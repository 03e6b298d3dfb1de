//go:build lab

package lab

import (
	"context"
	"errors"
	"os/exec"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGuardTakesTheLabDownWhenItsOwnerIsKilled(t *testing.T) {
	o := options(t, "guarded")
	o.VMs, o.Guard = -1, false
	l, err := Up(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Down(context.Background())) })
	owner := exec.Command("tail", "-f", "/dev/null")
	require.NoError(t, owner.Start())
	guard := exec.Command(command, "internal", "guard", "--dir", l.Info().Dir, "--owner", strconv.Itoa(owner.Process.Pid))
	require.NoError(t, guard.Start())
	_, err = Open(o.Dir, o.Name)
	require.NoError(t, err, "the owner lives")
	require.NoError(t, owner.Process.Kill())
	_ = owner.Wait() // was killed
	require.NoError(t, guard.Wait())
	_, err = Open(o.Dir, o.Name)
	require.True(t, errors.Is(err, ErrNotFound), "%v", err)
}
