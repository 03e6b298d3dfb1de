package agent

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"holdfast/internal/alert"
	"holdfast/internal/telemetry"
)

func options(t *testing.T) Options {
	t.Helper()
	m, err := telemetry.NewMetrics("holdfast-agent")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, m.Shutdown(context.Background())) })
	return Options{
		Procfs: filepath.Join("testdata", "full", "proc"), Sysfs: filepath.Join("testdata", "full", "sys"),
		HeartbeatEvery: DefaultBeat, Metrics: m, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
}

// serve runs an agent and its server until the test ends.
func serve(t *testing.T, o Options) (url string, a *Agent) {
	t.Helper()
	a, err := New(o)
	require.NoError(t, err)
	s, err := telemetry.Listen("127.0.0.1:0", o.Metrics, a.Ready, a.Route(), a.LogRoute())
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var both sync.WaitGroup
	both.Go(func() { assert.NoError(t, s.Run(ctx)) })
	both.Go(func() { assert.NoError(t, a.Run(ctx)) })
	t.Cleanup(func() {
		cancel()
		both.Wait()
	})
	return "http://" + s.Addr().String(), a
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(within(t), http.MethodGet, url, http.NoBody)
	require.NoError(t, err)
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := c.Do(req)
	require.NoError(t, err)
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	return r.StatusCode, string(body)
}

func TestAgentTellsFiguresAndTheClockAgrees(t *testing.T) {
	url, _ := serve(t, options(t))
	f, err := Client{URL: url + "/"}.Host(within(t))
	require.NoError(t, err)
	assert.Equal(t, "0b9a0c8e-6f0d-4d36-9f4c-0d3f8a1f2b10", f.BootID)
	assert.Equal(t, &MemoryErrors{Corrected: 7, Uncorrected: 1}, f.MemoryErrors)
	assert.LessOrEqual(t, f.Clock.Skew.Abs(), f.Clock.Within, "one clock: off by no more than cannot be told")
	assert.WithinDuration(t, time.Now(), f.Clock.At, patience)

	status, body := get(t, url+"/metrics")
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, body, "holdfast_build_info")
	for _, path := range []string{"/healthz", "/readyz"} {
		status, body = get(t, url+path)
		assert.Equal(t, http.StatusOK, status)
		assert.Equal(t, "ok\n", body)
	}
	status, _ = get(t, url+"/v1/hosts")
	assert.Equal(t, http.StatusNotFound, status)
}

func TestClockOfAHostThatIsAhead(t *testing.T) {
	const ahead = 90 * time.Second
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(Figures{BootID: "b", Now: time.Now().Add(ahead)})
	}))
	defer s.Close()
	f, err := Client{URL: s.URL}.Host(within(t))
	require.NoError(t, err)
	assert.LessOrEqual(t, (f.Clock.Skew - ahead).Abs(), f.Clock.Within)
	assert.Positive(t, f.Clock.Within)
}

func TestAgentWithAToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte("s3cret-1\n"), 0o600))
	o := options(t)
	o.TokenFile = alert.TokenFile(file)
	url, _ := serve(t, o)

	_, err := Client{URL: url, Token: "s3cret-1"}.Host(within(t))
	require.NoError(t, err)
	for _, wrong := range []string{"", "s3cret-2", "s3cret-"} {
		_, err = Client{URL: url, Token: wrong}.Host(within(t))
		require.ErrorContains(t, err, "401 Unauthorized")
		require.ErrorContains(t, err, "--token-file")
		require.NotContains(t, err.Error(), "s3cret")
	}
	status, _ := get(t, url+"/healthz")
	assert.Equal(t, http.StatusOK, status, "load balancers have no token")

	require.NoError(t, os.WriteFile(file, []byte("s3cret-2\n"), 0o600))
	_, err = Client{URL: url, Token: "s3cret-2"}.Host(within(t))
	require.NoError(t, err, "a new token counts without a restart")
	require.NoError(t, os.Remove(file))
	_, err = Client{URL: url, Token: "s3cret-2"}.Host(within(t))
	require.ErrorContains(t, err, "500", "without the file nobody gets in")
}

