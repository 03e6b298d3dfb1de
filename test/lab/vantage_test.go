//go:build lab

package lab

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"holdfast/test/lab/internal/netns"
)

// dial connects from inside a vantage.
func (f fixture) dial(v Vantage, address string, within time.Duration) (conn net.Conn, err error) {
	f.t.Helper()
	inside := netns.Within(v.NetNS, func() error {
		conn, err = net.DialTimeout("tcp", address, within)
		return nil
	})
	require.NoError(f.t, inside)
	return conn, err
}

func (f fixture) libvirtdOf(host string) string {
	h, err := f.host(host)
	require.NoError(f.t, err)
	return h.Address + ":16509"
}

func (f fixture) reaches(v Vantage, host string) {
	f.t.Helper()
	conn, err := f.dial(v, f.libvirtdOf(host), patience)
	require.NoError(f.t, err)
	conn.Close()
}

// misses checks that a connection attempt gets no answer, not even a refusal.
func (f fixture) misses(v Vantage, host string) {
	f.t.Helper()
	// Longer than ARP needs to give up, after which the kernel would know of no such host.
	_, err := f.dial(v, f.libvirtdOf(host), 4*time.Second)
	var failed net.Error
	require.ErrorAs(f.t, err, &failed)
	require.True(f.t, failed.Timeout(), "%v", err)
}

func TestVantage(t *testing.T) {
	o := options(t, "vantage")
	o.VMs, o.Guard = -1, false
	l, err := Up(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Down(context.Background())) })
	f := fixture{l, t, t.Context()}
	mon1, err := f.Vantage(f.ctx, "mon1")
	require.NoError(t, err)
	mon2, err := f.Vantage(f.ctx, "mon2")
	require.NoError(t, err)
	require.NotEqual(t, mon1.Address, mon2.Address)

	for _, step := range []struct {
		name string
		run  func(fixture, Vantage, Vantage)
	}{
		{"command", vantageRunsCommands},
		{"refusals", vantageRefuses},
		{"cut one", cutOne},
		{"cut all", cutAll},
		{"forward", forwards},
		{"remove", removesVantage},
		{"goes with the guard", vantagesGoWithTheGuard},
	} {
		if !t.Run(step.name, func(t *testing.T) {
			f.t, f.ctx = t, t.Context()
			step.run(f, mon1, mon2)
		}) {
			return
		}
	}
}

func vantageRunsCommands(f fixture, mon1, _ Vantage) {
	require.LessOrEqual(f.t, len(vantagePort(strings.Repeat("x", 12))), 15, "what an interface can be called")
	for _, host := range f.info.Hosts {
		out, err := mon1.Command(f.ctx, "virsh", "-c", host.URI, "hostname").Output()
		require.NoError(f.t, err)
		require.Equal(f.t, host.Name, strings.TrimSpace(string(out)))
	}
	argv := append([]string{"ip", "netns", "exec", mon1.NetNS}, "virsh", "-c", f.info.Hosts[0].URI, "uri")
	require.NoError(f.t, exec.CommandContext(f.ctx, argv[0], argv[1:]...).Run())
	// And the other way: what listens in a vantage is reached from the root namespace.
	var listener net.Listener
	require.NoError(f.t, netns.Within(mon1.NetNS, func() (err error) {
		listener, err = net.Listen("tcp", net.JoinHostPort(mon1.Address, "0"))
		return err
	}))
	defer listener.Close()
	conn, err := net.DialTimeout("tcp", listener.Addr().String(), patience)
	require.NoError(f.t, err)
	conn.Close()
}

func vantageRefuses(f fixture, _, _ Vantage) {
	_, err := f.Vantage(f.ctx, "mon1")
	require.ErrorContains(f.t, err, "lab vantage remove mon1")
	for _, bad := range []string{"", "A", "../x", strings.Repeat("x", 13)} {
		_, err := f.Vantage(f.ctx, bad)
		require.ErrorContains(f.t, err, "1 to 12", bad)
	}
	_, err = f.CutVantage(f.ctx, "nobody", "A")
	require.ErrorContains(f.t, err, "lab vantage add nobody")
	_, err = f.CutVantage(f.ctx, "mon1", "Z")
	require.ErrorContains(f.t, err, `no host "Z"`)
	_, err = f.Forward(f.ctx, "mon1", "7233")
	require.ErrorContains(f.t, err, "host:port")
	require.ErrorContains(f.t, f.Unforward(f.ctx, "mon1", "127.0.0.1:1"), "lab vantage list")
	require.ErrorContains(f.t, f.RemoveVantage(f.ctx, "nobody"), "lab vantage add nobody")
}

