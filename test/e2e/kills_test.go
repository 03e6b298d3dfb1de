//go:build lab

package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
		strings.NewReplacer("bootWithin: 25s", "bootWithin: 3m", "recovery:\n", "recovery:\n  maxFailures: 50\n  budgets: {reset: 50, resume: 50}\n").Replace(unmeasured(closely))+fmt.Sprintf("backups: {to: %q}\n", t.TempDir()))
	first := r.worker(t)
	r.monitor(t)
	r.agentAnswers(t, "VM1", "VM2", "VM3")
	for _, vm := range []string{"VM1", "VM3"} {
		require.NoError(t, r.SetGeneration(t.Context(), vm, 1))
	}
	r.holdfast(t, "snapshot", "create", "VM3", "--name", "good")
	r.holdfast(t, "backup", "create", "VM1", "--name", "good")
	first.Kill()

	var files []string
	r.killedDuring(t, []killedRung{
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
			func(t *testing.T, before lab.VMStatus, inc contract.Incident) {
				r.putBackOnce(t, before, inc, "snapshot")
			},
		},
		{
			ladder.RungBackup, "VM1",
			[]string{"before destroy", "after destroy", "before restore", "after restore", beforeStart, afterStart, duringVerify},
			func() error {
				if err := r.SetGeneration(t.Context(), "VM1", 2); err != nil {
					return err
				}
				files = r.images(t, "")
				r.holdfast(t, "backup", "restore", "VM1", "good", "--reason", "a test")
				return nil
			},
			func(t *testing.T, before lab.VMStatus, inc contract.Incident) {
				r.putBackOnce(t, before, inc, "backup")
				r.holdfast(t, "backup", "delete", "VM1", contract.KeptName(inc.ID)+"-1")
				require.Len(t, r.images(t, ""), len(files), "something is left of it: before %v", files)
			},
		},
	})
}

// killedRung is a rung, and the points around its side effects.
type killedRung struct {
	rung   ladder.Rung
	vm     string
	points []string
	breaks func() error
	ends   func(*testing.T, lab.VMStatus, contract.Incident)
}

// killedDuring kills a worker at each point of each rung, checks that another one ends
// where that would have, and prints the table.
func (r *labRig) killedDuring(t *testing.T, rungs []killedRung) {
	var table []string
	for _, c := range rungs {
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
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // a guest that does not boot never answers
		defer cancel()
		_, err := r.Generation(ctx, vm)
		return err
	})
}

// images are the files in the pool of the first host whose names begin so.
func (r *labRig) images(t *testing.T, prefix string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(r.Info().Hosts[0].Images, prefix+"*"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	return files
}

// putBackOnce checks that a VM was put back once to what it was with generation 1, and
// that what it was before is kept: as a snapshot or as a backup.
func (r *labRig) putBackOnce(t *testing.T, before lab.VMStatus, inc contract.Incident, kept string) {
	t.Helper()
	r.reads(t, before.Name, 1)
	now := r.vm(t, before.Name)
	require.Equal(t, before.Starts+1, now.Starts, "QEMU is started once")
	require.Len(t, now.Copies, 1)
	require.False(t, now.TwoCopies, "two copies: %v", now.Overlaps)
	list := r.holdfast(t, kept, "list", before.Name)
	require.Equal(t, 1, strings.Count(list, contract.KeptName(inc.ID)), "what it was is kept once:\n%s", list)
}
