package workflows_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/workflows"
)

const openID = "incident/s/A/20261122-070000"

// adopted is a record that continues as new while an incident is open.
func adopted() contract.RecordInput {
	return contract.RecordInput{
		Site: "s", Host: "A", Condition: contract.HostDown, Since: began,
		Memory: contract.Memory{LastID: openID, Open: []contract.OpenIncident{{
			ID: openID, Slot: "host/A", Kind: fault.KindHostOff, Faults: []string{"1"}, Status: contract.Status{ID: openID, Watches: true},
		}}},
	}
}

// hears takes what is signalled to an incident of an earlier run.
func (s site) hears(err error) *[]string {
	var heard []string
	s.OnSignalExternalWorkflow(mock.Anything, openID, "", mock.Anything, mock.Anything).Return(
		func(_, _, _, name string, _ any) error {
			heard = append(heard, name)
			return err
		}).Maybe()
	return &heard
}

func TestRecordContinuesAsNewOverAnOpenIncident(t *testing.T) {
	// The test's Temporal waits for children to end.
	s := hostRecord(t, func(ctx workflow.Context, in contract.WatchInput) (contract.Incident, error) {
		return contract.Incident{ID: in.ID}, workflow.Sleep(ctx, time.Hour)
	})
	s.sends(0, hostFault("1", fault.KindHostOff))
	s.RegisterDelayedCallback(func() { s.SetContinueAsNewSuggested(true) }, time.Minute)
	s.sends(2*time.Minute, hostFault("1", fault.KindHostOff))
	s.keep()
	var again *workflow.ContinueAsNewError
	require.ErrorAs(t, s.GetWorkflowError(), &again)
	var in contract.RecordInput
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(again.Input, &in))
	require.Equal(t, contract.HostDown, in.Condition)
	require.Len(t, in.Memory.Open, 1)
	require.Equal(t, []string{"1"}, in.Memory.Open[0].Faults)
	require.Equal(t, "host/A", in.Memory.Open[0].Slot)
}

// Whoever lets something be done to a VM stays until that has ended: Temporal
// would cancel it.
func TestAGuardianStaysWhileAnIncidentIsOpen(t *testing.T) {
	ended := false
	s := guardian(t, func(ctx workflow.Context, in contract.RecoverInput) (contract.Incident, error) {
		err := workflow.Sleep(ctx, time.Hour)
		ended = true
		return contract.Incident{ID: in.ID}, err
	})
	s.sends(0, crash("1"))
	s.RegisterDelayedCallback(func() { s.SetContinueAsNewSuggested(true) }, time.Minute)
	s.sends(2*time.Minute, crash("1"))
	s.guard()
	var again *workflow.ContinueAsNewError
	require.ErrorAs(t, s.GetWorkflowError(), &again)
	require.True(t, ended)
}

func TestAnAdoptedIncident(t *testing.T) {
	s := hostRecord(t, func(workflow.Context, contract.WatchInput) (contract.Incident, error) {
		return contract.Incident{}, fmt.Errorf("a second incident")
	})
	heard := s.hears(nil)
	s.sends(time.Minute, hostFault("1", fault.KindHostOff))
	s.clears(2*time.Minute, "1")
	s.RegisterDelayedCallback(func() {
		s.SignalWorkflow(contract.SignalEnded, contract.Ended{ID: openID, Outcome: contract.OutcomeCancelled})
	}, 3*time.Minute)
	late := hostFault("1", fault.KindHostOff)
	late.Last = began.Add(time.Hour)
	s.sends(4*time.Minute, late) // was dismissed
	s.record(t, 5*time.Minute, func(r contract.RecordState) {
		require.Empty(t, r.Open)
		require.Equal(t, contract.HostUp, r.Condition)
		require.Equal(t, []string{"1"}, r.Memory.Dismissed)
	})
	s.ExecuteWorkflow(workflows.Host, adopted())
	require.NoError(t, s.GetWorkflowError())
	require.Equal(t, []string{contract.SignalAdopted, contract.SignalFault, contract.SignalCleared}, *heard)
}

// An incident that ended while its record continued as new is noticed.
func TestAnAdoptedIncidentThatIsGone(t *testing.T) {
	opened := 0
	s := hostRecord(t, func(ctx workflow.Context, in contract.WatchInput) (contract.Incident, error) {
		opened++
		return untilCleared(ctx, in)
	})
	s.hears(&temporal.UnknownExternalWorkflowExecutionError{})
	still := hostFault("1", fault.KindHostOff)
	still.Last = began.Add(time.Hour)
	s.sends(time.Minute, still)
	s.clears(2*time.Minute, "1")
	s.ExecuteWorkflow(workflows.Host, adopted())
	require.NoError(t, s.GetWorkflowError())
	require.Equal(t, 1, opened)
}

func TestACancelledRecordTakesAnAdoptedIncidentWithIt(t *testing.T) {
	s := hostRecord(t, untilCleared)
	s.hears(nil)
	asked := false
	s.OnRequestCancelExternalWorkflow(mock.Anything, openID, "").Return(func(_, _, _ string) error {
		asked = true
		return nil
	})
	s.RegisterDelayedCallback(s.CancelWorkflow, time.Minute)
	s.RegisterDelayedCallback(func() {
		s.SignalWorkflow(contract.SignalEnded, contract.Ended{ID: openID, Outcome: contract.OutcomeCancelled})
	}, 2*time.Minute)
	s.ExecuteWorkflow(workflows.Host, adopted())
	var cancelled *temporal.CanceledError
	require.ErrorAs(t, s.GetWorkflowError(), &cancelled)
	require.True(t, asked)
}

// An alert has one incident, whatever becomes of its VM; another alert has another.
func TestAnAlertThatGoesOnHasHadItsIncident(t *testing.T) {
	opened := 0
	s := guardian(t, func(_ workflow.Context, in contract.RecoverInput) (contract.Incident, error) {
		opened++
		return contract.Incident{ID: in.ID, Fault: in.Fault, Outcome: contract.OutcomeStoodDown}, nil
	})
	f := crash("1")
	f.Kind, f.Source = fault.KindAlert, "alert/abc"
	s.sends(0, f)
	f.Last = began.Add(time.Hour)
	s.sends(time.Minute, f)
	f.ID = "2"
	s.sends(2*time.Minute, f)
	s.guard()
	require.Equal(t, 2, opened)
}
