package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
)

// maxOutput is how much of what a program says on one output is kept. QEMU's own
// agent keeps 16 MiB, which this guest does not have to spare.
const maxOutput = 1 << 20

// programs are those that the agent was asked to run and that nobody has asked
// about since they ended.
type programs struct {
	mu  sync.Mutex
	run map[int]*program // by process ID
}

type program struct {
	out, err output
	ended    chan struct{} // closed when it has; then its state may be read
	state    *os.ProcessState
}

// output keeps the beginning of what a program says.
type output struct {
	kept bytes.Buffer
	more bool
}

func (o *output) Write(p []byte) (int, error) {
	room := min(len(p), maxOutput-o.kept.Len())
	o.kept.Write(p[:room])
	o.more = o.more || room < len(p)
	return len(p), nil
}

// execArguments are those of guest-exec.
type execArguments struct {
	Path    string   `json:"path"`
	Arg     []string `json:"arg"`
	Env     []string `json:"env"`
	Input   string   `json:"input-data"` // base64
	Capture bool     `json:"capture-output"`
}

// start runs a program aside and returns its process ID.
func (p *programs) start(a execArguments) (int, error) {
	input, err := base64.StdEncoding.DecodeString(a.Input)
	if err != nil {
		return 0, fmt.Errorf("input-data: %w", err)
	}
	cmd := exec.Command(a.Path, a.Arg...)
	if a.Env != nil {
		cmd.Env = a.Env
	}
	if len(input) > 0 {
		cmd.Stdin = bytes.NewReader(input)
	}
	begun := &program{ended: make(chan struct{})}
	if a.Capture {
		cmd.Stdout, cmd.Stderr = &begun.out, &begun.err
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("Failed to execute child process “%s” (%w)", a.Path, cause(err)) //nolint:staticcheck // the words of QEMU's agent
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run == nil {
		p.run = map[int]*program{}
	}
	p.run[cmd.Process.Pid] = begun
	go func() {
		_ = cmd.Wait() // the state says it
		begun.state = cmd.ProcessState
		close(begun.ended)
	}()
	return cmd.Process.Pid, nil
}

// cause is the innermost reason why a program could not be started.
func cause(err error) error {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err
}

// status is what guest-exec-status returns. An end is told once.
func (p *programs) status(pid int) (any, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	asked, is := p.run[pid]
	if !is {
		return nil, errors.New("Invalid parameter 'pid'") //nolint:staticcheck // the words of QEMU's agent
	}
	select {
	case <-asked.ended:
	default:
		return map[string]any{"exited": false}, nil
	}
	delete(p.run, pid)
	said := map[string]any{"exited": true}
	if wait, is := asked.state.Sys().(syscall.WaitStatus); is && wait.Signaled() {
		said["signal"] = int(wait.Signal())
	} else {
		said["exitcode"] = asked.state.ExitCode()
	}
	for name, o := range map[string]*output{"out": &asked.out, "err": &asked.err} {
		if o.kept.Len() > 0 {
			said[name+"-data"] = base64.StdEncoding.EncodeToString(o.kept.Bytes())
		}
		if o.more {
			said[name+"-truncated"] = true
		}
	}
	return said, nil
}
