package worker_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"

	"holdfast/activities"
	"holdfast/internal/hypervisor/simulated"
	"holdfast/starter"
	"holdfast/test/rig"
	"holdfast/worker"
)

// service is a service for two simulated hosts and a Temporal at an address.
func service(t *testing.T, cluster *simulated.Cluster, address string) (*worker.Service, client.Client) {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	c, err := client.NewLazyClient(client.Options{HostPort: address, Logger: log.NewStructuredLogger(quiet)})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	hosts := cluster.Site()
	acts, err := activities.New(activities.Options{Site: rig.Site, Hosts: hosts, Policy: rig.Policy()})
	require.NoError(t, err)
	s, err := worker.NewService(worker.ServiceOptions{
		Options: worker.Options{Client: c, Site: rig.Site, Activities: acts, StopTimeout: time.Second},
		Hosts:   hosts, Namespace: client.DefaultNamespace, Check: 20 * time.Millisecond, Logger: quiet,
	})
	require.NoError(t, err)
	return s, c
}

// run runs it until the returned function is called.
func run(t *testing.T, s *worker.Service) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	return func() { cancel(); require.NoError(t, <-ended) }
}

// says is nil if an error is there and has the text.
func says(err error, text string) error {
	if err == nil {
		return fmt.Errorf("no error, and not %q", text)
	}
	if !strings.Contains(err.Error(), text) {
		return fmt.Errorf("says %w, and not %q", err, text)
	}
	return nil
}

func TestServiceOutlivesATemporalThatIsAway(t *testing.T) {
	temporal := rig.Temporal(t)
	temporal.Kill()
	s, c := service(t, simulated.New(simulated.Options{Site: rig.Site, Hosts: 2, VMsPerHost: 1}), temporal.Address)
	require.ErrorContains(t, s.Ready(), "not asked yet")
	stop := run(t, s)
	defer stop()
	rig.Eventually(t, "Ready", func() error { return says(s.Ready(), "cannot reach Temporal") })
	for range 2 { // it comes, and it comes back
		require.NoError(t, temporal.Restart(t.Context()))
		rig.Eventually(t, "the service", s.Ready)
		inv, err := starter.New(c).Inventory(t.Context(), rig.Site)
		require.NoError(t, err)
		require.Len(t, inv.VMs, 2)
		temporal.Kill()
		rig.Eventually(t, "Ready", func() error { return says(s.Ready(), "cannot reach Temporal") })
	}
}

func TestServiceIsReadyWithOneHost(t *testing.T) {
	cluster := simulated.New(simulated.Options{Site: rig.Site, Hosts: 2})
	require.NoError(t, cluster.CutHost("A"))
	require.NoError(t, cluster.CutHost("B"))
	s, _ := service(t, cluster, rig.Temporal(t).Address)
	stop := run(t, s)
	defer stop()
	rig.Eventually(t, "Ready", func() error {
		return says(s.Ready(), "none of the 2 hosts of site test answers: A: host A: no route to host")
	})
	require.NoError(t, cluster.HealHost("B"))
	rig.Eventually(t, "the service", s.Ready)
	require.NoError(t, cluster.CutHost("B"))
	rig.Eventually(t, "Ready", func() error { return says(s.Ready(), "none of the 2 hosts") })
}

func TestServiceStopsWhileTemporalIsAway(t *testing.T) {
	s, _ := service(t, simulated.New(simulated.Options{Site: rig.Site, Hosts: 1}), "127.0.0.1:1")
	stop := run(t, s)
	rig.Eventually(t, "Ready", func() error { return says(s.Ready(), "cannot reach Temporal") })
	stop()
}

func TestNewServiceRefusesWhatCannotWork(t *testing.T) {
	_, err := worker.NewService(worker.ServiceOptions{})
	require.ErrorContains(t, err, "no Temporal client")
}
