package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAwait(t *testing.T) {
	cause := errors.New("not yet")
	calls := 0
	require.NoError(t, await(t.Context(), time.Minute, "it", func(context.Context) error {
		if calls++; calls < 3 {
			return cause
		}
		return nil
	}))

	err := await(t.Context(), time.Millisecond, "it", func(context.Context) error { return cause })
	require.ErrorIs(t, err, cause, "the time is over: why")
	require.ErrorContains(t, err, "waited 1ms for it: not yet")

	err = await(t.Context(), time.Minute, "it", func(context.Context) error { return fatal{cause} })
	require.Equal(t, cause, err, "waiting longer is no use")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, await(ctx, time.Minute, "it", func(context.Context) error { return cause }), context.Canceled)
}
