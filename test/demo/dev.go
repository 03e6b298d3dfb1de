package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Where `holdfast dev` is looked for by those who know its defaults.
const (
	usualTemporal = "127.0.0.1:7233"
	usualUI       = "127.0.0.1:8233"
	anyPort       = "127.0.0.1:0"
)

// dev is the `holdfast dev` that runs in the background, as it is written down.
type dev struct {
	PID      int    `json:"pid"`
	Temporal string `json:"temporal"` // host:port
	UI       string `json:"ui"`       // host:port
	Listen   string `json:"listen"`   // host:port of metrics and health

	died chan struct{} // closed when it has ended; nil unless this process started it
}

// startDev starts `holdfast dev` and writes it down. It goes on when this
// process has ended.
func (d *demo) startDev(siteFile string) (err error) {
	if err := os.MkdirAll(d.folder(), 0o755); err != nil {
		return err
	}
	log, err := os.Create(d.logFile())
	if err != nil {
		return err
	}
	defer log.Close()
	started := dev{died: make(chan struct{})}
	for _, port := range []struct {
		to     *string
		wanted string
	}{{&started.Temporal, usualTemporal}, {&started.UI, usualUI}, {&started.Listen, anyPort}} {
		if *port.to, err = freeAddress(port.wanted); err != nil {
			return err
		}
	}
	cmd := exec.Command(d.binary("holdfast"), "dev", siteFile, "--data", d.dataFolder(),
		"--temporal-address", started.Temporal, "--ui-address", started.UI, "--listen", started.Listen)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true} // no signal of this terminal reaches it
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start holdfast dev: %w; `make build` builds it", err)
	}
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(started.died)
	}()
	started.PID = cmd.Process.Pid
	d.dev = started
	written, err := json.Marshal(started)
	if err == nil {
		err = os.WriteFile(d.stateFile(), append(written, '\n'), 0o644)
	}
	if err != nil { // nobody would find it again
		_ = cmd.Process.Kill()
		<-started.died
	}
	return err
}

// freeAddress is the wanted address, or the same with a free port if it is taken.
func freeAddress(wanted string) (string, error) {
	l, err := net.Listen("tcp", wanted)
	if err != nil {
		if l, err = net.Listen("tcp", anyPort); err != nil {
			return "", err
		}
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// ready returns nil when worker and monitor both say that they do their work.
func (d *demo) ready(ctx context.Context) error {
	select {
	case <-d.dev.died:
		return fatal{fmt.Errorf("holdfast dev ended; the end of its log:\n%s", lastLines(d.logFile(), 8))}
	default:
	}
	_, err := d.get(ctx, "/readyz")
	return err
}

// get asks `holdfast dev` over HTTP.
func (d *demo) get(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.dev.Listen+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.New(strings.TrimSpace(string(body)))
	}
	return body, err
}

// lastLines is the end of a text file, as far as it can be read.
func lastLines(file string, n int) string {
	content, _ := os.ReadFile(file)
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// stopWithin is how long `holdfast dev` may take to end in order: its worker
// finishes the steps that it has begun.
const stopWithin = 45 * time.Second

// stopDev ends the `holdfast dev` that was written down, and reports whether
// there was anything of it. Another process that has its number by now is left alone.
func (d *demo) stopDev(ctx context.Context) (bool, error) {
	written, err := os.ReadFile(d.stateFile())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var old dev
	if err := json.Unmarshal(written, &old); err != nil {
		return false, fmt.Errorf("%s: %w; end the `holdfast dev` of %s by hand and remove that folder", d.stateFile(), err, d.folder())
	}
	all := d.ours()
	if len(all) == 0 {
		return false, nil
	}
	for _, round := range []struct {
		signal unix.Signal
		within time.Duration
	}{{unix.SIGTERM, stopWithin}, {unix.SIGKILL, 5 * time.Second}} {
		if d.isOurs(old.PID) {
			all = []int{old.PID} // it ends the others in order
		}
		for _, pid := range all {
			_ = unix.Kill(pid, round.signal) // an error means that it has ended
		}
		err = await(ctx, round.within, "holdfast dev to end", func(context.Context) error {
			if all = d.ours(); len(all) > 0 {
				return fmt.Errorf("process %d is alive", all[0])
			}
			return nil
		})
		if err == nil || ctx.Err() != nil {
			break
		}
	}
	return true, err
}

// isOurs reports whether a process is alive and is a `holdfast dev` with the
// demo's data, or its Temporal.
func (d *demo) isOurs(pid int) bool {
	args, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	return err == nil && (bytes.Contains(args, []byte("\x00--data\x00"+d.dataFolder()+"\x00")) ||
		bytes.Contains(args, []byte("\x00--db-filename\x00"+d.dataFolder()+"/")))
}

// ours are all the processes of the demo but those of its lab.
func (d *demo) ours() []int {
	all, _ := filepath.Glob("/proc/[0-9]*") // the pattern is well formed
	var pids []int
	for _, process := range all {
		if pid, err := strconv.Atoi(filepath.Base(process)); err == nil && d.isOurs(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}
