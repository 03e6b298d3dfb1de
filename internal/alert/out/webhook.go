package out

import (
	"context"
	"encoding/json"
	"fmt"

	"holdfast/internal/fault"
)

// WebhookVersion is that of [Message]. A field may be added without another.
const WebhookVersion = "1"

// Status of a fault in a Message.
type Status string

// Statuses.
const (
	Firing   Status = "firing"
	Resolved Status = "resolved"
)

// Message is what a Webhook posts. The same fault has the same fault.id each
// time it is said: a message may come twice, and a resolved one for a fault that
// was never heard of.
type Message struct {
	Version string      `json:"version"`
	Status  Status      `json:"status"`
	Fault   fault.Fault `json:"fault"`
	// Seen is the sighting that ended the fault, in a resolved one.
	Seen fault.Sighting `json:"seen,omitzero"`
}

// Webhook posts faults as JSON to any program that takes a [Message].
type Webhook struct{ s *sender }

// NewWebhook makes one. It connects to nobody yet, but reads the token and the
// certificates, so that a wrong path stops the start.
func NewWebhook(t Target) (*Webhook, error) {
	s, err := newSender(t, "")
	if err != nil {
		return nil, err
	}
	return &Webhook{s: s}, nil
}

// ReportFault says that a fault stands.
func (w *Webhook) ReportFault(ctx context.Context, f fault.Fault) error {
	return w.send(ctx, Message{Status: Firing, Fault: f})
}

// ReportCleared says that a fault is over.
func (w *Webhook) ReportCleared(ctx context.Context, f fault.Fault, seen fault.Sighting) error {
	return w.send(ctx, Message{Status: Resolved, Fault: f, Seen: seen})
}

// Close gives the connections back that wait to be used again.
func (w *Webhook) Close() { w.s.http.CloseIdleConnections() }

// String names the webhook, for logs.
func (w *Webhook) String() string { return "webhook " + w.s.name }

func (w *Webhook) send(ctx context.Context, m Message) error {
	m.Version = WebhookVersion
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("alarm to %s: %w", w.s.name, err)
	}
	return w.s.post(ctx, body)
}
