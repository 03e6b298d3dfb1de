package evidence

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"holdfast/internal/alert"
)

// worker serves a store with one piece in it.
func worker(t *testing.T, token string) (source Source, s *Store) {
	t.Helper()
	s = open(t, Options{})
	item := keep(t, s, incident, "k", "content")
	var file alert.TokenFile
	if token != "" {
		file = alert.TokenFile(filepath.Join(t.TempDir(), "token"))
		require.NoError(t, os.WriteFile(string(file), []byte(token), 0o600))
	}
	mux := http.NewServeMux()
	mux.Handle(Pattern, Handler(s, file, slog.New(slog.DiscardHandler)))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return Source{Bytes: item.Bytes, SHA256: item.SHA256, URL: server.URL + Path + Folder(incident) + "/" + item.File}, s
}

func TestFetchFromTheWorker(t *testing.T) {
	source, _ := worker(t, "s3cret")
	data, from, err := Fetch(t.Context(), source, "s3cret")
	require.NoError(t, err)
	require.Equal(t, "content", string(data))
	require.Equal(t, source.URL, from)
	for _, wrong := range []string{"", "s3cre"} {
		_, _, err = Fetch(t.Context(), source, wrong)
		require.ErrorContains(t, err, "--token-file")
		require.NotContains(t, err.Error(), "s3cre")
	}
	other := source
	other.URL += "x"
	_, _, err = Fetch(t.Context(), other, "s3cret")
	require.ErrorContains(t, err, "no more")
	other = source
	other.SHA256 = strings.Repeat("00", 32)
	_, _, err = Fetch(t.Context(), other, "s3cret")
	require.ErrorContains(t, err, "checksum is wrong")
	other = source
	other.Bytes--
	_, _, err = Fetch(t.Context(), other, "s3cret")
	require.ErrorContains(t, err, "checksum is wrong")
}

func TestFetchFromThisMachine(t *testing.T) {
	source, s := worker(t, "")
	source.URL = "http://127.0.0.1:1/"
	source.Path = filepath.Join(s.Dir(), Folder(incident), fileOf("k", "a.txt"))
	data, from, err := Fetch(t.Context(), source, "")
	require.NoError(t, err)
	require.Equal(t, "content", string(data))
	require.Equal(t, source.Path, from)

	// Another file of the same name and size is another machine's.
	require.NoError(t, os.WriteFile(source.Path, []byte("CONTENT"), 0o600))
	_, _, err = Fetch(t.Context(), source, "")
	require.ErrorContains(t, err, "from 127.0.0.1:1: ")
	source.URL = ""
	_, _, err = Fetch(t.Context(), source, "")
	require.ErrorContains(t, err, "not on this machine, and no worker serves it")
	source.SHA256 = ""
	_, _, err = Fetch(t.Context(), source, "")
	require.ErrorContains(t, err, "checksum is not known")
}

func TestFetchFollowsNobody(t *testing.T) {
	asked := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer other.Close()
	s := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusFound))
	defer s.Close()
	source := Source{Bytes: 1, SHA256: strings.Repeat("00", 32), URL: s.URL}
	_, _, err := Fetch(t.Context(), source, "s3cret")
	require.ErrorContains(t, err, "answers 302")
	require.False(t, asked)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err = Fetch(ended, source, "s3cret")
	require.ErrorIs(t, err, context.Canceled)
}
