// Package vantage looks at a host from places other than the connection that
// libvirt keeps to it, so that one line that broke is not taken for a dead host:
// the host's TCP port, the agent on it, its power supply, a file that it renews on
// shared storage, and the other monitors of the site.
//
// A point tells apart "nothing answers" (silent) from "I could not look" (unknown):
// only the first speaks for the host being down. What the votes amount to is decided
// elsewhere, by package detect.
//
// Look when libvirt falls silent, and then every few seconds: a look makes a
// connection that libvirtd logs, or logs in to a BMC.
package vantage

import (
	"context"
	"strings"
	"time"

	"holdfast/internal/alert"
	"holdfast/internal/fault"
)

// Point is a place from which a host can be seen.
type Point interface {
	// Name tells the points of one host apart, such as "tcp" or "power".
	Name() string
	// Look says what the host looks like now. It ends when ctx does, unless the
	// kernel makes it wait: a [Panel] does not wait for it then.
	Look(ctx context.Context) fault.Vote
}

// Patient is a Point that takes its own time, and ends its looks by itself after
// at most that long. What it saw counts in the panel's next look, too.
type Patient interface {
	Point
	Patience() time.Duration
}

// vote is what a point says now.
func vote(from string, says fault.Verdict, why string) fault.Vote {
	return fault.Vote{From: from, Says: says, Why: why, At: time.Now()}
}

// longestWords is how much of what others say is passed on, in bytes: votes end
// up in an incident's history.
const longestWords = 160

// oneLine makes what others say fit for a sentence: its first line that is not
// blank, not too long, nothing that moves a cursor.
func oneLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return alert.Shorten(strings.TrimSpace(alert.Printable(s)), longestWords)
}
