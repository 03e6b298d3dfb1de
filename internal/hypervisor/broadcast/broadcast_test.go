package broadcast

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"holdfast/internal/hypervisor"
)

func kinds(t *testing.T, ch <-chan hypervisor.Event, n int) []hypervisor.EventKind {
	t.Helper()
	out := make([]hypervisor.EventKind, 0, n)
	for range n {
		ev, ok := <-ch
		require.True(t, ok, "channel ended after %v", out)
		out = append(out, ev.Kind)
	}
	return out
}

func TestFirstEventIsTheConnection(t *testing.T) {
	var h Hub
	defer h.Close()
	h.Publish(hypervisor.Event{Kind: hypervisor.EventConnectionUp})
	h.Publish(hypervisor.Event{Kind: hypervisor.EventStarted})
	ch, err := h.Subscribe(t.Context())
	require.NoError(t, err)
	h.Publish(hypervisor.Event{Kind: hypervisor.EventStopped})
	require.Equal(t, []hypervisor.EventKind{hypervisor.EventConnectionUp, hypervisor.EventStopped}, kinds(t, ch, 2))
}

func TestRepeatedConnectionEventIsDropped(t *testing.T) {
	var h Hub
	defer h.Close()
	ch, err := h.Subscribe(t.Context())
	require.NoError(t, err)
	for range 3 {
		h.Publish(hypervisor.Event{Kind: hypervisor.EventConnectionDown})
	}
	h.Publish(hypervisor.Event{Kind: hypervisor.EventConnectionUp})
	require.Equal(t, []hypervisor.EventKind{hypervisor.EventConnectionDown, hypervisor.EventConnectionUp}, kinds(t, ch, 2))
}

func TestSlowReaderIsToldAndKeepsConnectionEvents(t *testing.T) {
	h := Hub{Buffer: 8}
	defer h.Close()
	ch, err := h.Subscribe(t.Context())
	require.NoError(t, err)
	h.Publish(hypervisor.Event{Kind: hypervisor.EventConnectionUp})
	require.Equal(t, []hypervisor.EventKind{hypervisor.EventConnectionUp}, kinds(t, ch, 1))
	h.Publish(hypervisor.Event{Kind: hypervisor.EventConnectionDown})
	for range 100 {
		h.Publish(hypervisor.Event{Kind: hypervisor.EventStarted})
	}
	h.Publish(hypervisor.Event{Kind: hypervisor.EventConnectionUp})

	var got []hypervisor.EventKind
	for len(got) == 0 || got[len(got)-1] != hypervisor.EventConnectionUp {
		got = append(got, kinds(t, ch, 1)...)
	}
	require.Contains(t, got, hypervisor.EventOverflow)
	require.Equal(t, hypervisor.EventConnectionDown, got[0])
	require.LessOrEqual(t, len(got), 12)
}

func TestFlappingHostDoesNotGrowTheQueue(t *testing.T) {
	h := Hub{Buffer: 8}
	defer h.Close()
	_, err := h.Subscribe(t.Context())
	require.NoError(t, err)
	for range 1000 {
		h.Publish(hypervisor.Event{Kind: hypervisor.EventConnectionDown})
		h.Publish(hypervisor.Event{Kind: hypervisor.EventConnectionUp})
	}
	for s := range h.subs {
		s.mu.Lock()
		require.LessOrEqual(t, len(s.queue), 9)
		require.Equal(t, hypervisor.EventConnectionUp, s.queue[len(s.queue)-1].Kind)
		s.mu.Unlock()
	}
}

func TestChannelEndsWithContextAndWithClose(t *testing.T) {
	var h Hub
	ctx, cancel := context.WithCancel(t.Context())
	a, err := h.Subscribe(ctx)
	require.NoError(t, err)
	b, err := h.Subscribe(t.Context())
	require.NoError(t, err)
	cancel()
	_, ok := <-a
	require.False(t, ok)
	h.Close()
	_, ok = <-b
	require.False(t, ok)
	_, err = h.Subscribe(t.Context())
	require.ErrorIs(t, err, hypervisor.ErrClosed)
	_, err = h.Subscribe(ctx)
	require.ErrorIs(t, err, context.Canceled)
}
