//go:build cgo

package libvirt

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	lv "libvirt.org/go/libvirt"

	"holdfast/internal/hypervisor"
)

func TestTestDriverSnapshots(t *testing.T) {
	h := newHost(t, Options{URI: "test:///default"})
	uuid := testDomain(t, h)
	list, err := h.Snapshots(t.Context(), uuid)
	require.NoError(t, err)
	require.Empty(t, list)
	require.ErrorIs(t, h.DeleteSnapshot(t.Context(), uuid, "none"), hypervisor.ErrNoSnapshot)
	require.ErrorIs(t, h.RevertSnapshot(t.Context(), uuid, "none"), hypervisor.ErrNoSnapshot)
	for _, name := range []string{"", ".hidden", "a/b", "a\nb"} {
		_, err := h.CreateSnapshot(t.Context(), uuid, hypervisor.SnapshotOptions{Name: name})
		require.ErrorContains(t, err, "cannot be the name of a snapshot")
	}
	require.NoError(t, h.Close())
	waitClosed(t)
}

const someDisks = `<domain><devices>
  <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/img/vm.qcow2'/><target dev='vda'/></disk>
  <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/img/vm.raw'/><target dev='vdb'/></disk>
  <disk type='file' device='cdrom'><source file='/img/cd.iso'/><target dev='sda'/><readonly/></disk>
  <disk type='file' device='disk' snapshot='no'><driver type='raw'/><source file='/img/scratch'/><target dev='vdc'/></disk>
  <disk type='file' device='floppy'><target dev='fda'/></disk>
</devices></domain>`

func TestPlan(t *testing.T) {
	disks, err := parseImages(someDisks)
	require.NoError(t, err)
	r, err := plan(hypervisor.SnapshotOptions{Name: "n.1"}, true, disks)
	require.NoError(t, err)
	var got []string
	for _, d := range r.Disks {
		file := ""
		if d.Source != nil {
			file = " " + d.Source.File
		}
		got = append(got, d.Name+" "+d.Snapshot+file)
	}
	require.Equal(t, []string{"vda external /img/vm.vda-n-1", "vdb external /img/vm.vdb-n-1", "sda no", "vdc no", "fda no"}, got)

	_, err = plan(hypervisor.SnapshotOptions{Name: "n", Memory: true}, true, disks)
	require.ErrorContains(t, err, "disk vdb is of format raw")
	_, err = plan(hypervisor.SnapshotOptions{Name: "n"}, false, disks[2:4])
	require.ErrorContains(t, err, "disk vdc is kept out of snapshots")
	_, err = plan(hypervisor.SnapshotOptions{Name: "n"}, true, disks[2:])
	require.ErrorContains(t, err, "no disk")
	r, err = plan(hypervisor.SnapshotOptions{Name: "n", Memory: true}, true, disks[:1])
	require.NoError(t, err)
	require.Equal(t, locationInternal, r.Memory.Snapshot)

	for element, why := range map[string]string{
		`<disk type='block' device='disk'><driver type='qcow2'/><source dev='/dev/vg/x'/><target dev='vda'/></disk>`:                                                                    "not a file but of type block",
		`<disk type='network' device='disk'><driver type='qcow2'/><source protocol='nbd' name='x'/><target dev='vda'/></disk>`:                                                          "not a file but of type network",
		`<disk type='file' device='disk'><driver type='qcow2'/><source file='/x'/><target dev='vda'/><shareable/></disk>`:                                                               "shared",
		`<disk type='file' device='disk'><driver type='qcow2'/><source file='/x'><encryption format='luks'/></source><target dev='vda'/></disk>`:                                        "encrypted",
		`<disk type='file' device='disk'><driver type='qcow2'/><source file='/x'/><mirror type='file' job='copy'><source file='/y'/></mirror><target dev='vda'/></disk>`:                "block job",
		`<disk type='block' device='lun'><driver type='raw'/><source dev='/dev/sdx'/><target dev='vda'/></disk>`:                                                                        "(lun)",
		`<disk type='file' device='disk'><source file='/x'/><target dev='vda'/></disk>`:                                                                                                 "format raw",
		`<disk type='volume' device='disk'><driver type='qcow2'/><source pool='p' volume='v'/><target dev='vda'/></disk>`:                                                               "type volume",
		`<disk type='file' device='disk' snapshot='no'><driver type='qcow2'/><source file='/x'/><target dev='vda'/></disk>`:                                                             "kept out of snapshots",
		`<disk type='nvme' device='disk'><driver type='raw'/><source type='pci' managed='yes' namespace='1'><address domain='0x0'/></source><target dev='vda'/></disk><!-- no name -->`: "no disk",
	} {
		disks, err := parseImages("<domain><devices>" + element + "</devices></domain>")
		require.NoError(t, err)
		_, err = plan(hypervisor.SnapshotOptions{Name: "n"}, false, disks)
		require.ErrorIs(t, err, hypervisor.ErrInvalidState)
		require.ErrorContains(t, err, why)
	}
}

