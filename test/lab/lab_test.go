//go:build lab

package lab

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"holdfast/test/lab/internal/netns"
	"holdfast/test/lab/internal/procfs"
)

func TestLab(t *testing.T) {
	ctx := t.Context()
	oneOptions, twoOptions := options(t, "one"), options(t, "two")
	twoOptions.Hosts, twoOptions.VMs, twoOptions.Storage = 1, 1, StorageLocal
	// Whatever fails, nothing stays. On a lab that is down already it does nothing.
	t.Cleanup(func() {
		for _, o := range []Options{oneOptions, twoOptions} {
			_, err := Down(context.Background(), o.Dir, o.Name)
			require.NoError(t, err)
		}
	})
	var one, two *Lab
	var group errgroup.Group
	group.Go(func() (err error) { one, err = Up(ctx, oneOptions); return err })
	group.Go(func() (err error) { two, err = Up(ctx, twoOptions); return err })
	require.NoError(t, group.Wait())
	f, g := fixture{one, t, ctx}, fixture{two, t, ctx}

	for _, step := range []struct {
		name string
		run  func(fixture)
	}{
		{"is as described", isAsDescribed},
		{"kill and start", killAndStart},
		{"hang and unhang", hangAndUnhang},
		{"hang and unhang guest", hangAndUnhangGuest},
		{"panic", panics},
		{"migration", migration},
		{"cut and heal", cutAndHeal},
		{"libvirtd", libvirtd},
		{"lose and find", loseAndFind},
		{"power", power},
	} {
		t.Run(step.name, func(t *testing.T) {
			f.t = t
			step.run(f)
		})
	}
	f.t = t
	require.False(t, t.Failed())

	t.Run("two side by side", func(t *testing.T) {
		g.t = t
		require.NotEqual(t, f.info.Subnet, g.info.Subnet)
		require.Equal(t, 1, g.vm("VM1").Starts, "what was done to the one did nothing to the other")
		g.advances("VM1")
	})
	t.Run("down without a sampler", func(t *testing.T) {
		g.t = t
		inodes := g.inodes()
		pids, err := g.supervisors()
		require.NoError(t, err)
		require.Len(t, pids, 1)
		require.NoError(t, unix.Kill(pids[0], unix.SIGKILL))
		eventually(t, "the sampler is dead", func() bool { return !g.status().Sampler.Alive })
		require.NoError(t, g.Down(ctx))
		nothingLeft(t, g.info.Dir, inodes)
	})
	t.Run("down", func(t *testing.T) {
		f.t = t
		f.advances("VM2")
		require.True(t, f.status().Sampler.Alive, "the other's end is not this one's")
		inodes := f.inodes()
		require.NoError(t, f.Down(ctx))
		nothingLeft(t, f.info.Dir, inodes)
		require.NoError(t, f.Down(ctx), "again is no error")
		_, err := Open(oneOptions.Dir, "one")
		require.ErrorIs(t, err, ErrNotFound)
	})
}

func isAsDescribed(f fixture) {
	t := f.t
	info := f.Info()
	require.True(t, info.Up)
	var site struct {
		Site  string
		Hosts []struct{ Name, URI string }
	}
	raw, err := os.ReadFile(info.SiteFile)
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(raw, &site))
	require.Equal(t, "lab", site.Site)
	require.Len(t, site.Hosts, 2)
	for i, host := range info.Hosts {
		require.Equal(t, host.Name, site.Hosts[i].Name)
		require.Equal(t, host.URI, site.Hosts[i].URI)
		require.Equal(t, HostStatus{Name: host.Name, Power: "on", Link: "up", Libvirtd: DaemonAlive, URI: host.URI}, f.hostStatus(host.Name))
		require.Contains(t, f.virsh(host.Name, "pool-list"), "images")
		require.Equal(t, hostUUID(f.id, host.Name), f.capabilitiesUUID(host.Name))
	}
	for _, vm := range info.VMs {
		require.Equal(t, vm.Name, f.virsh(vm.Host, "list", "--name"), "the one VM of its host")
		status := f.vm(vm.Name)
		require.Equal(t, vm.UUID, status.UUID)
		require.Len(t, status.Copies, 1)
		require.Equal(t, vm.Host, status.Copies[0].Host)
		require.Equal(t, 1, status.Starts)
		require.Len(t, status.Boots, 1)
		f.advances(vm.Name)
	}
	require.True(t, f.status().Sampler.Alive)

	opened, err := Open(filepath.Dir(info.Dir), info.Name)
	require.NoError(t, err)
	require.Equal(t, info, opened.Info())
	_, err = Up(f.ctx, Options{Name: info.Name, Dir: filepath.Dir(info.Dir), Binary: command})
	require.ErrorContains(t, err, "lab down --name one")
}

// capabilitiesUUID is what a host calls its machine.
func (f fixture) capabilitiesUUID(host string) string {
	_, after, _ := strings.Cut(f.virsh(host, "capabilities"), "<uuid>")
	uuid, _, _ := strings.Cut(after, "</uuid>")
	return uuid
}

