package report

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/ladder"
	"holdfast/internal/placement"
	"holdfast/internal/rehearsal/recorded"
)

// element is one of a page, with the text directly in it.
type element struct {
	name, text string
	attributes map[string]string
}

// parsed reads a page, which is written as strictly as XML, so that nothing on it
// is left to a browser's guess.
func parsed(t *testing.T, page string) (all []*element) {
	t.Helper()
	dec := xml.NewDecoder(strings.NewReader(page))
	var open []*element
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			require.Empty(t, open)
			return all
		}
		require.NoError(t, err, page)
		switch x := token.(type) {
		case xml.StartElement:
			e := &element{name: x.Name.Local, attributes: map[string]string{}}
			for _, a := range x.Attr {
				e.attributes[a.Name.Local] = a.Value
			}
			all, open = append(all, e), append(open, e)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			if len(open) > 0 {
				open[len(open)-1].text += string(x)
			}
		}
	}
}

func rendered(t *testing.T, p Page) (string, []*element) {
	t.Helper()
	if p.Made.IsZero() {
		p.Made = recorded.First.Add(3 * time.Hour)
	}
	var b bytes.Buffer
	require.NoError(t, p.HTML(&b))
	return b.String(), parsed(t, b.String())
}

// texts are those of the elements with this name.
func texts(all []*element, name string) (out []string) {
	for _, e := range all {
		if e.name == name {
			out = append(out, e.text)
		}
	}
	return out
}

// harmless holds of any page, whatever is on it.
func harmless(t *testing.T, all []*element) {
	t.Helper()
	known := regexp.MustCompile(`^(html|head|meta|title|style|body|header|main|section|footer|article|h[123]|p|span|small|ul|li|i|dl|div|dt|dd|table|thead|tbody|tr|th|td|details|summary|pre|figure|figcaption|img|svg|g|line|rect|text)$`)
	for _, e := range all {
		require.Regexp(t, known, e.name)
		for name, value := range e.attributes {
			require.False(t, strings.HasPrefix(name, "on"), "%s: %s", e.name, name)
			require.NotContains(t, []string{"style", "href", "srcdoc", "action"}, name, e.name)
			if name == "src" {
				require.Regexp(t, `^data:image/(png|jpeg);base64,[A-Za-z0-9+/=]+$`, value)
			}
		}
	}
}

func TestAPageStandsByItself(t *testing.T) {
	for name, inc := range recorded.All() {
		t.Run(name, func(t *testing.T) {
			page, all := rendered(t, Page{Incident: inc, By: "holdfast test"})
			harmless(t, all)
			require.Contains(t, page, inc.ID)
			require.Equal(t, []string{inc.Fault.Why}, texts(all, "h1"))
			sum := sha256.Sum256([]byte(texts(all, "style")[0]))
			policy := ""
			for _, e := range all {
				if e.attributes["http-equiv"] == "Content-Security-Policy" {
					policy = e.attributes["content"]
				}
			}
			require.Contains(t, policy, "default-src 'none'")
			require.Contains(t, policy, "style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'", "the style is the one that the policy allows")
			require.NotContains(t, policy, "script-src")
			for _, e := range inc.Timeline {
				require.Contains(t, texts(all, "td"), e.Text)
			}
			for _, d := range inc.Decisions {
				require.Contains(t, texts(all, "p"), d.Decision.Why)
				for _, turned := range d.Decision.Turned {
					require.Contains(t, texts(all, "dt"), "not "+string(turned.Rung))
					require.Contains(t, texts(all, "dd"), turned.Why)
				}
			}
			for _, a := range inc.Attempts {
				require.Contains(t, page, string(a.Rung))
			}
			for _, a := range inc.Acts {
				require.Contains(t, texts(all, "td"), a.Why)
			}
		})
	}
}

func TestHeadlines(t *testing.T) {
	for name, lead := range map[string]string{
		"panicked":   "VM web on kvm1, site lab. Well again 10.1 s after the first sign; 2 tries.",
		"crash-loop": "VM web on kvm1, site lab. Well again 3 h 25 min after the first sign; 4 tries.",
		"asking":     "VM web on kvm1, site lab. Open for 3 h; one try.",
		"observed":   "VM web on kvm1, site lab. Open for 3 h; nothing was tried.",
		"host":       "host kvm1, site lab. Over 3 d 1 h after the first sign; nothing was tried.",
	} {
		_, all := rendered(t, Page{Incident: recorded.All()[name]})
		require.Contains(t, texts(all, "span"), lead, name)
	}
	_, all := rendered(t, Page{Incident: recorded.Asking()})
	require.Contains(t, texts(all, "span"), "needs a person")
}

// fill sets every text of a value.
func fill(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fill(v.Field(i), text)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			fill(v.Index(i), text)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			fill(v.Elem(), text)
		}
	case reflect.Map:
		if v.Type().Key().Kind() == reflect.String && v.Type().Elem().Kind() == reflect.String {
			v.Set(reflect.MakeMap(v.Type()))
			v.SetMapIndex(reflect.ValueOf(text).Convert(v.Type().Key()), reflect.ValueOf(text).Convert(v.Type().Elem()))
		}
	}
}

