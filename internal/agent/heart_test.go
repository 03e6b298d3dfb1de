package agent

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// patience is how long a test waits for what is sure to come.
const patience = 20 * time.Second

const tick = time.Millisecond

func newHeart(path string) *heart {
	return &heart{
		path: path, every: 5 * time.Millisecond, boot: "boot-1", write: Beat.write,
		log: slog.New(slog.NewTextHandler(io.Discard, nil)), counted: func(bool) {},
	}
}

// beating runs a heart until stop, or the end of the test.
func beating(t *testing.T, h *heart) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	done := make(chan error, 1)
	go func() { done <- h.run(ctx) }()
	return func() error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(patience):
			return errors.New("the heart does not stop")
		}
	}
}

func TestHeartBeatsAndGoesOnAfterARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kvm1")
	h := newHeart(path)
	h.every = ShortestBeat // what is read back must be valid
	stop := beating(t, h)
	require.Eventually(t, func() bool { _, err := ReadBeat(path); return err == nil }, patience, tick)
	require.NoError(t, stop())
	first, err := ReadBeat(path)
	require.NoError(t, err)
	assert.Equal(t, "boot-1", first.Boot)
	assert.Equal(t, ShortestBeat, first.Interval())

	again := newHeart(path)
	again.every, again.boot = ShortestBeat, "boot-1"
	stop = beating(t, again)
	require.Eventually(t, func() bool { b, err := ReadBeat(path); return err == nil && b != first }, patience, tick)
	require.NoError(t, stop())
	second, err := ReadBeat(path)
	require.NoError(t, err)
	assert.Greater(t, second.Count, first.Count)
	left, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	assert.Len(t, left, 1, "nothing but the heartbeat is left there")
}

// Whoever reads while it is renewed sees a whole beat.
func TestABeatIsReplacedAsAWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kvm1")
	require.NoError(t, Beat{Boot: "b", Count: 1, Every: 5}.write(path))
	done := make(chan error, 1)
	go func() {
		var err error
		for n := uint64(2); n < 100 && err == nil; n++ {
			err = Beat{Boot: "b", Count: n, Every: 5}.write(path)
		}
		done <- err
	}()
	for last := uint64(0); ; {
		b, err := ReadBeat(path)
		require.NoError(t, err)
		require.GreaterOrEqual(t, b.Count, last)
		last = b.Count
		select {
		case err := <-done:
			require.NoError(t, err)
			return
		default:
		}
	}
}

func TestWhatIsNoHeartbeat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kvm1")
	for _, content := range []string{
		"", "17", "{}", `{"boot":"b","count":1}`, `{"boot":"b","count":1,"everySeconds":0.1}`,
		`{"boot":"b","count":1,"everySeconds":1e300}`, `{"count":1,"everySeconds":5}`,
	} {
		require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
		_, err := ReadBeat(path)
		require.ErrorContains(t, err, "is no heartbeat", content)
	}
}

func TestAHeartThatCannotWriteIsNotReady(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "later", "kvm1")
	var failed atomic.Bool
	h := newHeart(path)
	h.counted = func(ok bool) { failed.Store(!ok) }
	stop := beating(t, h)
	require.Eventually(t, failed.Load, patience, tick)
	require.ErrorContains(t, h.ready(), "no such file")

	require.NoError(t, os.Mkdir(filepath.Join(folder, "later"), 0o755))
	require.Eventually(t, func() bool { return h.ready() == nil }, patience, tick)
	require.NoError(t, stop())
}

func TestAHeartOnStorageThatHangsIsLeft(t *testing.T) {
	writes, hang := make(chan struct{}), make(chan struct{})
	h := newHeart(filepath.Join(t.TempDir(), "kvm1"))
	h.write = func(Beat, string) error {
		writes <- struct{}{}
		<-hang
		return nil
	}
	stop := beating(t, h)
	<-writes
	require.ErrorContains(t, h.ready(), "not been written yet")
	require.ErrorContains(t, h.ready(), "hang?")
	require.ErrorContains(t, stop(), "hangs")
	close(hang)
}
