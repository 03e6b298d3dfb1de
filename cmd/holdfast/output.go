package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"go.yaml.in/yaml/v3"
)

// format is how results are printed; it is a flag.
type format string

const (
	formatTable format = "table"
	formatJSON  format = "json"
	formatYAML  format = "yaml"
)

func formats() []string {
	return []string{string(formatTable), string(formatJSON), string(formatYAML)}
}

func (f *format) String() string { return string(*f) }
func (f *format) Type() string   { return "format" }

func (f *format) Set(s string) error {
	switch v := format(strings.ToLower(s)); v {
	case formatTable, formatJSON, formatYAML:
		*f = v
		return nil
	}
	return fmt.Errorf("known: %s", strings.Join(formats(), ", "))
}

// print writes a result: the value itself for programs, or what table makes of
// it for people.
func (a *app) print(value any, table func(io.Writer)) error {
	switch a.format {
	case formatJSON:
		return printJSON(a.out, value)
	case formatYAML:
		return printYAML(a.out, value)
	default:
		var b bytes.Buffer
		table(&b)
		_, err := a.out.Write(b.Bytes())
		return err
	}
}

func printJSON(w io.Writer, value any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(value)
}

// printYAML writes the JSON form as YAML, so that both have the same names in
// the same order.
func printYAML(w io.Writer, value any) error {
	var b bytes.Buffer
	if err := printJSON(&b, value); err != nil {
		return err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(b.Bytes(), &doc); err != nil {
		return err
	}
	if err := plainStyle(&doc); err != nil {
		return err
	}
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(&doc); err != nil {
		return err
	}
	return enc.Close()
}

// plainStyle drops the braces and quotes that came from JSON. Text is encoded
// anew, which quotes what an older YAML would take for something else, such as no.
func plainStyle(n *yaml.Node) error {
	switch {
	case n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str":
		return n.Encode(n.Value)
	case n.Kind == yaml.ScalarNode || len(n.Content) > 0: // empty lists and mappings keep theirs
		n.Style = 0
	}
	for _, c := range n.Content {
		if err := plainStyle(c); err != nil {
			return err
		}
	}
	return nil
}

// columns prints lines of cells under each other.
func columns(w io.Writer, heads []string, rows [][]string) {
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	if len(heads) > 0 {
		rows = append([][]string{heads}, rows...)
	}
	for _, row := range rows {
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	_ = t.Flush() // to memory
	for line := range strings.Lines(b.String()) {
		fmt.Fprintln(w, strings.TrimRight(line, " \n"))
	}
}

// orNone is for a cell that would be empty.
func orNone(s string) string { return cmp.Or(s, "-") }

// clock is a moment in a table: local time, to the second.
func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// clockUTC is a moment in UTC, as the names have it that Holdfast makes up.
func clockUTC(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 MST") }

// span is a duration for people: as exact as it matters at its length.
func span(d time.Duration) string {
	switch {
	case d < 10*time.Second && d > -10*time.Second:
		return fmt.Sprintf("%.2fs", d.Seconds())
	case d < time.Minute && d > -time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// emptyNotNull is a list that JSON writes as [] and not as null.
func emptyNotNull[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
