// Package devserver runs the Temporal development server (`temporal server
// start-dev`) as a child process, with the settings that take off its hidden
// brakes. It serves `holdfast dev`, the tests and the benchmarks. It is one
// process with one SQLite file: for more than one machine, run a real cluster.
package devserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"

	"holdfast/internal/contract"
)

// Options of a development server.
type Options struct {
	// Binary is the `temporal` command; empty: found by Find.
	Binary string
	// Address is host:port of the gRPC API; port 0 picks a free one.
	Address string
	// UIAddress is host:port of the web UI; empty: no UI; port 0 picks a free one.
	UIAddress string
	// Database is the SQLite file; its folder is made. Empty: in memory, lost at the end.
	Database string
	// Namespace is made if it is not there; empty means "default".
	Namespace string
	// Output takes the server's own log; nil discards it.
	Output io.Writer
}

// Server is a running development server.
type Server struct {
	opts Options
	// Address and UIAddress are those in use, with real port numbers. They stay
	// the same over Restart.
	Address   string
	UIAddress string

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has been reaped
}

// ErrNoBinary: there is no `temporal` command to run.
var ErrNoBinary = errors.New("no `temporal` command found: run `make tools`, or put it on PATH (https://docs.temporal.io/cli)")

// Find returns the `temporal` command: $TEMPORAL_BINARY, then beside the running
// executable or in the build folder next to it, then on PATH.
func Find() (string, error) {
	candidates := []string{os.Getenv("TEMPORAL_BINARY")}
	if self, err := os.Executable(); err == nil {
		dir := filepath.Dir(self)
		candidates = append(candidates, filepath.Join(dir, "temporal"), filepath.Join(dir, "..", "build", "tools", "temporal"))
	}
	for _, c := range candidates {
		if c == "" {
			continue
		}
		if info, err := os.Stat(c); err == nil && info.Mode()&0o111 != 0 && !info.IsDir() {
			return c, nil
		}
	}
	if path, err := exec.LookPath("temporal"); err == nil {
		return path, nil
	}
	return "", ErrNoBinary
}

// Start starts a server and returns when it serves its namespace.
func Start(ctx context.Context, o Options) (*Server, error) {
	var err error
	if o.Binary == "" {
		if o.Binary, err = Find(); err != nil {
			return nil, err
		}
	}
	if o.Namespace == "" {
		o.Namespace = client.DefaultNamespace
	}
	s := &Server{opts: o}
	if s.Address, err = concrete(o.Address); err != nil {
		return nil, err
	}
	if o.UIAddress != "" {
		if s.UIAddress, err = concrete(o.UIAddress); err != nil {
			return nil, err
		}
	}
	if o.Database != "" {
		if err := os.MkdirAll(filepath.Dir(o.Database), 0o755); err != nil {
			return nil, err
		}
	}
	if err := s.Restart(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Restart starts the process again after it died or was killed, on the same
// addresses and the same database.
func (s *Server) Restart(ctx context.Context) error {
	args, err := s.args()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd != nil {
		select {
		case <-s.done:
		default:
			return errors.New("the development server is running already")
		}
	}
	// Or another server would answer for ours, which ends for want of the address.
	for _, address := range []string{s.Address, s.UIAddress} {
		if err := free(address); err != nil {
			return err
		}
	}
	cmd := exec.Command(s.opts.Binary, args...)
	cmd.Stdout, cmd.Stderr = s.opts.Output, s.opts.Output
	cmd.SysProcAttr = childAttributes()
	if s.opts.Database != "" {
		lock, err := lockDatabase(ctx, s.opts.Database)
		if err != nil {
			return err
		}
		if lock != nil {
			defer func() { _ = lock.Close() }() // the child has its own
			cmd.ExtraFiles = append(cmd.ExtraFiles, lock)
		}
	}
	done := make(chan struct{})
	if err := run(cmd, done); err != nil {
		return fmt.Errorf("starting %s: %w", s.opts.Binary, err)
	}
	s.cmd, s.done = cmd, done
	if err := s.awaitReady(ctx, s.done); err != nil {
		_ = cmd.Process.Kill()
		<-s.done
		return err
	}
	return nil
}

// run starts the command and closes done when it has been reaped. Both happen on
// one thread, which lives as long as the child: Linux sends the parent-death
// signal when the thread that started the child ends, not the process.
func run(cmd *exec.Cmd, done chan<- struct{}) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended shows in its own log
			close(done)
		}
	}()
	return <-started
}

