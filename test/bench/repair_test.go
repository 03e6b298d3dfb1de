//go:build bench

package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/libvirt"
	"holdfast/starter"
	"holdfast/test/lab"
	"holdfast/test/rig"
)

const repairRuns = 20

// pollingLoop is the script that people write: once a second, start what is off.
const pollingLoop = `while sleep 1; do
  [ "$(virsh -c "$URI" domstate "$VM" 2>/dev/null)" = "shut off" ] && virsh -c "$URI" start "$VM"
done`

// settings let one VM be killed twenty times within the window, and close each
// incident as soon as the VM runs.
const settings = `
mode: repair
recovery:
  maxFailures: 100
  backoff: {initial: 100ms, max: 100ms}
  verify: {stableFor: 0s}
listen: {worker: "127.0.0.1:0", monitor: "127.0.0.1:0"}
`

// TestRepair measures, from SIGKILL of QEMU to libvirt's event that the domain
// has started: under Holdfast (VM1 on host A), under a polling loop (VM2 on host
// B), and by a `virsh start` at the very moment that libvirt reports the death
// (VM4 on host B). The three take turns.
func TestRepair(t *testing.T) {
	dir := t.TempDir()
	labBinary, err := rig.Build(dir, "holdfast/test/lab/cmd/lab", "")
	require.NoError(t, err)
	holdfast, err := rig.Build(dir, "holdfast/cmd/holdfast", "libvirt_dlopen")
	require.NoError(t, err)
	l, err := lab.Up(t.Context(), lab.Options{Name: fmt.Sprintf("bench-%d", os.Getpid()), VMs: 4, Binary: labBinary, Guard: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Down(context.Background())) })
	a, b := l.Info().Hosts[0], l.Info().Hosts[1]

	s := startHoldfast(t, dir, holdfast, a)
	rig.Run(t, "polling-loop", []string{"URI=" + b.URI, "VM=VM2"}, "bash", "-c", pollingLoop)
	onA, onB := watch(t, a), watch(t, b)

	var underHoldfast, underLoop, byHand, startAlone []float64
	for range repairRuns {
		underHoldfast = append(underHoldfast, onA.repaired(t, l, "VM1", nil))
		rig.Eventually(t, "the incident is closed", func() error {
			list, err := s.Incidents(t.Context(), starter.IncidentFilter{OpenOnly: true})
			if err != nil || len(list) > 0 {
				return fmt.Errorf("%d open: %w", len(list), err)
			}
			return nil
		})
		pause(rand.N(time.Second)) // so that the kills fall anywhere in the loop's second
		underLoop = append(underLoop, onB.repaired(t, l, "VM2", nil))
		byHand = append(byHand, onB.repaired(t, l, "VM4", func() {
			began := time.Now()
			require.NoError(t, exec.CommandContext(t.Context(), "virsh", "-c", b.URI, "start", "VM4").Run())
			startAlone = append(startAlone, time.Since(began).Seconds())
		}))
	}
	fmt.Printf("\nSIGKILL of QEMU to running again, %d runs each, taking turns\n", repairRuns)
	fmt.Printf("  %-44s %8s %8s %8s\n", "", "median", "p95", "ratio")
	for _, row := range []struct {
		name   string
		values []float64
	}{
		{"Holdfast", underHoldfast},
		{"virsh in a loop, 1 s", underLoop},
		{"virsh start as soon as libvirt reports it", byHand},
		{"  of which the virsh start alone", startAlone},
	} {
		fmt.Printf("  %-44s %6.3f s %6.3f s %8.2f\n", row.name, median(row.values), quantile(row.values, 0.95), median(row.values)/median(byHand))
	}
}

// startHoldfast runs the worker and the monitor of a site of one host.
func startHoldfast(t *testing.T, dir, binary string, host lab.Host) *starter.Client {
	siteFile := filepath.Join(dir, "site.yaml")
	text := fmt.Sprintf("site: lab\nhosts:\n  - {name: %s, uri: %q}\n%s", host.Name, host.URI, settings)
	require.NoError(t, os.WriteFile(siteFile, []byte(text), 0o644))
	server := rig.Temporal(t)
	env := []string{"TEMPORAL_ADDRESS=" + server.Address, "TEMPORAL_CONFIG_FILE=" + filepath.Join(dir, "none.toml")}
	rig.Run(t, "worker", env, binary, "worker", siteFile)
	rig.Run(t, "monitor", env, binary, "monitor", siteFile)
	s := starter.New(rig.Dial(t, server.Address))
	rig.Eventually(t, "the worker answers", func() error {
		_, err := s.Inventory(t.Context(), "lab")
		return err
	})
	return s
}

// watcher takes the time of what one host reports, the same way for everybody.
type watcher struct{ events <-chan hypervisor.Event }

func watch(t *testing.T, host lab.Host) watcher {
	h, err := libvirt.New(libvirt.Options{Name: host.Name, URI: host.URI})
	require.NoError(t, err)
	t.Cleanup(func() { _ = h.Close() })
	events, err := h.Events(t.Context())
	require.NoError(t, err)
	require.Equal(t, hypervisor.EventConnectionUp, (<-events).Kind)
	return watcher{events}
}

// repaired kills a VM and returns the seconds until it has started again.
// onDeath, if any, is called when libvirt reports the death.
func (w watcher) repaired(t *testing.T, l *lab.Lab, vm string, onDeath func()) float64 {
	killed, err := l.Kill(t.Context(), vm)
	require.NoError(t, err)
	limit := time.After(rig.Deadline)
	for {
		select {
		case e := <-w.events:
			switch {
			case e.Name != vm || e.At.Before(killed):
			case e.Kind == hypervisor.EventStopped && onDeath != nil:
				onDeath()
			case e.Kind == hypervisor.EventStarted:
				return e.At.Sub(killed).Seconds()
			}
		case <-limit:
			t.Fatalf("%s was not started again within %s", vm, rig.Deadline)
		}
	}
}

func pause(d time.Duration) { <-time.After(d) }
