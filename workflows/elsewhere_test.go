package workflows_test

import (
	"context"
	"fmt"
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
	"holdfast/internal/proof"
	"holdfast/workflows"
)

// cleared is what follows the restart that failed.
const cleared = "stop A false"

// restless is a VM with one restart left to it, that B and then C could have.
type restless struct {
	site
	asked []contract.PlacesInput
	did   []string // to it, in its order
}

func newRestless(t *testing.T, found contract.Inspection) *restless {
	s := &restless{site: newSite(t)}
	found.Policy.MaxFailures, found.Policy.Approval = 1, nil
	s.inspects(found)
	s.OnActivity(s.act.Start, mock.Anything, mock.MatchedBy(func(in contract.StartInput) bool { return in.Host == "A" })).
		Return(contract.StartResult{}, temporal.NewNonRetryableApplicationError("no boot", contract.ErrTypeStartFailed, nil)).Once()
	*s.placed = true
	s.OnActivity(s.act.Places, mock.Anything, mock.Anything).Return(func(_ context.Context, in contract.PlacesInput) (ladder.Places, error) {
		s.asked = append(s.asked, in)
		for _, host := range []string{"B", "C"} {
			if in.Not[host] == "" {
				return ladder.Places{Best: host, Why: "it has room", Autostart: true}, nil
			}
		}
		return ladder.Places{Why: "no other host can have it"}, nil
	})
	return s
}

// moves notes what is done to the VM.
func (s *restless) moves() {
	s.OnActivity(s.act.StopRemains, mock.Anything, mock.Anything).Return(func(_ context.Context, in contract.StopRemainsInput) (contract.StopRemainsResult, error) {
		s.did = append(s.did, fmt.Sprintf("stop %s %t", in.Host, in.Force))
		return contract.StopRemainsResult{}, nil
	}).Maybe()
	s.OnActivity(s.act.MayRehome, mock.Anything, mock.Anything).Return(nil).Maybe()
	s.OnActivity(s.act.Rehome, mock.Anything, mock.Anything).Return(func(_ context.Context, in contract.RehomeInput) (contract.RehomeResult, error) {
		s.did = append(s.did, fmt.Sprintf("%s to %s", in.From, in.To))
		if !in.Autostart {
			return contract.RehomeResult{}, fmt.Errorf("autostart was forgotten")
		}
		return contract.RehomeResult{At: began}, nil
	}).Maybe()
	s.OnActivity(s.act.Start, mock.Anything, mock.MatchedBy(func(in contract.StartInput) bool { return in.Host != "A" })).
		Return(func(_ context.Context, in contract.StartInput) (contract.StartResult, error) {
			s.did = append(s.did, "start "+in.Host)
			return contract.StartResult{At: began, Proofs: []proof.Proof{{Kind: proof.ReportedStopped, Host: "A", At: began}}}, nil
		}).Maybe()
}

func TestElsewhere(t *testing.T) {
	s := newRestless(t, inspection("shut off", "crashed"))
	s.moves()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(func(_ context.Context, in contract.VerifyInput) (contract.VerifyResult, error) {
		require.Equal(t, "B", in.Host)
		found := verifies("running", "booted")
		found.Found.Host = "B"
		return found, nil
	}).Once()
	inc := s.mends(t, fault.KindCrashed)
	require.Equal(t, contract.OutcomeRecovered, inc.Outcome, story(inc))
	require.Equal(t, []ladder.Rung{ladder.RungRestart, ladder.RungElsewhere}, rungs(inc))
	require.Equal(t, []string{cleared, "A to B", "start B"}, s.did)
	require.Equal(t, "B", inc.Host)
	require.Equal(t, contract.StageOf(ladder.RungElsewhere), inc.Stage)
	require.Equal(t, map[string]string{"A": "it has failed there: no boot"}, s.asked[0].Not)
	require.Contains(t, story(inc), "taken from A to B in")
	require.Contains(t, story(inc), "started on B in 0s; no second copy: A reported stopped")
}

// One that hangs on its own host is stopped there first, whatever it seems to do.
func TestElsewhereStopsWhatHangs(t *testing.T) {
	s := &restless{site: newSite(t)}
	found := inspection("crashed", "panicked")
	found.Policy.Forbidden = []ladder.Rung{ladder.RungReset, ladder.RungRestart}
	*s.placed = true
	s.inspects(found)
	s.OnActivity(s.act.Places, mock.Anything, mock.Anything).Return(ladder.Places{Best: "B", Why: "it has room", Autostart: true}, nil)
	s.moves()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil).Once()
	inc := s.mends(t, fault.KindPanicked)
	require.Equal(t, contract.OutcomeRecovered, inc.Outcome, story(inc))
	require.Equal(t, []string{"stop A false", "A to B", "start B"}, s.did)
}

