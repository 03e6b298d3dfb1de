package in

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"

	"holdfast/internal/httpserver"
)

// Listen makes the server that takes alerts at [Path]. It takes the address,
// host:port, at once, so that one which is in use stops the start; port 0 takes a
// free one. Requests wait until it runs.
//
// An address that other machines reach is refused unless a token or a client's
// certificate is asked for: an alert can have a VM restarted.
func Listen(addr string, h *Handler, files TLS) (*httpserver.Server, error) {
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
	// Failed handshakes are the senders' trouble.
	return httpserver.New(l, "alerts", mux, slog.NewLogLogger(h.log.Handler(), slog.LevelDebug)), nil
}

func isLoopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
