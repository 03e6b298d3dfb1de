// Package rig is what the tests of the whole share: a real Temporal server, a
// worker in the test's own process, and polling with a deadline.
package rig

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

// Site is the name of the site under test.
const Site = "test"

// Deadline is how long anything in these tests may take before it has failed;
// these machines are slow and noisy.
const Deadline = 90 * time.Second

// Temporal starts a Temporal server of the test's own.
func Temporal(t testing.TB) *devserver.Server {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "temporal.log"))
	require.NoError(t, err)
	binary, err := FindTemporal()
	require.NoError(t, err)
	s, err := devserver.Start(t.Context(), devserver.Options{
		Binary: binary, Address: "127.0.0.1:0", Database: filepath.Join(t.TempDir(), "temporal.db"), Output: out,
	})
	require.NoError(t, err)
	t.Cleanup(func() { s.Stop(10 * time.Second); _ = out.Close() })
	return s
}

// FindTemporal also looks where `make tools` puts the command.
func FindTemporal() (string, error) {
	for _, root := range []string{"..", "../..", "../../.."} { // a test runs in its package's folder
		path, err := filepath.Abs(filepath.Join(root, "build", "tools", "temporal"))
		if err != nil {
			return "", err
		}
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return devserver.Find()
}

// Dial connects to a server until the test ends.
func Dial(t testing.TB, address string) client.Client {
	t.Helper()
	c, err := client.Dial(client.Options{HostPort: address, Logger: quiet()})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func quiet() log.Logger { return log.NewStructuredLogger(slog.New(slog.DiscardHandler)) }

// Policy is quick, so that tests need not wait.
func Policy() ladder.Policy {
	return ladder.Policy{
		MaxFailures: 5, Window: 10 * time.Minute, BackoffInitial: 20 * time.Millisecond,
		BackoffMax: 100 * time.Millisecond, BackoffFactor: 2, StableFor: 300 * time.Millisecond,
	}
}

// Serve runs a worker in this process until the test ends or the returned
// function is called.
func Serve(t testing.TB, c client.Client, cluster *simulated.Cluster, policy ladder.Policy, change ...func(*activities.Options)) (stop func()) {
	t.Helper()
	o := activities.Options{Site: Site, Hosts: cluster.Site(), Policy: policy, CallTimeout: time.Second}
	for _, f := range change {
		f(&o)
	}
	acts, err := activities.New(o)
	require.NoError(t, err)
	w, err := worker.New(worker.Options{Client: c, Site: Site, Activities: acts, StopTimeout: time.Second})
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

// Crash is the fault that a monitor would raise for a VM whose QEMU died now.
func Crash(vm simulated.VM, host string) fault.Fault {
	now := time.Now().UTC()
	return fault.Fault{
		ID: fmt.Sprintf("%s/crashed/%s/%d", host, vm.UUID, now.UnixNano()), Kind: fault.KindCrashed, Site: Site,
		VM: fault.VM{UUID: vm.UUID, Name: vm.Name}, Host: host, First: now, Last: now, Reporter: "test",
		Why: vm.Name + " crashed on " + host,
	}
}

// Incident waits until the newest incident of a VM satisfies the condition.
func Incident(t testing.TB, s *starter.Client, vm string, what string, ok func(contract.Incident) bool) contract.Incident {
	t.Helper()
	var last contract.Incident
	Eventually(t, "incident of "+vm+" "+what, func() error {
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

// ClosedAs is a condition for Incident.
func ClosedAs(outcome contract.Outcome) func(contract.Incident) bool {
	return func(i contract.Incident) bool { return i.Outcome == outcome && !i.Closed.IsZero() }
}

// Eventually polls until the check passes, and fails with its last complaint.
func Eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	until := time.Now().Add(Deadline)
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
