package contract

import (
	"regexp"
	"strings"
	"time"

	"holdfast/internal/fault"
)

// ScheduledPrefix begins the names of snapshots that a schedule makes, and prunes.
const ScheduledPrefix = "auto-"

// ScheduledName is the name of the snapshot that a round makes of a VM.
func ScheduledName(at time.Time) string {
	return ScheduledPrefix + at.UTC().Format("20060102-150405")
}

const madeBySchedule = "made by the schedule "

// MadeBySchedule is the description of a snapshot that a schedule makes.
func MadeBySchedule(schedule string) string { return madeBySchedule + schedule }

var scheduledName = regexp.MustCompile(`^` + ScheduledPrefix + `[0-9]{8}-[0-9]{6}$`)

// Scheduled reports whether a schedule made the snapshot. Nothing else is ever
// pruned, so name and description must both say so.
func (s Snapshot) Scheduled() bool {
	return !s.Kept && scheduledName.MatchString(s.Name) && strings.HasPrefix(s.Description, madeBySchedule)
}

// ScheduleID is the schedule of Temporal's that makes snapshots of the VMs of a
// class, or, with an empty class, of those that no class says otherwise about.
func ScheduleID(site, class string) string {
	id := schedulesOf(site)
	if class != "" {
		id += "/" + class
	}
	return id
}

// verifying begins the IDs of schedules that try snapshots.
const verifying = "verify-"

// VerifyScheduleID is the schedule that tries the newest snapshots of the VMs for
// which ScheduleID makes them.
func VerifyScheduleID(site, class string) string { return verifying + ScheduleID(site, class) }

func schedulesOf(site string) string { return "snapshots/" + site }

// IsSchedule reports whether an ID is one that ScheduleID or VerifyScheduleID may
// give for the site.
func IsSchedule(site, id string) bool {
	id = strings.TrimPrefix(id, verifying)
	return id == schedulesOf(site) || strings.HasPrefix(id, schedulesOf(site)+"/")
}

// Schedule is what a site wants to be in Temporal.
type Schedule struct {
	ID    string        `json:"id"`
	Every time.Duration `json:"every"`
	Round RoundInput    `json:"round"`
}

// SnapshotPolicy is what the site file says about the snapshots of a VM.
type SnapshotPolicy struct {
	// Class whose section it is; empty: that of the site.
	Class string
	// Every is the time between two; 0: none are made.
	Every time.Duration
	Keep  string // as retention.Parse reads it
}

// RoundInput asks for a turn of every VM that a schedule is about.
type RoundInput struct {
	Site     string `json:"site"`
	Class    string `json:"class,omitempty"` // empty: VMs that no class says otherwise about
	Schedule string `json:"schedule"`        // its ID
	Every    string `json:"every"`           // for whoever reads it
	Keep     string `json:"keep"`
	Memory   bool   `json:"memory,omitempty"`
	// Verify: the newest snapshot of each VM is tried, and none is made.
	Verify bool `json:"verify,omitempty"`
	// Spread and AtOnce are as in the site file.
	Spread time.Duration `json:"spread,omitempty"`
	AtOnce int           `json:"atOnce"`
	// On is where a run goes on that continues another one; nil: at the beginning.
	On *RoundProgress `json:"on,omitempty"`
}

// RoundProgress is how far a round has come.
type RoundProgress struct {
	From  RoundCursor `json:"from"`
	SoFar RoundResult `json:"soFar"`
}

// RoundCursor is a place in the row of all VMs of a site.
type RoundCursor struct {
	Host int `json:"host"` // place of the host in the site file
	// After is the UUID of the last VM on it that had its turn; empty: none had.
	After string `json:"after,omitempty"`
}

// RoundPageInput asks for the next VMs of a round.
type RoundPageInput struct {
	Class string      `json:"class,omitempty"`
	From  RoundCursor `json:"from"`
	Most  int         `json:"most"`
}

// RoundPage are some VMs of a round, those of a host one after the other.
type RoundPage struct {
	At  time.Time `json:"at"` // by the worker's clock
	VMs []RoundVM `json:"vms"`
	// NotRunning counts VMs that are shut off.
	NotRunning int `json:"notRunning,omitempty"`
	// Silent are the hosts that did not answer, and VMs that could not be read.
	Silent []RoundNote `json:"silent,omitempty"`
	// Share is the part of the site's hosts that the page is about, above 0 to 1.
	Share float64 `json:"share"`
	// Next is where the next page begins; nil: this was the last.
	Next *RoundCursor `json:"next,omitempty"`
}

// RoundVM is a VM and the host that it is active on.
type RoundVM struct {
	VM   fault.VM `json:"vm"`
	Host string   `json:"host"`
}

