package nearest_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"holdfast/internal/nearest"
)

func TestWord(t *testing.T) {
	known := []string{"web1", "web2", "database", "stableFor"}
	for typed, want := range map[string]string{
		"web1":     "web1",
		"wbe1":     "web1",
		"WEB2":     "web2",
		"databse":  "database",
		"stable":   "stableFor",
		"mail":     "",
		"":         "",
		"x":        "",
		"web11111": "",
	} {
		require.Equal(t, want, nearest.Word(typed, known), "typed %q", typed)
	}
	require.Empty(t, nearest.Word("web", nil))
	require.Empty(t, nearest.Word(strings.Repeat("a", 100), []string{strings.Repeat("b", 100)}))
}
