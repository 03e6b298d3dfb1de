//go:build lab

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"holdfast/internal/contract"
	"holdfast/internal/ladder"
	"holdfast/test/lab"
	"holdfast/test/rig"
)

// keepReportEnv names a folder in which the report of TestFourRungs stays: it is the
// one that the documentation has a picture of.
const keepReportEnv = "HOLDFAST_E2E_KEEP_REPORT"

// TestFourRungs has a guest climb its whole ladder. It panics, and its disk was
// corrupt before: a reset and a restart boot it no more, its snapshot was made too
// late, and its backup brings it back.
func TestFourRungs(t *testing.T) {
	kept, backups := t.TempDir(), t.TempDir()
	r := makeLabRig(t, lab.Options{Hosts: 1, VMs: 1, BootDisk: true}, fmt.Sprintf(`
monitor: {sweep: 2s, bootWithin: 3m}
recovery:
  maxFailures: 1
  backoff: {initial: 100ms, max: 200ms}
  verify: {stableFor: 1s, agent: required, within: 60s}
evidence: {dir: %q}
backups: {to: %q}
listen: {worker: "127.0.0.1:0", monitor: "127.0.0.1:0"}
`, kept, backups))
	r.worker(t)
	r.monitor(t)
	r.agentAnswers(t, "VM1")
	require.NoError(t, r.SetGeneration(t.Context(), "VM1", 1))
	r.holdfast(t, "backup", "create", "VM1", "--name", "good")
	require.NoError(t, r.SetGeneration(t.Context(), "VM1", 2))
	_, err := r.CorruptDisk(t.Context(), "VM1")
	require.NoError(t, err)
	r.holdfast(t, "snapshot", "create", "VM1", "--name", "too-late")
	broken, err := r.Disk("VM1")
	require.NoError(t, err)
	earlier := r.incidents(t, "VM1")
	require.NoError(t, r.inject(t, lab.FaultPanic, "VM1")())

	for _, rung := range []ladder.Rung{ladder.RungSnapshot, ladder.RungBackup} {
		inc := rig.Incident(t, r.starter, "VM1", "asks for approval of "+string(rung), func(i contract.Incident) bool { return i.Proposal != nil && i.Proposal.Rung == rung })
		r.holdfast(t, "incident", "approve", inc.ID, "--reason", "nothing lighter has helped")
	}
	inc := r.closed(t, "VM1", earlier, contract.OutcomeRecovered)
	require.Equal(t, []ladder.Rung{ladder.RungReset, ladder.RungRestart, ladder.RungSnapshot, ladder.RungBackup}, climbed(inc), asJSON(inc.Timeline))
	generation, err := r.Generation(t.Context(), "VM1")
	require.NoError(t, err)
	require.Equal(t, 1, int(generation))
	_, err = r.ImageGeneration(t.Context(), "A", broken)
	require.ErrorIs(t, err, lab.ErrBroken, "the broken disk is kept as it was")
	now := r.vm(t, "VM1")
	require.False(t, now.TwoCopies, "two copies: %v", now.Overlaps)
	require.Len(t, inc.Evidence, 4, asJSON(inc.Timeline))
	live := inc
	live.Evidence = inc.Evidence[:2] // of one that is shut off there is less to see
	r.evidence(t, live, ladder.RungReset, ladder.RungRestart)

	folder := os.Getenv(keepReportEnv)
	if folder == "" {
		folder = t.TempDir()
	}
	page := filepath.Join(folder, "incident.html")
	r.holdfast(t, "incident", "report", inc.ID, "--to", page, "--force")
	html, err := os.ReadFile(page)
	require.NoError(t, err)
	for _, want := range []string{"reset", "restart", "too-late", "good", "approved"} {
		require.Contains(t, string(html), want)
	}
}
