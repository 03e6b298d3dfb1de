// Package e2e runs Holdfast as a whole against a real Temporal server: with
// simulated hosts here, with real libvirt hosts in the files tagged lab.
package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"

	"holdfast/activities"
	"holdfast/internal/contract"
	"holdfast/internal/devserver"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor/simulated"
	"holdfast/internal/ladder"
	"holdfast/starter"
	"holdfast/worker"
)

const site = "test"

// deadline is how long anything in these tests may take before it has failed;
// these machines are slow and noisy.
const deadline = 90 * time.Second

// temporalServer starts a Temporal server of the test's own.
func temporalServer(t testing.TB) *devserver.Server {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "temporal.log"))
	require.NoError(t, err)
	binary, err := findTemporal()
	require.NoError(t, err)
	s, err := devserver.Start(t.Context(), devserver.Options{
		Binary: binary, Address: "127.0.0.1:0", Database: filepath.Join(t.TempDir(), "temporal.db"), Output: out,
	})
	require.NoError(t, err)
	t.Cleanup(func() { s.Stop(10 * time.Second); _ = out.Close() })
	return s
}

// findTemporal also looks where `make tools` puts the command.
func findTemporal() (string, error) {
	if path, err := filepath.Abs("../../build/tools/temporal"); err == nil {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return devserver.Find()
}

func dial(t testing.TB, address string) client.Client {
	t.Helper()
	c, err := client.Dial(client.Options{HostPort: address, Logger: quiet()})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func quiet() log.Logger { return log.NewStructuredLogger(slog.New(slog.DiscardHandler)) }

// testPolicy is quick, so that tests need not wait.
func testPolicy() ladder.Policy {
	return ladder.Policy{
		MaxFailures: 5, Window: 10 * time.Minute, BackoffInitial: 20 * time.Millisecond,
		BackoffMax: 100 * time.Millisecond, BackoffFactor: 2, StableFor: 300 * time.Millisecond,
	}
}

// serve runs a worker in this process until the test ends or the returned
// function is called.
func serve(t testing.TB, c client.Client, cluster *simulated.Cluster, policy ladder.Policy) (stop func()) {
	t.Helper()
	acts, err := activities.New(activities.Options{Site: site, Hosts: cluster.Site(), Policy: policy, CallTimeout: time.Second})
	require.NoError(t, err)
	w, err := worker.New(worker.Options{Client: c, Site: site, Activities: acts, StopTimeout: time.Second})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			require.NoError(t, <-ended)
		}
	}
	t.Cleanup(stop)
	return stop
}

func crashOf(vm simulated.VM, host string) fault.Fault {
	now := time.Now().UTC()
	return fault.Fault{
		ID: fmt.Sprintf("%s/crashed/%s/%d", host, vm.UUID, now.UnixNano()), Kind: fault.KindCrashed, Site: site,
		VM: fault.VM{UUID: vm.UUID, Name: vm.Name}, Host: host, First: now, Last: now, Reporter: "test",
		Why: vm.Name + " crashed on " + host,
	}
}

// incident waits until the newest incident of a VM satisfies the condition.
func incident(t testing.TB, s *starter.Client, vm string, what string, ok func(contract.Incident) bool) contract.Incident {
	t.Helper()
	var last contract.Incident
	eventually(t, "incident of "+vm+" "+what, func() error {
		list, err := s.Incidents(t.Context(), starter.IncidentFilter{VM: vm})
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return fmt.Errorf("there is none")
		}
		if last, err = s.Incident(t.Context(), list[0].ID); err != nil {
			return err
		}
		if !ok(last) {
			story := last.Timeline[max(0, len(last.Timeline)-5):]
			return fmt.Errorf("%s is in stage %q, outcome %q: %s; %+v", last.ID, last.Stage, last.Outcome, last.Why, story)
		}
		return nil
	})
	return last
}

func closedAs(outcome contract.Outcome) func(contract.Incident) bool {
	return func(i contract.Incident) bool { return i.Outcome == outcome && !i.Closed.IsZero() }
}

// eventually polls until the check passes, and fails with its last complaint.
func eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	until := time.Now().Add(deadline)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("%s: %v", what, err)
		}
		select {
		case <-t.Context().Done():
			t.Fatalf("%s: %v", what, err)
		case <-tick.C:
		}
	}
}
