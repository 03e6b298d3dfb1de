package config

import (
	"fmt"
	"time"

	"go.yaml.in/yaml/v3"

	"holdfast/internal/detect/rules"
	"holdfast/internal/retention"
)

// Snapshots are those that are made by a schedule: of all VMs of the site that no
// class says otherwise about, or of a class.
type Snapshots struct {
	// Every is the time between two, 10m to 8760h; 0: there are none.
	Every time.Duration `yaml:"every"`
	// Keep is which of them stay, as [retention.Parse] reads it. It is about those
	// that a schedule made, and no others.
	Keep string `yaml:"keep"`
	// Memory keeps the guest's memory, too.
	Memory bool `yaml:"memory"`
	// Spread is how long after the first VM the last one has its turn, as far as turns
	// are then not more than [LongestGap] apart; 0s to half of Every.
	Spread time.Duration `yaml:"spread"`
	// Verify is how often the newest snapshot of each VM is tried: never, daily, weekly or
	// monthly.
	Verify string `yaml:"verify"`
	// AtOnce is how many VMs have their turn at the same time, 1 to 64; of one host
	// it is one.
	AtOnce int `yaml:"atOnce"`
}

// How often snapshots are tried.
const (
	VerifyNever   = "never"
	VerifyDaily   = "daily"
	VerifyWeekly  = "weekly"
	VerifyMonthly = "monthly"
)

// VerifyEvery is the time between two trials of a VM's newest snapshot; 0: never.
func (s Snapshots) VerifyEvery() time.Duration {
	const day = 24 * time.Hour
	if s.Every == 0 {
		return 0
	}
	return map[string]time.Duration{VerifyDaily: day, VerifyWeekly: 7 * day, VerifyMonthly: 30 * day}[s.Verify]
}

// LongestGap is the most between the turns of two VMs: a small site need not wait.
const LongestGap = 5 * time.Second

// mostLayers bounds what a rule keeps: each may be a layer that the guest reads
// through, and libvirt gives up at 200.
const mostLayers = 64

func defaultSnapshots() Snapshots {
	return Snapshots{Keep: "4h/7d/4w", Verify: VerifyNever, Spread: 5 * time.Minute, AtOnce: 8}
}

// SnapshotsFor returns what holds for a VM with these labels: what its class says,
// with the name of that, or else what the site says, with an empty name.
func (s *Site) SnapshotsFor(labels map[string]string) (class string, is Snapshots) {
	if c := s.classOf(labels); c != nil && c.Snapshots != nil {
		return c.Name, *c.Snapshots
	}
	return "", s.Snapshots
}

func snapshotsSchema(d *decoder, s *Snapshots) reader {
	return d.mapping(
		field{"every", d.duration(&s.Every, 0, 8760*time.Hour)},
		field{"keep", d.text(&s.Keep, checkKeep)},
		field{"memory", d.boolean(&s.Memory)},
		field{"verify", oneOf(d, &s.Verify, VerifyNever, VerifyDaily, VerifyWeekly, VerifyMonthly)},
		field{"spread", d.duration(&s.Spread, 0, 24*time.Hour)},
		field{"atOnce", d.integer(&s.AtOnce, 1, 64)},
	)
}

// ofClass reads a section of a class that is laid over that of the site. That may
// stand anywhere in the file, and so this one is read last.
func (d *decoder) ofClass(read func(n *yaml.Node, path string)) reader {
	return func(n *yaml.Node, path string) {
		if !isNull(n) {
			d.later = append(d.later, func() { read(n, path) })
		}
	}
}

// checkKeep wants a rule such as 4h/7d/4w.
func checkKeep(s string) (message, hint string) {
	r, err := retention.Parse(s)
	switch {
	case err != nil:
		return quote(s) + " does not say what to keep: " + redact(err.Error()), "write it like 4h/7d/4w: the newest of each of the last 4 hours, 7 days and 4 weeks that have one"
	case r.Most() > mostLayers:
		return fmt.Sprintf("%s keeps up to %d snapshots of a VM", quote(s), r.Most()),
			fmt.Sprintf("keep at most %d: each may be a layer that the VM reads through", mostLayers)
	}
	return "", ""
}

func checkSnapshots(d *decoder, s *Site) {
	s.Snapshots.check(d, "snapshots")
	for i, c := range s.Classes {
		if c.Snapshots != nil {
			c.Snapshots.check(d, itemPath("classes", i)+".snapshots")
		}
	}
}

// check reports what no field can be blamed for alone.
func (s Snapshots) check(d *decoder, path string) {
	const least = 10 * time.Minute
	switch {
	case !d.sound(path):
	case s.Every == 0 && s.Verify != VerifyNever && path == "snapshots": // a class may switch all of it off
		d.problemAt(path+".verify", "set every, or leave verify out", "there are no snapshots to try, as every is 0s")
	case s.Every == 0:
	case s.Memory && s.Verify != VerifyNever:
		d.problemAt(path+".verify", "leave memory out, or verify", "snapshots with memory are inside of images that are in use, where they cannot be tried")
	case s.Every < least:
		d.problemAt(path+".every", fmt.Sprintf("allowed: 0s for none, and %s to 8760h", rules.Short(least)), "%s is too often", rules.Short(s.Every))
	case s.Spread > s.Every/2:
		d.problemAt(path+".spread", "lower it, or raise every", "%s is more than half of every, %s, so that one round might run into the next", rules.Short(s.Spread), rules.Short(s.Every))
	}
}
