package starter

import (
	"context"
	"errors"
	"time"

	"go.temporal.io/api/serviceerror"

	"holdfast/internal/contract"
)

// WatchOptions say how to follow an incident, and how far.
type WatchOptions struct {
	// Every is the time between two looks; 0 means 500 ms.
	Every time.Duration
	// UntilClosed goes on while the incident waits for a person.
	UntilClosed bool
	// Patience is how long an incident that waits for a person when the watch
	// begins may take to go on, as one does that was just told to try again.
	Patience time.Duration
	// Seen gets the record at every look; Trouble gets why a look failed. Both may
	// be nil and neither is called after Watch has returned.
	Seen    func(contract.Incident)
	Trouble func(error)
}

// Watch follows an incident until it closes or needs a person, and returns its
// record as it then is. It looks again and again, so that it outlives a Temporal
// and workers that go away for a while; only an incident that is not there, or a
// first look that failed, is an error.
func (c *Client) Watch(ctx context.Context, id string, o WatchOptions) (contract.Incident, error) {
	if o.Every <= 0 {
		o.Every = 500 * time.Millisecond
	}
	began, standing := time.Now(), true // standing: it waited for a person since the watch began
	tick := time.NewTicker(o.Every)
	defer tick.Stop()
	for first := true; ; first = false {
		inc, err := c.Incident(ctx, id)
		switch {
		case ctx.Err() != nil:
			return inc, ctx.Err()
		case err != nil && hopeless(err, first):
			return inc, err
		case err != nil:
			if o.Trouble != nil {
				o.Trouble(err)
			}
		default:
			if o.Seen != nil {
				o.Seen(inc)
			}
			standing = standing && inc.NeedsPerson
			asks := inc.NeedsPerson && (!standing || time.Since(began) >= o.Patience)
			if !inc.Closed.IsZero() || asks && !o.UntilClosed {
				return inc, nil
			}
		}
		select {
		case <-ctx.Done():
			return inc, ctx.Err()
		case <-tick.C:
		}
	}
}

// hopeless reports whether it makes no sense to look again.
func hopeless(err error, first bool) bool {
	var missing NoIncidentError
	var young *serviceerror.WorkflowNotReady // was opened, and no worker has had it yet
	return errors.As(err, &missing) || first && !errors.As(err, &young)
}

// AwaitIncident waits until a VM, a host, a storage pool or the site has an open
// incident and returns its ID. Where one was opened at or after since and has
// closed already, it returns that. An ID instead of a name is returned at once.
func (c *Client) AwaitIncident(ctx context.Context, site, ref string, since time.Time) (id string, err error) {
	if id, ok := incidentID(site, ref); ok {
		return id, nil
	}
	name, err := c.nameOf(ctx, site, ref)
	if err != nil {
		return "", err
	}
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		newest, err := c.newest(ctx, site, name)
		if err != nil {
			return "", err
		}
		if newest != nil && (newest.Open || !newest.Opened.Before(since)) {
			return newest.ID, nil
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-tick.C:
		}
	}
}
