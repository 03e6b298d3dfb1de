// Package httpserver is how every role of Holdfast serves HTTP: with bounds on what
// a slow or hostile client can hold, and an end that lets requests in flight finish.
package httpserver

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"time"
)

// stopTimeout is how long requests in flight may take when the server stops.
const stopTimeout = 5 * time.Second

// Server serves one handler on one address.
type Server struct {
	what     string
	listener net.Listener
	http     *http.Server
}

// New makes a server of a listener, which is the server's from then on. what is
// served, in words, is for errors. A nil errorLog is the standard one. Requests
// wait until [Server.Run].
func New(l net.Listener, what string, h http.Handler, errorLog *log.Logger) *Server {
	return &Server{
		what: what, listener: l,
		http: &http.Server{
			Handler:           h,
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       10 * time.Second,
			WriteTimeout:      30 * time.Second,
			IdleTimeout:       2 * time.Minute, // longer than whoever comes regularly stays away
			MaxHeaderBytes:    16 << 10,
			ErrorLog:          errorLog,
		},
	}
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
		return fmt.Errorf("serve %s on %s: %w", s.what, s.Addr(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := s.http.Shutdown(grace); err != nil { // somebody is very slow: cut the line
		_ = s.http.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s on %s: %w", s.what, s.Addr(), err)
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