// One that does not get well there comes back, and the next host is tried; after that
// it is where it was.
func TestElsewhereThatDoesNotVerifyIsUndone(t *testing.T) {
	s := newRestless(t, inspection("shut off", "crashed"))
	s.moves()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(contract.VerifyResult{Active: true, At: began, Why: "its agent is silent"}, nil).Twice()
	s.tells(time.Minute, act(contract.VerbCancel, "ann"))
	inc := s.mends(t, fault.KindCrashed)
	require.Equal(t, []string{
		cleared, "A to B", "start B", "stop B true", "B to A",
		"A to C", "start C", "stop C true", "C to A",
	}, s.did, story(inc))
	require.Equal(t, "it has failed there: its agent is silent", s.asked[1].Not["B"])
	require.Contains(t, story(inc), "brought back to A")
	require.Contains(t, story(inc), "turned down elsewhere: budget of 2 failures")
	require.Equal(t, "A", inc.Host)
}

// Where nobody knows what came of it, it is brought back before anything else is done;
// and the host that did not answer is not tried again.
func TestElsewhereWithoutAnAnswer(t *testing.T) {
	s := newRestless(t, inspection("shut off", "crashed"))
	silent := temporal.NewNonRetryableApplicationError("host B: no answer", contract.ErrTypeUnreachable, nil)
	s.OnActivity(s.act.Start, mock.Anything, mock.MatchedBy(func(in contract.StartInput) bool { return in.Host == "B" })).Return(contract.StartResult{}, silent).Once()
	s.OnActivity(s.act.StopRemains, mock.Anything, mock.MatchedBy(func(in contract.StopRemainsInput) bool { return in.Host == "B" })).Return(contract.StopRemainsResult{}, silent).Twice()
	s.moves()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil).Once()
	inc := s.mends(t, fault.KindCrashed)
	require.Equal(t, contract.OutcomeRecovered, inc.Outcome, story(inc))
	require.Equal(t, []string{cleared, "A to B", "stop B true", "B to A", "A to C", "start C"}, s.did, story(inc))
	require.Equal(t, []ladder.Rung{ladder.RungRestart, ladder.RungElsewhere, ladder.RungElsewhere}, rungs(inc))
	require.Contains(t, story(inc), "could not bring it back from B to A: host B: no answer")
	require.Contains(t, story(inc), "undone by now")
}

// Whoever calls it off while the VM is verified there leaves it there if it runs.
func TestElsewhereCalledOff(t *testing.T) {
	s := newRestless(t, inspection("shut off", "crashed"))
	s.OnActivity(s.act.MayRehome, mock.Anything, mock.Anything).Return(nil).Once()
	s.OnActivity(s.act.Rehome, mock.Anything, mock.MatchedBy(func(in contract.RehomeInput) bool { return !in.Back })).Return(contract.RehomeResult{At: began}, nil).Once()
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{At: began}, nil).Once()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).After(time.Hour).Return(verifies("running", "booted"), nil).Maybe()
	for _, host := range []string{"A", "B"} { // without force
		s.OnActivity(s.act.StopRemains, mock.Anything, contract.StopRemainsInput{VM: vm1, Host: host}).Return(contract.StopRemainsResult{}, nil).Once()
	}
	s.OnActivity(s.act.Rehome, mock.Anything, mock.MatchedBy(func(in contract.RehomeInput) bool { return in.Back })).Return(contract.RehomeResult{Stays: true, Why: "it runs there", At: began}, nil).Once()
	s.tells(30*time.Second, act(contract.VerbCancel, "ann"))
	inc := s.mends(t, fault.KindCrashed)
	require.Equal(t, contract.OutcomeCancelled, inc.Outcome, story(inc))
	require.Contains(t, story(inc), "it stays on B: it runs there")
	require.Equal(t, "B", inc.Host)
}

// What another host said before the VM was taken to it is no evidence any more.
func TestElsewhereForgetsWhatWasSaidBefore(t *testing.T) {
	found := inspection("shut off", "crashed")
	found.Policy.Budgets = map[ladder.Rung]int{ladder.RungElsewhere: 5}
	s := newRestless(t, found)
	s.moves()
	var evidence [][]fault.Sighting
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(contract.VerifyResult{Active: true, At: began, Why: "its agent is silent"}, nil).Once()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil).Once()
	s.SetOnActivityStartedListener(func(info *activity.Info, _ context.Context, args converter.EncodedValues) {
		var in contract.InspectInput
		if info.ActivityType.Name == "Inspect" && args.Get(&in) == nil {
			evidence = append(evidence, in.Elsewhere)
		}
	})
	f := of(fault.KindCrashed)
	absent := func(host string) fault.Sighting { return fault.Sighting{Host: host, Absent: true, At: began} }
	f.Elsewhere = []fault.Sighting{absent("B"), absent("C"), absent("D")}
	recent := []ladder.Attempt{{Rung: ladder.RungElsewhere, Host: "D", Began: began, Ended: began.Add(time.Second), OK: true}}
	s.ExecuteWorkflow(workflows.RecoverVM, contract.RecoverInput{ID: "incident/s/VM1/1", Fault: f, Recent: recent})
	inc := s.incident(t)
	require.Equal(t, contract.OutcomeRecovered, inc.Outcome, story(inc))
	require.Equal(t, []fault.Sighting{absent("B"), absent("C")}, evidence[0], "it was taken to D since")
	require.Equal(t, []fault.Sighting{absent("C")}, evidence[len(evidence)-1], "it was on B since")
}

