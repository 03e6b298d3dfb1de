package workflows_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/ladder"
	"holdfast/workflows"
)

func hostFault(id string, kind fault.Kind) fault.Fault {
	return fault.Fault{
		ID: id, Kind: kind, Site: "s", Host: "A", First: began, Last: began, Reporter: "mon1", Why: fmt.Sprintf("A has %s", kind),
		Votes: []fault.Vote{{From: "libvirt", Says: fault.HostSilent, Why: "no route to host", At: began}},
	}
}

func (s site) wants(p ladder.Policy) {
	s.OnActivity(s.act.Policy, mock.Anything, mock.Anything).Return(p, nil)
}

func (s site) watchFault(t *testing.T, f fault.Fault) contract.Incident {
	s.ExecuteWorkflow(workflows.WatchFault, contract.WatchInput{ID: "incident/s/A/1", Fault: f})
	return s.incident(t)
}

func TestWatchFault(t *testing.T) {
	s := newSite(t)
	s.wants(policy())
	s.at(t, time.Minute, func(inc contract.Incident) {
		require.Equal(t, contract.StageWatch, inc.Stage)
		require.True(t, inc.NeedsPerson)
		require.Equal(t, "A", inc.Host)
		require.Contains(t, inc.Why, "the ladder is fence, failover, person; fence, failover do not exist yet")
		require.Len(t, inc.Fault.Votes, 1)
	})
	frozen := hostFault("1", fault.KindHostUnreachable)
	frozen.Frozen = "2 of 3 hosts failed"
	s.sends(2*time.Minute, frozen)
	s.at(t, 3*time.Minute, func(inc contract.Incident) {
		require.Contains(t, inc.Why, "nothing may be done to hosts: 2 of 3 hosts failed")
	})
	s.clears(4*time.Minute, "1")
	inc := s.watchFault(t, hostFault("1", fault.KindHostUnreachable))
	require.Equal(t, contract.OutcomeCleared, inc.Outcome, story(inc))
	require.Contains(t, story(inc), "frozen: 2 of 3 hosts failed")
	require.False(t, inc.NeedsPerson)
}

// A host that was unreachable and turns out to be off is the same trouble.
func TestWatchFaultGoesOnWithWhatTakesItsPlace(t *testing.T) {
	s := newSite(t)
	s.wants(policy())
	s.clears(time.Minute, "1")
	s.sends(time.Minute+time.Second, hostFault("2", fault.KindHostOff))
	s.at(t, 2*time.Minute, func(inc contract.Incident) {
		require.Equal(t, fault.KindHostOff, inc.Fault.Kind)
		require.Contains(t, inc.Why, "A has host-off")
	})
	s.clears(3*time.Minute, "2")
	require.Equal(t, contract.OutcomeCleared, s.watchFault(t, hostFault("1", fault.KindHostUnreachable)).Outcome)
}

func TestWatchFaultInObserveMode(t *testing.T) {
	s := newSite(t)
	p := policy()
	p.Observe, p.ObserveWhy = true, "the site file"
	s.wants(p)
	s.at(t, time.Minute, func(inc contract.Incident) {
		require.False(t, inc.NeedsPerson)
		require.Contains(t, inc.Why, "observe mode: the site file")
	})
	s.clears(2*time.Minute, "1")
	require.Equal(t, contract.OutcomeCleared, s.watchFault(t, hostFault("1", fault.KindPoolLost)).Outcome)
}

func TestWatchFaultWithoutAWorkerCallsAPerson(t *testing.T) {
	s := newSite(t)
	nobody := temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_SCHEDULE_TO_START, nil)
	s.OnActivity(s.act.Policy, mock.Anything, mock.Anything).Return(ladder.Policy{}, nobody)
	s.at(t, time.Minute, func(inc contract.Incident) {
		require.True(t, inc.NeedsPerson)
		require.Contains(t, story(inc), "start `holdfast worker` there")
	})
	s.clears(2*time.Minute, "1")
	require.Equal(t, contract.OutcomeCleared, s.watchFault(t, hostFault("1", fault.KindHostOff)).Outcome)
}

