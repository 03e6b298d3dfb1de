package monitor

import (
	"context"
	"errors"
	"time"

	"holdfast/internal/alert/in"
	"holdfast/internal/detect"
	"holdfast/internal/fault"
)

// Alert implements [in.Sink]: alerts of others open faults like what the monitor
// sees itself.
func (m *Monitor) Alert(ctx context.Context, a in.Alert) error {
	at := time.Now()
	if !a.StandsAt(at) {
		m.tell(ctx, func(e *detect.Engine) []detect.Change { return e.AlertResolved(at, a.Fingerprint) })
		return nil
	}
	if err := m.settled(); err != nil {
		return err
	}
	given := detect.Alert{
		Fingerprint: a.Fingerprint, Kind: a.Kind, VM: a.VM, Host: a.Host, Why: a.Why(),
		Starts: a.StartsAt, Ends: a.EndsAt, From: a.Labels["alertname"],
	}
	if url := a.Annotations["runbook_url"]; url != "" {
		given.Evidence = []fault.Evidence{{What: "runbook", Value: url, At: at}}
	}
	var err error
	m.tell(ctx, func(e *detect.Engine) []detect.Change {
		var changes []detect.Change
		changes, err = e.Alerted(at, given)
		return changes
	})
	var unknown detect.UnknownSubjectError
	switch {
	case errors.As(err, &unknown) && unknown.Subject == fault.SubjectVM:
		return in.ErrNoSuchVM
	case errors.As(err, &unknown):
		return in.ErrNoSuchHost
	case err != nil:
		return in.Ignore(err.Error())
	}
	return nil
}

// settled: until every host was asked once, nobody can say which VMs there are.
func (m *Monitor) settled() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.engine.Settled() {
		return errors.New("the monitor has only just started: send it again")
	}
	return nil
}
