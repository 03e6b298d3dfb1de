//go:build cgo

package libvirt

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/hypervisor"
)

const testUUID = "3a2f0000-0000-4000-8000-000000000001"

func TestBackupNames(t *testing.T) {
	for _, name := range []string{"a", "2026-11-22", "A.b_c-d", strings.Repeat("x", 100)} {
		require.NoError(t, checkBackupName(name), name)
	}
	for _, name := range []string{"", ".a", "-a", "a/b", "a b", "ä", strings.Repeat("x", 101), "a\n"} {
		require.Error(t, checkBackupName(name), name)
	}
	// Dots in names must not make one backup's files another's.
	one := copyFile(testUUID, "n", newAttempt(), "vda")
	two := copyFile(testUUID, "n.x", newAttempt(), "vda")
	three := copyFile(testUUID, "n.x.vda.qcow2", newAttempt(), "vdb")
	all := []string{
		one, two, three, manifestFile(testUUID, "n"), manifestFile(testUUID, "n.x.vda.qcow2"),
		restoredFile(testUUID, "n", newAttempt(), "vda"), "other.n.0123456789.vda.qcow2",
	}
	require.Equal(t, []string{one}, leftovers(testUUID, "n", all))
	require.Equal(t, []string{two}, leftovers(testUUID, "n.x", all))
	require.Equal(t, []string{three}, leftovers(testUUID, "n.x.vda.qcow2", all))
	require.Empty(t, leftovers(testUUID, "x", all))

	var names []string
	for _, file := range all {
		if name, ok := isManifest(testUUID, file); ok {
			names = append(names, name)
		}
	}
	require.Equal(t, []string{"n", "n.x.vda.qcow2"}, names)
	name, ok := isManifest(testUUID, manifestFile(testUUID, namelessKeep))
	require.True(t, ok)
	require.Equal(t, namelessKeep, name)
	require.NotEqual(t, newAttempt(), newAttempt())
}

func TestManifest(t *testing.T) {
	m := manifest{Version: manifestVersion, Domain: testUUID, Checkpoint: "c", Restored: &restored{From: "x", Files: map[string]string{"vda": "/a"}}}
	m.Name, m.Created, m.Kept = "one", time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC), true
	m.Disks = []hypervisor.BackupDisk{{Target: "vda", File: "/b/c", Format: "qcow2", Bytes: 3, SHA256: "ab"}}
	begun, err := m.bytes()
	require.NoError(t, err)
	require.False(t, m.whole())
	m.Restored.Ended = true
	ended, err := m.bytes()
	require.NoError(t, err)
	require.Len(t, ended, len(begun), "it is written over the other")
	read, err := parseManifest(ended)
	require.NoError(t, err)
	require.Equal(t, m, read)
	require.True(t, read.whole())
	var plain map[string]any
	require.NoError(t, json.Unmarshal(ended, &plain))
	require.Equal(t, "one", plain["name"])

	for _, bad := range [][]byte{nil, begun[:len(begun)/2], make([]byte, 100), append(begun[:20:20], make([]byte, 80)...)} {
		_, err := parseManifest(bad)
		require.ErrorIs(t, err, errCutOff)
	}
	for _, other := range []string{`{}`, `[]`, `"x"`, `{"version":"1"}`, `{"version":1,"disks":7}`} {
		_, err := parseManifest([]byte(other))
		require.ErrorIs(t, err, errNoManifest, other)
	}
	_, err = parseManifest([]byte(`{"version":2,"disks":7}`))
	require.ErrorContains(t, err, "version 2")
	require.NotErrorIs(t, err, errCutOff)
	require.NotErrorIs(t, err, errNoManifest, "it may be a backup, and whoever takes it for none destroys it")
}

