//go:build cgo && lab

package libvirt

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/hosttest"
	"holdfast/test/lab"
)

// waitAgent waits until the guest has booted and its agent answers.
func waitAgent(t *testing.T, h *Host, vm hosttest.VM) time.Time {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		now, err := h.GuestTime(t.Context(), vm.UUID)
		if err == nil {
			return now
		}
		require.ErrorIs(t, err, hypervisor.ErrNoAgent)
		select {
		case <-tick.C:
		case <-deadline:
			require.FailNow(t, "the agent never answered", "%s: %v", vm.Name, err)
		}
	}
}

// An agent that is connected and says nothing, having answered before: that is
// in the way of no other call, and not for long of others who ask it.
func testMuteAgent(t *testing.T, b *bench) {
	h := b.connect(t, "A")
	vm, other := b.describe(t, "VM1"), b.describe(t, "VM3")
	waitAgent(t, h, vm)
	waitAgent(t, h, other)
	_, err := b.Do(t.Context(), vm.Name, lab.TaskMute, lab.TaskOptions{})
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := b.Do(context.Background(), vm.Name, lab.TaskUnmute, lab.TaskOptions{})
		require.NoError(t, err)
	})

	const callers = 2 * agentsAtOnce
	answers := make(chan error, callers)
	for range callers {
		go func() {
			_, err := h.GuestTime(t.Context(), vm.UUID)
			answers <- err
		}()
	}
	for unanswered := callers; unanswered > 0; {
		select {
		case err := <-answers:
			require.ErrorIs(t, err, hypervisor.ErrNoAgent)
			unanswered--
		default:
		}
		stats, err := h.Stats(t.Context())
		require.NoError(t, err)
		require.Len(t, stats, 3, "QEMU answers for all")
		_, err = h.DiskErrors(t.Context(), vm.UUID)
		require.NoError(t, err)
	}
	_, err = h.GuestTime(t.Context(), other.UUID)
	require.NoError(t, err)
	require.Zero(t, present(h).stuck.Load())
	require.Len(t, present(h).agents.slots, 1, "libvirt still waits")
	require.Eventually(t, func() bool { return len(present(h).agents.slots) == 0 }, patience, 50*time.Millisecond, "libvirt never gave up")

	_, err = b.Do(t.Context(), vm.Name, lab.TaskUnmute, lab.TaskOptions{})
	require.NoError(t, err)
	waitAgent(t, h, vm)
	require.NoError(t, h.Close())
}

func testGuestClock(t *testing.T, b *bench) {
	h := b.connect(t, "A")
	vm := b.describe(t, "VM1")
	require.WithinDuration(t, time.Now(), waitAgent(t, h, vm), 10*time.Minute)
	_, err := b.Do(t.Context(), vm.Name, lab.TaskClock, lab.TaskOptions{By: time.Hour})
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(time.Hour), waitAgent(t, h, vm), 10*time.Minute)
	_, err = b.Do(t.Context(), vm.Name, lab.TaskClock, lab.TaskOptions{By: -time.Hour})
	require.NoError(t, err)
	require.NoError(t, h.Close())
}
