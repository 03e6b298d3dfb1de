package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/detect/rules"

	"go.yaml.in/yaml/v3"
)

// decoder walks YAML nodes and collects problems instead of stopping at the
// first. It walks by itself because yaml.Unmarshal reports types, not fields, and
// has no way to name the line of a value that is well formed and still wrong.
type decoder struct {
	file     string
	problems Errors
	// lines remembers where each field stood, for checks across fields and for
	// fields that are missing.
	lines map[string]*yaml.Node
	// broken holds the path of every problem, and of everything around it.
	broken map[string]bool
	// later is what can be read only when everything else has been.
	later []func()
}

// reader decodes one node; the path is the field's, for messages.
type reader func(n *yaml.Node, path string)

// field is a key of a mapping and how to read its value.
type field struct {
	key  string
	read reader
}

// problem reports something wrong at a node.
func (d *decoder) problem(n *yaml.Node, path, hint, format string, args ...any) {
	d.problems = append(d.problems, Problem{
		File: d.file, Line: max(n.Line, 1), Column: n.Column,
		Field: path, Message: fmt.Sprintf(format, args...), Hint: hint,
	})
	for ; !d.broken[path]; path = parent(path) {
		d.broken[path] = true
	}
}

// parent is the path of what a field is in: monitor of monitor.sweep, hosts of
// hosts[1], and the empty path of the file for the fields at its top.
func parent(path string) string { return path[:max(strings.LastIndexAny(path, ".["), 0)] }

// sound reports whether nothing is wrong so far with a field or anything in it.
func (d *decoder) sound(path string) bool { return !d.broken[path] }

// problemAt reports something wrong with a field that need not be in the file:
// the line is then that of the nearest thing around it which is.
func (d *decoder) problemAt(path, hint, format string, args ...any) {
	at := path
	for d.lines[at] == nil && at != "" {
		at = parent(at)
	}
	d.problem(d.lines[at], path, hint, format, args...)
}

// given reports whether the file has the field.
func (d *decoder) given(path string) bool { return d.lines[path] != nil }

// mapping reads a mapping with these keys and no others. A mapping without
// content is one whose fields all have their defaults.
func (d *decoder) mapping(fields ...field) reader {
	known := make([]string, len(fields))
	read := make(map[string]reader, len(fields))
	for i, f := range fields {
		known[i], read[f.key] = f.key, f.read
	}
	return func(n *yaml.Node, path string) {
		d.lines[path] = n
		if isNull(n) {
			return
		}
		if n.Kind != yaml.MappingNode {
			d.problem(n, path, "write fields under it, known: "+strings.Join(known, ", "), "is %s, not a mapping", kind(n))
			return
		}
		first := make(map[string]int, len(fields))
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			if key.Kind != yaml.ScalarNode {
				d.problem(key, path, "a field's name is a plain word", "has %s for a field's name", kind(key))
				continue
			}
			sub := strings.TrimPrefix(path+"."+key.Value, ".")
			switch line, twice := first[key.Value]; {
			case read[key.Value] == nil:
				d.problem(key, path, didYouMean(key.Value, known), "unknown field %s", quote(key.Value))
			case twice:
				d.problem(key, sub, "keep one of the two", "is already set in line %d", line)
			default:
				first[key.Value] = key.Line
				d.lines[sub] = value
				read[key.Value](value, sub)
			}
		}
	}
}

// sequence reads a sequence, calling grow for a reader of each further item.
func (d *decoder) sequence(grow func() reader) reader {
	return func(n *yaml.Node, path string) {
		if isNull(n) {
			return
		}
		if n.Kind != yaml.SequenceNode {
			d.problem(n, path, `start each item with "- "`, "is %s, not a list", kind(n))
			return
		}
		for i, item := range n.Content {
			d.lines[itemPath(path, i)] = item
			grow()(item, itemPath(path, i))
		}
	}
}