const hostile = "</style></title><script>alert(1)</script>\"' onload=x javascript:x \x1b]0;title\x07\x1b[31mred\x1b[</td>\x00\u202eevil\r\xff{{.}}<!--"

func TestHostileText(t *testing.T) {
	for name, inc := range recorded.All() {
		inc.Evidence = []contract.EvidenceSet{{Items: []contract.EvidenceItem{{}, {}}}}
		inc.Also = []fault.Fault{{}}
		fill(reflect.ValueOf(&inc).Elem(), hostile)
		inc.Evidence[0].Items[0] = contract.EvidenceItem{Name: hostile, MIME: "text/plain", SHA256: hostile, Bytes: 1}
		inc.Evidence[0].Items[1] = contract.EvidenceItem{Name: hostile, MIME: "image/png", SHA256: hostile, Bytes: 1}
		page, all := rendered(t, Page{Incident: inc, By: hostile, Evidence: map[Piece]Content{
			{0, 0}: {Data: []byte(hostile)}, {0, 1}: {Data: []byte(hostile)},
		}})
		harmless(t, all)
		require.NotContains(t, page, "<script", name)
		for _, r := range page {
			require.True(t, r == '\n' || r == '\t' || r >= 0x20, "%s: control character %q", name, r)
			require.NotContains(t, "\u202e\u007f\u009b", string(r), name)
		}
		require.Contains(t, page, "&lt;script&gt;", name)
	}
}

func TestPlain(t *testing.T) {
	for in, want := range map[string]string{
		"as it is\n\ttabs": "as it is\n\ttabs", "\x1b[1;31mred\x1b[0m": "red", "a\r\nb": "a\nb", "50 %\r60 %": "50 %\n60 %",
		"\x1b]0;title\x07text": "text", "nul\x00": "nul␀", "\x1b": "␛", "bad\xff": "bad\ufffd", "a\u202eb": "a\ufffdb", "日本": "日本",
	} {
		require.Equal(t, want, plain(in), "%q", in)
	}
}

func TestDeeds(t *testing.T) {
	for want, d := range map[string]ladder.Decision{
		"restart on A":                             {Action: ladder.ActClimb, Rung: ladder.RungRestart, Host: "A"},
		"restart on A after 2.00 s":                {Action: ladder.ActClimb, Rung: ladder.RungRestart, Host: "A", Wait: 2 * time.Second},
		"ask for approval of backup on A":          {Action: ladder.ActApprove, Rung: ladder.RungBackup, Host: "A"},
		"wait 4.00 s and look again":               {Action: ladder.ActWait, Wait: 4 * time.Second},
		"verify that it is well on A":              {Action: ladder.ActVerify, Host: "A"},
		"stand down":                               {Action: ladder.ActStandDown},
		"ask a person":                             {Action: ladder.ActPerson},
		"ask a person, and resume it now and then": {Action: ladder.ActPerson, Meanwhile: ladder.RungResume},
		"observe: would reset on A":                {Action: ladder.ActObserve, Rung: ladder.RungReset, Host: "A"},
		"observe: would ask a person":              {Action: ladder.ActObserve, Rung: ladder.RungPerson},
		"watch":                                    {Action: ladder.ActWatch},
		"watch, and ask a person":                  {Action: ladder.ActWatch, NeedsPerson: true},
		"keep hands off":                           {Action: ladder.ActHold},
		"find out what it could be put back to":    {Action: ladder.ActLook, Look: ladder.LookStock},
		"find out where else it could be started":  {Action: ladder.ActLook, Look: ladder.LookPlaces},
		"look at its vital signs first":            {Action: ladder.ActLook, Look: ladder.LookVital},
	} {
		require.Equal(t, want, Deed(d))
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0.00 s", 40 * time.Millisecond: "0.04 s", 12340 * time.Millisecond: "12.3 s", 61 * time.Second: "1 min 1 s",
		2 * time.Hour: "2 h", 26*time.Hour + 10*time.Minute: "1 d 2 h", -2 * time.Second: "-2.00 s",
	} {
		require.Equal(t, want, Span(d))
	}
}

func TestInputs(t *testing.T) {
	inc := recorded.Approved()
	last := inc.Decisions[len(inc.Decisions)-1]
	last.Situation.Places = &ladder.Places{Best: "kvm3", Why: "1.0 GiB stay free", Others: []placement.Refusal{{Host: "kvm2", Why: "it is full"}}}
	last.Situation.Stock = &ladder.Stock{Snapshot: "nightly", SnapshotAt: recorded.First, BackupWhy: "nobody makes any"}
	text := ""
	for _, l := range Inputs(inc, last) {
		text += fmt.Sprintf("%s: %s\n", l.What, l.Text)
	}
	require.Equal(t, `hosts: kvm1: running (booted); kvm2: not there
guest: its guest agent does not answer, and it uses no CPU
elsewhere: kvm3: best, 1.0 GiB stay free; not kvm2: it is full
put back to: snapshot nightly of 2026-01-02 03:04:05 UTC; no backup: nobody makes any
tried: reset 1 of 1 in 10 min; the last: its guest agent did not answer within 30s
policy: ladder resume, reset, restart, person; wants approval of restart
people: approved restart
`, text)
}
