package workflows

import (
	"fmt"
	"strings"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
)

// timelineLimit bounds an incident's story; its first lines are kept.
const timelineLimit = 200

// record is the part of an incident that a person reads: its story, its search
// attributes, and its page in the Temporal UI.
type record struct {
	inc contract.Incident
	// cancelling says who has cancelled it, and why; cancel ends its context.
	cancelling string
	cancel     workflow.CancelFunc
	// shown is what the search attributes say, so that only changes are written.
	shown struct {
		host        string
		stage       contract.Stage
		needsPerson bool
	}
}

// sameAgain is how many of the last lines are not told again: as many as a decision
// that is made over and over may turn rungs down.
const sameAgain = 8

// note adds a line to the story, unless it only repeats one of the last few.
func (r *record) note(ctx workflow.Context, text string) {
	for _, e := range r.inc.Timeline[max(0, len(r.inc.Timeline)-sameAgain):] {
		if e.Stage == r.inc.Stage && e.Text == text {
			return
		}
	}
	entry := contract.Entry{At: workflow.Now(ctx), Stage: r.inc.Stage, Text: text}
	r.inc.Timeline = append(roomInside(r.inc.Timeline, timelineLimit), entry)
}

// roomInside makes room for one more in a list that must not grow for ever: what
// goes is in its middle, for its beginning and its end tell the most.
func roomInside[T any](list []T, limit int) []T {
	if len(list) < limit {
		return list
	}
	return append(list[:limit/2], list[limit/2+1:]...)
}

// show publishes where the incident stands and what comes next.
func (r *record) show(ctx workflow.Context, stage contract.Stage, needsPerson bool, next string) {
	r.inc.Stage, r.inc.Next = stage, next
	if r.shown.stage != stage || r.shown.needsPerson != needsPerson || r.shown.host != r.inc.Host {
		r.shown.stage, r.shown.needsPerson, r.shown.host = stage, needsPerson, r.inc.Host
		updates := []temporal.SearchAttributeUpdate{
			contract.AttrStage.ValueSet(string(stage)),
			contract.AttrNeedsApproval.ValueSet(needsPerson),
		}
		if r.inc.Host != "" || r.inc.Fault.Kind.Subject() == fault.SubjectVM {
			updates = append(updates, contract.AttrHost.ValueSet(orUnknown(r.inc.Host)))
		}
		r.upsert(ctx, updates...)
	}
	workflow.SetCurrentDetails(ctx, r.page())
}

// done sets the outcome and returns errDone.
func (r *record) done(ctx workflow.Context, outcome contract.Outcome, why string) error {
	r.inc.Outcome, r.inc.Why, r.inc.Next, r.inc.NeedsPerson = outcome, why, "", false
	r.note(ctx, string(outcome)+": "+why)
	return errDone
}

// close publishes the outcome and counts it.
func (r *record) close(ctx workflow.Context) {
	r.inc.Closed = workflow.Now(ctx)
	r.upsert(ctx,
		contract.AttrStage.ValueSet(string(r.inc.Stage)),
		contract.AttrOutcome.ValueSet(string(r.inc.Outcome)),
		contract.AttrNeedsApproval.ValueSet(false),
	)
	workflow.SetCurrentDetails(ctx, r.page())
	metrics := workflow.GetMetricsHandler(ctx).WithTags(map[string]string{
		"kind": string(r.inc.Fault.Kind), "rung": string(r.inc.Stage), "outcome": string(r.inc.Outcome),
	})
	metrics.Counter("holdfast_incidents").Inc(1)
	if !r.inc.Verified.IsZero() && r.inc.Verified.After(r.inc.Fault.First) {
		metrics.Timer("holdfast_fault_to_verified").Record(r.inc.Verified.Sub(r.inc.Fault.First))
	}
}

func (r *record) upsert(ctx workflow.Context, updates ...temporal.SearchAttributeUpdate) {
	if err := workflow.UpsertTypedSearchAttributes(ctx, updates...); err != nil {
		workflow.GetLogger(ctx).Error("search attributes were not written", "error", err)
	}
}

// page is the incident's current details in the Temporal UI, in Markdown.
func (r *record) page() string {
	var b strings.Builder
	state := string(r.inc.Stage)
	if r.inc.Outcome != "" {
		state = string(r.inc.Outcome)
	}
	fmt.Fprintf(&b, "**%s**: %s, %s\n\n", state, inMarkdown(subject(r.inc)), r.inc.Fault.Kind)
	fmt.Fprintf(&b, "- Why: %s\n", inMarkdown(r.inc.Why))
	if r.inc.Next != "" {
		fmt.Fprintf(&b, "- Next: %s\n", inMarkdown(r.inc.Next))
	}
	if took := r.inc.Started.Sub(r.inc.Fault.First); !r.inc.Started.IsZero() && took > 0 {
		fmt.Fprintf(&b, "- Started %.1f s after the first sign of the fault\n", took.Seconds())
	}
	if n := len(r.inc.Attempts); n > 0 {
		fmt.Fprintf(&b, "- Tries: %d\n", n)
	}
	for _, f := range r.inc.Also {
		fmt.Fprintf(&b, "- Also: %s: %s\n", f.Kind, inMarkdown(f.Why))
	}
	b.WriteString(evidence(r.inc.Fault))
	b.WriteString("\n| UTC | stage | what happened |\n| :-- | :-- | :-- |\n")
	for _, e := range r.inc.Timeline {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", e.At.UTC().Format("15:04:05.000"), e.Stage, inMarkdown(e.Text))
	}
	b.WriteString(lastLine)
	return b.String()
}

// subject is what an incident is about, as people call it.
func subject(inc contract.Incident) string {
	switch about := inc.Fault.Kind.Subject(); about {
	case fault.SubjectVM:
		return inc.VM.String() + " on " + orUnknown(inc.Host)
	case fault.SubjectPool:
		if inc.Host != "" {
			return fmt.Sprintf("pool %s on %s", inc.Fault.Pool, inc.Host)
		}
		return "pool " + inc.Fault.Pool
	default:
		return string(about) + " " + inc.Fault.Subject()
	}
}

// lastLine ends what is long: the UI shows it in a frame that is a little too
// low, and cuts this line off instead of one that says something.
const lastLine = "\n\n\u00a0\n"

// plain keeps what comes from hosts and people from being taken for Markdown or
// HTML. Backquotes stay: they mark commands to type.
var plain = strings.NewReplacer(`\`, `\\`, "|", `\|`, "<", `\<`, "*", `\*`, "[", `\[`, "~", `\~`, "\n", " ", "\r", " ")

func inMarkdown(text string) string { return plain.Replace(text) }
