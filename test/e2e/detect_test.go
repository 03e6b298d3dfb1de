//go:build lab

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/starter"
	"holdfast/test/lab"
	"holdfast/test/rig"
)

// closely has everything seen soon. The emulated guests share two processors, so
// that "soon" still leaves room for a sample or two that is late.
const closely = `
monitor:
  sweep: 2s
  sample: 1s
  pools: 5s
  callTimeout: 4s
  hungAfter: 5s
  bootWithin: 25s
  unreachableAfter: 6s
  temporalAfter: 5s
  flap: {raises: 0}
rules:
  # What the machine has no processor for is steal: the guest gets a part.
  - {name: cpu, raise: 30, clear: 20, for: 4s, warmup: 0s}
  - {name: memory, raise: 80, clear: 75, for: 4s, warmup: 0s}
  - {name: disk-ops, raise: 400, clear: 200, for: 4s, warmup: 0s}
  - {name: net, raise: 200000, clear: 100000, for: 4s, warmup: 0s}
  - {name: disk-full, for: 2s}
  # A guest that was stopped for a while is behind by as much, and nobody sets it.
  - {name: clock, raise: 300, clear: 200, warmup: 0s}
  # One machine's processors, memory and disks are those of all hosts of the lab.
  - {name: steal, off: true}
  - {name: net-drops, off: true}
  - {name: disk-latency, off: true}
  - {name: host-cpu, off: true}
  - {name: host-memory, off: true}
recovery:
  backoff: {initial: 100ms, max: 200ms}
  verify: {stableFor: 1s}
listen: {worker: "127.0.0.1:0", monitor: "127.0.0.1:0"}
`

// row is one kind of fault, how it is made and how it is mended.
type row struct {
	kind     fault.Kind
	vm       string // that it is about
	evidence string // of what, among the fault's evidence
	breaks   func() error
	mends    func() error
}

// sees makes the fault, and checks that it alone is seen, with its evidence, that
// an incident of its kind is open if there should be one and none besides, and
// that all is over once it is mended.
func (r *labRig) sees(t *testing.T, c row) {
	t.Helper()
	r.calm(t)
	require.NoError(t, c.breaks())
	var f fault.Fault
	rig.Eventually(t, fmt.Sprintf("%s of %s is seen", c.kind, c.vm), func() error {
		standing := r.standing(t)
		i := slices.IndexFunc(standing, func(f fault.Fault) bool { return f.Kind == c.kind })
		if i < 0 {
			return fmt.Errorf("faults: %s", names(standing))
		}
		f = standing[i]
		return nil
	})
	require.Equal(t, c.vm, f.Subject())
	require.Equal(t, c.kind.Level(), f.HowBad())
	require.True(t, slices.ContainsFunc(f.Evidence, func(e fault.Evidence) bool { return e.What == c.evidence && e.Value != "" }),
		"evidence of %s in %s", c.evidence, asJSON(f))
	require.Equal(t, []string{string(c.kind) + " of " + c.vm}, names(r.standing(t)), "no other fault stands")
	if f.Respond() == fault.RespondIncident {
		inc := rig.Incident(t, r.starter, c.vm, "is open", func(i contract.Incident) bool { return i.Closed.IsZero() && i.Fault.Kind == c.kind })
		require.NotEmpty(t, inc.Why)
	}
	r.open(t, f)
	require.NoError(t, c.mends())
	r.calm(t)
	r.open(t, fault.Fault{})
}

// open waits until exactly the incident of this fault is open, or none.
func (r *labRig) open(t *testing.T, f fault.Fault) {
	t.Helper()
	want := 0
	if f.Kind != "" && f.Respond() == fault.RespondIncident {
		want = 1
	}
	rig.Eventually(t, fmt.Sprintf("%d incidents are open", want), func() error {
		list, err := r.starter.Incidents(t.Context(), starter.IncidentFilter{OpenOnly: true})
		if err != nil || len(list) != want {
			return fmt.Errorf("open: %s: %w", asJSON(list), err)
		}
		return nil
	})
}

func (r *labRig) standing(t *testing.T) []fault.Fault {
	t.Helper()
	var out contract.FaultsResult
	rig.Eventually(t, "a monitor answers", func() (err error) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		out, err = r.starter.Faults(ctx, contract.FaultsInput{Site: r.siteName()})
		return err
	})
	return out.Faults
}

func (r *labRig) calm(t *testing.T) {
	t.Helper()
	rig.Eventually(t, "no fault stands", func() error {
		if s := r.standing(t); len(s) > 0 {
			return fmt.Errorf("faults: %s", asJSON(s))
		}
		return nil
	})
}

func names(faults []fault.Fault) []string {
	out := []string{}
	for _, f := range faults {
		out = append(out, string(f.Kind)+" of "+f.Subject())
	}
	return out
}

