//go:build lab

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"holdfast/internal/contract"
	"holdfast/internal/ladder"
	"holdfast/test/lab"
	"holdfast/test/rig"
)

// TestWorkerKilledDuringEachRung kills the worker with SIGKILL around every side
// effect of every rung. Another one goes on, and ends where it would have ended
// anyway. The table is printed.
func TestWorkerKilledDuringEachRung(t *testing.T) {
	r := makeLabRig(t, lab.Options{Hosts: 1, VMs: 3, BootDisk: true},
		// Each fault is one of many of its VM, and must not count against the next.
		strings.NewReplacer("bootWithin: 25s", "bootWithin: 3m", "recovery:\n", "recovery:\n  maxFailures: 50\n  budgets: {reset: 50, resume: 50}\n").Replace(unmeasured(closely)))
	first := r.worker(t)
	r.monitor(t)
	r.agentAnswers(t, "VM1", "VM2", "VM3")
	require.NoError(t, r.SetGeneration(t.Context(), "VM3", 1))
	r.holdfast(t, "snapshot", "create", "VM3", "--name", "good")
	first.Kill()

	var table []string
	for _, c := range []struct {
		rung   ladder.Rung
		vm     string
		points []string
		breaks func() error
		ends   func(*testing.T, lab.VMStatus, contract.Incident)
	}{
		{
			ladder.RungResume, "VM1", []string{"before resume", "after resume", duringVerifyOf},
			r.virsh(t, "A", "qemu-monitor-command", "VM1", "--hmp", "stop"),
			func(t *testing.T, before lab.VMStatus, _ contract.Incident) { r.untouched(t, before) },
		},
		{
			ladder.RungReset, "VM1", []string{"before reset", "after reset", "before resume", "after resume", duringVerifyOf},
			r.inject(t, lab.FaultPanic, "VM1"),
			func(t *testing.T, before lab.VMStatus, _ contract.Incident) { r.rebooted(t, before) },
		},
		{
			ladder.RungRestart, "VM2", []string{"before destroy", "after destroy", beforeStart, afterStart, duringVerify},
			r.inject(t, lab.FaultHang, "VM2"),
			func(t *testing.T, before lab.VMStatus, _ contract.Incident) { r.startedOnce(t, before) },
		},
		{
			ladder.RungSnapshot, "VM3",
			[]string{"before destroy", "after destroy", "before snapshot", "after snapshot", "before revert", "after revert", beforeStart, afterStart, duringVerify},
			func() error {
				if err := r.SetGeneration(t.Context(), "VM3", 2); err != nil {
					return err
				}
				r.holdfast(t, "snapshot", "restore", "VM3", "good", "--reason", "a test")
				return nil
			},
			func(t *testing.T, before lab.VMStatus, inc contract.Incident) { r.putBackOnce(t, before, inc) },
		},
	} {
		for _, point := range c.points {
			t.Run(fmt.Sprintf("%s, killed %s", c.rung, point), func(t *testing.T) {
				r.bootedAfresh(t, c.vm)
				before, earlier := r.vm(t, c.vm), r.incidents(t, c.vm)
				doomed := r.crashWorker(t, point, "")
				require.NoError(t, c.breaks())
				require.Equal(t, "signal: killed", doomed.Wait(t).String(), "the worker reached the point")
				worker := r.worker(t)
				defer worker.Kill()
				inc := r.closed(t, c.vm, earlier, contract.OutcomeRecovered)
				r.only(t, inc, c.rung)
				require.Len(t, inc.Attempts, 1, "it counts as one try: %s", asJSON(inc.Timeline))
				c.ends(t, before, inc)
				r.calm(t)
				table = append(table, fmt.Sprintf("  %-10s killed %-36s same end: %s", c.rung, point, inc.Outcome))
			})
		}
	}
	fmt.Println("\nworker killed by SIGKILL, rung by kill point\n" + strings.Join(table, "\n"))
}

// bootedAfresh waits until a guest can take a fault. What it has acknowledged says
// nothing where it was put back to earlier.
func (r *labRig) bootedAfresh(t *testing.T, vm string) {
	t.Helper()
	rig.Eventually(t, vm+" reads its disk", func() error {
		_, err := r.Generation(t.Context(), vm)
		return err
	})
}

// putBackOnce checks that a VM was put back once, and that what it was is kept.
func (r *labRig) putBackOnce(t *testing.T, before lab.VMStatus, inc contract.Incident) {
	t.Helper()
	rig.Eventually(t, "its guest reads generation 1", func() error {
		generation, err := r.Generation(t.Context(), before.Name)
		if err == nil && generation != 1 {
			err = fmt.Errorf("generation %d", generation)
		}
		return err
	})
	now := r.vm(t, before.Name)
	require.Equal(t, before.Starts+1, now.Starts, "QEMU is started once")
	require.Len(t, now.Copies, 1)
	require.False(t, now.TwoCopies, "two copies: %v", now.Overlaps)
	list := r.holdfast(t, "snapshot", "list", before.Name)
	require.Equal(t, 1, strings.Count(list, contract.KeptName(inc.ID)), "what it was is kept once:\n%s", list)
}
