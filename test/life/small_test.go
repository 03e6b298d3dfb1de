package life

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSmallSite plays three hours of a small site under the race detector; the
// whole day is a stage of its own.
func TestSmallSite(t *testing.T) {
	w := New(7, 12, 120)
	j := w.Hold()
	all := kinds()
	for i, kind := range all {
		w.later(600*(i+1), func() { w.inject(kind, 0) })
	}
	w.Day(600 * (len(all) + 4))
	require.Empty(t, j.False)
	require.Equal(t, len(all), j.Found)
}
