package sampler

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/test/lab/internal/procfs"
)

const (
	uuid1 = "5be62b26-b39d-4b81-a264-c35c9bc0f04a"
	boot1 = "5bded0a6-0f01-46b6-91f0-4221648b6056"
	hostA = uint64(500) // network namespaces
	hostB = uint64(600)
)

// fakeProc is a made-up proc file system.
type fakeProc struct {
	t  *testing.T
	fs procfs.FS
}

func newFakeProc(t *testing.T) fakeProc { return fakeProc{t, procfs.FS{Root: t.TempDir()}} }

func (p fakeProc) add(pid int, netns uint64, args ...string) {
	p.t.Helper()
	dir := filepath.Join(p.fs.Root, fmt.Sprint(pid))
	// Complete at one stroke, as a process is.
	tmp := p.t.TempDir()
	require.NoError(p.t, os.Mkdir(filepath.Join(tmp, "ns"), 0o755))
	require.NoError(p.t, os.Symlink(fmt.Sprintf("net:[%d]", netns), filepath.Join(tmp, "ns", "net")))
	for name, content := range map[string]string{
		"cmdline": strings.Join(args, "\x00") + "\x00",
		"stat":    fmt.Sprintf("%d (x) S 1 1 1 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 %d 1000 1", pid, time.Since(bootTime())/procfs.Ticks(1)),
		"status":  fmt.Sprintf("NSpid:\t%d\t7\n", pid),
	} {
		require.NoError(p.t, os.WriteFile(filepath.Join(tmp, name), []byte(content), 0o644))
	}
	require.NoError(p.t, os.RemoveAll(dir))
	require.NoError(p.t, os.Rename(tmp, dir))
}

func (p fakeProc) remove(pid int) {
	require.NoError(p.t, os.RemoveAll(filepath.Join(p.fs.Root, fmt.Sprint(pid))))
}

func qemu(vm string, more ...string) []string {
	return append([]string{"/usr/bin/qemu-system-x86_64", "-name", "guest=" + vm + ",debug-threads=on", "-uuid", uuid1}, more...)
}

func TestScannerSeesForkBecomeQEMU(t *testing.T) {
	proc := newFakeProc(t)
	s := NewScanner(proc.fs)
	s.SetHosts(map[uint64]string{hostA: "A", hostB: "B"})
	look := func() []string {
		found, err := s.New()
		require.NoError(t, err)
		var out []string
		for _, c := range found {
			out = append(out, fmt.Sprintf("%d %s %s %t", c.PID, c.VM, c.Host, c.Incoming))
		}
		return out
	}
	proc.add(10, hostA, "tini", "--", "sleep", "infinity")
	proc.add(11, hostA, "libvirtd", "--daemon")
	proc.add(12, 1, qemu("elsewhere")...)
	require.Empty(t, look())

	proc.add(20, hostA, "libvirtd", "--daemon") // the fork
	require.Empty(t, look())
	proc.add(20, hostA, qemu("VM1")...)
	proc.add(21, hostB, qemu("VM2", "-incoming", "defer")...)
	require.ElementsMatch(t, []string{"20 VM1 A false", "21 VM2 B true"}, look())
	require.Empty(t, look(), "each once")

	// The same number for another process, once the end of the first is known.
	proc.add(20, hostB, qemu("VM3")...)
	require.Empty(t, look())
	s.Forget(20)
	require.Equal(t, []string{"20 VM3 B false"}, look())

	// A process that was in no host may be in one after the hosts have changed.
	s.SetHosts(map[uint64]string{1: "C"})
	require.Equal(t, []string{"12 elsewhere C false"}, look())

	proc.remove(12)
	require.Empty(t, look())
}

func TestConsoleIsReadAsItGrows(t *testing.T) {
	c := &Console{VM: "VM1", Host: "A", Path: filepath.Join(t.TempDir(), "VM1.log")}
	f, err := os.Create(c.Path)
	require.NoError(t, err)
	defer f.Close()
	grow := func(s string) []ack {
		_, err := f.WriteString(s)
		require.NoError(t, err)
		return c.read()
	}
	require.Empty(t, grow("SeaBIOS\r\nack "+boot1+" 1"))
	acks := grow("2\r\nack " + boot1 + " 13\r\nack")
	require.Len(t, acks, 2)
	require.Equal(t, uint64(12), acks[0].N)
	require.True(t, acks[0].first)
	require.False(t, acks[1].first)
	require.Empty(t, c.read())
	acks = grow(" " + boot1 + " 14\n")
	require.Len(t, acks, 1)

	require.NoError(t, os.WriteFile(c.Path, []byte("ack "+boot1+" 1\n"), 0o644))
	require.Len(t, c.read(), 1, "a file that was begun anew is read from its start")

	c.booted(Event{VM: "VM1", Host: "A", BootID: "x"})
	require.Empty(t, (&Console{Path: "/nowhere"}).read())
}

// running is a Watch under test, on real processes that a made-up /proc calls QEMU.
type running struct {
	proc   fakeProc
	config Config
	ended  chan error   // gets what Watch returned
	stop   func() error // ends it
}

