package in

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

var usual = times{now: now, resolve: 5 * time.Minute, longest: 25 * time.Hour}

func about(p posted) posted {
	if p.labels == nil {
		p.labels = map[string]string{"vm": "web1"}
	}
	return p
}

// From when until when an alert stands, relative to when it is received.
func TestTimes(t *testing.T) {
	zero := time.Time{}
	for name, c := range map[string]struct {
		posted     posted
		start, end time.Duration
		resolved   bool
		ignored    string
	}{
		"Prometheus says until when":   {posted: posted{startsAt: now.Add(-time.Hour), endsAt: now.Add(4 * time.Minute)}, start: -time.Hour, end: 4 * time.Minute},
		"somebody does not":            {posted: posted{startsAt: now.Add(-time.Hour)}, start: -time.Hour, end: 5 * time.Minute},
		"no time at all":               {posted: posted{}, end: 5 * time.Minute},
		"resolved":                     {posted: posted{startsAt: now.Add(-time.Hour), endsAt: now.Add(-time.Minute)}, start: -time.Hour, end: -time.Minute, resolved: true},
		"resolved now":                 {posted: posted{startsAt: now.Add(-time.Hour), endsAt: now}, start: -time.Hour, end: 0, resolved: true},
		"an end alone":                 {posted: posted{endsAt: now.Add(-time.Minute)}, start: -time.Minute, end: -time.Minute, resolved: true},
		"it never ends":                {posted: posted{endsAt: now.AddDate(5000, 0, 0)}, end: 25 * time.Hour},
		"it has not begun":             {posted: posted{startsAt: now.Add(time.Hour), endsAt: now.Add(2 * time.Hour)}, end: 2 * time.Hour},
		"webhook, firing":              {posted: posted{status: "firing", startsAt: now.Add(-time.Hour)}, start: -time.Hour, end: 25 * time.Hour},
		"webhook, firing until":        {posted: posted{status: "firing", endsAt: now.Add(time.Hour)}, end: time.Hour},
		"webhook, firing and over":     {posted: posted{status: "firing", endsAt: now.Add(-time.Second)}, start: -time.Second, end: -time.Second, resolved: true},
		"webhook, resolved":            {posted: posted{status: "resolved", startsAt: now.Add(-time.Hour), endsAt: now.Add(-time.Minute)}, start: -time.Hour, end: -time.Minute, resolved: true},
		"webhook, resolved, no end":    {posted: posted{status: "resolved"}, resolved: true},
		"webhook, resolved in a while": {posted: posted{status: "resolved", endsAt: now.Add(time.Minute)}, resolved: true},
		"ends before it starts":        {posted: posted{startsAt: now.Add(-time.Minute), endsAt: now.Add(-time.Hour)}, ignored: "it ends before it starts"},
		"starts before 1970":           {posted: posted{startsAt: time.Date(1969, 1, 1, 0, 0, 0, 0, time.UTC)}, ignored: "it starts before 1970"},
		"zero in another zone":         {posted: posted{startsAt: zero.In(time.FixedZone("x", 3600))}, end: 5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := examine(about(c.posted), DefaultMapping(), usual)
			if c.ignored != "" {
				require.Equal(t, Ignore(c.ignored), err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.start, a.StartsAt.Sub(now), "start")
			require.Equal(t, c.end, a.EndsAt.Sub(now), "end")
			require.Equal(t, c.resolved, a.Resolved)
			require.Equal(t, !c.resolved, a.StandsAt(now))
			require.False(t, a.StandsAt(a.EndsAt), "it is over by time alone")
			require.Equal(t, time.UTC, a.EndsAt.Location())
		})
	}
}

func TestLabelsAreBounded(t *testing.T) {
	many := func(n int) map[string]string {
		m := map[string]string{"vm": "web1"}
		for i := range n - 1 {
			m[fmt.Sprintf("l%d", i)] = "x"
		}
		return m
	}
	for name, c := range map[string]struct {
		labels  map[string]string
		ignored string
	}{
		"none":               {map[string]string{}, "it has no labels"},
		"none with a value":  {map[string]string{"vm": ""}, "it has no labels"},
		"as many as may be":  {many(maxLabels), ""},
		"more":               {many(maxLabels + 1), "it has 65 labels, and 64 is the most"},
		"longest name":       {map[string]string{"vm": "web1", strings.Repeat("n", maxLabelName): "x"}, ""},
		"longer name":        {map[string]string{"vm": "web1", strings.Repeat("n", maxLabelName+1): "x"}, `"` + strings.Repeat("n", 40) + `" is no name of a label`},
		"no name":            {map[string]string{"vm": "web1", "": "x"}, `"" is no name of a label`},
		"name that controls": {map[string]string{"vm": "web1", "a\x1b": "x"}, `"a\x1b" is no name of a label`},
		"longest value":      {map[string]string{"vm": "web1", "a": strings.Repeat("v", maxLabelValue)}, ""},
		"longer value":       {map[string]string{"vm": "web1", "a": strings.Repeat("v", maxLabelValue+1)}, `label "a" has 2049 bytes, and 2048 is the most`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := examine(posted{labels: c.labels}, DefaultMapping(), usual)
			if c.ignored == "" {
				require.NoError(t, err)
				return
			}
			require.Equal(t, Ignore(c.ignored), err)
		})
	}
}

// What people will read is made fit for it.
func TestTextIsMadePrintable(t *testing.T) {
	a, err := examine(posted{
		labels: map[string]string{"vm": "web1", "text": "red \x1b[31m\u202etxt\n"},
		annotations: map[string]string{
			"summary": "two\nlines\x07", "description": strings.Repeat("ä", maxAnnotation), "secret": "not kept", "runbook_url": "",
		},
	}, DefaultMapping(), usual)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"vm": "web1", "text": "red  [31m txt "}, a.Labels)
	require.Equal(t, "two lines ", a.Annotations["summary"])
	require.LessOrEqual(t, len(a.Annotations["description"]), maxAnnotation)
	require.True(t, utf8.ValidString(a.Annotations["description"]))
	require.True(t, strings.HasSuffix(a.Annotations["description"], "ä…"))
	require.Len(t, a.Annotations, 2)
	require.Equal(t, "two lines ", a.Why())
	require.Equal(t, "an alert without a name", Alert{}.Why())
}
