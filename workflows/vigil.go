package workflows

import (
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"holdfast/activities"
	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/ladder"
)

// asks gives the names of the questions to monitors; it is never called.
var asks *activities.Questions

const (
	// staleAfter is how long a fault may not be said again before a monitor is
	// asked whether it still is. Monitors say it again within minutes; one that
	// ended or began anew never says that it is over.
	staleAfter = quietSpell
	// linger is how long an incident waits after its last fault is over, for one
	// that takes its place: a host that was unreachable turns out to be off.
	linger = 3 * time.Second
	// alsoLimit bounds the further faults that an incident keeps.
	alsoLimit = 16
)

// vigil is an incident that hears about faults: the one it is about, and those
// that come while it is open.
type vigil struct {
	record
	wake  workflow.Channel
	takes []string // the signals that it listens to
	said  []saying
	over  string // why the last of its faults is over; empty: one stands
}

// saying is when a fault was last said to be true.
type saying struct {
	id string
	at time.Time
}

func newVigil(ctx workflow.Context, also string) vigil {
	return vigil{wake: workflow.NewBufferedChannel(ctx, 1), takes: []string{contract.SignalFault, contract.SignalCleared, also}}
}

// awake ends the current wait, if there is one.
func (v *vigil) awake() { v.wake.SendAsync(nil) }

// standing are the faults that are watched, the incident's own first.
func (v *vigil) standing() []*fault.Fault {
	var all []*fault.Fault
	if ladder.Lasts(v.inc.Fault.Kind) && v.over == "" {
		all = append(all, &v.inc.Fault)
	}
	for i := range v.inc.Also {
		all = append(all, &v.inc.Also[i])
	}
	return all
}

// again takes a fault that is known and still true, with its newest evidence.
// False: it is not known.
func (v *vigil) again(ctx workflow.Context, f fault.Fault) bool {
	for _, have := range v.standing() {
		if have.ID != f.ID {
			continue
		}
		if f.Frozen != have.Frozen && f.Frozen != "" {
			v.note(ctx, "frozen: "+f.Frozen)
		}
		f.First = have.First
		if have != &v.inc.Fault {
			f.Elsewhere = nil
		}
		*have = f
		v.hear(ctx, f.ID)
		return true
	}
	return false
}

func (v *vigil) hear(ctx workflow.Context, id string) {
	i := slices.IndexFunc(v.said, func(s saying) bool { return s.id == id })
	if i < 0 {
		v.said = append(v.said, saying{id: id})
		i = len(v.said) - 1
	}
	v.said[i].at = workflow.Now(ctx)
}

// heard is when a fault was last said, as far as this run of the workflow knows.
func (v *vigil) heard(ctx workflow.Context, id string) time.Time {
	if i := slices.IndexFunc(v.said, func(s saying) bool { return s.id == id }); i >= 0 {
		return v.said[i].at
	}
	v.hear(ctx, id)
	return workflow.Now(ctx)
}

// keep adds a fault to those that stand besides.
func (v *vigil) keep(ctx workflow.Context, f fault.Fault) {
	f.Elsewhere = nil
	v.inc.Also = append(v.inc.Also, f)
	if len(v.inc.Also) > alsoLimit {
		v.inc.Also = slices.Delete(v.inc.Also, 0, 1)
	}
	v.hear(ctx, f.ID)
}

// become makes f what the incident is about.
func (v *vigil) become(ctx workflow.Context, f fault.Fault) {
	if f.Kind != v.inc.Fault.Kind {
		v.upsert(ctx, contract.AttrFaultKind.ValueSet(string(f.Kind)))
	}
	v.inc.Fault, v.inc.Why, v.over = f, f.Why, ""
	if f.Host != "" {
		v.inc.Host = f.Host
	}
	v.hear(ctx, f.ID)
}

// join takes a further fault into a vigil: the worst is what it is about.
func (v *vigil) join(ctx workflow.Context, f fault.Fault) {
	v.inc.More++
	v.note(ctx, "meanwhile: "+f.Why)
	switch was := v.inc.Fault; {
	case v.over != "":
		v.become(ctx, f)
	case f.Kind.Severity() >= was.Kind.Severity():
		v.keep(ctx, was)
		v.become(ctx, f)
	default:
		v.keep(ctx, f)
	}
}

// ended takes that a fault is over. Where it was what the incident is about, the
// worst of the others takes its place.
func (v *vigil) ended(ctx workflow.Context, id, why string) {
	if i := slices.IndexFunc(v.inc.Also, func(f fault.Fault) bool { return f.ID == id }); i >= 0 {
		v.note(ctx, fmt.Sprintf("over: %s (%s)", v.inc.Also[i].Why, why))
		v.inc.Also = slices.Delete(v.inc.Also, i, i+1)
		return
	}
	if id != v.inc.Fault.ID || !ladder.Lasts(v.inc.Fault.Kind) || v.over != "" {
		return
	}
	v.over = why
	if len(v.inc.Also) == 0 {
		return
	}
	v.note(ctx, fmt.Sprintf("over: %s (%s)", v.inc.Fault.Why, why))
	worst := 0
	for i, f := range v.inc.Also {
		if f.Kind.Severity() > v.inc.Also[worst].Kind.Severity() {
			worst = i
		}
	}
	next := v.inc.Also[worst]
	v.inc.Also = slices.Delete(v.inc.Also, worst, worst+1)
	v.become(ctx, next)
}

