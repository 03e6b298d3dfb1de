package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/alert/in"
	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor/simulated"
	"holdfast/monitor"
	"holdfast/starter"
	"holdfast/test/rig"
)

// TestRecordedAlertsOpenIncidents posts what a real Alertmanager sent, about a VM
// and a host of this site instead of those of the recording, and finds the right
// incidents in Temporal.
func TestRecordedAlertsOpenIncidents(t *testing.T) {
	c := rig.Dial(t, rig.Temporal(t).Address)
	s := starter.New(c)
	cluster := simulated.New(simulated.Options{Site: rig.Site, Hosts: 2, VMsPerHost: 1})
	rig.Serve(t, c, cluster, rig.Policy())
	m, err := monitor.New(monitor.Options{Site: rig.Site, Hosts: cluster.Site(), Reporter: s, Sweep: time.Second, ResayInitial: time.Second})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-ended) })
	mapping := in.DefaultMapping()
	mapping.Kinds = []in.KindRule{
		{Match: map[string]string{"alertname": "GuestDown"}, Kind: fault.KindHung},
		{Match: map[string]string{"alertname": "NodeDown"}, Kind: fault.KindHostUnreachable},
	}
	h, err := in.NewHandler(in.Options{Mapping: mapping, Sink: m, Longest: 100 * 365 * 24 * time.Hour}) // the recording is as old as it is
	require.NoError(t, err)
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	rig.Eventually(t, "the monitor knows VM1 and A", func() error {
		for _, name := range []string{"VM1", "A"} {
			if _, err := m.Explain(t.Context(), contract.ExplainInput{Site: rig.Site, Name: name}); err != nil {
				return err
			}
		}
		return nil
	})

	post := func(name string) {
		t.Helper()
		body, err := os.ReadFile(filepath.Join("..", "..", "internal", "alert", "in", "testdata", name))
		require.NoError(t, err)
		body = bytes.ReplaceAll(bytes.ReplaceAll(body, []byte("web1"), []byte("VM1")), []byte("kvm1:9100"), []byte("A:9100"))
		resp, err := http.Post(server.URL+in.Path, "application/json", bytes.NewReader(body))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusOK, resp.StatusCode)
	}
	incidents := func(want ...string) (list []starter.IncidentSummary) {
		t.Helper()
		rig.Eventually(t, fmt.Sprintf("open incidents: %v", want), func() error {
			var err error
			list, err = s.Incidents(t.Context(), starter.IncidentFilter{OpenOnly: true})
			got := []string{}
			for _, i := range list {
				got = append(got, i.Kind+" of "+i.VM+" on "+i.Host)
			}
			if err == nil && fmt.Sprint(got) != fmt.Sprint(want) {
				err = fmt.Errorf("%v", got)
			}
			return err
		})
		return list
	}

	for range 2 { // saying it twice is saying it once
		post("webhook-firing.json")
	}
	vm := incidents("hung of VM1 on A")[0]
	x, err := s.Incident(t.Context(), vm.ID)
	require.NoError(t, err)
	require.Equal(t, fault.KindHung, x.Fault.Kind)
	require.Contains(t, x.Fault.Why, "does not answer", "the alert's own words")
	post("webhook-resolved.json")
	incidents()
	rig.Incident(t, s, "VM1", "is over", rig.ClosedAs(contract.OutcomeCleared))

	post("webhook-group.json") // of a host that is here, of one that is not, and of nothing
	incidents("host-unreachable of  on A")
}
