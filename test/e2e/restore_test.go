//go:build lab

package e2e

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"holdfast/internal/contract"
	"holdfast/internal/ladder"
	"holdfast/test/lab"
	"holdfast/test/rig"
)

// TestRestored has guests that cannot boot from their disks any more, and have no
// snapshot. One is restored from its newest backup, by an incident that a person
// approves; one that has no backup needs a person.
func TestRestored(t *testing.T) {
	r := makeLabRig(t, lab.Options{Hosts: 1, VMs: 2, BootDisk: true}, twice+fmt.Sprintf("backups: {to: %q}\n", t.TempDir()))
	r.worker(t)
	r.monitor(t)
	r.agentAnswers(t, "VM1", "VM2")
	require.NoError(t, r.SetGeneration(t.Context(), "VM1", 1))
	require.Contains(t, r.holdfast(t, "backup", "create", "VM1", "--name", "weekly"), "backup weekly in ")
	require.NoError(t, r.SetGeneration(t.Context(), "VM1", 2))
	r.holdfast(t, "backup", "create", "VM1", "--name", "nightly")
	require.Contains(t, r.holdfast(t, "backup", "check", "VM1", "nightly"), "is as it was written")
	require.NoError(t, r.SetGeneration(t.Context(), "VM1", 3))
	list := r.holdfast(t, "backup", "list", "VM1")
	require.Regexp(t, `(?m)^nightly .* changes, frozen .* weekly`, list)

	earlier := r.incidents(t, "VM1")
	broken := r.breaksDisk(t, "VM1")
	r.breaksDisk(t, "VM2")
	inc := rig.Incident(t, r.starter, "VM1", "asks for approval", func(i contract.Incident) bool { return i.Proposal != nil })
	require.Equal(t, ladder.RungBackup, inc.Proposal.Rung, asJSON(inc.Timeline))
	require.Contains(t, inc.Proposal.Why, "restore it from backup nightly on A")
	require.Contains(t, r.holdfast(t, "incident", "approve", "VM1", "--reason", "nothing else is left"), "climbs backup now")
	inc = r.closed(t, "VM1", earlier, contract.OutcomeRecovered)
	require.Equal(t, ladder.RungBackup, climbed(inc)[len(inc.Attempts)-1], asJSON(inc.Timeline))
	kept := fmt.Sprintf("%s-%d", contract.KeptName(inc.ID), len(inc.Attempts))
	r.reads(t, "VM1", 2)
	_, err := r.ImageGeneration(t.Context(), "A", broken)
	require.ErrorIs(t, err, lab.ErrBroken, "the broken disk is kept as it was")
	require.Contains(t, r.holdfast(t, "backup", "list", "VM1"), kept)
	now := r.vm(t, "VM1")
	require.False(t, now.TwoCopies, "two copies: %v", now.Overlaps)

	t.Run("with neither snapshot nor backup", func(t *testing.T) {
		inc := rig.Incident(t, r.starter, "VM2", "needs a person", func(i contract.Incident) bool { return i.NeedsPerson })
		require.Nil(t, inc.Proposal, asJSON(inc.Timeline))
		require.Len(t, inc.Attempts, 2)
		require.Contains(t, asJSON(inc.Timeline), "turned down backup: there is no backup of it in ")
		r.holdfast(t, "incident", "cancel", inc.ID, "--reason", "seen")
	})
	t.Run("what was before does not boot, and the VM gets back what did", func(t *testing.T) {
		good, err := r.Disk("VM1")
		require.NoError(t, err)
		earlier := r.incidents(t, "VM1")
		r.holdfast(t, "backup", "restore", "VM1", kept, "--reason", "to look at it")
		inc := r.closed(t, "VM1", earlier, contract.OutcomeRecovered)
		require.Equal(t, ladder.RungBackup, inc.Attempts[0].Rung)
		require.False(t, inc.Attempts[0].OK, asJSON(inc.Timeline))
		r.reads(t, "VM1", 2)
		now, err := r.Disk("VM1")
		require.NoError(t, err)
		require.Equal(t, good, now, "without a copy")
		require.NotContains(t, r.holdfast(t, "backup", "list", "VM1"), "-tried", "what was tried takes no room")
	})
}

// breaksDisk has a VM not boot any more from the disk that it returns, and boot.
func (r *labRig) breaksDisk(t *testing.T, vm string) string {
	t.Helper()
	broken, err := r.Disk(vm)
	require.NoError(t, err)
	_, err = r.CorruptDisk(t.Context(), vm)
	require.NoError(t, err)
	_, err = r.Kill(t.Context(), vm)
	require.NoError(t, err)
	return broken
}

// reads waits until a guest reads this generation from its disk.
func (r *labRig) reads(t *testing.T, vm string, want uint64) {
	t.Helper()
	rig.Eventually(t, fmt.Sprintf("%s reads generation %d", vm, want), func() error {
		generation, err := r.Generation(t.Context(), vm)
		if err == nil && generation != want {
			err = fmt.Errorf("generation %d", generation)
		}
		return err
	})
}