func cutOne(f fixture, mon1, mon2 Vantage) {
	open, err := f.dial(mon1, f.libvirtdOf("A"), patience)
	require.NoError(f.t, err)
	defer open.Close()

	at := f.done(f.CutVantage(f.ctx, "mon1", "A"))
	f.misses(mon1, "A")
	f.reaches(mon1, "B")
	f.reaches(mon2, "A")
	require.True(f.t, f.reachable("A"))
	// What was open is not closed; it is silent. libvirtd hangs up on what is no RPC.
	_, err = fmt.Fprintf(open, "\x00\x00\x00\x01 is too short for a message")
	require.NoError(f.t, err)
	require.NoError(f.t, open.SetReadDeadline(time.Now().Add(time.Second)))
	_, err = open.Read(make([]byte, 1))
	require.ErrorIs(f.t, err, os.ErrDeadlineExceeded)
	events, err := f.Events(f.ctx)
	require.NoError(f.t, err)
	require.Contains(f.t, events, Sample{At: at, Event: SampleFault, Host: "A", Fault: "cut-vantage", Detail: "mon1"})

	// A host that loses its power and gets it back is as far away as before.
	f.done(f.PowerOff(f.ctx, "A"))
	f.done(f.PowerOn(f.ctx, "A"))
	f.misses(mon1, "A")
	f.reaches(mon2, "A")

	f.done(f.HealVantage(f.ctx, "mon1", "A"))
	f.reaches(mon1, "A")
	// And the other way round: what was sent arrives in the end.
	open, err = f.dial(mon1, f.libvirtdOf("B"), patience)
	require.NoError(f.t, err)
	defer open.Close()
	f.done(f.CutVantage(f.ctx, "mon1", "B"))
	_, err = fmt.Fprintf(open, "\x00\x00\x00\x01 is too short for a message")
	require.NoError(f.t, err)
	f.done(f.HealVantage(f.ctx, "mon1"))
	require.NoError(f.t, open.SetReadDeadline(time.Now().Add(patience)))
	_, err = open.Read(make([]byte, 1))
	require.NotErrorIs(f.t, err, os.ErrDeadlineExceeded)
}

func cutAll(f fixture, mon1, mon2 Vantage) {
	f.done(f.CutVantage(f.ctx, "mon1"))
	f.done(f.CutVantage(f.ctx, "mon1")) // again is no error
	f.done(f.CutVantage(f.ctx, "mon2", "B"))
	for _, host := range []string{"A", "B"} {
		f.misses(mon1, host)
		require.True(f.t, f.reachable(host))
	}
	f.reaches(mon2, "A")
	f.done(f.HealVantage(f.ctx, "mon1", "B"))
	f.reaches(mon1, "B")
	f.misses(mon1, "A")
	f.misses(mon2, "B")
	vantages, err := f.Vantages()
	require.NoError(f.t, err)
	require.Equal(f.t, []string{"A"}, vantages[0].Cut)
	require.Equal(f.t, []string{"B"}, vantages[1].Cut)
	f.done(f.HealVantage(f.ctx, "mon1"))
	f.done(f.HealVantage(f.ctx, "mon2"))
	f.reaches(mon1, "A")
	f.reaches(mon2, "B")
}

// echo answers each line on a loopback address of the root namespace.
func echo(t *testing.T) (address string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ended := make(chan struct{})
	t.Cleanup(func() { listener.Close(); <-ended })
	go func() {
		defer close(ended)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			line, _ := bufio.NewReader(conn).ReadString('\n')
			fmt.Fprint(conn, "you said "+line)
			conn.Close()
		}
	}()
	return listener.Addr().String()
}

