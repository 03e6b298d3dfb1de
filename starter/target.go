package starter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
)

// Target is the Temporal that a connection leads to.
type Target struct {
	Address   string `json:"address"` // host:port
	Namespace string `json:"namespace"`
}

// Target says where Dial leads with these options.
func (o DialOptions) Target() (Target, error) {
	opts, err := o.load()
	if err != nil {
		return Target{}, err
	}
	t := Target{Address: opts.HostPort, Namespace: opts.Namespace}
	if t.Address == "" {
		t.Address = client.DefaultHostPort
	}
	if t.Namespace == "" {
		t.Namespace = client.DefaultNamespace
	}
	return t, nil
}

// load reads the file and the environment and puts the overrides on top.
func (o DialOptions) load() (client.Options, error) {
	opts, err := envconfig.LoadClientOptions(envconfig.LoadClientOptionsRequest{ConfigFileProfile: o.Profile})
	if err != nil {
		return client.Options{}, fmt.Errorf("connection settings of Temporal: %w (same file and variables as the temporal command)", err)
	}
	if o.Address != "" {
		opts.HostPort = o.Address
	}
	if o.Namespace != "" {
		opts.Namespace = o.Namespace
	}
	return opts, nil
}

// pingTimeout is how long Temporal may take to say that it is there.
const pingTimeout = 5 * time.Second

// Ping asks Temporal whether it is there. It takes at most 5 s.
func (c *Client) Ping(ctx context.Context) error {
	pinging, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	_, err := c.temporal.WorkflowService().GetSystemInfo(pinging, &workflowservice.GetSystemInfoRequest{})
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded):
		return ctx.Err()
	case pinging.Err() != nil:
		return fmt.Errorf("cannot reach Temporal (%w within %s): check --address or TEMPORAL_ADDRESS, or start `holdfast dev`", err, pingTimeout)
	}
	return explain(err)
}
