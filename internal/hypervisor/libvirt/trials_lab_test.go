//go:build cgo && lab

package libvirt

import (
	"bufio"
	"bytes"
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
	"holdfast/internal/hypervisor/hosttest"
	"holdfast/test/lab"
)

// Guests that depend on what their disks hold, unlike those of TestConformance.
func TestConformanceOfTrials(t *testing.T) {
	l := labUpAs(t, "hypervisor-trials", lab.Options{Hosts: 2, VMs: 4, SmallPool: true, BootDisk: true})
	b := &bench{Lab: l, host: "A", vm: "VM1"}
	hosttest.RunTrials(t, func(t *testing.T) hosttest.Fixture {
		b.forgetTrials(t)
		f := b.fixture(t)
		f.OnTrial = hosttest.OnTrial{
			Left: b.trials,
			CorruptDisk: func(ctx context.Context) error {
				_, err := l.Inject(ctx, lab.FaultCorruptDisk, b.vm, b.host)
				return err
			},
			DownState: hypervisor.StateCrashed,
			Again:     b.connect(t, b.host),
		}
		return f
	})
}

// trials are the domains on trial and their files, by virsh and by the file system.
func (b *bench) trials(ctx context.Context) (domains, files []string, err error) {
	out, err := b.Virsh(ctx, b.host, "list", "--all", "--name")
	if err != nil {
		return nil, nil, err
	}
	for _, name := range strings.Fields(out) {
		if onTrial(name) {
			domains = append(domains, name)
		}
	}
	for _, h := range b.Info().Hosts {
		if h.Name == b.host {
			files, err = filepath.Glob(filepath.Join(h.Images, trialPrefix+"*"))
		}
	}
	return domains, files, err
}

// forgetTrials removes what a test that failed has left.
func (b *bench) forgetTrials(t *testing.T) {
	t.Helper()
	domains, files, err := b.trials(t.Context())
	require.NoError(t, err)
	for _, name := range domains {
		b.virsh(t, "destroy", name)
	}
	for _, file := range files {
		require.NoError(t, os.Remove(file))
	}
	b.virsh(t, "pool-refresh", "images")
}

// What trials of real files and real makers can run into.
func TestTrialFaults(t *testing.T) {
	l := labUpAs(t, "hypervisor-trial-faults", lab.Options{Hosts: 1, VMs: 1, BootDisk: true})
	for _, c := range []struct {
		name string
		test func(*testing.T, *trialBench)
	}{
		{"Killed", testTrialOfKilledMaker},
		{"Devices", testTrialOfDevices},
		{"RawDisk", testTrialOfRawDisk},
		{"Damaged", testTrialOfDamaged},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := &trialBench{bench: &bench{Lab: l, host: "A", vm: "VM1"}}
			b.repair(t)
			b.h = b.connect(t, "A")
			b.uuid = b.describe(t, "VM1").UUID
			c.test(t, b)
			domains, files, err := b.trials(t.Context())
			require.NoError(t, err)
			require.Empty(t, domains)
			require.Empty(t, files)
			require.NoError(t, b.h.Close())
			waitClosed(t)
		})
	}
}

type trialBench struct {
	*bench
	h    *Host
	uuid string
}

// boots tries a snapshot, waits for its agent, and ends it.
func (b *trialBench) boots(t *testing.T, name string) {
	t.Helper()
	made, err := b.h.Try(t.Context(), b.uuid, hypervisor.TrialOf{Snapshot: name})
	require.NoError(t, err)
	t.Log(b.virsh(t, "domblklist", made.Name))
	require.Eventually(t, func() bool {
		_, err := b.h.GuestTime(t.Context(), made.UUID)
		return err == nil
	}, patience, 100*time.Millisecond, "its agent never answered")
	require.NoError(t, b.h.EndTrial(t.Context(), made))
}

func (b *trialBench) snapshot(t *testing.T, name string) {
	t.Helper()
	_, err := b.h.CreateSnapshot(t.Context(), b.uuid, hypervisor.SnapshotOptions{Name: name, External: true})
	require.NoError(t, err)
}

const (
	makerURI  = "HOLDFAST_TEST_TRIAL_URI"
	makerUUID = "HOLDFAST_TEST_TRIAL_UUID"
)

// TestTrialMaker is the process that testTrialOfKilledMaker kills.
func TestTrialMaker(t *testing.T) {
	uri := os.Getenv(makerURI)
	if uri == "" {
		return // it is a part of another test
	}
	h := newHost(t, Options{Name: "A", URI: uri})
	made, err := h.Try(t.Context(), os.Getenv(makerUUID), hypervisor.TrialOf{Snapshot: "good"})
	require.NoError(t, err)
	fmt.Println("made", made.UUID)
	<-t.Context().Done()
}