func watch(t *testing.T, proc fakeProc, dir string) *running {
	r := &running{proc: proc, config: Config{
		FS:       proc.fs,
		Hosts:    func() map[uint64]string { return map[uint64]string{hostA: "A", hostB: "B"} },
		Consoles: []*Console{{VM: "VM1", Host: "A", Path: filepath.Join(dir, "VM1.log")}},
		Log:      filepath.Join(dir, "events.jsonl"),
		Pulse:    filepath.Join(dir, "pulse.json"),
	}}
	ctx, cancel := context.WithCancel(context.Background())
	r.ended = make(chan error, 1)
	go func() { r.ended <- Watch(ctx, r.config) }()
	r.stop = func() error { cancel(); return <-r.ended }
	t.Cleanup(cancel)
	return r
}

// events waits until what the log says of a kind has the wanted length.
func (r *running) events(t *testing.T, kind Kind, want int) []Event {
	t.Helper()
	var found []Event
	require.Eventually(t, func() bool {
		all, err := Read(r.config.Log)
		require.NoError(t, err)
		found = nil
		for _, e := range all {
			if e.Event == kind {
				found = append(found, e)
			}
		}
		return len(found) >= want
	}, 20*time.Second, 5*time.Millisecond, "%d events %q", want, kind)
	require.Len(t, found, want)
	return found
}

// process starts a real process that does nothing, and returns how to kill it.
func process(t *testing.T) (pid int, kill func()) {
	cmd := exec.Command("sleep", "600")
	require.NoError(t, cmd.Start())
	killed := false
	kill = func() {
		if !killed {
			killed = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(kill)
	return cmd.Process.Pid, kill
}

func TestWatch(t *testing.T) {
	proc, dir := newFakeProc(t), t.TempDir()
	r := watch(t, proc, dir)

	first, kill := process(t)
	proc.add(first, hostA, qemu("VM1")...)
	start := r.events(t, Start, 1)[0]
	require.Equal(t, Event{At: start.At, Event: Start, VM: "VM1", Host: "A", PID: first}, start)

	require.NoError(t, os.WriteFile(filepath.Join(dir, "VM1.log"), []byte("ack "+boot1+" 5\r\n"), 0o644))
	require.Equal(t, boot1, r.events(t, Boot, 1)[0].BootID)

	before := time.Now()
	proc.remove(first) // first: in a real /proc a dead process has no command line
	kill()
	end := r.events(t, End, 1)[0]
	require.Equal(t, first, end.PID)
	require.WithinRange(t, end.At, before, time.Now())

	// A second sampler, after the first: it repeats nothing and goes on.
	second, _ := process(t)
	proc.add(second, hostB, qemu("VM1")...)
	r.events(t, Start, 2)
	require.NoError(t, r.stop())

	again := watch(t, proc, dir)
	third, _ := process(t)
	proc.add(third, hostA, qemu("VM1")...)
	again.events(t, Start, 3)
	require.Equal(t, []string{"B", "A"}, again.events(t, Overlap, 1)[0].Hosts)
	again.events(t, Boot, 1)
	require.NoError(t, again.stop())

	var pulse Pulse
	raw, err := os.ReadFile(again.config.Pulse)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &pulse))
	require.Equal(t, os.Getpid(), pulse.PID)
	require.NotZero(t, pulse.Looks)
}

// What ended while no sampler watched is said to have ended by the next one.
func TestWatchFindsWhatEndedMeanwhile(t *testing.T) {
	proc, dir := newFakeProc(t), t.TempDir()
	r := watch(t, proc, dir)
	pid, kill := process(t)
	proc.add(pid, hostA, qemu("VM1")...)
	r.events(t, Start, 1)
	require.NoError(t, r.stop())
	proc.remove(pid)
	kill()

	again := watch(t, proc, dir)
	require.Equal(t, pid, again.events(t, End, 1)[0].PID)
	require.NoError(t, again.stop())
}

// A sampler whose lab was removed ends.
func TestWatchEndsWithoutItsFolder(t *testing.T) {
	proc, dir := newFakeProc(t), filepath.Join(t.TempDir(), "sampler")
	require.NoError(t, os.Mkdir(dir, 0o755))
	r := watch(t, proc, dir)
	r.events(t, Sampler, 1)
	require.NoError(t, os.RemoveAll(dir))
	select {
	case err := <-r.ended:
		require.Error(t, err)
	case <-time.After(20 * time.Second):
		t.Fatal("it goes on")
	}
}

func TestReadLeavesTheUnfinishedLine(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	events, err := Read(log)
	require.NoError(t, err)
	require.Empty(t, events)
	require.NoError(t, Append(log, Event{At: t0, Event: Fault, Fault: "kill"}, Event{At: t0, Event: Start}))
	f, err := os.OpenFile(log, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString(`{"at":"20`)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	events, err = Read(log)
	require.NoError(t, err)
	require.Equal(t, []Event{{At: t0, Event: Fault, Fault: "kill"}, {At: t0, Event: Start}}, events)
}
