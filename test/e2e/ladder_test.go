//go:build lab

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/ladder"
	"holdfast/test/lab"
	"holdfast/test/rig"
)

// TestLadder has real guests repaired by the lightest rung that helps.
func TestLadder(t *testing.T) {
	kept := t.TempDir()
	r := makeLabRig(t, lab.Options{Hosts: 1, VMs: 3, SmallPool: true, Flaky: true}, strings.Replace(unmeasured(closely), "bootWithin: 25s", "bootWithin: 3m", 1)+fmt.Sprintf("evidence: {dir: %q}\n", kept))
	r.worker(t)
	r.monitor(t)
	r.agentAnswers(t, "VM1", "VM2", "VM3")

	t.Run("a disk that fails and comes back", func(t *testing.T) {
		before, earlier := r.vm(t, "VM1"), r.incidents(t, "VM1")
		require.NoError(t, both(r.inject(t, lab.FaultBreakDisk, "VM1"), r.do(t, "VM1", lab.TaskWrite, lab.TaskOptions{Disk: "vdb"}))())
		rig.Incident(t, r.starter, "VM1", "tries in vain", func(i contract.Incident) bool { return len(i.Attempts) >= 2 })
		require.NoError(t, r.inject(t, lab.FaultMendDisk, "VM1")())
		inc := r.closed(t, "VM1", earlier, contract.OutcomeRecovered)
		require.Equal(t, fault.KindIOError, inc.Fault.Kind)
		r.only(t, inc, ladder.RungResume)
		r.untouched(t, before)
		require.NoError(t, r.do(t, "VM1", lab.TaskStop, lab.TaskOptions{})())
		r.calm(t)
	})
	t.Run("no room, and room again", func(t *testing.T) {
		before, earlier := r.vm(t, "VM2"), r.incidents(t, "VM2")
		require.NoError(t, both(r.do(t, "VM2", lab.TaskWrite, lab.TaskOptions{}), r.inject(t, lab.FaultFillPool, "A"))())
		rig.Incident(t, r.starter, "VM2", "tries in vain", func(i contract.Incident) bool { return len(i.Attempts) >= 1 })
		require.NoError(t, r.inject(t, lab.FaultEmptyPool, "A")())
		inc := r.closed(t, "VM2", earlier, contract.OutcomeRecovered)
		require.Equal(t, fault.KindNoSpace, inc.Fault.Kind)
		r.only(t, inc, ladder.RungResume)
		r.untouched(t, before)
		require.NoError(t, r.do(t, "VM2", lab.TaskStop, lab.TaskOptions{})())
		r.calm(t)
	})
	t.Run("a guest that panicked is reset", func(t *testing.T) {
		before, earlier := r.vm(t, "VM3"), r.incidents(t, "VM3")
		require.NoError(t, r.inject(t, lab.FaultPanic, "VM3")())
		inc := r.closed(t, "VM3", earlier, contract.OutcomeRecovered)
		r.only(t, inc, ladder.RungReset)
		r.rebooted(t, before)
		r.evidence(t, inc, ladder.RungReset)
		r.calm(t)
	})
	t.Run("a guest that stands still is reset, then restarted", func(t *testing.T) {
		r.agentAnswers(t, "VM1")
		before, earlier := r.vm(t, "VM1"), r.incidents(t, "VM1")
		require.NoError(t, r.inject(t, lab.FaultHangGuest, "VM1")())
		inc := r.closed(t, "VM1", earlier, contract.OutcomeRecovered)
		require.Equal(t, fault.KindHung, inc.Fault.Kind)
		require.Equal(t, []ladder.Rung{ladder.RungReset, ladder.RungRestart}, climbed(inc), asJSON(inc.Timeline))
		require.Equal(t, before.Starts+1, r.vm(t, "VM1").Starts)
		r.evidence(t, inc, ladder.RungReset, ladder.RungRestart)
		r.calm(t)
	})
	t.Run("a QEMU that hangs is restarted", func(t *testing.T) {
		before, earlier := r.vm(t, "VM2"), r.incidents(t, "VM2")
		require.NoError(t, r.inject(t, lab.FaultHang, "VM2")())
		inc := r.closed(t, "VM2", earlier, contract.OutcomeRecovered)
		r.only(t, inc, ladder.RungRestart)
		require.Contains(t, asJSON(inc.Timeline), "turned down reset: its QEMU does not answer")
		r.startedOnce(t, before)
		r.calm(t)
	})
	t.Run("one that a person holds is left alone", func(t *testing.T) {
		r.holdfast(t, "vm", "hold", "VM3", "--reason", "its disk is being moved")
		before, earlier := r.vm(t, "VM3"), r.incidents(t, "VM3")
		require.NoError(t, r.inject(t, lab.FaultKill, "VM3")())
		inc := rig.Incident(t, r.starter, "VM3", "is held", func(i contract.Incident) bool { return i.Stage == contract.StageHeld })
		require.Contains(t, inc.Why, "its disk is being moved")
		require.Equal(t, before.Starts, r.vm(t, "VM3").Starts)
		r.holdfast(t, "vm", "release", "VM3")
		r.only(t, r.closed(t, "VM3", earlier, contract.OutcomeRecovered), ladder.RungRestart)
		r.startedOnce(t, before)
		r.calm(t)
	})
}