func TestUseLayers(t *testing.T) {
	const before = `<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <!-- a <disk> that is none -->
  <metadata><x:disk xmlns:x="urn:x"><source file='not this'/></x:disk></metadata>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw' cache='none'><metadata_cache><max_size unit='bytes'>1</max_size></metadata_cache></driver>
      <source file='/img/a &amp; b.raw' startupPolicy='optional'><seclabel model='dac' relabel='no'/></source>
      <backingStore type='file'><format type='raw'/><source file='/img/base'/><backingStore/></backingStore>
      <target dev='vda' bus='virtio'/>
    </disk>
    <disk type='file' device='disk'>
      <source file='/img/b.raw'/>
      <target dev='vdb'/>
    </disk>
    <disk type='file' device='disk'><source file='/img/c.raw'/><target dev='vdc'/></disk>
  </devices>
  <qemu:commandline><qemu:arg value='-x'/></qemu:commandline>
</domain>`
	after, err := useLayers(before, map[string]layer{
		"vda": {"/img/it's.good", "/img/a & b.raw", "raw"},
		"vdb": {"/img/b.good", "/img/b.old", "qcow2"},
	})
	require.NoError(t, err)
	want := strings.NewReplacer(
		`<driver name='qemu' type='raw' cache='none'>`, `<driver name='qemu' type='qcow2' cache='none'>`,
		`<source file='/img/a &amp; b.raw' startupPolicy='optional'>`,
		`<backingStore type='file'><format type='raw'/><source file='/img/a &amp; b.raw'/></backingStore><source file='/img/it&#39;s.good' startupPolicy='optional'>`,
		"<backingStore type='file'><format type='raw'/><source file='/img/base'/><backingStore/></backingStore>", "",
		`<source file='/img/b.raw'/>`,
		`<driver name='qemu' type='qcow2'/><backingStore type='file'><format type='qcow2'/><source file='/img/b.old'/></backingStore><source file='/img/b.good'/>`,
	).Replace(before)
	require.Equal(t, want, after)

	_, err = useLayers(before, map[string]layer{"vdx": {}})
	require.ErrorContains(t, err, "vdx")
	_, err = useLayers("<domain><password>hunter2", nil)
	require.Error(t, err)
	require.NotContains(t, err.Error(), "hunter2")
}

func TestLayerFiles(t *testing.T) {
	require.Equal(t, map[string]string{"vda": "/img/vm.one", "vdb": "/img/.hidden.one", "vdc": "/img/plain.one"},
		layerFiles(map[string]string{"vda": "/img/vm.old-name", "vdb": "/img/.hidden", "vdc": "/img/plain"}, "one"))
	require.Equal(t, map[string]string{"vda": "/img/vm.vda-a-b", "vdb": "/img/vm.vdb-a-b", "vdc": "/other/vm.a-b"},
		layerFiles(map[string]string{"vda": "/img/vm.qcow2", "vdb": "/img/vm.raw", "vdc": "/other/vm.raw"}, "a.b"))
}

