package simulated_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/simulated"
)

// told is what a host says about VM1.
type told struct {
	kind hypervisor.EventKind
	why  hypervisor.Reason
}

func listen(t *testing.T, h hypervisor.Host) <-chan hypervisor.Event {
	t.Helper()
	events, err := h.Events(t.Context())
	require.NoError(t, err)
	require.Equal(t, hypervisor.EventConnectionUp, (<-events).Kind)
	return events
}

func requireTold(t *testing.T, events <-chan hypervisor.Event, want ...told) {
	t.Helper()
	for _, w := range want {
		ev := <-events
		require.Equal(t, w, told{ev.Kind, ev.Reason})
		require.Equal(t, "VM1", ev.Name)
	}
}

func look(t *testing.T, h hypervisor.Host, vm simulated.VM) [2]string {
	t.Helper()
	d, err := h.Domain(t.Context(), vm.UUID)
	require.NoError(t, err)
	return [2]string{string(d.State), string(d.Reason)}
}

// The words are those that libvirt 9.0 was seen to say on both sides.
func TestMigrate(t *testing.T) {
	c, a, vm := site(t, simulated.Options{Hosts: 2, VMsPerHost: 1})
	b := c.Host("B")
	fromA, fromB := listen(t, a), listen(t, b)
	require.NoError(t, c.HangGuest("VM1"))

	m, err := c.BeginMigration("VM1", "B")
	require.NoError(t, err)
	requireTold(t, fromB, told{hypervisor.EventAgent, hypervisor.ReasonAgentDisconnected},
		told{hypervisor.EventStarted, hypervisor.ReasonMigrated})
	require.Equal(t, [2]string{"running", "booted"}, look(t, a, vm))
	require.Equal(t, [2]string{"paused", "migrating"}, look(t, b, vm))
	d, err := b.Domain(t.Context(), vm.UUID)
	require.NoError(t, err)
	require.False(t, d.Persistent)
	require.NoError(t, m.Finish(false))
	requireTold(t, fromB, told{hypervisor.EventDefined, "added"}, told{hypervisor.EventResumed, hypervisor.ReasonMigrated},
		told{hypervisor.EventAgent, hypervisor.ReasonAgentConnected})
	requireTold(t, fromA, told{hypervisor.EventSuspended, hypervisor.ReasonMigrating}, told{hypervisor.EventStopped, hypervisor.ReasonMigrated})
	require.Equal(t, [2]string{"shut off", "migrated"}, look(t, a, vm))
	require.Equal(t, [2]string{"running", "migrated"}, look(t, b, vm))
	on, err := c.ActiveOn("VM1")
	require.NoError(t, err)
	require.Equal(t, []string{"B"}, on)
	_, err = b.GuestTime(t.Context(), vm.UUID)
	require.ErrorIs(t, err, hypervisor.ErrNoAgent, "it is the same guest")

	require.NoError(t, c.MoveVM("VM1", "A"))
	requireTold(t, fromA, told{hypervisor.EventAgent, hypervisor.ReasonAgentDisconnected},
		told{hypervisor.EventStarted, hypervisor.ReasonMigrated}, told{hypervisor.EventDefined, "updated"},
		told{hypervisor.EventResumed, hypervisor.ReasonMigrated}, told{hypervisor.EventAgent, hypervisor.ReasonAgentConnected})
	requireTold(t, fromB, told{hypervisor.EventSuspended, hypervisor.ReasonMigrating}, told{hypervisor.EventStopped, hypervisor.ReasonMigrated})
	_, err = b.Domain(t.Context(), vm.UUID)
	require.ErrorIs(t, err, hypervisor.ErrNotFound)
	require.Empty(t, c.TwoCopies())
}

func TestMigrationThatFails(t *testing.T) {
	for name, fault := range map[string]func(*simulated.Cluster) error{
		"guest died":       func(c *simulated.Cluster) error { return c.KillVM("VM1") },
		"source hangs":     func(c *simulated.Cluster) error { return c.HangVM("VM1") },
		"network cut":      func(c *simulated.Cluster) error { return c.CutHost("A") },
		"target off":       func(c *simulated.Cluster) error { return c.PowerOffHost("B") },
		"target's libvirt": func(c *simulated.Cluster) error { return c.KillLibvirtd("B") },
	} {
		t.Run(name, func(t *testing.T) {
			c, _, vm := site(t, simulated.Options{Hosts: 2, VMsPerHost: 1})
			m, err := c.BeginMigration("VM1", "B")
			require.NoError(t, err)
			require.NoError(t, fault(c))
			require.Error(t, m.Finish(false))
			require.NoError(t, c.PowerOnHost("B"))
			require.NoError(t, c.StartLibvirtd("B"))
			_, err = c.Host("B").Domain(t.Context(), vm.UUID)
			require.ErrorIs(t, err, hypervisor.ErrNotFound)
			require.Empty(t, c.TwoCopies())
		})
	}
}

func TestMigrationThatCannotBegin(t *testing.T) {
	c, _, _ := site(t, simulated.Options{Hosts: 2, VMsPerHost: 1})
	for _, to := range []string{"A", "Z"} {
		require.Error(t, c.MigrateVM("VM1", to))
	}
	require.NoError(t, c.KillLibvirtd("B"))
	require.ErrorIs(t, c.MigrateVM("VM1", "B"), hypervisor.ErrUnreachable)
	require.NoError(t, c.KillVM("VM1"))
	require.ErrorIs(t, c.MigrateVM("VM1", "B"), hypervisor.ErrInvalidState)
}

func TestLoseAndFind(t *testing.T) {
	c, a, vm := site(t, simulated.Options{Hosts: 1, VMsPerHost: 2})
	events := listen(t, a)
	require.NoError(t, a.Annotate(t.Context(), vm.UUID, "<vm/>"))
	requireTold(t, events, told{hypervisor.EventAnnotated, ""})
	require.NoError(t, c.LoseVM("VM1"))
	list, err := a.Domains(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 1)
	_, err = a.Domain(t.Context(), vm.UUID)
	require.ErrorIs(t, err, hypervisor.ErrNotFound)
	require.ErrorIs(t, c.LoseVM("VM1"), hypervisor.ErrNotActive)

	require.NoError(t, c.FindVM("VM1"))
	requireTold(t, events, told{hypervisor.EventDefined, "added"}) // and of the loss nobody was told
	require.Equal(t, [2]string{"shut off", "unknown"}, look(t, a, vm))
	xml, err := a.Definition(t.Context(), vm.UUID)
	require.NoError(t, err)
	require.Contains(t, xml, "<vm/>")
	require.NoError(t, a.Start(t.Context(), vm.UUID))
}
