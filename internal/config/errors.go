package config

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"holdfast/internal/nearest"
)

// Problem is one mistake in a site file. It is an error of its own.
type Problem struct {
	File   string
	Line   int // counted from 1; where a field is missing, the line of what should hold it
	Column int // counted from 1; 0 where only the line is known
	// Field is the path of the field, such as hosts[1].uri; of an unknown field,
	// the path of what it is in. Empty where that is the file as a whole.
	Field string
	// Message says what is wrong, Hint what to do about it. Hint may be empty.
	// Neither ever holds a password.
	Message string
	Hint    string
}

// Error reads like "site.yaml:7: hosts[1].uri: what is wrong; what to do".
func (p Problem) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d: ", p.File, p.Line)
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.Message)
	if p.Hint != "" {
		b.WriteString("; " + p.Hint)
	}
	return b.String()
}

// Errors is every mistake in a site file, in the order of the lines.
type Errors []Problem

// Error has one line for each problem.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, p := range e {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find a single [Problem].
func (e Errors) Unwrap() []error {
	errs := make([]error, len(e))
	for i, p := range e {
		errs[i] = p
	}
	return errs
}

func (e Errors) sorted() Errors {
	slices.SortStableFunc(e, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return e
}

// quote shows a value from the file in a message: shortened, as the line number
// leads to the rest, and without what may be a password, whatever field it is in.
func quote(s string) string {
	const most = 80
	s = redact(s)
	if runes := []rune(s); len(runes) > most {
		s = string(runes[:most]) + "…"
	}
	return fmt.Sprintf("%q", s)
}

var colon = regexp.MustCompile(`:|%3[Aa]`)

// redact takes the password out of a URI, and out of text that was to be one.
func redact(s string) string {
	at := strings.LastIndex(s, "@")
	if at < 0 {
		return s
	}
	scheme, user := "", s[:at]
	if before, after, has := strings.Cut(user, "://"); has && !strings.Contains(before, ":") {
		scheme, user = before+"://", after
	}
	secret := colon.FindStringIndex(user)
	if secret == nil {
		return s
	}
	return scheme + user[:secret[0]] + ":xxxxx" + s[at:]
}

// didYouMean is the hint for a word that is not among the known ones: the
// nearest of them if it looks like a slip, and always the whole choice.
func didYouMean(word string, known []string) string {
	choice := "known: " + strings.Join(known, ", ")
	best := nearest.Word(word, known)
	if best == "" {
		return choice
	}
	return fmt.Sprintf("did you mean %q? (%s)", best, choice)
}
