//go:build cgo && lab

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/hosttest"
	"holdfast/test/lab"
)

// The suite against real hosts. Build the lab command first:
//
//	go build -o bin/lab ./test/lab/cmd/lab
//	go test -race -tags 'libvirt_dlopen lab' ./internal/hypervisor/libvirt

const patience = 60 * time.Second // guests are emulated, and the machine has others to serve

func TestConformance(t *testing.T) {
	l := labUp(t, lab.Options{Hosts: 2, VMs: 4, SmallPool: true})
	b := &bench{Lab: l, host: "A", vm: "VM1"}
	hosttest.Run(t, b.fixture)
}

// fixture is the host, as whole as a fixture has to be.
func (b *bench) fixture(t *testing.T) hosttest.Fixture {
	l := b.Lab
	b.repair(t)
	virsh := func(args ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := l.Virsh(ctx, "A", args...)
			return err
		}
	}
	on := func(name string, do func(context.Context, string) (time.Time, error)) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := do(ctx, name)
			return err
		}
	}
	inject := func(kind lab.FaultKind, target string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := l.Inject(ctx, kind, target, "")
			return err
		}
	}
	h := b.connect(t, "A")
	t.Cleanup(func() {
		if t.Failed() {
			return // why is in the log above; what hangs now hangs for that reason
		}
		b.repair(t)
		waitClosed(t)
	})
	return hosttest.Fixture{
		Host: h, Other: b.connect(t, "B"), HostName: "A",
		VM: b.describe(t, "VM1"), Neighbour: b.describe(t, "VM3"),
		Kill:  on("VM1", l.Kill),
		Panic: b.panicVM,
		Pause: virsh("suspend", "VM1"), Destroy: virsh("destroy", "VM1"),
		Inside: hosttest.Inside{
			Commands: true, Screen: true,
			DumpTo: t.TempDir(),
			DumpSize: func(_ context.Context, path string) (uint64, error) {
				info, err := os.Stat(path) // a host of the lab has the machine's own files, but for libvirt's
				if err != nil {
					return 0, err
				}
				return uint64(info.Size()), nil
			},
		},
		Disk:         b.disk(t),
		SharedFolder: "/var/lib/libvirt/images", OwnFolder: b.ownFolder(t), Network: b.network(t),
		Pool: "images", BackupPool: b.backupPool(t), BackupFolder: t.TempDir(), DamageBackup: b.damage(t),
		HangGuest: inject(lab.FaultHangGuest, "VM1"), UnhangGuest: inject(lab.FaultUnhangGuest, "VM1"),
		FailDisk: b.fillDisk, MendDisk: inject(lab.FaultEmptyPool, "A"),
		LosePool: inject(lab.FaultLosePool, "A"), RestorePool: inject(lab.FaultRestorePool, "A"),
		Hang: on("VM1", l.Hang), Unhang: on("VM1", l.Unhang),
		HangLibvirtd: on("A", l.HangLibvirtd), ResumeLibvirtd: on("A", l.StartLibvirtd),
		KillLibvirtd: on("A", l.KillLibvirtd), StartLibvirtd: on("A", l.StartLibvirtd),
		Cut: on("A", l.Cut), Heal: on("A", l.Heal),
		Patience: patience,
	}
}

func labUp(t *testing.T, o lab.Options) *lab.Lab {
	t.Helper()
	return labUpAs(t, "hypervisor-conformance", o)
}

// labUpAs is labUp beside tests of another package, or another run, that have a lab
// of another name.
func labUpAs(t *testing.T, name string, o lab.Options) *lab.Lab {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	// What a run that crashed has left goes first.
	if _, err := lab.Down(ctx, "", name); err != nil && !errors.Is(err, lab.ErrNotFound) {
		require.NoError(t, err)
	}
	o.Name, o.NoWaitGuests, o.Guard = name, true, true
	l, err := lab.Up(ctx, o)
	require.NoError(t, err, "this test needs root, QEMU and libvirt, and bin/lab: go build -o bin/lab ./test/lab/cmd/lab")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		require.NoError(t, l.Down(ctx))
	})
	return l
}

type bench struct {
	*lab.Lab
	host, vm string
}

func (b *bench) connect(t *testing.T, host string) *Host {
	t.Helper()
	uri, err := b.URI(host)
	require.NoError(t, err)
	return newHost(t, Options{Name: host, URI: uri, Keepalive: Keepalive{Interval: time.Second, Count: 3}})
}

