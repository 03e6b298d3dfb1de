//go:build cgo

package libvirt

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"holdfast/internal/hypervisor"
)

const (
	// execTimeout is how many seconds libvirt gives an agent that has just answered
	// to take a command, or to say how it does: neither waits for the command.
	execTimeout = 3
	// How often an agent is asked how a command does.
	execPollFirst = 20 * time.Millisecond
	execPollMax   = time.Second
)

// GuestExec implements [hypervisor.Host]. libvirt passes the agent's own commands
// on and marks the domain as tainted (custom-ga-command) for it, in its log and
// in dominfo; nothing comes of that.
//
// The agent is asked for its clock first: that question is shared by all who ask,
// has an end, and tells in the usual words that the agent does not answer. So one
// that is silent costs no more than it did before. Between the questions about a
// command the agent is free for others.
func (h *Host) GuestExec(ctx context.Context, uuid string, argv []string) (hypervisor.GuestExit, error) {
	var none hypervisor.GuestExit
	if len(argv) == 0 {
		return none, errors.New("run a command in a guest: there is none")
	}
	ctx, cancel := h.bounded(ctx)
	defer cancel()
	if _, err := h.GuestTime(ctx, uuid); err != nil {
		return none, err
	}
	started, err := agentCall[struct {
		PID int64 `json:"pid"`
	}](ctx, h, uuid, "guest-exec", map[string]any{"path": argv[0], "arg": argv[1:], "capture-output": true})
	if err != nil {
		return none, err
	}
	for wait := execPollFirst; ; wait = min(2*wait, execPollMax) {
		s, err := agentCall[execStatus](ctx, h, uuid, "guest-exec-status", map[string]any{"pid": started.PID})
		if err != nil {
			return none, err
		}
		if s.Exited {
			return s.exit()
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return none, h.ended(ctx, "run a command in the guest of domain "+uuid)
		case <-h.ctx.Done():
			return none, h.errClosed()
		}
	}
}

// execStatus is what guest-exec-status returns.
type execStatus struct {
	Exited       bool   `json:"exited"`
	ExitCode     int    `json:"exitcode"`
	Signal       int    `json:"signal"`
	Out          string `json:"out-data"`
	Err          string `json:"err-data"`
	OutTruncated bool   `json:"out-truncated"`
	ErrTruncated bool   `json:"err-truncated"`
}

func (s execStatus) exit() (e hypervisor.GuestExit, err error) {
	e.Code, e.Truncated = s.ExitCode, s.OutTruncated || s.ErrTruncated
	if s.Signal != 0 {
		e.Code = 128 + s.Signal
	}
	for _, o := range []struct {
		from string
		to   *[]byte
	}{{s.Out, &e.Stdout}, {s.Err, &e.Stderr}} {
		if len(o.from) > base64.StdEncoding.EncodedLen(hypervisor.MaxGuestOutput) {
			o.from, e.Truncated = o.from[:base64.StdEncoding.EncodedLen(hypervisor.MaxGuestOutput)], true
		}
		out, err := base64.StdEncoding.DecodeString(o.from)
		if err != nil {
			return e, fmt.Errorf("what the guest agent says the command wrote cannot be read: %w", err)
		}
		if len(out) > hypervisor.MaxGuestOutput {
			out, e.Truncated = out[:hypervisor.MaxGuestOutput], true
		}
		if len(out) > 0 {
			*o.to = out
		}
	}
	return e, nil
}

// agentCall has a guest agent do a command of its own.
func agentCall[T any](ctx context.Context, h *Host, uuid, command string, arguments map[string]any) (T, error) {
	var none T
	request, err := json.Marshal(map[string]any{"execute": command, "arguments": arguments})
	if err != nil {
		return none, err
	}
	doing := "have the guest agent of domain " + uuid + " do " + command
	apart := func(s *session) (lane, error) { return s.agents, nil }
	raw, err := callIn(ctx, h, doing, apart, func(l *link) (string, error) {
		d, err := l.conn.LookupDomainByUUIDString(uuid)
		if err != nil {
			return "", err
		}
		defer d.Free() //nolint:errcheck // the reference is gone whatever it says
		out, err := d.QemuAgentCommand(string(request), execTimeout, 0)
		return out, judge(d, err, inactive)
	})
	if err != nil {
		return none, err
	}
	var answer struct {
		Return T `json:"return"`
	}
	if err := json.Unmarshal([]byte(raw), &answer); err != nil {
		return none, fmt.Errorf("%s on %s: its answer cannot be read: %w", doing, h.opts.Name, err)
	}
	return answer.Return, nil
}
