// Package retention says which of a row of copies, such as snapshots, stay and
// which may go. It is pure: it deletes nothing, and the time is handed to it.
//
// A rule such as 4h/7d/4w is the one that restic (forget --keep-hourly 4
// --keep-daily 7 --keep-weekly 4), borg (prune) and the snapshot tools of ZFS know
// under other spellings. As with them, time is cut into hours, days, weeks, months
// and years; of each the newest copy counts, and the newest so many stay that have
// one. So a pause in which none was made takes none away: 4h are the last four hours
// with a copy, and not the last four hours. The letters are those of restic's
// durations, in which m is a month. Two things differ:
//
//   - Time is cut in UTC, so that two who prune agree wherever they are. Weeks are
//     those of ISO 8601 and begin on Monday, as with restic and borg.
//   - The oldest copy of all gets no place of its own while a rule is not full yet,
//     as it does with restic and borg. So it makes no difference how often one prunes:
//     what was to go once is never wanted again.
//
// And one is borrowed from nobody: the two newest copies stay, whatever the rule. A
// fault is noticed after it began; what it is to be mended with is then the copy
// before the newest one.
package retention

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Rule is how many hours, days, weeks, months and years keep a copy. The zero Rule
// lets none go.
type Rule struct {
	Hours, Days, Weeks, Months, Years int
}

// mostOfOne is how many hours, days and so on a rule may have.
const mostOfOne = 999

var part = regexp.MustCompile(`\A([0-9]{1,9})([hdwmy])\z`)

// Parse reads a rule that is written like 4h/7d/4w, in any order. Each of h, d, w, m
// and y may be there once, with a number from 1 to 999.
func Parse(text string) (Rule, error) {
	var r Rule
	seen := map[string]bool{}
	for _, word := range strings.Split(text, "/") {
		m := part.FindStringSubmatch(word)
		if m == nil {
			return Rule{}, fmt.Errorf("%q is not a number with one of h, d, w, m (months) and y", word)
		}
		n, _ := strconv.Atoi(m[1]) // digits by the pattern, and few
		switch {
		case n < 1 || n > mostOfOne:
			return Rule{}, fmt.Errorf("%q is out of range: 1 to %d", word, mostOfOne)
		case seen[m[2]]:
			return Rule{}, fmt.Errorf("%s is there twice", m[2])
		}
		seen[m[2]] = true
		for _, u := range units {
			if u.letter == m[2] {
				*u.of(&r) = n
			}
		}
	}
	return r, nil
}

// String writes the rule as Parse reads it, the finest first; empty for the zero
// Rule.
func (r Rule) String() string {
	var words []string
	for _, u := range units {
		if n := *u.of(&r); n > 0 {
			words = append(words, strconv.Itoa(n)+u.letter)
		}
	}
	return strings.Join(words, "/")
}

// Most is the most copies that the rule keeps of those that are not kept for
// another reason; 0: there is no end to it.
func (r Rule) Most() int {
	sum := 0
	for _, u := range units {
		sum += max(*u.of(&r), 0)
	}
	if sum == 0 {
		return 0
	}
	return sum + 1 // the one before the newest
}
