//go:build lab

package e2e

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"holdfast/internal/contract"
	"holdfast/internal/ladder"
	"holdfast/test/lab"
	"holdfast/test/rig"
)

// TestElsewhere has a host that cannot start a guest: something of that name is in the
// way of a socket that QEMU has to make. The other host can. A host whose images are its
// own is no place to go to, whatever its pool is called.
func TestElsewhere(t *testing.T) {
	t.Run("on shared storage", func(t *testing.T) {
		r := makeLabRig(t, lab.Options{Hosts: 2, VMs: 2}, twiceAndElsewhere)
		r.worker(t)
		r.monitor(t)
		before, earlier := r.vm(t, "VM1"), r.incidents(t, "VM1")
		r.cannotStart(t, "A", "VM1")
		inc := r.closed(t, "VM1", earlier, contract.OutcomeRecovered)
		require.Equal(t, []ladder.Rung{ladder.RungRestart, ladder.RungRestart, ladder.RungElsewhere}, climbed(inc), asJSON(inc.Timeline))
		require.Equal(t, "B", inc.Host)
		require.Contains(t, asJSON(inc.Timeline), "taken from A to B in")
		r.startedOnce(t, before)
		require.Equal(t, "B", r.vm(t, "VM1").Copies[0].Host)
		r.knownOn(t, "VM1", "B")
		r.calm(t)
		require.Empty(t, r.marks(t, "A"), "what was made to find out about the storage is gone")
	})
	t.Run("on storage of their own", func(t *testing.T) {
		r := makeLabRig(t, lab.Options{Hosts: 2, VMs: 1, Storage: lab.StorageLocal}, twiceAndElsewhere)
		r.worker(t)
		r.monitor(t)
		r.cannotStart(t, "A", "VM1")
		inc := rig.Incident(t, r.starter, "VM1", "needs a person", func(i contract.Incident) bool { return i.NeedsPerson && i.Stage == contract.StageNeedsPerson })
		require.Equal(t, []ladder.Rung{ladder.RungRestart, ladder.RungRestart}, climbed(inc), asJSON(inc.Timeline))
		require.Contains(t, asJSON(inc.Timeline), "turned down elsewhere: no other host can have it: B: its /var/lib/libvirt/images is not the same storage")
		r.knownOn(t, "VM1", "A")
		require.Empty(t, r.marks(t, "A"))
	})
}

const twiceAndElsewhere = `
monitor: {sweep: 2s}
recovery:
  maxFailures: 2
  backoff: {initial: 100ms, max: 200ms}
  verify: {stableFor: 1s}
listen: {worker: "127.0.0.1:0", monitor: "127.0.0.1:0"}
`

// cannotStart kills a VM, and sees to it that its host cannot start it again.
func (r *labRig) cannotStart(t *testing.T, host, vm string) {
	t.Helper()
	r.holdfast(t, "vm", "hold", vm, "--reason", "something is put in its way")
	_, err := r.Kill(t.Context(), vm)
	require.NoError(t, err)
	rig.Incident(t, r.starter, vm, "is held", func(i contract.Incident) bool { return i.Stage == contract.StageHeld })
	definition, err := r.Virsh(t.Context(), host, "dumpxml", "--inactive", vm)
	require.NoError(t, err)
	_, rest, found := strings.Cut(definition, "<source mode='bind' path='")
	require.True(t, found, "the lab's guests have a socket that QEMU makes")
	socket, _, _ := strings.Cut(rest, "'")
	// A storage pool is a way to make a folder on the host, with libvirt's own rights.
	for _, args := range [][]string{{"pool-define-as", "in-the-way", "dir", "--target", socket}, {"pool-build", "in-the-way"}} {
		_, err := r.Virsh(t.Context(), host, args...)
		require.NoError(t, err)
	}
	r.holdfast(t, "vm", "release", vm)
}

// knownOn checks that a VM is defined on that host and on no other.
func (r *labRig) knownOn(t *testing.T, vm, host string) {
	t.Helper()
	for _, h := range r.Info().Hosts {
		list, err := r.Virsh(t.Context(), h.Name, "list", "--all", "--name")
		require.NoError(t, err)
		require.Equal(t, h.Name == host, strings.Contains(list, vm), "host %s knows %s", h.Name, strings.Fields(list))
	}
}

// marks are the files in the pool of a host that were made to find out about it.
func (r *labRig) marks(t *testing.T, host string) (left []string) {
	t.Helper()
	_, err := r.Virsh(t.Context(), host, "pool-refresh", "images")
	require.NoError(t, err)
	list, err := r.Virsh(t.Context(), host, "vol-list", "images")
	require.NoError(t, err)
	for name := range strings.FieldsSeq(list) {
		if strings.Contains(name, "holdfast-mark") {
			left = append(left, name)
		}
	}
	return left
}

// TestWorkerKilledElsewhere is TestWorkerKilledDuringEachRung for the rung elsewhere: each
// time the guest goes to the other host.
func TestWorkerKilledElsewhere(t *testing.T) {
	r := makeLabRig(t, lab.Options{Hosts: 2, VMs: 1, BootDisk: true},
		"kinds: {panicked: {ladder: [elsewhere, person]}}\n"+strings.NewReplacer("bootWithin: 25s", "bootWithin: 3m", "recovery:\n", "recovery:\n  maxFailures: 50\n  budgets: {elsewhere: 50}\n").Replace(unmeasured(closely)))
	first := r.worker(t)
	r.monitor(t)
	r.agentAnswers(t, "VM1")
	first.Kill()
	hosts := map[string]string{"A": "B", "B": "A"}
	r.killedDuring(t, []killedRung{{
		ladder.RungElsewhere, "VM1",
		[]string{"before destroy", "after destroy", "before define", "after define", "before undefine", "after undefine", beforeStart, afterStart, duringVerify},
		r.inject(t, lab.FaultPanic, "VM1"),
		func(t *testing.T, before lab.VMStatus, _ contract.Incident) {
			home := before.Copies[0].Host
			r.startedOnce(t, before)
			require.Equal(t, hosts[home], r.vm(t, "VM1").Copies[0].Host)
			r.knownOn(t, "VM1", hosts[home])
			require.Empty(t, r.marks(t, home))
		},
	}})
}
