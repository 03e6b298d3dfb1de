package report

import (
	"fmt"
	"strings"
	"time"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/ladder"
)

// Deed says in words what a decision does.
func Deed(d ladder.Decision) string {
	switch d.Action {
	case ladder.ActClimb:
		if d.Wait > 0 {
			return fmt.Sprintf("%s%s after %s", d.Rung, on(d.Host), Span(d.Wait))
		}
		return string(d.Rung) + on(d.Host)
	case ladder.ActApprove:
		return fmt.Sprintf("ask for approval of %s%s", d.Rung, on(d.Host))
	case ladder.ActWait:
		return fmt.Sprintf("wait %s and look again", Span(d.Wait))
	case ladder.ActVerify:
		return "verify that it is well" + on(d.Host)
	case ladder.ActStandDown:
		return "stand down"
	case ladder.ActPerson:
		if d.Meanwhile != "" {
			return fmt.Sprintf("ask a person, and %s it now and then", d.Meanwhile)
		}
		return "ask a person"
	case ladder.ActObserve:
		if d.Rung == "" || d.Rung == ladder.RungPerson {
			return "observe: would ask a person"
		}
		return fmt.Sprintf("observe: would %s%s", d.Rung, on(d.Host))
	case ladder.ActWatch:
		if d.NeedsPerson {
			return "watch, and ask a person"
		}
		return "watch"
	case ladder.ActHold:
		return "keep hands off"
	case ladder.ActLook:
		switch d.Look {
		case ladder.LookStock:
			return "find out what it could be put back to"
		case ladder.LookPlaces:
			return "find out where else it could be started"
		}
		return fmt.Sprintf("look at its %s first", d.Look)
	}
	return string(d.Action)
}

func on(host string) string {
	if host == "" {
		return ""
	}
	return " on " + host
}

// Span is a duration for people: as exact as it matters at its length.
func Span(d time.Duration) string {
	sign := ""
	if d < 0 {
		sign, d = "-", -d
	}
	day := 24 * time.Hour
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%s%.2f s", sign, d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%s%.1f s", sign, d.Seconds())
	case d < time.Hour:
		return sign + two(d.Round(time.Second), time.Minute, "min", time.Second, "s")
	case d < day:
		return sign + two(d.Round(time.Minute), time.Hour, "h", time.Minute, "min")
	}
	return sign + two(d.Round(time.Hour), day, "d", time.Hour, "h")
}

func two(d, big time.Duration, bigName string, small time.Duration, smallName string) string {
	text := fmt.Sprintf("%d %s", d/big, bigName)
	if rest := d % big / small; rest > 0 {
		text += fmt.Sprintf(" %d %s", rest, smallName)
	}
	return text
}

// firstSign is what times are counted from.
func firstSign(inc contract.Incident) time.Time {
	if inc.Fault.First.IsZero() {
		return inc.Opened
	}
	return inc.Fault.First
}

// after is how long after the first sign of the fault something was.
func after(inc contract.Incident, t time.Time) string {
	s := Span(t.Sub(firstSign(inc)))
	if strings.HasPrefix(s, "-") {
		return s
	}
	return "+" + s
}

// subject is what the incident is about, in a few words.
func subject(inc contract.Incident) string {
	switch s := inc.Fault.Kind.Subject(); s {
	case fault.SubjectHost, fault.SubjectSite:
		return string(s) + " " + inc.Fault.Subject()
	case fault.SubjectPool:
		return "pool " + inc.Fault.Pool + on(inc.Host)
	}
	return "VM " + inc.VM.String() + on(inc.Host)
}

// plain takes what a terminal or a browser would obey out of a text that comes
// from elsewhere: escape sequences, control characters, and what turns the
// direction of writing. It is valid UTF-8.
func plain(text string) string {
	text = escapes.ReplaceAllString(text, "")
	text = strings.ReplaceAll(text, "\r\n", "\n")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r == '\r':
			return '\n' // a console that writes over its line
		case r < 0x20:
			return 0x2400 + r // the picture of that character
		case r == 0x7f:
			return 0x2421
		case r >= 0x80 && r < 0xa0, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0x200e, r == 0x200f, r == 0x61c:
			return 0xfffd
		}
		return r
	}, strings.ToValidUTF8(text, "\ufffd"))
}
