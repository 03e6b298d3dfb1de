package out

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/test/alertmanager/pki"
)

// Which answers are worth another attempt.
func TestAnswers(t *testing.T) {
	for status, permanent := range map[int]bool{
		400: true, 401: true, 403: true, 404: true, 405: true, 409: true, 410: true, 413: true, 415: true, 422: true,
		408: false, 429: false, 500: false, 502: false, 503: false, 504: false, 304: false,
	} {
		to := newOther(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			if status != http.StatusNotModified {
				fmt.Fprintf(w, "no \x1b[31m\n token-of-mine %s", strings.Repeat("x", 1000))
			}
		})
		hook := newWebhook(t, Target{URL: to.URL + "/services/T0/secret?key=secret", TokenFile: tokenFile(t, "token-of-mine")})
		err := hook.ReportFault(t.Context(), sample())
		require.ErrorContains(t, err, to.URL)
		require.ErrorContains(t, err, fmt.Sprint(status))
		require.NotContains(t, err.Error(), "secret")
		require.NotContains(t, err.Error(), "token-of-mine")
		require.NotContains(t, err.Error(), "\n")
		require.Less(t, len(err.Error()), 500)
		var refused *Refused
		require.Equal(t, permanent, errors.As(err, &refused), "%d", status)
		if permanent {
			require.Equal(t, status, refused.Status)
			require.Equal(t, to.URL, refused.To)
		}
		require.Equal(t, 1, to.count(), "one attempt")
	}
	for _, status := range []int{200, 201, 202, 204} {
		to := newOther(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		require.NoError(t, newWebhook(t, Target{URL: to.URL}).ReportFault(t.Context(), sample()))
	}
}

func TestRefusedSaysWhatToCheck(t *testing.T) {
	r := &Refused{To: "http://am:9093", Status: 401, Answer: "who are you"}
	require.EqualError(t, r, "alarm to http://am:9093 is refused: 401 Unauthorized: who are you; check the token in its tokenFile")
	r = &Refused{To: "http://am:9093", Status: 404}
	require.EqualError(t, r, "alarm to http://am:9093 is refused: 404 Not Found; check its url")
	r = &Refused{To: "http://am:9093", Status: 400, Answer: "bad"}
	require.EqualError(t, r, "alarm to http://am:9093 is refused: 400 Bad Request: bad")
}

// A token is sent as it is now, and to nobody else.
func TestTokenAndHeaders(t *testing.T) {
	to := newOther(t, nil)
	file := tokenFile(t, "first\n")
	hook := newWebhook(t, Target{URL: to.URL + "/hook", TokenFile: file})
	require.NoError(t, hook.ReportFault(t.Context(), sample()))
	r, _ := to.last(t)
	require.Equal(t, "/hook", r.URL.Path)
	require.Equal(t, http.MethodPost, r.Method)
	require.Equal(t, "Bearer first", r.Header.Get("Authorization"))
	require.Equal(t, "application/json", r.Header.Get("Content-Type"))
	require.True(t, strings.HasPrefix(r.Header.Get("User-Agent"), "holdfast/"), r.Header.Get("User-Agent"))

	require.NoError(t, os.WriteFile(string(file), []byte("second"), 0o600))
	require.NoError(t, hook.ReportFault(t.Context(), sample()))
	r, _ = to.last(t)
	require.Equal(t, "Bearer second", r.Header.Get("Authorization"))

	require.NoError(t, os.Remove(string(file)))
	err := hook.ReportFault(t.Context(), sample())
	require.ErrorIs(t, err, os.ErrNotExist)
	var refused *Refused
	require.NotErrorAs(t, err, &refused, "the file may come back")
	require.Equal(t, 2, to.count())
}

