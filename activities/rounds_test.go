package activities_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/activities"
	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor/simulated"
)

// byTier has a schedule of its own for the databases, none for what is scratch, and
// one for all others.
func byTier(labels map[string]string) contract.SnapshotPolicy {
	switch labels["tier"] {
	case "db":
		return contract.SnapshotPolicy{Class: "db", Every: time.Hour, Keep: "2h"}
	case "scratch":
		return contract.SnapshotPolicy{Class: "scratch", Keep: "2h"}
	}
	return contract.SnapshotPolicy{Every: time.Hour, Keep: "1d"}
}

// scheduled are the activities of a site that has schedules.
func scheduled(t *testing.T, c *simulated.Cluster) *activities.Activities {
	return of(t, c, func(o *activities.Options) { o.Snapshots = byTier })
}

func (r vmRig) annotate(t *testing.T, changes ...string) {
	t.Helper()
	_, err := r.Annotate(t.Context(), contract.AnnotateInput{VM: r.vm, Changes: changes})
	require.NoError(t, err)
}

// vmRig is one VM of a site.
type vmRig struct {
	*activities.Activities
	c  *simulated.Cluster
	vm fault.VM
}

func vmOf(t *testing.T, a *activities.Activities, c *simulated.Cluster, name string) vmRig {
	t.Helper()
	sim, ok := c.VM(name)
	require.True(t, ok)
	return vmRig{a, c, fault.VM{UUID: sim.UUID, Name: name}}
}

// pages goes through a round, so many VMs at a time.
func pages(t *testing.T, a *activities.Activities, class string, most int) (vms map[string]string, all []contract.RoundPage) {
	t.Helper()
	vms = map[string]string{}
	in := contract.RoundPageInput{Class: class, Most: most}
	for {
		page, err := a.ListRound(t.Context(), in)
		require.NoError(t, err)
		require.LessOrEqual(t, len(page.VMs), most)
		require.Positive(t, page.Share)
		require.LessOrEqual(t, page.Share, 1.0)
		all = append(all, page)
		for i, v := range page.VMs {
			require.Empty(t, vms[v.VM.Name], "%s is there twice", v.VM.Name)
			vms[v.VM.Name] = v.Host
			if i > 0 && page.VMs[i-1].Host != v.Host {
				for _, before := range page.VMs[:i-1] {
					require.NotEqual(t, v.Host, before.Host, "those of a host are together")
				}
			}
		}
		if page.Next == nil {
			return vms, all
		}
		require.NotEqual(t, in.From, *page.Next, "it goes on")
		in.From = *page.Next
	}
}

// Every VM that is active comes once, whatever the size of the pages.
func TestARoundIsAllVMs(t *testing.T) {
	c := simulated.New(simulated.Options{Site: site, Hosts: 11, VMsPerHost: 3})
	a := scheduled(t, c)
	require.NoError(t, c.ShutdownVM("VM1"))
	require.NoError(t, c.ShutdownVM("VM7"))
	vmOf(t, a, c, "VM2").annotate(t, "tier=db")
	vmOf(t, a, c, "VM3").annotate(t, "tier=scratch")
	require.NoError(t, c.CutHost("E"))
	for _, most := range []int{1, 2, 3, 4, 10, 33, 200} {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			vms, all := pages(t, a, "", most)
			require.Len(t, vms, 33-2-2-3)
			off, silent := 0, []contract.RoundNote{}
			for _, p := range all {
				off += p.NotRunning
				silent = append(silent, p.Silent...)
			}
			require.Equal(t, 2, off)
			require.Len(t, silent, 1, "%v", silent)
			require.Equal(t, "E", silent[0].Host)
			require.Contains(t, silent[0].Why, "no route to host")
			if most == 200 {
				require.Len(t, all, 1)
				require.InDelta(t, 1, all[0].Share, 0)
			}
		})
	}
	vms, _ := pages(t, a, "db", 200)
	require.Equal(t, map[string]string{"VM2": "B"}, vms)
	vms, _ = pages(t, a, "scratch", 200)
	require.Empty(t, vms, "every is 0")
	_, err := of(t, c, nil).ListRound(t.Context(), contract.RoundPageInput{Most: 1})
	require.ErrorContains(t, err, "no snapshots in its site file")
}

func (r vmRig) turn(t *testing.T, at time.Time, change ...func(*contract.SnapshotInput)) contract.Turn {
	t.Helper()
	in := contract.SnapshotInput{
		VM: r.vm, Host: "A", Verb: contract.SnapshotTurn, Name: contract.ScheduledName(at), Description: contract.MadeBySchedule("snapshots/s"),
		Turn: &contract.TurnInput{Schedule: "snapshots/s", Keep: "1d"},
	}
	for _, do := range change {
		do(&in)
	}
	out, err := r.ScheduledSnapshot(t.Context(), in)
	require.NoError(t, err)
	return out
}

