package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/contract"
	"holdfast/internal/ladder"
)

func piece(name, content string) contract.EvidenceItem {
	sum := sha256.Sum256([]byte(content))
	return contract.EvidenceItem{Name: name, Bytes: int64(len(content)), SHA256: hex.EncodeToString(sum[:]), At: time.Unix(1e9, 0), Took: 120 * time.Millisecond}
}

func TestEvidenceIsListed(t *testing.T) {
	screen, log := piece("screenshot.png", "x"), piece("qemu.log", string(make([]byte, 64<<10)))
	screen.URL, log.Path = "http://worker1:9464/v1/evidence/f/a-screenshot.png", "/e/f/a-qemu.log"
	at := time.Unix(1e9, 0)
	var out bytes.Buffer
	evidenceSets(&out, []contract.EvidenceSet{
		{Key: "attempt 1", Before: ladder.RungReset, Host: "kvm1", Worker: "worker1", At: at, Items: []contract.EvidenceItem{
			screen, log, {Name: "console.log", Error: "no agent", Took: time.Second},
			{Name: "memory.dump", OnHost: true, Path: "/pool/d", Took: time.Minute},
		}},
		{Key: "attempt 2", At: at, Error: "this worker keeps no evidence"},
	})
	require.Equal(t, `Set 1: attempt 1 before reset, host kvm1, `+clock(at)+`, kept by worker worker1
  in http://worker1:9464/v1/evidence/f/
  NAME            SIZE    TOOK   WHERE
  screenshot.png  1 B     0.12s  a-screenshot.png
  qemu.log        64 KiB  0.12s  /e/f/a-qemu.log
  console.log     -       1.00s  not had: no agent
  memory.dump     -       1m0s   on host kvm1: /pool/d

Set 2: attempt 2, host -, `+clock(at)+`, kept by worker -
  this worker keeps no evidence
`, out.String())
}

func TestEvidenceIsFetched(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer s3cret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = w.Write([]byte("remote"))
	}))
	defer s.Close()
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	require.NoError(t, os.WriteFile(token, []byte("s3cret"), 0o600))
	local := filepath.Join(dir, "local")
	require.NoError(t, os.WriteFile(local, []byte("local"), 0o600))

	here, there, evil := piece("a.txt", "local"), piece("b.txt", "remote"), piece("../evil", "local")
	here.Path, there.URL, evil.Path = local, s.URL, local
	inc := contract.Incident{ID: "incident/s/VM1/1", Evidence: []contract.EvidenceSet{
		{Items: []contract.EvidenceItem{here, {Name: "c.txt", Error: "no"}, {Name: "memory.dump", OnHost: true, Path: local}}},
		{Items: []contract.EvidenceItem{there}},
	}}
	var out, errOut bytes.Buffer
	a := &app{out: &out, err: &errOut, format: formatTable}
	to := filepath.Join(dir, "saved")
	require.NoError(t, a.saveEvidence(context.Background(), inc, to, token))
	require.Equal(t, filepath.Join(to, "1-a.txt")+"\n"+filepath.Join(to, "2-b.txt")+"\n", out.String())
	for name, want := range map[string]string{"1-a.txt": "local", "2-b.txt": "remote"} {
		got, err := os.ReadFile(filepath.Join(to, name))
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}

	out.Reset()
	inc.Evidence = append(inc.Evidence, contract.EvidenceSet{Items: []contract.EvidenceItem{evil}})
	require.ErrorContains(t, a.saveEvidence(context.Background(), inc, to, ""), "2 of 3 files could not be fetched")
	require.Contains(t, out.String(), "b.txt of set 2: from ")
	require.Contains(t, out.String(), "--token-file")
	require.Contains(t, out.String(), "../evil of set 3: its name is none of ours")
	_, err := os.Stat(filepath.Join(dir, "evil"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestEvidenceWantsAFolderForTheToken(t *testing.T) {
	_, errOut, code := holdfast(t, "incident", "evidence", "VM1", "--token-file", "x")
	require.Equal(t, exitUsage, code)
	require.Contains(t, errOut, "--save")
}
