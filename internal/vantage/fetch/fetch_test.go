package fetch

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func ask(t *testing.T, url, token string) (map[string]string, Trace, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var got map[string]string
	trace, err := JSON(ctx, url, token, &got)
	return got, trace, err
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func TestAsksAndTellsHowFarItCame(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"token": r.Header.Get("Authorization"), "path": r.URL.Path})
	})
	began := time.Now()
	got, trace, err := ask(t, Join(url+"/", "/v1/x"), "s3cret")
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"token": "Bearer s3cret", "path": "/v1/x"}, got)
	assert.True(t, trace.Connected)
	assert.False(t, trace.Refused)
	assert.Equal(t, http.StatusOK, trace.Status)
	for i, at := range []time.Time{trace.Dialed, trace.Sent, trace.Answered} {
		assert.False(t, at.Before(began), i)
		began = at
	}
}

// What a proxy or another machine says is not what this one says.
func TestAsksThisMachineAndNoOther(t *testing.T) {
	other := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("another machine was asked") })
	require.Nil(t, client.Transport.(*http.Transport).Proxy)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other, http.StatusFound) })
	_, trace, err := ask(t, url, "")
	var status StatusError
	require.True(t, errors.As(err, &status))
	assert.Equal(t, http.StatusFound, status.Status)
	assert.Equal(t, http.StatusFound, trace.Status)
}

// A connection that is kept says nothing about who is at its other end now.
func TestEachQuestionIsAConnection(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"from": r.RemoteAddr})
	})
	from := map[string]bool{}
	for range 3 {
		got, trace, err := ask(t, url, "")
		require.NoError(t, err)
		assert.True(t, trace.Connected)
		from[got["from"]] = true
	}
	assert.Len(t, from, 3)
}

func TestReadsNoMoreThanItMust(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"x":"` + strings.Repeat("x", maxAnswer) + `"}`))
	})
	_, _, err := ask(t, url, "")
	require.ErrorContains(t, err, "cannot be read")
}

func TestRefused(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	_, trace, err := ask(t, s.URL+"/secret-path", "s3cret")
	require.Error(t, err)
	assert.True(t, trace.Refused)
	assert.False(t, trace.Connected)
	assert.False(t, trace.Dialed.IsZero())
	assert.True(t, trace.Answered.IsZero())
	assert.NotContains(t, err.Error(), "s3cret")
	assert.NotContains(t, err.Error(), "secret-path")
}

func TestHost(t *testing.T) {
	assert.Equal(t, "kvm1:9467", Host("http://u:p@kvm1:9467/x"))
	assert.Equal(t, "[fd00::1]:9467", Host("http://[fd00::1]:9467"))
	assert.Equal(t, "kvm1", Host("https://kvm1/x"))
	assert.Equal(t, "(unreadable URL)", Host("http://%"))
}
