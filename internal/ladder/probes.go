package ladder

import (
	"errors"
	"fmt"
	"time"
)

// Whether a guest agent must answer before a repair counts as done.
const (
	// AgentAuto: it must if it is known to be there: the VM's annotation expects it,
	// or it answered before the fault.
	AgentAuto     = "auto"
	AgentRequired = "required"
	AgentIgnored  = "ignored"
)

// Probes say when a VM that runs counts as well. They must all pass within
// Within; then the VM must stay running for Policy.StableFor. The zero Probes ask
// for nothing but that.
type Probes struct {
	// Agent is AgentAuto, AgentRequired or AgentIgnored; empty: AgentIgnored.
	Agent string `json:"agent,omitempty"`
	// TCP is host:port that must accept a connection from the worker.
	TCP string `json:"tcp,omitempty"`
	// HTTP is a URL that must answer the worker's GET with 2xx.
	HTTP string `json:"http,omitempty"`
	// Command is run in the guest by its agent, without a shell, and must exit with 0.
	Command []string `json:"command,omitempty"`
	// Within is how long all of that may take, from the moment the VM runs.
	Within time.Duration `json:"within,omitempty"`
}

// Any reports whether anything is asked for at all.
func (p Probes) Any() bool {
	return p.Agent == AgentAuto || p.Agent == AgentRequired || p.TCP != "" || p.HTTP != "" || len(p.Command) > 0
}

// Validate names the first field that makes no sense.
func (p Probes) Validate() error {
	switch p.Agent {
	case "", AgentAuto, AgentRequired, AgentIgnored:
	default:
		return fmt.Errorf("verify.agent must be %s, %s or %s, is %q", AgentAuto, AgentRequired, AgentIgnored, p.Agent)
	}
	if p.Any() && p.Within <= 0 {
		return errors.New("verify.within must be positive where something is to be verified")
	}
	return nil
}
