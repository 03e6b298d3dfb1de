package alert

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTokenFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "token")
	padded := " abc\r\n"
	for content, want := range map[string]string{
		"abc": "abc", padded: "abc", "a.b-c~d+e/f==": "a.b-c~d+e/f==", strings.Repeat("x", maxToken): strings.Repeat("x", maxToken),
	} {
		require.NoError(t, os.WriteFile(name, []byte(content), 0o600))
		got, err := TokenFile(name).Read()
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for content, want := range map[string]string{
		"": "is empty", " \n": "is empty", "sec ret": "holds more than one word", "secret\nsecret": "holds more than one word",
		"s\x00cret": "characters that no token has", "sécret": "characters that no token has", strings.Repeat("x", maxToken+1): "is longer than 8192 bytes",
	} {
		require.NoError(t, os.WriteFile(name, []byte(content), 0o600))
		_, err := TokenFile(name).Read()
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, name)
		require.NotContains(t, err.Error(), "cret")
	}
	_, err := TokenFile(name + "2").Read()
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestPrintable(t *testing.T) {
	require.Equal(t, "plain ä 漢 ✓", Printable("plain ä 漢 ✓"))
	require.Equal(t, "a  [31m b c?", Printable("a\n\x1b[31m\u202eb\tc\xff"))
}

func TestShorten(t *testing.T) {
	require.Equal(t, "abcdef", Shorten("abcdef", 6))
	require.Equal(t, "ab…", Shorten("abcdef", 5))
	require.Equal(t, "a…", Shorten("aäääää", 5), "not within a character")
	require.Equal(t, "…", Shorten("äääää", 3))
}
