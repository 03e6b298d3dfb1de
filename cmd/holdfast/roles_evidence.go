package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"holdfast/internal/agent"
	"holdfast/internal/alert"
	kept "holdfast/internal/evidence"
	"holdfast/internal/telemetry"
	"holdfast/internal/vantage"
	"holdfast/worker"
)

// working is a worker and what goes with it: the evidence that it keeps.
type working struct {
	*worker.Service
	store *kept.Store // nil: none is kept
	role  role
}

// Run works until ctx ends.
func (w *working) Run(ctx context.Context) error {
	all := newParts()
	if w.store != nil {
		all.start(ctx, "evidence", w.store.Run)
	}
	all.start(ctx, "worker", w.Service.Run)
	err := all.wait(ctx)
	return errors.Join(err, all.stop(), w.close())
}

func (w *working) close() error {
	if w.store == nil {
		return nil
	}
	return w.store.Close()
}

// routes give evidence away.
func (w *working) routes() []telemetry.Route {
	if w.store == nil {
		return nil
	}
	token := alert.TokenFile(w.role.site.Evidence.TokenFile)
	return []telemetry.Route{{Pattern: kept.Pattern, Handler: kept.Handler(w.store, token, w.role.log)}}
}

// evidence opens the store that the site file asks for; nil: it asks for none.
func (r role) evidence() (*kept.Store, error) {
	e := r.site.Evidence
	if e.Dir == "" {
		r.log.Warn("keeps no evidence of what repairs destroy: set evidence.dir in the site file")
		return nil, nil
	}
	if e.TokenFile != "" { // says now what is wrong, not when somebody asks
		if _, err := alert.TokenFile(e.TokenFile).Read(); err != nil {
			return nil, fmt.Errorf("evidence: %w", err)
		}
	}
	return kept.Open(kept.Options{
		Dir: e.Dir, MaxIncident: int64(e.MaxIncident), MaxTotal: int64(e.MaxTotal), Keep: e.Keep, Logger: r.log,
	})
}

// evidenceURL is where this worker is reached, as far as that is known.
func (r role) evidenceURL() (string, error) {
	if r.site.Evidence.URL != "" {
		return r.site.Evidence.URLOf()
	}
	host, port, err := net.SplitHostPort(r.listen)
	if err != nil || port == "" || port == "0" {
		return "", nil
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		if host, err = os.Hostname(); err != nil {
			return "", err
		}
	}
	return "http://" + net.JoinHostPort(host, port), nil
}

// logs reads the end of a domain's log: here, if the host is this machine, or by
// the host's agent.
func (r role) logs(ctx context.Context, host string, kind agent.Log, domain string) ([]byte, error) {
	for _, h := range r.site.Hosts {
		if h.Name != host {
			continue
		}
		if _, here := vantage.SocketsFromURI(h.URI); here {
			return agent.SystemLogs().Tail(kind, domain)
		}
		if h.Agent == "" {
			return nil, fmt.Errorf("host %s is another machine, and the site file names no agent on it", host)
		}
		client := agent.Client{URL: h.Agent}
		if h.AgentTokenFile != "" {
			var err error
			if client.Token, err = alert.TokenFile(h.AgentTokenFile).Read(); err != nil {
				return nil, err
			}
		}
		return client.Log(ctx, kind, domain)
	}
	return nil, fmt.Errorf("host %s is in no site file: a simulated one has no logs", host)
}
