//go:build lab

package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/test/lab/internal/netns"
	"holdfast/test/lab/internal/procfs"
)

// patience is how long anything may take on a machine that does other things too.
const patience = 2 * time.Minute

// command is the lab command, built from what is tested.
var command string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "lab-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	command = filepath.Join(dir, "lab")
	code := 1
	if out, err := exec.Command("go", "build", "-o", command, "holdfast/test/lab/cmd/lab").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the lab command: %v\n%s", err, out)
	} else {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

func options(t *testing.T, name string) Options {
	return Options{Name: name, Dir: t.TempDir(), Binary: command, Guard: true, Progress: func(line string) { t.Log(name + ": " + line) }}
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, patience, 20*time.Millisecond, what)
}

// fixture is a lab under test.
type fixture struct {
	*Lab
	t   *testing.T
	ctx context.Context
}

func (f fixture) status() Status {
	f.t.Helper()
	s, err := f.Status(f.ctx)
	require.NoError(f.t, err)
	return s
}

// vm is the status of a VM, with what must always be so.
func (f fixture) vm(name string) VMStatus {
	f.t.Helper()
	for _, v := range f.status().VMs {
		if v.Name == name {
			require.LessOrEqual(f.t, v.Acked, v.Highest(), "an acknowledged write was lost")
			require.False(f.t, v.TwoCopies, "%+v", v.Overlaps)
			return v
		}
	}
	f.t.Fatalf("no VM %s", name)
	return VMStatus{}
}

func (f fixture) hostStatus(name string) HostStatus {
	f.t.Helper()
	for _, h := range f.status().Hosts {
		if h.Name == name {
			return h
		}
	}
	f.t.Fatalf("no host %s", name)
	return HostStatus{}
}

// advances waits until the witness has acknowledged something new.
func (f fixture) advances(vm string) {
	f.t.Helper()
	before := f.vm(vm).Acked
	eventually(f.t, vm+" acknowledges a write", func() bool { return f.vm(vm).Acked > before })
}

func (f fixture) virsh(host string, args ...string) string {
	f.t.Helper()
	out, err := f.Virsh(f.ctx, host, args...)
	require.NoError(f.t, err)
	return strings.TrimSpace(out)
}

// state waits for a domain's state and reason.
func (f fixture) state(host, vm, want string) {
	f.t.Helper()
	eventually(f.t, vm+" is "+want, func() bool {
		out, err := f.Virsh(f.ctx, host, "domstate", vm, "--reason")
		return err == nil && strings.TrimSpace(out) == want
	})
}

// done is for what returns the time it took effect.
func (f fixture) done(at time.Time, err error) time.Time {
	f.t.Helper()
	require.NoError(f.t, err)
	require.False(f.t, at.IsZero() || at.After(time.Now()))
	return at
}

// sample waits for an event at or after a time.
func (f fixture) sample(kind string, vm string, from time.Time) Sample {
	f.t.Helper()
	var found Sample
	eventually(f.t, fmt.Sprintf("%s of %s is sampled", kind, vm), func() bool {
		events, err := f.Events(f.ctx)
		require.NoError(f.t, err)
		i := slices.IndexFunc(events, func(e Sample) bool { return string(e.Event) == kind && e.VM == vm && !e.At.Before(from) })
		if i >= 0 {
			found = events[i]
		}
		return i >= 0
	})
	return found
}

// reachable says whether a host takes connections.
func (f fixture) reachable(host string) bool {
	h, err := f.host(host)
	require.NoError(f.t, err)
	conn, err := net.DialTimeout("tcp", h.Address+":16509", time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// inodes are those of all network namespaces of the lab.
func (f fixture) inodes() []uint64 {
	names, err := netns.List(namespacePrefix(f.id))
	require.NoError(f.t, err)
	require.Len(f.t, names, len(f.info.Hosts)+1)
	var inodes []uint64
	for _, name := range names {
		inode, err := netns.Inode(name)
		require.NoError(f.t, err)
		inodes = append(inodes, inode)
	}
	return inodes
}

// nothingLeft looks for whatever a lab of a folder can have left on the machine.
func nothingLeft(t *testing.T, dir string, inodes []uint64) {
	t.Helper()
	id := identity(dir)
	names, err := netns.List(namespacePrefix(id))
	require.NoError(t, err)
	require.Empty(t, names, "network namespaces")
	require.NoFileExists(t, "/sys/class/net/"+uplink(id))
	require.NoDirExists(t, dir)
	left, err := procfs.Default.In(inodes...)
	require.NoError(t, err)
	require.Empty(t, left, "processes in the lab's namespaces")
	pids, err := procfs.Default.PIDs()
	require.NoError(t, err)
	for _, pid := range pids {
		args, err := procfs.Default.Args(pid)
		if err != nil {
			continue // gone meanwhile
		}
		require.NotContains(t, strings.Join(args, " "), dir, "process %d", pid)
		mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
		if err == nil {
			require.NotContains(t, string(mounts), dir, "mounts of process %d, %v", pid, args)
		}
	}
}

// stands waits until a guest's virtual CPU makes no progress, while its QEMU
// answers.
func (f fixture) stands(host, vm string) {
	f.t.Helper()
	var last int
	var since time.Time
	eventually(f.t, vm+" makes no progress", func() bool {
		if now := f.stat(host, vm, "vcpu.0.time"); now != last || since.IsZero() {
			last, since = now, time.Now()
		}
		return time.Since(since) > 2*time.Second
	})
}

// event is what virsh says of the next event of a kind about a VM; "" if there is none.
func (f fixture) event(host, vm, kind string) <-chan string {
	f.t.Helper()
	uri, err := f.URI(host)
	require.NoError(f.t, err)
	watch := exec.CommandContext(f.ctx, "virsh", "-c", uri, "event", vm, "--event", kind, "--timeout", fmt.Sprint(int(patience.Seconds())))
	said := make(chan string, 1)
	go func() {
		out, _ := watch.CombinedOutput()
		said <- string(out)
	}()
	return said
}
