package record

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestSystemIsWholeOrBroken(t *testing.T) {
	_, err := ParseSystem(make([]byte, SystemSize))
	require.ErrorIs(t, err, ErrNoSystem)
	_, err = ParseSystem(bytes.Repeat([]byte{CorruptByte}, SystemSize))
	require.ErrorIs(t, err, ErrSystemBroken)
	_, err = ParseSystem(nil)
	require.ErrorContains(t, err, "0 bytes")

	system := make([]byte, SystemSize)
	rapid.Check(t, func(t *rapid.T) {
		generation := rapid.Uint64().Draw(t, "generation")
		EncodeSystem(system, generation)
		got, err := ParseSystem(system)
		require.NoError(t, err)
		require.Equal(t, generation, got)
		// Any one bit that is wrong shows.
		system[rapid.IntRange(0, SystemSize-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		_, err = ParseSystem(system)
		require.ErrorIs(t, err, ErrSystemBroken)
	})
}

func TestGenerationsDifferInEveryCluster(t *testing.T) {
	one, two := make([]byte, SystemSize), make([]byte, SystemSize)
	EncodeSystem(one, 1)
	EncodeSystem(two, 2)
	for at := 0; at < SystemSize; at += BlockSize {
		require.NotEqual(t, one[at:at+BlockSize], two[at:at+BlockSize])
	}
	// Half of one and half of the other are neither.
	copy(one[SystemSize/2:], two[SystemSize/2:])
	_, err := ParseSystem(one)
	require.ErrorIs(t, err, ErrSystemBroken)
}
