package activities

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/internal/annotation"
	"holdfast/internal/contract"
	"holdfast/internal/evidence"
	"holdfast/internal/hypervisor"
)

const (
	// trialStable is how long a guest without an agent has to run.
	trialStable = time.Minute
	// trialReads is how much such a guest has to have read from its disks, in bytes:
	// firmware that finds nothing to boot runs well, too, and reads less.
	trialReads = 256 << 10
	// trialEvery is how often a trial is looked at.
	trialEvery = 500 * time.Millisecond
	// mostTrials: that it is gone may be the host's doing, as when libvirtd was
	// restarted, and is believed the second time.
	mostTrials = 2
)

// Trial finds out whether a snapshot of a VM, or a backup, boots: a throw-away copy
// without network is started upon it, and gone when this ends. Up is whoever's
// guest agent answers; of a VM that nobody knows to have one, whoever reads its
// disks and then runs for a while. To try twice is the same as once.
func (a *Activities) Trial(ctx context.Context, in contract.TrialInput) (contract.TrialResult, error) {
	h, err := a.host(in.Host)
	if err != nil {
		return contract.TrialResult{}, err
	}
	if (in.Snapshot == "") == (in.Backup == nil) {
		return contract.TrialResult{}, badInput("trial: say which snapshot or which backup")
	}
	if in.Within <= 0 {
		in.Within = contract.DefaultTrialWithin
	}
	if in.StableFor <= 0 {
		in.StableFor = trialStable
	}
	in.StableFor = min(in.StableFor, in.Within/2)
	defer keepAlive(ctx)()
	have, err := a.annotationOn(ctx, h, in.VM.UUID)
	if err != nil && !errors.As(err, new(annotation.Problem)) { // a mistake in it is none of a trial's business
		return contract.TrialResult{}, a.snapshotRefused(in.Host, err)
	}
	t := trial{a: a, h: h, in: in, expected: have.AgentExpected}
	for n := 1; ; n++ {
		err := t.once(ctx)
		if errors.Is(err, errGone) && n < mostTrials {
			continue
		}
		if errors.Is(err, errGone) {
			err = nil
		}
		t.out.At = time.Now().UTC()
		return t.out, err
	}
}

// trial is one attempt of Trial.
type trial struct {
	a        *Activities
	h        hypervisor.Host
	in       contract.TrialInput
	expected bool // a guest agent answers in it, if it is well
	made     hypervisor.Trial
	began    time.Time
	ran      time.Time // since when it is known to have read its disks
	agent    string    // why its agent did not answer, the last time
	out      contract.TrialResult
}

// errGone: its domain was not there any more, and nobody has seen why.
var errGone = errors.New("it is gone")

// once has a copy made, watches it, and has it removed.
func (t *trial) once(ctx context.Context) (err error) {
	of := hypervisor.TrialOf{Snapshot: t.in.Snapshot}
	if b := t.in.Backup; b != nil {
		of.Backup, of.Where = b.Name, b.In
	}
	t.began, t.ran, t.agent = time.Now(), time.Time{}, ""
	starting, cancel := context.WithTimeout(ctx, t.in.Within)
	t.made, err = t.h.Try(starting, t.in.VM.UUID, of)
	cancel()
	if errors.Is(err, hypervisor.ErrDamaged) {
		t.fail("it is damaged: " + brief(err))
		return nil
	}
	if err != nil {
		return t.refused(ctx, err)
	}
	defer func() {
		uncut, cancel := toTheEnd(ctx)
		defer cancel()
		if eerr := t.h.EndTrial(uncut, t.made); eerr != nil {
			// The next attempt removes it before anything else.
			err = unreachable(t.in.Host, "the copy that was booted could not be removed: "+brief(eerr))
		}
	}()
	if err := t.watch(ctx); err != nil {
		return err
	}
	if !t.out.Booted {
		t.keepScreen(ctx)
	}
	return nil
}

func (t *trial) refused(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, hypervisor.ErrNoSnapshot):
		return stepFailed(fmt.Sprintf("%s has no snapshot %q on %s", t.in.VM, t.in.Snapshot, t.in.Host))
	case t.in.Backup != nil:
		return t.a.backupRefused(t.in.Host, err)
	}
	return t.a.snapshotRefused(t.in.Host, err)
}

