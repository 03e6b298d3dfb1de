package hosttest

import (
	"context"
	"errors"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"holdfast/internal/hypervisor"
)

// hidden is what a definition may hold and no error.
const hidden = "hunter2-of-the-definition"

func (s *suite) needs(t *testing.T, h hypervisor.Host) hypervisor.Needs {
	t.Helper()
	n, err := h.Needs(s.ctx, s.VM.UUID)
	require.NoError(t, err)
	for name, list := range map[string][]string{"folders": n.Folders, "networks": n.Networks, "pinned": n.Pinned} {
		require.True(t, slices.IsSorted(list), "%s are sorted: %v", name, list)
		require.Len(t, slices.Compact(slices.Clone(list)), len(list), "%s has no duplicates: %v", name, list)
	}
	return n
}

// refuseUndefine is one that must be refused, and change nothing.
func (s *suite) refuseUndefine(t *testing.T, sentinel error) {
	t.Helper()
	before := s.domain(t, s.VM.UUID)
	require.ErrorIs(t, s.Host.Undefine(s.ctx, s.VM.UUID), sentinel)
	require.Equal(t, before, s.domain(t, s.VM.UUID))
}

func (s *suite) autostart(t *testing.T, h hypervisor.Host) bool {
	t.Helper()
	on, err := h.Autostart(s.ctx, s.VM.UUID)
	require.NoError(t, err)
	return on
}

// unknown: the host does not know VM, neither by itself nor in its list.
func (s *suite) unknown(t *testing.T, h hypervisor.Host) {
	t.Helper()
	_, err := h.Domain(s.ctx, s.VM.UUID)
	require.ErrorIs(t, err, hypervisor.ErrNotFound)
	list, err := h.Domains(s.ctx)
	require.NoError(t, err)
	for _, d := range list {
		require.NotEqual(t, s.VM.UUID, d.UUID, "%s lists it", h.Name())
	}
}

func testNeeds(t *testing.T, s *suite) {
	running := s.needs(t, s.Host)
	require.Equal(t, s.VM.Memory, running.Memory, "bytes")
	require.Equal(t, s.VM.VCPUs, running.VCPUs)
	require.Contains(t, running.Folders, path.Dir(s.image(t)))
	for _, folder := range running.Folders {
		require.True(t, path.IsAbs(folder), folder)
		require.Equal(t, path.Clean(folder), folder)
	}
	require.Empty(t, running.Pinned)
	require.False(t, running.Autostart)
	s.stop(t)
	require.Equal(t, running, s.needs(t, s.Host), "what it needs does not hang upon whether it runs")
	_, err := s.Host.Needs(s.ctx, uuid.NewString())
	require.ErrorIs(t, err, hypervisor.ErrNotFound)
}

// What only this host knows pins a domain to it, until it is given up.
func testNeedsOfSnapshot(t *testing.T, s *suite) {
	before := s.needs(t, s.Host)
	s.snapshot(t, hypervisor.SnapshotOptions{Name: "layer"})
	pinned := s.needs(t, s.Host)
	require.NotEmpty(t, pinned.Pinned)
	require.Contains(t, strings.Join(pinned.Pinned, "; "), "snapshot")
	require.Equal(t, before.Folders, pinned.Folders, "the layer is where the image is")
	require.NoError(t, s.Host.DeleteSnapshot(s.ctx, s.VM.UUID, "layer"))
	require.Equal(t, before, s.needs(t, s.Host))
	s.stop(t)
	s.snapshot(t, hypervisor.SnapshotOptions{Name: "inside"})
	require.NotEmpty(t, s.needs(t, s.Host).Pinned)
	require.NoError(t, s.Host.DeleteSnapshot(s.ctx, s.VM.UUID, "inside"))
	require.Equal(t, before, s.needs(t, s.Host))
}

func testNeedsOfLostPool(t *testing.T, s *suite) {
	before := s.needs(t, s.Host)
	s.stop(t)
	s.losePool(t)
	_, err := s.Host.Needs(s.ctx, s.VM.UUID)
	require.ErrorIs(t, err, hypervisor.ErrNoPool)
	s.pull(t, "RestorePool", s.RestorePool)
	require.Equal(t, before, s.needs(t, s.Host))
}

