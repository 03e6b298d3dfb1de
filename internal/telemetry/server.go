package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// stopTimeout is how long requests in flight may take when the server stops.
const stopTimeout = 5 * time.Second

// Server serves a process's telemetry over HTTP:
//
//	/metrics  what Prometheus scrapes
//	/healthz  200 while the process is alive
//	/readyz   200 while it does its work, 503 with the reason as text while it does not
type Server struct {
	listener net.Listener
	http     *http.Server
}

// Route is something else that a role answers, by a pattern of http.ServeMux.
type Route struct {
	Pattern string
	Handler http.Handler
}

// Listen takes the address, host:port, at once, so that one which is in use stops
// the start; port 0 takes a free one. Requests wait until [Server.Run].
//
// Ready says why the process cannot do its work, or nil; a nil function is always
// ready. It is called for each request, concurrently, and must answer from what
// the process knows already, without a call to anybody. Its text is shown to
// whoever asks: it holds no secret.
//
// More routes are served beside, such as what a role answers to others.
func Listen(addr string, m *Metrics, ready func() error, more ...Route) (*Server, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for metrics and health on %q: %w; set another address, or port 0 for a free one", addr, err)
	}
	return &Server{
		listener: l,
		http: &http.Server{
			Handler:           routes(m, ready, more),
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       10 * time.Second,
			WriteTimeout:      30 * time.Second,
			IdleTimeout:       2 * time.Minute, // longer than a scrape interval
			MaxHeaderBytes:    16 << 10,
		},
	}, nil
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

// Addr is the address that is listened on, with the port that port 0 became.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Run serves until ctx ends, then lets requests in flight finish for up to five
// seconds, and returns nil; after it the address is free. It returns an error
// when the server ends by itself. It runs once.
func (s *Server) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve metrics and health on %s: %w", s.Addr(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := s.http.Shutdown(grace); err != nil { // somebody reads very slowly: cut the line
		_ = s.http.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics and health on %s: %w", s.Addr(), err)
	}
	return nil
}

// Close gives the address back if Run was never called; after Run it does nothing.
func (s *Server) Close() error {
	if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
