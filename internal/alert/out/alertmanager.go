package out

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"holdfast/internal/fault"
)

// AlertmanagerOptions say how alerts are put.
type AlertmanagerOptions struct {
	// Repeat is the most that passes until a fault that stands is said again. An
	// alert ends by itself half as long after that, and a minute at least: should
	// every monitor die, the alarm does not stand for ever. Needed.
	Repeat time.Duration
	// Runbooks is what the pages about the kinds of fault are under, a folder or a
	// URL; empty: docs/faults.
	Runbooks string
	// Incident names the incident of a fault, if there is one that is known. nil:
	// none ever is.
	Incident func(fault.Fault) string
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Alertmanager sends faults to an Alertmanager as alerts, by its API v2. A fault
// has the same labels each time, by which the Alertmanager knows it again, also
// if several monitors send it.
type Alertmanager struct {
	s *sender
	o AlertmanagerOptions
}

// NewAlertmanager makes one. It connects to nobody yet, but reads the token and
// the certificates, so that a wrong path stops the start.
func NewAlertmanager(t Target, o AlertmanagerOptions) (*Alertmanager, error) {
	if o.Repeat <= 0 {
		return nil, errors.New("alerts.out: say how often a fault is said again: set AlertmanagerOptions.Repeat")
	}
	if o.Runbooks == "" {
		o.Runbooks = "docs/faults"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s, err := newSender(t, "api/v2/alerts")
	if err != nil {
		return nil, err
	}
	return &Alertmanager{s: s, o: o}, nil
}

// ReportFault says that a fault stands, for now.
func (a *Alertmanager) ReportFault(ctx context.Context, f fault.Fault) error {
	return a.send(ctx, f, f.Seen, a.o.Now().Add(a.o.Repeat+max(a.o.Repeat/2, time.Minute)))
}

// ReportCleared says that a fault is over.
func (a *Alertmanager) ReportCleared(ctx context.Context, f fault.Fault, seen fault.Sighting) error {
	return a.send(ctx, f, seen, a.o.Now())
}

// Close gives the connections back that wait to be used again.
func (a *Alertmanager) Close() { a.s.http.CloseIdleConnections() }

// String names the Alertmanager, for logs.
func (a *Alertmanager) String() string { return "alertmanager " + a.s.name }

// postable is an alert as the API takes it.
type postable struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	StartsAt    time.Time         `json:"startsAt,omitzero"`
	EndsAt      time.Time         `json:"endsAt"`
}

func (a *Alertmanager) send(ctx context.Context, f fault.Fault, seen fault.Sighting, end time.Time) error {
	start := f.First.UTC()
	if end.Before(start) { // another monitor's clock is ahead; an alert that ends first is refused
		end = start
	}
	incident := ""
	if a.o.Incident != nil {
		incident = a.o.Incident(f)
	}
	body, err := json.Marshal([]postable{{
		Labels: labels(f), Annotations: annotations(f, seen, a.o.Runbooks, incident),
		StartsAt: start, EndsAt: end.UTC(),
	}})
	if err != nil {
		return fmt.Errorf("alarm to %s: %w", a.s.name, err)
	}
	return a.s.post(ctx, body)
}
