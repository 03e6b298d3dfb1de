//go:build cgo

package libvirt

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

func snapshotOf(name, how, layer string, chain ...string) snapshot {
	d := snapshotDisk{Name: "vda", Snapshot: how}
	d.Layer.File = layer
	return snapshot{Name: name, Disks: []snapshotDisk{d}, Images: []imageElement{aDisk("vda", "qcow2", chain...)}}
}

func TestSnapshotsOfTheirFiles(t *testing.T) {
	all := []snapshot{
		snapshotOf("inside", locationInternal, "", "/i/a"),
		snapshotOf("layer", locationExternal, "/i/a.layer", "/i/a"),
		snapshotOf("upon", locationInternal, "", "/i/a.layer", "/i/a"),
		snapshotOf("restored", locationInternal, "", "/i/r"),
	}
	names := func(disks ...imageElement) []string {
		var out []string
		for _, s := range ofTheirFiles(disks, all) {
			out = append(out, s.Name)
		}
		return out
	}
	first := []string{"inside", "layer", "upon"}
	require.Equal(t, first, names(aDisk("vda", "qcow2", "/i/a.layer")), "the definition names the top alone")
	require.Equal(t, first, names(aDisk("vda", "qcow2", "/i/a")))
	require.Equal(t, first, names(aDisk("vda", "qcow2", "/i/a.layer-2", "/i/a")), "after a revert")
	require.Equal(t, []string{"restored"}, names(aDisk("vda", "qcow2", "/i/r")))
	require.Empty(t, names(aDisk("vda", "qcow2", "/i/x")))
	require.Len(t, names(aDisk("vdb", "qcow2", "/i/x")), 4, "of a disk that is gone nobody can tell")
}

func TestWithoutBitmaps(t *testing.T) {
	header := make([]byte, qcow2Header)
	copy(header, "QFI\xfb")
	binary.BigEndian.PutUint32(header[qcow2Version:], 3)
	_, has := withoutBitmaps(header)
	require.False(t, has)
	binary.BigEndian.PutUint64(header[qcow2Autoclear:], 3) // bitmaps, and raw external data
	features, has := withoutBitmaps(header)
	require.True(t, has)
	require.Equal(t, []byte{0, 0, 0, 0, 0, 0, 0, 2}, features)
	binary.BigEndian.PutUint32(header[qcow2Version:], 2) // it ends before them
	_, has = withoutBitmaps(header)
	require.False(t, has)
	for _, other := range [][]byte{nil, header[:50], make([]byte, 200)} {
		_, has := withoutBitmaps(other)
		require.False(t, has)
	}
}
