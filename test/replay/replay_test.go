// Package replay replays recorded histories of finished workflows against
// today's code: a change that would break incidents under way fails here.
//
// The histories in testdata were recorded from a real server with
//
//	go test ./test/replay -run TestRecord -record SET -timeout 30m
//
// where SET is one of sets. Those of a released version are never recorded anew:
// new ones are added, as another set.
package replay

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	sdkworker "go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/encoding/protojson"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor/simulated"
	"holdfast/starter"
	"holdfast/test/rig"
	"holdfast/worker"
)

// sets are the recordings, by name.
var sets = map[string]func(*testing.T){
	"repair":    recordRepairs, // takes over 15 minutes: a guardian's quiet spell
	"watch":     recordWatching,
	"ladder":    recordLadders,
	"schedule":  recordSchedules,
	"backup":    recordBackups,
	"elsewhere": recordElsewhere,
}

var record = flag.String("record", "", "record a set of histories into testdata: repair, watch, ladder, schedule, backup or elsewhere")

func TestReplay(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, file := range files {
		seen[strings.Split(filepath.Base(file), ".")[0]] = true
		t.Run(filepath.Base(file), func(t *testing.T) {
			r := sdkworker.NewWorkflowReplayer()
			worker.Register(r)
			require.NoError(t, r.ReplayWorkflowHistoryFromJSONFile(nil, file))
		})
	}
	for _, name := range []string{
		contract.WorkflowVM, contract.WorkflowHost, contract.WorkflowSite, contract.WorkflowRecoverVM, contract.WorkflowWatchFault,
		contract.WorkflowInventory, contract.WorkflowSimFault, contract.WorkflowFaults, contract.WorkflowExplain, contract.WorkflowProbe,
		contract.WorkflowRound,
	} {
		require.True(t, seen[name], "no recorded history of workflow %s", name)
	}
}

// A workflow that does something else than what is recorded must be caught, or
// TestReplay could not fail.
func TestReplayCatchesAChange(t *testing.T) {
	changed := func(ctx workflow.Context, _ contract.RecoverInput) (contract.Incident, error) {
		return contract.Incident{}, workflow.Sleep(ctx, time.Hour)
	}
	files, err := filepath.Glob("testdata/RecoverVM.*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	r := sdkworker.NewWorkflowReplayer()
	r.RegisterWorkflowWithOptions(changed, workflow.RegisterOptions{Name: contract.WorkflowRecoverVM})
	require.Error(t, r.ReplayWorkflowHistoryFromJSONFile(nil, files[0]))
}

// TestRecord makes the histories; without -record it only checks that the
// recorded ones are there.
func TestRecord(t *testing.T) {
	if *record == "" {
		files, err := filepath.Glob("testdata/*.json")
		require.NoError(t, err)
		require.NotEmpty(t, files, "record them with -record")
		return
	}
	makeSet, ok := sets[*record]
	require.True(t, ok, "-record %s: known: %v", *record, slices.Sorted(maps.Keys(sets)))
	makeSet(t)
}

func recordRepairs(t *testing.T) {
	c := rig.Dial(t, rig.Temporal(t).Address)
	s := starter.New(c)
	cluster := simulated.New(simulated.Options{Site: rig.Site, Hosts: 2, VMsPerHost: 4})
	rig.Serve(t, c, cluster, rig.Policy())
	scenario := func(vm string, breakIt func(string) error, kind fault.Kind) {
		v, _ := cluster.VM(vm)
		on, err := cluster.ActiveOn(vm)
		require.NoError(t, err)
		require.NoError(t, breakIt(vm))
		f := rig.Crash(v, on[0])
		f.Kind = kind
		require.NoError(t, s.ReportFault(t.Context(), f))
	}
	scenario("VM1", cluster.KillVM, fault.KindCrashed)
	save(t, c, rig.Incident(t, s, "VM1", "recovered", rig.ClosedAs(contract.OutcomeRecovered)).ID, "crashed")
	scenario("VM2", cluster.PanicVM, fault.KindPanicked)
	save(t, c, rig.Incident(t, s, "VM2", "recovered", rig.ClosedAs(contract.OutcomeRecovered)).ID, "panicked")
	scenario("VM3", cluster.ShutdownVM, fault.KindCrashed)
	save(t, c, rig.Incident(t, s, "VM3", "stood down", rig.ClosedAs(contract.OutcomeStoodDown)).ID, "stood-down")
	require.NoError(t, cluster.FailStarts("VM4", 5))
	scenario("VM4", cluster.KillVM, fault.KindCrashed)
	inc := rig.Incident(t, s, "VM4", "needs a person", func(i contract.Incident) bool { return i.NeedsPerson })
	_, err := s.Recover(t.Context(), contract.RecoverRequest{Site: rig.Site, VM: inc.VM, By: "recorder"})
	require.NoError(t, err)
	save(t, c, rig.Incident(t, s, "VM4", "recovered", rig.ClosedAs(contract.OutcomeRecovered)).ID, "person-retry")
	_, err = s.Inventory(t.Context(), rig.Site)
	require.NoError(t, err)
	save(t, c, contract.InventoryID(rig.Site), "site")
	_, err = s.SimulateFault(t.Context(), rig.Site, contract.SimFaultInput{Action: "kill", Target: "VM1"})
	require.Error(t, err, "this rig has no injector")
	save(t, c, fmt.Sprintf("sim/%s/kill/VM1", rig.Site), "refused")
	for i, vm := range []string{"VM1", "VM4"} {
		v, _ := cluster.VM(vm)
		save(t, c, contract.GuardianID(rig.Site, v.UUID), []string{"one-incident", "person-retry"}[i])
	}
}

// save waits for a workflow to end and writes its history to testdata.
func save(t *testing.T, c client.Client, id, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	_ = c.GetWorkflow(ctx, id, "").Get(ctx, nil) // how it ended is part of the history
	require.NoError(t, ctx.Err())
	saveSoFar(t, c, id, name)
}

// saveSoFar writes the history that a workflow has had to testdata. One that
// goes on must have nothing to do, or what it does next is missing.
func saveSoFar(t *testing.T, c client.Client, id, name string) {
	t.Helper()
	var h historypb.History
	for it := c.GetWorkflowHistory(t.Context(), id, "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); it.HasNext(); {
		event, err := it.Next()
		require.NoError(t, err)
		h.Events = append(h.Events, event)
	}
	kind := h.GetEvents()[0].GetWorkflowExecutionStartedEventAttributes().GetWorkflowType().GetName()
	out, err := protojson.MarshalOptions{Indent: " "}.Marshal(&h)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join("testdata", fmt.Sprintf("%s.%s.json", kind, name)), out, 0o644))
}