func TestAgentDoesNotStartWithoutItsToken(t *testing.T) {
	o := options(t)
	o.TokenFile = alert.TokenFile(filepath.Join(t.TempDir(), "missing"))
	_, err := New(o)
	require.ErrorContains(t, err, "read token")
}

func TestAgentSaysWhatIsWrongWithItsOptions(t *testing.T) {
	o := options(t)
	o.Procfs = t.TempDir()
	_, err := New(o)
	require.ErrorContains(t, err, "--procfs")
	o = options(t)
	o.Heartbeat, o.HeartbeatEvery = "x", time.Millisecond
	_, err = New(o)
	require.ErrorContains(t, err, "allowed: 1s to 1m0s")
}

func TestAgentWithAHeartbeat(t *testing.T) {
	o := options(t)
	o.Heartbeat, o.HeartbeatEvery = filepath.Join(t.TempDir(), "kvm1"), ShortestBeat
	url, a := serve(t, o)
	require.Eventually(t, func() bool { _, err := ReadBeat(o.Heartbeat); return err == nil }, patience, tick)
	require.Eventually(t, func() bool { return a.Ready() == nil }, patience, tick)
	b, err := ReadBeat(o.Heartbeat)
	require.NoError(t, err)
	assert.Equal(t, "0b9a0c8e-6f0d-4d36-9f4c-0d3f8a1f2b10", b.Boot)
	require.Eventually(t, func() bool {
		_, body := get(t, url+"/metrics")
		return strings.Contains(body, `holdfast_agent_heartbeats_total{outcome="written"} `)
	}, patience, tick)
}

// Storage that hangs takes the heartbeat with it, and nothing else.
func TestStorageThatHangsDoesNotHangTheFigures(t *testing.T) {
	o := options(t)
	o.Heartbeat, o.HeartbeatEvery = filepath.Join(t.TempDir(), "kvm1"), ShortestBeat
	a, err := New(o)
	require.NoError(t, err)
	hang := make(chan struct{})
	a.heart.write = func(Beat, string) error { <-hang; return nil }
	s, err := telemetry.Listen("127.0.0.1:0", o.Metrics, a.Ready, a.Route(), a.LogRoute())
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var both sync.WaitGroup
	both.Go(func() { assert.NoError(t, s.Run(ctx)) })
	both.Go(func() { _ = a.Run(ctx) })
	defer both.Wait()
	defer cancel()
	defer close(hang)

	url := "http://" + s.Addr().String()
	status, body := get(t, url+"/readyz")
	assert.Equal(t, http.StatusServiceUnavailable, status)
	assert.Contains(t, body, "hang?")
	status, _ = get(t, url+"/healthz")
	assert.Equal(t, http.StatusOK, status)
	_, err = Client{URL: url}.Host(within(t))
	require.NoError(t, err)
}

func TestWhatIsNoAgent(t *testing.T) {
	answer := func(status int, body string) *httptest.Server {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}))
		t.Cleanup(s.Close)
		return s
	}
	for body, want := range map[string]string{
		"<html>":          "cannot be read",
		`{"bootID":"b"}`:  "is it a holdfast agent?",
		`{"now": "noon"}`: "cannot be read",
	} {
		_, err := Client{URL: answer(http.StatusOK, body).URL}.Host(within(t))
		require.ErrorContains(t, err, want, body)
	}
	_, err := Client{URL: answer(http.StatusNotFound, "").URL}.Host(within(t))
	require.ErrorContains(t, err, "is it a holdfast agent?")
	for url, want := range map[string]string{
		"kvm1:9467":                "neither http nor https",
		"http://":                  "names no host",
		"http://u:s3cret@kvm1":     "leave it out",
		"http://kvm1.example:port": "not a URL",
	} {
		_, err := Client{URL: url}.Host(within(t))
		require.ErrorContains(t, err, want, url)
		require.NotContains(t, err.Error(), "s3cret")
	}
}
