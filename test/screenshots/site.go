package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	siteName  = "north"
	namespace = "default"
	// size of the site: hosts, and VMs on each.
	size = "3x10"
)

// site is a simulated site under a Holdfast of its own.
type site struct {
	binary   string
	temporal string // host:port
	ui       string // URL
	cmd      *exec.Cmd
	ended    chan struct{} // closed when it has ended; then exit and log may be read
	exit     error
	log      *bytes.Buffer
}

// startSite returns when worker and monitor do their work.
func startSite(ctx context.Context, binary string) (*site, error) {
	if _, err := os.Stat(binary); err != nil {
		return nil, fmt.Errorf("%w: `make build` builds it", err)
	}
	addresses, err := freeAddresses(3)
	if err != nil {
		return nil, err
	}
	s := &site{
		binary: binary, temporal: addresses[0], ui: "http://" + addresses[1],
		ended: make(chan struct{}), log: new(bytes.Buffer),
	}
	s.cmd = exec.Command(binary, "dev", "--simulated="+size, "--site", siteName,
		"--temporal-address", addresses[0], "--ui-address", addresses[1], "--listen", addresses[2])
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		s.exit = s.cmd.Wait()
		close(s.ended)
	}()
	err = poll(ctx, "holdfast dev to be ready", func(ctx context.Context) error {
		if err := s.alive(); err != nil {
			return final{err}
		}
		return get(ctx, "http://"+addresses[2]+"/readyz")
	})
	if err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// alive returns why `holdfast dev` has ended, if it has.
func (s *site) alive() error {
	select {
	case <-s.ended:
		return fmt.Errorf("holdfast dev ended (%w):\n%s", s.exit, s.log)
	default:
		return nil
	}
}

// stop ends `holdfast dev` in order, and at once if that takes too long.
func (s *site) stop() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // an error means that it has ended
	select {
	case <-s.ended:
		return nil
	case <-time.After(45 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.ended
		return errors.New("holdfast dev did not end in order, and was killed")
	}
}

// holdfast runs a command of the operator's and returns what it prints.
func (s *site) holdfast(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, s.binary, args...)
	cmd.Env = append(os.Environ(), "TEMPORAL_ADDRESS="+s.temporal, "HOLDFAST_SITE="+siteName)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(exit.Stderr))
	}
	return out, err
}

func (s *site) do(ctx context.Context, command string) error {
	fmt.Println("  holdfast", command)
	if _, err := s.holdfast(ctx, strings.Fields(command)...); err != nil {
		return fmt.Errorf("holdfast %s: %w", command, err)
	}
	return nil
}

// incident is what is used of `holdfast incident list -o json`.
type incident struct {
	ID          string `json:"id"`
	RunID       string `json:"runId"`
	VM          string `json:"vm"`
	Stage       string `json:"stage"`
	Outcome     string `json:"outcome"`
	NeedsPerson bool   `json:"needsPerson"`
}

func (s *site) incidents(ctx context.Context) ([]incident, error) {
	out, err := s.holdfast(ctx, "incident", "list", "-o", "json")
	if err != nil {
		return nil, err
	}
	var list []incident
	err = json.Unmarshal(out, &list)
	return list, err
}

// await waits until the newest incident of a VM is as it should be.
func (s *site) await(ctx context.Context, vm, what string, ok func(incident) bool) error {
	return poll(ctx, vm+" to be "+what, func(ctx context.Context) error {
		if err := s.alive(); err != nil {
			return final{err}
		}
		list, err := s.incidents(ctx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(list, func(i incident) bool { return i.VM == vm })
		if i < 0 {
			return errors.New("it has no incident")
		}
		if !ok(list[i]) {
			return fmt.Errorf("it is in stage %q, outcome %q", list[i].Stage, list[i].Outcome)
		}
		return nil
	})
}

// awaitStart waits until Holdfast has started a VM, before it has verified that.
func (s *site) awaitStart(ctx context.Context, vm string) error {
	return poll(ctx, vm+" to be started", func(ctx context.Context) error {
		out, err := s.holdfast(ctx, "incident", "show", vm, "-o", "json")
		if err != nil {
			return err
		}
		var shown struct {
			Started *time.Time `json:"started"`
		}
		if err := json.Unmarshal(out, &shown); err != nil {
			return final{err}
		}
		if shown.Started == nil {
			return errors.New("it is not yet")
		}
		return nil
	})
}

// final is an error that waiting longer does not change.
type final struct{ error }

// poll checks again and again until it gets no error.
func poll(ctx context.Context, what string, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check(ctx)
		var end final
		switch {
		case err == nil:
			return nil
		case errors.As(err, &end):
			return end.error
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited for %s: %w: %w", what, ctx.Err(), err)
		case <-tick.C:
		}
	}
}

func get(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.New(strings.TrimSpace(string(body)))
	}
	return err
}

// freeAddresses are addresses on which nobody listens now.
func freeAddresses(n int) ([]string, error) {
	var out []string
	var taken []net.Listener // until the end, so that they differ
	defer func() {
		for _, l := range taken {
			_ = l.Close()
		}
	}()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		taken = append(taken, l)
		out = append(out, l.Addr().String())
	}
	return out, nil
}
