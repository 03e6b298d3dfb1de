package vantage

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"holdfast/internal/fault"
)

// patience is how long a test waits for what is sure to come.
const patience = 20 * time.Second

const tick = 5 * time.Millisecond

// within is a context that ends before the test hangs.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// script is the command that runs one of testdata/power.
func script(name string, args ...string) []string {
	return append([]string{"sh", filepath.Join("testdata", "power", name)}, args...)
}

func TestPower(t *testing.T) {
	for name, want := range map[string]struct {
		says fault.Verdict
		why  string
	}{
		"on.sh":          {fault.NoVerdict, "has power, which says nothing about life"},
		"off.sh":         {fault.HostOff, "has no power"},
		"quiet-off.sh":   {fault.HostOff, "has no power"},
		"warns-off.sh":   {fault.HostOff, "has no power"},
		"wrong-usage.sh": {fault.NoVerdict, "the power command ended with exit status 2: usage: fence_x [-h] --ip IP"},
		"missing.sh":     {fault.NoVerdict, "the power command ended with exit status "}, // 2 from some shells
	} {
		t.Run(name, func(t *testing.T) {
			v := Power(script(name), patience).Look(context.Background())
			assert.Equal(t, want.says, v.Says, v.Why)
			assert.Contains(t, v.Why, want.why)
			assert.Equal(t, "power", v.From)
			assert.WithinDuration(t, time.Now(), v.At, patience)
		})
	}
}

func TestPowerHidesItsArguments(t *testing.T) {
	command := script("fails.sh", "--ip=10.1.2.3", "--password=hunter2", "-phunter3", "-l", "hunter4")
	v := Power(command, patience).Look(context.Background())
	assert.Equal(t, fault.NoVerdict, v.Says)
	assert.Contains(t, v.Why, "cannot log in with …")
	assert.NotContains(t, v.Why, "hunter")
	assert.NotContains(t, v.Why, "10.1.2.3")
	assert.NotContains(t, v.Why, "more about", "the first line is enough")
	assert.NotContains(t, v.Why, "\x1b")
}

func TestPowerCommandThatIsNotThere(t *testing.T) {
	v := Power([]string{"fence_nothing", "--password=hunter2"}, patience).Look(context.Background())
	assert.Equal(t, fault.NoVerdict, v.Says)
	assert.Contains(t, v.Why, "cannot be run")
	assert.NotContains(t, v.Why, "hunter")
	v = Power(nil, patience).Look(context.Background())
	assert.Equal(t, fault.NoVerdict, v.Says)
}

func TestPowerKeepsLittleOfALot(t *testing.T) {
	v := Power(script("noisy.sh"), patience).Look(context.Background())
	assert.Equal(t, fault.NoVerdict, v.Says)
	assert.Contains(t, v.Why, "exit status 1: xxx")
	assert.Less(t, len(v.Why), 300)

	var h head
	n, err := h.Write([]byte(strings.Repeat("x", mostOutput+1)))
	require.NoError(t, err)
	assert.Equal(t, mostOutput+1, n)
	assert.Equal(t, mostOutput, h.Len())
}

// A monitor's environment may hold the key to Temporal.
func TestPowerGetsNothingItNeedNotKnow(t *testing.T) {
	t.Setenv("TEMPORAL_API_KEY", "hunter2")
	p := &power{command: script("environment.sh"), timeout: patience}
	v := p.Look(context.Background())
	assert.Contains(t, v.Why, "LC_ALL=C")
	assert.NotContains(t, v.Why, "TEMPORAL")
}

func TestPowerThatHangsIsKilledWithItsChildren(t *testing.T) {
	file := filepath.Join(t.TempDir(), "child")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	looked := make(chan fault.Vote, 1)
	go func() { looked <- Power(script("hangs.sh", file), time.Hour).Look(ctx) }()
	child := started(t, file)
	cancel()
	v := <-looked
	assert.Equal(t, fault.NoVerdict, v.Says)
	assert.Contains(t, v.Why, "interrupted")
	require.Eventually(t, func() bool { return ended(t, child) }, patience, tick)
}

func TestPowerThatTakesTooLong(t *testing.T) {
	v := Power(script("hangs.sh", filepath.Join(t.TempDir(), "child")), 50*time.Millisecond).Look(context.Background())
	assert.Equal(t, fault.NoVerdict, v.Says)
	assert.Contains(t, v.Why, "took longer than 50ms and was killed")
}

func TestPowerThatLeavesAChild(t *testing.T) {
	file := filepath.Join(t.TempDir(), "child")
	v := Power(script("leaves.sh", file), patience).Look(context.Background())
	assert.Equal(t, fault.HostOff, v.Says, v.Why)
	child := started(t, file)
	require.Eventually(t, func() bool { return ended(t, child) }, patience, tick, "what holds its output ends with it")
}

// started waits for a script to write a process ID. The process ends with the test.
func started(t *testing.T, file string) (pid int) {
	t.Helper()
	require.Eventually(t, func() bool {
		content, err := os.ReadFile(file)
		if err != nil {
			return false
		}
		pid, err = strconv.Atoi(strings.TrimSpace(string(content)))
		return err == nil
	}, patience, tick)
	t.Cleanup(func() {
		if !ended(t, pid) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	return pid
}

// ended: the process is gone, or is dead and waits for its parent to notice.
func ended(t *testing.T, pid int) bool {
	t.Helper()
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		require.ErrorIs(t, err, os.ErrNotExist)
		return true
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X")
}
