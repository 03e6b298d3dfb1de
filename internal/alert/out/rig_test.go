package out

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/alert"
	"holdfast/internal/fault"
)

var now = time.Date(2026, 11, 22, 13, 0, 0, 0, time.UTC)

// sample is a fault with everything that one can have.
func sample() fault.Fault {
	return fault.Fault{
		ID: "kvm1/disk-full/1", Kind: fault.KindDiskFull, Site: "lab", VM: fault.VM{UUID: "6c1f2b0e-0000-4000-8000-000000000001", Name: "web1"},
		Host: "kvm1", Device: "vda", First: now.Add(-time.Minute), Last: now, Reporter: "monitor@mon1", Why: "vda of web1 is nearly full",
		Seen:   fault.Sighting{Host: "kvm1", State: "running", Reason: "booted", At: now},
		Labels: map[string]string{"tier": "db"},
		Evidence: []fault.Evidence{
			{What: "vm.disk.full", Value: "93.0 % (limit 90 %)", Since: now.Add(-time.Minute), At: now},
			{What: "growth", Value: "1 GiB/min", From: "mon2"},
		},
	}
}

// other is what alarms are sent to: it keeps the requests, and answers with a status.
type other struct {
	*httptest.Server
	answer http.HandlerFunc // nil: 200

	mu       sync.Mutex
	requests []*http.Request
	bodies   []string
}

func newOther(t *testing.T, answer http.HandlerFunc) *other {
	t.Helper()
	o := &other{answer: answer}
	o.Server = httptest.NewServer(o)
	t.Cleanup(o.Close)
	return o
}

func (o *other) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the sender has gone
	}
	o.mu.Lock()
	o.requests, o.bodies = append(o.requests, r), append(o.bodies, string(body))
	o.mu.Unlock()
	if o.answer != nil {
		r.Body = io.NopCloser(bytes.NewReader(body))
		o.answer(w, r)
	}
}

func (o *other) last(t *testing.T) (*http.Request, string) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	require.NotEmpty(t, o.requests)
	return o.requests[len(o.requests)-1], o.bodies[len(o.bodies)-1]
}

func (o *other) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.requests)
}

func tokenFile(t *testing.T, token string) alert.TokenFile {
	t.Helper()
	name := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(name, []byte(token), 0o600))
	return alert.TokenFile(name)
}

func newWebhook(t *testing.T, target Target) *Webhook {
	t.Helper()
	w, err := NewWebhook(target)
	require.NoError(t, err)
	t.Cleanup(w.Close)
	return w
}

func newAlertmanager(t *testing.T, url string, o AlertmanagerOptions) *Alertmanager {
	t.Helper()
	if o.Repeat == 0 {
		o.Repeat = 5 * time.Minute
	}
	o.Now = func() time.Time { return now }
	a, err := NewAlertmanager(Target{URL: url}, o)
	require.NoError(t, err)
	t.Cleanup(a.Close)
	return a
}
