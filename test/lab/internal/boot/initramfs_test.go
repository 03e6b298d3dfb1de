package boot

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// readArchive reads a newc archive as the kernel does: names and bodies padded to 4
// bytes from the start of the archive.
func readArchive(t *testing.T, archive []byte) (names []string, bodies map[string]string) {
	t.Helper()
	bodies = map[string]string{}
	pad := func(at int) int { return (at + 3) &^ 3 }
	for at := 0; ; {
		header := archive[at : at+110]
		require.Equal(t, "070701", string(header[:6]), "at %d", at)
		field := func(i int) int {
			n, err := strconv.ParseUint(string(header[6+8*i:14+8*i]), 16, 32)
			require.NoError(t, err)
			return int(n)
		}
		size, nameSize := field(6), field(11)
		name := string(archive[at+110 : at+110+nameSize-1])
		if name == "TRAILER!!!" {
			return names, bodies
		}
		body := pad(at + 110 + nameSize)
		names = append(names, name)
		bodies[name] = string(archive[body : body+size])
		at = pad(body + size)
	}
}

func TestInitrdHoldsModulesInOrderAndInit(t *testing.T) {
	dir := t.TempDir()
	for i := range 3 {
		require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%02d-m%d.ko", i, i)), []byte(fmt.Sprint("module ", 10-i)), 0o644))
	}
	file := filepath.Join(t.TempDir(), "initrd")
	witness := filepath.Join(t.TempDir(), "init")
	require.NoError(t, os.WriteFile(witness, []byte("witness"), 0o755))
	busybox := filepath.Join(t.TempDir(), "busybox")
	require.ErrorContains(t, writeInitrd(file, witness, busybox, dir), "lab up again")
	require.NoError(t, os.WriteFile(busybox, []byte("box"), 0o755))
	require.NoError(t, writeInitrd(file, witness, busybox, dir))
	archive, err := os.ReadFile(file)
	require.NoError(t, err)
	names, bodies := readArchive(t, archive)
	require.Equal(t, []string{"dev", "dev/console", "modules", "modules/00-m0.ko", "modules/01-m1.ko", "modules/02-m2.ko", "bin", "bin/busybox"}, names[:8])
	require.Equal(t, []string{"tmp", "init"}, names[len(names)-2:])
	require.Equal(t, "box", bodies["bin/busybox"])
	require.Equal(t, "busybox", bodies["bin/sh"])
	require.Equal(t, "module 9", bodies["modules/01-m1.ko"])
	require.Equal(t, "witness", bodies["init"])

	require.ErrorContains(t, writeInitrd(file, witness, busybox, t.TempDir()), "no kernel modules")
}

func TestNewestKernelIsTheOneCheckedLast(t *testing.T) {
	cache := t.TempDir()
	dir, _ := newestKernel(cache)
	require.Empty(t, dir)
	now := time.Now()
	for i, name := range []string{"b", "c", "a"} {
		kernel := filepath.Join(cache, kernelDir(name, "1"), kernelFile)
		require.NoError(t, os.Mkdir(filepath.Dir(kernel), 0o755))
		require.NoError(t, os.WriteFile(kernel, nil, 0o644))
		at := now.Add(time.Duration(i%2) * time.Hour)
		require.NoError(t, os.Chtimes(kernel, at, at))
	}
	// One with other modules is none, however new.
	other := filepath.Join(cache, "kernel-d_1-00000000", kernelFile)
	require.NoError(t, os.Mkdir(filepath.Dir(other), 0o755))
	require.NoError(t, os.WriteFile(other, nil, 0o644))
	dir, checked := newestKernel(cache)
	require.Equal(t, filepath.Join(cache, kernelDir("c", "1")), dir)
	require.WithinDuration(t, now.Add(time.Hour), checked, time.Second)
}

func TestSourceKeyFollowsTheSources(t *testing.T) {
	repo := t.TempDir()
	_, err := sourceKey(repo)
	require.ErrorContains(t, err, "complete checkout")
	for _, name := range []string{"go.mod", "test/lab/witness/main.go", "test/lab/internal/record/record.go", "test/lab/internal/task/task.go"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(repo, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(repo, name), []byte("a"), 0o644))
	}
	one, err := sourceKey(repo)
	require.NoError(t, err)
	same, err := sourceKey(repo)
	require.NoError(t, err)
	require.Equal(t, one, same)
	require.NoError(t, os.WriteFile(filepath.Join(repo, "go.mod"), []byte("b"), 0o644))
	other, err := sourceKey(repo)
	require.NoError(t, err)
	require.NotEqual(t, one, other)
}
