package agent

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// leaveAfter is how long the heart may take to stop. A write to storage that hangs
// cannot be stopped.
const leaveAfter = 2 * time.Second

// heart renews a heartbeat file. The file system may hang, so it runs beside
// everything else, and nobody waits for it.
type heart struct {
	path  string
	every time.Duration
	boot  string
	write func(Beat, string) error // Beat.write, but for tests
	log   *slog.Logger
	// counted is told whether each beat was written.
	counted func(ok bool)

	mu     sync.Mutex
	last   time.Time // of the last beat that was written; zero: none yet
	failed error     // why the last one was not
}

func (h *heart) run(ctx context.Context) error {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		h.beat(ctx)
	}()
	<-ctx.Done()
	select {
	case <-ended:
		return nil
	case <-time.After(leaveAfter):
		return fmt.Errorf("the heartbeat's file system hangs, and %s with it: look after its storage", h.path)
	}
}

// beat goes on from the count in the file, so that no beat after a restart is one
// that was there before.
func (h *heart) beat(ctx context.Context) {
	next := Beat{Boot: h.boot, Every: h.every.Seconds()}
	if old, err := ReadBeat(h.path); err == nil {
		next.Count = old.Count
	}
	tick := time.NewTicker(h.every)
	defer tick.Stop()
	for ctx.Err() == nil {
		next.Count++
		h.note(h.write(next, h.path))
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// note remembers how a beat went. It logs what changes, not every beat.
func (h *heart) note(err error) {
	h.mu.Lock()
	before := h.failed
	h.failed = err
	if err == nil {
		h.last = time.Now()
	}
	h.mu.Unlock()
	h.counted(err == nil)
	switch {
	case err != nil && before == nil:
		h.log.Error("heartbeat not written: monitors will take this host for silent on its storage", "file", h.path, "error", err)
	case err == nil && before != nil:
		h.log.Info("heartbeat is written again", "file", h.path)
	}
}

// lateBeats is after how many intervals without a beat a host is called silent.
// Monitors count the same: see package vantage.
const lateBeats = 3

// ready says why there is no heartbeat, or nil.
func (h *heart) ready() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	late := time.Since(h.last)
	missing := fmt.Sprintf("the heartbeat has not been written for %s", late.Round(time.Second))
	if h.last.IsZero() {
		missing = "the heartbeat has not been written yet"
	}
	switch {
	case late <= lateBeats*h.every:
		return nil
	case h.failed != nil:
		return fmt.Errorf("%s: %w", missing, h.failed)
	}
	return fmt.Errorf("%s: does the file system of %s hang?", missing, h.path)
}
