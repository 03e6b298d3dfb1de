// Package fetch asks another machine for one JSON document over HTTP, in the way
// that a vantage point needs: every question is a connection of its own, and how
// far it came is told even if no answer came.
package fetch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"
)

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 1 << 20

// Trace is how far a question came.
type Trace struct {
	// Connected: the other machine's kernel took the connection.
	Connected bool
	// Refused: it refused one.
	Refused bool
	// Dialed is when the first connection was begun, Sent when the question had
	// been written, Answered when the first byte of the answer came, by this
	// machine's clock. Zero: it did not come so far.
	Dialed, Sent, Answered time.Time
	// Status of the answer, 0 if there was none.
	Status int
}

// StatusError is an answer other than 200.
type StatusError struct{ Status int }

func (e StatusError) Error() string {
	return fmt.Sprintf("answers %d %s", e.Status, http.StatusText(e.Status))
}

// client makes a connection for each question, because one that is kept says
// nothing about a machine that died since. It goes through no proxy and follows no
// redirect: the question is about this machine and no other.
var client = &http.Client{
	Transport: &http.Transport{
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: 64 << 10,
	},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// JSON asks for the document at the address and decodes it into what into points
// to. A token that is not empty is sent as bearer. Errors are a [StatusError] for
// another answer than 200, and else what failed, without the address or the token.
// ctx bounds it; without an end it may take for good.
func JSON(ctx context.Context, address, token string, into any) (Trace, error) {
	var r recorder
	ctx = httptrace.WithClientTrace(ctx, r.hooks())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return Trace{}, cause(err)
	}
	req.Header.Set("Accept", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := client.Do(req)
	if err != nil {
		return r.trace(), cause(err)
	}
	defer answer.Body.Close()
	t := r.trace()
	t.Status = answer.StatusCode
	if answer.StatusCode != http.StatusOK {
		return t, StatusError{Status: answer.StatusCode}
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxAnswer)).Decode(into); err != nil {
		return t, fmt.Errorf("what it answers cannot be read: %w", err)
	}
	return t, nil
}

// Check says why an address cannot be asked, or nil.
func Check(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return fmt.Errorf("not a URL: write it like http://kvm1.example.net:9467")
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("%q is neither http nor https: write it like http://kvm1.example.net:9467", u.Scheme)
	case u.Hostname() == "":
		return fmt.Errorf("it names no host: write it like http://kvm1.example.net:9467")
	case u.User != nil:
		return fmt.Errorf("it holds a user or a password, and would be shown: leave it out")
	}
	return nil
}

// Join puts a path behind a base URL, with or without a slash at its end.
func Join(base, path string) string { return strings.TrimRight(base, "/") + path }

// cause is an error without the URL in it, which whoever asks knows.
func cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// recorder writes down what happens. Addresses of one name are tried side by
// side, so it may be told from several goroutines, even after the answer.
type recorder struct {
	mu sync.Mutex
	t  Trace
}

func (r *recorder) trace() Trace {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.t
}

func (r *recorder) note(f func(*Trace)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.t)
}

func (r *recorder) hooks() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		ConnectStart: func(_, _ string) {
			r.note(func(t *Trace) {
				if t.Dialed.IsZero() {
					t.Dialed = time.Now()
				}
			})
		},
		ConnectDone: func(_, _ string, err error) {
			r.note(func(t *Trace) {
				t.Connected = t.Connected || err == nil
				t.Refused = t.Refused || errors.Is(err, syscall.ECONNREFUSED)
			})
		},
		WroteRequest:         func(httptrace.WroteRequestInfo) { r.note(func(t *Trace) { t.Sent = time.Now() }) },
		GotFirstResponseByte: func() { r.note(func(t *Trace) { t.Answered = time.Now() }) },
	}
}

// Host is the host and port of an address, to tell people whom was asked.
func Host(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "(unreadable URL)"
	}
	if u.Port() == "" {
		return u.Hostname()
	}
	return net.JoinHostPort(u.Hostname(), u.Port())
}
