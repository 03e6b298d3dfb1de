package in

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// Requests that are refused as a whole open nothing, and say why in a string,
// which is what clients of Alertmanager's API show.
func TestRefused(t *testing.T) {
	const token = "secret-token"
	withToken := func(s *site) Options {
		o := options(s)
		o.TokenFile = tokenFile(t, token+"\n")
		return o
	}
	for name, c := range map[string]struct {
		body    string
		headers []string
		method  string
		status  int
		says    string
	}{
		"no token":             {headers: []string{"Authorization: "}, status: 401, says: "send the header Authorization: Bearer and the token"},
		"another scheme":       {headers: []string{"Authorization: Basic c2VjcmV0"}, status: 401, says: "send the header"},
		"another token":        {headers: []string{"Authorization: Bearer secret-tokem"}, status: 401, says: "the token is not the one that is expected"},
		"a longer token":       {headers: []string{"Authorization: Bearer secret-token2"}, status: 401, says: "the token is not"},
		"an empty token":       {headers: []string{"Authorization: Bearer "}, status: 401, says: "the token is not"},
		"get":                  {method: http.MethodGet, status: 405, says: "alerts are posted"},
		"a form":               {headers: []string{"Content-Type: application/x-www-form-urlencoded"}, status: 415, says: "send application/json"},
		"no type":              {headers: []string{"Content-Type: "}, status: 415, says: `the content type is ""`},
		"compressed":           {headers: []string{"Content-Encoding: gzip"}, status: 415, says: "send it plain"},
		"too large":            {body: `["` + strings.Repeat("x", 1<<20) + `"]`, status: 413, says: "larger than 1048576 bytes"},
		"too many":             {body: "[" + strings.Repeat(`{},`, maxAlerts) + "{}]", status: 413, says: "1001 alerts in one payload, and 1000 is the most"},
		"nothing":              {body: " ", status: 400, says: "holds no list of alerts"},
		"null":                 {body: "null", status: 400, says: "holds no list of alerts"},
		"no JSON":              {body: "[{", status: 400, says: "unexpected end of JSON"},
		"something behind":     {body: firing + "x", status: 400, says: "invalid character 'x'"},
		"a string":             {body: `"alert"`, status: 400, says: "holds no list of alerts"},
		"too deep":             {body: strings.Repeat("[", 1000), status: 400, says: "nests deeper than 16"},
		"no UTF-8":             {body: `[{"labels":{"vm":"` + "\xff" + `"}}]`, status: 400, says: "not valid UTF-8"},
		"labels in a list":     {body: `[{"labels":["vm","web1"]}]`, status: 400, says: "alert 0: labels: "},
		"a number for a label": {body: firing[:len(firing)-1] + `,{"labels":{"vm":1}}]`, status: 400, says: "alert 1: labels: "},
		"no time":              {body: `[{"labels":{"vm":"web1"},"startsAt":"yesterday"}]`, status: 400, says: "alert 0: startsAt: "},
		"other version":        {body: `{"version":"3","alerts":[]}`, status: 400, says: `an object with version "3"`},
		"version as a number":  {body: `{"version":4,"alerts":[]}`, status: 400, says: "version: "},
		"no version":           {body: `{"alerts":[]}`, status: 400, says: `an object with version ""`},
		"no alerts":            {body: `{"version":"4"}`, status: 400, says: "holds no list of alerts"},
		"null for alerts":      {body: `{"version":"4","alerts":null}`, status: 400, says: "holds no list of alerts"},
		"other letters":        {body: `{"VERSION":"4","Alerts":[]}`, status: 400, says: `version ""`},
		"unknown status":       {body: `{"version":"4","alerts":[{"status":"maybe","labels":{"vm":"web1"}}]}`, status: 400, says: `status "maybe": it is firing or resolved`},
	} {
		t.Run(name, func(t *testing.T) {
			s := someSite()
			if c.body == "" {
				c.body = firing
			}
			r := request(c.body)
			if c.method != "" {
				r.Method = c.method
			}
			w := post(newHandler(t, withToken(s)), r, append([]string{"Authorization: Bearer " + token}, c.headers...)...)
			require.Equal(t, c.status, w.Code, w.Body)
			var says string
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &says))
			require.Contains(t, says, c.says)
			require.NotContains(t, says, token)
			require.Equal(t, c.status == 401, w.Header().Get("WWW-Authenticate") != "")
			require.Empty(t, s.taken())
		})
	}
}

func TestTokenIsReadAgain(t *testing.T) {
	s := someSite()
	o := options(s)
	o.TokenFile = tokenFile(t, "first")
	var log bytes.Buffer
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	h := newHandler(t, o)
	status := func(token string) int { return post(h, request(firing), "Authorization: bearer "+token).Code }
	require.Equal(t, 200, status("first"))
	require.NoError(t, os.WriteFile(string(o.TokenFile), []byte(" second\n"), 0o600))
	require.Equal(t, 401, status("first"))
	require.Equal(t, 200, status("second"))
	require.NoError(t, os.Remove(string(o.TokenFile)))
	require.Equal(t, 503, status("second"), "without the token nobody is let in")
	require.Contains(t, log.String(), "no such file")
	require.NotContains(t, log.String(), "second\"")

	_, err := NewHandler(o)
	require.ErrorContains(t, err, "put the token there")
}

