//go:build lab

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/test/lab"
	"holdfast/test/rig"
)

// TestVerified has copies of a real guest booted from its snapshots and its backup:
// one that boots, one that does not, and one whose worker is killed in the middle.
// The guest itself goes on, and nobody takes a copy for a VM.
func TestVerified(t *testing.T) {
	kept := t.TempDir()
	r := makeLabRig(t, lab.Options{Hosts: 1, VMs: 1, BootDisk: true}, quick+fmt.Sprintf("backups: {to: %q}\nevidence: {dir: %q}\n", t.TempDir(), kept))
	worker := r.worker(t)
	r.monitor(t)
	r.agentAnswers(t, "VM1")
	r.holdfast(t, "vm", "annotate", "VM1", "agent=expected")
	r.holdfast(t, "snapshot", "create", "VM1", "--name", "good")
	r.holdfast(t, "backup", "create", "VM1", "--name", "weekly")
	_, err := r.CorruptDisk(t.Context(), "VM1") // its guest runs on
	require.NoError(t, err)
	r.holdfast(t, "snapshot", "create", "VM1", "--name", "bad")
	before := r.vm(t, "VM1")

	said := r.holdfast(t, "snapshot", "verify", "VM1", "good")
	t.Log(said)
	require.Contains(t, said, "VM1: snapshot good on A boots, as seen after ")
	require.Contains(t, said, ": its guest agent answers")
	r.noCopy(t)

	_, errs, code := rig.Command(t, r.env, r.binary, "snapshot", "verify", "VM1", "bad")
	t.Log(errs)
	require.Equal(t, 1, code)
	require.Contains(t, errs, "VM1: snapshot bad on A does not boot: it does not stay running: it is crashed (panicked)")
	screens, err := filepath.Glob(filepath.Join(kept, "*", "*screenshot.png"))
	require.NoError(t, err)
	require.Len(t, screens, 1)
	picture, err := os.ReadFile(screens[0])
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(picture), "\x89PNG"))
	r.noCopy(t)

	require.Contains(t, r.holdfast(t, "backup", "check", "VM1", "weekly", "--boot"), "is as it was written, and boots, as seen after ")
	r.noCopy(t)

	whole := t
	t.Run("a worker is killed in the middle", func(t *testing.T) {
		answers := make(chan string, 1)
		go func() {
			out, errs, _ := rig.Command(t, r.env, r.binary, "snapshot", "verify", "VM1", "good", "--timeout", "4m")
			answers <- out + errs
		}()
		r.copies(t, 1)
		worker.Kill()
		r.copies(t, 0) // with the connection of its maker
		r.worker(whole)
		select {
		case said := <-answers:
			require.Contains(t, said, "VM1: snapshot good on A boots")
		case <-time.After(4 * time.Minute):
			require.FailNow(t, "the trial never ended")
		}
		r.noCopy(t)
	})
	r.untouched(t, before)
	require.False(t, r.vm(t, "VM1").TwoCopies)
	require.Zero(t, r.incidents(t, "VM1"), "what becomes of a copy is no fault")
	require.NotContains(t, r.holdfast(t, "vm", "list"), "holdfast-trial-")
}

// copies waits until there are that many domains on trial.
func (r *labRig) copies(t *testing.T, want int) {
	t.Helper()
	rig.Eventually(t, fmt.Sprintf("%d copies", want), func() error {
		out, err := r.Virsh(t.Context(), "A", "list", "--all", "--name")
		if err != nil {
			return err
		}
		if have := strings.Count(out, "holdfast-trial-"); have != want {
			return fmt.Errorf("there are %d", have)
		}
		return nil
	})
}

// noCopy checks that nothing is left of a trial.
func (r *labRig) noCopy(t *testing.T) {
	t.Helper()
	out, err := r.Virsh(t.Context(), "A", "list", "--all", "--name")
	require.NoError(t, err)
	require.NotContains(t, out, "holdfast-trial-")
	files, err := filepath.Glob(filepath.Join(r.Info().Hosts[0].Images, "holdfast-trial-*"))
	require.NoError(t, err)
	require.Empty(t, files)
}
