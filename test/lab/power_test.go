//go:build lab

package lab

import (
	"bytes"
	"context"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"holdfast/internal/config"
)

// asks runs a power command as a monitor does that has next to no environment.
func asks(t *testing.T, command []string) (code int, said, why string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Dir, cmd.Env = "/", []string{"PATH=/usr/bin:/bin", "HOME=/"}
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run() // the exit code is what counts
	require.NotNil(t, cmd.ProcessState)
	return cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()
}

func TestPowerState(t *testing.T) {
	o := options(t, "power")
	o.Hosts, o.VMs, o.Power = 1, -1, true
	l, err := Up(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Down(context.Background())) })
	f := fixture{l, t, t.Context()}

	site, err := config.Load(f.info.SiteFile)
	require.NoError(t, err)
	require.Equal(t, config.ModeRepair, site.Mode)
	require.Equal(t, f.PowerCommand("A"), site.Hosts[0].Power.Command)

	is := func(want bool, code int, said string) {
		t.Helper()
		on, err := f.PowerState("A")
		require.NoError(t, err)
		require.Equal(t, want, on)
		gotCode, gotSaid, why := asks(t, site.Hosts[0].Power.Command)
		require.Equal(t, code, gotCode, why)
		require.Equal(t, said, gotSaid)
		require.Empty(t, why)
	}
	unknown := func(command []string, want string) {
		t.Helper()
		code, said, why := asks(t, command)
		require.Equal(t, 1, code)
		require.Empty(t, said)
		require.Contains(t, why, want)
	}
	is(true, 0, "on\n")
	f.done(f.Cut(f.ctx, "A"))
	f.done(f.KillLibvirtd(f.ctx, "A"))
	is(true, 0, "on\n")
	f.done(f.PowerOff(f.ctx, "A"))
	is(false, 2, "off\n")
	f.done(f.PowerOn(f.ctx, "A"))
	is(true, 0, "on\n")

	_, err = f.PowerState("Z")
	require.ErrorContains(t, err, `no host "Z"`)
	unknown(f.PowerCommand("Z"), `no host "Z"`)
	// Wrong usage exits with 2 everywhere else, which here would be "off".
	unknown(append(f.PowerCommand("A"), "--nonsense"), "--nonsense")
	unknown(append(f.PowerCommand("A"), "more"), "accepts 1 arg")
	unknown(append(f.PowerCommand("A"), "--name", "other"), "no such lab")
	require.NoError(t, f.Down(f.ctx))
	unknown(f.PowerCommand("A"), "no such lab")
	_, err = f.PowerState("A")
	require.Error(t, err)
}
