package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor/simulated"
	"holdfast/starter"
)

func TestSimulated(t *testing.T) {
	server := temporalServer(t)
	c := dial(t, server.Address)
	s := starter.New(c)
	cluster := simulated.New(simulated.Options{Site: site, Hosts: 3, VMsPerHost: 4})
	serve(t, c, cluster, testPolicy())
	vm := func(name string) simulated.VM {
		v, ok := cluster.VM(name)
		require.True(t, ok)
		return v
	}

	t.Run("a crashed VM is started again, once", func(t *testing.T) {
		require.NoError(t, cluster.KillVM("VM1"))
		require.NoError(t, s.ReportFault(t.Context(), crashOf(vm("VM1"), "A")))
		inc := incident(t, s, "VM1", "recovered", closedAs(contract.OutcomeRecovered))
		require.Equal(t, contract.Stage("restart"), inc.Stage)
		require.Len(t, inc.Attempts, 1)
		starts, err := cluster.Starts("VM1")
		require.NoError(t, err)
		require.Equal(t, 1, starts)
	})

	t.Run("a person's stop is intent", func(t *testing.T) {
		require.NoError(t, cluster.DestroyVM("VM2"))
		require.NoError(t, s.ReportFault(t.Context(), crashOf(vm("VM2"), "B")))
		inc := incident(t, s, "VM2", "stood down", closedAs(contract.OutcomeStoodDown))
		require.Contains(t, inc.Why, "a person stopped VM2")
	})

	t.Run("a panicked VM is stopped and started", func(t *testing.T) {
		require.NoError(t, cluster.PanicVM("VM3"))
		f := crashOf(vm("VM3"), "C")
		f.Kind = fault.KindPanicked
		require.NoError(t, s.ReportFault(t.Context(), f))
		incident(t, s, "VM3", "recovered", closedAs(contract.OutcomeRecovered))
	})

	t.Run("five failed starts end with a person, who can retry", func(t *testing.T) {
		require.NoError(t, cluster.FailStarts("VM4", 5))
		require.NoError(t, cluster.KillVM("VM4"))
		require.NoError(t, s.ReportFault(t.Context(), crashOf(vm("VM4"), "A")))
		inc := incident(t, s, "VM4", "needs a person", func(i contract.Incident) bool { return i.NeedsPerson })
		require.Len(t, inc.Attempts, 5)
		require.Contains(t, inc.Why, "5 failed repairs within 10m0s; the last: ")
		list, err := s.Incidents(t.Context(), starter.IncidentFilter{NeedsPerson: true})
		require.NoError(t, err)
		require.Len(t, list, 1)

		req := contract.RecoverRequest{Site: site, VM: inc.VM, By: "tester", Why: "mended"}
		eventually(t, "guardian passes the request on", func() error {
			reply, err := s.Recover(t.Context(), req)
			require.NoError(t, err)
			require.True(t, reply.Already)
			require.Equal(t, inc.ID, reply.IncidentID)
			return nil
		})
		incident(t, s, "VM4", "recovered", closedAs(contract.OutcomeRecovered))
	})

	t.Run("a host that may run it and does not answer stops the repair until it answers", func(t *testing.T) {
		require.NoError(t, cluster.CutHost("C"))
		require.NoError(t, cluster.KillVM("VM5"))
		require.NoError(t, s.ReportFault(t.Context(), crashOf(vm("VM5"), "B")))
		incident(t, s, "VM5", "in doubt", func(i contract.Incident) bool {
			return i.NeedsPerson && strings.Contains(i.Why, "C may be running it and cannot be asked")
		})
		starts, err := cluster.Starts("VM5")
		require.NoError(t, err)
		require.Zero(t, starts)
		require.NoError(t, cluster.HealHost("C"))
		incident(t, s, "VM5", "recovered", closedAs(contract.OutcomeRecovered))
	})

	t.Run("a host that proof rules out delays nothing", func(t *testing.T) {
		require.NoError(t, cluster.HangLibvirtd("A"))
		require.NoError(t, cluster.KillVM("VM8"))
		f := crashOf(vm("VM8"), "B")
		f.Elsewhere = []fault.Sighting{{Host: "A", Absent: true, At: time.Now().Add(-time.Minute)}}
		require.NoError(t, s.ReportFault(t.Context(), f))
		incident(t, s, "VM8", "recovered", closedAs(contract.OutcomeRecovered))
		require.NoError(t, cluster.ResumeLibvirtd("A"))
	})

	t.Run("a request for a running VM is answered, and finds nothing to do", func(t *testing.T) {
		v := vm("VM6")
		reply, err := s.Recover(t.Context(), contract.RecoverRequest{Site: site, VM: fault.VM{UUID: v.UUID, Name: v.Name}, By: "tester"})
		require.NoError(t, err)
		require.False(t, reply.Already)
		again, err := s.Recover(t.Context(), contract.RecoverRequest{Site: site, VM: fault.VM{UUID: v.UUID, Name: v.Name}, By: "tester"})
		require.NoError(t, err)
		require.Equal(t, contract.RecoverReply{IncidentID: reply.IncidentID, Already: true}, again)
		incident(t, s, "VM6", "cleared", closedAs(contract.OutcomeCleared))
	})

	t.Run("the inventory names every VM and host", func(t *testing.T) {
		inv, err := s.Inventory(t.Context(), site)
		require.NoError(t, err)
		require.Len(t, inv.Hosts, 3)
		require.Len(t, inv.VMs, 12)
	})
	require.Empty(t, cluster.TwoCopies())
}
