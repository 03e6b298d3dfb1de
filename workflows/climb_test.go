package workflows_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/ladder"
	"holdfast/workflows"
)

func of(kind fault.Kind) fault.Fault {
	f := crash("1")
	f.Kind, f.Why = kind, "VM1 has "+string(kind)
	return f
}

func (s site) mends(t *testing.T, kind fault.Kind) contract.Incident {
	s.ExecuteWorkflow(workflows.RecoverVM, contract.RecoverInput{ID: "incident/s/VM1/1", Fault: of(kind)})
	return s.incident(t)
}

func rungs(inc contract.Incident) (out []ladder.Rung) {
	for _, a := range inc.Attempts {
		out = append(out, a.Rung)
	}
	return out
}

func TestAHungGuestIsResetThenRestarted(t *testing.T) {
	s := newSite(t)
	s.inspects(inspection("running", "booted"))
	s.OnActivity(s.act.Vital, mock.Anything, mock.Anything).Return(ladder.Vital{Reachable: true, Why: "it stands still"}, nil)
	s.OnActivity(s.act.Reset, mock.Anything, mock.Anything).Return(contract.StepResult{At: began, Found: "A: running"}, nil).Once()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(contract.VerifyResult{Active: true, At: began, Found: fault.Sighting{Host: "A", State: "running"}}, nil).Once()
	s.OnActivity(s.act.StopRemains, mock.Anything, contract.StopRemainsInput{VM: vm1, Host: "A", Force: true}).Return(contract.StopRemainsResult{Stopped: true}, nil).Once()
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{At: began}, nil).Once()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil).Once()
	inc := s.mends(t, fault.KindHung)
	require.Equal(t, contract.OutcomeRecovered, inc.Outcome, story(inc))
	require.Equal(t, []ladder.Rung{ladder.RungReset, ladder.RungRestart}, rungs(inc))
	require.Contains(t, story(inc), "turned down reset: budget of 1 failure")
	require.Len(t, inc.Decisions, 2)
	for _, d := range inc.Decisions {
		require.Equal(t, d.Decision, ladder.Next(d.Situation), "a decision can be made again from what is kept of it")
	}
}

func TestAGuestThatIsWellAgainIsLeftAlone(t *testing.T) {
	s := newSite(t)
	s.inspects(inspection("running", "booted"))
	s.OnActivity(s.act.Vital, mock.Anything, mock.Anything).Return(ladder.Vital{Well: true, Reachable: true, Why: "its guest agent answers"}, nil)
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil)
	inc := s.mends(t, fault.KindHung)
	require.Equal(t, contract.OutcomeCleared, inc.Outcome, story(inc))
	require.Empty(t, inc.Attempts)
}

// A VM whose disk has no room is resumed now and then, long after a person was
// called, and needs nobody once there is room.
func TestWhatWaitsForStorageResumesByItself(t *testing.T) {
	s := newSite(t)
	full := inspection("paused", "I/O error")
	full.Policy.Budgets = map[ladder.Rung]int{ladder.RungResume: 2}
	s.inspects(full)
	again := contract.VerifyResult{Active: true, At: began, Found: fault.Sighting{Host: "A", State: "paused", Reason: "I/O error"}}
	s.OnActivity(s.act.Resume, mock.Anything, mock.Anything).Return(contract.StepResult{At: began, Found: "A: paused (I/O error)"}, nil)
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(again, nil).Times(6)
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "unpaused"), nil).Once()
	called := false
	s.at(t, 30*time.Second, func(inc contract.Incident) { called = inc.NeedsPerson })
	inc := s.mends(t, fault.KindNoSpace)
	require.True(t, called)
	require.Equal(t, contract.OutcomeRecovered, inc.Outcome, story(inc))
	require.False(t, inc.NeedsPerson)
	require.Len(t, inc.Attempts, 3, "what is tried meanwhile and fails is nothing new")
}

