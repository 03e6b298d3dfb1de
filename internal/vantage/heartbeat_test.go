package vantage

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"holdfast/internal/agent"
	"holdfast/internal/fault"
	"holdfast/internal/telemetry"
)

// storage is a heartbeat file and somebody who looks at it, with a clock of theirs.
type storage struct {
	t    *testing.T
	file string
	at   time.Time
	p    *heartbeat
}

func newStorage(t *testing.T) *storage {
	s := &storage{t: t, file: filepath.Join(t.TempDir(), "kvm1"), at: time.Now()}
	s.p = &heartbeat{file: s.file, now: func() time.Time { return s.at }}
	return s
}

func (s *storage) beat(boot string, count uint64) {
	s.t.Helper()
	text, err := json.Marshal(agent.Beat{Boot: boot, Count: count, Every: 5})
	require.NoError(s.t, err)
	require.NoError(s.t, os.WriteFile(s.file, text, 0o644))
}

// look looks again after a while.
func (s *storage) look(after time.Duration, want fault.Verdict, why string) {
	s.t.Helper()
	s.at = s.at.Add(after)
	v := s.p.Look(context.Background())
	assert.Equal(s.t, want, v.Says, v.Why)
	assert.Contains(s.t, v.Why, why)
	assert.Equal(s.t, "heartbeat", v.From)
}

func TestHeartbeatThatStops(t *testing.T) {
	s := newStorage(t)
	s.beat("b", 1)
	s.look(0, fault.NoVerdict, "two looks")
	s.beat("b", 2)
	s.look(5*time.Second, fault.HostAlive, "within the last 5s")
	s.beat("b", 4)
	s.look(10*time.Second, fault.HostAlive, "within the last 10s")
	s.look(5*time.Second, fault.NoVerdict, "late, 5s at least")
	s.look(10*time.Second, fault.NoVerdict, "too early to tell")
	s.look(time.Second, fault.HostSilent, "stood still for 16s, and is due every 5s")
	s.look(time.Hour, fault.HostSilent, "stood still")
	s.beat("b", 5)
	s.look(2*time.Second, fault.HostAlive, "renewed")
}

// Looks may be closer together than beats.
func TestHeartbeatSeenOften(t *testing.T) {
	s := newStorage(t)
	s.beat("b", 1)
	s.look(0, fault.NoVerdict, "two looks")
	s.look(time.Second, fault.NoVerdict, "")
	for count := range uint64(3) {
		s.beat("b", 2+count)
		for range 5 {
			s.look(time.Second, fault.HostAlive, "renewed")
		}
	}
}

// A host that stood still from the first look on is silent as well.
func TestHeartbeatThatIsDeadAlready(t *testing.T) {
	s := newStorage(t)
	s.beat("b", 7)
	s.look(0, fault.NoVerdict, "two looks")
	for range 3 {
		s.look(5*time.Second, fault.NoVerdict, "")
	}
	s.look(5*time.Second, fault.HostSilent, "stood still for 20s")
}

// That it changed since yesterday is no sign of life.
func TestHeartbeatNotLookedAtForLong(t *testing.T) {
	s := newStorage(t)
	s.beat("b", 1)
	s.look(0, fault.NoVerdict, "two looks")
	s.beat("b", 900)
	s.look(time.Hour, fault.NoVerdict, "some time within the last 1h0m0s")
	s.look(5*time.Second, fault.NoVerdict, "")
	s.look(11*time.Second, fault.HostSilent, "")
}

func TestHeartbeatOfAHostThatRestarts(t *testing.T) {
	s := newStorage(t)
	s.beat("b", 9)
	s.look(0, fault.NoVerdict, "two looks")
	s.beat("c", 9)
	s.look(5*time.Second, fault.HostAlive, "renewed")
}

func TestHeartbeatThatCannotBeRead(t *testing.T) {
	s := newStorage(t)
	s.look(0, fault.NoVerdict, "no such file")
	require.NoError(t, os.WriteFile(s.file, []byte("mine"), 0o644))
	s.look(0, fault.NoVerdict, "is no heartbeat")
	s.beat("b", 1)
	s.look(time.Minute, fault.NoVerdict, "two looks")
}

func TestHeartbeatOfARealAgent(t *testing.T) {
	m, err := telemetry.NewMetrics("holdfast-agent")
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "kvm1")
	a, err := agent.New(agent.Options{
		Procfs: "../agent/testdata/full/proc", Sysfs: "../agent/testdata/full/sys",
		Heartbeat: file, HeartbeatEvery: agent.ShortestBeat,
		Metrics: m, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	p := Heartbeat(file)
	see := func(want fault.Verdict) {
		require.Eventually(t, func() bool { return p.Look(ctx).Says == want }, patience, 20*tick)
	}
	see(fault.HostAlive)
	stop()
	require.NoError(t, <-done)
	see(fault.HostSilent)
	require.NoError(t, m.Shutdown(context.Background()))
}