func TestSnapshotViewAndOrder(t *testing.T) {
	describe := func(text string) snapshot {
		s, err := parseSnapshot(text)
		require.NoError(t, err)
		return s
	}
	memory := describe(`<domainsnapshot><name>m</name><state>paused</state><parent><name>z</name></parent><creationTime>7</creationTime>
	  <memory snapshot='internal'/><disks><disk name='vda' snapshot='internal'/><disk name='sda' snapshot='no'/></disks></domainsnapshot>`)
	require.Equal(t, hypervisor.Snapshot{
		Name: "m", Parent: "z", Created: time.Unix(7, 0), Memory: true, State: hypervisor.StatePaused, Disks: []string{"vda"},
	}, memory.view())
	layer := describe(`<domainsnapshot><name>z</name><state>disk-snapshot</state><creationTime>7</creationTime>
	  <memory snapshot='no'/><disks><disk name='vda' snapshot='external' type='file'><source file='/img/z'/></disk></disks></domainsnapshot>`)
	require.True(t, layer.view().External)
	require.Equal(t, hypervisor.StateShutoff, layer.view().State)
	oldStyle := describe(`<domainsnapshot><name>a</name><state>running</state><creationTime>6</creationTime></domainsnapshot>`)
	require.True(t, oldStyle.view().Memory)

	list := []snapshot{memory, layer, oldStyle}
	sortSnapshots(list)
	require.Equal(t, []string{"a", "z", "m"}, []string{list[0].Name, list[1].Name, list[2].Name})
}

// made is a snapshot of vda in files, the one that is written to first.
func made(name, parent, how, layer string, files ...string) snapshot {
	s := snapshot{Name: name, Parent: parent, Disks: []snapshotDisk{{Name: "vda", Snapshot: how, Layer: diskSource{File: layer}}}}
	s.Images = []imageElement{diskOf(files...)}
	return s
}

func diskOf(files ...string) imageElement {
	d := imageElement{Type: "file"}
	d.Target.Dev, d.Source.File, d.Driver.Type = "vda", files[0], "qcow2"
	for at, i := &d.Below, 1; i < len(files); i++ {
		*at = &backingStore{Source: diskSource{File: files[i]}}
		at = &(*at).Below
	}
	return d
}

func TestDeletion(t *testing.T) {
	good := made("good", "", locationExternal, "A", "base")
	for name, c := range map[string]struct {
		s       snapshot
		others  []snapshot
		current bool
		runs    []string // nothing: not active
		flags   lv.DomainSnapshotDeleteFlags
		why     string // empty: it may be deleted
	}{
		"on top":                 {s: good, current: true, runs: []string{"A", "base"}},
		"stopped":                {s: good, current: true, why: "start it first"},
		"beside, after a revert": {s: good, current: true, runs: []string{"R", "base"}, flags: lv.DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY},
		"libvirt is elsewhere":   {s: good, runs: []string{"A", "base"}, why: "snapshot-current"},
		"in between":             {s: good, others: []snapshot{made("next", "good", locationExternal, "B", "A", "base")}, runs: []string{"B", "A", "base"}},
		"an internal one is in the layer": {
			s: good, others: []snapshot{made("in", "good", locationInternal, "", "A", "base")}, runs: []string{"A", "base"}, why: `"in" is in or upon A`,
		},
		"an internal one is above": {
			s: good, others: []snapshot{made("in", "good", locationInternal, "", "B", "A", "base")}, runs: []string{"B", "A", "base"},
		},
		"undone: what was tried lies upon the base": {
			s: good, others: []snapshot{made("tried", "good", locationExternal, "T", "R", "base")}, runs: []string{"A", "base"}, why: `"tried" is in or upon base`,
		},
		"undone: the kept one is the layer": {
			s: good, others: []snapshot{made("keep", "good", locationExternal, "K", "A", "base")}, runs: []string{"R", "A", "base"}, why: `"keep" is in or upon A`,
		},
		"after an internal one": {
			s: made("good", "in", locationExternal, "A", "base"), others: []snapshot{made("in", "", locationInternal, "", "base")},
			current: true, runs: []string{"A", "base"}, why: `"in", is internal`,
		},
		"upon another file": {s: good, current: true, runs: []string{"A", "other"}, why: "upon another file"},
		"internal, on top":  {s: made("in", "", locationInternal, "", "A", "base"), runs: []string{"A", "base"}},
		"internal, stopped": {s: made("in", "", locationInternal, "", "base")},
		"internal, beside":  {s: made("in", "", locationInternal, "", "A", "base"), runs: []string{"R", "base"}},
		"internal, below":   {s: made("in", "", locationInternal, "", "base"), runs: []string{"A", "base"}, why: "stop the domain first"},
	} {
		t.Run(name, func(t *testing.T) {
			c.s.Current = c.current
			var disks []imageElement
			if len(c.runs) > 0 {
				disks = append(disks, diskOf(c.runs...))
			}
			flags, err := c.s.deletion(append(c.others, c.s), disks, len(c.runs) > 0)
			if c.why != "" {
				require.ErrorIs(t, err, hypervisor.ErrInvalidState)
				require.ErrorContains(t, err, c.why)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.flags, flags)
		})
	}
}

