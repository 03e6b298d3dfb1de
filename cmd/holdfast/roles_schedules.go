package main

import (
	"holdfast/internal/config"
	"holdfast/internal/contract"
	"holdfast/internal/detect/rules"
)

// schedules are those that a site file asks for: one for each class that says
// something about snapshots, and one for all other VMs; and as many that try them.
func schedules(site *config.Site) []contract.Schedule {
	var out []contract.Schedule
	add := func(class string, s config.Snapshots) {
		if s.Every == 0 {
			return
		}
		round := contract.RoundInput{
			Site: site.Name, Class: class, Schedule: contract.ScheduleID(site.Name, class), Every: rules.Short(s.Every),
			Keep: s.Keep, Memory: s.Memory, Spread: s.Spread, AtOnce: s.AtOnce,
		}
		out = append(out, contract.Schedule{ID: round.Schedule, Every: s.Every, Round: round})
		if every := s.VerifyEvery(); every > 0 {
			round.Schedule, round.Every, round.Verify = contract.VerifyScheduleID(site.Name, class), s.Verify, true
			out = append(out, contract.Schedule{ID: round.Schedule, Every: every, Round: round})
		}
	}
	add("", site.Snapshots)
	for _, c := range site.Classes {
		if c.Snapshots != nil {
			add(c.Name, *c.Snapshots)
		}
	}
	return out
}

// snapshotPolicy is what the site file says about the snapshots of a VM.
func (r role) snapshotPolicy(labels map[string]string) contract.SnapshotPolicy {
	class, s := r.site.SnapshotsFor(labels)
	return contract.SnapshotPolicy{Class: class, Every: s.Every, Keep: s.Keep}
}
