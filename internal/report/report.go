// Package report writes an incident as one page that tells it by itself: it needs
// no network, no script and no Temporal, so that it can be mailed, printed, and read
// in ten years.
package report

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"regexp"
	"time"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
)

// Page is all that a report is made from.
type Page struct {
	Incident contract.Incident
	// Evidence is what was fetched of the incident's evidence. What is missing is
	// listed, and not shown.
	Evidence map[Piece]Content
	// Made is when the page is made, which is where the time of an incident ends that
	// is open; By says what made it.
	Made time.Time
	By   string
}

// Piece is one item of the incident's evidence, by its places in the record.
type Piece struct{ Set, Item int }

// Content is a piece that was fetched and is what was kept, or why there is none.
type Content struct {
	Data  []byte
	Error string
}

//go:embed page.html
var pageText string

//go:embed page.css
var styleText string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"clock": func(t time.Time) string { return t.UTC().Format("15:04:05.000") },
	"moment": func(t time.Time) string {
		return t.UTC().Format("2006-01-02 15:04:05.000 MST")
	},
	"inc": func(i int) int { return i + 1 },
}).Parse(pageText))

// policy lets a browser use the style and the pictures of this very page, and
// nothing else, whatever got into it.
func policy() string {
	sum := sha256.Sum256([]byte(styleText))
	return fmt.Sprintf("default-src 'none'; style-src 'sha256-%s'; img-src data:; base-uri 'none'; form-action 'none'", base64.StdEncoding.EncodeToString(sum[:]))
}

// HTML writes the page.
func (p Page) HTML(w io.Writer) error {
	inc, err := cleaned(p.Incident)
	if err != nil {
		return fmt.Errorf("report of %s: %w", p.Incident.ID, err)
	}
	v := p.view(inc)
	var b bytes.Buffer // nobody gets half a page
	if err := pageTemplate.Execute(&b, v); err != nil {
		return fmt.Errorf("report of %s: %w", inc.ID, err)
	}
	_, err = w.Write(b.Bytes())
	return err
}

// view is what the template shows.
type view struct {
	Policy     string
	Style      template.CSS
	Inc        contract.Incident
	Title      string
	State      string
	Good, Wait bool // how the state is coloured; neither: bad
	Lead       string
	Facts      []Line
	Charts     []drawing
	Legend     []legend
	Decisions  []decision
	People     []person
	Tries      []try
	Story      []entry
	Sets       []evidenceSet
	Also       []string
	Measured   []Line
	Votes      []Line
	Made       time.Time
	By         string
}

type (
	entry    struct{ After, Clock, Stage, Text string }
	decision struct {
		After, Clock, Deed, Why string
		Turned, Inputs          []Line
	}
	person struct{ After, Clock, By, What, Why string }
	try    struct {
		After, What, Took, How string
		OK                     bool
	}
)

