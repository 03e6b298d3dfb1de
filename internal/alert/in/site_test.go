package in

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/alert"
	"holdfast/internal/fault"
)

// now is a while after everything in testdata was recorded.
var now = time.Date(2026, 11, 22, 13, 0, 0, 0, time.UTC)

// site is a Sink that has some VMs and hosts.
type site struct {
	vms, hosts []string
	err        error // of every alert, if set

	mu     sync.Mutex
	alerts []Alert
}

func (s *site) Alert(_ context.Context, a Alert) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil:
		return s.err
	case a.VM != "" && !slices.Contains(s.vms, a.VM):
		return ErrNoSuchVM
	case a.VM == "" && !slices.Contains(s.hosts, a.Host):
		return ErrNoSuchHost
	}
	s.alerts = append(s.alerts, a)
	return nil
}

func (s *site) taken() []Alert {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.alerts)
}

// someSite has the VM and the host that the recordings are about.
func someSite() *site { return &site{vms: []string{"web1"}, hosts: []string{"kvm1"}} }

// mapped is a mapping with kinds of its own.
func mapped() Mapping {
	m := DefaultMapping()
	m.Kinds = []KindRule{
		{Match: map[string]string{"alertname": "GuestDown"}, Kind: fault.KindHung},
		{Match: map[string]string{"alertname": "NodeDown"}, Kind: fault.KindHostUnreachable},
	}
	return m
}

// options are those of most tests: nothing but the payload is in the way.
func options(s Sink) Options {
	return Options{Mapping: mapped(), Sink: s, Rate: 1e9, Burst: 1e9, Now: func() time.Time { return now }}
}

func newHandler(t testing.TB, o Options) *Handler {
	t.Helper()
	h, err := NewHandler(o)
	require.NoError(t, err)
	return h
}

func tokenFile(t testing.TB, token string) alert.TokenFile {
	t.Helper()
	name := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(name, []byte(token), 0o600))
	return alert.TokenFile(name)
}

// request is a post of a payload, as Prometheus makes it.
func request(body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, Path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	return r
}

// post hands a request to the handler, with the headers name: value changed.
func post(h http.Handler, r *http.Request, headers ...string) *httptest.ResponseRecorder {
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const firing = `[{"labels":{"alertname":"GuestDown","vm":"web1"}}]`