// losePool takes the storage away and makes the host notice.
func (s *suite) losePool(t *testing.T) {
	t.Helper()
	s.pull(t, "LosePool", s.LosePool)
	p, err := s.pool(s.ctx)
	require.NoError(t, err)
	require.Equal(t, hypervisor.PoolInactive, p.State)
}

func testNetworks(t *testing.T, s *suite) {
	list, err := s.Host.Networks(s.ctx)
	require.NoError(t, err)
	require.True(t, slices.IsSorted(list), "sorted: %v", list)
	if s.Network != "" {
		require.Contains(t, list, s.Network)
	}
	for _, name := range s.needs(t, s.Host).Networks {
		require.Contains(t, list, name, "the domain runs here, so its networks are active")
	}
}

func testAutostart(t *testing.T, s *suite) {
	require.False(t, s.autostart(t, s.Host))
	t.Cleanup(func() { _ = s.Host.SetAutostart(s.ctx, s.VM.UUID, false) })
	for _, on := range []bool{true, true, false, false} {
		require.NoError(t, s.Host.SetAutostart(s.ctx, s.VM.UUID, on))
		require.Equal(t, on, s.autostart(t, s.Host))
		require.Equal(t, on, s.needs(t, s.Host).Autostart)
	}
	s.stop(t)
	require.NoError(t, s.Host.SetAutostart(s.ctx, s.VM.UUID, true))
	require.True(t, s.autostart(t, s.Host))
	require.Equal(t, hypervisor.StateShutoff, s.domain(t, s.VM.UUID).State, "that starts nothing")
	require.NoError(t, s.Host.SetAutostart(s.ctx, s.VM.UUID, false))

	unknown := uuid.NewString()
	_, err := s.Host.Autostart(s.ctx, unknown)
	require.ErrorIs(t, err, hypervisor.ErrNotFound)
	require.ErrorIs(t, s.Host.SetAutostart(s.ctx, unknown, true), hypervisor.ErrNotFound)
	require.ErrorIs(t, s.Host.SetAutostart(s.ctx, unknown, false), hypervisor.ErrNotFound)
}

func testUndefine(t *testing.T, s *suite) {
	require.ErrorIs(t, s.Host.Undefine(s.ctx, uuid.NewString()), hypervisor.ErrNotFound)
	s.refuseUndefine(t, hypervisor.ErrAlreadyActive)
	require.NoError(t, s.pauseAnd(t, func() { s.refuseUndefine(t, hypervisor.ErrAlreadyActive) }))

	s.snapshot(t, hypervisor.SnapshotOptions{Name: "layer"})
	s.stop(t)
	s.refuseUndefine(t, hypervisor.ErrInvalidState)
	require.Equal(t, []string{"layer"}, s.names(t))
	s.start(t)
	require.NoError(t, s.Host.DeleteSnapshot(s.ctx, s.VM.UUID, "layer"))

	// A backup holds nothing up: the next one is a full one, that is all.
	s.backup(t, hypervisor.BackupOptions{Name: "one"})
	require.Empty(t, s.needs(t, s.Host).Pinned)
	s.stop(t)
	definition := s.definition(t)
	s.comeHome(t, definition)
	require.NoError(t, s.Host.Undefine(s.ctx, s.VM.UUID))
	s.unknown(t, s.Host)
	require.Equal(t, []string{"one"}, s.backupNames(t))
	require.NoError(t, s.Host.Define(s.ctx, definition))
	s.start(t)
	two := s.backup(t, hypervisor.BackupOptions{Name: "two"})
	require.Empty(t, two.Parent)
	require.NotEmpty(t, two.Why)
}

