// Package out sends alarms: to an Alertmanager ([Alertmanager]), and to any
// other program as JSON ([Webhook]).
//
// Both are reporters of the monitor: each call is one attempt, bounded by its
// context, and keeps nothing. Saying a fault again, or that it is over when it
// never was said, does no harm, so that whoever keeps the faults may repeat
// itself as it likes.
//
// An error that is a [Refused] says that the same request will be refused again:
// drop it instead of trying for ever. That is only this saying: the fault's next
// one may go through. What can go away by itself is another error: no connection,
// a time out, 408, 429, 5xx, a redirect.
package out

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"holdfast/internal/alert"
	"holdfast/internal/telemetry"
)

// Target is where alarms go, and how.
type Target struct {
	// URL with http or https, without user and password. Of an Alertmanager the
	// address that its own pages have, such as http://am:9093.
	URL string
	// TokenFile holds a bearer token; empty: none is sent.
	TokenFile alert.TokenFile
	// CAFile holds the certificates, in PEM, that the other side's must come from;
	// empty: those that this machine trusts.
	CAFile string
}

const (
	// attemptTimeout ends an attempt whose context has no deadline.
	attemptTimeout = 30 * time.Second
	// maxExcerpt is how much of an answer is told, in bytes.
	maxExcerpt = 300
	// maxAnswer is how much of an answer is read, in bytes, so that the connection
	// can be used again.
	maxAnswer = 64 << 10
)

// sender makes one attempt at a time to post something.
type sender struct {
	url   string
	name  string // without what may be a secret: paths of webhooks are
	token alert.TokenFile
	http  *http.Client
}

func newSender(t Target, path string) (*sender, error) {
	u, err := url.Parse(t.URL)
	switch {
	case err != nil:
		return nil, errors.New("alerts.out: a url is not valid: write http:// or https://, a host and a path") // err has all of it
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return nil, fmt.Errorf("alerts.out: url of host %q: write http:// or https://, a host and a path", u.Host)
	case u.User != nil:
		return nil, fmt.Errorf("alerts.out: url of %s: it has a user or a password: put a token into tokenFile instead", u.Host)
	}
	if path != "" {
		u = u.JoinPath(path)
	}
	s := &sender{url: u.String(), name: u.Scheme + "://" + u.Host, token: t.TokenFile}
	if s.token != "" {
		if _, err := s.token.Read(); err != nil {
			return nil, fmt.Errorf("alerts.out: for %s: %w", s.name, err)
		}
	}
	s.http, err = newClient(t.CAFile)
	if err != nil {
		return nil, fmt.Errorf("alerts.out: for %s: %w", s.name, err)
	}
	return s, nil
}

func newClient(caFile string) (*http.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxConnsPerHost = 16
	transport.MaxIdleConnsPerHost = 4
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fmt.Errorf("read caFile: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("caFile: %s holds no certificate in PEM", caFile)
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	return &http.Client{Transport: transport, Timeout: attemptTimeout, CheckRedirect: stayThere}, nil
}

// stayThere follows a redirect within the same server that keeps the method.
// Another server would get the alarm and perhaps the token, and a POST that
// became a GET would be answered with 200 and be lost.
func stayThere(next *http.Request, via []*http.Request) error {
	first := via[0]
	if next.Method != first.Method || next.URL.Scheme != first.URL.Scheme || next.URL.Host != first.URL.Host || len(via) > 3 {
		return http.ErrUseLastResponse
	}
	return nil
}

// Refused is an answer of 4xx that the same request will get again.
type Refused struct {
	To     string // scheme and host
	Status int    // of HTTP
	Answer string // its beginning
}

func (r *Refused) Error() string {
	text := fmt.Sprintf("alarm to %s is refused: %d %s", r.To, r.Status, http.StatusText(r.Status))
	if r.Answer != "" {
		text += ": " + r.Answer
	}
	switch r.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return text + "; check the token in its tokenFile"
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return text + "; check its url"
	}
	return text
}

// post makes one attempt. The error names no more of the URL than scheme and host.
func (s *sender) post(ctx context.Context, body []byte) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("alarm to %s: %w", s.name, cause(err))
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "holdfast/"+telemetry.Version())
	token := ""
	if s.token != "" {
		if token, err = s.token.Read(); err != nil {
			return fmt.Errorf("alarm to %s: %w", s.name, err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := s.http.Do(r)
	if err != nil {
		return fmt.Errorf("alarm to %s: %w", s.name, cause(err))
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, maxAnswer)) // the status says what counts
	return s.judge(answer, excerpt(string(text), token))
}

// judge makes an error of an answer, or nil.
func (s *sender) judge(answer *http.Response, text string) error {
	switch code := answer.StatusCode; {
	case code >= 200 && code < 300:
		return nil
	case code >= 300 && code < 400:
		to := "elsewhere"
		if l, err := answer.Location(); err == nil && l.Host != "" {
			to = "to " + l.Scheme + "://" + l.Host
		}
		return fmt.Errorf("alarm to %s: it answers %d and redirects %s, which is not followed: set the url that it redirects to", s.name, code, to)
	case code >= 400 && code < 500 && code != http.StatusRequestTimeout && code != http.StatusTooManyRequests:
		return &Refused{To: s.name, Status: code, Answer: text}
	default:
		return fmt.Errorf("alarm to %s: it answers %d %s: %s", s.name, code, http.StatusText(code), text)
	}
}

// cause is an error of net/http without the URL that it puts in front.
func cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// excerpt is the beginning of an answer in one line, without the token, should
// the other side have sent it back.
func excerpt(text, token string) string {
	if token != "" {
		text = strings.ReplaceAll(text, token, "(token)")
	}
	return alert.Shorten(strings.Join(strings.Fields(alert.Printable(text)), " "), maxExcerpt)
}

// Permanent reports that saying the same again is of no use. A token that is
// refused can be mended without a change of what is said.
func (r *Refused) Permanent() bool {
	return r.Status != http.StatusUnauthorized && r.Status != http.StatusForbidden
}
