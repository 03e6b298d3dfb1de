//go:build cgo

package libvirt

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	lv "libvirt.org/go/libvirt"

	"holdfast/internal/hypervisor"
)

// testDomain is the one domain of libvirt's test driver.
func testDomain(t *testing.T, h *Host) (uuid string) {
	t.Helper()
	domains, err := h.Domains(t.Context())
	require.NoError(t, err)
	require.Len(t, domains, 1)
	return domains[0].UUID
}

func TestTestDriverPools(t *testing.T) {
	h := newHost(t, Options{URI: "test:///default"})
	pools, err := h.Pools(t.Context())
	require.NoError(t, err)
	require.Equal(t, []hypervisor.Pool{{
		Name: "default-pool", UUID: "dfe224cb-28fb-8dd0-c4b2-64eb3f0f4566", State: hypervisor.PoolRunning,
		Target: "/default-pool", Capacity: 100 << 30, Available: 100 << 30,
	}}, pools)
	for kind, want := range map[string]bool{"dir": true, "netfs": true, "rbd": true, "iscsi": false, "logical": false} {
		require.Equal(t, want, poolDefinition{Type: kind}.refreshable(), kind)
	}
}

func TestTestDriverGuest(t *testing.T) {
	h := newHost(t, Options{URI: "test:///default"})
	uuid := testDomain(t, h)
	_, err := h.GuestTime(t.Context(), uuid)
	require.NoError(t, err)
	errs, err := h.DiskErrors(t.Context(), uuid)
	require.NoError(t, err)
	require.Equal(t, []hypervisor.DiskError{{Device: "vda"}}, errs, "the test driver's one disk has failed")
	require.NoError(t, h.Destroy(t.Context(), uuid)) // and back: the connections of a process share the domain
	t.Cleanup(func() { require.NoError(t, h.Start(context.Background(), uuid)) })
	_, err = h.GuestTime(t.Context(), uuid)
	require.ErrorIs(t, err, hypervisor.ErrNotActive)
	_, err = h.DiskErrors(t.Context(), uuid)
	require.ErrorIs(t, err, hypervisor.ErrNotActive)
}

func TestTestDriverAnnotate(t *testing.T) {
	h := newHost(t, Options{URI: "test:///default"})
	ctx := t.Context()
	uuid := testDomain(t, h)
	events, err := h.Events(ctx)
	require.NoError(t, err)
	require.Equal(t, hypervisor.EventConnectionUp, (<-events).Kind)
	definition := func() string {
		xml, err := h.Definition(ctx, uuid)
		require.NoError(t, err)
		return xml
	}
	for _, element := range []string{
		`<holdfast:vm xmlns:holdfast="` + metadataURI + `" mode="observe"><holdfast:label name="tier" value="a &lt; b"/></holdfast:vm>`,
		`<vm xmlns="` + metadataURI + `" mode="observe"><label name="tier" value="a &lt; b"/></vm>`,
	} {
		require.NoError(t, h.Annotate(ctx, uuid, element))
		ev := <-events
		for ev.Kind != hypervisor.EventAnnotated { // what tests before have done to the domain may still be told
			ev = <-events
		}
		require.Equal(t, uuid, ev.UUID)
		require.Contains(t, definition(), `<holdfast:vm xmlns:holdfast="`+metadataURI+`" mode="observe">`)
		require.Contains(t, definition(), `<holdfast:label name="tier" value="a &lt; b"/>`)
	}
	for _, wrong := range []string{"<vm", "<vm></vn>", "words"} {
		require.Error(t, h.Annotate(ctx, uuid, wrong))
	}
	require.NoError(t, h.Annotate(ctx, uuid, ""))
	require.NotContains(t, definition(), "holdfast")
	require.NoError(t, h.Annotate(ctx, uuid, ""), "there is nothing left to remove")
}

// present is the session that stands.
func present(h *Host) *session {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.current
}

// hangs is what libvirt does where nobody answers. It has begun when it sends,
// and ends with over.
func hangs[T any](begun chan<- struct{}, over <-chan struct{}) (none T, err error) {
	begun <- struct{}{}
	<-over
	return none, nil
}

