package main

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPartsEndTheOtherWayRound(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := newParts()
	var order []string // written by one part at a time, as each waits for the one after it
	for _, name := range []string{"first", "second", "third"} {
		p.start(ctx, name, func(ctx context.Context) error {
			<-ctx.Done()
			order = append(order, name)
			return nil
		})
	}
	cancel()
	require.NoError(t, p.wait(ctx))
	require.Empty(t, order, "the end of the process's context ends no part by itself")
	require.NoError(t, p.stop())
	require.Equal(t, []string{"third", "second", "first"}, order)
}

func TestAPartThatEndsByItselfEndsAll(t *testing.T) {
	broken := errors.New("broken")
	p := newParts()
	p.start(t.Context(), "sound", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	p.start(t.Context(), "worker", func(context.Context) error { return broken })
	up, err := p.waitReady(t.Context(), func() error { return errors.New("never") })
	require.False(t, up)
	require.ErrorIs(t, err, broken)
	require.EqualError(t, err, "worker: broken")
	require.NoError(t, p.stop(), "it is said once")

	p.start(t.Context(), "monitor", func(context.Context) error { return nil })
	require.EqualError(t, p.wait(t.Context()), "monitor: ended by itself")
	require.NoError(t, p.stop())
}

func TestAPartThatFailsWhileItStops(t *testing.T) {
	p := newParts()
	p.start(t.Context(), "worker", func(ctx context.Context) error { <-ctx.Done(); return errors.New("did not drain") })
	require.EqualError(t, p.stop(), "did not drain")
}
