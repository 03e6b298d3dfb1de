package ladder

import (
	"fmt"
	"slices"
	"strings"

	"holdfast/internal/fault"
)

// Rung is one kind of repair step.
type Rung string

// Rungs of a VM, from the lightest to the last.
const (
	// RungResume continues the vCPUs of a paused VM.
	RungResume Rung = "resume"
	// RungReset presses the VM's reset button.
	RungReset Rung = "reset"
	// RungRestart stops what is left of the VM and starts it on the same host.
	RungRestart Rung = "restart"
	// RungElsewhere takes it to another host, and starts it there.
	RungElsewhere Rung = "elsewhere"
	// RungSnapshot reverts it to a snapshot.
	RungSnapshot Rung = "snapshot"
	// RungBackup restores it from a backup.
	RungBackup Rung = "backup"
	// RungPerson stops and asks.
	RungPerson Rung = "person"
)

// Rungs of a host.
const (
	// RungFence makes sure that the host runs nothing any more.
	RungFence Rung = "fence"
	// RungFailover starts the VMs of a host that was fenced on others.
	RungFailover Rung = "failover"
	// RungEvacuate moves the VMs of a host that still works to others.
	RungEvacuate Rung = "evacuate"
)

// climbable are the rungs that can be climbed so far.
var climbable = map[Rung]bool{RungResume: true, RungReset: true, RungRestart: true, RungElsewhere: true, RungSnapshot: true, RungBackup: true, RungPerson: true}

// vmRungs are those of a VM, in the order in which a ladder has them.
var vmRungs = []Rung{RungResume, RungReset, RungRestart, RungElsewhere, RungSnapshot, RungBackup, RungPerson}

// PutsBack reports a rung that gives the VM earlier disks.
func (r Rung) PutsBack() bool { return r == RungSnapshot || r == RungBackup }

// Climbable reports whether a rung exists.
func Climbable(r Rung) bool { return climbable[r] }

// VMRungs lists the rungs of a VM, from the lightest to the last.
func VMRungs() []Rung { return slices.Clone(vmRungs) }

// fromNearBy are the faults of a VM that its host may call running.
var fromNearBy = map[fault.Kind]bool{fault.KindHung: true, fault.KindWatchdog: true, fault.KindBootFailed: true}

// ladders are the rungs for every kind of fault, unless a site says otherwise,
// in the order in which they are climbed. What is only worth an alarm has but a
// person, for the site that makes an incident of it.
var ladders = map[fault.Kind][]Rung{
	// It does not run.
	fault.KindCrashed:     {RungRestart, RungElsewhere, RungSnapshot, RungBackup, RungPerson},
	fault.KindStartFailed: {RungRestart, RungElsewhere, RungSnapshot, RungBackup, RungPerson},
	fault.KindLost:        {RungRestart, RungElsewhere, RungPerson},
	fault.KindRequested:   {RungRestart, RungElsewhere, RungPerson},
	fault.KindPanicked:    {RungReset, RungRestart, RungElsewhere, RungSnapshot, RungBackup, RungPerson},

	// It runs, or QEMU does, and that is not enough. Who is paused for its storage
	// has lost nothing, and resumes when that is back: a restart would lose what its
	// guest holds in memory, and could not read its disk either.
	fault.KindHung:       {RungReset, RungRestart, RungElsewhere, RungSnapshot, RungPerson},
	fault.KindWatchdog:   {RungReset, RungRestart, RungElsewhere, RungPerson},
	fault.KindIOError:    {RungResume, RungPerson},
	fault.KindNoSpace:    {RungResume, RungPerson},
	fault.KindPaused:     {RungResume, RungReset, RungRestart, RungPerson},
	fault.KindBootFailed: {RungReset, RungRestart, RungSnapshot, RungBackup, RungPerson},
	fault.KindAlert:      {RungPerson},

	// It runs, at its limits.
	fault.KindClock:    {RungPerson},
	fault.KindCPU:      {RungPerson},
	fault.KindMemory:   {RungPerson},
	fault.KindDiskIO:   {RungPerson},
	fault.KindNet:      {RungPerson},
	fault.KindDiskFull: {RungPerson},

	// Hosts.
	fault.KindHostUnreachable: {RungFence, RungFailover, RungPerson},
	fault.KindHostOff:         {RungFence, RungFailover, RungPerson},
	fault.KindLibvirtdDead:    {RungPerson},
	fault.KindLibvirtdHung:    {RungPerson},
	fault.KindMemoryErrors:    {RungEvacuate, RungPerson},
	fault.KindHostCPU:         {RungPerson},
	fault.KindHostMemory:      {RungPerson},
	fault.KindHostDiskIO:      {RungPerson},
	fault.KindHostPSI:         {RungPerson},
	fault.KindHostClock:       {RungPerson},

	// Storage pools, the site, and who watches it.
	fault.KindPoolLost:     {RungPerson},
	fault.KindPoolFull:     {RungPerson},
	fault.KindCutOff:       {RungPerson},
	fault.KindTemporalAway: {RungPerson},
	fault.KindLate:         {RungPerson},
	fault.KindStorm:        {RungPerson},
}

// For returns the rungs for a kind of fault, in the order in which they are
// climbed. A kind that is not known has a person.
func For(k fault.Kind) []Rung {
	if rungs, ok := ladders[k]; ok {
		return slices.Clone(rungs)
	}
	return []Rung{RungPerson}
}

// Missing returns the rungs for a kind of fault that cannot be climbed yet.
func Missing(k fault.Kind) []Rung {
	return slices.DeleteFunc(For(k), func(r Rung) bool { return climbable[r] })
}

// Lasts reports a kind of fault that is over when whoever raised it says so. The
// others are over when the VM runs.
func Lasts(k fault.Kind) bool {
	switch k {
	case fault.KindCrashed, fault.KindStartFailed, fault.KindLost, fault.KindPanicked, fault.KindRequested:
		return false
	}
	return true
}

// Shows reports a kind of fault that the VM's own host shows: it is paused.
func Shows(k fault.Kind) bool {
	return k == fault.KindIOError || k == fault.KindNoSpace || k == fault.KindPaused
}

// watched reports a fault that nobody but a person can do anything about.
func watched(s Situation) bool {
	if s.Legacy {
		return Lasts(s.Fault.Kind)
	}
	return Lasts(s.Fault.Kind) && s.rungs(s.Fault.Kind)[0] == RungPerson
}

// outlook is Outlook under a policy.
func outlook(k fault.Kind, p Policy) string {
	if len(p.Ladder) == 0 {
		return Outlook(k)
	}
	rungs := (Situation{Fault: fault.Fault{Kind: k}, Policy: p}).rungs(k)
	if len(rungs) == 1 {
		return "the policy wants nothing but a person to mend this"
	}
	return "the ladder is " + list(rungs)
}

// Outlook says in words what the ladder for a kind of fault is, and what of it
// is not there yet.
func Outlook(k fault.Kind) string {
	rungs := For(k)
	if len(rungs) == 1 {
		return "nothing but a person can mend this"
	}
	text := "the ladder is " + list(rungs)
	switch missing := Missing(k); len(missing) {
	case 0:
	case 1:
		text += fmt.Sprintf("; %s does not exist yet", missing[0])
	default:
		text += fmt.Sprintf("; %s do not exist yet", list(missing))
	}
	return text
}

func list(rungs []Rung) string {
	words := make([]string, len(rungs))
	for i, r := range rungs {
		words[i] = string(r)
	}
	return strings.Join(words, ", ")
}
