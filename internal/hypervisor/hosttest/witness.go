package hosttest

import (
	"bytes"
	"context"
	"image/png"
	"path"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"holdfast/internal/hypervisor"
)

// Inside is what the guest of VM can do beside running.
type Inside struct {
	// Commands: its agent runs commands, and its guest has true, false and echo. One
	// whose agent refuses them must say so.
	Commands bool
	// Screen: it has one. One without must say so.
	Screen bool
	// DumpTo is a folder on the host for dumps of memory, and DumpSize the size of a
	// file that must be there.
	DumpTo   string
	DumpSize func(ctx context.Context, path string) (uint64, error)
}

func testGuestExec(t *testing.T, s *suite) {
	s.waitAgent(t)
	if !s.Inside.Commands {
		_, err := s.Host.GuestExec(s.ctx, s.VM.UUID, []string{"true", "hunter2"})
		require.Error(t, err)
		require.NotErrorIs(t, err, hypervisor.ErrNoAgent, "it answers, and refuses")
		require.NotContains(t, err.Error(), "hunter2")
	} else {
		s.runInGuest(t)
	}
	s.waitAgent(t)
	_, err := s.Host.GuestExec(s.ctx, s.VM.UUID, nil)
	require.Error(t, err)
	require.NoError(t, s.pauseAnd(t, func() {
		_, err := s.Host.GuestExec(s.ctx, s.VM.UUID, []string{"true"})
		require.ErrorIs(t, err, hypervisor.ErrInvalidState)
	}))
	require.NoError(t, s.Host.Destroy(s.ctx, s.VM.UUID))
	_, err = s.Host.GuestExec(s.ctx, s.VM.UUID, []string{"true"})
	require.ErrorIs(t, err, hypervisor.ErrNotActive)
	_, err = s.Host.GuestExec(s.ctx, uuid.NewString(), []string{"true"})
	require.ErrorIs(t, err, hypervisor.ErrNotFound)
}

func (s *suite) runInGuest(t *testing.T) {
	t.Helper()
	exit, err := s.Host.GuestExec(s.ctx, s.VM.UUID, []string{"true"})
	require.NoError(t, err)
	require.Equal(t, hypervisor.GuestExit{}, exit)
	exit, err = s.Host.GuestExec(s.ctx, s.VM.UUID, []string{"false"})
	require.NoError(t, err, "that a command failed is an answer")
	require.Equal(t, 1, exit.Code)
	exit, err = s.Host.GuestExec(s.ctx, s.VM.UUID, []string{"echo", "a b", "$HOME;"})
	require.NoError(t, err)
	require.Equal(t, "a b $HOME;\n", string(exit.Stdout), "there is no shell")
	require.Empty(t, exit.Stderr)
	exit, err = s.Host.GuestExec(s.ctx, s.VM.UUID, []string{"echo", strings.Repeat("x", hypervisor.MaxGuestOutput)})
	require.NoError(t, err)
	require.True(t, exit.Truncated)
	require.Len(t, exit.Stdout, hypervisor.MaxGuestOutput)
	_, err = s.Host.GuestExec(s.ctx, s.VM.UUID, []string{"/no/such/program", "hunter2"})
	require.Error(t, err)
	require.NotErrorIs(t, err, hypervisor.ErrNoAgent)
	require.NotContains(t, err.Error(), "hunter2")
}

// A guest that hangs runs no command, and is in nobody's way.
func testGuestExecOfHung(t *testing.T, s *suite) {
	s.waitAgent(t)
	s.pull(t, "HangGuest", s.HangGuest)
	_, err := s.Host.GuestExec(s.ctx, s.VM.UUID, []string{"true"})
	require.ErrorIs(t, err, hypervisor.ErrNoAgent)
	_, err = s.Host.Job(s.ctx, s.VM.UUID)
	require.NoError(t, err)
	s.pull(t, "UnhangGuest", s.UnhangGuest)
	s.waitAgent(t)
}