func TestRate(t *testing.T) {
	s := someSite()
	o := options(s)
	at := now
	o.Rate, o.Burst, o.Now = 0.5, 3, func() time.Time { return at }
	h := newHandler(t, o)
	for range 3 {
		require.Equal(t, 200, post(h, request(firing)).Code)
	}
	w := post(h, request(firing))
	require.Equal(t, 429, w.Code)
	require.Equal(t, "2", w.Header().Get("Retry-After"))
	at = at.Add(1900 * time.Millisecond)
	require.Equal(t, 429, post(h, request(firing)).Code, "to be refused costs nothing")
	at = at.Add(100 * time.Millisecond)
	require.Equal(t, 200, post(h, request(firing)).Code)
	require.Len(t, s.taken(), 4)
}

// Who may not send at all takes nothing from those who may.
func TestRateIsOfThoseWhoMay(t *testing.T) {
	o := options(someSite())
	o.Rate, o.Burst, o.TokenFile = 1e-9, 1, tokenFile(t, "t")
	h := newHandler(t, o)
	for range 5 {
		require.Equal(t, 401, post(h, request(firing)).Code)
	}
	require.Equal(t, 200, post(h, request(firing), "Authorization: Bearer t").Code)
}

// Slow bodies cannot fill the memory: only so many are read at once.
func TestOnlySoManyAtOnce(t *testing.T) {
	h := newHandler(t, options(someSite()))
	var writers []*io.PipeWriter
	done := make(chan int, atOnce)
	for range atOnce {
		body, writer := io.Pipe()
		writers = append(writers, writer)
		r := request("")
		r.Body = body
		go func() { done <- post(h, r).Code }()
	}
	for _, w := range writers { // each is read from, so each has its slot
		_, err := w.Write([]byte(" "))
		require.NoError(t, err)
	}
	w := post(h, request(firing))
	require.Equal(t, 429, w.Code)
	require.Equal(t, "1", w.Header().Get("Retry-After"))
	for _, w := range writers {
		_, err := w.Write([]byte(firing))
		require.NoError(t, err)
		require.NoError(t, w.Close())
		require.Equal(t, 200, <-done)
	}
	require.Equal(t, 200, post(h, request(firing)).Code)
}

// A payload may hold alerts of every sort.
func TestAnswer(t *testing.T) {
	s := someSite()
	reg := prometheus.NewRegistry()
	o := options(s)
	var err error
	o.Metrics, err = NewMetrics(reg)
	require.NoError(t, err)
	h := newHandler(t, o)
	w := post(h, request(`[
		{"labels":{"alertname":"GuestDown","vm":"web1"}},
		{"labels":{"alertname":"GuestDown","vm":"web2"}},
		{"labels":{"alertname":"Watchdog"}},
		{"labels":{"alertname":"HoldfastHung","vm":"web1","source":"holdfast"}},
		{"labels":{}},
		{"labels":{"alertname":"NodeDown","node":"kvm1"},"status":{"state":"active"},"new":[1]}
	]`), "Content-Type: application/json; charset=utf-8")
	require.Equal(t, 200, w.Code)
	require.JSONEq(t, `{"taken":2,"ignored":[
		{"index":1,"alertname":"GuestDown","reason":"this site has no such VM"},
		{"index":2,"alertname":"Watchdog","reason":"it names no VM, by one of the labels vm, domain, instance, and no host, by one of host, node, instance"},
		{"index":3,"alertname":"HoldfastHung","reason":"it is Holdfast's own, sent back"},
		{"index":4,"reason":"it has no labels"}
	]}`, w.Body.String())
	require.Len(t, s.taken(), 2)
	require.JSONEq(t, `{"taken":0,"ignored":[]}`, post(h, request("[]")).Body.String())

	require.Equal(t, map[string]float64{"taken": 2, "ignored": 3, "own": 1, "failed": 0}, series(t, reg, "holdfast_alerts_in_alerts_total"))
	require.Equal(t, map[string]float64{"200": 2, "400": 0, "401": 0, "429": 0}, series(t, reg, "holdfast_alerts_in_requests_total"))
	_, err = NewMetrics(reg)
	require.Error(t, err)
}

// series is a metric by the value of its one label.
func series(t *testing.T, reg *prometheus.Registry, name string) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	require.NoError(t, err)
	out := map[string]float64{}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				out[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	return out
}

// What the Sink cannot take now is to come again: Alertmanager sends again after 503.
func TestSinkThatCannot(t *testing.T) {
	s := someSite()
	s.err = errors.New("disk of secrets is full")
	w := post(newHandler(t, options(s)), request(firing))
	require.Equal(t, 503, w.Code)
	require.Equal(t, "\"1 of 1 alerts could not be taken now: send them again\"\n", w.Body.String())

	s.err = fmt.Errorf("two VMs are called web1: %w", Ignore("use the UUID"))
	w = post(newHandler(t, options(s)), request(firing))
	require.Equal(t, 200, w.Code)
	require.Contains(t, w.Body.String(), "two VMs are called web1: use the UUID")
}

func TestOptions(t *testing.T) {
	_, err := NewHandler(Options{})
	require.ErrorContains(t, err, "nobody takes the alerts")
	_, err = NewHandler(Options{Sink: someSite(), Mapping: Mapping{Kinds: []KindRule{{}}}})
	require.ErrorContains(t, err, "match is empty")
	h := newHandler(t, Options{Sink: someSite()})
	require.Equal(t, DefaultMapping(), h.o.Mapping)
	require.WithinDuration(t, time.Now(), h.o.Now(), time.Minute)
}