func TestLiesOnTop(t *testing.T) {
	in := made("in", "", locationInternal, "", "base")
	require.NoError(t, in.liesOnTop([]snapshot{in, made("later", "in", locationInternal, "", "base")}))
	for _, other := range []snapshot{
		made("layer", "in", locationExternal, "A", "base"),
		made("inside", "layer", locationInternal, "", "A", "base"),
	} {
		require.ErrorContains(t, in.liesOnTop([]snapshot{in, other}), other.Name)
	}
	unknown := in
	unknown.Images = nil
	require.ErrorIs(t, unknown.liesOnTop(nil), hypervisor.ErrInvalidState)
}

func TestLayersOfARevert(t *testing.T) {
	good := made("good", "", locationExternal, "/img/vm.good", "/img/vm.qcow2")
	now := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	layers, err := good.layers([]imageElement{diskOf("/img/vm.good", "/img/vm.qcow2")}, now)
	require.NoError(t, err)
	require.Equal(t, map[string]layer{"vda": {"/img/vm.good-20260102T030405-006Z", "/img/vm.qcow2", "qcow2"}}, layers)

	merging := made("good", "", locationExternal, "/img/vm.good", "/img/vm.qcow2")
	merging.Disks[0].Deleting = &struct{}{}
	for why, c := range map[string]struct {
		s     snapshot
		disks []imageElement
	}{
		"is lost":                    {good, []imageElement{diskOf("/img/vm.qcow2")}},
		"not in the domain's def":    {good, nil},
		"is being merged":            {merging, []imageElement{diskOf("/img/vm.good")}},
		"its disk vda is not a file": {snapshot{Disks: good.Disks}, []imageElement{diskOf("/img/vm.good")}},
	} {
		_, err := c.s.layers(c.disks, now)
		require.ErrorIs(t, err, hypervisor.ErrInvalidState)
		require.ErrorContains(t, err, why)
	}
}

func TestRefused(t *testing.T) {
	l := &link{host: &Host{opts: Options{Name: "A"}}}
	require.ErrorIs(t, l.refused(lv.Error{Code: lv.ERR_CONFIG_UNSUPPORTED, Message: "no"}), hypervisor.ErrInvalidState)
	require.ErrorIs(t, l.refused(lv.Error{Code: lv.ERR_SNAPSHOT_REVERT_RISKY, Message: "no"}), hypervisor.ErrInvalidState)
	require.ErrorIs(t, l.refused(lv.Error{Code: lv.ERR_INTERNAL_ERROR, Message: "qemu-img: No space left on device"}), hypervisor.ErrNoResource)
	other := errors.New("other")
	require.Equal(t, other, l.refused(other))
}
