package workflows

import (
	"fmt"
	"strings"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
)

// asIncident returns a context in which an incident is started as a child.
func asIncident(ctx workflow.Context, id string, f fault.Fault) workflow.Context {
	attrs := []temporal.SearchAttributeUpdate{
		contract.AttrSite.ValueSet(f.Site),
		contract.AttrFaultKind.ValueSet(string(f.Kind)),
		contract.AttrStage.ValueSet(string(contract.StageConfirm)),
		contract.AttrNeedsApproval.ValueSet(false),
	}
	summary := fmt.Sprintf("%s: %s", f.Kind, f.Subject())
	switch subject := f.Kind.Subject(); {
	case subject == fault.SubjectVM:
		summary += " on " + orUnknown(f.Host)
		attrs = append(attrs, contract.AttrHost.ValueSet(orUnknown(f.Host)), contract.AttrVM.ValueSet(f.VM.String()))
	case f.Host != "":
		attrs = append(attrs, contract.AttrHost.ValueSet(f.Host))
	}
	// A guardian that a person ends takes its operation with it, in order: an
	// operation without a guardian could meet a second one.
	end := enumspb.PARENT_CLOSE_POLICY_REQUEST_CANCEL
	if f.Kind.Subject() != fault.SubjectVM {
		// Temporal counts continuing as new as an end, which these outlive. They only
		// watch, so one whose record was terminated does no harm.
		end = enumspb.PARENT_CLOSE_POLICY_ABANDON
	}
	return workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID:            id,
		WorkflowTaskTimeout:   taskTimeout,
		ParentClosePolicy:     end,
		WaitForCancellation:   true,
		StaticSummary:         summary,
		StaticDetails:         details(f),
		TypedSearchAttributes: temporal.NewSearchAttributes(attrs...),
	})
}

func orUnknown(host string) string {
	if host == "" {
		return "unknown"
	}
	return host
}

// sightingsShown is how many hosts' sightings the details of an incident spell out.
const sightingsShown = 8

// details say what a fault was concluded from.
func details(f fault.Fault) string {
	text := fmt.Sprintf("%s\n\nSeen by %s at %s.", inMarkdown(f.Why), inMarkdown(f.Reporter), f.First.UTC().Format("2006-01-02 15:04:05.000 MST"))
	var seen []string
	for _, s := range append([]fault.Sighting{f.Seen}, f.Elsewhere...) {
		if s.Absent || s.State != "" {
			seen = append(seen, inMarkdown(s.String()))
		}
	}
	if more := len(seen) - sightingsShown; more > 0 {
		seen = append(seen[:sightingsShown], fmt.Sprintf("and %d more hosts", more))
	}
	if len(seen) > 0 {
		text += "\n\nEvidence: " + strings.Join(seen, "; ")
	}
	return text + evidence(f) + lastLine
}

// evidence is what was measured and who voted how, as tables in Markdown. Ages
// are counted back from when the fault was last found true.
func evidence(f fault.Fault) string {
	var b strings.Builder
	if len(f.Votes) > 0 {
		b.WriteString("\n\n| vantage point | says | why | age |\n| :-- | :-- | :-- | --: |\n")
		for _, v := range f.Votes {
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", inMarkdown(v.From), v.Says, inMarkdown(v.Why), age(f.Last, v.At))
		}
	}
	if len(f.Evidence) > 0 {
		b.WriteString("\n\n| what | value | from | since (UTC) | age |\n| :-- | :-- | :-- | :-- | --: |\n")
		for _, e := range f.Evidence {
			since := ""
			if !e.Since.IsZero() {
				since = e.Since.UTC().Format("15:04:05")
			}
			from := e.From
			if from == "" {
				from = f.Reporter
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", inMarkdown(e.What), inMarkdown(e.Value), inMarkdown(from), since, age(f.Last, e.At))
		}
	}
	return b.String()
}

// age is how old something was at a time.
func age(now, at time.Time) string {
	if at.IsZero() || now.IsZero() {
		return ""
	}
	return fmt.Sprintf("%.1f s", max(now.Sub(at), 0).Seconds())
}