func TestWhoseAttempt(t *testing.T) {
	one, two := backupOf("one", "", 1), backupOf("one", "", 1)
	require.True(t, one.sameFiles(two))
	two.Disks[0].File = "/elsewhere/one"
	require.True(t, one.sameFiles(two), "a folder may be mounted somewhere else")
	two.Disks[0].File = "/b/two"
	require.False(t, one.sameFiles(two))
	require.False(t, one.sameAttempt(two), "neither is of a restore")
	one.Restored, two.Restored = &restored{Attempt: "a"}, &restored{Attempt: "b"}
	require.False(t, one.sameAttempt(two))
	two.Restored.Attempt = "a"
	require.True(t, one.sameAttempt(two))

	require.False(t, nobodyKnows(t.Context(), hypervisor.ErrNoResource))
	for _, err := range []error{hypervisor.ErrTimeout, hypervisor.ErrUnreachable, hypervisor.ErrClosed} {
		require.True(t, nobodyKnows(t.Context(), fmt.Errorf("write: %w", err)))
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.True(t, nobodyKnows(ended, hypervisor.ErrNoResource))
}

func TestWhatIsBuiltUponAFile(t *testing.T) {
	chains := []chained{{"disk vda", []string{"/i/a.layer", "/i/a"}}, {"backup k2", []string{"/i/r.layer", "/i/r", "/i/base"}}}
	require.Equal(t, "disk vda", upon("/i/a", chains))
	require.Empty(t, upon("/i/a.layer", chains), "nothing lies upon the top")
	require.Equal(t, "backup k2", upon("/i/base", chains))
	require.Empty(t, upon("/i/x", chains))
	hidden := []snapshot{snapshotOf("layer", locationExternal, "/i/h.layer", "/i/h"), snapshotOf("inside", locationInternal, "", "/i/n", "/i/m")}
	require.Equal(t, `snapshot "layer"`, buildsUpon("/i/h", hidden, chains))
	require.Empty(t, buildsUpon("/i/h.layer", hidden, chains))
	require.Empty(t, buildsUpon("/i/n", hidden, chains), "it goes with the file that it is in")
	require.Equal(t, `snapshot "inside"`, buildsUpon("/i/m", hidden, chains))
	require.Equal(t, "disk vda", buildsUpon("/i/a", hidden, chains))
}

func TestRestoreThatCameThrough(t *testing.T) {
	has := func(files ...string) domainFiles {
		disks := []imageElement{aDisk("vda", "qcow2", files...)}
		return domainFiles{disks: disks, used: family(disks, nil)}
	}
	made := restored{Made: true, Files: map[string]string{"vda": "/i/r"}}
	require.True(t, made.cameThrough(has("/i/r")))
	require.True(t, made.cameThrough(has("/i/r.layer", "/i/r")), "a layer was made upon it since")
	require.False(t, made.cameThrough(has("/i/a")))
	require.False(t, made.cameThrough(domainFiles{}), "the host does not have the domain")
	kept := restored{Files: made.Files}
	require.True(t, kept.cameThrough(has("/i/r")))
	require.False(t, kept.cameThrough(has("/i/r.layer", "/i/r")), "that may have been so before")
	two := restored{Made: true, Files: map[string]string{"vda": "/i/r", "vdb": "/i/s"}}
	require.False(t, two.cameThrough(has("/i/r")))
	require.False(t, (&restored{}).cameThrough(has("/i/r")))
}

func TestRoomForABackup(t *testing.T) {
	const gib = 1 << 30
	require.NoError(t, lacking(10*gib, 100*gib, 11*gib))
	err := lacking(10*gib, 100*gib, 11*gib-1)
	require.ErrorIs(t, err, hypervisor.ErrNoResource)
	require.ErrorContains(t, err, "1 MiB are lacking")
	require.NoError(t, lacking(gib, 5*gib, gib+gib/2), "a tenth of a small pool is enough")
	require.ErrorContains(t, lacking(gib, 5*gib, gib), "512 MiB are lacking")
	require.NoError(t, lacking(0, 100*gib, gib))
	require.Error(t, lacking(0, 100*gib, gib-1))
}

func backupOf(name, parent string, at int) manifest {
	m := manifest{Checkpoint: "cp-" + name}
	m.Name, m.Parent, m.Created = name, parent, time.Unix(int64(at), 0)
	m.Disks = []hypervisor.BackupDisk{{Target: "vda", File: "/b/" + name}}
	m.Sources = []diskOrigin{{Target: "vda", Chain: []string{"/i/vm.qcow2"}, Capacity: 64}}
	return m
}

func TestLineage(t *testing.T) {
	list := []manifest{backupOf("c", "b", 5), backupOf("b", "a", 5), backupOf("z", "", 1), backupOf("a", "", 5), backupOf("d", "gone", 9)}
	sortManifests(list)
	var names []string
	for _, m := range list {
		names = append(names, m.Name)
	}
	require.Equal(t, []string{"z", "a", "b", "c", "d"}, names)
	line, err := lineage(list, list[3])
	require.NoError(t, err)
	require.Len(t, line, 3)
	require.Equal(t, "a", line[2].Name)
	_, err = lineage(list, list[4])
	require.ErrorIs(t, err, hypervisor.ErrDamaged)
	require.Equal(t, list[4].Created.Add(time.Millisecond), afterAll(list, time.Unix(9, 0)))
	require.Equal(t, time.Unix(10, 0), afterAll(list, time.Unix(10, 0)))
	ring := []manifest{backupOf("x", "y", 1), backupOf("y", "x", 1)}
	sortManifests(ring)
	_, err = lineage(ring, ring[0])
	require.ErrorIs(t, err, hypervisor.ErrDamaged)
}

func aDisk(target, format string, chain ...string) imageElement {
	var d imageElement
	d.Type, d.Driver.Type, d.Target.Dev, d.Source.File = "file", format, target, chain[0]
	at := &d.Below
	for _, file := range chain[1:] {
		*at = &backingStore{}
		(*at).Source.File = file
		at = &(*at).Below
	}
	return d
}

func TestPredecessor(t *testing.T) {
	const file = "/i/vm.qcow2"
	good := func() subject {
		return subject{
			active: true, persistent: true, capacity: map[string]uint64{"vda": 64, "vdb": 64},
			disks:       []imageElement{aDisk("vda", "qcow2", file)},
			checkpoints: []checkpointDocument{{Name: "cp-two"}},
		}
	}
	one, two, kept := backupOf("one", "", 1), backupOf("two", "one", 2), backupOf("kept", "", 3)
	kept.Kept = true
	idle := backupOf("idle", "", 4)
	idle.Checkpoint = ""
	for _, c := range []struct {
		name   string
		change func(*subject)
		before []manifest
		full   bool
		parent string
		why    string
	}{
		{name: "first"},
		{name: "first of kept", before: []manifest{kept}},
		{name: "next", before: []manifest{one, two, kept}, parent: "two"},
		{name: "full", before: []manifest{one, two}, full: true, why: "asked"},
		{name: "not the one before", before: []manifest{two, backupOf("three", "", 3)}, why: "three"},
		{name: "after one of an idle domain", before: []manifest{two, idle}, why: "idle"},
		{name: "idle", before: []manifest{two}, change: func(s *subject) { s.active = false }, why: "not active"},
		{name: "transient", before: []manifest{two}, change: func(s *subject) { s.persistent = false }, why: "transient"},
		{name: "raw", before: []manifest{two}, change: func(s *subject) { s.disks[0].Driver.Type = "" }, why: "vda is of format raw"},
		{name: "layer", before: []manifest{two}, change: func(s *subject) { s.disks[0] = aDisk("vda", "qcow2", "/i/vm.layer", file) }, parent: "two"},
		{name: "another file", before: []manifest{two}, change: func(s *subject) { s.disks[0].Source.File = "/i/x" }, why: "other files"},
		{name: "grown", before: []manifest{two}, change: func(s *subject) { s.capacity["vda"] = 65 }, why: "size"},
		{name: "disk added", before: []manifest{two}, change: func(s *subject) { s.disks = append(s.disks, aDisk("vdb", "qcow2", "/i/b")) }, why: "other disks"},
		{name: "disk renamed", before: []manifest{two}, change: func(s *subject) { s.disks[0].Target.Dev = "vdb" }, why: "other disks"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := good()
			if c.change != nil {
				c.change(&s)
			}
			parent, why := s.predecessor(c.before, c.full)
			if c.parent != "" {
				require.NotNil(t, parent, why)
				require.Equal(t, c.parent, parent.Name)
			} else {
				require.Nil(t, parent)
			}
			if c.why == "" {
				require.Empty(t, why)
			}
			require.Contains(t, why, c.why)
		})
	}
}

