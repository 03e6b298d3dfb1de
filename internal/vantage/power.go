package vantage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"holdfast/internal/fault"
)

const (
	// exitOff is what the ClusterLabs fence agents' action "status" exits with if
	// the machine has no power.
	exitOff = 2
	// mostOutput of a power command is kept, in bytes; the rest is read and dropped.
	mostOutput = 4 << 10
	// shortestSecret: shorter arguments, such as -o, are not hidden.
	shortestSecret = 3
	// powerGrace is how long a killed command's output may stay open: another
	// process may hold it that left the command's process group.
	powerGrace = time.Second
)

// Power asks the host's power supply, by a command that follows the convention of
// the ClusterLabs fence agents: exit code 0 for on, 2 for off, anything else is no
// answer. It may take timeout and is then killed. What it started in its process
// group ends with it.
//
// Power that is on is no sign of life: a host that hangs has power as well. So on
// is no verdict.
//
// Some fence agents, and most shells and interpreters, also exit with 2 when they
// are called wrongly. They then complain on stderr and say nothing on stdout, and
// that is no answer, either.
//
// The command gets nothing on stdin, and of our environment only PATH and HOME:
// what it needs else, it is to be given as an argument or a file. Votes hold the
// first line of what it complained about, and never its arguments.
func Power(command []string, timeout time.Duration) Point {
	return &power{command: command, timeout: timeout}
}

type power struct {
	command []string
	timeout time.Duration
}

func (p *power) Name() string { return "power" }

// Patience is the command's timeout and the time to clean up behind it.
func (p *power) Patience() time.Duration { return p.timeout + 2*powerGrace }

func (p *power) Look(ctx context.Context) fault.Vote {
	if len(p.command) == 0 {
		return vote("power", fault.NoVerdict, "there is no command to ask with")
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	var stdout, stderr head
	cmd := exec.CommandContext(ctx, p.command[0], p.command[1:]...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "LC_ALL=C"}
	cmd.WaitDelay = powerGrace
	killRest := inGroup(cmd)
	err := cmd.Run()
	killRest()
	says, why := p.judge(ctx, cmd.ProcessState, err, stdout.String(), stderr.String())
	return vote("power", says, why)
}

func (p *power) judge(ctx context.Context, state *os.ProcessState, err error, said, complained string) (fault.Verdict, string) {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fault.NoVerdict, fmt.Sprintf("the power command took longer than %s and was killed", p.timeout)
	case ctx.Err() != nil:
		return fault.NoVerdict, "the power command was interrupted"
	case state == nil: // never ran
		return fault.NoVerdict, "the power command cannot be run: " + oneLine(p.hide(reason(err)))
	case state.ExitCode() == 0:
		return fault.NoVerdict, "has power, which says nothing about life"
	case state.ExitCode() == exitOff && (strings.TrimSpace(said) != "" || strings.TrimSpace(complained) == ""):
		return fault.HostOff, "has no power"
	}
	why := "the power command ended with " + state.String()
	if words := oneLine(p.hide(complained)); words != "" {
		why += ": " + words
	}
	return fault.NoVerdict, why
}

// hide takes the command's arguments out of what it says: one may be a password.
func (p *power) hide(s string) string {
	for _, arg := range p.command[1:] {
		_, value, _ := strings.Cut(arg, "=") // --password=secret
		for _, secret := range []string{arg, value, strings.TrimLeft(arg, "-"), cutFlag(arg)} {
			if len(secret) >= shortestSecret {
				s = strings.ReplaceAll(s, secret, "…")
			}
		}
	}
	return s
}

// cutFlag is the value of -psecret.
func cutFlag(arg string) string {
	if len(arg) > 2 && arg[0] == '-' && arg[1] != '-' {
		return arg[2:]
	}
	return ""
}

// head keeps the beginning of what is written to it.
type head struct{ strings.Builder }

func (h *head) Write(p []byte) (int, error) {
	if left := mostOutput - h.Len(); left > 0 {
		h.Builder.Write(p[:min(left, len(p))])
	}
	return len(p), nil
}
