//go:build lab

package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image/png"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What a guest is made of, as far as somebody outside can use it.
func TestGuest(t *testing.T) {
	o := options(t, "guest")
	o.VMs = 1
	l, err := Up(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Down(context.Background())) })
	f := fixture{l, t, t.Context()}
	f.booted("VM1")
	for _, step := range []struct {
		name string
		run  func(fixture)
	}{
		{"exec", execs},
		{"freeze", freezes},
		{"screen", screen},
		{"network", network},
	} {
		if !t.Run(step.name, func(t *testing.T) {
			f.t = t
			step.run(f)
		}) {
			return
		}
	}
}

// agent asks the guest agent for something, as qemu-agent-command does.
func (f fixture) agent(host, vm, command, arguments string) (json.RawMessage, error) {
	f.t.Helper()
	line := fmt.Sprintf(`{"execute":%q}`, command)
	if arguments != "" {
		line = fmt.Sprintf(`{"execute":%q,"arguments":%s}`, command, arguments)
	}
	out, err := f.Virsh(f.ctx, host, "qemu-agent-command", vm, line)
	if err != nil {
		return nil, err
	}
	var said struct{ Return json.RawMessage }
	require.NoError(f.t, json.Unmarshal([]byte(out), &said), out)
	return said.Return, nil
}

// exec runs a program in a guest and returns its exit code and what it said.
func (f fixture) exec(vm, arguments string) (code int, out string) {
	f.t.Helper()
	returned, err := f.agent("A", vm, "guest-exec", arguments)
	require.NoError(f.t, err)
	var begun struct{ PID int }
	require.NoError(f.t, json.Unmarshal(returned, &begun))
	var end struct {
		Exited bool
		Code   int    `json:"exitcode"`
		Out    []byte `json:"out-data"`
	}
	eventually(f.t, "the program has ended", func() bool {
		returned, err := f.agent("A", vm, "guest-exec-status", fmt.Sprintf(`{"pid":%d}`, begun.PID))
		require.NoError(f.t, err)
		require.NoError(f.t, json.Unmarshal(returned, &end))
		return end.Exited
	})
	return end.Code, string(end.Out)
}

func execs(f fixture) {
	code, out := f.exec("VM1", `{"path":"sh","arg":["-c","uname -s; echo hi > /tmp/x; cat /tmp/x; exit 3"],"capture-output":true}`)
	require.Equal(f.t, 3, code)
	require.Equal(f.t, "Linux\nhi\n", out)
	code, _ = f.exec("VM1", `{"path":"/bin/true"}`)
	require.Zero(f.t, code)
	code, out = f.exec("VM1", `{"path":"wget","arg":["-q","-O","-","http://127.0.0.1/"],"capture-output":true}`)
	require.Zero(f.t, code)
	require.Contains(f.t, out, "boot ")
	_, err := f.agent("A", "VM1", "guest-exec", `{"path":"no-such-program"}`)
	require.ErrorContains(f.t, err, "Failed to execute child process")
}

func freezes(f fixture) {
	f.do("VM1", TaskWrite, TaskOptions{Rate: 50})
	f.rises("A", "VM1", "block.0.wr.reqs", 20)
	require.Contains(f.t, f.virsh("A", "domfsfreeze", "VM1"), "1 filesystem")
	status, err := f.agent("A", "VM1", "guest-fsfreeze-status", "")
	require.NoError(f.t, err)
	require.Equal(f.t, `"frozen"`, string(status))
	before, acked := f.stat("A", "VM1", "block.0.wr.reqs"), f.vm("VM1").Acked
	// Not that nothing is written for a while, but that nothing is although the guest runs.
	f.rises("A", "VM1", "vcpu.0.time", int(100*time.Millisecond))
	require.Equal(f.t, before, f.stat("A", "VM1", "block.0.wr.reqs"))
	require.Equal(f.t, acked, f.vm("VM1").Acked)
	err = f.SetGeneration(f.ctx, "VM1", 1)
	require.ErrorContains(f.t, err, "frozen")
	_, err = f.agent("A", "VM1", "guest-exec", `{"path":"true"}`)
	require.ErrorContains(f.t, err, "frozen state")
	_, err = f.Virsh(f.ctx, "A", "domfsfreeze", "VM1")
	require.ErrorContains(f.t, err, "frozen state")
	require.Contains(f.t, f.virsh("A", "domfsthaw", "VM1"), "1 filesystem")
	f.advances("VM1")
	f.rises("A", "VM1", "block.0.wr.reqs", 20)
	f.do("VM1", TaskEmpty, TaskOptions{})
	require.Contains(f.t, f.virsh("A", "domfsthaw", "VM1"), "0 filesystem")

	// A boot ends it, as it does of a real one.
	f.virsh("A", "domfsfreeze", "VM1")
	f.virsh("A", "reset", "VM1")
	f.booted("VM1")
	f.advances("VM1")
}

