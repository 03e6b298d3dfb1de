package activities

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"holdfast/internal/contract"
	"holdfast/internal/hypervisor"
)

// commandTimeout bounds one run of a command in the guest.
const commandTimeout = 30 * time.Second

// probe is one way to find out whether a guest does its work.
type probe struct {
	what string // in words, without a secret
	most time.Duration
	// try takes at most that long. It returns what it was told, or why it did not pass.
	try func(ctx context.Context) (said string, err error)
}

// until tries until the probe passes or ctx ends.
func (p probe) until(ctx context.Context) contract.Check {
	began := time.Now()
	c := contract.Check{What: p.what}
	for {
		said, err := p.once(ctx)
		c.Took = time.Since(began)
		if err == nil {
			c.OK, c.Said = true, said
			return c
		}
		// That there was no time left for the last try says less than the one before.
		if ctx.Err() == nil || c.Said == "" {
			c.Said = brief(err)
		}
		select {
		case <-ctx.Done():
			return c
		case <-time.After(probeEvery):
		}
	}
}

func (p probe) once(ctx context.Context) (string, error) {
	trying, cancel := context.WithTimeout(ctx, p.most)
	defer cancel()
	return p.try(trying)
}

// probesOf are the probes that a VM has to pass.
func (a *Activities) probesOf(h hypervisor.Host, in contract.VerifyInput) []probe {
	var out []probe
	if agentWanted(in) {
		out = append(out, a.agentProbe(h, in.VM.UUID))
	}
	if in.Probes.TCP != "" {
		out = append(out, probe{what: "tcp " + in.Probes.TCP, most: a.opts.CallTimeout, try: tryTCP(in.Probes.TCP)})
	}
	if in.Probes.HTTP != "" {
		out = append(out, probe{what: "http " + shownURL(in.Probes.HTTP), most: a.opts.CallTimeout, try: tryHTTP(in.Probes.HTTP)})
	}
	if len(in.Probes.Command) > 0 {
		out = append(out, probe{
			// Its arguments may hold what is nobody else's business.
			what: "command " + in.Probes.Command[0], most: commandTimeout, try: tryCommand(h, in.VM.UUID, in.Probes.Command),
		})
	}
	return out
}

func (a *Activities) agentProbe(h hypervisor.Host, uuid string) probe {
	return probe{what: "guest agent", most: a.opts.CallTimeout, try: func(ctx context.Context) (string, error) {
		if err := a.askAgent(ctx, h, uuid); err != nil {
			return "", err
		}
		return "answers", nil
	}}
}

func tryTCP(address string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", address)
		if err != nil {
			return "", err
		}
		return "accepts", c.Close()
	}
}

// prober makes a connection for each try, since one from before the repair says
// nothing. It goes through no proxy and follows no redirect: another server that
// is well is not this guest.
var prober = &http.Client{
	Transport: &http.Transport{
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: 64 << 10,
	},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// maxProbeBody bounds what is read of an answer, in bytes.
const maxProbeBody = 64 << 10

func tryHTTP(address string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
		if err != nil {
			return "", withoutURL(err)
		}
		req.Header.Set("User-Agent", "holdfast")
		answer, err := prober.Do(req)
		if err != nil {
			return "", withoutURL(err)
		}
		defer answer.Body.Close()
		if answer.StatusCode < 200 || answer.StatusCode > 299 {
			return "", errors.New("answers " + answer.Status)
		}
		// One that begins an answer and does not end it is not well.
		if _, err := io.Copy(io.Discard, io.LimitReader(answer.Body, maxProbeBody)); err != nil {
			return "", fmt.Errorf("answers %s, and does not end: %w", answer.Status, withoutURL(err))
		}
		return "answers " + answer.Status, nil
	}
}

// withoutURL: a URL may hold a token, and whoever reads the error knows which it is.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// shownURL is a URL without what may be a secret in it.
func shownURL(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "(not a URL)"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

func tryCommand(h hypervisor.Host, uuid string, argv []string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		exit, err := h.GuestExec(ctx, uuid, argv)
		if err != nil {
			return "", err
		}
		said := fmt.Sprintf("exits with %d", exit.Code)
		if exit.Code == 0 {
			return said, nil
		}
		if line, _, _ := strings.Cut(strings.TrimSpace(string(exit.Stderr)), "\n"); line != "" {
			said += ": " + strings.ToValidUTF8(line, "?")
		}
		return "", errors.New(said)
	}
}
