package telemetry

import (
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"holdfast/internal/httpserver"
)

// Route is something else that a role answers, by a pattern of http.ServeMux.
type Route struct {
	Pattern string
	Handler http.Handler
}

// Listen makes the server of a process's telemetry:
//
//	/metrics  what Prometheus scrapes
//	/healthz  200 while the process is alive
//	/readyz   200 while it does its work, 503 with the reason as text while it does not
//
// It takes the address, host:port, at once, so that one which is in use stops the
// start; port 0 takes a free one. Requests wait until it runs.
//
// Ready says why the process cannot do its work, or nil; a nil function is always
// ready. It is called for each request, concurrently, and must answer from what
// the process knows already, without a call to anybody. Its text is shown to
// whoever asks: it holds no secret.
//
// More routes are served beside, such as what a role answers to others.
func Listen(addr string, m *Metrics, ready func() error, more ...Route) (*httpserver.Server, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for metrics and health on %q: %w; set another address, or port 0 for a free one", addr, err)
	}
	return httpserver.New(l, "metrics and health", routes(m, ready, more), nil), nil
}

func routes(m *Metrics, ready func() error, more []Route) http.Handler {
	mux := http.NewServeMux()
	for _, r := range more {
		mux.Handle(r.Pattern, r.Handler)
	}
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.Registry, promhttp.HandlerOpts{
		Registry:            m.Registry, // promhttp_metric_handler_errors_total
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 8,
		Timeout:             20 * time.Second,
		EnableOpenMetrics:   true,
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		say(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if ready != nil {
			if err := ready(); err != nil {
				say(w, http.StatusServiceUnavailable, err.Error())
				return
			}
		}
		say(w, http.StatusOK, "ok")
	})
	return mux
}

// say answers with one line of text that no cache keeps.
func say(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, text) // whoever asked may have gone
}
