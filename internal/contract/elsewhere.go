package contract

import (
	"time"

	"holdfast/internal/fault"
)

// PlacesInput asks which other host a VM could be started on.
type PlacesInput struct {
	VM   fault.VM `json:"vm"`
	Host string   `json:"host"` // that has it
	// Not are hosts that are out of the question, and why.
	Not map[string]string `json:"not,omitempty"`
}

// RehomeInput asks for a VM that runs nowhere to be defined on one host instead of
// another. Its disks stay where they are.
type RehomeInput struct {
	VM        fault.VM         `json:"vm"`
	From      string           `json:"from"`
	To        string           `json:"to"`
	Elsewhere []fault.Sighting `json:"elsewhere,omitempty"`
	// Autostart: To starts it from then on as it boots.
	Autostart bool `json:"autostart,omitempty"`
	// Back: To is where it came from, and may have it still.
	Back bool `json:"back,omitempty"`
}

// RehomeResult says how it went.
type RehomeResult struct {
	// Already: there was nothing left to do.
	Already bool `json:"already,omitempty"`
	// Stays: it was to be brought back, and stays where it is. Why says for what.
	Stays bool   `json:"stays,omitempty"`
	Why   string `json:"why,omitempty"`
	// Theirs says that somebody has defined the VM on To meanwhile. Nothing was done.
	Theirs string `json:"theirs,omitempty"`
	// Gone: it was to be brought back, and neither host has it any more.
	Gone bool          `json:"gone,omitempty"`
	Took time.Duration `json:"took"`
	At   time.Time     `json:"at"`
}