// A VM that is resumed in vain runs for a moment, and a monitor says that it is over.
func TestWhatPausesAgainIsNotOver(t *testing.T) {
	s := newSite(t)
	s.inspects(inspection("paused", "I/O error"))
	again := contract.VerifyResult{Active: true, At: began, Found: fault.Sighting{Host: "A", State: "paused", Reason: "I/O error"}}
	s.OnActivity(s.act.Resume, mock.Anything, mock.Anything).Return(contract.StepResult{At: began, Found: "A: paused (I/O error)"}, nil)
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(again, nil).Times(3)
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "unpaused"), nil).Once()
	s.clears(50*time.Millisecond, "1")
	inc := s.mends(t, fault.KindIOError)
	require.Equal(t, contract.OutcomeRecovered, inc.Outcome, story(inc))
	require.Len(t, inc.Attempts, 4)
}

func TestAResetThatIsRefusedClimbs(t *testing.T) {
	s := newSite(t)
	s.inspects(inspection("crashed", "panicked"))
	refused := temporal.NewNonRetryableApplicationError("no button", contract.ErrTypeStepFailed, nil)
	s.OnActivity(s.act.Reset, mock.Anything, mock.Anything).Return(contract.StepResult{}, refused).Once()
	s.OnActivity(s.act.StopRemains, mock.Anything, mock.Anything).Return(contract.StopRemainsResult{Stopped: true}, nil)
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{At: began}, nil).Once()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil).Once()
	inc := s.mends(t, fault.KindPanicked)
	require.Equal(t, []ladder.Rung{ladder.RungReset, ladder.RungRestart}, rungs(inc), story(inc))
}

// A monitor calls a hang over when its VM is stopped, also when it is this incident
// that stopped it: that ends nothing.
func TestOurOwnStopEndsNothing(t *testing.T) {
	s := newSite(t)
	s.inspects(inspection("running", "booted"), inspection("shut off", "destroyed"))
	s.OnActivity(s.act.Vital, mock.Anything, mock.Anything).Return(ladder.Vital{Why: "its QEMU does not answer"}, nil)
	s.OnActivity(s.act.StopRemains, mock.Anything, mock.Anything).Return(contract.StopRemainsResult{Stopped: true}, nil)
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{}, temporal.NewNonRetryableApplicationError("B may be running it", contract.ErrTypeTwoCopies, nil)).Times(3)
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{At: began}, nil).Once()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil).Once()
	s.clears(10*time.Millisecond, "1")
	inc := s.mends(t, fault.KindHung)
	require.Equal(t, contract.OutcomeRecovered, inc.Outcome, story(inc))
	require.Len(t, inc.Attempts, 1)
	require.True(t, inc.Attempts[0].OK, story(inc))
}

// Where the site wants the guest's memory kept, it is asked for while there is any.
func TestMemoryIsKeptOfWhatStillStands(t *testing.T) {
	for state, want := range map[string]ladder.Dump{"crashed": {Pool: "dumps", Within: time.Hour}, "shut off": {}} {
		s := newSite(t)
		found := inspection(state, "panicked")
		found.Policy.Dump = ladder.Dump{Pool: "dumps", Within: time.Hour}
		found.Policy.Ladder = []ladder.Rung{ladder.RungSnapshot}
		found.Policy.Approval = nil
		s.inspects(found)
		s.stock(ladder.Stock{Snapshot: "nightly", SnapshotAt: began})
		var did []string
		s.done(&did)
		asked := 0
		s.SetOnActivityStartedListener(func(info *activity.Info, _ context.Context, args converter.EncodedValues) {
			if info.ActivityType.Name != "GatherEvidence" {
				return
			}
			var in contract.EvidenceInput
			require.NoError(t, args.Get(&in))
			require.Equal(t, want, in.Dump, state)
			asked++
		})
		s.OnActivity(s.act.Revert, mock.Anything, mock.Anything).Return(contract.RevertResult{At: began, Running: true}, nil).Once()
		s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil).Once()
		inc := s.mends(t, fault.KindPanicked)
		require.Equal(t, []ladder.Rung{ladder.RungSnapshot}, rungs(inc), story(inc))
		require.Equal(t, 1, asked)
	}
}
