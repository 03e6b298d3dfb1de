//go:build lab

package alertmanager

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/alert/in"
	"holdfast/internal/httpserver"
	"holdfast/test/rig"
)

var record = flag.Bool("record", false, "write what was received into internal/alert/in/testdata")

// recordings is where the unit tests of internal/alert/in read.
const recordings = "../../internal/alert/in/testdata"

// server is an Alertmanager of the test's own.
type server struct {
	url  string
	env  []string
	tool string
}

// program finds a program of the Debian package, or fails.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	require.NoError(t, err, "it comes with the Debian package prometheus-alertmanager: run `make packages`")
	return path
}

// start runs an Alertmanager that sends what it gets to the receiver, which is
// a webhook_config in YAML.
func start(t *testing.T, receiver string) *server {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "alertmanager.yml")
	require.NoError(t, os.WriteFile(config, []byte(`
route:
  receiver: receiver
  group_by: [alertname]
  group_wait: 1s
  group_interval: 1s
  repeat_interval: 1h
receivers:
  - name: receiver
    webhook_configs:
      - `+receiver+"\n"), 0o600))
	address := freeAddress(t)
	s := &server{url: "http://" + address, env: []string{"HOME=" + dir}, tool: program(t, "amtool")}
	rig.Run(t, "alertmanager", s.env, program(t, "prometheus-alertmanager"),
		"--config.file="+config, "--storage.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address, "--cluster.listen-address=")
	rig.Eventually(t, "Alertmanager answers", func() error {
		_, err := get(t, s.url+"/-/ready")
		return err
	})
	return s
}

// freeAddress is one that nobody listens on. It takes the port from the system
// and gives it back: Alertmanager does not say which one it got for port 0.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

func get(t *testing.T, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	require.NoError(t, err)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s: %s", url, answer.Status, body)
	}
	return body, err
}

// amtool runs the tool against this Alertmanager.
func (s *server) amtool(t *testing.T, args ...string) string {
	t.Helper()
	return amtool(t, s.env, append([]string{"--alertmanager.url=" + s.url}, args...)...)
}

func amtool(t *testing.T, env []string, args ...string) string {
	t.Helper()
	out, errs, code := rig.Command(t, env, program(t, "amtool"), args...)
	require.Zero(t, code, "amtool %s: %s%s", strings.Join(args, " "), out, errs)
	return out
}

// standing is an alert in the API's own words.
type standing struct {
	Fingerprint         string
	Labels, Annotations map[string]string
	StartsAt, EndsAt    time.Time
	Status              struct{ State string }
}

// alerts are those that the Alertmanager has and that are not over.
func (s *server) alerts(t *testing.T) []standing {
	t.Helper()
	body, err := get(t, s.url+"/api/v2/alerts")
	require.NoError(t, err)
	var out []standing
	require.NoError(t, json.Unmarshal(body, &out))
	return out
}

// inbox serves a handler, and keeps what was posted to it.
type inbox struct {
	*httptest.Server
	mu     sync.Mutex
	bodies [][]byte
}

func newInbox(t *testing.T, h http.Handler) *inbox {
	t.Helper()
	b := &inbox{}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		b.mu.Lock()
		b.bodies = append(b.bodies, body)
		b.mu.Unlock()
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(b.Close)
	return b
}

func (b *inbox) received() [][]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([][]byte(nil), b.bodies...)
}

// keep writes the newest payload into the test data, if it was asked for.
func (b *inbox) keep(t *testing.T, name string) {
	t.Helper()
	if !*record {
		return
	}
	bodies := b.received()
	require.NotEmpty(t, bodies)
	require.NoError(t, os.WriteFile(filepath.Join(recordings, name), bodies[len(bodies)-1], 0o644))
}

// sink is a site with the VM web1 and the host kvm1.
type sink struct {
	mu     sync.Mutex
	alerts []in.Alert
}

func (s *sink) Alert(_ context.Context, a in.Alert) error {
	switch {
	case a.VM != "" && a.VM != "web1":
		return in.ErrNoSuchVM
	case a.VM == "" && a.Host != "kvm1":
		return in.ErrNoSuchHost
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alerts = append(s.alerts, a)
	return nil
}

func (s *sink) all() []in.Alert {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]in.Alert(nil), s.alerts...)
}

// await waits for the newest alert that is as wanted.
func (s *sink) await(t *testing.T, what string, ok func(in.Alert) bool) in.Alert {
	t.Helper()
	var found in.Alert
	rig.Eventually(t, what, func() error {
		all := s.all()
		for i := len(all) - 1; i >= 0; i-- {
			if ok(all[i]) {
				found = all[i]
				return nil
			}
		}
		return fmt.Errorf("not among %d alerts: %+v", len(all), all)
	})
	return found
}

// serve runs the server until the test ends.
func serve(t *testing.T, s *httpserver.Server) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-ended) })
}