func TestATurn(t *testing.T) {
	c := simulated.New(simulated.Options{Site: site, Hosts: 1, VMsPerHost: 3})
	a := scheduled(t, c)
	vm1, vm2, vm3 := vmOf(t, a, c, "VM1"), vmOf(t, a, c, "VM2"), vmOf(t, a, c, "VM3")
	now := time.Now()
	minutes := func(n int) time.Time { return now.Add(time.Duration(n) * time.Minute) }

	t.Run("made once, with a plan", func(t *testing.T) {
		for i := range 3 {
			out := vm1.turn(t, minutes(i))
			require.Equal(t, contract.ScheduledName(minutes(i)), out.Made)
			require.Empty(t, out.Note, "its agent answers")
			require.Len(t, out.Plan, i+1)
		}
		again := vm1.turn(t, minutes(2))
		require.True(t, again.Already, "a worker died after it")
		require.Equal(t, "1d", again.Rule)
		var prune []string
		for _, s := range again.Plan {
			if !s.Keep {
				prune = append(prune, s.Name)
			}
		}
		require.Equal(t, []string{contract.ScheduledName(minutes(0))}, prune)
	})
	t.Run("what a person made, and an incident kept, stays", func(t *testing.T) {
		for _, name := range []string{"mine", "auto-mine", contract.ScheduledName(minutes(-9)), contract.KeptPrefix + "1"} {
			_, err := a.Snapshot(t.Context(), contract.SnapshotInput{VM: vm1.vm, Host: "A", Verb: contract.SnapshotCreate, Name: name})
			require.NoError(t, err)
		}
		said := map[string]contract.PlannedSnapshot{}
		for _, s := range vm1.turn(t, minutes(3)).Plan {
			said[s.Name] = s
		}
		for _, name := range []string{"mine", "auto-mine", contract.ScheduledName(minutes(-9))} {
			require.True(t, said[name].Keep)
			require.Equal(t, "no schedule made it", said[name].Why)
		}
		require.Equal(t, "an incident kept it", said[contract.KeptPrefix+"1"].Why)
		require.False(t, said[contract.ScheduledName(minutes(0))].Keep)
	})
	t.Run("no agent, no freeze, and so it is said", func(t *testing.T) {
		require.NoError(t, c.StopAgent("VM2"))
		require.Contains(t, vm2.turn(t, now).Note, "as after a power cut")
	})
	t.Run("no room is a failure", func(t *testing.T) {
		require.NoError(t, c.FailSnapshots("VM2", 1))
		out := vm2.turn(t, minutes(1))
		require.Empty(t, out.Made)
		require.Contains(t, out.Failed, "no space left on device")
		require.Len(t, out.Plan, 1)
	})
	t.Run("passed over", func(t *testing.T) {
		vm3.annotate(t, "hold=ann: moves its disk")
		out := vm3.turn(t, now)
		require.Equal(t, contract.PassedHeld, out.Passed)
		require.Equal(t, "ann: moves its disk", out.Why)
		require.Empty(t, out.Plan)
		vm3.annotate(t, "hold-", "mode=observe")
		require.Contains(t, vm3.turn(t, now).Why, "its annotation says observe")
		vm3.annotate(t, "mode-", "tier=db")
		out = vm3.turn(t, now)
		require.Equal(t, contract.PassedMoved, out.Passed)
		require.Equal(t, "its labels put it under that of class db now", out.Why)
		vm3.annotate(t, "tier=scratch")
		require.Equal(t, "its labels put it under no schedule now", vm3.turn(t, now).Why)
		vm3.annotate(t, "tier-")
		// With memory it is inside of the images: of a layer and memory there is none.
		out = vm3.turn(t, now, func(in *contract.SnapshotInput) { in.Memory, in.External = true, true })
		require.Equal(t, contract.PassedUnsupported, out.Passed, "%+v", out)
		require.NoError(t, c.SuspendVM("VM3"))
		out = vm3.turn(t, now)
		require.Equal(t, contract.PassedNotRunning, out.Passed)
		require.Contains(t, out.Why, "paused")
		out = vm3.turn(t, now, func(in *contract.SnapshotInput) { in.VM.UUID = "99999999-9999-4999-8999-999999999999" })
		require.Equal(t, contract.PassedMoved, out.Passed)
	})
	t.Run("a host that does not answer is an error, to be tried again", func(t *testing.T) {
		require.NoError(t, c.CutHost("A"))
		_, err := a.ScheduledSnapshot(t.Context(), contract.SnapshotInput{VM: vm1.vm, Host: "A", Verb: contract.SnapshotTurn, Name: "auto-1", Turn: &contract.TurnInput{Keep: "1d"}})
		require.ErrorContains(t, err, "no route to host")
	})
}