// Storage that is gone holds one connection, and nothing that others wait for.
func TestPoolsThatHang(t *testing.T) {
	h := newHost(t, Options{URI: "test:///default"})
	require.NoError(t, h.Connect(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	begun, over, left := make(chan struct{}, 1), make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := callIn(ctx, h, "hang", func(s *session) (lane, error) { return s.pools, nil },
			func(*link) ([]hypervisor.Pool, error) { return hangs[[]hypervisor.Pool](begun, over) })
		left <- err
	}()
	<-begun
	cancel()
	require.ErrorIs(t, <-left, context.Canceled)

	brief, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := h.Pools(brief)
	require.ErrorIs(t, err, hypervisor.ErrTimeout)
	require.ErrorContains(t, err, "not answered yet")
	_, err = h.Domains(t.Context())
	require.NoError(t, err)
	require.Zero(t, present(h).stuck.Load())
	require.Eventually(t, func() bool { return len(present(h).calls.slots) == 0 }, 10*time.Second, time.Millisecond)

	close(over)
	pools, err := h.Pools(t.Context()) // waits for its turn, which comes
	require.NoError(t, err)
	require.Len(t, pools, 1)
}

func TestAgentThatHangs(t *testing.T) {
	h := newHost(t, Options{URI: "test:///default", AgentPatience: 20 * time.Millisecond})
	uuid := testDomain(t, h)
	begun, over := make(chan struct{}, 1), make(chan struct{})
	for range 2 * agentsAtOnce { // all of whom join the first
		_, err := h.askAgent(t.Context(), uuid, func(*lv.Domain) (time.Time, error) { return hangs[time.Time](begun, over) })
		require.ErrorIs(t, err, hypervisor.ErrNoAgent)
		require.NotErrorIs(t, err, hypervisor.ErrTimeout)
	}
	require.Len(t, begun, 1)
	require.Len(t, present(h).agents.slots, 1)
	_, err := h.Domains(t.Context())
	require.NoError(t, err)
	close(over)
	require.Eventually(t, func() bool {
		_, err := h.GuestTime(t.Context(), uuid)
		return err == nil
	}, 10*time.Second, time.Millisecond, "a new question is asked")
}

func TestAgentsThatHang(t *testing.T) {
	h := newHost(t, Options{URI: "test:///default"})
	uuid := testDomain(t, h)
	begun, over := make(chan struct{}), make(chan struct{})
	for range agentsAtOnce { // of other domains
		go func() {
			_, _ = callIn(t.Context(), h, "hang", func(s *session) (lane, error) { return s.agents, nil },
				func(*link) (time.Time, error) { return hangs[time.Time](begun, over) })
		}()
		<-begun
	}
	brief, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := h.GuestTime(brief, uuid)
	require.ErrorIs(t, err, hypervisor.ErrTimeout, "nobody asked its agent")
	require.NotErrorIs(t, err, hypervisor.ErrNoAgent)
	_, err = h.Domains(t.Context())
	require.NoError(t, err)
	close(over)
	_, err = h.GuestTime(t.Context(), uuid)
	require.NoError(t, err)
}

func TestIOErrorDevice(t *testing.T) {
	for alias, want := range map[string]string{
		"virtio-disk0": "vda", "virtio-disk25": "vdz", "virtio-disk26": "vdaa", "virtio-disk701": "vdzz",
		"scsi0-0-0-1": "scsi0-0-0-1", "ua-data": "ua-data", "virtio-disk": "virtio-disk", "virtio-disk-1": "virtio-disk-1", "": "",
	} {
		require.Equal(t, want, target(alias))
	}
	require.Equal(t, hypervisor.Reason("enospc"), ioErrorWord("enospc"))
	require.Equal(t, hypervisor.ReasonIOError, ioErrorWord(""))
}

func TestMemoryWord(t *testing.T) {
	for want, ev := range map[string]lv.DomainEventMemoryFailure{
		"guest (inject)": {Recipient: lv.DOMAIN_EVENT_MEMORY_FAILURE_RECIPIENT_GUEST, Action: lv.DOMAIN_EVENT_MEMORY_FAILURE_ACTION_INJECT},
		"hypervisor (ignore)": {
			Recipient: lv.DOMAIN_EVENT_MEMORY_FAILURE_RECIPIENT_HYPERVISOR, Action: lv.DOMAIN_EVENT_MEMORY_FAILURE_ACTION_IGNORE,
		},
		"guest (fatal, action required, recursive)": {
			Recipient: lv.DOMAIN_EVENT_MEMORY_FAILURE_RECIPIENT_GUEST, Action: lv.DOMAIN_EVENT_MEMORY_FAILURE_ACTION_FATAL,
			Flags: lv.DOMAIN_MEMORY_FAILURE_ACTION_REQUIRED | lv.DOMAIN_MEMORY_FAILURE_RECURSIVE,
		},
		"unknown (unknown)": {Recipient: 9, Action: 9},
	} {
		require.Equal(t, hypervisor.Reason(want), memoryWord(&ev))
	}
}
