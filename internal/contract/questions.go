package contract

import (
	"time"

	"holdfast/internal/fault"
)

// FaultsInput asks a monitor of a site for the faults that stand. Empty fields
// select all.
type FaultsInput struct {
	Site string     `json:"site"`
	Kind fault.Kind `json:"kind,omitempty"`
	VM   string     `json:"vm,omitempty"` // name or UUID
	Host string     `json:"host,omitempty"`
	// Level is the least: major selects critical faults too.
	Level fault.Level `json:"level,omitempty"`
	// Slot is that of one fault, see fault.Fault.Slot.
	Slot string `json:"slot,omitempty"`
}

// FaultsResult is what one monitor sees.
type FaultsResult struct {
	Site    string    `json:"site"`
	Monitor string    `json:"monitor"` // who answers
	Began   time.Time `json:"began"`   // when it began to watch, by its clock
	At      time.Time `json:"at"`      // of the answer, by its clock
	// Hosts is how it stands with each host, in the order of the site file.
	Hosts []WatchedHost `json:"hosts"`
	// Faults that stand now, the worst first, alarms and incidents alike.
	Faults []fault.Fault `json:"faults"`
	// Left counts the faults that were left out to keep the answer small.
	Left int `json:"left,omitempty"`
	// Doubts are faults that are held back, and why.
	Doubts []Doubt `json:"doubts,omitempty"`
	// Unsent counts reports that were not delivered yet.
	Unsent int `json:"unsent,omitempty"`
	// ReportError is why the last report failed; empty if it did not.
	ReportError string `json:"reportError,omitempty"`
}

// WatchedHost is how a monitor stands with one host.
type WatchedHost struct {
	Host      string    `json:"host"`
	Connected bool      `json:"connected"`
	Listed    time.Time `json:"listed,omitzero"`  // last complete listing; zero: never
	Sampled   time.Time `json:"sampled,omitzero"` // last statistics; zero: never
	Error     string    `json:"error,omitempty"`  // why it is not connected
}

// Doubt is a fault that would be raised if one thing did not speak against it.
type Doubt struct {
	Fault fault.Fault    `json:"fault"`
	Seen  fault.Sighting `json:"seen,omitzero"` // what speaks against it, if it was seen on a host
	Why   string         `json:"why"`
}

// ExplainInput asks a monitor what it knows about a VM or a host.
type ExplainInput struct {
	Site string `json:"site"`
	Name string `json:"name"` // of a VM or a host, or the UUID of a VM
}

// ExplainResult is what one monitor knows about one VM or host.
type ExplainResult struct {
	Site    string            `json:"site"`
	Monitor string            `json:"monitor"` // who answers
	At      time.Time         `json:"at"`      // of the answer, by its clock
	Subject fault.SubjectType `json:"subject"` // vm or host
	VM      fault.VM          `json:"vm,omitzero"`
	// Host is the host itself, or the one that the VM is on; empty if none is known.
	Host string `json:"host,omitempty"`
	// State and Reason in libvirt's words, of a VM; of a host "answers" or "silent", and why.
	State    string    `json:"state,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	LastSeen time.Time `json:"lastSeen,omitzero"`
	// Seen is what every host last said about a VM.
	Seen []fault.Sighting `json:"seen,omitempty"`
	// Facts are what else is known, such as when it was started and its guest agent.
	Facts []fault.Evidence `json:"facts,omitempty"`
	// Votes are those of the vantage points about a host.
	Votes []fault.Vote `json:"votes,omitempty"`

	Class  string            `json:"class,omitempty"` // of the site file
	Labels map[string]string `json:"labels,omitempty"`
	Mode   string            `json:"mode,omitempty"` // observe or repair
	// ModeWhy says where the mode comes from.
	ModeWhy string `json:"modeWhy,omitempty"`

	// Faults of it that stand now.
	Faults []fault.Fault `json:"faults,omitempty"`
	// Inhibited says why faults of it would be held back; empty: they would not.
	Inhibited string `json:"inhibited,omitempty"`
	// Rules that look at it, in the order of the site.
	Rules []RuleState `json:"rules"`
}

// Condition of a rule: where it stands.
const (
	RuleQuiet    = "quiet"    // the value is within the threshold
	RulePending  = "pending"  // beyond it, and not for long enough yet
	RuleRaised   = "raised"   // it has raised its fault
	RuleClearing = "clearing" // raised, and within the clear threshold, not for long enough yet
	RuleWarmup   = "warm-up"  // the VM has started just now
	RuleNoData   = "no data"  // there is no value, or it is too old
	RuleOff      = "off"      // it is switched off, or not for this VM
)

// RuleState is where one rule stands with one VM or host.
type RuleState struct {
	Name   string     `json:"name"`
	Metric string     `json:"metric"`
	Kind   fault.Kind `json:"kind"`
	Device string     `json:"device,omitempty"`
	// Value is the newest one; nil if there is none.
	Value *float64  `json:"value"`
	Unit  string    `json:"unit,omitempty"`
	At    time.Time `json:"at,omitzero"` // of the value
	Raise float64   `json:"raise"`
	Clear float64   `json:"clear"`
	Below bool      `json:"below,omitempty"` // too little is the fault
	Slope bool      `json:"slope,omitempty"` // the change a minute is held against the thresholds
	// ForSeconds is how long the value must be beyond a threshold.
	ForSeconds float64 `json:"forSeconds"`
	State      string  `json:"state"` // one of the Rule constants
	// Since is from when on it has been in that state.
	Since time.Time `json:"since,omitzero"`
	Why   string    `json:"why,omitempty"`
	// From says who set it otherwise than the site's rules: a class, or the VM's annotation.
	From string `json:"from,omitempty"`
}

// ProbeInput asks a site's worker to look at a host.
type ProbeInput struct {
	Host string `json:"host"`
}

// ProbeResult is what the worker found.
type ProbeResult struct {
	// Vote is the worker's, from all that it tried; it is from "worker".
	Vote fault.Vote `json:"vote"`
	// Looks are what it tried, one by one.
	Looks []fault.Vote `json:"looks,omitempty"`
}

// AnnotateInput asks for a VM's annotation to be read or changed on every host
// that has the VM defined.
type AnnotateInput struct {
	VM fault.VM `json:"vm"`
	// Changes are key=value to set and key- to remove; none: only read.
	Changes []string `json:"changes,omitempty"`
	// DryRun says what would come of it, and changes nothing.
	DryRun bool `json:"dryRun,omitempty"`
}

// AnnotateRequest asks a guardian for the same.
type AnnotateRequest struct {
	Site string `json:"site"`
	By   string `json:"by"`
	AnnotateInput
}

// AnnotateReply is the annotation of a VM, before and after.
type AnnotateReply struct {
	VM fault.VM `json:"vm"`
	// Hosts are those that have the VM defined, and those that did not answer.
	Hosts  []AnnotatedHost `json:"hosts"`
	DryRun bool            `json:"dryRun,omitempty"`
}

// AnnotatedHost is the annotation that a VM has on one host. Before and After are
// Holdfast's own element of the definition, never more of it; empty: none.
type AnnotatedHost struct {
	Host    string `json:"host"`
	Before  string `json:"before"`
	After   string `json:"after"`
	Changed bool   `json:"changed,omitempty"`
	// Problems are mistakes in what was there before.
	Problems []string `json:"problems,omitempty"`
	// Error is why it could not be read or changed there.
	Error string `json:"error,omitempty"`
}
