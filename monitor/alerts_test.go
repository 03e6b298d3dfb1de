package monitor

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/alert/in"
	"holdfast/internal/fault"
)

// recorded is a payload that a real Alertmanager sent, about VM1 instead of web1.
func recorded(t *testing.T, name string) []byte {
	body, err := os.ReadFile(filepath.Join("..", "internal", "alert", "in", "testdata", name))
	require.NoError(t, err)
	return bytes.ReplaceAll(body, []byte("web1"), []byte("VM1"))
}

func TestRecordedAlertsOpenFaults(t *testing.T) {
	r := newRig(t, twoHosts, nil).run().watching()
	handler, err := in.NewHandler(in.Options{
		Mapping: in.Mapping{VM: []string{"vm"}, Kinds: []in.KindRule{{Match: map[string]string{"alertname": "GuestDown"}, Kind: fault.KindHung}}},
		Sink:    r.m, Longest: 100 * 365 * 24 * time.Hour, // the recording is as old as it is
	})
	require.NoError(t, err)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	post := func(body []byte) string {
		t.Helper()
		resp, err := http.Post(server.URL+in.Path, "application/json", bytes.NewReader(body))
		require.NoError(t, err)
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode, string(answer))
		return string(answer)
	}
	for range 2 { // saying it twice is saying it once
		post(recorded(t, "webhook-firing.json"))
	}
	r.eventually("its fault is reported", func() bool { return len(r.to.faults("VM1")) == 1 })
	f := r.to.about("VM1")[0].fault
	require.Equal(t, fault.KindHung, f.Kind)
	require.Equal(t, "A", f.Host, "where the VM is, whatever the alert says")
	require.Equal(t, fault.RespondIncident, f.Respond())
	require.NotEmpty(t, f.Evidence)

	post(recorded(t, "webhook-resolved.json"))
	r.eventually("its end is reported", func() bool { return len(r.to.cleared("VM1")) == 1 })

	body, err := os.ReadFile(filepath.Join("..", "internal", "alert", "in", "testdata", "webhook-firing.json"))
	require.NoError(t, err)
	require.Contains(t, post(body), "no such VM", "web1 is nobody's here")
	require.Len(t, r.m.Snapshot().Faults, 0)
}
