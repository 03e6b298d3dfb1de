package ladder

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"holdfast/internal/fault"
	"holdfast/internal/proof"
)

// rungs are those for a kind of fault under the policy. A person is always last.
func (s Situation) rungs(k fault.Kind) []Rung {
	if len(s.Policy.Ladder) == 0 || k != s.Fault.Kind {
		return For(k)
	}
	rungs := slices.Clone(s.Policy.Ladder)
	if i := slices.Index(rungs, RungPerson); i >= 0 {
		rungs = rungs[:i]
	}
	return append(rungs, RungPerson)
}

// kindOf is the kind of fault that a VM shows now: one that crashed may be found
// paused for its storage.
func kindOf(s Situation, at proof.Answer) fault.Kind {
	switch {
	case Lasts(s.Fault.Kind) || at.State != "paused":
		return s.Fault.Kind
	case at.Reason == "I/O error":
		return fault.KindIOError
	case at.Reason == "crashed" || at.Reason == "starting up":
		return s.Fault.Kind
	}
	return fault.KindPaused
}

// climb takes the lightest rung that suits what was found, may be taken, and has
// not failed too often.
func climb(s Situation, at proof.Answer) Decision {
	var turned []Turned
	rungs := s.rungs(kindOf(s, at))
	if s.Ordered != "" {
		rungs = append([]Rung{s.Ordered}, slices.DeleteFunc(rungs, func(r Rung) bool { return r == s.Ordered })...)
	}
	for _, rung := range rungs {
		if rung == RungPerson {
			break
		}
		why := refuses(s, rung, at)
		if why == "" {
			if look, question := s.unknown(rung); look != "" {
				return Decision{Action: ActLook, Look: look, Host: at.Host, Why: question, Turned: turned}
			}
			why = s.lacks(rung)
		}
		switch {
		case why == "":
			return take(s, rung, at, turned)
		case rung == s.Ordered:
			// What a person wanted cannot be done. That is no leave to do something else.
			s.Ordered = ""
			d := decide(s)
			d.Turned = append([]Turned{{rung, why}}, d.Turned...)
			return d
		}
		turned = append(turned, Turned{rung, why})
	}
	return exhausted(s, at, turned)
}

// refuses says why a rung is not climbed; empty: it may be.
func refuses(s Situation, r Rung, at proof.Answer) string {
	if i := slices.IndexFunc(s.Rejected, func(t Turned) bool { return t.Rung == r }); i >= 0 && r != s.Ordered {
		return s.Rejected[i].Why
	}
	switch {
	case slices.Contains(s.Policy.Forbidden, r):
		return "the policy forbids it"
	case !climbable[r], s.Legacy && r != RungRestart, s.NoBackup && r == RungBackup, s.NoElsewhere && r == RungElsewhere:
		return "it does not exist yet"
	}
	if why := unsuited(s, r, at); why != "" {
		return why
	}
	if failed, _ := failures(s, r); r != s.Ordered && failed >= s.Policy.budget(r) {
		return fmt.Sprintf("budget of %s in %s is used up", times(s.Policy.budget(r), "failure"), s.Policy.Window)
	}
	return ""
}

// unsuited says why a rung cannot help a VM that is in this state.
func unsuited(s Situation, r Rung, at proof.Answer) string {
	switch r {
	case RungResume:
		if at.State != "paused" || at.Reason == "crashed" || at.Reason == "starting up" {
			return "it is not paused: " + at.Sighting.String()
		}
	case RungReset:
		switch {
		case !at.Active:
			return "it does not run: " + at.Sighting.String()
		case at.State == "paused" && at.Reason == "starting up":
			return "it never came to run: " + at.Sighting.String()
		case s.Vital != nil && !s.Vital.Reachable:
			return "its QEMU does not answer, so that nobody can press the button"
		}
	}
	return ""
}

// unknown says what has to be found out before a rung can be climbed; empty: nothing.
func (s Situation) unknown(r Rung) (look Look, question string) {
	switch {
	case r.PutsBack() && s.Stock == nil:
		return LookStock, fmt.Sprintf("is there a snapshot or a backup of %s", s.Fault.VM)
	case r == RungElsewhere && s.Places == nil:
		return LookPlaces, fmt.Sprintf("is there another host that could have %s", s.Fault.VM)
	}
	return "", ""
}

// lacks says what there is not that a rung needs; empty: all is there.
func (s Situation) lacks(r Rung) string {
	switch {
	case r == RungElsewhere && s.Places.Best == "":
		return orText(s.Places.Why, "there is no other host")
	case r == RungSnapshot && s.Stock.Snapshot == "":
		return orText(s.Stock.SnapshotWhy, "there is no snapshot")
	case r == RungBackup && s.Stock.Backup == "":
		return orText(s.Stock.BackupWhy, "there is no backup")
	}
	return ""
}

