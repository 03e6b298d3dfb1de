package main

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// Wrong usage and a lab that is not there have codes of their own elsewhere; here
// 2 would be taken for "off".
func TestPowerStateIsUnknownWhateverGoesWrong(t *testing.T) {
	for _, args := range [][]string{
		{"power-state"},
		{"power-state", "A", "B"},
		{"power-state", "A", "--nonsense"},
		{"power-state", "A", "--name"},
		{"power-state", "A", "--name", "x"},
		{"power-state", "A", "--name", "X"},
	} {
		code, out := run(t, args...)
		require.Equal(t, powerUnknown, code, args)
		require.Empty(t, out, args)
	}
	require.Equal(t, powerOff, exitCode(exitError{code: powerOff}))
	require.Equal(t, powerUnknown, exitCode(exitError{powerUnknown, errors.New("x")}))
}