func (t *trial) pass(by contract.TrialProof, why string) {
	t.out = contract.TrialResult{Booted: true, By: by, Why: why, Took: time.Since(t.began)}
}

func (t *trial) fail(why string) {
	t.out = contract.TrialResult{Why: why, Took: time.Since(t.began)}
}

// watch looks at the copy until it is clear what is to be said of it.
func (t *trial) watch(ctx context.Context) error {
	deadline := time.NewTimer(time.Until(t.began.Add(t.in.Within)))
	defer deadline.Stop()
	tick := time.NewTicker(trialEvery)
	defer tick.Stop()
	for {
		if clear, err := t.look(ctx); clear || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			t.fail(t.late())
			return nil
		case <-tick.C:
		}
	}
}

// late is what is missing of one that is not up in time.
func (t *trial) late() string {
	switch {
	case t.expected:
		return fmt.Sprintf("its guest agent did not answer within %s: %s", t.in.Within, t.agent)
	case t.ran.IsZero():
		return fmt.Sprintf("within %s it has read less than %d KiB from its disks, as firmware does that finds nothing to boot", t.in.Within, trialReads>>10)
	}
	return fmt.Sprintf("it has not run for %s within %s", t.in.StableFor, t.in.Within)
}

// look looks once, and says whether it is clear now. A host that does not answer is
// an error: the copy goes with its connection.
func (t *trial) look(ctx context.Context) (clear bool, err error) {
	found := t.a.look(ctx, t.h, t.made.UUID)
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case found.Error != "":
		return false, unreachable(t.in.Host, found.Error)
	case found.Absent:
		t.fail("it ended by itself, or something on its host ended it")
		return true, errGone
	case !running(found):
		t.fail("it does not stay running: it is " + describe(found))
		return true, nil
	}
	err = t.a.askAgent(ctx, t.h, t.made.UUID)
	if err == nil {
		t.pass(contract.TrialByAgent, "its guest agent answers")
		return true, nil
	}
	t.agent = brief(err)
	if t.expected {
		return false, nil
	}
	return t.lookAtFigures(ctx), nil
}

// lookAtFigures judges a guest of which nobody knows that it has an agent.
func (t *trial) lookAtFigures(ctx context.Context) (clear bool) {
	ctx, cancel := context.WithTimeout(ctx, t.a.opts.CallTimeout)
	defer cancel()
	stats, err := t.h.TrialStats(ctx, t.made)
	if err != nil {
		return false // the next look says what is wrong
	}
	read := uint64(0)
	for _, b := range stats.Blocks {
		read += b.ReadBytes
	}
	switch {
	case stats.VCPUTime == 0 || read < trialReads:
		return false
	case t.ran.IsZero():
		t.ran = time.Now()
	}
	if time.Since(t.ran) < t.in.StableFor {
		return false
	}
	t.pass(contract.TrialByRunning, fmt.Sprintf("it read its disks and ran for %s; no guest agent answers in it, and none is known to", t.in.StableFor))
	return true
}

// keepScreen keeps what is on the copy's screen, if evidence is kept and there is one.
func (t *trial) keepScreen(ctx context.Context) {
	if t.a.opts.Evidence == nil {
		return
	}
	g := gathering{a: t.a, h: t.h, in: contract.EvidenceInput{
		IncidentID: fmt.Sprintf("trial/%s/%s/%s", t.a.opts.Site, t.in.VM, t.in.Of()), Key: t.made.UUID,
	}}
	item := g.one(ctx, piece{name: "screenshot.png", look: func(ctx context.Context) ([]byte, string, error) {
		p, err := t.h.Screenshot(ctx, t.made.UUID)
		return p.Data, p.MIME, err
	}})
	set, err := g.finish(ctx, []evidence.Item{item})
	if err != nil {
		t.a.opts.Logger.Warn("the screen of a copy that did not boot is not kept", "vm", t.in.VM, "error", err)
		return
	}
	var kept contract.EvidenceSet
	t.a.fill(&kept, g.in, set)
	if len(kept.Items) > 0 {
		t.out.Screen, t.out.EvidenceID = &kept.Items[0], g.in.IncidentID
	}
}
