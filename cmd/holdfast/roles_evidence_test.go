package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"holdfast/internal/agent"
	"holdfast/internal/config"
	kept "holdfast/internal/evidence"
)

func evidenceRole(t *testing.T, hosts ...config.Host) role {
	t.Helper()
	site := config.Default()
	site.Hosts = hosts
	return role{site: &site, log: slog.New(slog.DiscardHandler)}
}

func TestWhereEvidenceIsServed(t *testing.T) {
	name, err := os.Hostname()
	require.NoError(t, err)
	for listen, want := range map[string]string{
		"127.0.0.1:9464": "http://127.0.0.1:9464", ":9464": "http://" + name + ":9464", "[::]:9464": "http://" + name + ":9464",
		"worker1:80": "http://worker1:80", "127.0.0.1:0": "", "": "",
	} {
		r := evidenceRole(t)
		r.listen = listen
		got, err := r.evidenceURL()
		require.NoError(t, err)
		require.Equal(t, want, got, listen)
		r.site.Evidence.URL = "http://{hostname}:1/"
		got, err = r.evidenceURL()
		require.NoError(t, err)
		require.Equal(t, "http://"+name+":1", got)
	}
}

func TestAWorkerServesItsEvidence(t *testing.T) {
	r := evidenceRole(t)
	store, err := r.evidence()
	require.NoError(t, err)
	require.Nil(t, store, "nobody asked for it")
	require.Empty(t, (&working{role: r}).routes())

	r.site.Evidence.Dir = filepath.Join(t.TempDir(), "evidence")
	r.site.Evidence.TokenFile = filepath.Join(t.TempDir(), "token")
	_, err = r.evidence()
	require.ErrorContains(t, err, "read token", "said at the start")
	require.NoError(t, os.WriteFile(r.site.Evidence.TokenFile, []byte("s3cret"), 0o600))
	store, err = r.evidence()
	require.NoError(t, err)
	w := &working{role: r, store: store}
	defer func() { require.NoError(t, w.close()) }()
	item, err := store.Put("incident/s/VM1/1", "k", "a.txt", "text/plain", []byte("content"))
	require.NoError(t, err)
	_, err = store.Finish("incident/s/VM1/1", "k", []kept.Item{item})
	require.NoError(t, err)
	mux := http.NewServeMux()
	for _, route := range w.routes() {
		mux.Handle(route.Pattern, route.Handler)
	}
	s := httptest.NewServer(mux)
	defer s.Close()
	source := kept.Source{Bytes: item.Bytes, SHA256: item.SHA256, URL: s.URL + kept.Path + kept.Folder("incident/s/VM1/1") + "/" + item.File}
	data, _, err := kept.Fetch(t.Context(), source, "s3cret")
	require.NoError(t, err)
	require.Equal(t, "content", string(data))
	_, _, err = kept.Fetch(t.Context(), source, "")
	require.Error(t, err)
}

func TestLogsComeFromTheAgent(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(agent.LogTail{Text: []byte(r.URL.Path + " " + r.Header.Get("Authorization"))})
	}))
	defer s.Close()
	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, []byte("s3cret"), 0o600))
	r := evidenceRole(t,
		config.Host{Name: "A", URI: "qemu+tcp://a/system", Agent: s.URL, AgentTokenFile: token},
		config.Host{Name: "B", URI: "qemu+tcp://b/system"}, config.Host{Name: "C", URI: "qemu:///system"},
	)
	text, err := r.logs(context.Background(), "A", agent.LogConsole, "VM1")
	require.NoError(t, err)
	require.Equal(t, "/v1/logs/console/VM1 Bearer s3cret", string(text))
	_, err = r.logs(context.Background(), "B", agent.LogQEMU, "VM1")
	require.ErrorContains(t, err, "names no agent")
	_, err = r.logs(context.Background(), "C", agent.LogQEMU, "../x")
	require.ErrorContains(t, err, "of that name", "read on this machine")
	_, err = r.logs(context.Background(), "D", agent.LogQEMU, "VM1")
	require.ErrorContains(t, err, "simulated")
}
