package procfs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// fake makes a process in a made-up proc file system.
func fake(t *testing.T, fs FS, pid, ppid int, state byte, netns uint64, innerID int, args ...string) {
	t.Helper()
	dir := filepath.Join(fs.Root, fmt.Sprint(pid))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "ns"), 0o755))
	require.NoError(t, os.Symlink(fmt.Sprintf("net:[%d]", netns), filepath.Join(dir, "ns", "net")))
	files := map[string]string{
		"cmdline": strings.Join(append(args, ""), "\x00"),
		"stat":    fmt.Sprintf("%d (a b) c) %c %d 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 1000 1", pid, state, ppid),
		"status":  fmt.Sprintf("Name:\tx\nNSpid:\t%d\t%d\n", pid, innerID),
	}
	for name, content := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644))
	}
}

func TestReadAndIn(t *testing.T) {
	fs := FS{Root: t.TempDir()}
	fake(t, fs, 100, 1, 'S', 500, 1, "tini", "--", "sleep", "infinity")
	fake(t, fs, 101, 100, 'T', 500, 2, "libvirtd")
	fake(t, fs, 102, 100, 'Z', 500, 3)
	fake(t, fs, 103, 1, 'S', 600, 103, "bash")
	require.NoError(t, os.WriteFile(filepath.Join(fs.Root, "uptime"), nil, 0o644))
	require.NoError(t, os.MkdirAll(filepath.Join(fs.Root, "104", "ns"), 0o755)) // going

	p, err := fs.Read(101)
	require.NoError(t, err)
	require.Equal(t, Process{
		PID: 101, PPID: 100, NetNS: 500, State: 'T', Start: 4711, Args: []string{"libvirtd"}, Comm: "a b) c", InnerID: 2,
	}, p)
	require.True(t, p.Alive() && p.Stopped())

	found, err := fs.In(500)
	require.NoError(t, err)
	var pids []int
	for _, p := range found {
		pids = append(pids, p.PID)
	}
	require.ElementsMatch(t, []int{100, 101}, pids)

	found, err = fs.In()
	require.NoError(t, err)
	require.Empty(t, found)
}

func TestVirtualCPUs(t *testing.T) {
	fs := FS{Root: t.TempDir()}
	_, err := fs.VCPUs(100)
	require.Error(t, err, "no such process")
	tasks := FS{Root: filepath.Join(fs.Root, "100", "task")}
	for thread, name := range map[int]string{100: "qemu-system-x86", 101: "call_rcu", 102: "CPU 0/TCG", 103: "CPU 1/KVM"} {
		state := byte('S')
		if thread == 103 {
			state = 't'
		}
		fake(t, tasks, thread, 1, state, 500, thread)
		require.NoError(t, os.WriteFile(filepath.Join(tasks.Root, fmt.Sprint(thread), "comm"), []byte(name+"\n"), 0o644))
	}
	threads, err := fs.VCPUs(100)
	require.NoError(t, err)
	require.ElementsMatch(t, []int{102, 103}, threads)
	require.False(t, fs.Held(100, 102))
	require.True(t, fs.Held(100, 103))
	require.False(t, fs.Held(100, 999))
}

func TestReadsThisMachine(t *testing.T) {
	p, err := Default.Read(os.Getpid())
	require.NoError(t, err)
	require.Equal(t, os.Getppid(), p.PPID)
	require.Equal(t, os.Args, p.Args)
	require.NotZero(t, p.NetNS)
	found, err := Default.In(p.NetNS)
	require.NoError(t, err)
	require.NotEmpty(t, found)
}

func TestParseStatRefusesRubbish(t *testing.T) {
	for _, stat := range []string{"", "1", "1 (x", "x (y) S 1", "1 (x) S 1 2 3", "1 (x) S x " + strings.Repeat("1 ", 20)} {
		_, err := parseStat(stat)
		require.Error(t, err, stat)
	}
}

func TestParseQEMU(t *testing.T) {
	libvirt := "/usr/bin/qemu-system-x86_64 -name guest=VM1,debug-threads=on -S -uuid 5be62b26-b39d-4b81-a264-c35c9bc0f04a -display none"
	q, ok := ParseQEMU(strings.Fields(libvirt))
	require.True(t, ok)
	require.Equal(t, QEMU{Name: "VM1", UUID: "5be62b26-b39d-4b81-a264-c35c9bc0f04a"}, q)

	q, ok = ParseQEMU(strings.Fields(libvirt + " -incoming defer"))
	require.True(t, ok)
	require.True(t, q.Incoming)

	for _, other := range []string{
		"", "libvirtd --listen", "/usr/bin/qemu-system-x86_64 -S -machine none,accel=tcg", "grep -uuid x", "qemu-img -uuid",
	} {
		_, ok := ParseQEMU(strings.Fields(other))
		require.False(t, ok, other)
	}
}
