package telemetry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// patience is how long a test waits for what is sure to come.
const patience = 20 * time.Second

// serve runs a server until the test ends, or stop is called.
func serve(t *testing.T, ready func() error) (url string, stop func() error) {
	t.Helper()
	s, err := Listen("127.0.0.1:0", newMetrics(t), ready)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(patience):
			return errors.New("the server does not stop")
		}
	})
	t.Cleanup(func() { assert.NoError(t, stop()) })
	return "http://" + s.Addr().String(), stop
}

func ask(url string) (status int, body string, err error) {
	c := http.Client{Timeout: patience}
	defer c.CloseIdleConnections()
	r, err := c.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	return r.StatusCode, string(b), err
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	status, body, err := ask(url)
	require.NoError(t, err)
	return status, body
}

func TestServerAnswers(t *testing.T) {
	var reason atomic.Pointer[string]
	url, _ := serve(t, func() error {
		if r := reason.Load(); r != nil {
			return errors.New(*r)
		}
		return nil
	})

	status, body := get(t, url+"/readyz")
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, "ok\n", body)

	why := "not connected to Temporal at 127.0.0.1:7233"
	reason.Store(&why)
	status, body = get(t, url+"/readyz")
	assert.Equal(t, http.StatusServiceUnavailable, status)
	assert.Equal(t, why+"\n", body)

	status, _ = get(t, url+"/healthz")
	assert.Equal(t, http.StatusOK, status, "alive, though not ready")

	status, body = get(t, url+"/metrics")
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, body, "holdfast_build_info")

	status, _ = get(t, url+"/")
	assert.Equal(t, http.StatusNotFound, status)
	r, err := http.Post(url+"/metrics", "text/plain", nil)
	require.NoError(t, err)
	require.NoError(t, r.Body.Close())
	assert.Equal(t, http.StatusMethodNotAllowed, r.StatusCode)
}

func TestServerWithoutReadyIsReady(t *testing.T) {
	url, _ := serve(t, nil)
	status, _ := get(t, url+"/readyz")
	assert.Equal(t, http.StatusOK, status)
}

func TestStopLetsARequestFinishAndFreesTheAddress(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	url, stop := serve(t, func() error { close(asked); <-answer; return nil })

	got := make(chan int, 1)
	go func() {
		status, _, _ := ask(url + "/readyz") // 0 for no answer
		got <- status
	}()
	<-asked
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	require.Eventually(t, func() bool { // the listener closes first
		_, _, err := ask(url + "/healthz")
		return err != nil
	}, patience, 5*time.Millisecond)
	close(answer)
	assert.Equal(t, http.StatusOK, <-got)
	require.NoError(t, <-stopped)

	again, err := Listen(url[len("http://"):], newMetrics(t), nil)
	require.NoError(t, err)
	require.NoError(t, again.Close())
	require.NoError(t, again.Close(), "twice is as good as once")
}

func TestRunWithAnEndedContextReturnsAndFreesTheAddress(t *testing.T) {
	s, err := Listen("127.0.0.1:0", newMetrics(t), nil)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.NoError(t, s.Run(ctx))
	require.NoError(t, s.Close())
	again, err := Listen(s.Addr().String(), newMetrics(t), nil)
	require.NoError(t, err)
	require.NoError(t, again.Close())
}

func TestAnAddressInUseIsSaidAtOnce(t *testing.T) {
	s, err := Listen("127.0.0.1:0", newMetrics(t), nil)
	require.NoError(t, err)
	defer s.Close()
	_, err = Listen(s.Addr().String(), newMetrics(t), nil)
	require.ErrorContains(t, err, "address already in use")
	require.ErrorContains(t, err, "set another address")
}

func TestRunSaysWhenTheServerEndsByItself(t *testing.T) {
	s, err := Listen("127.0.0.1:0", newMetrics(t), nil)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.ErrorContains(t, s.Run(context.Background()), "serve metrics and health on 127.0.0.1:")
}
