package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"holdfast/internal/contract"
	"holdfast/internal/rehearsal/recorded"
	page "holdfast/internal/report"
)

func TestIncidentReport(t *testing.T) {
	from, err := filepath.Abs(incidentFile("crash-loop"))
	require.NoError(t, err)
	t.Chdir(t.TempDir())
	out, errOut, code := holdfast(t, "incident", "report", from)
	require.Equal(t, exitOK, code, errOut)
	const name = "incident-lab-web-20260102-030405.html"
	require.Equal(t, name+"\n", out)
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	require.True(t, bytes.HasPrefix(text, []byte("<!DOCTYPE html>")))
	require.Contains(t, string(text), "Well again 3 h 25 min after the first sign")
	info, err := os.Stat(name)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "it may show a guest's screen")

	_, errOut, code = holdfast(t, "incident", "report", from, "--html")
	require.Equal(t, exitError, code)
	require.Contains(t, errOut, name+" is there already: --force writes over it, --to names another")
	require.NoError(t, os.WriteFile(name, bytes.Repeat([]byte("x"), 1<<20), 0o600))
	_, errOut, code = holdfast(t, "incident", "report", from, "--force")
	require.Equal(t, exitOK, code, errOut)
	again, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Less(t, len(again), 1<<20, "what was there is gone")

	out, errOut, code = holdfast(t, "incident", "report", from, "--to", "other.html", "-o", "json")
	require.Equal(t, exitOK, code, errOut)
	var got reported
	require.NoError(t, json.Unmarshal([]byte(out), &got))
	require.Equal(t, "other.html", got.File)
	require.Equal(t, "incident/lab/web/20260102-030405", got.Incident)
	out, _, code = holdfast(t, "incident", "report", from, "--html", "--to", "-")
	require.Equal(t, exitOK, code)
	require.True(t, bytes.HasPrefix([]byte(out), []byte("<!DOCTYPE html>")))

	_, errOut, code = holdfast(t, "incident", "report", "VM1", "--to", "other.html")
	require.Equal(t, exitError, code)
	require.Contains(t, errOut, "other.html is there already", "before Temporal is asked")
	_, errOut, code = holdfast(t, "incident", "report", from, "--to", "no/such/folder.html")
	require.Equal(t, exitError, code)
	require.Contains(t, errOut, "no such file or directory")
}

func TestReportNames(t *testing.T) {
	for id, want := range map[string]string{
		"incident/default/VM1/20260102-030405": "incident-default-VM1-20260102-030405.html",
		"../../etc/passwd":                     "etc-passwd.html",
		"-o x;rm $HOME\n":                      "o_x_rm__HOME_.html",
	} {
		require.Equal(t, want, reportName(id))
	}
}

func TestReportFetchesEvidence(t *testing.T) {
	var picture bytes.Buffer
	require.NoError(t, png.Encode(&picture, image.NewRGBA(image.Rect(0, 0, 4, 4))))
	asked := 0
	worker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		if r.Header.Get("Authorization") != "Bearer s3cret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = w.Write(picture.Bytes())
	}))
	defer worker.Close()
	away := httptest.NewServer(http.NotFoundHandler())
	away.Close()

	screen, log, lost := piece("screenshot.png", picture.String()), piece("qemu.log", "local"), piece("console.log", "lost")
	screen.MIME, screen.URL = "image/png", worker.URL
	log.MIME, log.Path = "text/plain", filepath.Join(t.TempDir(), "log")
	require.NoError(t, os.WriteFile(log.Path, []byte("local"), 0o600))
	lost.MIME, lost.URL = "text/plain", away.URL
	inc := recorded.Panicked()
	inc.Evidence = []contract.EvidenceSet{
		{Worker: "w1", Items: []contract.EvidenceItem{screen, log, {Name: "job.json", Error: "no"}}},
		{Worker: "w2", Items: []contract.EvidenceItem{lost, lost}},
	}
	a := &app{err: &bytes.Buffer{}}
	got := a.fetchForReport(context.Background(), inc, false, "s3cret")
	require.Len(t, got, 4)
	require.Equal(t, picture.Bytes(), got[page.Piece{Set: 0, Item: 0}].Data)
	require.Equal(t, "local", string(got[page.Piece{Set: 0, Item: 1}].Data))
	for i := range 2 {
		require.Contains(t, got[page.Piece{Set: 1, Item: i}].Error, "connection refused")
	}

	asked = 0
	got = a.fetchForReport(context.Background(), inc, true, "s3cret")
	require.Zero(t, asked, "an address in a file may be anybody's")
	require.Contains(t, got[page.Piece{Set: 0, Item: 0}].Error, "addresses are not trusted")
	require.Equal(t, "local", string(got[page.Piece{Set: 0, Item: 1}].Data), "what is here is shown")

	text, err := json.Marshal(inc)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "inc.json")
	require.NoError(t, os.WriteFile(file, text, 0o600))
	out, errOut, code := holdfast(t, "incident", "report", file, "--to", "-")
	require.Equal(t, exitOK, code)
	require.Contains(t, errOut, fmt.Sprintf("warning: %d pieces of evidence could not be fetched: the page says why", 3))
	require.Contains(t, out, ">local</pre>")
}
