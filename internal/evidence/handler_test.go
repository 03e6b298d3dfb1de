package evidence

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"holdfast/internal/alert"
)

// ask asks the handler as if from an address.
func ask(s *Store, token alert.TokenFile, path, from string, header ...string) *httptest.ResponseRecorder {
	mux := http.NewServeMux()
	mux.Handle(Pattern, Handler(s, token, slog.New(slog.DiscardHandler)))
	r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:9464"+path, http.NoBody)
	r.RemoteAddr = from
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	return w
}

const here, elsewhere = "127.0.0.1:4711", "192.0.2.1:4711"

func TestHandlerWithoutAToken(t *testing.T) {
	s := open(t, Options{})
	item := keep(t, s, incident, "k", "content")
	path := Path + Folder(incident) + "/" + item.File
	w := ask(s, "", path, here)
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "content", w.Body.String())
	require.Equal(t, "text/plain", w.Header().Get("Content-Type"))
	require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
	require.Contains(t, w.Header().Get("Content-Disposition"), "attachment")
	require.Equal(t, http.StatusOK, ask(s, "", path, "[::1]:9", "Host", "[::1]:9464").Code)
	require.Equal(t, http.StatusOK, ask(s, "", path, here, "Host", "localhost").Code)

	for _, c := range [][]string{
		{elsewhere}, {"@"}, {here, "X-Forwarded-For", "192.0.2.1"}, {here, "Forwarded", "for=192.0.2.1"}, {here, "Via", "1.1 proxy"},
		{here, "Host", "evil.example.net"}, {here, "Host", "192.0.2.7:9464"},
	} {
		w := ask(s, "", path, c[0], c[1:]...)
		require.Equal(t, http.StatusForbidden, w.Code, "%v", c)
		require.Contains(t, w.Body.String(), "evidence.tokenFile")
	}
	for _, other := range []string{
		Path + Folder(incident) + "/index.json", Path + Folder("x") + "/" + item.File, Path + "..%2f..%2fetc/passwd", Path + Folder(incident) + "/..%2f" + item.File,
	} {
		require.Equal(t, http.StatusNotFound, ask(s, "", other, here).Code, other)
	}
	require.NoError(t, os.WriteFile(filepath.Join(s.Dir(), Folder(incident), indexFile), nil, 0o600))
	require.Equal(t, http.StatusInternalServerError, ask(s, "", path, here).Code)
}

func TestHandlerWithAToken(t *testing.T) {
	s := open(t, Options{})
	item := keep(t, s, incident, "k", "content")
	path := Path + Folder(incident) + "/" + item.File
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte("s3cret\n"), 0o600))
	token := alert.TokenFile(file)
	require.Equal(t, http.StatusOK, ask(s, token, path, elsewhere, "Authorization", "Bearer s3cret").Code)
	for _, header := range [][]string{nil, {"Authorization", "Bearer s3cre"}, {"Authorization", "Bearer "}, {"Authorization", "Basic s3cret"}} {
		w := ask(s, token, path, here, header...)
		require.Equal(t, http.StatusUnauthorized, w.Code, "also from here")
		require.NotContains(t, w.Body.String(), "s3cret")
	}
	require.NoError(t, os.Remove(file))
	require.Equal(t, http.StatusInternalServerError, ask(s, token, path, here, "Authorization", "Bearer s3cret").Code)
}