// libvirt goes by the target: two disks that have changed places would each be
// compared with the other.
func TestPredecessorOfSwappedDisks(t *testing.T) {
	last := backupOf("one", "", 1)
	last.Disks = append(last.Disks, hypervisor.BackupDisk{Target: "vdb"})
	last.Sources = []diskOrigin{{Target: "vda", Chain: []string{"/i/a"}}, {Target: "vdb", Chain: []string{"/i/b"}}}
	s := subject{active: true, persistent: true, checkpoints: []checkpointDocument{{Name: "cp-one"}}}
	s.disks = []imageElement{aDisk("vda", "qcow2", "/i/a"), aDisk("vdb", "qcow2", "/i/b")}
	parent, _ := s.predecessor([]manifest{last}, false)
	require.NotNil(t, parent)
	s.disks = []imageElement{aDisk("vda", "qcow2", "/i/b"), aDisk("vdb", "qcow2", "/i/a")}
	parent, why := s.predecessor([]manifest{last}, false)
	require.Nil(t, parent)
	require.Contains(t, why, "vda has other files")
}

func TestSuperfluousCheckpoints(t *testing.T) {
	at := int64(0)
	made := func(name string) checkpointDocument {
		at++
		return checkpointDocument{Name: name, Created: at}
	}
	here := func(attempt string) string { return checkpointFor("/b", attempt) }
	all := []checkpointDocument{made(here("1")), made("nightly"), made(checkpointFor("/c", "1")), made(here("2")), made(checkpointFor("/c", "2"))}
	got := superfluous(all, "/b", here("2"))
	slices.Sort(got)
	want := []string{here("1"), checkpointFor("/c", "1")}
	slices.Sort(want)
	require.Equal(t, want, got)
	all = append(all, made(checkpointFor("/d", "1")), made(checkpointFor("/e", "1")))
	require.Contains(t, superfluous(all, "/b", here("2")), checkpointFor("/c", "2"), "of the place that was not used for longest")
	require.NotContains(t, superfluous(all, "/b", here("2")), checkpointFor("/e", "1"))
}

