package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"holdfast/test/rig"
)

// nowhere is a site whose only host is away.
const nowhere = `site: nowhere
hosts:
  - name: kvm1
    uri: qemu+tcp://127.0.0.1:1/system
`

// A worker and a monitor start while Temporal and the hosts are away, say so,
// and end in order.
func TestRolesStartWithoutTheWorld(t *testing.T) {
	site := filepath.Join(t.TempDir(), "site.yaml")
	require.NoError(t, os.WriteFile(site, []byte(nowhere), 0o600))
	if !thisBuild().Libvirt {
		for _, line := range [][]string{{"worker", site}, {"monitor", site}, {"dev", site, "--data", t.TempDir()}} {
			_, errOut, code := holdfast(t, line...)
			require.Equal(t, exitError, code)
			require.Contains(t, errOut, "no libvirt driver", "%v", line)
		}
		return
	}
	env := []string{asProgram + "=1", "TEMPORAL_ADDRESS=" + nobody, "TEMPORAL_NAMESPACE=", "HOLDFAST_SITE=",
		"TEMPORAL_CONFIG_FILE=" + filepath.Join(t.TempDir(), "none.toml")}
	for role, waits := range map[string]string{
		"worker":  "worker: Temporal: cannot reach Temporal",
		"monitor": "reports do not get through",
	} {
		t.Run(role, func(t *testing.T) {
			address := freeAddress(t)
			p := rig.Run(t, role, env, os.Args[0], role, site, "--listen", address)
			rig.Eventually(t, role, func() error { return answers(address, "/healthz", http.StatusOK, "ok") })
			rig.Eventually(t, role, func() error { return answers(address, "/readyz", http.StatusServiceUnavailable, waits) })
			require.NoError(t, answers(address, "/metrics", http.StatusOK, "holdfast_build_info"))
			p.Signal(syscall.SIGTERM)
			require.Equal(t, exitOK, p.Wait(t).ExitCode())
		})
	}
}

// answers is nil if a path answers with this status and this text.
func answers(address, path string, status int, text string) error {
	resp, err := http.Get("http://" + address + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != status || !strings.Contains(string(body), text)) {
		err = fmt.Errorf("%s says %s: %.500s", path, resp.Status, body)
	}
	return err
}