// fact waits until the monitor knows a fact about something.
func (r *labRig) fact(t *testing.T, about, what string, ok func(fault.Evidence) bool) {
	t.Helper()
	rig.Eventually(t, fmt.Sprintf("%s of %s", what, about), func() error {
		x, err := r.starter.Explain(t.Context(), contract.ExplainInput{Site: r.siteName(), Name: about})
		if err != nil {
			return err
		}
		for _, e := range x.Facts {
			if e.What == what && ok(e) {
				return nil
			}
		}
		return fmt.Errorf("facts: %s", asJSON(x.Facts))
	})
}

func (r *labRig) agentAnswers(t *testing.T, vms ...string) {
	for _, vm := range vms {
		r.fact(t, vm, "guest agent", func(e fault.Evidence) bool { return e.Value == "answers" })
	}
}

// inject does a fault of the lab to a target.
func (r *labRig) inject(t *testing.T, kind lab.FaultKind, target string) func() error {
	return func() error {
		_, err := r.Inject(t.Context(), kind, target, "")
		return err
	}
}

// do has a guest do something.
func (r *labRig) do(t *testing.T, vm string, what lab.Task, o lab.TaskOptions) func() error {
	return func() error {
		_, err := r.Do(t.Context(), vm, what, o)
		return err
	}
}

func (r *labRig) virsh(t *testing.T, host string, args ...string) func() error {
	return func() error {
		_, err := r.Virsh(t.Context(), host, args...)
		return err
	}
}

// both does one thing and then another.
func both(first, second func() error) func() error {
	return func() error {
		if err := first(); err != nil {
			return err
		}
		return second()
	}
}

// TestGuestsThatAreNotWell has a row for each kind of fault of a VM that runs.
func TestGuestsThatAreNotWell(t *testing.T) {
	r := makeLabRig(t, lab.Options{Hosts: 2, VMs: 3, SmallPool: true}, closely)
	r.worker(t)
	r.monitor(t)
	r.agentAnswers(t, "VM1", "VM2", "VM3")
	for _, c := range []row{
		{fault.KindHung, "VM1", "statistics", r.inject(t, lab.FaultHang, "VM1"), r.inject(t, lab.FaultUnhang, "VM1")},
		{fault.KindPaused, "VM1", "state", r.virsh(t, "A", "qemu-monitor-command", "VM1", "--hmp", "stop"), r.virsh(t, "A", "qemu-monitor-command", "VM1", "--hmp", "cont")},
		{fault.KindCPU, "VM2", "vm.cpu", r.do(t, "VM2", lab.TaskCPU, lab.TaskOptions{}), r.do(t, "VM2", lab.TaskStop, lab.TaskOptions{})},
		{fault.KindMemory, "VM2", "vm.memory", r.do(t, "VM2", lab.TaskMemory, lab.TaskOptions{}), r.do(t, "VM2", lab.TaskStop, lab.TaskOptions{})},
		{fault.KindDiskIO, "VM2", "vm.disk.ops", r.do(t, "VM2", lab.TaskDisk, lab.TaskOptions{}), r.do(t, "VM2", lab.TaskStop, lab.TaskOptions{})},
		{fault.KindNet, "VM2", "vm.net.bytes", r.do(t, "VM2", lab.TaskNet, lab.TaskOptions{}), r.do(t, "VM2", lab.TaskStop, lab.TaskOptions{})},
		{fault.KindClock, "VM2", "vm.clock", r.do(t, "VM2", lab.TaskClock, lab.TaskOptions{By: time.Hour}), r.do(t, "VM2", lab.TaskClock, lab.TaskOptions{By: -time.Hour})},
		{fault.KindWatchdog, "VM3", "watchdog", r.do(t, "VM3", lab.TaskWatchdog, lab.TaskOptions{}), r.virsh(t, "A", "reset", "VM3")},
	} {
		t.Run(string(c.kind), func(t *testing.T) { r.sees(t, c) })
	}
	t.Run("a guest that stands still", func(t *testing.T) {
		r.agentAnswers(t, "VM1")
		r.sees(t, row{fault.KindHung, "VM1", "vCPU time", r.inject(t, lab.FaultHangGuest, "VM1"), r.inject(t, lab.FaultUnhangGuest, "VM1")})
	})
	t.Run("an agent that does not come up", func(t *testing.T) {
		r.agentAnswers(t, "VM3")
		mute := both(r.do(t, "VM3", lab.TaskMute, lab.TaskOptions{}), r.virsh(t, "A", "reset", "VM3"))
		r.sees(t, row{fault.KindBootFailed, "VM3", "guest agent", mute, r.do(t, "VM3", lab.TaskUnmute, lab.TaskOptions{})})
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
		r.sees(t, row{fault.KindPoolLost, "images", "pool on B", r.inject(t, lab.FaultLosePool, "B"), r.inject(t, lab.FaultRestorePool, "B")})
	})
	t.Run("a host that has forgotten its VM", func(t *testing.T) {
		r.sees(t, row{fault.KindLost, "VM2", "last seen", r.inject(t, lab.FaultLose, "VM2"), func() error { return r.Find(t.Context(), "VM2") }})
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
		r.sees(t, row{fault.KindDiskFull, "VM1", "vm.disk.full", r.do(t, "VM1", lab.TaskFill, lab.TaskOptions{}), r.virsh(t, "A", "destroy", "VM1")})
	})
	for vm, resets := range map[string]int{"VM1": 0, "VM2": 1, "VM3": 2} {
		require.Len(t, r.vm(t, vm).Boots, 1+resets, "%s was touched by somebody else than this test", vm)
	}
}

