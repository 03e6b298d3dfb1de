package worker_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor/simulated"
	"holdfast/starter"
	"holdfast/test/rig"
)

// hostFault is what a monitor says about a host, a pool or the site.
func hostFault(id string, kind fault.Kind, host string) fault.Fault {
	now := time.Now().UTC()
	return fault.Fault{
		ID: id, Kind: kind, Site: rig.Site, Host: host, First: now, Last: now, Reporter: "mon1", Why: fmt.Sprintf("%s: %s", host, kind),
		Votes: []fault.Vote{{From: "libvirt", Says: fault.HostSilent, Why: "no route to host", At: now}},
	}
}

func TestFaultsGoToWhoeverKeepsTheirSubject(t *testing.T) {
	c := rig.Dial(t, rig.Temporal(t).Address)
	s := starter.New(c)
	cluster := simulated.New(simulated.Options{Site: rig.Site, Hosts: 2, VMsPerHost: 1})
	rig.Serve(t, c, cluster, rig.Policy())
	open := func(what string, n int) []starter.IncidentSummary {
		t.Helper()
		var list []starter.IncidentSummary
		rig.Eventually(t, what, func() (err error) {
			list, err = s.Incidents(t.Context(), starter.IncidentFilter{Site: rig.Site, OpenOnly: true})
			if err == nil && len(list) != n {
				err = fmt.Errorf("%d are open: %+v", len(list), list)
			}
			return err
		})
		return list
	}
	vm, _ := cluster.VM("VM1")
	hung := rig.Crash(vm, "A")
	hung.Kind, hung.Why = fault.KindHung, "VM1 hangs"
	off := hostFault("off", fault.KindHostOff, "A")
	memory := hostFault("memory", fault.KindMemoryErrors, "A")
	pool := hostFault("pool", fault.KindPoolLost, "B")
	pool.Pool = "the images"
	storm := hostFault("storm", fault.KindStorm, "")
	alarm := hostFault("alarm", fault.KindHostCPU, "A")
	turned := off
	turned.ID, turned.Response = "turned", fault.RespondAlarm // as the site wants it
	for _, f := range []fault.Fault{hung, off, memory, pool, storm, alarm, turned, off} {
		require.NoError(t, s.ReportFault(t.Context(), f))
	}
	var subjects []string
	for _, i := range open("five incidents", 5) {
		subjects = append(subjects, i.Subject)
	}
	require.ElementsMatch(t, []string{"VM1", "A", "A", "the-images", rig.Site}, subjects)

	t.Run("an incident of a host is found, and tells its evidence", func(t *testing.T) {
		id, err := s.FindIncident(t.Context(), rig.Site, "A")
		require.NoError(t, err)
		var inc contract.Incident
		rig.Eventually(t, id, func() (err error) {
			if inc, err = s.Incident(t.Context(), id); err == nil && inc.Stage != contract.StageWatch {
				err = fmt.Errorf("is in stage %s", inc.Stage)
			}
			return err
		})
		require.True(t, inc.NeedsPerson)
		require.Len(t, inc.Fault.Votes, 1)
		id, err = s.FindIncident(t.Context(), rig.Site, "the-images")
		require.NoError(t, err)
		require.Contains(t, id, "incident/test/the-images/")
		_, err = s.FindIncident(t.Context(), rig.Site, "Z")
		require.ErrorContains(t, err, "Z has no incident")
	})

	t.Run("its record says how the host stands", func(t *testing.T) {
		r, ok, err := s.Record(t.Context(), rig.Site, "A")
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, contract.HostDown, r.Condition)
		require.Len(t, r.Open, 2)
		_, ok, err = s.Record(t.Context(), rig.Site, "Z")
		require.NoError(t, err)
		require.False(t, ok)
	})

	t.Run("what is over closes, and nothing else", func(t *testing.T) {
		seen := fault.Sighting{Host: "A", State: "answers", At: time.Now()}
		for _, f := range []fault.Fault{off, hung, alarm, turned} {
			require.NoError(t, s.ReportCleared(t.Context(), f, seen))
		}
		var kinds []string
		for _, i := range open("three incidents", 3) {
			kinds = append(kinds, i.Kind)
		}
		require.ElementsMatch(t, []string{"storm", "pool-lost", "memory-errors"}, kinds)
		rig.Incident(t, s, "VM1", "cleared", rig.ClosedAs(contract.OutcomeCleared))
		starts, err := cluster.Starts("VM1")
		require.NoError(t, err)
		require.Zero(t, starts)
	})

	t.Run("nobody keeps what never was", func(t *testing.T) {
		require.NoError(t, s.ReportCleared(t.Context(), hostFault("x", fault.KindHostOff, "B"), fault.Sighting{}))
	})

	t.Run("a person who cancels an incident has it dismissed", func(t *testing.T) {
		id, err := s.FindIncident(t.Context(), rig.Site, "the-images")
		require.NoError(t, err)
		require.NoError(t, c.CancelWorkflow(t.Context(), id, ""))
		open("two incidents", 2)
		again := pool
		again.Last = time.Now().Add(time.Minute)
		require.NoError(t, s.ReportFault(t.Context(), again))
		again.ID = "pool again" // another occurrence is another incident
		require.NoError(t, s.ReportFault(t.Context(), again))
		open("three incidents", 3)
	})

	t.Run("the worker has a vote about a host", func(t *testing.T) {
		votes, err := s.Probe(t.Context(), rig.Site, "A")
		require.NoError(t, err)
		require.Len(t, votes, 1)
		require.Equal(t, fault.HostAnswers, votes[0].Says)
		require.NoError(t, cluster.CutHost("A"))
		votes, err = s.Probe(t.Context(), rig.Site, "A")
		require.NoError(t, err)
		require.Equal(t, fault.HostSilent, votes[0].Says)
		require.NoError(t, cluster.HealHost("A"))
	})

	t.Run("a VM is annotated through its guardian", func(t *testing.T) {
		req := contract.AnnotateRequest{Site: rig.Site, By: "tester", AnnotateInput: contract.AnnotateInput{
			VM: fault.VM{UUID: vm.UUID, Name: vm.Name}, Changes: []string{"tier=db"},
		}}
		reply, err := s.Annotate(t.Context(), req)
		require.NoError(t, err)
		require.Len(t, reply.Hosts, 1)
		require.True(t, reply.Hosts[0].Changed)
		req.Changes = nil
		reply, err = s.Annotate(t.Context(), req)
		require.NoError(t, err)
		require.Contains(t, reply.Hosts[0].After, `name="tier" value="db"`)
		req.Changes = []string{"mode=off"}
		_, err = s.Annotate(t.Context(), req)
		require.ErrorContains(t, err, `"off" is not a mode`)
		req.By = ""
		_, err = s.Annotate(t.Context(), req)
		require.EqualError(t, err, "by is empty: say who asks")
	})
}
