//go:build lab

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/ladder"
	"holdfast/test/lab"
	"holdfast/test/rig"
)

func cleanupContext() context.Context { return context.Background() }

// TestLab breaks real guests on real hosts. The guests are shared by the
// subtests; each takes those that no earlier one has left in another state.
func TestLab(t *testing.T) {
	r := newLabRig(t, 5)
	whole := t // what outlives a subtest belongs to the whole test
	monitor := r.monitor(whole)

	t.Run("a killed VM comes back", func(t *testing.T) {
		worker := r.worker(t)
		before := r.vm(t, "VM1")
		_, err := r.Kill(t.Context(), "VM1")
		require.NoError(t, err)
		inc := r.closed(t, "VM1", 0, contract.OutcomeRecovered)
		r.startedOnce(t, before)
		require.Equal(t, fault.KindCrashed, inc.Fault.Kind)
		require.Equal(t, "A", inc.Host)
		worker.Kill()
	})

	t.Run("a panicked VM comes back", func(t *testing.T) {
		worker := r.worker(t)
		before, earlier := r.vm(t, "VM3"), r.incidents(t, "VM3")
		_, err := r.Panic(t.Context(), "VM3")
		require.NoError(t, err)
		inc := r.closed(t, "VM3", earlier, contract.OutcomeRecovered)
		require.Equal(t, fault.KindPanicked, inc.Fault.Kind)
		r.rebooted(t, before) // a reset is the first rung
		worker.Kill()
	})

	for _, point := range []string{beforeInspect, beforeStart, afterStart, duringVerify} {
		t.Run("worker killed "+point, func(t *testing.T) {
			before, earlier := r.vm(t, "VM2"), r.incidents(t, "VM2")
			doomed := r.crashWorker(t, point, "")
			_, err := r.Kill(t.Context(), "VM2")
			require.NoError(t, err)
			require.Equal(t, "signal: killed", doomed.Wait(t).String(), "the worker reached the point")
			worker := r.worker(t)
			r.closed(t, "VM2", earlier, contract.OutcomeRecovered)
			r.startedOnce(t, before)
			worker.Kill()
		})
	}

	t.Run("Temporal killed and restarted during a repair", func(t *testing.T) {
		before, earlier := r.vm(t, "VM4"), r.incidents(t, "VM4")
		gate := filepath.Join(t.TempDir(), "gate")
		worker := r.crashWorker(t, atGate, gate)
		_, err := r.Kill(t.Context(), "VM4")
		require.NoError(t, err)
		reached(t, gate)
		r.server.Kill()
		require.NoError(t, os.WriteFile(gate, nil, 0o644)) // the start happens while Temporal is away
		rig.Eventually(t, "VM4 has been started", func() error {
			if vm := r.vm(t, "VM4"); vm.Starts != before.Starts+1 {
				return fmt.Errorf("%d starts", vm.Starts)
			}
			return nil
		})
		require.NoError(t, r.server.Restart(t.Context()))
		r.closed(t, "VM4", earlier, contract.OutcomeRecovered)
		r.startedOnce(t, before)
		worker.Kill()
	})

	t.Run("a request during a repair is told which incident has the VM", func(t *testing.T) {
		before, earlier := r.vm(t, "VM4"), r.incidents(t, "VM4")
		gate := filepath.Join(t.TempDir(), "gate")
		worker := r.crashWorker(t, atGate, gate)
		_, err := r.Kill(t.Context(), "VM4")
		require.NoError(t, err)
		reached(t, gate)
		var reply contract.RecoverReply
		require.NoError(t, json.Unmarshal([]byte(r.holdfast(t, "recover", "VM4", "-o", "json")), &reply))
		require.True(t, reply.Already)
		text := r.holdfast(t, "recover", "VM4")
		require.Contains(t, text, "already")
		require.Contains(t, text, reply.IncidentID)
		require.NoError(t, os.WriteFile(gate, nil, 0o644))
		inc := r.closed(t, "VM4", earlier, contract.OutcomeRecovered)
		require.Equal(t, reply.IncidentID, inc.ID)
		r.startedOnce(t, before)
		worker.Kill()
	})

	worker := r.worker(t)

	t.Run("the monitor killed before it could signal", func(t *testing.T) {
		before, earlier := r.vm(t, "VM3"), r.incidents(t, "VM3")
		r.server.Kill() // so that it sees the crash and cannot say so
		_, err := r.Kill(t.Context(), "VM3")
		require.NoError(t, err)
		rig.Eventually(t, "libvirt has seen the crash", func() error {
			state, err := r.Virsh(t.Context(), before.Copies[0].Host, "domstate", "--reason", "VM3")
			if err != nil || !strings.Contains(state, "crashed") {
				return fmt.Errorf("state %q: %w", state, err)
			}
			return nil
		})
		monitor.Kill()
		require.NoError(t, r.server.Restart(t.Context()))
		monitor = r.monitor(whole)
		r.closed(t, "VM3", earlier, contract.OutcomeRecovered)
		r.startedOnce(t, before)
	})

	t.Run("libvirtd hung on A does not delay VM2 on B", func(t *testing.T) {
		before, earlier := r.vm(t, "VM2"), r.incidents(t, "VM2")
		_, err := r.HangLibvirtd(t.Context(), "A")
		require.NoError(t, err)
		_, err = r.Kill(t.Context(), "VM2")
		require.NoError(t, err)
		inc := r.closed(t, "VM2", earlier, contract.OutcomeRecovered)
		r.startedOnce(t, before)
		for _, e := range inc.Timeline {
			require.NotEqual(t, contract.StageWait, e.Stage, asJSON(inc))
		}
		require.Len(t, inc.Attempts, 1)
		_, err = r.StartLibvirtd(t.Context(), "A")
		require.NoError(t, err)
	})

	t.Run("what a person stops stays stopped", func(t *testing.T) {
		earlier := map[string]int{"VM1": r.incidents(t, "VM1"), "VM3": r.incidents(t, "VM3")}
		_, err := r.Virsh(t.Context(), "A", "destroy", "VM1")
		require.NoError(t, err)
		_, err = r.Virsh(t.Context(), "A", "shutdown", "VM3")
		require.NoError(t, err)
		rig.Eventually(t, "VM3 has shut down", func() error {
			if n := len(r.vm(t, "VM3").Copies); n != 0 {
				return fmt.Errorf("%d copies alive", n)
			}
			return nil
		})
		// Another monitor sees both in its first full listing; a crash that it
		// reports afterwards shows that it has looked.
		monitor.Kill()
		monitor = r.monitor(whole)
		crashed := r.incidents(t, "VM4")
		_, err = r.Kill(t.Context(), "VM4")
		require.NoError(t, err)
		r.closed(t, "VM4", crashed, contract.OutcomeRecovered)
		for vm, n := range earlier {
			require.Equal(t, n, r.incidents(t, vm), "%s was stopped by a person", vm)
			require.Empty(t, r.vm(t, vm).Copies)
			_, err := r.Virsh(t.Context(), "A", "start", vm)
			require.NoError(t, err)
		}
	})

	t.Run("five failed starts end with a person", func(t *testing.T) {
		needsPerson(t, r)
	})

	worker.Kill()
	monitor.Kill()
}

