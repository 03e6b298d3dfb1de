package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/contract"
	"holdfast/starter"
)

// incidentOf asks for an incident by its ID or by what it is about.
func (a *app) incidentOf(cmd *cobra.Command, ref string) (inc contract.Incident, err error) {
	err = a.ask(cmd, "asking for the incident of "+ref, func(ctx context.Context, c *starter.Client) error {
		id, err := c.FindIncident(ctx, a.site, ref)
		if err != nil {
			return err
		}
		inc, err = c.Incident(ctx, id)
		return err
	})
	return inc, err
}

// isFile reports that an incident is to be read from a file, or from stdin.
func isFile(ref string) bool { return ref == "-" || strings.HasSuffix(ref, ".json") }

// incidentFrom takes an incident from a file, or from stdin for -, or asks for it.
func (a *app) incidentFrom(cmd *cobra.Command, ref string) (inc contract.Incident, err error) {
	var text []byte
	switch {
	case !isFile(ref):
		return a.incidentOf(cmd, ref)
	case ref == "-":
		text, err = io.ReadAll(cmd.InOrStdin())
	default:
		text, err = os.ReadFile(ref)
	}
	if err != nil {
		return inc, err
	}
	const hint = "`holdfast incident show ID -o json` writes one"
	if err := json.Unmarshal(text, &inc); err != nil {
		return inc, fmt.Errorf("%s holds no incident (%w): %s", ref, err, hint)
	}
	if inc.ID == "" || inc.Fault.Kind == "" {
		return inc, fmt.Errorf("%s holds no incident: %s", ref, hint)
	}
	return inc, nil
}