func killAndStart(f fixture) {
	before := f.vm("VM1")
	at := f.done(f.Kill(f.ctx, "VM1"))
	end := f.sample("end", "VM1", at)
	require.Equal(f.t, before.Copies[0].PID, end.PID)
	f.state("A", "VM1", "shut off (crashed)")
	require.Empty(f.t, f.vm("VM1").Copies)
	_, err := f.Kill(f.ctx, "VM1")
	require.ErrorContains(f.t, err, "no QEMU process runs VM1")

	f.virsh("A", "start", "VM1")
	require.True(f.t, f.sample("start", "VM1", at).At.After(end.At))
	boot := f.sample("boot", "VM1", at)
	require.NotContains(f.t, before.Boots, boot.BootID)
	f.advances("VM1")
	after := f.vm("VM1")
	require.Equal(f.t, append(before.Boots, boot.BootID), after.Boots)
	require.Greater(f.t, after.Acked, before.Acked)
	require.GreaterOrEqual(f.t, boot.N, before.Acked, "it goes on from what was on the disk")
	require.Equal(f.t, 2, after.Starts)
	require.Equal(f.t, "kill", f.sample("fault", "VM1", at).Fault)
}

func hangAndUnhang(f fixture) {
	f.done(f.Hang(f.ctx, "VM1"))
	eventually(f.t, "QEMU is stopped", func() bool { return f.vm("VM1").Copies[0].Stopped })
	require.Contains(f.t, f.virsh("A", "domstate", "VM1"), "running", "libvirt does not know")
	stopped := f.vm("VM1").Acked
	f.advances("VM2")
	require.Equal(f.t, stopped, f.vm("VM1").Acked)
	f.done(f.Unhang(f.ctx, "VM1"))
	f.advances("VM1")
	require.Equal(f.t, 2, f.vm("VM1").Starts)
}

func hangAndUnhangGuest(f fixture) {
	f.done(f.HangGuest(f.ctx, "VM1"))
	require.True(f.t, f.vm("VM1").Copies[0].Held)
	require.False(f.t, f.vm("VM1").Copies[0].Stopped)
	f.stands("A", "VM1") // by figures that QEMU gives
	require.Contains(f.t, f.virsh("A", "domstate", "VM1"), "running", "libvirt does not know")
	stopped := f.vm("VM1").Acked
	f.advances("VM2")
	require.Equal(f.t, stopped, f.vm("VM1").Acked)
	_, err := f.HangGuest(f.ctx, "VM1")
	require.ErrorContains(f.t, err, "lab unhang-guest VM1")
	f.done(f.UnhangGuest(f.ctx, "VM1"))
	f.advances("VM1")
	require.False(f.t, f.vm("VM1").Copies[0].Held)
	_, err = f.UnhangGuest(f.ctx, "VM1")
	require.ErrorContains(f.t, err, "not held")
	require.Equal(f.t, 2, f.vm("VM1").Starts)

	// The holder goes with its QEMU, and does not keep it from going.
	f.done(f.HangGuest(f.ctx, "VM1"))
	f.sample("end", "VM1", f.done(f.Kill(f.ctx, "VM1")))
	f.state("A", "VM1", "shut off (crashed)")
	eventually(f.t, "nobody holds VM1", func() bool {
		pids, err := f.holders("VM1")
		require.NoError(f.t, err)
		return len(pids) == 0
	})
	f.virsh("A", "start", "VM1")
	f.advances("VM1")
}

func panics(f fixture) {
	f.done(f.Panic(f.ctx, "VM1"))
	f.state("A", "VM1", "crashed (panicked)")
	require.Len(f.t, f.vm("VM1").Copies, 1, "QEMU is kept")
	f.virsh("A", "destroy", "VM1")
	eventually(f.t, "QEMU is gone", func() bool { return len(f.vm("VM1").Copies) == 0 })
}

func migration(f fixture) {
	b, err := f.host("B")
	require.NoError(f.t, err)
	a, err := f.host("A")
	require.NoError(f.t, err)
	boots := f.vm("VM2").Boots
	for _, way := range []struct {
		from string
		to   Host
	}{{"B", a}, {"A", b}} {
		began := time.Now()
		f.virsh(way.from, "migrate", "--live", "--p2p", "--unsafe", "--persistent", "--undefinesource", "VM2", way.to.URI)
		require.True(f.t, f.sample("start", "VM2", began.Add(-time.Second)).Incoming)
		require.True(f.t, f.sample("overlap-end", "VM2", began).Migration)
		f.advances("VM2")
		status := f.vm("VM2")
		require.Len(f.t, status.Copies, 1)
		require.Equal(f.t, way.to.Name, status.Copies[0].Host)
	}
	require.Equal(f.t, boots, f.vm("VM2").Boots, "the guest did not notice")
}

