package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"holdfast/internal/alert"
	"holdfast/internal/httpserver"
	"holdfast/internal/telemetry"
)

// Options is what an agent is made of.
type Options struct {
	// Procfs and Sysfs are where the host's /proc and /sys are mounted.
	Procfs, Sysfs string
	// Heartbeat is the file to renew, on storage that the monitors see too; empty:
	// none. HeartbeatEvery is how often, [ShortestBeat] to [LongestBeat].
	Heartbeat      string
	HeartbeatEvery time.Duration
	// TokenFile holds the token that whoever asks for figures must send as bearer;
	// empty: none. It is read for each request, so that it can be replaced.
	TokenFile alert.TokenFile
	// Logs are those of the domains; zero: [SystemLogs].
	Logs    Logs
	Metrics *telemetry.Metrics
	Logger  *slog.Logger
}

// Agent tells a host's figures and renews its heartbeat.
type Agent struct {
	reader *reader
	heart  *heart // nil: none
	token  alert.TokenFile
	logs   Logs
	log    *slog.Logger
}

// New makes an agent. It reads the host's figures once, so that an agent that
// cannot do its work does not start.
func New(o Options) (*Agent, error) {
	r, err := newReader(o.Procfs, o.Sysfs)
	if err != nil {
		return nil, err
	}
	first, err := r.read()
	if err != nil {
		return nil, err
	}
	for _, what := range first.Unread {
		o.Logger.Warn("some figures cannot be read", "error", what)
	}
	if o.Logs.QEMU == "" {
		o.Logs = SystemLogs()
	}
	a := &Agent{reader: r, token: o.TokenFile, logs: o.Logs, log: o.Logger}
	if _, err := a.wanted(); err != nil {
		return nil, err
	}
	if o.Heartbeat == "" {
		return a, nil
	}
	if o.HeartbeatEvery < ShortestBeat || o.HeartbeatEvery > LongestBeat {
		return nil, fmt.Errorf("a heartbeat every %s: allowed: %s to %s", o.HeartbeatEvery, ShortestBeat, LongestBeat)
	}
	counted, err := countBeats(o.Metrics)
	if err != nil {
		return nil, err
	}
	a.heart = &heart{
		path: o.Heartbeat, every: o.HeartbeatEvery, boot: first.BootID,
		write: Beat.write, log: o.Logger, counted: counted,
	}
	return a, nil
}

func countBeats(m *telemetry.Metrics) (func(ok bool), error) {
	beats, err := m.Meter().Int64Counter("holdfast_agent_heartbeats",
		metric.WithDescription("Heartbeats written to shared storage, and those that could not be."))
	if err != nil {
		return nil, fmt.Errorf("make metrics: %w", err)
	}
	return func(ok bool) {
		outcome := "written"
		if !ok {
			outcome = "failed"
		}
		beats.Add(context.Background(), 1, metric.WithAttributes(attribute.String("outcome", outcome)))
	}, nil
}

// Run renews the heartbeat until ctx ends. It returns an error only if the file
// system hangs then.
func (a *Agent) Run(ctx context.Context) error {
	if a.heart == nil {
		<-ctx.Done()
		return nil
	}
	return a.heart.run(ctx)
}

// Ready says why the heartbeat is late, or nil.
func (a *Agent) Ready() error {
	if a.heart == nil {
		return nil
	}
	return a.heart.ready()
}

// ServeHTTP answers with the host's [Figures].
func (a *Agent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	want, err := a.wanted()
	if err != nil {
		a.log.Error("nobody gets figures", "error", err)
		http.Error(w, "the agent cannot read its --token-file: see its log", http.StatusInternalServerError)
		return
	}
	if want != "" && !httpserver.HasBearer(r, want) {
		h.Set("WWW-Authenticate", `Bearer realm="holdfast agent"`)
		http.Error(w, "send the token of --token-file as bearer", http.StatusUnauthorized)
		return
	}
	f, err := a.reader.read()
	if err != nil {
		a.log.Error("figures cannot be read", "error", err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h.Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(f); err != nil {
		a.log.Debug("whoever asked for figures has gone", "error", err)
	}
}

// wanted is the token to ask for, empty for none.
func (a *Agent) wanted() (string, error) {
	if a.token == "" {
		return "", nil
	}
	return a.token.Read()
}

// Route serves the agent's figures at HostPath.
func (a *Agent) Route() telemetry.Route {
	return telemetry.Route{Pattern: "GET " + HostPath, Handler: a}
}