func screen(f fixture) {
	file := filepath.Join(f.t.TempDir(), "screen")
	f.virsh("A", "screenshot", "VM1", file)
	raw, err := os.ReadFile(file)
	require.NoError(f.t, err)
	picture, err := png.Decode(bytes.NewReader(raw))
	require.NoError(f.t, err)
	lit := 0
	for y := range picture.Bounds().Dy() {
		for x := range picture.Bounds().Dx() {
			if r, g, b, _ := picture.At(x, y).RGBA(); r|g|b != 0 {
				lit++
			}
		}
	}
	require.Greater(f.t, lit, 1000, "there is text on it")
	require.Contains(f.t, f.console("A", "VM1"), "witness: boot")
	require.Contains(f.t, f.virsh("A", "dumpxml", "VM1"), "<log file='/var/log/libvirt/console/VM1.log' append='on'/>")
}

// get is what a guest answers, or "".
func (f fixture) get(url string) string {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(url)
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return ""
	}
	return string(body)
}

func network(f fixture) {
	url := "http://" + f.info.VMs[0].Address + "/"
	boots := f.vm("VM1").Boots
	require.Contains(f.t, f.get(url), boots[len(boots)-1])
	// A flood of the guest's own stays on its host.
	received := f.received()
	sent := f.stat("A", "VM1", "net.0.tx.bytes")
	f.do("VM1", TaskNet, TaskOptions{Rate: 50})
	f.rises("A", "VM1", "net.0.tx.bytes", 20_000_000)
	eventually(f.t, "the guest answers meanwhile", func() bool { return f.get(url) != "" })
	f.do("VM1", TaskStop, TaskOptions{})
	require.Less(f.t, (f.received()-received)*10, f.stat("A", "VM1", "net.0.tx.bytes")-sent)

	// The address goes with the guest.
	b, err := f.host("B")
	require.NoError(f.t, err)
	f.virsh("A", "migrate", "--live", "--p2p", "--unsafe", "--persistent", "--undefinesource", "VM1", b.URI)
	eventually(f.t, "the guest answers from host B", func() bool { return f.get(url) != "" })
	f.done(f.Cut(f.ctx, "B"))
	require.Empty(f.t, f.get(url))
	f.done(f.Heal(f.ctx, "B"))
	eventually(f.t, "the guest answers again", func() bool { return f.get(url) != "" })
	f.done(f.Kill(f.ctx, "VM1"))
	require.Empty(f.t, f.get(url))
	// Whoever spoke with it on B finds it on A.
	f.virsh("B", "dumpxml", "VM1", "--inactive")
	require.NoError(f.t, os.WriteFile(f.file("moved.xml"), []byte(f.virsh("B", "dumpxml", "VM1", "--inactive")), 0o644))
	f.virsh("A", "define", f.file("moved.xml"))
	f.virsh("A", "start", "VM1")
	eventually(f.t, "the guest answers from host A", func() bool { return f.get(url) != "" })
}

// received is how many bytes the root namespace got from the lab.
func (f fixture) received() int {
	f.t.Helper()
	raw, err := os.ReadFile("/sys/class/net/" + uplink(f.id) + "/statistics/rx_bytes")
	require.NoError(f.t, err)
	var n int
	_, err = fmt.Sscan(strings.TrimSpace(string(raw)), &n)
	require.NoError(f.t, err)
	return n
}