// TestHostsThatAreNotWell has a row for each kind of fault of a host, and what
// peers get wrong about it.
func TestHostsThatAreNotWell(t *testing.T) {
	r := makeLabRig(t, lab.Options{Hosts: 3, VMs: 4, Power: true}, closely)
	r.worker(t)
	r.monitor(t)
	r.agentAnswers(t, "VM1", "VM2", "VM3", "VM4")
	before := r.vm(t, "VM1")

	for kind, f := range map[fault.Kind][2]lab.FaultKind{
		fault.KindLibvirtdHung: {lab.FaultHangLibvirtd, lab.FaultStartLibvirtd},
		fault.KindLibvirtdDead: {lab.FaultKillLibvirtd, lab.FaultStartLibvirtd},
	} {
		t.Run(string(kind)+" while guests run, and one of them dies", func(t *testing.T) {
			died, earlier := r.vm(t, "VM4"), r.incidents(t, "VM4")
			require.NoError(t, r.inject(t, f[0], "A")())
			r.seen(t, kind, "A")
			r.one(t, kind, "A")
			require.NoError(t, r.inject(t, lab.FaultKill, "VM4")())
			require.NoError(t, r.inject(t, f[1], "A")())
			inc := r.closed(t, "VM4", earlier, contract.OutcomeRecovered)
			require.Equal(t, fault.KindCrashed, inc.Fault.Kind)
			r.startedOnce(t, died)
			r.calm(t)
			now := r.vm(t, "VM1")
			require.Equal(t, before.Starts, now.Starts, "a healthy guest was touched")
			require.Equal(t, before.Boots, now.Boots)
		})
	}
	t.Run("cut off the network", func(t *testing.T) {
		require.NoError(t, r.inject(t, lab.FaultCut, "B")())
		f := r.seen(t, fault.KindHostUnreachable, "B")
		require.True(t, slices.ContainsFunc(f.Votes, func(v fault.Vote) bool { return v.From == "worker" && v.Says == fault.HostSilent }), asJSON(f))
		r.one(t, fault.KindHostUnreachable, "B")
		require.NoError(t, r.inject(t, lab.FaultHeal, "B")())
		r.calm(t)
		r.open(t, fault.Fault{})
	})
	t.Run("all hosts cut off at once is the monitor's own trouble", func(t *testing.T) {
		for _, h := range []string{"A", "B", "C"} {
			require.NoError(t, r.inject(t, lab.FaultCut, h)())
		}
		f := r.seen(t, fault.KindCutOff, r.siteName())
		require.NotEmpty(t, f.Evidence)
		require.Equal(t, []string{string(fault.KindCutOff) + " of " + r.siteName()}, names(r.standing(t)))
		for _, h := range []string{"A", "B", "C"} {
			require.NoError(t, r.inject(t, lab.FaultHeal, h)())
		}
		r.calm(t)
		r.open(t, fault.Fault{})
	})
	t.Run("powered off, and its VM lost when it is back", func(t *testing.T) {
		earlier := r.incidents(t, "VM3")
		require.NoError(t, r.inject(t, lab.FaultPowerOff, "C")())
		f := r.seen(t, fault.KindHostOff, "C")
		require.True(t, slices.ContainsFunc(f.Votes, func(v fault.Vote) bool { return v.Says == fault.HostOff }), asJSON(f))
		r.one(t, fault.KindHostOff, "C")
		require.NoError(t, r.inject(t, lab.FaultPowerOn, "C")())
		inc := r.closed(t, "VM3", earlier, contract.OutcomeRecovered)
		require.Equal(t, fault.KindLost, inc.Fault.Kind)
		r.calm(t)
	})
}

// seen waits for a fault of a kind.
func (r *labRig) seen(t *testing.T, kind fault.Kind, subject string) fault.Fault {
	t.Helper()
	var found fault.Fault
	rig.Eventually(t, fmt.Sprintf("%s of %s is seen", kind, subject), func() error {
		standing := r.standing(t)
		for _, f := range standing {
			if f.Kind == kind && f.Subject() == subject {
				found = f
				return nil
			}
		}
		return fmt.Errorf("faults: %s", names(standing))
	})
	return found
}

// one checks that a host's fault is the only one, with one open incident.
func (r *labRig) one(t *testing.T, kind fault.Kind, host string) {
	t.Helper()
	require.Equal(t, []string{string(kind) + " of " + host}, names(r.standing(t)))
	r.open(t, fault.Fault{Kind: kind})
	list, err := r.starter.Incidents(t.Context(), starter.IncidentFilter{OpenOnly: true})
	require.NoError(t, err)
	require.Equal(t, string(kind), list[0].Kind)
	require.Equal(t, host, list[0].Host)
}