func TestWatchFaultCancelled(t *testing.T) {
	s := newSite(t)
	s.wants(policy())
	s.RegisterDelayedCallback(s.CancelWorkflow, time.Minute)
	s.ExecuteWorkflow(workflows.WatchFault, contract.WatchInput{ID: "i", Fault: hostFault("1", fault.KindHostOff)})
	var cancelled *temporal.CanceledError
	require.ErrorAs(t, s.GetWorkflowError(), &cancelled)
	value, err := s.QueryWorkflow(contract.QueryIncident)
	require.NoError(t, err)
	var inc contract.Incident
	require.NoError(t, value.Get(&inc))
	require.Equal(t, contract.OutcomeCancelled, inc.Outcome)
}

func TestAPersonTellsAnIncidentThatWatches(t *testing.T) {
	s := newSite(t)
	s.OnActivity(s.act.Policy, mock.Anything, mock.Anything).Return(policy(), nil)
	said := s.tells(time.Minute, act(contract.VerbApprove, "ann"))
	nobody := s.tells(time.Minute, act(contract.VerbCancel, ""))
	s.tells(2*time.Minute, act(contract.VerbCancel, "ann"))
	s.ExecuteWorkflow(workflows.WatchFault, contract.WatchInput{ID: "i", Fault: hostFault("1", fault.KindHostOff)})
	inc := s.incident(t)
	require.Equal(t, contract.OutcomeCancelled, inc.Outcome)
	require.Equal(t, "ann cancelled it: because", inc.Why)
	require.ErrorContains(t, said.err, "nothing is done about it that you could approve")
	require.ErrorContains(t, nobody.err, "by is empty")
	require.Len(t, inc.Acts, 1)
}

func TestWatchFaultContinuesAsNew(t *testing.T) {
	s := newSite(t)
	s.wants(policy())
	s.SetContinueAsNewSuggested(true)
	s.sends(time.Minute, hostFault("1", fault.KindHostOff))
	s.ExecuteWorkflow(workflows.WatchFault, contract.WatchInput{ID: "i", Fault: hostFault("1", fault.KindHostOff)})
	var again *workflow.ContinueAsNewError
	require.ErrorAs(t, s.GetWorkflowError(), &again)
}

// hostRecord runs the record of host A with incidents that the test answers for.
func hostRecord(t *testing.T, incidents func(workflow.Context, contract.WatchInput) (contract.Incident, error)) site {
	s := newSite(t)
	s.RegisterWorkflowWithOptions(incidents, workflow.RegisterOptions{Name: contract.WorkflowWatchFault})
	return s
}

func (s site) keep() {
	s.ExecuteWorkflow(workflows.Host, contract.RecordInput{Site: "s", Host: "A"})
}

func (s site) record(t *testing.T, after time.Duration, look func(contract.RecordState)) {
	s.RegisterDelayedCallback(func() {
		value, err := s.QueryWorkflow(contract.QueryRecord)
		require.NoError(t, err)
		var state contract.RecordState
		require.NoError(t, value.Get(&state))
		look(state)
	}, after)
}

// untilCleared stands for an incident: it ends when its fault is over.
func untilCleared(ctx workflow.Context, in contract.WatchInput) (contract.Incident, error) {
	var c contract.Cleared
	workflow.GetSignalChannel(ctx, contract.SignalCleared).Receive(ctx, &c)
	return contract.Incident{ID: in.ID, Fault: in.Fault, Outcome: contract.OutcomeCleared}, ctx.Err()
}

