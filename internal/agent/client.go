package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"holdfast/internal/vantage/fetch"
)

// Client asks an agent. Each question is a connection of its own.
type Client struct {
	URL   string // such as http://kvm1.example.net:9467
	Token string // if the agent wants one (--token-file); empty: it wants none
}

// Host asks for the host's figures, and compares its clock with ours. ctx bounds
// it. Errors name the agent's address, never the token.
func (c Client) Host(ctx context.Context) (Figures, error) {
	f, _, err := c.Ask(ctx)
	if err != nil {
		return Figures{}, fmt.Errorf("ask the agent at %s: %w", fetch.Host(c.URL), err)
	}
	return f, nil
}

// Ask is Host for those who want to know how far an agent that gave no figures
// came.
func (c Client) Ask(ctx context.Context) (Figures, fetch.Trace, error) {
	if err := fetch.Check(c.URL); err != nil {
		return Figures{}, fetch.Trace{}, err
	}
	var f Figures
	t, err := fetch.JSON(ctx, fetch.Join(c.URL, HostPath), c.Token, &f)
	var status fetch.StatusError
	switch {
	case errors.As(err, &status) && status.Status == http.StatusUnauthorized:
		return Figures{}, t, fmt.Errorf("%w: it wants the token of its --token-file", err)
	case errors.As(err, &status) && status.Status == http.StatusNotFound:
		return Figures{}, t, fmt.Errorf("%w: is it a holdfast agent? check the address", err)
	case err != nil:
		return Figures{}, t, err
	case f.BootID == "" || f.Now.IsZero():
		return Figures{}, t, errors.New("it answers without bootID or now: is it a holdfast agent? check the address")
	}
	f.Clock = compare(f.Now, t)
	return f, t, nil
}

// compare takes the host to have looked at its clock in the middle of the round
// trip. It did so somewhere within.
func compare(theirs time.Time, t fetch.Trace) Clock {
	half := t.Answered.Sub(t.Sent) / 2
	middle := t.Sent.Add(half)
	return Clock{Skew: theirs.Sub(middle), Within: half, At: middle}
}