// rest waits for the time or for something worth a look, whichever comes first.
func (v *vigil) rest(ctx workflow.Context, d time.Duration, summary string) error {
	tctx, cancel := workflow.WithCancel(ctx)
	defer cancel()
	timer := workflow.NewTimerWithOptions(tctx, d, workflow.TimerOptions{Summary: summary})
	sel := workflow.NewSelector(ctx)
	sel.AddFuture(timer, func(workflow.Future) {})
	sel.AddReceive(ctx.Done(), func(workflow.ReceiveChannel, bool) {})
	sel.AddReceive(v.wake, func(c workflow.ReceiveChannel, _ bool) { c.Receive(ctx, nil) })
	sel.Select(ctx)
	return ctx.Err()
}

// drain waits until what has been signalled is taken in: what ends or continues
// as new before that forgets it.
func (v *vigil) drain(ctx workflow.Context) error {
	return workflow.Await(ctx, func() bool {
		for _, name := range v.takes {
			if workflow.GetSignalChannel(ctx, name).Len() > 0 {
				return false
			}
		}
		return true
	})
}

// closing ends the incident when its last fault is over and nothing takes its
// place.
func (v *vigil) closing(ctx workflow.Context) error {
	if v.over == "" {
		return nil
	}
	until := workflow.Now(ctx).Add(linger)
	for left := linger; left > 0 && v.over != ""; left = until.Sub(workflow.Now(ctx)) {
		if err := v.rest(ctx, left, "whether another fault takes its place"); err != nil {
			return err
		}
	}
	if err := v.drain(ctx); err != nil || v.over == "" {
		return err
	}
	outcome := contract.OutcomeCleared
	if len(v.inc.Attempts) > 0 {
		outcome = contract.OutcomeRecovered // it took a while to show
	}
	return v.done(ctx, outcome, v.over)
}

// confirm asks a monitor about faults that nobody has said for long.
func (v *vigil) confirm(ctx workflow.Context) error {
	var stale []fault.Fault
	for _, f := range v.standing() {
		if workflow.Now(ctx).Sub(v.heard(ctx, f.ID)) >= staleAfter {
			stale = append(stale, *f)
		}
	}
	for _, f := range stale {
		if err := v.ask(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

// ask asks a monitor about one fault. No answer leaves it as it is, and so does
// a monitor that has not watched for long enough to know.
func (v *vigil) ask(ctx workflow.Context, f fault.Fault) error {
	last := v.heard(ctx, f.ID).UTC().Format("15:04:05")
	actx := onMonitor(ctx, v.inc.Site, fmt.Sprintf("ask a monitor whether this is still so: %s", f.Why))
	var now contract.FaultsResult
	err := workflow.ExecuteActivity(actx, asks.Faults, contract.FaultsInput{Site: v.inc.Site, Slot: f.Slot()}).Get(ctx, &now)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		v.note(ctx, fmt.Sprintf("not said again since %s, and no monitor of site %s answers: is `holdfast monitor` running?", last, v.inc.Site))
	case len(now.Faults) > 0:
		found := now.Faults[0]
		found.ID = f.ID // another monitor has another name for it
		v.again(ctx, found)
	case now.At.Sub(now.Began) < staleAfter:
		v.note(ctx, fmt.Sprintf("not said again since %s; %s does not see it, but has not watched for long", last, now.Monitor))
	default:
		v.ended(ctx, f.ID, fmt.Sprintf("not said again since %s, and %s does not see it any more", last, now.Monitor))
	}
	return nil
}

// addClearing hears that a fault is over. then may be nil.
func (v *vigil) addClearing(ctx workflow.Context, sel workflow.Selector, then func(contract.Cleared)) {
	sel.AddReceive(workflow.GetSignalChannel(ctx, contract.SignalCleared), func(c workflow.ReceiveChannel, _ bool) {
		var cleared contract.Cleared
		c.Receive(ctx, &cleared)
		v.ended(ctx, cleared.FaultID, overText(cleared))
		if then != nil {
			then(cleared)
		}
		v.awake()
	})
}

// overText is why a fault is over, as whoever raised it says.
func overText(c contract.Cleared) string {
	if c.Seen.Host == "" && c.Seen.State == "" {
		return "whoever raised it says that it is over"
	}
	return "it is over, as seen: " + c.Seen.String()
}