// take climbs a rung, after its backoff, or asks whether it may.
func take(s Situation, r Rung, at proof.Answer, turned []Turned) Decision {
	failed, last := failures(s, r)
	d := Decision{Action: ActClimb, Rung: r, Host: at.Host, Turned: turned, Why: describe(s.Fault) + ": " + does(s, r, at.Host)}
	switch r {
	case RungSnapshot:
		d.From = s.Stock.Snapshot
	case RungBackup:
		d.From = s.Stock.Backup
	case RungElsewhere:
		d.Host, d.Source = s.Places.Best, at.Host
	}
	if failed > 0 {
		d.Why = fmt.Sprintf("try %d of %d after: %s", failed+1, s.Policy.budget(r), last.Error)
		// The backoff counts from the end of the last failure, not from now.
		d.Wait = max(s.Policy.backoff(failed)-s.Now.Sub(last.Ended), 0)
	}
	if r == s.Ordered {
		d.Wait = 0
		return d
	}
	if slices.Contains(s.Policy.Approval, r) && !slices.Contains(s.Approved, r) {
		d.Action, d.Wait = ActApprove, 0
		d.Why = fmt.Sprintf("%s; the policy wants a person to approve that", d.Why)
	}
	return d
}

// does says in words what climbing a rung does.
func does(s Situation, r Rung, host string) string {
	switch r {
	case RungResume:
		return "resume it on " + host
	case RungReset:
		return "reset it on " + host
	case RungRestart:
		return startAgain + host
	case RungElsewhere:
		return fmt.Sprintf("take it from %s to %s, and start it there (%s)", host, s.Places.Best, s.Places.Why)
	case RungSnapshot:
		return fmt.Sprintf("revert it to snapshot %s on %s, and keep its present disks aside", s.Stock.Snapshot, host)
	case RungBackup:
		return fmt.Sprintf("restore it from backup %s on %s, and keep its present disks aside", s.Stock.Backup, host)
	}
	return string(r)
}

const startAgain = "start it again on "

// exhausted asks a person, because no rung is left.
func exhausted(s Situation, at proof.Answer, turned []Turned) Decision {
	var why string
	if failed, last := failures(s, ""); failed > 0 {
		why = fmt.Sprintf("%s within %s; the last: %s", times(failed, "failed repair"), s.Policy.Window, last.Error)
	} else {
		parts := make([]string, len(turned))
		for i, t := range turned {
			parts[i] = fmt.Sprintf("%s (%s)", t.Rung, t.Why)
		}
		why = fmt.Sprintf("%s: nothing is left to try: %s", describe(s.Fault), strings.Join(parts, ", "))
	}
	d := person(why)
	d.Host, d.Turned = at.Host, turned
	spent := slices.ContainsFunc(turned, func(t Turned) bool { return t.Rung == RungResume })
	if spent && unsuited(s, RungResume, at) == "" && refusesForGood(s, RungResume) == "" {
		// What is paused for its storage resumes by itself once that is back.
		d.Meanwhile = RungResume
	}
	return d
}

// refusesForGood says why a rung is out of the question, whatever its budget.
func refusesForGood(s Situation, r Rung) string {
	s.Tried = nil
	if slices.Contains(s.Policy.Approval, r) {
		return "it needs approval"
	}
	return refuses(s, r, proof.Answer{Active: true, Sighting: fault.Sighting{State: "paused"}})
}

// held keeps hands off what a person wants left alone.
func held(s Situation, d Decision) Decision {
	if s.Policy.Held == "" || s.Legacy {
		return d
	}
	switch d.Action {
	case ActClimb, ActApprove, ActPerson, ActLook:
		return Decision{
			Action: ActHold, Host: d.Host, Wait: LookAgain(s.Waits), Turned: d.Turned,
			Why: fmt.Sprintf("%s; nothing is done: %s", describe(s.Fault), s.Policy.Held),
		}
	}
	return d
}

// failures counts the failed tries of a rung, or of any, that still count, and
// returns the newest. A repair that verified counts as failed when the VM failed
// again within the window: that is a crash loop.
func failures(s Situation, r Rung) (int, Attempt) {
	var n int
	var last Attempt
	from := s.Now
	if !s.CountedFrom.IsZero() {
		from = s.CountedFrom
	}
	for _, a := range s.Tried {
		if from.Sub(a.Ended) > s.Policy.Window || r != "" && a.Rung != r {
			continue
		}
		n++
		last = a
		if last.OK {
			last.Error = "repaired, but failed again"
		}
	}
	return n, last
}

func times(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func orText(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// Until is when an approval that was asked for then is no longer waited for; the
// zero time: never.
func (p Policy) Until(asked time.Time) time.Time {
	if p.ApprovalTimeout <= 0 {
		return time.Time{}
	}
	return asked.Add(p.ApprovalTimeout)
}
