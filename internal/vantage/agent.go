package vantage

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"holdfast/internal/agent"
	"holdfast/internal/fault"
	"holdfast/internal/vantage/fetch"
)

// Agent is the point "agent": it asks the agent that runs on the host.
//
// The host lives if the agent answers, whatever it says, and if the host's kernel
// takes the connection or refuses it: an agent that hangs or does not run is no
// dead host. An error of a gateway is no verdict: that is another machine.
func Agent(c agent.Client) Point { return &asked{client: c, shortest: shortestSilence} }

type asked struct {
	client   agent.Client
	shortest time.Duration
}

func (p *asked) Name() string { return "agent" }

func (p *asked) Look(ctx context.Context) fault.Vote {
	_, trace, err := p.client.Ask(ctx)
	says, why := p.judge(trace, err)
	return vote(p.Name(), says, fetch.Host(p.client.URL)+" "+why)
}

func (p *asked) judge(t fetch.Trace, err error) (fault.Verdict, string) {
	switch {
	case err == nil:
		return fault.HostAlive, "answers"
	case t.Status == http.StatusBadGateway, t.Status == http.StatusServiceUnavailable, t.Status == http.StatusGatewayTimeout:
		return fault.NoVerdict, fmt.Sprintf("%s, which a gateway may have said", oneLine(err.Error()))
	case t.Status != 0:
		return fault.HostAlive, oneLine(err.Error())
	case t.Connected:
		return fault.HostAlive, "accepts, and the agent does not answer: " + reason(err)
	case t.Refused:
		return fault.HostAlive, "refuses: its kernel lives, and no agent runs there"
	case t.Dialed.IsZero():
		return fault.NoVerdict, "cannot be asked: " + reason(err)
	}
	f := find(err, time.Since(t.Dialed), p.shortest)
	return f.says, f.why
}