// A domain that does not run is taken to Other, runs there, and is taken back. Its
// disk is in SharedFolder, so that it is the same all the time.
func testTakenElsewhere(t *testing.T, s *suite) {
	require.Equal(t, s.SharedFolder, path.Dir(s.image(t)), "the disk of VM has to be in SharedFolder of the fixture: this test starts it on Other")
	s.unknown(t, s.Other)
	require.NoError(t, s.Host.Annotate(s.ctx, s.VM.UUID, annotation))
	require.NoError(t, s.Host.SetAutostart(s.ctx, s.VM.UUID, true))
	needs := s.needs(t, s.Host)
	s.stop(t)
	s.mark(t, 'a')
	definition := s.definition(t)
	s.comeHome(t, definition)

	here, there := s.events(t), s.eventsOf(t, s.Other)
	require.ErrorIs(t, s.Host.Define(s.ctx, definition), hypervisor.ErrExists)
	require.NoError(t, s.Other.Define(s.ctx, definition))
	require.Equal(t, s.VM.Name, s.waitEvent(t, there, hypervisor.EventDefined, s.VM.UUID).Name)
	s.listed(t, s.Other)
	require.False(t, s.autostart(t, s.Other), "it is on Host alone")
	require.True(t, s.autostart(t, s.Host))
	require.ErrorIs(t, s.Other.Define(s.ctx, definition), hypervisor.ErrExists)
	s.listed(t, s.Other)

	require.NoError(t, s.Host.Undefine(s.ctx, s.VM.UUID))
	require.Equal(t, s.VM.Name, s.waitEvent(t, here, hypervisor.EventUndefined, s.VM.UUID).Name)
	s.unknown(t, s.Host)
	require.ErrorIs(t, s.Host.Undefine(s.ctx, s.VM.UUID), hypervisor.ErrNotFound)
	text, err := s.Other.Definition(s.ctx, s.VM.UUID)
	require.NoError(t, err)
	require.Contains(t, text, `<holdfast:label name="tier" value="a &amp; b"/>`, "the annotation goes along")
	needs.Autostart = false
	require.Equal(t, needs, s.needs(t, s.Other))

	require.NoError(t, s.Other.Start(s.ctx, s.VM.UUID))
	d, err := s.Other.Domain(s.ctx, s.VM.UUID)
	require.NoError(t, err)
	require.Equal(t, hypervisor.StateRunning, d.State)
	s.poll(t, func() (bool, any) {
		_, err := s.Other.GuestTime(s.ctx, s.VM.UUID)
		return err == nil, err
	}, "the guest never got up on %s", s.Other.Name())
	require.ErrorIs(t, s.Other.Undefine(s.ctx, s.VM.UUID), hypervisor.ErrAlreadyActive)

	require.NoError(t, s.Other.Destroy(s.ctx, s.VM.UUID))
	text, err = s.Other.Definition(s.ctx, s.VM.UUID)
	require.NoError(t, err)
	require.NoError(t, s.Host.Define(s.ctx, text))
	s.waitEvent(t, here, hypervisor.EventDefined, s.VM.UUID)
	require.NoError(t, s.Other.Undefine(s.ctx, s.VM.UUID))
	s.waitEvent(t, there, hypervisor.EventUndefined, s.VM.UUID)
	s.unknown(t, s.Other)
	s.listed(t, s.Host)
	require.False(t, s.autostart(t, s.Host), "it was forgotten with the domain")
	s.requireMark(t, 'a')
	s.start(t)
	s.waitAgent(t)
}

// listed: the host has VM as one that was just defined.
func (s *suite) listed(t *testing.T, h hypervisor.Host) {
	t.Helper()
	d, err := h.Domain(s.ctx, s.VM.UUID)
	require.NoError(t, err)
	require.Equal(t, s.VM.Name, d.Name)
	require.Equal(t, hypervisor.StateShutoff, d.State)
	require.True(t, d.Persistent)
	require.False(t, d.ManagedSave)
	list, err := h.Domains(s.ctx)
	require.NoError(t, err)
	require.Contains(t, list, d)
}

