package simulated

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// injection is one action that a person may do to a simulated site.
type injection struct {
	action string
	do     func(c *Cluster, target string, count int) error
	done   string // what is then so; %s is the target
	count  func(int) string
	on     func(c *Cluster, target, host string, count int) error // the same for one host; nil: it is not to be had
}

// injections are the actions of contract.SimFaultInput, each beside the one
// that undoes it, if there is one.
var injections = []injection{
	{action: "kill", do: onTarget((*Cluster).KillVM), done: "killed the QEMU process of %s"},
	{action: "panic", do: onTarget((*Cluster).PanicVM), done: "%s: the guest's kernel panicked, and QEMU waits"},
	{action: "shutdown", do: onTarget((*Cluster).ShutdownVM), done: "shut %s down in order, as a person would: Holdfast leaves it stopped"},
	{action: "destroy", do: onTarget((*Cluster).DestroyVM), done: "pulled the plug of %s, as a person would: Holdfast leaves it stopped"},
	{action: "lose", do: onTarget((*Cluster).LoseVM), done: "%s is gone, and its host knows nothing of it any more"},
	{action: "find", do: onTarget((*Cluster).FindVM), done: "%s is defined, shut off, on the host that had lost it"},
	{action: "fail-starts", do: (*Cluster).FailStarts, done: "%s: %s", count: thatFail("start"), on: (*Cluster).FailStartsOn},
	{action: "fail-snapshots", do: (*Cluster).FailSnapshots, done: "%s: %s", count: thatFail("snapshot")},
	{action: "fail-reverts", do: (*Cluster).FailReverts, done: "%s: %s", count: thatFail("revert to a snapshot", "reverts to a snapshot")},
	{action: "fail-backups", do: (*Cluster).FailBackups, done: "%s: %s", count: thatFail("backup")},
	{action: "fail-restores", do: (*Cluster).FailRestores, done: "%s: %s", count: thatFail("restore from a backup", "restores from a backup")},

	{action: "hang", do: onTarget((*Cluster).HangVM), done: "the QEMU of %s hangs"},
	{action: "unhang", do: onTarget((*Cluster).UnhangVM), done: "the QEMU of %s goes on"},
	{action: "hang-guest", do: onTarget((*Cluster).HangGuest), done: "the guest of %s hangs, and its QEMU is well"},
	{action: "unhang-guest", do: onTarget((*Cluster).UnhangGuest), done: "the guest of %s goes on"},
	{action: "corrupt-disk", do: onTarget((*Cluster).CorruptDisk), done: "the guest of %s will not get up the next time that it boots"},
	{action: "damage-backups", do: onTarget((*Cluster).DamageBackups), done: "the backups that %s has now are damaged"},
	{action: "mute-agent", do: onTarget((*Cluster).MuteAgent), done: "the guest agent of %s gives no answer"},
	{action: "unmute-agent", do: onTarget((*Cluster).UnmuteAgent), done: "the guest agent of %s answers"},
	{action: "stop-agent", do: onTarget((*Cluster).StopAgent), done: "the guest agent of %s was stopped"},
	{action: "start-agent", do: onTarget((*Cluster).StartAgent), done: "the guest agent of %s runs"},
	{action: "skew-clock", do: seconds((*Cluster).SkewGuestClock), done: "the clock of %s is %s", count: secondsAhead},
	{action: "pause", do: onTarget((*Cluster).SuspendVM), done: "paused %s, as a person would: Holdfast leaves it paused"},
	{action: "resume", do: onTarget((*Cluster).ResumeVM), done: "%s goes on"},
	{action: "io-error", do: failDisk(false), done: "%s: its disk fails, and QEMU has paused it"},
	{action: "no-space", do: failDisk(true), done: "%s: there is no room for what it wrote, and QEMU has paused it"},
	{action: "mend-disk", do: onTarget((*Cluster).MendDisk), done: "%s: its disk works; if it was paused, it still is"},
	{action: "memory-failure", do: failMemory, done: "%s: its guest was told of memory that failed"},
	{action: "watchdog", do: onTarget((*Cluster).WatchdogVM), done: "%s: its watchdog fired"},

	{action: "load", do: load(func(l *Load, n int) { l.CPU = float64(n) }), done: "%s: its guest uses %s of its CPUs", count: percent},
	{action: "steal", do: load(func(l *Load, n int) { l.Steal = float64(n) }), done: "%s: its host withholds %s of its CPUs", count: percent},
	{action: "fill-memory", do: load(func(l *Load, n int) { l.MemoryUsed = float64(n) }), done: "%s: its guest uses %s of its memory", count: percent},
	{action: "slow-disk", do: load(slowDisk), done: "%s: each access to its disk takes %s", count: milliseconds},
	{action: "drop-packets", do: load(func(l *Load, n int) { l.NetDrops = float64(n) }), done: "%s: its network drops %s", count: perSecond},
	{action: "calm", do: load(func(l *Load, _ int) { *l = CalmLoad() }), done: "%s: its guest does little"},

	{action: "power-off", do: onTarget((*Cluster).PowerOffHost), done: "host %s has no power, and its VMs are gone"},
	{action: "power-on", do: onTarget((*Cluster).PowerOnHost), done: "host %s has power and has booted; none of its VMs runs yet"},
	{action: "cut", do: onTarget((*Cluster).CutHost), done: "host %s is off the network; its VMs run on"},
	{action: "heal", do: onTarget((*Cluster).HealHost), done: "host %s is on the network"},
	{action: "hang-libvirtd", do: onTarget((*Cluster).HangLibvirtd), done: "libvirtd on %s hangs; its VMs run on"},
	{action: "kill-libvirtd", do: onTarget((*Cluster).KillLibvirtd), done: "libvirtd on %s is dead; its VMs run on"},
	{action: "start-libvirtd", do: onTarget((*Cluster).bringLibvirtdBack), done: "libvirtd on %s runs"},
	{action: "lose-pool", do: onTarget((*Cluster).LosePool), done: "the storage under the pool of host %s is gone"},
	{action: "restore-pool", do: onTarget((*Cluster).RestorePool), done: "the pool of host %s is back"},
	{action: "fill-pool", do: fillPool, done: "the pool of host %s is in use by %s", count: percent},
	{action: "load-host", do: loadHost, done: "host %s uses %s of its CPUs", count: percent},
	{action: "fill-host-memory", do: fillHost, done: "host %s uses %s of its memory", count: percent},
	{action: "calm-host", do: calmHost, done: "host %s does little, and its pool is nearly empty"},
}