// repair brings host and VM back to what a fixture promises.
func (b *bench) repair(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := b.Heal(ctx, b.host)
	require.NoError(t, err)
	_, err = b.StartLibvirtd(ctx, b.host)
	require.NoError(t, err)
	status, err := b.Status(ctx)
	require.NoError(t, err)
	for _, vm := range status.VMs {
		for _, c := range vm.Copies {
			if c.Stopped {
				_, err := b.Unhang(ctx, vm.Name)
				require.NoError(t, err)
			}
			if c.Held {
				_, err := b.Inject(ctx, lab.FaultUnhangGuest, vm.Name, "")
				require.NoError(t, err)
			}
		}
	}
	out, err := b.Virsh(ctx, b.host, "pool-info", "images")
	require.NoError(t, err)
	if !strings.Contains(out, "running") {
		_, err = b.Inject(ctx, lab.FaultRestorePool, b.host, "")
		require.NoError(t, err)
	}
	_, err = b.Inject(ctx, lab.FaultEmptyPool, b.host, "")
	require.NoError(t, err)
	b.forgetSnapshots(ctx, t)
	out, err = b.Virsh(ctx, b.host, "domstate", b.vm)
	require.NoError(t, err)
	switch state := strings.TrimSpace(out); state {
	case "running":
		return
	case "paused":
		_, err = b.Virsh(ctx, b.host, "resume", b.vm)
	case "shut off":
		_, err = b.Virsh(ctx, b.host, "start", b.vm)
	default:
		_, err = b.Virsh(ctx, b.host, "destroy", b.vm)
		require.NoError(t, err)
		_, err = b.Virsh(ctx, b.host, "start", b.vm)
	}
	require.NoError(t, err)
}

// backupPool is an empty storage pool apart from the images.
func (b *bench) backupPool(t *testing.T) string {
	t.Helper()
	const name = "backups"
	dir := filepath.Join(b.Info().Dir, name)
	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, os.Mkdir(dir, 0o755))
	_, _ = b.Virsh(t.Context(), b.host, "pool-destroy", name) // of the fixture before; it is gone with that
	b.virsh(t, "pool-create-as", name, "dir", "--target", dir)
	return name
}

// ownFolder is one that each host has for itself, under the same path.
func (b *bench) ownFolder(t *testing.T) string {
	t.Helper()
	for _, h := range b.Info().Hosts {
		require.NoError(t, os.MkdirAll(filepath.Join(b.Info().Dir, "hosts", h.Name, "var-lib-libvirt", "own"), 0o755))
	}
	return "/var/lib/libvirt/own"
}

// network is a virtual network of the host that leads nowhere.
func (b *bench) network(t *testing.T) string {
	t.Helper()
	const name = "lab-internal"
	if !slices.Contains(strings.Fields(b.virsh(t, "net-list", "--name")), name) {
		file := filepath.Join(t.TempDir(), "network.xml")
		require.NoError(t, os.WriteFile(file, []byte("<network><name>"+name+"</name></network>"), 0o600))
		b.virsh(t, "net-create", file)
	}
	return name
}

// damage flips a byte in the middle of a file of the host.
func (b *bench) damage(t *testing.T) func(context.Context, string) error {
	return func(_ context.Context, name string) error {
		if filepath.Dir(name) != filepath.Join(b.Info().Dir, "backups") {
			name = filepath.Join(b.images(t), filepath.Base(name))
		}
		file, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer file.Close()
		info, err := file.Stat()
		if err != nil {
			return err
		}
		one := make([]byte, 1)
		if _, err := file.ReadAt(one, info.Size()/2); err != nil {
			return err
		}
		one[0] ^= 0xff
		_, err = file.WriteAt(one, info.Size()/2)
		return err
	}
}

// describe asks virsh, not the driver under test.
func (b *bench) describe(t *testing.T, vm string) hosttest.VM {
	t.Helper()
	out, err := b.Virsh(t.Context(), b.host, "dominfo", vm)
	require.NoError(t, err)
	info := map[string]string{}
	for line := range strings.Lines(out) {
		if key, value, ok := strings.Cut(line, ":"); ok {
			info[key] = strings.TrimSpace(value)
		}
	}
	kib, err := strconv.ParseUint(strings.TrimSuffix(info["Max memory"], " KiB"), 10, 64)
	require.NoError(t, err)
	cpus, err := strconv.Atoi(info["CPU(s)"])
	require.NoError(t, err)
	return hosttest.VM{UUID: info["UUID"], Name: vm, Memory: kib << 10, VCPUs: cpus}
}

func (b *bench) panicVM(ctx context.Context) error {
	if err := b.waitWrites(ctx); err != nil {
		return err
	}
	_, err := b.Panic(ctx, b.vm)
	return err
}

// fillDisk makes the guest write where no room is left.
func (b *bench) fillDisk(ctx context.Context) error {
	if err := b.waitWrites(ctx); err != nil {
		return err
	}
	if _, err := b.Do(ctx, b.vm, lab.TaskWrite, lab.TaskOptions{}); err != nil {
		return err
	}
	_, err := b.Inject(ctx, lab.FaultFillPool, b.host, "")
	return err
}

// waitWrites waits for the guest to write: one that is still booting does
// nothing yet, and does not know how to panic.
func (b *bench) waitWrites(ctx context.Context) error {
	acked := func() (uint64, error) {
		status, err := b.Status(ctx)
		if err != nil {
			return 0, err
		}
		for _, vm := range status.VMs {
			if vm.Name == b.vm {
				return vm.Acked, nil
			}
		}
		return 0, fmt.Errorf("the lab lost %s", b.vm)
	}
	before, err := acked()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if now, err := acked(); err != nil || now > before {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("guest %s wrote nothing: %w", b.vm, ctx.Err())
		}
	}
}

var _ hypervisor.Host = (*Host)(nil)