// comeHome takes VM back to Host when a subtest that took it to Other has failed,
// and leaves no annotation and no autostart of it.
func (s *suite) comeHome(t *testing.T, definition string) {
	t.Helper()
	t.Cleanup(func() {
		_ = s.Other.Destroy(s.ctx, s.VM.UUID)
		_ = s.Other.Undefine(s.ctx, s.VM.UUID)
		if err := s.Host.Define(s.ctx, definition); !errors.Is(err, hypervisor.ErrExists) {
			require.NoError(t, err, "take it back to Host")
		}
		require.NoError(t, s.Host.SetAutostart(s.ctx, s.VM.UUID, false))
		require.NoError(t, s.Host.Annotate(s.ctx, s.VM.UUID, ""))
	})
}

// What is not taken stays out whole, and its text out of the error.
func testDefinitionsRefused(t *testing.T, s *suite) {
	s.stop(t)
	definition, before := s.definition(t), s.domainUUIDs(t)
	for name, text := range map[string]string{
		"empty":             "",
		"no XML":            hidden,
		"cut off":           "<domain type='kvm'><name>" + hidden,
		"of something else": "<network><name>" + hidden + "</name></network>",
		"with a bad type":   "<domain type='" + hidden + "'><name>one</name><uuid>" + uuid.NewString() + "</uuid></domain>",
		"with a bad UUID":   strings.Replace(definition, s.VM.UUID, hidden, 1),
		"without machine":   "<domain type='qemu'><name>one</name><uuid>" + uuid.NewString() + "</uuid><title>" + hidden + "</title></domain>",
		"with bad memory":   "<domain type='qemu'><name>one</name><memory>" + hidden + "</memory><os><type>hvm</type></os></domain>",
	} {
		err := s.Other.Define(s.ctx, text)
		require.ErrorIs(t, err, hypervisor.ErrInvalidState, name)
		require.NotContains(t, err.Error(), hidden, name)
	}
	s.unknown(t, s.Other)

	other := uuid.NewString()
	for name, text := range map[string]string{
		"same name": strings.Replace(definition, s.VM.UUID, other, 1),
		"same UUID": strings.Replace(definition, "<name>"+s.VM.Name+"</name>", "<name>"+s.VM.Name+"-again</name>", 1),
	} {
		require.NotEqual(t, definition, text)
		require.ErrorIs(t, s.Host.Define(s.ctx, text), hypervisor.ErrExists, name)
		require.Equal(t, definition, s.definition(t), name)
	}
	require.Equal(t, before, s.domainUUIDs(t))
}

// Whoever has left, or closed the Host, gets no answer.
func testDefinitionsEnded(t *testing.T, s *suite) {
	calls := map[string]func(context.Context) error{
		"Needs":        func(ctx context.Context) error { _, err := s.Host.Needs(ctx, s.VM.UUID); return err },
		"Networks":     func(ctx context.Context) error { _, err := s.Host.Networks(ctx); return err },
		"Define":       func(ctx context.Context) error { return s.Host.Define(ctx, "<domain/>") },
		"Undefine":     func(ctx context.Context) error { return s.Host.Undefine(ctx, s.VM.UUID) },
		"Autostart":    func(ctx context.Context) error { _, err := s.Host.Autostart(ctx, s.VM.UUID); return err },
		"SetAutostart": func(ctx context.Context) error { return s.Host.SetAutostart(ctx, s.VM.UUID, true) },
		"Mark":         func(ctx context.Context) error { return s.Host.Mark(ctx, s.OwnFolder, oneMark()) },
		"Marked":       func(ctx context.Context) error { _, err := s.Host.Marked(ctx, s.OwnFolder, oneMark()); return err },
		"Unmark":       func(ctx context.Context) error { return s.Host.Unmark(ctx, s.OwnFolder, oneMark()) },
	}
	ended, cancel := context.WithCancel(s.ctx)
	cancel()
	for name, call := range calls {
		require.ErrorIs(t, call(ended), context.Canceled, name)
	}
	require.False(t, s.autostart(t, s.Host))
	require.NoError(t, s.Host.Close())
	for name, call := range calls {
		require.ErrorIs(t, call(s.ctx), hypervisor.ErrClosed, name)
	}
}
