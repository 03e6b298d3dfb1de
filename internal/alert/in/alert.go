// Package in takes alerts of others, so that what any Prometheus or Alertmanager
// knows about a VM or a host of the site can open a fault.
//
// [Handler] answers POST /api/v2/alerts, in two formats: what Prometheus posts
// to an Alertmanager (amtool posts the same), and what Alertmanager's webhook
// receiver posts (version "4"). A [Mapping] says which labels name the VM or the
// host and what kind of fault an alert is; a [Sink] takes what comes out.
//
// What is malformed as a whole is refused with 400 and nothing of it is taken.
// Of what is well formed each alert is looked at by itself: the answer is 200 and
// lists those that were ignored, and why. An answer of 503 means that the sender
// should send again, which is harmless.
package in

import (
	"context"
	"time"

	"holdfast/internal/fault"
)

// Alert is one alert about one VM or one host, as it stands now.
//
// An alert is over when its time is: it stands while the time is before EndsAt,
// and nothing else needs to be looked at. Whoever sends it has to say it again
// before then, with a later EndsAt, as Prometheus does; and one that is resolved
// comes with an EndsAt that is past. So whoever keeps alerts keeps the newest of
// each Fingerprint, and drops it, and its fault, once [Alert.StandsAt] is false.
type Alert struct {
	// Fingerprint names the alert: the same labels have the same one, whichever
	// way they came and however often. 16 hexadecimal digits, as Alertmanager's.
	Fingerprint string
	// Kind of the fault that the alert maps to; of a VM or of a host, never another.
	// Alerts that map to no kind of their own are all of [fault.KindAlert]: what
	// tells two of them about one VM apart is the Fingerprint.
	Kind fault.Kind
	// VM is the name or the UUID of the VM that the alert is about, as the label
	// had it. Empty if it is about a host.
	VM string
	// Host is the host that the alert is about, without a port. If it is about a VM,
	// it is where the alert says that the VM is: a hint at most, which may be empty
	// or name no host at all.
	Host string
	// Labels and Annotations without control characters. Of the annotations only
	// summary, description and runbook_url are kept, cut to a readable length.
	Labels, Annotations map[string]string
	// StartsAt is never later than when the alert was received, EndsAt never more
	// than [Options.Longest] after that. Both are UTC.
	StartsAt, EndsAt time.Time
	// Resolved: the sender says that it is over; EndsAt is past. Without it, an
	// alert is over because nobody has said it again.
	Resolved bool
}

// StandsAt reports whether what the alert says holds at that time, by this
// machine's clock.
func (a Alert) StandsAt(now time.Time) bool { return now.Before(a.EndsAt) }

// Why is the alert in one line: its summary or description, or its name.
func (a Alert) Why() string {
	for _, s := range []string{
		a.Annotations["summary"], a.Annotations["description"], a.Labels["alertname"],
	} {
		if s != "" {
			return s
		}
	}
	return "an alert without a name"
}

// Sink takes alerts.
type Sink interface {
	// Alert takes note of an alert; of one that it has, it takes the newer times. It
	// is called for each alert of each request, also for those that are over, from
	// several goroutines, and answers from what it knows, without a call to anybody.
	//
	// An error that is an [Ignore] says that the alert is not for this site, and
	// why; ErrNoSuchVM and ErrNoSuchHost are such. Any other says that it could not
	// be taken now: the sender is told to send it again.
	//
	// How many alerts may stand for one VM or host at once is the Sink's to bound: a
	// sender that puts a new label into each makes each another alert.
	Alert(ctx context.Context, a Alert) error
}

// Ignore is why an alert that is well formed is of no use here. It is told to
// the sender.
type Ignore string

func (i Ignore) Error() string { return string(i) }

// What a Sink says of a VM or a host that it does not have.
const (
	ErrNoSuchVM   Ignore = "this site has no such VM"
	ErrNoSuchHost Ignore = "this site has no such host"
)
