//go:build lab

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"holdfast/internal/contract"
	"holdfast/internal/devserver"
	"holdfast/starter"
	"holdfast/test/lab"
	"holdfast/test/rig"
)

// labRig is a lab, a Temporal server, and the commands that run on them.
type labRig struct {
	*lab.Lab
	server   *devserver.Server
	temporal client.Client
	starter  *starter.Client
	binary   string // bin/holdfast
	siteFile string
	env      []string
}

// quick makes repairs in the lab quick without changing what they do.
const quick = `
monitor: {sweep: 2s}
recovery:
  backoff: {initial: 100ms, max: 200ms}
  verify: {stableFor: 1s}
listen: {worker: "127.0.0.1:0", monitor: "127.0.0.1:0"}
`

func newLabRig(t *testing.T, vms int) *labRig {
	t.Helper()
	return makeLabRig(t, lab.Options{VMs: vms}, quick)
}

// makeLabRig makes a lab, and a site file of what the lab wrote and the settings.
func makeLabRig(t *testing.T, o lab.Options, settings string) *labRig {
	t.Helper()
	dir := t.TempDir()
	holdfast, err := rig.Build(dir, "holdfast/cmd/holdfast", "libvirt_dlopen")
	require.NoError(t, err)
	labBinary, err := rig.Build(dir, "holdfast/test/lab/cmd/lab", "")
	require.NoError(t, err)
	r := &labRig{binary: holdfast}
	o.Name, o.Binary, o.Guard = fmt.Sprintf("e2e-%d", os.Getpid()), labBinary, true
	o.Progress = func(line string) { t.Log(line) }
	r.Lab, err = lab.Up(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Down(cleanupContext())) })

	made, err := os.ReadFile(r.Info().SiteFile)
	require.NoError(t, err)
	if strings.Contains(settings, "\nmode:") {
		made = bytes.Replace(made, []byte("\nmode: repair\n"), []byte("\n"), 1)
	}
	r.siteFile = filepath.Join(dir, "site.yaml")
	require.NoError(t, os.WriteFile(r.siteFile, append(made, settings...), 0o644))
	r.server = rig.Temporal(t)
	r.temporal = rig.Dial(t, r.server.Address)
	r.starter = starter.New(r.temporal)
	r.env = []string{"TEMPORAL_ADDRESS=" + r.server.Address, "HOLDFAST_SITE=" + r.siteName(), "TEMPORAL_CONFIG_FILE=" + filepath.Join(dir, "none.toml")}
	return r
}

func (r *labRig) siteName() string { return "lab" }

func (r *labRig) worker(t *testing.T) *rig.Process {
	return rig.Run(t, "worker", r.env, r.binary, "worker", r.siteFile)
}

func (r *labRig) monitor(t *testing.T) *rig.Process {
	return rig.Run(t, "monitor", r.env, r.binary, "monitor", r.siteFile)
}

// crashWorker runs the worker that kills itself, or holds, at a point.
func (r *labRig) crashWorker(t *testing.T, point, gate string) *rig.Process {
	env := append([]string{crashPointEnv + "=" + point, crashSiteEnv + "=" + r.siteFile, gateEnv + "=" + gate}, r.env...)
	self, err := os.Executable()
	require.NoError(t, err)
	return rig.Run(t, "crash-worker", env, self)
}

// holdfast runs an operator's command, which must succeed.
func (r *labRig) holdfast(t *testing.T, args ...string) string {
	t.Helper()
	out, errs, code := rig.Command(t, r.env, r.binary, args...)
	require.Zero(t, code, "holdfast %s: %s%s", strings.Join(args, " "), out, errs)
	return out
}

func (r *labRig) vm(t *testing.T, name string) lab.VMStatus {
	t.Helper()
	status, err := r.Status(t.Context())
	require.NoError(t, err)
	for _, vm := range status.VMs {
		if vm.Name == name {
			return vm
		}
	}
	t.Fatalf("the lab has no %s", name)
	return lab.VMStatus{}
}

// closed waits for the newest incident of a VM that was opened after the given
// number of earlier ones to close, and returns it.
func (r *labRig) closed(t *testing.T, vm string, earlier int, outcome contract.Outcome) contract.Incident {
	t.Helper()
	var inc contract.Incident
	rig.Eventually(t, fmt.Sprintf("incident of %s is closed as %q", vm, outcome), func() error {
		list, err := r.starter.Incidents(t.Context(), starter.IncidentFilter{VM: vm})
		if err != nil {
			return err
		}
		if len(list) <= earlier {
			return fmt.Errorf("%d incidents", len(list))
		}
		if inc, err = r.starter.Incident(t.Context(), list[0].ID); err != nil {
			return err
		}
		if inc.Outcome != outcome || inc.Closed.IsZero() {
			return fmt.Errorf("%s: stage %q, outcome %q: %s", inc.ID, inc.Stage, inc.Outcome, inc.Why)
		}
		return nil
	})
	return inc
}

func (r *labRig) incidents(t *testing.T, vm string) int {
	t.Helper()
	n, err := r.starter.CountIncidents(t.Context(), starter.IncidentFilter{VM: vm})
	require.NoError(t, err)
	return n
}

// startedOnce checks that since the given status QEMU was started exactly once,
// that no acknowledged write was lost, that the guest goes on, and that there
// were never two copies.
func (r *labRig) startedOnce(t *testing.T, before lab.VMStatus) {
	t.Helper()
	rig.Eventually(t, before.Name+" goes on writing", func() error {
		now := r.vm(t, before.Name)
		if now.Acked <= before.Acked || len(now.Boots) != len(before.Boots)+1 {
			return fmt.Errorf("acknowledged %d, then %d; boots %v", before.Acked, now.Acked, now.Boots)
		}
		return nil
	})
	now := r.vm(t, before.Name)
	require.Equal(t, before.Starts+1, now.Starts, "QEMU is started once")
	require.Len(t, now.Copies, 1)
	require.False(t, now.TwoCopies, "two copies: %v", now.Overlaps)
	require.Zero(t, now.Lost, "acknowledged writes were lost")
	// Read after the console: the disk may only be ahead.
	require.GreaterOrEqual(t, now.Highest(), now.Acked, "an acknowledged write was lost")
	status, err := r.Status(t.Context())
	require.NoError(t, err)
	require.True(t, status.Sampler.Alive, "nobody watched for two copies")
}
