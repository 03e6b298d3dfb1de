//go:build lab

package lab

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// stat is a figure of `virsh domstats`.
func (f fixture) stat(host, vm, name string) int {
	f.t.Helper()
	found := regexp.MustCompile(`(?m)^\s*` + regexp.QuoteMeta(name) + `=(\d+)$`).FindStringSubmatch(f.virsh(host, "domstats", vm))
	require.NotNil(f.t, found, "%s has no %s", vm, name)
	n, err := strconv.Atoi(found[1])
	require.NoError(f.t, err)
	return n
}

// rises waits until a figure has grown by so much.
func (f fixture) rises(host, vm, name string, by int) {
	f.t.Helper()
	before := f.stat(host, vm, name)
	eventually(f.t, name+" of "+vm+" rises", func() bool { return f.stat(host, vm, name)-before >= by })
}

func (f fixture) do(vm string, what Task, o TaskOptions) Done {
	f.t.Helper()
	done, err := f.Do(f.ctx, vm, what, o)
	require.NoError(f.t, err)
	require.Equal(f.t, vm, done.VM)
	return done
}

// booted waits until the guest takes tasks.
func (f fixture) booted(vm string) Done {
	f.t.Helper()
	var done Done
	eventually(f.t, vm+" takes tasks", func() bool {
		ctx, cancel := context.WithTimeout(f.ctx, 5*time.Second)
		defer cancel()
		var err error
		done, err = f.Do(ctx, vm, TaskList, TaskOptions{})
		return err == nil
	})
	return done
}

// agentTime asks the guest agent for the time, and says whether it answered.
func (f fixture) agentTime(host, vm string) (time.Time, bool) {
	out, err := f.Virsh(f.ctx, host, "domtime", vm)
	if err != nil {
		require.ErrorContains(f.t, err, "Guest agent")
		return time.Time{}, false
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(out), "Time:")), 10, 64)
	require.NoError(f.t, err, out)
	return time.Unix(seconds, 0), true
}

func TestTasks(t *testing.T) {
	o := options(t, "tasks")
	o.Hosts, o.VMs = 1, 1
	l, err := Up(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Down(context.Background())) })
	f := fixture{l, t, t.Context()}
	// Without it libvirt waits for a silent agent for ever.
	f.booted("VM1")
	f.virsh("A", "guest-agent-timeout", "VM1", "--timeout", "2")
	for _, step := range []struct {
		name string
		run  func(fixture)
	}{
		{"load", load},
		{"disk", disks},
		{"clock", clock},
		{"watchdog", watchdog},
		{"mute", mute},
		{"refusals", refusals},
		{"halt", halt},
		{"down while held", downWhileHeld},
	} {
		if !t.Run(step.name, func(t *testing.T) {
			f.t = t
			step.run(f)
		}) {
			return
		}
	}
}

func load(f fixture) {
	f.do("VM1", TaskCPU, TaskOptions{For: time.Hour})
	f.rises("A", "VM1", "vcpu.0.time", int(2*time.Second))
	f.advances("VM1")
	require.Len(f.t, f.do("VM1", TaskList, TaskOptions{}).Running, 1)
	require.Empty(f.t, f.do("VM1", TaskStop, TaskOptions{}).Running)

	f.do("VM1", TaskMemory, TaskOptions{})
	eventually(f.t, "the balloon shows the memory in use", func() bool {
		return f.stat("A", "VM1", "balloon.usable")*100 <= 11*f.stat("A", "VM1", "balloon.available")
	})
	f.advances("VM1")
	f.do("VM1", TaskStop, TaskOptions{What: TaskMemory})
	eventually(f.t, "the memory is free again", func() bool {
		return f.stat("A", "VM1", "balloon.usable")*100 >= 50*f.stat("A", "VM1", "balloon.available")
	})

	f.do("VM1", TaskNet, TaskOptions{Rate: 50})
	f.rises("A", "VM1", "net.0.tx.bytes", 20_000_000)
	f.do("VM1", TaskStop, TaskOptions{})
	events, err := f.Events(f.ctx)
	require.NoError(f.t, err)
	require.True(f.t, slices.ContainsFunc(events, func(e Sample) bool { return e.Fault == "do net" && e.VM == "VM1" && e.Host == "A" }))
}