func forwards(f fixture, mon1, mon2 Vantage) {
	target := echo(f.t)
	hears := func(v Vantage, inside string) {
		f.t.Helper()
		conn, err := f.dial(v, inside, patience)
		require.NoError(f.t, err)
		defer conn.Close()
		require.NoError(f.t, conn.SetDeadline(time.Now().Add(patience)))
		fmt.Fprintln(conn, "hello")
		answer, err := bufio.NewReader(conn).ReadString('\n')
		require.NoError(f.t, err)
		require.Equal(f.t, "you said hello\n", answer)
	}
	f.done(f.CutVantage(f.ctx, "mon1")) // Temporal is no host
	inside, err := f.Forward(f.ctx, "mon1", target)
	require.NoError(f.t, err)
	require.Equal(f.t, target, inside)
	hears(mon1, inside)
	_, err = f.dial(mon2, inside, patience)
	require.ErrorIs(f.t, err, unix.ECONNREFUSED, "another vantage's")
	other, err := f.Forward(f.ctx, "mon2", target)
	require.NoError(f.t, err)
	hears(mon2, other)

	again, err := f.Forward(f.ctx, "mon1", target)
	require.NoError(f.t, err)
	require.Equal(f.t, inside, again)
	pids, err := f.relays("mon1", target)
	require.NoError(f.t, err)
	require.Len(f.t, pids, 1)
	// The same port is taken inside: then it is another.
	_, port, err := net.SplitHostPort(target)
	require.NoError(f.t, err)
	elsewhere, err := f.Forward(f.ctx, "mon1", net.JoinHostPort("localhost", port))
	require.NoError(f.t, err)
	require.NotEqual(f.t, inside, elsewhere)
	hears(mon1, elsewhere)

	// A relay that died is begun again, at the same address.
	require.NoError(f.t, unix.Kill(pids[0], unix.SIGKILL))
	eventually(f.t, "the relay is dead", func() bool { pids, err := f.relays("mon1", target); return err == nil && len(pids) == 0 })
	again, err = f.Forward(f.ctx, "mon1", target)
	require.NoError(f.t, err)
	require.Equal(f.t, inside, again)
	hears(mon1, inside)
	require.NoError(f.t, f.Unforward(f.ctx, "mon1", target))
	_, err = f.dial(mon1, inside, patience)
	require.ErrorIs(f.t, err, unix.ECONNREFUSED)
}

func removesVantage(f fixture, _, mon2 Vantage) {
	runs := mon2.Command(f.ctx, "tail", "-f", "/dev/null")
	require.NoError(f.t, runs.Start())
	require.NoError(f.t, f.RemoveVantage(f.ctx, "mon2"))
	require.Error(f.t, runs.Wait(), "it was killed")
	_, err := netns.Inode(mon2.NetNS)
	require.ErrorIs(f.t, err, os.ErrNotExist)
	pids, err := f.relays("mon2", "")
	require.NoError(f.t, err)
	require.Empty(f.t, pids)
	again, err := f.Vantage(f.ctx, "mon2")
	require.NoError(f.t, err)
	require.Equal(f.t, mon2.Address, again.Address)
	f.reaches(again, "A")
}

func vantagesGoWithTheGuard(f fixture, mon1, mon2 Vantage) {
	target := echo(f.t)
	_, err := f.Forward(f.ctx, "mon1", target)
	require.NoError(f.t, err)
	runs := mon2.Command(f.ctx, "tail", "-f", "/dev/null")
	require.NoError(f.t, runs.Start())
	var inodes []uint64
	names, err := netns.List(namespacePrefix(f.id))
	require.NoError(f.t, err)
	require.Len(f.t, names, len(f.info.Hosts)+3)
	for _, name := range names {
		inode, err := netns.Inode(name)
		require.NoError(f.t, err)
		inodes = append(inodes, inode)
	}

	owner := exec.Command("tail", "-f", "/dev/null")
	require.NoError(f.t, owner.Start())
	guard := exec.Command(command, "internal", "guard", "--dir", f.info.Dir, "--owner", strconv.Itoa(owner.Process.Pid))
	require.NoError(f.t, guard.Start())
	require.NoError(f.t, owner.Process.Kill())
	_ = owner.Wait() // was killed
	require.NoError(f.t, guard.Wait())
	require.Error(f.t, runs.Wait(), "it was killed")
	nothingLeft(f.t, f.info.Dir, inodes)
	_, err = f.Vantage(f.ctx, "late")
	require.ErrorIs(f.t, err, ErrNotFound)
	require.NoDirExists(f.t, f.info.Dir)
}
