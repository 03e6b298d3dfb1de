//go:build lab

package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/test/lab"
	"holdfast/test/rig"
)

// TestScheduledSnapshots has a schedule make layers of a real guest that runs, and
// prune them by merging: round after round the guest runs on, its chain stays short,
// and nothing of what it wrote is lost.
func TestScheduledSnapshots(t *testing.T) {
	r := makeLabRig(t, lab.Options{Hosts: 1, VMs: 3}, quick+"snapshots: {every: 8760h, keep: 1d, spread: 0s}\n")
	r.worker(t)
	r.monitor(t)
	r.agentAnswers(t, "VM1", "VM2", "VM3")
	found, err := r.starter.Inventory(t.Context(), r.siteName())
	require.NoError(t, err)
	ids := map[string]fault.VM{}
	for _, v := range found.VMs {
		ids[v.VM.Name] = v.VM
	}
	s := scheduleRig{r.temporal, r.starter, r.siteName()}
	rig.Eventually(t, "the worker makes the schedule", func() error {
		list, err := r.starter.Schedules(t.Context(), r.siteName())
		if err == nil && len(list) != 1 {
			err = fmt.Errorf("%+v", list)
		}
		return err
	})
	// A disk that another VM may write to cannot be snapshotted, and a held one is left alone.
	require.NoError(t, r.virsh(t, "A", "vol-create-as", "images", "shared.raw", "1M", "--format", "raw")())
	require.NoError(t, r.virsh(t, "A", "attach-disk", "VM2", filepath.Join("/var/lib/libvirt/images", "shared.raw"), "vdb", "--mode", "shareable", "--driver", "qemu", "--subdriver", "raw", "--live", "--config")())
	r.holdfast(t, "vm", "hold", "VM3", "--reason", "its disk is being moved")
	r.holdfast(t, "snapshot", "create", "VM1", "--name", "mine")
	before := r.vm(t, "VM1")
	image, err := r.Disk("VM1")
	require.NoError(t, err)
	files := len(r.images(t, "VM1"))

	for i := range 5 {
		out := s.round(t, "")
		require.Equal(t, 1, out.Made, "%+v", out)
		require.True(t, out.Complete(), "%+v", out)
		require.Equal(t, max(0, min(i-1, 1)), out.Pruned, "of a day the two newest stay")
		why := map[string]contract.PassedFor{}
		for _, n := range out.Skipped {
			why[n.VM] = n.Passed
		}
		require.Equal(t, map[string]contract.PassedFor{"VM2": contract.PassedUnsupported, "VM3": contract.PassedHeld}, why, "%+v", out.Skipped)
		list := s.snapshots(t, ids["VM1"], "A")
		require.Len(t, list, 1+min(i+1, 2))
		require.Equal(t, "mine", list[0].Name, "what a person made stays")
		require.Len(t, r.images(t, "VM1"), files+min(i+1, 2), "a merged layer leaves no file")
		now, err := r.Disk("VM1")
		require.NoError(t, err)
		require.NotEqual(t, image, now, "it writes to the new layer")
		image = now
	}
	rig.Eventually(t, "VM1 goes on writing", func() error {
		if now := r.vm(t, "VM1"); now.Acked <= before.Acked {
			return fmt.Errorf("acknowledged %d, then %d", before.Acked, now.Acked)
		}
		return nil
	})
	r.untouched(t, before)
	require.Zero(t, r.incidents(t, "VM1"), "a snapshot is no fault")

	t.Run("a person sees what was done, and why", func(t *testing.T) {
		out := r.holdfast(t, "snapshot", "schedule")
		require.Contains(t, out, "snapshots/lab  -      8760h  1d")
		require.Contains(t, out, "1 of 3 made, 2 passed over, 1 pruned")
		require.Contains(t, out, "VM3 on A passed over:")
		require.Contains(t, out, "its disk is being moved")
		var plan pruned
		require.NoError(t, json.Unmarshal([]byte(r.holdfast(t, "snapshot", "prune", "VM1", "--dry-run", "-o", "json")), &plan))
		require.Len(t, plan.Snapshots, 3)
		require.Equal(t, "no schedule made it", plan.Snapshots[2].Why)
		require.Contains(t, r.holdfast(t, "snapshot", "prune", "VM1"), "the one before the newest")
	})
	t.Run("what was merged is what the guest wrote", func(t *testing.T) {
		earlier := r.incidents(t, "VM1")
		_, err := r.Kill(t.Context(), "VM1")
		require.NoError(t, err)
		r.closed(t, "VM1", earlier, contract.OutcomeRecovered)
		r.startedOnce(t, before)
		require.Equal(t, 1, s.round(t, "").Made, "and on it goes")
	})
}

// pruned is what holdfast snapshot prune prints.
type pruned struct {
	Snapshots []contract.PlannedSnapshot `json:"snapshots"`
}