func testScreenshot(t *testing.T, s *suite) {
	p, err := s.Host.Screenshot(s.ctx, s.VM.UUID)
	if !s.Inside.Screen {
		require.ErrorIs(t, err, hypervisor.ErrInvalidState)
		require.NotErrorIs(t, err, hypervisor.ErrNotActive)
	} else {
		require.NoError(t, err)
		require.Equal(t, "image/png", p.MIME)
		require.LessOrEqual(t, len(p.Data), hypervisor.MaxPicture)
		img, err := png.Decode(bytes.NewReader(p.Data))
		require.NoError(t, err)
		require.Greater(t, img.Bounds().Dx(), 100)
		require.Greater(t, img.Bounds().Dy(), 100)
	}
	require.NoError(t, s.Host.Destroy(s.ctx, s.VM.UUID))
	_, err = s.Host.Screenshot(s.ctx, s.VM.UUID)
	require.ErrorIs(t, err, hypervisor.ErrNotActive)
	_, err = s.Host.Screenshot(s.ctx, uuid.NewString())
	require.ErrorIs(t, err, hypervisor.ErrNotFound)
}

func testJob(t *testing.T, s *suite) {
	s.poll(t, func() (bool, any) {
		job, err := s.Host.Job(s.ctx, s.VM.UUID)
		require.NoError(t, err)
		return job == hypervisor.Job{Monitor: hypervisor.MonitorOK}, job
	}, "it was never idle")

	// Of a QEMU that hangs it tells without asking it.
	s.pull(t, "Hang", s.Hang)
	s.poll(t, func() (bool, any) {
		ctx, cancel := s.brief()
		_, _ = s.Host.DiskErrors(ctx, s.VM.UUID) // who asks it first waits
		cancel()
		job, err := s.Host.Job(s.ctx, s.VM.UUID)
		require.NoError(t, err)
		return job.Monitor == hypervisor.MonitorOccupied && job.MonitorFor > 0 && job.Error != "" && job.Doing == "", job
	}, "nobody saw that QEMU hangs")
	s.pull(t, "Unhang", s.Unhang)

	require.NoError(t, s.Host.Destroy(s.ctx, s.VM.UUID))
	_, err := s.Host.Job(s.ctx, s.VM.UUID)
	require.ErrorIs(t, err, hypervisor.ErrNotActive)
	_, err = s.Host.Job(s.ctx, uuid.NewString())
	require.ErrorIs(t, err, hypervisor.ErrNotFound)
}

func testBlocks(t *testing.T, s *suite) {
	look := func() {
		blocks, err := s.Host.Blocks(s.ctx, s.VM.UUID)
		require.NoError(t, err)
		require.NotEmpty(t, blocks)
		b := blocks[0]
		require.Equal(t, "vda", b.Device)
		require.Equal(t, "disk", b.Kind)
		require.Equal(t, "qcow2", b.Format)
		require.True(t, path.IsAbs(b.Source), b.Source)
		require.Contains(t, path.Base(b.Source), s.VM.Name)
		require.Empty(t, b.Error)
		require.Empty(t, b.Backing)
		require.Empty(t, b.Job)
		require.Greater(t, b.Capacity, uint64(1<<20), "bytes")
		require.Positive(t, b.Allocation)
		require.Positive(t, b.Physical)
	}
	look()
	require.NoError(t, s.Host.Destroy(s.ctx, s.VM.UUID))
	look()
	_, err := s.Host.Blocks(s.ctx, uuid.NewString())
	require.ErrorIs(t, err, hypervisor.ErrNotFound)
}

func testDump(t *testing.T, s *suite) {
	file := path.Join(s.Inside.DumpTo, s.VM.Name+".dump")
	for range 2 { // the second replaces the first
		require.NoError(t, s.Host.Dump(s.ctx, s.VM.UUID, file))
		size, err := s.Inside.DumpSize(s.ctx, file)
		require.NoError(t, err)
		require.Greater(t, size, uint64(64<<10))
		s.waitState(t, s.VM.UUID, hypervisor.StateRunning, "")
	}
	require.Error(t, s.Host.Dump(s.ctx, s.VM.UUID, "relative"))

	s.pull(t, "Panic", s.Panic) // what a dump is for
	s.waitState(t, s.VM.UUID, hypervisor.StateCrashed, hypervisor.ReasonPanicked)
	require.NoError(t, s.Host.Dump(s.ctx, s.VM.UUID, file))
	s.waitState(t, s.VM.UUID, hypervisor.StateCrashed, "")

	require.NoError(t, s.Host.Destroy(s.ctx, s.VM.UUID))
	require.ErrorIs(t, s.Host.Dump(s.ctx, s.VM.UUID, file), hypervisor.ErrNotActive)
	require.ErrorIs(t, s.Host.Dump(s.ctx, uuid.NewString(), file), hypervisor.ErrNotFound)
}