func (p Page) view(inc contract.Incident) view {
	v := view{
		Policy: policy(), Style: template.CSS(styleText), //nolint:gosec // it is this package's own file
		Inc: inc, Title: headline(inc), Lead: lead(inc, p.Made), Facts: facts(inc), Made: p.Made, By: plain(p.By),
	}
	v.State, v.Good, v.Wait = state(inc)
	v.Charts, v.Legend = charts(inc, p.Made)
	v.Sets = p.evidence(inc)
	for _, d := range inc.Decisions {
		one := decision{After: after(inc, d.At), Clock: clock(d.At), Deed: Deed(d.Decision), Why: d.Decision.Why, Inputs: Inputs(inc, d)}
		for _, t := range d.Decision.Turned {
			one.Turned = append(one.Turned, Line{string(t.Rung), t.Why})
		}
		v.Decisions = append(v.Decisions, one)
	}
	for _, a := range inc.Acts {
		v.People = append(v.People, person{after(inc, a.At), clock(a.At), a.By, actText(a), a.Why})
	}
	for _, a := range inc.Attempts {
		how := "ok"
		if !a.OK {
			how = "failed: " + a.Error
		}
		v.Tries = append(v.Tries, try{after(inc, a.Began), string(a.Rung) + on(a.Host), Span(a.Ended.Sub(a.Began)), how, a.OK})
	}
	for _, e := range inc.Timeline {
		v.Story = append(v.Story, entry{after(inc, e.At), clock(e.At), string(e.Stage), e.Text})
	}
	for _, f := range inc.Also {
		v.Also = append(v.Also, fmt.Sprintf("%s: %s", f.Kind, f.Why))
	}
	for _, e := range inc.Fault.Evidence {
		v.Measured = append(v.Measured, Line{e.What, e.Value})
	}
	for _, vote := range inc.Fault.Votes {
		v.Votes = append(v.Votes, Line{vote.From, string(vote.Says) + because(vote.Why)})
	}
	return v
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05.000") }

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

func actText(a contract.Act) string {
	if a.Rung == "" {
		return string(a.Verb)
	}
	return fmt.Sprintf("%s %s", a.Verb, a.Rung)
}

// headline is the sentence that a person reads first.
func headline(inc contract.Incident) string {
	if inc.Fault.Why != "" {
		return inc.Fault.Why
	}
	return fmt.Sprintf("%s: %s", subject(inc), inc.Fault.Kind)
}

func state(inc contract.Incident) (text string, good, wait bool) {
	switch inc.Outcome {
	case contract.OutcomeRecovered, contract.OutcomeCleared, contract.OutcomeHandBack:
		return string(inc.Outcome), true, false
	case contract.OutcomeStoodDown, contract.OutcomeCancelled:
		return string(inc.Outcome), false, true
	case "":
		if inc.NeedsPerson {
			return "needs a person", false, false
		}
		return "open: " + string(inc.Stage), false, true
	}
	return string(inc.Outcome), false, false
}

// lead says how long it took, or has taken.
func lead(inc contract.Incident, made time.Time) string {
	first := firstSign(inc)
	text := fmt.Sprintf("%s, site %s. ", subject(inc), inc.Site)
	switch {
	case !inc.Verified.IsZero():
		text += "Well again " + Span(inc.Verified.Sub(first)) + " after the first sign"
	case !inc.Closed.IsZero():
		text += "Over " + Span(inc.Closed.Sub(first)) + " after the first sign"
	default:
		text += "Open for " + Span(made.Sub(first))
	}
	switch n := len(inc.Attempts); n {
	case 0:
		text += "; nothing was tried."
	case 1:
		text += "; one try."
	default:
		text += fmt.Sprintf("; %d tries.", n)
	}
	return text
}

func facts(inc contract.Incident) []Line {
	var out []Line
	add := func(what, text string) {
		if text != "" {
			out = append(out, Line{what, text})
		}
	}
	add("Why", inc.Why)
	add("Next", inc.Next)
	if p := inc.Proposal; p != nil {
		add("Waits for approval", fmt.Sprintf("%s%s, asked %s", p.Rung, on(p.Host), after(inc, p.At)))
	}
	add("Held", inc.Held)
	add("Fault", fmt.Sprintf("%s (%s)", inc.Fault.Kind, inc.Fault.HowBad()))
	if inc.Fault.Seen.State != "" || inc.Fault.Seen.Absent {
		add("Seen", inc.Fault.Seen.String())
	}
	for _, s := range inc.Fault.Elsewhere {
		add("Elsewhere", s.String())
	}
	add("Reported by", inc.Fault.Reporter)
	if inc.More > 0 {
		add("Further reports", fmt.Sprint(inc.More))
	}
	add("Nothing may be done", inc.Fault.Frozen)
	if inc.Fault.Kind.Subject() == fault.SubjectVM {
		add("UUID", inc.VM.UUID)
	}
	for _, t := range []struct {
		what string
		at   time.Time
	}{{"First sign", firstSign(inc)}, {"Opened", inc.Opened}, {"Started", inc.Started}, {"Verified", inc.Verified}, {"Closed", inc.Closed}} {
		if !t.at.IsZero() {
			add(t.what, fmt.Sprintf("%s (%s)", t.at.UTC().Format("2006-01-02 15:04:05.000 MST"), after(inc, t.at)))
		}
	}
	return out
}

// escapes are the sequences that a terminal obeys.
var escapes = regexp.MustCompile(`\x1b(\[[\x30-\x3f]*[\x20-\x2f]*[\x40-\x7e]|\][^\x07\x1b]*(\x07|\x1b\\)?|[\x40-\x5a\x5c\x5e\x5f])`)

// cleaned is the incident with all its words made plain.
func cleaned(inc contract.Incident) (out contract.Incident, err error) {
	text, err := json.Marshal(inc)
	if err != nil {
		return out, err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber() // a duration is more exact than a float
	var doc any
	if err := dec.Decode(&doc); err != nil {
		return out, err
	}
	if text, err = json.Marshal(plainAll(doc)); err != nil {
		return out, err
	}
	err = json.Unmarshal(text, &out)
	return out, err
}

func plainAll(v any) any {
	switch x := v.(type) {
	case string:
		return plain(x)
	case []any:
		for i := range x {
			x[i] = plainAll(x[i])
		}
	case map[string]any:
		for k := range x {
			x[k] = plainAll(x[k])
		}
	}
	return v
}
