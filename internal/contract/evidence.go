package contract

import (
	"time"

	"holdfast/internal/fault"
	"holdfast/internal/ladder"
)

// EvidenceInput asks for what there is to see of a VM, before something is done
// to it that may destroy it.
type EvidenceInput struct {
	IncidentID string   `json:"incidentId"`
	VM         fault.VM `json:"vm"`
	Host       string   `json:"host"`
	// Key says what it is for, such as the attempt: of one incident and key there is
	// one set, however often it is asked for.
	Key    string      `json:"key"`
	Before ladder.Rung `json:"before,omitempty"` // what is about to be done
	Dump   ladder.Dump `json:"dump,omitzero"`
}

// EvidenceResult is what was gathered. That something could not be had is part of
// it, not an error.
type EvidenceResult struct {
	Set EvidenceSet `json:"set"`
	// Already: it had been gathered before.
	Already bool `json:"already,omitempty"`
}

// EvidenceSet is what was gathered at once. It holds no content: that is with the
// worker.
type EvidenceSet struct {
	Key    string      `json:"key"`
	Before ladder.Rung `json:"before,omitempty"`
	Host   string      `json:"host,omitempty"`
	// Worker is the machine of the worker that keeps it.
	Worker string         `json:"worker,omitempty"`
	At     time.Time      `json:"at"` // when it was complete, by the worker's clock
	Items  []EvidenceItem `json:"items,omitempty"`
	// Error is why there is none, or why it cannot be found any more.
	Error string `json:"error,omitempty"`
}

// EvidenceItem is one piece of evidence, or why it could not be had.
type EvidenceItem struct {
	Name   string        `json:"name"` // such as screenshot.png
	MIME   string        `json:"mime,omitempty"`
	Bytes  int64         `json:"bytes,omitempty"`
	SHA256 string        `json:"sha256,omitempty"` // in hex; empty: nobody has read it
	At     time.Time     `json:"at"`
	Took   time.Duration `json:"took,omitempty"`
	// URL is where a worker serves it; empty: nowhere. Path is its file, on the
	// machine of the worker, or on the VM's host if OnHost.
	URL    string `json:"url,omitempty"`
	Path   string `json:"path,omitempty"`
	OnHost bool   `json:"onHost,omitempty"`
	Error  string `json:"error,omitempty"`
}