// Redirects are followed within a server if the alarm stays a POST.
func TestRedirects(t *testing.T) {
	elsewhere := newOther(t, nil)
	for name, c := range map[string]struct {
		code int
		to   string
		ok   bool
	}{
		"moved within":         {code: http.StatusPermanentRedirect, to: "/new", ok: true},
		"moved for now":        {code: http.StatusTemporaryRedirect, to: "/new", ok: true},
		"would become a GET":   {code: http.StatusFound, to: "/new"},
		"would be elsewhere":   {code: http.StatusTemporaryRedirect, to: elsewhere.URL + "/secret"},
		"in a circle":          {code: http.StatusTemporaryRedirect, to: "/old"},
		"to nowhere":           {code: http.StatusTemporaryRedirect},
		"another way to speak": {code: http.StatusTemporaryRedirect, to: "https://HOST/new"},
	} {
		t.Run(name, func(t *testing.T) {
			to := newOther(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/old" {
					if c.to != "" {
						w.Header().Set("Location", strings.Replace(c.to, "HOST", r.Host, 1))
					}
					w.WriteHeader(c.code)
				}
			})
			err := newWebhook(t, Target{URL: to.URL + "/old", TokenFile: tokenFile(t, "t")}).ReportFault(t.Context(), sample())
			if c.ok {
				require.NoError(t, err)
				r, body := to.last(t)
				require.Equal(t, "/new", r.URL.Path)
				require.Equal(t, "Bearer t", r.Header.Get("Authorization"))
				require.Contains(t, body, "disk-full")
				return
			}
			require.Error(t, err)
			require.NotContains(t, err.Error(), "secret")
			var refused *Refused
			require.NotErrorAs(t, err, &refused)
			require.Zero(t, elsewhere.count())
		})
	}
}

// An attempt ends with its context, and a connection that fails is told without the path.
func TestAttemptEnds(t *testing.T) {
	blocked := make(chan struct{})
	to := newOther(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-blocked:
		case <-r.Context().Done():
		}
	})
	defer close(blocked)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := newWebhook(t, Target{URL: to.URL + "/secret"}).ReportFault(ctx, sample())
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotContains(t, err.Error(), "secret")

	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	err = newWebhook(t, Target{URL: "http://" + l.Addr().String() + "/secret"}).ReportFault(t.Context(), sample())
	require.ErrorContains(t, err, "connection refused")
	require.NotContains(t, err.Error(), "secret")
}

func TestCA(t *testing.T) {
	ca := pki.New(t)
	cert, key := ca.Issue(t, "127.0.0.1")
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ErrorLog = nil
	startTLS(t, server, cert, key)
	require.NoError(t, newWebhook(t, Target{URL: server.URL, CAFile: ca.File}).ReportFault(t.Context(), sample()))
	err := newWebhook(t, Target{URL: server.URL}).ReportFault(t.Context(), sample())
	require.ErrorContains(t, err, "certificate")
	err = newWebhook(t, Target{URL: server.URL, CAFile: pki.New(t).File}).ReportFault(t.Context(), sample())
	require.ErrorContains(t, err, "certificate")
}

func TestTargetIsChecked(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	for want, target := range map[string]Target{
		"write http:// or https://":            {URL: "am:9093"},
		`url of host ""`:                       {URL: "http:///secret"},
		"a url is not valid":                   {URL: "http://secret\x00"},
		"it has a user or a password":          {URL: "http://secret:secret@am:9093"},
		"put the token there":                  {URL: "http://am:9093", TokenFile: "none"},
		"is empty: write the token into it":    {URL: "http://am:9093", TokenFile: tokenFile(t, "")},
		"read caFile":                          {URL: "https://am:9093", CAFile: filepath.Join(dir, "none")},
		"holds no certificate in PEM":          {URL: "https://am:9093", CAFile: empty},
		"url of host \"files\": write http://": {URL: "ftp://files"},
	} {
		_, err := NewWebhook(target)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "secret")
		_, err = NewAlertmanager(target, AlertmanagerOptions{Repeat: time.Minute})
		require.ErrorContains(t, err, want)
	}
	_, err := NewAlertmanager(Target{URL: "http://am:9093"}, AlertmanagerOptions{})
	require.ErrorContains(t, err, "set AlertmanagerOptions.Repeat")
}