// scalar reads a single value as it is written. Going by the text and not by the
// type that YAML sees in it makes a host called 1 or "no" an ordinary name.
func (d *decoder) scalar(check func(text string) (message, hint string)) reader {
	return func(n *yaml.Node, path string) {
		switch {
		case n.Kind == yaml.AliasNode || n.Kind == yaml.ScalarNode && n.Style&yaml.TaggedStyle != 0:
			d.problem(n, path, "write the value out", "YAML aliases and tags are not supported here")
		case n.Kind != yaml.ScalarNode:
			d.problem(n, path, "", "is %s, not a single value", kind(n))
		case isNull(n):
			d.problem(n, path, "give it one, or remove the line", "has no value")
		default:
			if message, hint := check(n.Value); message != "" {
				d.problem(n, path, hint, "%s", message)
			}
		}
	}
}

// text reads a value that must pass the check.
func (d *decoder) text(to *string, check func(string) (message, hint string)) reader {
	return d.scalar(func(s string) (string, string) {
		*to = s
		return check(s)
	})
}

// matching is a check for text: all of it must match the pattern.
func matching(pattern string) func(string) (string, string) {
	re := regexp.MustCompile(`\A` + pattern + `\z`)
	return func(s string) (string, string) {
		if re.MatchString(s) {
			return "", ""
		}
		return quote(s) + " is not a valid name", "allowed: " + pattern
	}
}

var bareNumber = regexp.MustCompile(`\A[+-]?[0-9]+(\.[0-9]*)?\z`)

// duration reads a duration with its unit, from least to most.
func (d *decoder) duration(to *time.Duration, least, most time.Duration) reader {
	return d.scalar(func(s string) (string, string) {
		v, err := time.ParseDuration(s)
		switch {
		case bareNumber.MatchString(s):
			return quote(s) + " has no unit", "add one, as in 500ms, 10s, 5m or 1h30m"
		case err != nil:
			return quote(s) + " is not a duration", "write it like 500ms, 10s, 5m or 1h30m"
		case v < least || v > most:
			return quote(s) + " is out of range", fmt.Sprintf("allowed: %s to %s", rules.Short(least), rules.Short(most))
		}
		*to = v
		return "", ""
	})
}

// integer reads a whole number, from least to most.
func (d *decoder) integer(to *int, least, most int) reader {
	return d.scalar(func(s string) (string, string) {
		allowed := fmt.Sprintf("allowed: %d to %d", least, most)
		v, err := strconv.Atoi(s)
		switch {
		case errors.Is(err, strconv.ErrRange) || err == nil && (v < least || v > most):
			return quote(s) + " is out of range", allowed
		case err != nil:
			return quote(s) + " is not a whole number", allowed
		}
		*to = v
		return "", ""
	})
}

// number reads a number, from least to most.
func (d *decoder) number(to *float64, least, most float64) reader {
	return d.scalar(func(s string) (string, string) {
		allowed := fmt.Sprintf("allowed: %g to %g", least, most)
		v, err := strconv.ParseFloat(s, 64)
		switch {
		case err != nil && !errors.Is(err, strconv.ErrRange) || math.IsNaN(v):
			return quote(s) + " is not a number", allowed
		case v < least || v > most:
			return quote(s) + " is out of range", allowed
		}
		*to = v
		return "", ""
	})
}

// isNull reports a value left out: nothing after the colon, null or ~.
func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// kind names what a node is, for people.
func kind(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "a YAML alias"
	default:
		return "a single value"
	}
}

// document parses the text and returns the root of its only document, or nil
// after reporting why there is none.
func (d *decoder) document(data []byte) *yaml.Node {
	if p, bad := unreadable(data); bad {
		d.problem(&yaml.Node{Line: p.Line}, "", p.Hint, "%s", p.Message)
		return nil
	}
	var doc, more yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(data))
	err := dec.Decode(&doc)
	if err == nil {
		if err = dec.Decode(&more); errors.Is(err, io.EOF) {
			err = nil
		}
	} else if errors.Is(err, io.EOF) { // no document at all, as in an empty file
		doc, err = yaml.Node{Kind: yaml.DocumentNode}, nil
	}
	switch {
	case err != nil:
		line, message := syntaxError(err, data)
		d.problem(&yaml.Node{Line: line}, "", "", "not valid YAML: %s", message)
		return nil
	case more.Kind != 0:
		d.problem(&more, "", "keep one file per site", "a second YAML document starts here")
		return nil
	case len(doc.Content) == 0 || isNull(doc.Content[0]):
		d.problem(&yaml.Node{Line: 1}, "", "start from docs/site.example.yaml", "the file is empty")
		return nil
	}
	return doc.Content[0]
}