func onTarget(do func(*Cluster, string) error) func(*Cluster, string, int) error {
	return func(c *Cluster, target string, _ int) error { return do(c, target) }
}

func seconds(do func(*Cluster, string, time.Duration) error) func(*Cluster, string, int) error {
	return func(c *Cluster, vm string, n int) error { return do(c, vm, time.Duration(n)*time.Second) }
}

func failDisk(noSpace bool) func(*Cluster, string, int) error {
	return func(c *Cluster, vm string, _ int) error { return c.FailDisk(vm, noSpace) }
}

func failMemory(c *Cluster, vm string, _ int) error { return c.MemoryFailure(vm, "guest (inject)") }

func load(change func(l *Load, n int)) func(*Cluster, string, int) error {
	return func(c *Cluster, vm string, n int) error {
		return c.changeLoad(vm, func(l Load) Load {
			change(&l, n)
			return l
		})
	}
}

func slowDisk(l *Load, ms int) { l.DiskLatency = time.Duration(ms) * time.Millisecond }

func fillPool(c *Cluster, host string, n int) error { return c.FillPool(host, float64(n)) }

func loadHost(c *Cluster, host string, n int) error {
	return c.changeNode(host, func(was Node) Node { was.CPU = float64(n); return was })
}

func fillHost(c *Cluster, host string, n int) error {
	return c.changeNode(host, func(was Node) Node { was.MemoryUsed = float64(n); return was })
}

func calmHost(c *Cluster, host string, _ int) error {
	if err := c.SetNode(host, CalmNode()); err != nil {
		return err
	}
	return c.FillPool(host, calmPoolUsed)
}

// Actions lists what Inject can do.
func Actions() []string {
	names := make([]string, len(injections))
	for i, in := range injections {
		names[i] = in.action
	}
	return names
}

// Inject breaks or mends something and says what it did. The target is a VM, by
// name or UUID, or the name of a host. The count is how many of the VM's next
// starts fail (fail-starts; negative: all), or snapshots, reverts, backups and
// restores (fail-snapshots and so on), how many seconds its clock is ahead
// (skew-clock), how many milliseconds its disk takes (slow-disk), how many
// packets a second are dropped (drop-packets), the percentage of load, steal,
// fill-memory, load-host, fill-host-memory and fill-pool, and nothing to the
// others. Mending what is whole is no error.
func (c *Cluster) Inject(action, target string, count int) (string, error) {
	return c.InjectOn(action, target, "", count)
}

// InjectOn is Inject for what happens to a VM on one host (fail-starts alone), unless
// host is empty.
func (c *Cluster) InjectOn(action, target, host string, count int) (string, error) {
	i := slices.IndexFunc(injections, func(in injection) bool { return in.action == action })
	if i < 0 {
		return "", fmt.Errorf("a simulated site has no action %q; known: %s", action, strings.Join(Actions(), ", "))
	}
	in := injections[i]
	do := in.do
	if host != "" {
		if in.on == nil {
			return "", fmt.Errorf("%s is not about a host: leave %s out", action, host)
		}
		do = func(c *Cluster, target string, count int) error { return in.on(c, target, host, count) }
	}
	if err := do(c, target, count); err != nil {
		return "", err
	}
	if host != "" {
		target += " on host " + host
	}
	if in.count != nil {
		return fmt.Sprintf(in.done, target, in.count(count)), nil
	}
	return fmt.Sprintf(in.done, target), nil
}

// thatFail says how many of something fail; its plural has an s unless there is
// another.
func thatFail(one string, plural ...string) func(int) string {
	many := one + "s"
	if len(plural) > 0 {
		many = plural[0]
	}
	return func(n int) string {
		switch {
		case n < 0:
			return "every " + one + " fails until further notice"
		case n == 0:
			return many + " work again"
		case n == 1:
			return "the next " + one + " fails"
		}
		return fmt.Sprintf("the next %d %s fail", n, many)
	}
}

func secondsAhead(n int) string { return fmt.Sprintf("%d seconds ahead", n) }
func percent(n int) string      { return fmt.Sprintf("%d%%", n) }
func milliseconds(n int) string { return fmt.Sprintf("%d ms", n) }
func perSecond(n int) string    { return fmt.Sprintf("%d packets a second", n) }

// bringLibvirtdBack mends a libvirtd that hangs and one that is dead.
func (c *Cluster) bringLibvirtdBack(host string) error {
	if err := c.ResumeLibvirtd(host); err != nil {
		return err
	}
	return c.StartLibvirtd(host)
}