// needsPerson takes a VM's disk away, so that it cannot start.
func needsPerson(t *testing.T, r *labRig) {
	earlier := r.incidents(t, "VM5")
	var host lab.Host
	for _, h := range r.Info().Hosts {
		if h.Name == "A" {
			host = h
		}
	}
	disk := filepath.Join(host.Images, filepath.Base(diskOf(r, "VM5")))
	require.NoError(t, os.Rename(disk, disk+".away"))
	_, err := r.Kill(t.Context(), "VM5")
	require.NoError(t, err)
	rig.Incident(t, r.starter, "VM5", "needs a person", func(i contract.Incident) bool { return i.NeedsPerson })
	var waiting contract.Incident
	require.NoError(t, json.Unmarshal([]byte(r.holdfast(t, "incident", "show", "VM5", "-o", "json")), &waiting))
	require.Contains(t, waiting.Why, "failed repairs within")
	require.Contains(t, waiting.Why, filepath.Base(disk), "the reason says what is missing")
	require.Equal(t, slices.Repeat([]ladder.Rung{ladder.RungRestart}, 5), climbed(waiting), asJSON(waiting.Timeline))
	require.Contains(t, asJSON(waiting.Timeline), "turned down elsewhere: what it needs of a host cannot be found out")
	require.Contains(t, r.holdfast(t, "incident", "list", "--needs-person"), waiting.ID)

	// Mended and asked for: the same incident goes on.
	require.NoError(t, os.Rename(disk+".away", disk))
	var reply contract.RecoverReply
	require.NoError(t, json.Unmarshal([]byte(r.holdfast(t, "recover", "VM5", "--reason", "disk is back", "-o", "json")), &reply))
	require.Equal(t, waiting.ID, reply.IncidentID)
	inc := r.closed(t, "VM5", earlier, contract.OutcomeRecovered)
	require.Len(t, inc.Attempts, len(waiting.Attempts)+1, "no try while it waited for a person")
}

func diskOf(r *labRig, name string) string {
	for _, vm := range r.Info().VMs {
		if vm.Name == name {
			return vm.Disk
		}
	}
	return ""
}

func reached(t *testing.T, gate string) {
	t.Helper()
	rig.Eventually(t, "the worker is at the gate", func() error {
		_, err := os.Stat(gate + ".reached")
		return err
	})
}