// Where pruning does not work, there must be an end to layers.
func TestNoMoreAreMadeWhereNoneIsPruned(t *testing.T) {
	c := simulated.New(simulated.Options{Site: site, Hosts: 1, VMsPerHost: 1})
	vm := vmOf(t, scheduled(t, c), c, "VM1")
	for i := range 5 { // 1d keeps two at most
		require.NotEmpty(t, vm.turn(t, time.Now().Add(time.Duration(i)*time.Minute)).Made)
	}
	out := vm.turn(t, time.Now().Add(time.Hour))
	require.Contains(t, out.Failed, "it has 5 snapshots of schedules where 1d keeps at most 2")
	require.Len(t, out.Plan, 5, "it is told what is to go")
	require.False(t, out.Plan[4].Keep)
}

// What a restore has put beside the present state is not forgotten: its files would
// stay where nobody knows of them.
func TestWhatLiesBesideStays(t *testing.T) {
	c := simulated.New(simulated.Options{Site: site, Hosts: 1, VMsPerHost: 1})
	vm := vmOf(t, scheduled(t, c), c, "VM1")
	at := func(n int) time.Time { return time.Date(2026, 11, 22, n, 0, 0, 0, time.UTC) }
	for i := range 3 {
		vm.turn(t, at(i))
	}
	require.NoError(t, c.DestroyVM("VM1"))
	_, err := vm.Revert(t.Context(), contract.RevertInput{VM: vm.vm, Host: "A", Name: contract.ScheduledName(at(1))})
	require.NoError(t, err)
	_, err = vm.Start(t.Context(), contract.StartInput{VM: vm.vm, Host: "A"})
	require.NoError(t, err)
	for i := range 3 {
		vm.turn(t, at(3+i))
	}
	said := map[string]contract.PlannedSnapshot{}
	for _, s := range vm.turn(t, at(6)).Plan {
		said[s.Name] = s
	}
	beside := said[contract.ScheduledName(at(2))]
	require.True(t, beside.Keep)
	require.Contains(t, beside.Why, "beside the present state")
	require.False(t, said[contract.ScheduledName(at(1))].Keep, "the one that it was put back to is in the line")
}

func TestToPruneIsPlannedByTheSiteFile(t *testing.T) {
	c := simulated.New(simulated.Options{Site: site, Hosts: 1, VMsPerHost: 1})
	vm := vmOf(t, scheduled(t, c), c, "VM1")
	for i := range 3 {
		vm.turn(t, time.Now().Add(time.Duration(i)*time.Minute))
	}
	vm.annotate(t, "tier=scratch", "hold=ann")
	require.NoError(t, c.ShutdownVM("VM1"))
	for keep, rule := range map[string]string{"": "2h", "3w": "3w"} {
		out, err := vm.ScheduledSnapshot(t.Context(), contract.SnapshotInput{VM: vm.vm, Host: "A", Verb: contract.SnapshotPrune, Turn: &contract.TurnInput{Keep: keep, DryRun: true}})
		require.NoError(t, err)
		require.Equal(t, rule, out.Rule)
		require.Len(t, out.Plan, 3)
		require.Empty(t, out.Made)
	}
	_, err := vm.ScheduledSnapshot(t.Context(), contract.SnapshotInput{VM: vm.vm, Host: "A", Verb: contract.SnapshotPrune, Turn: &contract.TurnInput{Keep: "all"}})
	require.ErrorContains(t, err, `"all" is not a number`)
}

func TestAskGuardian(t *testing.T) {
	c := simulated.New(simulated.Options{Site: site, Hosts: 1, VMsPerHost: 1})
	var reply contract.SnapshotReply
	var says error
	a := of(t, c, func(o *activities.Options) {
		o.AskGuardian = func(context.Context, contract.SnapshotRequest) (contract.SnapshotReply, error) { return reply, says }
	})
	req := contract.SnapshotRequest{SnapshotInput: contract.SnapshotInput{VM: fault.VM{Name: "VM1"}, Host: "A"}}
	_, err := a.AskGuardian(t.Context(), req)
	require.ErrorContains(t, err, "of an older release")
	reply.Turn = &contract.Turn{Made: "auto-1", Plan: make([]contract.PlannedSnapshot, 20)}
	turn, err := a.AskGuardian(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, contract.Turn{Made: "auto-1"}, turn, "the plan would fill a history")
	reply.Turn = &contract.Turn{Failed: "no answer in time", Unanswered: true}
	_, err = a.AskGuardian(t.Context(), req)
	require.ErrorContains(t, err, "host A: no answer in time")
	says = errors.New("Temporal is away")
	_, err = a.AskGuardian(t.Context(), req)
	require.ErrorContains(t, err, "Temporal is away")
	_, err = of(t, c, nil).AskGuardian(t.Context(), req)
	require.ErrorContains(t, err, "can ask no guardian")
}
