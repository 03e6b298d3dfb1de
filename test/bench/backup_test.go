//go:build bench

package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/libvirt"
	"holdfast/test/lab"
	"holdfast/test/rig"
)

const (
	// backupRounds is how often each is done.
	backupRounds = 6
	// backupSize is how much is on a disk, and backupChange how much of it changes
	// from one backup to the next, in MiB.
	backupSize, backupChange = 512, 16
)

// TestBackups measures full backups, those of what has changed, checks and restores
// of a real guest, beside virsh, qemu-img and sha256sum doing the same to another
// guest of the same host.
func TestBackups(t *testing.T) {
	binary, err := rig.Build(t.TempDir(), "holdfast/test/lab/cmd/lab", "")
	require.NoError(t, err)
	l, err := lab.Up(t.Context(), lab.Options{Name: fmt.Sprintf("backups-%d", os.Getpid()), Hosts: 1, VMs: 2, Binary: binary, Guard: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Down(context.Background())) })
	info := l.Info()
	host, err := libvirt.New(libvirt.Options{Name: "A", URI: info.Hosts[0].URI})
	require.NoError(t, err)
	t.Cleanup(func() { _ = host.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	ours, theirs := info.VMs[0].UUID, info.VMs[1].UUID
	for _, vm := range info.VMs {
		fillDisk(ctx, t, host, info, vm)
	}
	folder := filepath.Join(info.Dir, "backups")
	require.NoError(t, os.Mkdir(folder, 0o755))
	_, err = l.Virsh(ctx, "A", "pool-create-as", "backups", "dir", "--target", folder)
	require.NoError(t, err)
	hand := &byHand{Lab: l, dir: t.TempDir(), vm: info.VMs[1].Name, image: filepath.Join(info.Hosts[0].Images, info.VMs[1].Name+".qcow2")}

	times := map[string][]float64{}
	timed := func(name string, do func() error) {
		began := time.Now()
		require.NoError(t, do(), name)
		times[name] = append(times[name], time.Since(began).Seconds())
	}
	create := func(o hypervisor.BackupOptions) func() error {
		return func() error {
			o.Where = "backups"
			b, err := host.CreateBackup(ctx, ours, o)
			if err == nil && (b.Parent == "") != o.Full {
				err = fmt.Errorf("it builds upon %q: %s", b.Parent, b.Why)
			}
			return err
		}
	}
	for round := range backupRounds {
		// Who comes second finds more in the caches of the machine.
		both := func(name string, ours, byHand func() error) {
			if round%2 == 1 {
				timed("by hand "+name, byHand)
				timed(name, ours)
				return
			}
			timed(name, ours)
			timed("by hand "+name, byHand)
		}
		full, part := fmt.Sprintf("full-%d", round), fmt.Sprintf("part-%d", round)
		both("full", create(hypervisor.BackupOptions{Name: full, Full: true}), func() error { return hand.backup(ctx, full, "") })
		for _, vm := range []string{ours, theirs} {
			changeDisk(ctx, t, host, vm)
		}
		both("incremental", create(hypervisor.BackupOptions{Name: part}), func() error { return hand.backup(ctx, part, full) })
		both("check", func() error { return host.CheckBackup(ctx, "backups", ours, part) }, func() error { return hand.check(ctx, full, part) })

		for _, vm := range []string{ours, theirs} {
			require.NoError(t, host.Destroy(ctx, vm))
		}
		both("restore", func() error {
			return host.RestoreBackup(ctx, ours, hypervisor.RestoreOptions{Where: "backups", Name: part, Keep: "kept-" + part})
		}, func() error { return hand.restore(ctx, full, part) })
		for _, vm := range []string{ours, theirs} {
			require.NoError(t, host.Start(ctx, vm))
			waitGuest(ctx, t, host, vm)
		}
	}
	fmt.Printf("\nbackups of a disk with %d MiB, of which %d MiB change, %d rounds (medians)\n  %-12s %9s %9s %7s\n",
		backupSize, backupChange, backupRounds, "", "holdfast", "by hand", "ratio")
	for _, name := range []string{"full", "incremental", "check", "restore"} {
		ours, theirs := median(times[name]), median(times["by hand "+name])
		fmt.Printf("  %-12s %7.3f s %7.3f s %7.2f\n", name, ours, theirs, ours/theirs)
	}
}

// fillDisk gives a guest a disk with something on it, behind what it writes to.
func fillDisk(ctx context.Context, t *testing.T, host hypervisor.Host, info lab.Info, vm lab.VM) {
	t.Helper()
	require.NoError(t, host.Destroy(ctx, vm.UUID))
	image := filepath.Join(info.Hosts[0].Images, vm.Name+".qcow2")
	require.NoError(t, run(ctx, "qemu-img", "resize", image, "1G"))
	require.NoError(t, run(ctx, "qemu-io", "-c", fmt.Sprintf("write -q -P 7 64M %dM", backupSize), image))
	require.NoError(t, host.Start(ctx, vm.UUID))
	waitGuest(ctx, t, host, vm.UUID)
}

// changeDisk has a guest write to its disk.
func changeDisk(ctx context.Context, t *testing.T, host hypervisor.Host, vm string) {
	t.Helper()
	exit, err := host.GuestExec(ctx, vm, []string{
		"busybox", "dd", "if=/dev/zero", "of=/dev/vda", "bs=1M", fmt.Sprintf("count=%d", backupChange), "seek=100", "conv=notrunc,fsync",
	})
	require.NoError(t, err)
	require.Zero(t, exit.Code, "%s", exit.Stderr)
}

func waitGuest(ctx context.Context, t *testing.T, host hypervisor.Host, vm string) {
	t.Helper()
	require.Eventually(t, func() bool { _, err := host.GuestTime(ctx, vm); return err == nil }, time.Minute, 50*time.Millisecond)
}

func run(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

// byHand does with virsh and the tools beside it what a person would.
type byHand struct {
	*lab.Lab
	dir, vm string
	image   string // what the VM writes to
}

func (h *byHand) file(name string) string { return filepath.Join(h.dir, name+".qcow2") }

// backup copies the disk, and takes the sum of the copy. With a parent it copies
// what has changed, and gives up that one's checkpoint.
func (h *byHand) backup(ctx context.Context, name, parent string) error {
	incremental, options := "", []string{}
	if parent != "" {
		incremental, options = "<incremental>"+parent+"</incremental>", []string{"--reuse-external"}
		if err := run(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-b", h.file(parent), "-F", "qcow2", h.file(name)); err != nil {
			return err
		}
	}
	job, point := filepath.Join(h.dir, "job.xml"), filepath.Join(h.dir, "point.xml")
	text := fmt.Sprintf("<domainbackup mode='push'>%s<disks><disk name='vda' backup='yes' type='file'><driver type='qcow2'/><target file='%s'/></disk></disks></domainbackup>", incremental, h.file(name))
	if err := errors.Join(
		os.WriteFile(job, []byte(text), 0o600),
		os.WriteFile(point, []byte("<domaincheckpoint><name>"+name+"</name></domaincheckpoint>"), 0o600),
	); err != nil {
		return err
	}
	if _, err := h.Virsh(ctx, "A", append([]string{"backup-begin", h.vm, job, point}, options...)...); err != nil {
		return err
	}
	for {
		out, err := h.Virsh(ctx, "A", "domjobinfo", h.vm)
		if err != nil {
			return err
		}
		if strings.Contains(out, "None") {
			break
		}
	}
	if out, err := h.Virsh(ctx, "A", "domjobinfo", h.vm, "--completed"); err != nil || !strings.Contains(out, "Completed") {
		return fmt.Errorf("the job of backup %s: %w: %s", name, err, out)
	}
	sum, err := exec.CommandContext(ctx, "sha256sum", h.file(name)).Output()
	if err != nil {
		return err
	}
	if err := os.WriteFile(h.file(name)+".sum", sum, 0o600); err != nil || parent == "" {
		return err
	}
	_, err = h.Virsh(ctx, "A", "checkpoint-delete", h.vm, parent)
	return err
}

func (h *byHand) check(ctx context.Context, names ...string) error {
	args := []string{"--check", "--quiet"}
	for _, name := range names {
		args = append(args, h.file(name)+".sum")
	}
	return run(ctx, "sha256sum", args...)
}

// restore checks a backup, makes a new image of it beside the one that there is,
// and puts that into the definition.
func (h *byHand) restore(ctx context.Context, names ...string) error {
	if err := h.check(ctx, names...); err != nil {
		return err
	}
	last := names[len(names)-1]
	made := filepath.Join(filepath.Dir(h.image), h.vm+"."+last)
	if err := run(ctx, "qemu-img", "convert", "-O", "qcow2", h.file(last), made); err != nil {
		return err
	}
	definition, err := h.Virsh(ctx, "A", "dumpxml", h.vm, "--inactive", "--security-info")
	if err != nil {
		return err
	}
	changed := filepath.Join(h.dir, "domain.xml")
	text := strings.ReplaceAll(definition, "/"+filepath.Base(h.image)+"'", "/"+filepath.Base(made)+"'")
	if err := os.WriteFile(changed, []byte(text), 0o600); err != nil {
		return err
	}
	h.image = made
	_, err = h.Virsh(ctx, "A", "define", changed)
	return err
}
