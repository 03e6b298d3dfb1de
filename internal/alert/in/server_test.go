package in

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/httpserver"
	"holdfast/test/alertmanager/pki"
)

func serve(t *testing.T, addr string, o Options, files TLS) *httpserver.Server {
	t.Helper()
	s, err := Listen(addr, newHandler(t, o), files)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
		require.NoError(t, s.Close())
	})
	return s
}

// send posts an alert to a server, each time by a new connection.
func send(t *testing.T, url string, config *tls.Config) (int, error) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(firing))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	answer, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, err
}

func trust(t *testing.T, file string) *x509.CertPool {
	t.Helper()
	pem, err := os.ReadFile(file)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(pem))
	return pool
}

func TestServer(t *testing.T) {
	s := someSite()
	server := serve(t, "127.0.0.1:0", options(s), TLS{})
	code, err := send(t, "http://"+server.Addr().String()+Path, nil)
	require.NoError(t, err)
	require.Equal(t, 200, code)
	require.Len(t, s.taken(), 1)
	code, err = send(t, "http://"+server.Addr().String()+"/api/v1/alerts", nil)
	require.NoError(t, err)
	require.Equal(t, 404, code)

	_, err = Listen(server.Addr().String(), newHandler(t, options(s)), TLS{})
	require.ErrorContains(t, err, "set another address")
}

// Nobody who is not asked who they are gets through from another machine.
func TestServerIsNotOpen(t *testing.T) {
	_, err := Listen("0.0.0.0:0", newHandler(t, options(someSite())), TLS{})
	require.ErrorContains(t, err, "set alerts.in.tokenFile or alerts.in.tls.clientCA, or listen on 127.0.0.1")
	ca := pki.New(t)
	cert, key := ca.Issue(t, "127.0.0.1")
	_, err = Listen("[::]:0", newHandler(t, options(someSite())), TLS{Cert: cert, Key: key})
	require.ErrorContains(t, err, "anybody who reaches it")

	o := options(someSite())
	o.TokenFile = tokenFile(t, "t")
	var log bytes.Buffer
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	server, err := Listen("0.0.0.0:0", newHandler(t, o), TLS{})
	require.NoError(t, err)
	require.NoError(t, server.Close())
	require.NoError(t, server.Close())
	require.Contains(t, log.String(), "without TLS")
}

func TestMutualTLS(t *testing.T) {
	s, ca, stranger := someSite(), pki.New(t), pki.New(t)
	cert, key := ca.Issue(t, "127.0.0.1")
	server := serve(t, "127.0.0.1:0", options(s), TLS{Cert: cert, Key: key, ClientCA: ca.File})
	url := "https://" + server.Addr().String() + Path
	by := func(a *pki.Authority) *tls.Config {
		c := &tls.Config{RootCAs: trust(t, ca.File)}
		if a != nil {
			pair, err := tls.LoadX509KeyPair(a.Issue(t, "sender"))
			require.NoError(t, err)
			c.Certificates = []tls.Certificate{pair}
		}
		return c
	}
	code, err := send(t, url, by(ca))
	require.NoError(t, err)
	require.Equal(t, 200, code)
	_, err = send(t, url, by(nil))
	require.Error(t, err)
	_, err = send(t, url, by(stranger))
	require.Error(t, err)
	require.Len(t, s.taken(), 1)
}

// A certificate that was renewed counts for the next connection, and one that
// is half written does not stop the server.
func TestCertificateIsReadAgain(t *testing.T) {
	first, second := pki.New(t), pki.New(t)
	cert, key := first.Issue(t, "127.0.0.1")
	var log safeBuffer
	o := options(someSite())
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	server := serve(t, "127.0.0.1:0", o, TLS{Cert: cert, Key: key})
	url := "https://" + server.Addr().String() + Path
	trusts := func(a *pki.Authority) error {
		_, err := send(t, url, &tls.Config{RootCAs: trust(t, a.File)})
		return err
	}
	require.NoError(t, trusts(first))

	newCert, newKey := second.Issue(t, "127.0.0.1")
	replace(t, cert, newCert, time.Second)
	require.NoError(t, trusts(first), "the key does not fit yet")
	require.Contains(t, log.String(), "going on with those before")
	replace(t, key, newKey, time.Second)
	require.NoError(t, trusts(second))
	require.Error(t, trusts(first))
}

// replace puts a file into the place of another, with a time of its own.
func replace(t *testing.T, old, by string, later time.Duration) {
	t.Helper()
	at := time.Now().Add(later)
	require.NoError(t, os.Chtimes(by, at, at))
	require.NoError(t, os.Rename(by, old))
}

// safeBuffer is written by the server's goroutines.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestTLSFiles(t *testing.T) {
	ca := pki.New(t)
	cert, key := ca.Issue(t, "x")
	c, err := TLS{}.Config(nil)
	require.NoError(t, err)
	require.Nil(t, c)
	for want, files := range map[string]TLS{
		"tls takes both cert and key": {ClientCA: ca.File},
		"set both, or none":           {Cert: cert},
		"read tls.cert and tls.key":   {Cert: cert, Key: ca.File},
		"read tls.clientCA":           {Cert: cert, Key: key, ClientCA: "none.pem"},
		"holds no certificate":        {Cert: cert, Key: key, ClientCA: key},
	} {
		_, err := files.Config(nil)
		require.ErrorContains(t, err, want)
	}
}
