package agent

import (
	"encoding/json"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// host reads the figures of a host under testdata.
func host(t *testing.T, name string) *reader {
	t.Helper()
	r, err := newReader(filepath.Join("testdata", name, "proc"), filepath.Join("testdata", name, "sys"))
	require.NoError(t, err)
	return r
}

// copied is a host under testdata whose files the test may change.
func copied(t *testing.T, name string) (r *reader, folder string) {
	t.Helper()
	folder = t.TempDir()
	require.NoError(t, os.CopyFS(folder, os.DirFS(filepath.Join("testdata", name))))
	r, err := newReader(filepath.Join(folder, "proc"), filepath.Join(folder, "sys"))
	require.NoError(t, err)
	return r, folder
}

func TestReadsAHost(t *testing.T) {
	before := time.Now()
	f, err := host(t, "full").read()
	require.NoError(t, err)
	assert.Equal(t, "0b9a0c8e-6f0d-4d36-9f4c-0d3f8a1f2b10", f.BootID)
	assert.InDelta(t, 86400.52, f.Uptime, 0.001)
	assert.False(t, f.Now.Before(before) || f.Now.After(time.Now()))

	require.NotNil(t, f.Pressure.CPUSome)
	assert.InDelta(t, 12.5, *f.Pressure.CPUSome, 0.001)
	require.NotNil(t, f.Pressure.MemorySome)
	assert.InDelta(t, 1.25, *f.Pressure.MemorySome, 0.001)
	require.NotNil(t, f.Pressure.MemoryFull)
	assert.InDelta(t, 0.75, *f.Pressure.MemoryFull, 0.001)
	require.NotNil(t, f.Pressure.IOSome)
	assert.InDelta(t, 33.0, *f.Pressure.IOSome, 0.001)
	require.NotNil(t, f.Pressure.IOFull)
	assert.InDelta(t, 22.0, *f.Pressure.IOFull, 0.001)

	assert.Equal(t, &Memory{Total: 65843064 << 10, Available: 33554432 << 10}, f.Memory)
	assert.Equal(t, &MemoryErrors{Corrected: 7, Uncorrected: 1}, f.MemoryErrors)
	assert.Empty(t, f.Unread)
}

// Partitions, and what is made of disks, are counted as the disks under them: a
// guest's request on LVM on RAID on two disks would otherwise be counted five times.
func TestDiskRequestsAreCountedOnce(t *testing.T) {
	f, err := host(t, "full").read()
	require.NoError(t, err)
	require.NotNil(t, f.Disks)
	assert.Equal(t, []string{"cciss/c0d0", "nvme0n1", "nvme1n1", "sda", "sdb", "vda"}, f.Disks.Names)
	assert.EqualValues(t, 4+(30+40+3+4)+(100+200)+(1000+2000)+(10+20)+(5+6), f.Disks.Requests)
}

// Newer kernels count for a multipath NVMe disk and for its paths.
func TestPathsAndDiskAreNotAddedUp(t *testing.T) {
	r, folder := copied(t, "full")
	require.NoError(t, os.WriteFile(filepath.Join(folder, "proc", "diskstats"), []byte(
		"   0       0 nvme0c0n1 30 0 0 0 40 0 0 0 0 0 0\n"+
			" 259       2 nvme0n1 31 0 0 0 40 0 0 0 0 0 0\n"), 0o644))
	f, err := r.read()
	require.NoError(t, err)
	assert.EqualValues(t, 71, f.Disks.Requests)
}

func TestWhatTheKernelLacksIsLeftOut(t *testing.T) {
	f, err := host(t, "bare").read()
	require.NoError(t, err)
	assert.Equal(t, Pressure{}, f.Pressure)
	assert.Nil(t, f.Disks)
	assert.Nil(t, f.MemoryErrors)
	assert.NotNil(t, f.Memory)
	assert.Empty(t, f.Unread, "nothing went wrong")
	text, err := json.Marshal(f)
	require.NoError(t, err)
	assert.NotContains(t, string(text), "disks")
	assert.NotContains(t, string(text), "memoryErrors")
	assert.Contains(t, string(text), `"pressure":{}`)

	assert.True(t, lacks(&os.PathError{Op: "read", Path: "/proc/pressure/cpu", Err: syscall.EOPNOTSUPP}), "psi=0")
}

func TestMemoryControllersWithoutADriver(t *testing.T) {
	r, folder := copied(t, "bare")
	require.NoError(t, os.MkdirAll(filepath.Join(folder, "sys/devices/system/edac/mc/power"), 0o755))
	f, err := r.read()
	require.NoError(t, err)
	assert.Nil(t, f.MemoryErrors)
	assert.Empty(t, f.Unread)
}

func TestWhatCannotBeReadIsSaidAndTheRestIsTold(t *testing.T) {
	r, folder := copied(t, "full")
	write := func(path, content string) {
		require.NoError(t, os.WriteFile(filepath.Join(folder, path), []byte(content), 0o644))
	}
	write("proc/pressure/io", "some avg10=a lot\n")
	write("proc/meminfo", "MemTotal: 1 kB\n")
	write("sys/devices/system/edac/mc/mc1/ue_count", "many\n")
	f, err := r.read()
	require.NoError(t, err)
	assert.NotNil(t, f.Pressure.CPUSome)
	assert.Nil(t, f.Pressure.IOSome)
	assert.Nil(t, f.Memory)
	assert.Nil(t, f.MemoryErrors, "half a sum would look like a reset")
	assert.NotNil(t, f.Disks)
	require.Len(t, f.Unread, 3)
	assert.Contains(t, f.Unread[0], "pressure: ")
	assert.Contains(t, f.Unread[1], "memory: meminfo holds no MemTotal or no MemAvailable")
	assert.Contains(t, f.Unread[2], "memory errors: ")
}

func TestAHostWithoutBootIDIsNone(t *testing.T) {
	r, folder := copied(t, "full")
	require.NoError(t, os.Remove(filepath.Join(folder, "proc/sys/kernel/random/boot_id")))
	_, err := r.read()
	require.ErrorContains(t, err, "read the boot ID")
	require.ErrorContains(t, err, "--procfs")

	_, err = newReader(filepath.Join(folder, "nowhere"), folder)
	require.ErrorContains(t, err, "--procfs")
	_, err = newReader(folder, filepath.Join(folder, "nowhere"))
	require.ErrorContains(t, err, "--sysfs")
}

// The machine that runs the test is a host as well.
func TestReadsThisMachine(t *testing.T) {
	r, err := newReader("/proc", "/sys")
	require.NoError(t, err)
	f, err := r.read()
	require.NoError(t, err)
	assert.Len(t, f.BootID, 36)
	assert.Positive(t, f.Uptime)
	assert.NotNil(t, f.Memory)
	assert.Empty(t, f.Unread)
}
