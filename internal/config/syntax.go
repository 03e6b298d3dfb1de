package config

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// unreadable reports text that the YAML parser would refuse without naming a
// line, or that is no text at all.
func unreadable(data []byte) (Problem, bool) {
	if len(data) > maxSize {
		return Problem{Line: 1, Message: "the file is larger than 4 MiB", Hint: "is this the site file?"}, true
	}
	line := 1
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == '\n':
			line++
		case r == utf8.RuneError && size == 1:
			return Problem{Line: line, Message: "the file is not UTF-8 text", Hint: "save it as UTF-8"}, true
		case r < ' ' && !strings.ContainsRune("\t\n\r", r), r >= 0x7f && r < 0xa0 && r != 0x85, r == 0xfffe, r == 0xffff:
			return Problem{Line: line, Message: "the line has a control character (" + strconv.QuoteRune(r) + ")", Hint: "remove it"}, true
		}
		i += size
	}
	return Problem{}, false
}

var (
	yamlLine   = regexp.MustCompile(`\A(?:yaml: )?line ([0-9]+): `)
	yamlAnchor = regexp.MustCompile(`unknown anchor '([^']+)'`)
	// The parser stage counts lines from 0 and the scanner stage from 1, and both
	// print the number as it is. These are the parser's messages.
	yamlFromZero = regexp.MustCompile(`did not find expected (key|node content|',' or|'-' indicator|<)`)
)

// syntaxError takes the line out of an error of the YAML parser. Errors about
// the first line come without one.
func syntaxError(err error, data []byte) (line int, message string) {
	message = strings.TrimPrefix(err.Error(), "yaml: ")
	if m := yamlAnchor.FindStringSubmatch(message); m != nil {
		before, _, _ := bytes.Cut(data, []byte("*"+m[1]))
		return 1 + bytes.Count(before, []byte("\n")), message
	}
	m := yamlLine.FindStringSubmatch(message)
	if m == nil {
		return 1, message
	}
	line, _ = strconv.Atoi(m[1]) // digits by the pattern; 0 if there are absurdly many
	message = strings.TrimPrefix(message, m[0])
	if yamlFromZero.MatchString(message) {
		line++
	}
	last := bytes.Count(bytes.TrimRight(data, "\n"), []byte("\n")) + 1
	return max(1, min(line, last)), message
}