// Nothing is taken back where nothing was done: B may have come to know it from others.
func TestElsewhereThatIsRefused(t *testing.T) {
	s := newRestless(t, inspection("shut off", "crashed"))
	refused := temporal.NewNonRetryableApplicationError("B knows VM1 from earlier", contract.ErrTypeStepFailed, nil)
	s.OnActivity(s.act.MayRehome, mock.Anything, mock.MatchedBy(func(in contract.RehomeInput) bool { return in.To == "B" })).Return(refused).Once()
	s.moves()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil).Once()
	inc := s.mends(t, fault.KindCrashed)
	require.Equal(t, []string{cleared, "A to C", "start C"}, s.did, story(inc))
	require.Equal(t, "B knows VM1 from earlier", inc.Attempts[1].Error)
}

// A host that will not have it back leaves it where it is, and the ladder goes on there.
func TestElsewhereThatCannotComeBack(t *testing.T) {
	for name, back := range map[string]struct {
		out contract.RehomeResult
		say string
	}{
		"A refuses it":         {out: contract.RehomeResult{Stays: true, Why: "unknown machine type"}, say: "it stays on B: unknown machine type"},
		"somebody has it away": {out: contract.RehomeResult{Gone: true}, say: "it is not brought back: neither B nor A has it any more"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newRestless(t, inspection("shut off", "crashed"))
			s.OnActivity(s.act.Rehome, mock.Anything, mock.MatchedBy(func(in contract.RehomeInput) bool { return in.Back && in.From == "B" })).Return(back.out, nil).Once()
			s.moves()
			s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(contract.VerifyResult{Active: true, At: began, Why: "its agent is silent"}, nil).Once()
			s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil).Once()
			inc := s.mends(t, fault.KindCrashed)
			require.Equal(t, contract.OutcomeRecovered, inc.Outcome, story(inc))
			require.Contains(t, story(inc), back.say)
		})
	}
}

// Whoever starts the VM while it is brought back keeps it, wherever that is.
func TestElsewhereStartedByAPerson(t *testing.T) {
	s := &restless{site: newSite(t)}
	down, theirs := inspection("shut off", "crashed"), inspection("running", "booted")
	down.Policy.MaxFailures, down.Policy.Approval = 1, nil
	theirs.Policy = down.Policy
	s.inspects(down, down, theirs)
	s.OnActivity(s.act.Start, mock.Anything, mock.Anything).Return(contract.StartResult{}, temporal.NewNonRetryableApplicationError("no boot", contract.ErrTypeStartFailed, nil))
	*s.placed = true
	s.OnActivity(s.act.Places, mock.Anything, mock.Anything).Return(ladder.Places{Best: "B", Autostart: true}, nil)
	s.OnActivity(s.act.Rehome, mock.Anything, mock.MatchedBy(func(in contract.RehomeInput) bool { return in.Back })).
		Return(contract.RehomeResult{}, temporal.NewNonRetryableApplicationError("host A: no answer", contract.ErrTypeUnreachable, nil)).Once()
	s.moves()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil).Once()
	inc := s.mends(t, fault.KindCrashed)
	require.Contains(t, story(inc), "could not bring it back from B to A: host A: no answer")
	require.Contains(t, story(inc), "somebody has started VM1 on A meanwhile: it stays as it is; if A or B knows it besides")
	require.Equal(t, []string{cleared, "A to B", "stop B true"}, s.did, "nothing is done to it any more")
	require.Empty(t, s.asked)
}

// What somebody has defined on the other host right after the look is left alone.
func TestElsewhereThatIsTheirs(t *testing.T) {
	s := newRestless(t, inspection("shut off", "crashed"))
	theirs := contract.RehomeResult{Theirs: "somebody has defined VM1 on B meanwhile"}
	s.OnActivity(s.act.Rehome, mock.Anything, mock.MatchedBy(func(in contract.RehomeInput) bool { return in.To == "B" })).Return(theirs, nil).Once()
	s.moves()
	s.OnActivity(s.act.Verify, mock.Anything, mock.Anything).Return(verifies("running", "booted"), nil).Once()
	inc := s.mends(t, fault.KindCrashed)
	require.Equal(t, []string{cleared, "A to C", "start C"}, s.did, story(inc))
	require.Equal(t, "it was not taken there: somebody has defined VM1 on B meanwhile", inc.Attempts[1].Error)
}
