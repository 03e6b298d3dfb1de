package in

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// stopTimeout is how long requests in flight may take when the server stops.
const stopTimeout = 5 * time.Second

// Server serves a [Handler] at [Path].
type Server struct {
	listener net.Listener
	http     *http.Server
}

// Listen takes the address, host:port, at once, so that one which is in use stops
// the start; port 0 takes a free one. Requests wait until [Server.Run].
//
// An address that other machines reach is refused unless a token or a client's
// certificate is asked for: an alert can have a VM restarted.
func Listen(addr string, h *Handler, files TLS) (*Server, error) {
	config, err := files.Config(h.log)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for alerts on %q: %w; set another address, or port 0 for a free one", addr, err)
	}
	local := isLoopback(l.Addr())
	if !local && h.o.TokenFile == "" && !files.Mutual() {
		_ = l.Close()
		return nil, fmt.Errorf("listen for alerts on %q: anybody who reaches it could open incidents: "+
			"set alerts.in.tokenFile or alerts.in.tls.clientCA, or listen on 127.0.0.1", addr)
	}
	if config != nil {
		l = tls.NewListener(l, config)
	} else if !local {
		h.log.Warn("alerts and their token come in without TLS: set alerts.in.tls, or put a proxy with TLS before it", "listen", addr)
	}
	mux := http.NewServeMux()
	mux.Handle(Path, h)
	return &Server{
		listener: l,
		http: &http.Server{
			Handler:           mux,
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       10 * time.Second,
			WriteTimeout:      30 * time.Second,
			IdleTimeout:       2 * time.Minute, // longer than a sender's interval
			MaxHeaderBytes:    16 << 10,
			ErrorLog:          slog.NewLogLogger(h.log.Handler(), slog.LevelDebug), // failed handshakes
		},
	}, nil
}

func isLoopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
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
		return fmt.Errorf("serve alerts on %s: %w", s.Addr(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := s.http.Shutdown(grace); err != nil { // somebody sends very slowly: cut the line
		_ = s.http.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve alerts on %s: %w", s.Addr(), err)
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
