package worker_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor/simulated"
	"holdfast/starter"
	"holdfast/test/rig"
)

// longHistory is how many events make Temporal suggest to continue as new.
const longHistory = 4096

// A record whose history grows long continues as new over an incident that is
// still open: the incident goes on, is told what comes, and says how it ends.
func TestARecordOutgrowsItsHistoryWhileAnIncidentIsOpen(t *testing.T) {
	c := rig.Dial(t, rig.Temporal(t).Address)
	s := starter.New(c)
	rig.Serve(t, c, simulated.New(simulated.Options{Site: rig.Site, Hosts: 1}), rig.Policy())
	off := hostFault("off", fault.KindHostOff, "A")
	require.NoError(t, s.ReportFault(t.Context(), off))
	record := contract.HostRecordID(rig.Site, "A")
	first, err := c.DescribeWorkflowExecution(t.Context(), record, "")
	require.NoError(t, err)
	id := ""
	rig.Eventually(t, "the incident", func() (err error) {
		id, err = s.FindIncident(t.Context(), rig.Site, "A")
		return err
	})
	began, err := s.Incident(t.Context(), id)
	require.NoError(t, err)

	at := time.Now()
	var many errgroup.Group
	many.SetLimit(32)
	for i := range longHistory {
		again := off
		again.Last = off.Last.Add(time.Duration(i) * time.Second)
		many.Go(func() error { return s.ReportFault(t.Context(), again) })
	}
	require.NoError(t, many.Wait())
	t.Logf("said %d times in %s", longHistory, time.Since(at))
	rig.Eventually(t, "another run of the record", func() error {
		now, err := c.DescribeWorkflowExecution(t.Context(), record, "")
		if err == nil && now.GetWorkflowExecutionInfo().GetExecution().GetRunId() == first.GetWorkflowExecutionInfo().GetExecution().GetRunId() {
			err = fmt.Errorf("history has %d events", now.GetWorkflowExecutionInfo().GetHistoryLength())
		}
		return err
	})
	r, ok, err := s.Record(t.Context(), rig.Site, "A")
	require.NoError(t, err)
	require.True(t, ok)
	require.Len(t, r.Open, 1, "the incident is adopted")
	require.Equal(t, id, r.Open[0].ID)
	require.Equal(t, contract.HostDown, r.Condition)

	now, err := s.Incident(t.Context(), id)
	require.NoError(t, err)
	require.Empty(t, now.Outcome, "nobody has cancelled it")
	require.Equal(t, began.Opened, now.Opened)
	require.NoError(t, s.ReportCleared(t.Context(), off, fault.Sighting{Host: "A", State: "answers"}))
	rig.Eventually(t, "the record", func() error {
		r, _, err := s.Record(t.Context(), rig.Site, "A")
		if err == nil && len(r.Open) > 0 {
			err = fmt.Errorf("%+v", r.Open)
		}
		return err
	})
	now, err = s.Incident(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, contract.OutcomeCleared, now.Outcome)
	r, _, err = s.Record(t.Context(), rig.Site, "A")
	require.NoError(t, err)
	require.Equal(t, contract.HostUp, r.Condition)
	require.Contains(t, r.Memory.Handled, "off")
}