func disks(f fixture) {
	f.do("VM1", TaskDisk, TaskOptions{})
	f.rises("A", "VM1", "block.0.rd.reqs", 1000)
	f.rises("A", "VM1", "block.0.wr.reqs", 1000)
	f.do("VM1", TaskStop, TaskOptions{})

	full := func() bool {
		return f.stat("A", "VM1", "block.0.physical")*100 >= 95*f.stat("A", "VM1", "block.0.capacity")
	}
	f.do("VM1", TaskFill, TaskOptions{})
	eventually(f.t, "the disk is full", full)
	require.GreaterOrEqual(f.t, f.stat("A", "VM1", "block.0.allocation")*100, 95*f.stat("A", "VM1", "block.0.capacity"))
	f.do("VM1", TaskEmpty, TaskOptions{})
	require.False(f.t, full())
	f.do("VM1", TaskWrite, TaskOptions{Rate: 50})
	f.rises("A", "VM1", "block.0.physical", 2_000_000)
	f.do("VM1", TaskEmpty, TaskOptions{})
	f.advances("VM1") // and what it writes to has stayed
}

func clock(f fixture) {
	now, answered := f.agentTime("A", "VM1")
	require.True(f.t, answered)
	require.WithinDuration(f.t, time.Now(), now, 5*time.Second)
	f.do("VM1", TaskClock, TaskOptions{By: -time.Hour})
	now, _ = f.agentTime("A", "VM1")
	require.WithinDuration(f.t, time.Now().Add(-time.Hour), now, time.Minute)
	f.virsh("A", "domtime", "VM1", "--sync") // by the hardware clock
	now, _ = f.agentTime("A", "VM1")
	require.WithinDuration(f.t, time.Now(), now, time.Minute)
}

func watchdog(f fixture) {
	event := f.event("A", "VM1", "watchdog")
	for fired := false; !fired; { // virsh does not say when it begins to listen
		f.do("VM1", TaskWatchdog, TaskOptions{})
		select {
		case said := <-event:
			require.Contains(f.t, said, "none")
			fired = true
		case <-time.After(5 * time.Second):
		}
	}
	f.advances("VM1") // its action is none
}

func mute(f fixture) {
	f.do("VM1", TaskMute, TaskOptions{For: time.Hour})
	_, answered := f.agentTime("A", "VM1")
	require.False(f.t, answered)
	f.do("VM1", TaskUnmute, TaskOptions{})
	eventually(f.t, "the agent answers again", func() bool { _, answered := f.agentTime("A", "VM1"); return answered })

	// A boot that never comes up, then one that does.
	f.do("VM1", TaskMute, TaskOptions{Boots: 1, Closed: true})
	f.virsh("A", "reset", "VM1")
	require.Equal(f.t, []string{"mute"}, f.booted("VM1").Running)
	_, answered = f.agentTime("A", "VM1")
	require.False(f.t, answered)
	f.virsh("A", "reset", "VM1")
	require.Empty(f.t, f.booted("VM1").Running)
	eventually(f.t, "the agent answers", func() bool { _, answered := f.agentTime("A", "VM1"); return answered })

	f.do("VM1", TaskMute, TaskOptions{})
	f.virsh("A", "reset", "VM1")
	require.Equal(f.t, []string{"mute"}, f.booted("VM1").Running)
	f.do("VM1", TaskUnmute, TaskOptions{})
	eventually(f.t, "the agent answers", func() bool { _, answered := f.agentTime("A", "VM1"); return answered })
}

func refusals(f fixture) {
	for what, o := range map[Task]TaskOptions{"dance": {}, TaskWrite: {Disk: "vdz"}, TaskMemory: {Percent: 100}} {
		_, err := f.Do(f.ctx, "VM1", what, o)
		require.Error(f.t, err, what)
	}
	_, err := f.Do(f.ctx, "VM9", TaskCPU, TaskOptions{})
	require.ErrorContains(f.t, err, "no VM")
	_, err = f.CorruptDisk(f.ctx, "VM1")
	require.ErrorContains(f.t, err, "lab up --boot-disk")
	_, err = f.Generation(f.ctx, "VM1")
	require.ErrorContains(f.t, err, "no system")
	require.NoError(f.t, f.SetGeneration(f.ctx, "VM1", 5), "a guest that does not boot from it can have one, too")
	require.Equal(f.t, uint64(5), f.generation("VM1"))
}

func halt(f fixture) {
	f.do("VM1", TaskHalt, TaskOptions{})
	f.stands("A", "VM1")
	require.Contains(f.t, f.virsh("A", "domstate", "VM1"), "running", "libvirt does not know")
	_, answered := f.agentTime("A", "VM1")
	require.False(f.t, answered)
	f.virsh("A", "reset", "VM1")
	f.booted("VM1")
}

func downWhileHeld(f fixture) {
	f.done(f.HangGuest(f.ctx, "VM1"))
	inodes := f.inodes()
	require.NoError(f.t, f.Down(f.ctx))
	nothingLeft(f.t, f.info.Dir, inodes)
}