// twice has a guest that does not boot started twice, before anything else is done.
const twice = `
monitor: {sweep: 2s}
recovery:
  maxFailures: 2
  forbidden: [elsewhere]
  backoff: {initial: 100ms, max: 200ms}
  verify: {stableFor: 1s, agent: required, within: 80s}
listen: {worker: "127.0.0.1:0", monitor: "127.0.0.1:0"}
`

// TestPutBack has a guest that cannot boot from its disk any more put back to its
// last snapshot, by an incident that a person approves.
func TestPutBack(t *testing.T) {
	r := makeLabRig(t, lab.Options{Hosts: 1, VMs: 1, BootDisk: true}, twice)
	r.worker(t)
	r.monitor(t)
	r.agentAnswers(t, "VM1")
	require.NoError(t, r.SetGeneration(t.Context(), "VM1", 1))
	require.Contains(t, r.holdfast(t, "snapshot", "create", "VM1", "--name", "good"), "snapshot good on A made in")
	require.NoError(t, r.SetGeneration(t.Context(), "VM1", 2))
	broken, err := r.Disk("VM1")
	require.NoError(t, err)
	_, err = r.CorruptDisk(t.Context(), "VM1")
	require.NoError(t, err)
	earlier := r.incidents(t, "VM1")
	_, err = r.Kill(t.Context(), "VM1")
	require.NoError(t, err)

	inc := rig.Incident(t, r.starter, "VM1", "asks for approval", func(i contract.Incident) bool { return i.Proposal != nil })
	require.Equal(t, ladder.RungSnapshot, inc.Proposal.Rung, asJSON(inc.Timeline))
	_, errs, code := rig.Command(t, r.env, r.binary, "incident", "approve", inc.ID, "--reason", "x", "--as-step", "elsewhere")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "the policy forbids the rung elsewhere")
	require.Contains(t, r.holdfast(t, "incident", "approve", "VM1", "--reason", "nothing else is left"), "climbs snapshot now")
	_, errs, code = rig.Command(t, r.env, r.binary, "incident", "approve", inc.ID, "--reason", "x")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "approved snapshot at")

	inc = r.closed(t, "VM1", earlier, contract.OutcomeRecovered)
	require.Equal(t, ladder.RungSnapshot, climbed(inc)[len(inc.Attempts)-1], asJSON(inc.Timeline))
	generation, err := r.Generation(t.Context(), "VM1")
	require.NoError(t, err)
	require.Equal(t, 1, int(generation))
	_, err = r.ImageGeneration(t.Context(), "A", broken)
	require.ErrorIs(t, err, lab.ErrBroken, "the broken disk is kept as it was")
	require.Contains(t, r.holdfast(t, "snapshot", "list", "VM1"), contract.KeptPrefix)
	now := r.vm(t, "VM1")
	require.False(t, now.TwoCopies, "two copies: %v", now.Overlaps)
}

// only checks that nothing but this rung was climbed, and that it helped.
func (r *labRig) only(t *testing.T, inc contract.Incident, rung ladder.Rung) {
	t.Helper()
	require.NotEmpty(t, inc.Attempts)
	for _, a := range inc.Attempts {
		require.Equal(t, rung, a.Rung, asJSON(inc.Timeline))
	}
	require.True(t, inc.Attempts[len(inc.Attempts)-1].OK)
}

// untouched checks that a guest went on where it was, and lost nothing.
func (r *labRig) untouched(t *testing.T, before lab.VMStatus) {
	t.Helper()
	now := r.vm(t, before.Name)
	require.Equal(t, before.Starts, now.Starts, "its QEMU was started again")
	require.Equal(t, before.Boots, now.Boots, "its guest was booted again")
	require.Zero(t, now.Lost)
}

// rebooted checks that a guest booted once more in the same QEMU.
func (r *labRig) rebooted(t *testing.T, before lab.VMStatus) {
	t.Helper()
	rig.Eventually(t, before.Name+" has booted", func() error {
		if now := r.vm(t, before.Name); len(now.Boots) != len(before.Boots)+1 {
			return fmt.Errorf("boots: %v, before: %v", now.Boots, before.Boots)
		}
		return nil
	})
	require.Equal(t, before.Starts, r.vm(t, before.Name).Starts, "its QEMU was started again")
}

// evidence checks that there is some from before each of the rungs, and that the
// operator's command fetches it.
func (r *labRig) evidence(t *testing.T, inc contract.Incident, before ...ladder.Rung) {
	t.Helper()
	require.Len(t, inc.Evidence, len(before), asJSON(inc.Timeline))
	for i, set := range inc.Evidence {
		require.Equal(t, before[i], set.Before)
		require.Empty(t, set.Error)
		kept := 0
		for _, item := range set.Items {
			if item.Error == "" {
				kept++
			}
		}
		require.GreaterOrEqual(t, kept, 3, asJSON(set)) // a QEMU that does not answer shows little
	}
	to := t.TempDir()
	var listed any
	require.NoError(t, json.Unmarshal([]byte(r.holdfast(t, "incident", "evidence", inc.ID, "--save", to, "-o", "json")), &listed))
	var files []string
	require.NoError(t, filepath.WalkDir(to, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, filepath.Base(path))
		}
		return err
	}))
	require.True(t, strings.Contains(strings.Join(files, " "), "screenshot"), "%v", files)
}
