// Package e2e runs Holdfast as a whole against a real Temporal server: with
// simulated hosts here, with real libvirt hosts in the files tagged lab.
package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/simulated"
	"holdfast/internal/ladder"
	"holdfast/internal/placement"
	"holdfast/starter"
	"holdfast/test/rig"
)

func TestSimulated(t *testing.T) {
	server := rig.Temporal(t)
	c := rig.Dial(t, server.Address)
	s := starter.New(c)
	cluster := simulated.New(simulated.Options{Site: rig.Site, Hosts: 3, VMsPerHost: 4})
	rig.Serve(t, c, cluster, rig.Policy())
	vm := func(name string) simulated.VM {
		v, ok := cluster.VM(name)
		require.True(t, ok)
		return v
	}

	t.Run("a crashed VM is started again, once", func(t *testing.T) {
		require.NoError(t, cluster.KillVM("VM1"))
		require.NoError(t, s.ReportFault(t.Context(), rig.Crash(vm("VM1"), "A")))
		inc := rig.Incident(t, s, "VM1", "recovered", rig.ClosedAs(contract.OutcomeRecovered))
		require.Equal(t, contract.Stage("restart"), inc.Stage)
		require.Len(t, inc.Attempts, 1)
		starts, err := cluster.Starts("VM1")
		require.NoError(t, err)
		require.Equal(t, 1, starts)
	})

	t.Run("a person's stop is intent", func(t *testing.T) {
		require.NoError(t, cluster.DestroyVM("VM2"))
		require.NoError(t, s.ReportFault(t.Context(), rig.Crash(vm("VM2"), "B")))
		inc := rig.Incident(t, s, "VM2", "stood down", rig.ClosedAs(contract.OutcomeStoodDown))
		require.Contains(t, inc.Why, "a person stopped VM2")
	})

	t.Run("a panicked VM is stopped and started", func(t *testing.T) {
		require.NoError(t, cluster.PanicVM("VM3"))
		f := rig.Crash(vm("VM3"), "C")
		f.Kind = fault.KindPanicked
		require.NoError(t, s.ReportFault(t.Context(), f))
		rig.Incident(t, s, "VM3", "recovered", rig.ClosedAs(contract.OutcomeRecovered))
	})

	t.Run("one that its host cannot start is started elsewhere", func(t *testing.T) {
		require.NoError(t, cluster.FailStartsOn("VM7", "A", -1))
		require.NoError(t, cluster.OwnStorage("B", true)) // the first in the alphabet does not reach its disk
		require.NoError(t, cluster.KillVM("VM7"))
		require.NoError(t, s.ReportFault(t.Context(), rig.Crash(vm("VM7"), "A")))
		inc := rig.Incident(t, s, "VM7", "recovered", rig.ClosedAs(contract.OutcomeRecovered))
		require.Equal(t, append(slices.Repeat([]ladder.Rung{ladder.RungRestart}, 5), ladder.RungElsewhere), climbed(inc), asJSON(inc.Timeline))
		require.Equal(t, "C", inc.Host)
		last := inc.Decisions[len(inc.Decisions)-1]
		refused := placement.Refusal{Host: "B", Why: "its /var/lib/libvirt/images is not the same storage"}
		require.Equal(t, []placement.Refusal{refused}, last.Situation.Places.Others)
		on, err := cluster.ActiveOn("VM7")
		require.NoError(t, err)
		require.Equal(t, []string{"C"}, on)
		_, err = cluster.Host("A").Domain(t.Context(), vm("VM7").UUID)
		require.ErrorIs(t, err, hypervisor.ErrNotFound)
		require.NoError(t, cluster.OwnStorage("B", false))
	})

	t.Run("failed starts, everywhere, end with a person, who can retry", func(t *testing.T) {
		require.NoError(t, cluster.FailStarts("VM4", 7))
		require.NoError(t, cluster.KillVM("VM4"))
		require.NoError(t, s.ReportFault(t.Context(), rig.Crash(vm("VM4"), "A")))
		inc := rig.Incident(t, s, "VM4", "needs a person", func(i contract.Incident) bool { return i.NeedsPerson })
		require.Equal(t, append(slices.Repeat([]ladder.Rung{ladder.RungRestart}, 5), ladder.RungElsewhere, ladder.RungElsewhere), climbed(inc))
		require.Contains(t, inc.Why, "7 failed repairs within 10m0s; the last: ")
		rig.Eventually(t, "the list shows it", func() error {
			list, err := s.Incidents(t.Context(), starter.IncidentFilter{NeedsPerson: true})
			if err == nil && len(list) != 1 {
				err = fmt.Errorf("%d incidents need a person", len(list))
			}
			return err
		})

		req := contract.RecoverRequest{Site: rig.Site, VM: inc.VM, By: "tester", Why: "mended"}
		reply, err := s.Recover(t.Context(), req)
		require.NoError(t, err)
		require.True(t, reply.Already)
		require.Equal(t, inc.ID, reply.IncidentID)
		rig.Incident(t, s, "VM4", "recovered", rig.ClosedAs(contract.OutcomeRecovered))
	})

	t.Run("a host that may run it and does not answer stops the repair until it answers", func(t *testing.T) {
		require.NoError(t, cluster.CutHost("C"))
		require.NoError(t, cluster.KillVM("VM5"))
		require.NoError(t, s.ReportFault(t.Context(), rig.Crash(vm("VM5"), "B")))
		rig.Incident(t, s, "VM5", "in doubt", func(i contract.Incident) bool {
			return i.NeedsPerson && strings.Contains(i.Why, "C may be running it and cannot be asked")
		})
		starts, err := cluster.Starts("VM5")
		require.NoError(t, err)
		require.Zero(t, starts)
		require.NoError(t, cluster.HealHost("C"))
		rig.Incident(t, s, "VM5", "recovered", rig.ClosedAs(contract.OutcomeRecovered))
	})

	t.Run("a host that proof rules out delays nothing", func(t *testing.T) {
		require.NoError(t, cluster.HangLibvirtd("A"))
		require.NoError(t, cluster.KillVM("VM8"))
		f := rig.Crash(vm("VM8"), "B")
		f.Elsewhere = []fault.Sighting{{Host: "A", Absent: true, At: time.Now().Add(-time.Minute)}}
		require.NoError(t, s.ReportFault(t.Context(), f))
		rig.Incident(t, s, "VM8", "recovered", rig.ClosedAs(contract.OutcomeRecovered))
		require.NoError(t, cluster.ResumeLibvirtd("A"))
	})

	t.Run("a request for a running VM is answered, and finds nothing to do", func(t *testing.T) {
		v := vm("VM6")
		reply, err := s.Recover(t.Context(), contract.RecoverRequest{Site: rig.Site, VM: fault.VM{UUID: v.UUID, Name: v.Name}, By: "tester"})
		require.NoError(t, err)
		require.False(t, reply.Already)
		again, err := s.Recover(t.Context(), contract.RecoverRequest{Site: rig.Site, VM: fault.VM{UUID: v.UUID, Name: v.Name}, By: "tester"})
		require.NoError(t, err)
		require.Equal(t, contract.RecoverReply{IncidentID: reply.IncidentID, Already: true}, again)
		rig.Incident(t, s, "VM6", "cleared", rig.ClosedAs(contract.OutcomeCleared))
	})

	t.Run("the inventory names every VM and host", func(t *testing.T) {
		inv, err := s.Inventory(t.Context(), rig.Site)
		require.NoError(t, err)
		require.Len(t, inv.Hosts, 3)
		require.Len(t, inv.VMs, 12)
	})
	require.Empty(t, cluster.TwoCopies())
}