func TestHostRecordHasAnIncidentForEachSlot(t *testing.T) {
	var opened []string
	s := hostRecord(t, func(ctx workflow.Context, in contract.WatchInput) (contract.Incident, error) {
		opened = append(opened, in.ID+" "+string(in.Fault.Kind))
		return untilCleared(ctx, in)
	})
	s.sends(0, hostFault("1", fault.KindLibvirtdHung))
	s.sends(time.Second, hostFault("1", fault.KindLibvirtdHung))   // said again
	s.sends(2*time.Second, hostFault("2", fault.KindHostOff))      // takes its place: the same slot
	s.sends(3*time.Second, hostFault("3", fault.KindMemoryErrors)) // beside it
	s.record(t, 10*time.Second, func(r contract.RecordState) {
		require.Equal(t, contract.HostDown, r.Condition)
		require.Len(t, r.Open, 2)
		require.Equal(t, []string{"1", "2"}, r.Open[0].Faults)
	})
	s.clears(20*time.Second, "2")
	s.record(t, 30*time.Second, func(r contract.RecordState) {
		require.Equal(t, contract.HostUp, r.Condition)
		require.Len(t, r.Open, 1)
	})
	s.sends(40*time.Second, hostFault("2", fault.KindHostOff)) // a late repeat
	s.clears(50*time.Second, "3")
	still := hostFault("2", fault.KindHostUnreachable)
	still.Last = began.Add(time.Hour)
	s.sends(time.Minute, still)
	s.record(t, 2*time.Minute, func(r contract.RecordState) { require.Equal(t, contract.HostSuspect, r.Condition) })
	s.clears(3*time.Minute, "2")
	s.keep()
	require.NoError(t, s.GetWorkflowError(), "closes after a quiet spell")
	require.Equal(t, []string{
		"incident/s/A/20261122-080000 libvirtd-hung", "incident/s/A/20261122-080003 memory-errors", "incident/s/A/20261122-080100 host-unreachable",
	}, opened)
}

func TestHostRecordPassesOnWhatIsSaidAgain(t *testing.T) {
	said := 0
	s := hostRecord(t, func(ctx workflow.Context, in contract.WatchInput) (contract.Incident, error) {
		workflow.Go(ctx, func(ctx workflow.Context) {
			for {
				var f fault.Fault
				workflow.GetSignalChannel(ctx, contract.SignalFault).Receive(ctx, &f)
				said++
			}
		})
		return untilCleared(ctx, in)
	})
	for i := range 30 { // five minutes apart, by two monitors
		s.sends(time.Duration(i)*150*time.Second, hostFault("1", fault.KindHostOff))
	}
	frozen := hostFault("1", fault.KindHostOff)
	frozen.Frozen = "a storm"
	s.sends(10*time.Second, frozen) // is worth more haste
	s.clears(75*time.Minute, "1")
	s.keep()
	require.NoError(t, s.GetWorkflowError())
	require.InDelta(t, 15, said, 2)
}

func TestHostRecordDropsWhatAPersonDismissed(t *testing.T) {
	opened := 0
	s := hostRecord(t, func(workflow.Context, contract.WatchInput) (contract.Incident, error) {
		opened++
		return contract.Incident{}, temporal.NewCanceledError()
	})
	f := hostFault("1", fault.KindHostOff)
	s.sends(0, f)
	f.Last = began.Add(time.Hour)
	s.sends(time.Minute, f)
	s.keep()
	require.Equal(t, 1, opened)
}

// A site's record has incidents of several pools and of the site at once.
func TestSiteRecord(t *testing.T) {
	var opened []string
	s := newSite(t)
	s.RegisterWorkflowWithOptions(func(ctx workflow.Context, in contract.WatchInput) (contract.Incident, error) {
		opened = append(opened, in.ID)
		return untilCleared(ctx, in)
	}, workflow.RegisterOptions{Name: contract.WorkflowWatchFault})
	pool := fault.Fault{ID: "1", Kind: fault.KindPoolLost, Site: "s", Host: "A", Pool: "zfs pool/1", First: began, Last: began, Why: "gone"}
	other := pool
	other.ID, other.Pool = "2", "backup"
	storm := fault.Fault{ID: "3", Kind: fault.KindStorm, Site: "s", First: began, Last: began, Why: "3 of 4 hosts failed"}
	for i, f := range []fault.Fault{pool, other, storm} {
		s.sends(time.Duration(i)*time.Millisecond, f)
		s.clears(time.Minute, f.ID)
	}
	s.ExecuteWorkflow(workflows.Site, contract.RecordInput{Site: "s"})
	require.NoError(t, s.GetWorkflowError())
	require.ElementsMatch(t, []string{"incident/s/zfs-pool-1/20261122-080000", "incident/s/backup/20261122-080000", "incident/s/s/20261122-080000"}, opened)
}