func TestJobXML(t *testing.T) {
	disks := []imageElement{aDisk("vda", "qcow2", "/i/a"), aDisk("sda", "raw", "/i/cd.iso")}
	job, point, err := jobXML(disks, map[string]string{"vda": "/b/<a>.qcow2"}, "before", "now", "of & for")
	require.NoError(t, err)
	require.Equal(t, `<domainbackup mode="push"><incremental>before</incremental><disks>`+
		`<disk name="vda" backup="yes" type="file"><driver type="qcow2"></driver><target file="/b/&lt;a&gt;.qcow2"></target></disk>`+
		`<disk name="sda" backup="no"></disk></disks></domainbackup>`, job)
	require.Equal(t, `<domaincheckpoint><name>now</name><description>of &amp; for</description><disks>`+
		`<disk name="vda" checkpoint="bitmap"></disk><disk name="sda" checkpoint="no"></disk></disks></domaincheckpoint>`, point)
	files, err := jobFiles(job)
	require.NoError(t, err)
	require.Equal(t, []string{"/b/<a>.qcow2"}, files)
	_, point, err = jobXML(disks, nil, "", "", "")
	require.NoError(t, err)
	require.Empty(t, point)
}

func TestVolumeXML(t *testing.T) {
	text, err := volumeXML("a", "qcow2", 5, "/b/<c>", &permissions{"0600", "64055", "64055"})
	require.NoError(t, err)
	require.Equal(t, `<volume><name>a</name><capacity>5</capacity><target><format type="qcow2"></format>`+
		`<permissions><mode>0600</mode><owner>64055</owner><group>64055</group></permissions><compat>1.1</compat></target>`+
		`<backingStore><path>/b/&lt;c&gt;</path><format type="qcow2"></format></backingStore></volume>`, text)
	text, err = volumeXML("a", "raw", 5, "", nil)
	require.NoError(t, err)
	require.Equal(t, `<volume><name>a</name><capacity>5</capacity><target><format type="raw"></format></target></volume>`, text)
}