// RoundNote is what is to be known about a VM, or a host, after a round.
type RoundNote struct {
	VM   string `json:"vm,omitempty"`
	Host string `json:"host"`
	// Passed is for what kind of reason it was passed over; empty: it failed.
	Passed PassedFor `json:"passed,omitempty"`
	Why    string    `json:"why"`
}

// PassedFor is a kind of reason to pass a VM over, which is no failure.
type PassedFor string

// Kinds of reason.
const (
	PassedBusy        PassedFor = "busy"        // an incident, or a backup, has the VM
	PassedHeld        PassedFor = "held"        // a person wants hands off
	PassedNotRunning  PassedFor = "not-running" // its guest does not execute
	PassedUnsupported PassedFor = "unsupported" // it, or a disk of it, cannot be snapshotted
	PassedMoved       PassedFor = "moved"       // it is not there any more, or of another class
	PassedNothing     PassedFor = "nothing"     // no schedule has made a snapshot of it that could be tried
)

// RoundResult is what came of a round, or has so far.
type RoundResult struct {
	Schedule string    `json:"schedule"`
	Began    time.Time `json:"began"`
	Ended    time.Time `json:"ended,omitzero"`
	VMs      int       `json:"vms"` // that had a turn
	Made     int       `json:"made"`
	Verified int       `json:"verified,omitempty"` // whose newest snapshot boots
	Passed   int       `json:"passed"`             // passed over
	Failed   int       `json:"failed"`
	// NotRunning counts VMs that are shut off, and so had no turn.
	NotRunning int `json:"notRunning"`
	// Pruned counts snapshots that went, and NotPruned those that could not.
	Pruned    int `json:"pruned"`
	NotPruned int `json:"notPruned"`
	// Failures and Skipped are the first of those that failed, or were passed over;
	// Silent the hosts that did not answer. Stuck are VMs of which a snapshot could not
	// be pruned.
	Failures []RoundNote `json:"failures,omitempty"`
	Skipped  []RoundNote `json:"skipped,omitempty"`
	Silent   []RoundNote `json:"silent,omitempty"`
	Stuck    []RoundNote `json:"stuck,omitempty"`
}

// The search attribute Outcome of a round that is over.
const (
	RoundComplete   = "complete"
	RoundIncomplete = "incomplete"
)

// Complete reports that nothing went wrong.
func (r RoundResult) Complete() bool {
	return r.Failed == 0 && r.NotPruned == 0 && len(r.Silent) == 0
}

// TurnInput is what a SnapshotInput has besides for SnapshotTurn and SnapshotPrune.
type TurnInput struct {
	// Schedule and Class are whose turn it is; empty for SnapshotPrune.
	Schedule string `json:"schedule,omitempty"`
	Class    string `json:"class,omitempty"`
	// Keep is the rule to prune by; empty: the one in the site file.
	Keep string `json:"keep,omitempty"`
	// Verify: the newest snapshot is tried, and none is made.
	Verify bool `json:"verify,omitempty"`
	// DryRun says what would be pruned, and does nothing.
	DryRun bool `json:"dryRun,omitempty"`
}

// Turn is what came of a VM's turn.
type Turn struct {
	// Made is the snapshot; Already: a worker that died had made it.
	Made    string `json:"made,omitempty"`
	Already bool   `json:"already,omitempty"`
	// Newest is the snapshot to be tried, and Verified the one that was found to boot.
	Newest   string `json:"newest,omitempty"`
	Verified string `json:"verified,omitempty"`
	// Passed is for what kind of reason it was passed over, and Why that reason.
	Passed PassedFor `json:"passed,omitempty"`
	Why    string    `json:"why,omitempty"`
	// Failed is why no snapshot was made that should have been. Unanswered: because
	// its host, or a worker, does not answer, so that another try makes sense.
	Failed     string `json:"failed,omitempty"`
	Unanswered bool   `json:"unanswered,omitempty"`
	// Note is what a person should know besides, such as that nothing was frozen.
	Note string `json:"note,omitempty"`
	// Rule is what was pruned by, and Plan what it says about each snapshot of the VM,
	// newest first.
	Rule string            `json:"rule,omitempty"`
	Plan []PlannedSnapshot `json:"plan,omitempty"`
	// Pruned are those that went, and NotPruned those that could not.
	Pruned    []string    `json:"pruned,omitempty"`
	NotPruned []NotPruned `json:"notPruned,omitempty"`
}

// PlannedSnapshot is a snapshot, whether it stays, and why.
type PlannedSnapshot struct {
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	Keep    bool      `json:"keep"`
	Why     string    `json:"why"`
}

// NotPruned is a snapshot that was to go and could not.
type NotPruned struct {
	Name string `json:"name"`
	Why  string `json:"why"`
}
