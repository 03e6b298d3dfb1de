package config

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSnapshotsAreOff(t *testing.T) {
	class, is := parse(t, "").SnapshotsFor(map[string]string{"tier": "db"})
	assert.Empty(t, class)
	assert.Zero(t, is.Every, "nothing is made that nobody asked for")
	_, is = parse(t, "snapshots: {every: 10m}\n").SnapshotsFor(nil)
	assert.Equal(t, Snapshots{Every: 10 * time.Minute, Keep: "4h/7d/4w", Verify: "never", Spread: 5 * time.Minute, AtOnce: 8}, is)
}

func TestSnapshotsOfAClassAreOverThoseOfTheSite(t *testing.T) {
	site := parse(t, `classes:
- {name: db, select: {tier: db}, snapshots: {every: 1h, memory: true, verify: never}}
- {name: scratch, select: {tier: scratch}, snapshots: {every: 0s}}
- {name: web, select: {tier: web}}
snapshots: {every: 6h, keep: 2d, verify: weekly, spread: 0s}
`)
	for tier, want := range map[string]struct {
		class string
		is    Snapshots
	}{
		"db":      {"db", Snapshots{Every: time.Hour, Keep: "2d", Memory: true, Verify: "never", AtOnce: 8}},
		"scratch": {"scratch", Snapshots{Keep: "2d", Verify: "weekly", AtOnce: 8}},
		"web":     {"", Snapshots{Every: 6 * time.Hour, Keep: "2d", Verify: "weekly", AtOnce: 8}},
		"other":   {"", Snapshots{Every: 6 * time.Hour, Keep: "2d", Verify: "weekly", AtOnce: 8}},
	} {
		class, is := site.SnapshotsFor(map[string]string{"tier": tier})
		assert.Equal(t, want.class, class, tier)
		assert.Equal(t, want.is, is, tier)
	}
	requireRoundTrip(t, site)
	_, scratch := site.SnapshotsFor(map[string]string{"tier": "scratch"})
	assert.Zero(t, scratch.VerifyEvery(), "there is nothing to try")
	_, web := site.SnapshotsFor(map[string]string{"tier": "web"})
	assert.Equal(t, 7*24*time.Hour, web.VerifyEvery())
}

func TestProblemsOfSnapshots(t *testing.T) {
	const how = "write it like 4h/7d/4w: the newest of each of the last 4 hours, 7 days and 4 weeks that have one"
	for name, c := range map[string]struct{ file, want string }{
		"not a rule":    {"snapshots: {keep: 4 hours}\n", `2: snapshots.keep: "4 hours" does not say what to keep: "4 hours" is not a number with one of h, d, w, m (months) and y; ` + how},
		"nothing":       {"snapshots:\n  every: 1h\n  keep: 0h\n", `4: snapshots.keep: "0h" does not say what to keep: "0h" is out of range: 1 to 999; ` + how},
		"twice":         {"snapshots: {keep: 1h/2h}\n", `2: snapshots.keep: "1h/2h" does not say what to keep: h is there twice; ` + how},
		"too many":      {"snapshots: {keep: 48h/30d}\n", `2: snapshots.keep: "48h/30d" keeps up to 79 snapshots of a VM; keep at most 64: each may be a layer that the VM reads through`},
		"no unit":       {"snapshots: {every: 6}\n", `2: snapshots.every: "6" has no unit; add one, as in 500ms, 10s, 5m or 1h30m`},
		"too often":     {"snapshots: {every: 1m}\n", `2: snapshots.every: 1m is too often; allowed: 0s for none, and 10m to 8760h`},
		"too wide":      {"snapshots: {every: 1h, spread: 31m}\n", `2: snapshots.spread: 31m is more than half of every, 1h, so that one round might run into the next; lower it, or raise every`},
		"at once":       {"snapshots: {atOnce: 0}\n", `2: snapshots.atOnce: "0" is out of range; allowed: 1 to 64`},
		"memory":        {"snapshots: {memory: maybe}\n", `2: snapshots.memory: "maybe" is neither true nor false`},
		"tries nothing": {"snapshots: {verify: weekly}\n", `2: snapshots.verify: there are no snapshots to try, as every is 0s; set every, or leave verify out`},
		"tries memory":  {"snapshots: {every: 1h, memory: true, verify: daily}\n", `2: snapshots.verify: snapshots with memory are inside of images that are in use, where they cannot be tried; leave memory out, or verify`},
		"tries often":   {"snapshots: {verify: hourly}\n", `2: snapshots.verify: "hourly" is not known; known: never, daily, weekly, monthly`},
		"unknown":       {"snapshots: {evry: 1h}\n", `2: snapshots: unknown field "evry"; did you mean "every"? (known: every, keep, memory, verify, spread, atOnce)`},
		"of a class":    {"classes:\n- name: a\n  select: {a: b}\n  snapshots: {every: 5m}\n", `5: classes[0].snapshots.every: 5m is too often; allowed: 0s for none, and 10m to 8760h`},
		"class by site": {"classes:\n- name: a\n  select: {a: b}\n  snapshots: {every: 1h}\nsnapshots: {every: 6h, spread: 2h}\n", `5: classes[0].snapshots.spread: 2h is more than half of every, 1h, so that one round might run into the next; lower it, or raise every`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("site.yaml", []byte(minimal+c.file))
			require.EqualError(t, err, "site.yaml:"+c.want)
		})
	}
}