func TestToCopy(t *testing.T) {
	cd := aDisk("sda", "raw", "/i/cd.iso")
	cd.Device = "cdrom"
	fixed := aDisk("vdb", "qcow2", "/i/b")
	fixed.ReadOnly = &struct{}{}
	kept := aDisk("vdc", "raw", "/i/c")
	kept.Snapshot = locationNo
	got, err := toCopy([]imageElement{aDisk("vda", "qcow2", "/i/a"), cd, fixed, kept})
	require.NoError(t, err)
	require.Len(t, got, 2, "what snapshots leave out is a disk all the same")
	require.Equal(t, "vdc", got[1].Target.Dev)

	for why, change := range map[string]func(*imageElement){
		"shared": func(d *imageElement) { d.Shareable = &struct{}{} }, "type block": func(d *imageElement) { d.Type = "block" },
		"encrypted": func(d *imageElement) { d.Encrypted = &struct{}{} }, "block job": func(d *imageElement) { d.Mirror = &struct{}{} },
	} {
		d := aDisk("vda", "qcow2", "/i/a")
		change(&d)
		_, err := toCopy([]imageElement{d})
		require.ErrorIs(t, err, hypervisor.ErrInvalidState)
		require.ErrorContains(t, err, "disk vda")
		require.ErrorContains(t, err, why)
	}
	_, err = toCopy([]imageElement{cd})
	require.ErrorIs(t, err, hypervisor.ErrInvalidState)
}

func TestUseFiles(t *testing.T) {
	const definition = `<domain><devices>
  <disk type='file'><driver name='qemu' type='qcow2' cache='none'/><source file='/i/a' index='1'/><backingStore type='file'><source file='/i/base'/></backingStore><target dev='vda'/></disk>
  <disk type='file'><source file='/i/b'/><target dev='vdb'/></disk>
</devices></domain>`
	flat, err := useFiles(definition, map[string]diskFile{"vda": {file: "/i/<r>", format: "qcow2"}})
	require.NoError(t, err)
	require.Equal(t, strings.NewReplacer(
		`/i/a`, `/i/&lt;r&gt;`, `<backingStore type='file'><source file='/i/base'/></backingStore>`, "").Replace(definition), flat)
	back, err := useFiles(flat, map[string]diskFile{"vda": {file: "/i/a", format: "qcow2", upon: "/i/base", uponFormat: "raw"}})
	require.NoError(t, err)
	require.Contains(t, back, `<backingStore type='file'><format type='raw'/><source file='/i/base'/></backingStore><source file='/i/a' index='1'/>`)
	other, err := useFiles(definition, map[string]diskFile{"vda": {file: "/i/r", format: "raw"}, "vdb": {file: "/i/q", format: "qcow2"}})
	require.NoError(t, err)
	require.Contains(t, other, `<driver name='qemu' type='raw' cache='none'/>`)
	require.Contains(t, other, `<driver name='qemu' type='qcow2'/><source file='/i/q'/>`)
	_, err = useFiles(definition, map[string]diskFile{"vdz": {file: "/i/r"}})
	require.ErrorIs(t, err, hypervisor.ErrInvalidState)
}
