package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/config"
	"holdfast/internal/contract"
	"holdfast/starter"
)

func TestSchedulesOfASiteFile(t *testing.T) {
	parse := func(text string) *config.Site {
		site, err := config.Parse("site.yaml", []byte("site: lab\nhosts: [{name: kvm1, uri: 'qemu:///system'}]\n"+text))
		require.NoError(t, err)
		return site
	}
	require.Empty(t, schedules(parse("")), "nothing is made that nobody asked for")
	site := parse(`classes:
- {name: db, select: {tier: db}, snapshots: {every: 90m, keep: 24h/7d, memory: true}}
- {name: scratch, select: {tier: scratch}, snapshots: {every: 0s}}
- {name: web, select: {tier: web}}
snapshots: {every: 6h, spread: 1m, atOnce: 3}
`)
	require.Equal(t, []contract.Schedule{
		{ID: "snapshots/lab", Every: 6 * time.Hour, Round: contract.RoundInput{
			Site: "lab", Schedule: "snapshots/lab", Every: "6h", Keep: "4h/7d/4w", Spread: time.Minute, AtOnce: 3,
		}},
		{ID: "snapshots/lab/db", Every: 90 * time.Minute, Round: contract.RoundInput{
			Site: "lab", Class: "db", Schedule: "snapshots/lab/db", Every: "1h30m", Keep: "24h/7d", Memory: true, Spread: time.Minute, AtOnce: 3,
		}},
	}, schedules(site))
	r := role{site: site}
	for tier, want := range map[string]contract.SnapshotPolicy{
		"db":      {Class: "db", Every: 90 * time.Minute, Keep: "24h/7d"},
		"scratch": {Class: "scratch", Keep: "4h/7d/4w"},
		"web":     {Every: 6 * time.Hour, Keep: "4h/7d/4w"},
	} {
		require.Equal(t, want, r.snapshotPolicy(map[string]string{"tier": tier}))
	}
}

func TestScheduleTable(t *testing.T) {
	at := time.Date(2026, 11, 22, 18, 0, 0, 0, time.UTC)
	list := []starter.ScheduleSummary{
		{ID: "snapshots/lab", Every: "6h", Keep: "4h/7d", Next: at.Add(6 * time.Hour), Last: &starter.RoundSummary{
			Began: at, State: contract.RoundIncomplete, Result: &contract.RoundResult{
				VMs: 4, Made: 2, Passed: 1, Failed: 1, Pruned: 3, NotPruned: 1,
				Failures: []contract.RoundNote{{VM: "VM2", Host: "A", Why: "no space left on device"}},
				Skipped:  []contract.RoundNote{{VM: "VM3", Host: "A", Passed: contract.PassedHeld, Why: "ann: moves its disk"}},
				Stuck:    []contract.RoundNote{{VM: "VM1", Host: "A", Why: "auto-20261101-000000: another one lies upon it"}},
				Silent:   []contract.RoundNote{{Host: "B", Why: "no route to host"}},
			},
		}},
		{ID: "snapshots/lab/db", Class: "db", Every: "1h", Keep: "24h", Paused: true, Note: "ann: storage is being moved"},
		{ID: "snapshots/lab/web", Class: "web", Every: "1h", Keep: "24h", Last: &starter.RoundSummary{Began: at, State: "failed", Error: "no worker"}},
	}
	var b bytes.Buffer
	scheduleTable(&b, list)
	require.Equal(t, `SCHEDULE           CLASS  EVERY  KEEP   NEXT                 LAST ROUND           HOW IT WENT
snapshots/lab      -      6h     4h/7d  2026-11-23 00:00:00  2026-11-22 18:00:00  2 of 4 made, 1 passed over, 1 FAILED, 3 pruned, 1 NOT PRUNED, 1 SILENT
snapshots/lab/db   db     1h     24h    paused               -                    -
snapshots/lab/web  web    1h     24h    -                    2026-11-22 18:00:00  failed
snapshots/lab: VM2 on A failed: no space left on device
snapshots/lab: VM1 on A could not be pruned: auto-20261101-000000: another one lies upon it
snapshots/lab: B did not answer: no route to host
snapshots/lab: VM3 on A passed over: ann: moves its disk
snapshots/lab/db is paused: ann: storage is being moved
snapshots/lab/web: its last round: no worker
`, b.String())
	list[0].Last.State = "running"
	require.Contains(t, roundWent(*list[0].Last), "1 SILENT, goes on")
}

func TestPruneTable(t *testing.T) {
	at := time.Date(2026, 11, 22, 18, 0, 0, 0, time.UTC)
	p := pruning{VM: "VM1", Host: "A", Keep: "4h", DryRun: true, Snapshots: []contract.PlannedSnapshot{
		{Name: "auto-20261122-180000", Created: at, Keep: true, Why: "the newest"},
		{Name: "auto-20261122-120000", Created: at.Add(-6 * time.Hour), Why: "hour 2026-11-22 12h is older than the last 4"},
		{Name: "auto-20261122-060000", Created: at.Add(-12 * time.Hour), Why: "hour 2026-11-22 06h is older than the last 4"},
	}}
	var b bytes.Buffer
	pruneTable(&b, p)
	require.Equal(t, `NAME                  MADE                     KEEP 4h   WHY
auto-20261122-180000  2026-11-22 18:00:00 UTC  stays     the newest
auto-20261122-120000  2026-11-22 12:00:00 UTC  would go  hour 2026-11-22 12h is older than the last 4
auto-20261122-060000  2026-11-22 06:00:00 UTC  would go  hour 2026-11-22 06h is older than the last 4
`, b.String())
	p.DryRun, p.Pruned = false, []string{"auto-20261122-060000"}
	b.Reset()
	pruneTable(&b, p)
	require.Contains(t, b.String(), "is left  hour 2026-11-22 12h")
	require.Contains(t, b.String(), "pruned   hour 2026-11-22 06h")
	b.Reset()
	pruneTable(&b, pruning{VM: "VM1", Host: "A"})
	require.Equal(t, "VM1 has no snapshots on A\n", b.String())
}
