// Package nearest finds what somebody meant who typed a word that is not known.
package nearest

import "strings"

// Word is the known word nearest to the one that was typed, or "" if none looks
// like a slip of the hand. Case does not count, and of two equally near ones the
// first wins.
func Word(typed string, known []string) string {
	lower := strings.ToLower(typed)
	best, most := "", max(len(typed)/3, 1)
	for _, k := range known {
		d := distance(lower, strings.ToLower(k))
		if len(typed) > 2 && strings.Contains(strings.ToLower(k), lower) {
			d = min(d, 1) // stable for stableFor
		}
		if d < most || d == most && best == "" {
			best, most = k, d
		}
	}
	return best
}

// distance is how many slips of the hand lie between a and b: a letter too many,
// too few, another one, or two swapped. Words over 64 bytes are no slip.
func distance(a, b string) int {
	const most = 64
	if len(a) > most || len(b) > most {
		return max(len(a), len(b))
	}
	var d [most + 1][most + 1]int
	for i := range len(a) + 1 {
		for j := range len(b) + 1 {
			if i == 0 || j == 0 {
				d[i][j] = i + j
				continue
			}
			replace := d[i-1][j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			d[i][j] = min(replace, d[i-1][j]+1, d[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