func testTrialOfKilledMaker(t *testing.T, b *trialBench) {
	b.snapshot(t, "good")
	uri, err := b.URI("A")
	require.NoError(t, err)
	maker := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestTrialMaker$", "-test.v")
	maker.Env = append(os.Environ(), makerURI+"="+uri, makerUUID+"="+b.uuid)
	out, err := maker.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, maker.Start())
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "made ") {
	}
	uuid := strings.TrimPrefix(lines.Text(), "made ")
	d, err := b.h.Domain(t.Context(), uuid)
	require.NoError(t, err)
	require.Equal(t, hypervisor.StateRunning, d.State)
	require.NoError(t, maker.Process.Kill())
	require.Error(t, maker.Wait())
	require.Eventually(t, func() bool {
		_, err := b.h.Domain(t.Context(), uuid)
		return errors.Is(err, hypervisor.ErrNotFound)
	}, patience, 50*time.Millisecond, "the trial outlived its maker")
	_, files, err := b.trials(t.Context())
	require.NoError(t, err)
	require.Len(t, files, 1)
	b.boots(t, "good") // and removes that file
}

// define changes the definition of the VM, which is not active.
func (b *trialBench) define(t *testing.T, old, changed string) {
	t.Helper()
	text := b.virsh(t, "dumpxml", b.vm, "--inactive", "--security-info")
	require.Contains(t, text, old)
	file := filepath.Join(t.TempDir(), "changed.xml")
	require.NoError(t, os.WriteFile(file, []byte(strings.Replace(text, old, changed, 1)), 0o600))
	b.virsh(t, "define", file)
}

// The trial has none of what two domains cannot have, and starts beside the real one.
func testTrialOfDevices(t *testing.T, b *trialBench) {
	b.virsh(t, "destroy", b.vm)
	require.NoError(t, os.WriteFile(filepath.Join(b.images(t), "seed.iso"), make([]byte, 1<<20), 0o644))
	t.Cleanup(func() { _ = os.Remove(filepath.Join(b.images(t), "seed.iso")) })
	b.define(t, "</devices>", `
		<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='/var/lib/libvirt/images/seed.iso'/><target dev='hda' bus='ide'/><readonly/></disk>
		<disk type='file' device='cdrom'><target dev='hdb' bus='ide'/><readonly/></disk>
		<disk type='file' device='floppy'><driver name='qemu' type='raw'/><source file='/var/lib/libvirt/images/seed.iso'/><target dev='fda' bus='fdc'/><readonly/></disk>
		<graphics type='vnc' port='5999' autoport='no' passwd='secret'/>
		<parallel type='file'><source path='/var/log/libvirt/console/parallel.log'/><target port='0'/></parallel>
		<channel type='unix'><source mode='bind' path='/run/other.sock'/><target type='virtio' name='org.example.other'/></channel>
		<sound model='ich6'/>
		<input type='tablet' bus='virtio'/>
		<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
		</devices>`)
	b.define(t, "<vcpu placement='static'>", "<vcpu placement='static' cpuset='0'>")
	b.virsh(t, "start", b.vm)
	b.snapshot(t, "good")
	b.boots(t, "good")
	b.virsh(t, "destroy", b.vm)
	require.NoError(t, os.Remove(filepath.Join(b.images(t), "seed.iso")))
	b.boots(t, "good") // without its media
}

// A raw image is taken for what it is, and not for what it looks like.
func testTrialOfRawDisk(t *testing.T, b *trialBench) {
	b.virsh(t, "destroy", b.vm)
	images := b.images(t)
	raw := filepath.Join(images, b.vm+".raw")
	out, err := exec.CommandContext(t.Context(), "qemu-img", "convert", "-O", "raw", filepath.Join(images, b.vm+".qcow2"), raw).CombinedOutput()
	require.NoError(t, err, string(out))
	b.virsh(t, "pool-refresh", "images")
	b.define(t, "type='qcow2'", "type='raw'")
	b.define(t, b.vm+".qcow2", b.vm+".raw")
	b.virsh(t, "start", b.vm)
	b.snapshot(t, "good")
	before, err := os.ReadFile(raw)
	require.NoError(t, err)
	b.boots(t, "good")
	after, err := os.ReadFile(raw)
	require.NoError(t, err)
	require.True(t, bytes.Equal(before, after), "the trial wrote to a file that is not its own")
}

func testTrialOfDamaged(t *testing.T, b *trialBench) {
	b.snapshot(t, "good")
	b.virsh(t, "destroy", b.vm)
	image := filepath.Join(b.images(t), b.vm+".qcow2")
	whole, err := os.ReadFile(image)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.WriteFile(image, whole, 0o644)) })
	for _, damage := range []func() error{
		func() error { return os.WriteFile(image, make([]byte, 1<<20), 0o644) },
		func() error { return os.Truncate(image, 100) },
		func() error { return os.Remove(image) },
	} {
		require.NoError(t, damage())
		_, err = b.h.Try(t.Context(), b.uuid, hypervisor.TrialOf{Snapshot: "good"})
		require.ErrorIs(t, err, hypervisor.ErrDamaged)
		t.Log(err)
	}
}
