//go:build lab

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/fault"
	"holdfast/test/lab"
	"holdfast/test/rig"
)

// TestGuestsThatAreNotWell has a row for each kind of fault of a VM that runs.
func TestGuestsThatAreNotWell(t *testing.T) {
	r := makeLabRig(t, lab.Options{Hosts: 2, VMs: 3, SmallPool: true, Flaky: true}, closely+"\nmode: observe\n") // what is to be seen must stay
	r.worker(t)
	r.monitor(t)
	r.agentAnswers(t, "VM1", "VM2", "VM3")
	for _, c := range []row{
		{fault.KindHung, "VM1", "statistics", r.inject(t, lab.FaultHang, "VM1"), r.inject(t, lab.FaultUnhang, "VM1"), ""},
		{fault.KindPaused, "VM1", "state", r.virsh(t, "A", "qemu-monitor-command", "VM1", "--hmp", "stop"), r.virsh(t, "A", "qemu-monitor-command", "VM1", "--hmp", "cont"), ""},
		{fault.KindCPU, "VM2", "vm.cpu", r.do(t, "VM2", lab.TaskCPU, lab.TaskOptions{}), r.do(t, "VM2", lab.TaskStop, lab.TaskOptions{}), ""},
		{fault.KindMemory, "VM2", "vm.memory", r.do(t, "VM2", lab.TaskMemory, lab.TaskOptions{}), r.do(t, "VM2", lab.TaskStop, lab.TaskOptions{}), fault.KindCPU},
		{fault.KindDiskIO, "VM2", "vm.disk.ops", r.do(t, "VM2", lab.TaskDisk, lab.TaskOptions{}), r.do(t, "VM2", lab.TaskStop, lab.TaskOptions{}), fault.KindCPU},
		{fault.KindNet, "VM2", "vm.net.bytes", r.do(t, "VM2", lab.TaskNet, lab.TaskOptions{Rate: 1}), r.do(t, "VM2", lab.TaskStop, lab.TaskOptions{}), fault.KindCPU},
		{fault.KindClock, "VM2", "vm.clock", r.do(t, "VM2", lab.TaskClock, lab.TaskOptions{By: time.Hour}), r.do(t, "VM2", lab.TaskClock, lab.TaskOptions{By: -time.Hour}), ""},
		{fault.KindWatchdog, "VM3", "watchdog", r.do(t, "VM3", lab.TaskWatchdog, lab.TaskOptions{}), r.virsh(t, "A", "reset", "VM3"), ""},
	} {
		t.Run(string(c.kind), func(t *testing.T) { r.sees(t, c) })
	}
	t.Run("a guest that stands still", func(t *testing.T) {
		r.agentAnswers(t, "VM1")
		r.sees(t, row{fault.KindHung, "VM1", "vCPU time", r.inject(t, lab.FaultHangGuest, "VM1"), r.inject(t, lab.FaultUnhangGuest, "VM1"), ""})
	})
	t.Run("an agent that does not come up", func(t *testing.T) {
		r.agentAnswers(t, "VM3")
		mute := both(r.do(t, "VM3", lab.TaskMute, lab.TaskOptions{}), r.virsh(t, "A", "reset", "VM3"))
		r.sees(t, row{fault.KindBootFailed, "VM3", "guest agent", mute, r.do(t, "VM3", lab.TaskUnmute, lab.TaskOptions{}), ""})
	})
	t.Run("a disk that fails", func(t *testing.T) {
		breaks := both(r.inject(t, lab.FaultBreakDisk, "VM1"), r.do(t, "VM1", lab.TaskWrite, lab.TaskOptions{Disk: "vdb"}))
		mends := both(r.inject(t, lab.FaultMendDisk, "VM1"), both(r.virsh(t, "A", "resume", "VM1"), r.do(t, "VM1", lab.TaskStop, lab.TaskOptions{})))
		r.sees(t, row{fault.KindIOError, "VM1", "disk error", breaks, mends, ""})
	})
	t.Run("no room on the storage", func(t *testing.T) {
		fill := both(r.do(t, "VM2", lab.TaskWrite, lab.TaskOptions{}), r.inject(t, lab.FaultFillPool, "B"))
		r.calm(t)
		require.NoError(t, fill())
		f := r.seen(t, fault.KindNoSpace, "VM2")
		require.Contains(t, asJSON(f.Evidence), "ENOSPC")
		full := r.seen(t, fault.KindPoolFull, "images")
		require.Equal(t, fault.RespondAlarm, full.Respond())
		require.Len(t, r.standing(t), 2)
		r.open(t, f)
		require.NoError(t, r.inject(t, lab.FaultEmptyPool, "B")())
		require.NoError(t, r.virsh(t, "B", "resume", "VM2")())
		require.NoError(t, r.do(t, "VM2", lab.TaskStop, lab.TaskOptions{})())
		r.calm(t)
		r.open(t, fault.Fault{})
	})
	t.Run("the storage is gone", func(t *testing.T) {
		r.sees(t, row{fault.KindPoolLost, "images", "pool on B", r.inject(t, lab.FaultLosePool, "B"), r.inject(t, lab.FaultRestorePool, "B"), ""})
	})
	t.Run("a host that has forgotten its VM", func(t *testing.T) {
		r.sees(t, row{fault.KindLost, "VM2", "last seen", r.inject(t, lab.FaultLose, "VM2"), func() error { return r.Find(t.Context(), "VM2") }, ""})
	})
	t.Run("a hung QEMU does not delay its neighbours", func(t *testing.T) {
		require.NoError(t, r.inject(t, lab.FaultHang, "VM1")())
		rig.Eventually(t, "VM1 is hung", func() error {
			if s := r.standing(t); len(s) != 1 || s[0].Kind != fault.KindHung {
				return fmt.Errorf("faults: %s", names(s))
			}
			return nil
		})
		seen := time.Now()
		for range 3 { // VM3 is on the same host
			r.fact(t, "VM3", "statistics", func(e fault.Evidence) bool { return strings.Contains(e.Value, "answers") && e.At.After(seen) })
			seen = time.Now()
		}
		require.NoError(t, r.inject(t, lab.FaultUnhang, "VM1")())
		r.calm(t)
	})
	t.Run("what a person pauses is none", func(t *testing.T) {
		require.NoError(t, r.virsh(t, "B", "suspend", "VM2")())
		r.fact(t, "VM2", "in this state", func(e fault.Evidence) bool { return e.At.Sub(e.Since) > 12*time.Second })
		require.Empty(t, r.standing(t), "paused for more than twice hungAfter")
		r.open(t, fault.Fault{})
		require.NoError(t, r.virsh(t, "B", "resume", "VM2")())
	})
	t.Run("a disk that fills", func(t *testing.T) {
		// What the image took of its file system it does not give back.
		r.sees(t, row{fault.KindDiskFull, "VM1", "vm.disk.full", r.do(t, "VM1", lab.TaskFill, lab.TaskOptions{}), r.virsh(t, "A", "destroy", "VM1"), ""})
	})
	for vm, resets := range map[string]int{"VM1": 0, "VM2": 1, "VM3": 2} {
		require.Len(t, r.vm(t, vm).Boots, 1+resets, "%s was touched by somebody else than this test", vm)
	}
}
