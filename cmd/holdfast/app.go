package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/user"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/api/serviceerror"

	"holdfast/internal/telemetry"
	"holdfast/starter"
)

// app is what the commands share: the global flags and where to print.
type app struct {
	out, err io.Writer

	address, namespace, profile string
	site                        string
	format                      format
	logLevel                    string
	level                       *slog.Level // nil: not given
	logFormat                   telemetry.Format
	timeout                     time.Duration
}

// logger logs from the given level on, unless a flag says another.
func (a *app) logger(otherwise slog.Level) *slog.Logger {
	level := otherwise
	if a.level != nil {
		level = *a.level
	}
	return telemetry.NewLogger(a.err, a.logFormat, level)
}

// silent is above every level: what goes wrong is printed as the command's error.
const silent = slog.LevelError + 100

// me is who acts, for the record: user@host.
func me() string {
	name, host := "unknown", "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		host = h
	}
	return name + "@" + host
}

func (a *app) dialOptions() starter.DialOptions {
	return starter.DialOptions{Profile: a.profile, Address: a.address, Namespace: a.namespace}
}

// ask does something with Temporal within --timeout, and says what on a terminal
// if it takes long.
func (a *app) ask(cmd *cobra.Command, what string, do func(context.Context, *starter.Client) error) error {
	ctx, cancel := a.limited(cmd.Context())
	defer cancel()
	defer a.progress(what)()
	began := time.Now()
	return a.connected(ctx, func(c *starter.Client) error {
		err := do(ctx, c)
		if outOfTime(err) {
			return fmt.Errorf("%s: no answer after %s (%w): is there a worker of the site (`holdfast worker`)? --timeout can be longer", what, time.Since(began).Round(time.Second), err)
		}
		return err
	})
}

// outOfTime reports that time ran out, ours or that of Temporal.
func outOfTime(err error) bool {
	var theirs *serviceerror.DeadlineExceeded
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &theirs)
}

func (a *app) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	if a.timeout == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, a.timeout)
}

// unlimited lets what comes next take its time, unless --timeout is given. It is for
// when the hosts have been asked: then there is a worker that will answer.
func (a *app) unlimited(cmd *cobra.Command) {
	if !cmd.Flags().Changed("timeout") {
		a.timeout = 0
	}
}

// connected does something with a connection to Temporal that is known to work.
func (a *app) connected(ctx context.Context, do func(*starter.Client) error) error {
	o := a.dialOptions()
	o.Identity = me()
	o.Logger = telemetry.TemporalLogger(a.logger(silent))
	target, err := o.Target()
	if err != nil {
		return err
	}
	temporal, err := starter.Dial(o)
	if err != nil {
		return err
	}
	defer temporal.Close()
	c := starter.New(temporal)
	if err := c.Ping(ctx); err != nil {
		return fmt.Errorf("%s: %w", target.Address, err)
	}
	return do(c)
}

// warn prints what is worth knowing and stops nothing.
func (a *app) warn(format string, args ...any) {
	fmt.Fprintf(a.err, "holdfast: warning: %s\n", fmt.Sprintf(format, args...))
}

// hint is for a person who reads along, never for a script.
func (a *app) hint(format string, args ...any) {
	if isTerminal(a.err) {
		fmt.Fprintf(a.err, format+"\n", args...)
	}
}

// isTerminal reports whether a person may be looking.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

const (
	progressAfter = 2 * time.Second
	progressEvery = time.Second
)

// progress says on a terminal what is taking so long, until the returned
// function is called, which takes the line away again.
func (a *app) progress(what string) (stop func()) {
	if !isTerminal(a.err) {
		return func() {}
	}
	done, ended := make(chan struct{}), make(chan struct{})
	began := time.Now()
	go func() {
		defer close(ended)
		timer := time.NewTimer(progressAfter)
		defer timer.Stop()
		for shown := false; ; shown = true {
			select {
			case <-done:
				if shown {
					fmt.Fprint(a.err, "\r\x1b[K")
				}
				return
			case <-timer.C:
				fmt.Fprintf(a.err, "\r\x1b[K%s … %s", what, time.Since(began).Round(time.Second))
				timer.Reset(progressEvery)
			}
		}
	}()
	return func() { close(done); <-ended }
}
