package alert

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Printable replaces what a terminal would obey or not show, line breaks among
// it, by spaces, and bytes that are no UTF-8 by question marks.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// Shorten cuts a text to at most n bytes, between characters, and shows that it
// did. n is at least 3.
func Shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	const mark = "…"
	n -= len(mark)
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + mark
}
