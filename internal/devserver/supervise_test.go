package devserver_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/devserver"
)

// start starts a server of the test's own; a machine without the `temporal`
// command fails the test, it does not skip it.
func start(t *testing.T, database string) *devserver.Server {
	t.Helper()
	s, err := devserver.Start(t.Context(), options(t, database))
	require.NoError(t, err)
	t.Cleanup(func() { s.Stop(10 * time.Second) })
	return s
}

func options(t *testing.T, database string) devserver.Options {
	t.Helper()
	binary := filepath.Join("..", "..", "build", "tools", "temporal")
	if _, err := os.Stat(binary); err != nil {
		binary, err = devserver.Find()
		require.NoError(t, err)
	}
	return devserver.Options{Binary: binary, Address: "127.0.0.1:0", Database: database}
}

func TestSuperviseBringsTheProcessBack(t *testing.T) {
	s := start(t, filepath.Join(t.TempDir(), "temporal.db"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan struct{})
	go func() { defer close(ended); s.Supervise(ctx, slog.New(slog.DiscardHandler)) }()
	first := s.Done()
	s.Kill()
	<-first
	require.Eventually(t, func() bool {
		select {
		case <-s.Done():
			return false
		default:
			return true
		}
	}, time.Minute, 50*time.Millisecond, "the process did not come back")
	cancel()
	<-ended
}

func TestADatabaseHasOneServer(t *testing.T) {
	database := filepath.Join(t.TempDir(), "temporal.db")
	s := start(t, database)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond) // spares the wait for one that is ending
	defer cancel()
	_, err := devserver.Start(ctx, options(t, database))
	require.ErrorContains(t, err, "is in use")
	require.True(t, strings.Contains(err.Error(), database))
	s.Stop(10 * time.Second)
	start(t, database)
}

func TestAnAddressHasOneServer(t *testing.T) {
	s := start(t, "")
	o := options(t, "")
	o.Address = s.Address
	_, err := devserver.Start(t.Context(), o)
	require.ErrorContains(t, err, s.Address)
	require.ErrorContains(t, err, "is another one running?")
}