func cutAndHeal(f fixture) {
	f.done(f.Cut(f.ctx, "B"))
	require.Equal(f.t, "cut", f.hostStatus("B").Link)
	require.False(f.t, f.reachable("B"))
	require.True(f.t, f.reachable("A"))
	f.advances("VM2") // its guest runs on
	f.done(f.Heal(f.ctx, "B"))
	require.Equal(f.t, "up", f.hostStatus("B").Link)
	eventually(f.t, "host B is reachable", func() bool { return f.reachable("B") })
}

func libvirtd(f fixture) {
	pid := f.vm("VM2").Copies[0].PID
	f.done(f.KillLibvirtd(f.ctx, "B"))
	eventually(f.t, "libvirtd is dead", func() bool { return f.hostStatus("B").Libvirtd == DaemonDead })
	require.Equal(f.t, "on", f.hostStatus("B").Power)
	require.False(f.t, f.reachable("B"))
	f.advances("VM2")
	f.done(f.StartLibvirtd(f.ctx, "B"))
	require.Equal(f.t, "VM2", f.virsh("B", "list", "--name"))

	f.done(f.HangLibvirtd(f.ctx, "B"))
	eventually(f.t, "libvirtd is stopped", func() bool { return f.hostStatus("B").Libvirtd == DaemonStopped })
	require.True(f.t, f.reachable("B"), "the kernel takes connections, nobody answers them")
	f.advances("VM2")
	f.done(f.StartLibvirtd(f.ctx, "B"))
	require.Equal(f.t, DaemonAlive, f.hostStatus("B").Libvirtd)
	require.Equal(f.t, "VM2", f.virsh("B", "list", "--name"))
	require.Equal(f.t, pid, f.vm("VM2").Copies[0].PID)
}

func loseAndFind(f fixture) {
	f.virsh("A", "start", "VM1")
	f.advances("VM1")
	f.virsh("A", "autostart", "VM1")
	f.virsh("B", "migrate", "--live", "--p2p", "--unsafe", "--persistent", "--undefinesource", "VM2", f.info.Hosts[0].URI)
	neighbour := f.vm("VM2").Copies[0]
	require.Equal(f.t, "A", neighbour.Host)

	at := f.done(f.Lose(f.ctx, "VM1"))
	f.sample("end", "VM1", at)
	require.Equal(f.t, "VM2", f.virsh("A", "list", "--all", "--name"))
	require.Equal(f.t, DaemonAlive, f.hostStatus("A").Libvirtd)
	require.Equal(f.t, neighbour, f.vm("VM2").Copies[0], "other guests run on")
	f.advances("VM2")
	f.done(f.StartLibvirtd(f.ctx, "A"))
	require.Equal(f.t, "VM2", f.virsh("A", "list", "--all", "--name"), "it does not come back")

	require.NoError(f.t, f.Find(f.ctx, "VM1"))
	f.advances("VM1")
	// And one that does not run.
	f.virsh("A", "destroy", "VM1")
	f.done(f.Lose(f.ctx, "VM1"))
	require.Equal(f.t, "VM2", f.virsh("A", "list", "--all", "--name"))
	require.NoError(f.t, f.Find(f.ctx, "VM1"))
	f.advances("VM1")
	f.virsh("A", "migrate", "--live", "--p2p", "--unsafe", "--persistent", "--undefinesource", "VM2", f.info.Hosts[1].URI)
}

func power(f fixture) {
	before := f.vm("VM2")
	host, err := f.host("B")
	require.NoError(f.t, err)
	inode, err := netns.Inode(host.NetNS)
	require.NoError(f.t, err)

	at := f.done(f.PowerOff(f.ctx, "B"))
	require.Equal(f.t, "off", f.hostStatus("B").Power)
	require.False(f.t, f.reachable("B"))
	require.Empty(f.t, f.vm("VM2").Copies)
	require.Equal(f.t, "B", f.sample("end", "VM2", at).Host)
	left, err := procfs.Default.In(inode)
	require.NoError(f.t, err)
	require.Empty(f.t, left)
	for _, fault := range []FaultKind{FaultPowerOff, FaultKillLibvirtd, FaultStartLibvirtd} {
		_, err := f.Inject(f.ctx, fault, "B", "")
		require.ErrorContains(f.t, err, "lab power-on B")
	}

	f.done(f.PowerOn(f.ctx, "B"))
	require.Equal(f.t, HostStatus{Name: "B", Power: "on", Link: "up", Libvirtd: DaemonAlive, URI: host.URI}, f.hostStatus("B"))
	require.Empty(f.t, f.virsh("B", "list", "--name"), "guests are not started")
	require.Equal(f.t, "VM2", f.virsh("B", "list", "--all", "--name"), "definitions are kept")
	require.Contains(f.t, f.virsh("B", "pool-list"), "images")
	f.virsh("B", "start", "VM2")
	f.sample("boot", "VM2", at)
	f.advances("VM2")
	require.Greater(f.t, f.vm("VM2").Acked, before.Acked)
}
