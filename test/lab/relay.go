package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"holdfast/test/lab/internal/netns"
)

// A relay lets a vantage reach something that listens in the root namespace on
// its loopback, such as a test's Temporal server. It is a process of the lab's
// own in the root namespace with a socket inside the vantage.

// relayStart is how long a relay may take to listen.
const relayStart = 20 * time.Second

// relayArgs is how the relays of a lab are called, up to the vantage, and how they are found again.
func relayArgs(dir string) []string { return []string{"internal", "relay", "--dir", dir} }

// relays finds the relays of a vantage to an address; with "" those of any
// vantage, or to any address.
func (l *Lab) relays(vantage, target string) ([]int, error) {
	args := relayArgs(l.info.Dir)
	if vantage != "" {
		args = append(args, "--vantage", vantage)
	}
	if target != "" {
		args = append(args, "--to", target)
	}
	return calledWith(args)
}

// Forward makes an address of the root namespace, such as 127.0.0.1:7233, reachable
// from inside a vantage, and returns the address to use there: the same port on
// the inside's 127.0.0.1, unless that is taken. Asked again, it returns the same
// one. It lasts until Unforward, RemoveVantage or Down.
//
// While nothing listens at the target, connections are accepted and reset.
func (l *Lab) Forward(ctx context.Context, vantage, target string) (inside string, err error) {
	if _, _, err := net.SplitHostPort(target); err != nil {
		return "", fmt.Errorf("forward to %q: it is host:port in the root namespace, such as 127.0.0.1:7233: %w", target, err)
	}
	err = l.onVantages(ctx, func() error {
		v, err := l.vantage(vantage)
		if err != nil {
			return err
		}
		running, err := l.relays(vantage, target)
		if err != nil {
			return err
		}
		if inside = v.Forwards[target]; inside != "" && len(running) > 0 {
			return nil
		}
		if inside, err = l.startRelay(ctx, v, target); err != nil {
			return err
		}
		v.Forwards[target] = inside
		return writeJSON(l.vantageFile(vantage), v)
	})
	return inside, err
}

// Unforward ends what Forward began, with the connections that go that way.
// Forward begins it again, at the same address if that is still free.
func (l *Lab) Unforward(ctx context.Context, vantage, target string) error {
	return l.onVantages(ctx, func() error {
		v, err := l.vantage(vantage)
		if err != nil {
			return err
		}
		if v.Forwards[target] == "" {
			return fmt.Errorf("vantage %s has no forward to %s; `lab vantage list` shows those it has", vantage, target)
		}
		if err := endAll(ctx, func() ([]int, error) { return l.relays(vantage, target) }); err != nil {
			return err
		}
		delete(v.Forwards, target)
		return writeJSON(l.vantageFile(vantage), v)
	})
}

// startRelay starts a relay and returns where it listens.
func (l *Lab) startRelay(ctx context.Context, v Vantage, target string) (string, error) {
	args := append([]string{"--fork", l.info.Binary}, relayArgs(l.info.Dir)...)
	cmd := exec.CommandContext(ctx, "setsid", append(args, "--vantage", v.Name, "--to", target, "--netns", v.NetNS)...)
	cmd.Dir = "/"
	read, write, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer read.Close()
	cmd.Stdout = write
	err = cmd.Run()
	write.Close()
	if err != nil {
		return "", fmt.Errorf("start the relay of %s to %s: %w", v.Name, target, err)
	}
	// It says one line and closes the pipe, as does its end.
	if err := read.SetReadDeadline(time.Now().Add(relayStart)); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(read).ReadString('\n')
	address, listens := strings.CutPrefix(strings.TrimSpace(line), "listens ")
	if !listens {
		return "", fmt.Errorf("relay from %s to %s: %s%w", v.Name, target, line, err)
	}
	return address, nil
}

// Relay listens in a network namespace and carries each connection to an address
// of this process's own. It says on standard output where it listens, and goes on
// until ctx ends or the lab in dir, or its vantage, is gone. Only the lab command
// calls it.
func Relay(ctx context.Context, dir, vantage, namespace, target string) error {
	listener, err := listenWithin(namespace, target)
	if err != nil {
		fmt.Println(strings.ReplaceAll(err.Error(), "\n", " "))
		return err
	}
	fmt.Println("listens", listener.Addr())
	if err := os.Stdout.Close(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	all.Go(func() {
		defer cancel()
		l := &Lab{info: Info{Dir: dir}}
		for exists(filepath.Join(dir, "lab.json")) && exists(l.vantageFile(vantage)) && sleep(ctx, time.Second) {
		}
	})
	context.AfterFunc(ctx, func() { listener.Close() })
	defer all.Wait()
	defer cancel()
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("relay to %s: %w", target, err)
		}
		all.Go(func() { carry(ctx, conn, target) })
	}
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return !errors.Is(err, fs.ErrNotExist)
}

// sleep is false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// listenWithin listens on the loopback of a namespace: on the target's port, or
// if that is taken on any.
func listenWithin(namespace, target string) (listener net.Listener, err error) {
	_, port, err := net.SplitHostPort(target)
	if err != nil {
		return nil, err
	}
	err = netns.Within(namespace, func() error {
		listener, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
		if errors.Is(err, syscall.EADDRINUSE) {
			listener, err = net.Listen("tcp", "127.0.0.1:0")
		}
		return err
	})
	return listener, err
}

// carry joins a connection to a new one to the target, until both have ended or
// ctx has. The end of one direction is passed on and leaves the other alone.
func carry(ctx context.Context, from net.Conn, target string) {
	defer from.Close()
	var dialer net.Dialer
	to, err := dialer.DialContext(ctx, "tcp", target)
	if err != nil {
		// A reset: the nearest thing to the refusal that the target gives.
		_ = from.(*net.TCPConn).SetLinger(0)
		return
	}
	defer to.Close()
	stop := context.AfterFunc(ctx, func() { from.Close(); to.Close() })
	defer stop()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{from, to}, {to, from}} {
		both.Go(func() {
			// What cannot be read or written any more ends in the other's own time.
			_, _ = io.Copy(way[1], way[0])
			_ = way[1].(*net.TCPConn).CloseWrite()
		})
	}
	both.Wait()
}
