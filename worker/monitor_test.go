package worker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor/simulated"
	"holdfast/internal/ladder"
	"holdfast/starter"
	"holdfast/test/rig"
	"holdfast/worker"
)

// sees is a monitor that sees one fault.
type sees struct{ name string }

func (s sees) Faults(context.Context) (contract.FaultsResult, error) {
	f := fault.Fault{ID: "1", Kind: fault.KindHostOff, Site: rig.Site, Host: "A", Why: "A is off"}
	return contract.FaultsResult{Site: rig.Site, Monitor: s.name, Faults: []fault.Fault{f}}, nil
}

func (s sees) Explain(_ context.Context, in contract.ExplainInput) (contract.ExplainResult, error) {
	if in.Name != "A" {
		return contract.ExplainResult{}, errors.New("site test has no " + in.Name)
	}
	return contract.ExplainResult{Site: rig.Site, Monitor: s.name, Host: in.Name}, nil
}

func TestMonitorsAnswerQuestions(t *testing.T) {
	temporal := rig.Temporal(t)
	temporal.Kill()
	quiet := slog.New(slog.DiscardHandler)
	c, err := client.NewLazyClient(client.Options{HostPort: temporal.Address, Logger: log.NewStructuredLogger(quiet)})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	monitor := func(name string) (*worker.MonitorService, func()) {
		m, err := worker.NewMonitorService(c, rig.Site, sees{name}, worker.MonitorOptions{Check: 20 * time.Millisecond, Logger: quiet})
		require.NoError(t, err)
		require.ErrorContains(t, m.Ready(), "not asked yet")
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- m.Run(ctx) }()
		return m, func() { cancel(); require.NoError(t, <-ended) }
	}
	first, stopFirst := monitor("mon1")
	rig.Eventually(t, "Ready", func() error { return says(first.Ready(), "monitor: Temporal: cannot reach Temporal") })
	require.NoError(t, temporal.Restart(t.Context()))
	rig.Serve(t, rig.Dial(t, temporal.Address), simulated.New(simulated.Options{Site: rig.Site, Hosts: 1}), ladder.DefaultPolicy())
	rig.Eventually(t, "the monitor", first.Ready)

	s := starter.New(c)
	out, err := s.Faults(t.Context(), contract.FaultsInput{Site: rig.Site})
	require.NoError(t, err)
	require.Equal(t, "mon1", out.Monitor)
	require.Equal(t, "A is off", out.Faults[0].Why)
	x, err := s.Explain(t.Context(), contract.ExplainInput{Site: rig.Site, Name: "A"})
	require.NoError(t, err)
	require.Equal(t, "A", x.Host)
	_, err = s.Explain(t.Context(), contract.ExplainInput{Site: rig.Site, Name: "Z"})
	require.EqualError(t, err, "site test has no Z")

	// Either of two answers, and one that ended is not missed.
	second, stopSecond := monitor("mon2")
	rig.Eventually(t, "the second monitor", second.Ready)
	stopFirst()
	out, err = s.Faults(t.Context(), contract.FaultsInput{Site: rig.Site, Level: fault.Critical})
	require.NoError(t, err)
	require.Equal(t, "mon2", out.Monitor)
	temporal.Kill()
	rig.Eventually(t, "Ready", func() error { return says(second.Ready(), "cannot reach Temporal") })
	require.NoError(t, temporal.Restart(t.Context()))
	rig.Eventually(t, "the second monitor", func() error {
		_, err := s.Faults(t.Context(), contract.FaultsInput{Site: rig.Site, Host: "A"})
		return err
	})
	stopSecond()
	_, err = s.Faults(t.Context(), contract.FaultsInput{Site: rig.Site, VM: "VM1"})
	require.EqualError(t, err, "no monitor of site test answers: start `holdfast monitor`")
}

func TestNewMonitorServiceRefusesWhatCannotWork(t *testing.T) {
	_, err := worker.NewMonitorService(nil, rig.Site, sees{}, worker.MonitorOptions{})
	require.ErrorContains(t, err, "no Temporal client")
	c, err := client.NewLazyClient(client.Options{HostPort: "127.0.0.1:1"})
	require.NoError(t, err)
	defer c.Close()
	_, err = worker.NewMonitorService(c, rig.Site, nil, worker.MonitorOptions{})
	require.ErrorContains(t, err, fmt.Sprintf("nobody to ask about site %s", rig.Site))
}