// args is the command line. See docs/adr/0003 for the settings.
func (s *Server) args() ([]string, error) {
	host, port, err := net.SplitHostPort(s.Address)
	if err != nil {
		return nil, fmt.Errorf("address of the development server: %w", err)
	}
	args := []string{
		"server", "start-dev", "--ip", host, "--port", port, "--namespace", s.opts.Namespace, "--log-level", "warn",
		// By default its one shard reads its queues 20 times a second: 50 ms a step.
		"--dynamic-config-value", "history.transferProcessorMaxPollRPS=2000",
		"--dynamic-config-value", "history.timerProcessorMaxPollRPS=2000",
		"--dynamic-config-value", "history.visibilityProcessorMaxPollRPS=200",
	}
	if s.UIAddress == "" {
		args = append(args, "--headless")
	} else {
		uiHost, uiPort, err := net.SplitHostPort(s.UIAddress)
		if err != nil {
			return nil, fmt.Errorf("address of the web UI: %w", err)
		}
		args = append(args, "--ui-ip", uiHost, "--ui-port", uiPort)
	}
	if s.opts.Database != "" {
		args = append(args, "--db-filename", s.opts.Database, "--sqlite-pragma", "journal_mode=wal", "--sqlite-pragma", "synchronous=1")
	}
	for _, key := range contract.SearchAttributes() {
		args = append(args, "--search-attribute", key.GetName()+"="+key.GetValueType().String())
	}
	return args, nil
}

// awaitReady returns when the namespace answers.
func (s *Server) awaitReady(ctx context.Context, died <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	c, err := client.NewLazyClient(client.Options{HostPort: s.Address, Namespace: s.opts.Namespace, Logger: log.NewStructuredLogger(slog.New(slog.DiscardHandler))})
	if err != nil {
		return err
	}
	defer c.Close()
	var last error
	for {
		if last = probe(ctx, c); last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the development server at %s did not come up: %w", s.Address, last)
		case <-died:
			return fmt.Errorf("the development server ended at once: is %s in use, or the database of another version?", s.Address)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// probe asks for something that needs the namespace and the visibility store.
func probe(ctx context.Context, c client.Client) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err := c.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{})
	return err
}

// Done is closed when the process has ended.
func (s *Server) Done() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.done
}

// Kill ends the server with SIGKILL and waits for it to be gone.
func (s *Server) Kill() { s.signal(syscall.SIGKILL, 0) }

// Stop ends the server in order, or with SIGKILL after the given time.
func (s *Server) Stop(within time.Duration) { s.signal(syscall.SIGTERM, within) }

func (s *Server) signal(sig syscall.Signal, within time.Duration) {
	s.mu.Lock()
	cmd, done := s.cmd, s.done
	s.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(sig) // an error means that it has ended
	if within > 0 {
		select {
		case <-done:
			return
		case <-time.After(within):
			_ = cmd.Process.Kill()
		}
	}
	<-done
}

// free reports an address that somebody listens on already.
func free(address string) error {
	if address == "" {
		return nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("address of the development server: %w: is another one running? Stop it, or use another address, or port 0 for a free one", err)
	}
	return l.Close()
}

// concrete replaces port 0 by a free port.
func concrete(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("address %q: %w (write host:port)", address, err)
	}
	if port != "0" {
		return address, nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return "", err
	}
	defer l.Close()
	return net.JoinHostPort(host, strconv.Itoa(l.Addr().(*net.TCPAddr).Port)), nil
}
