package sampler

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"time"

	"holdfast/test/lab/internal/procfs"
)

const (
	interval  = 50 * time.Millisecond // between two looks at /proc
	heartbeat = time.Second           // between two writes of the pulse
)

// Pulse says that the sampler lives, and how well it watched.
type Pulse struct {
	PID   int       `json:"pid"`
	Since time.Time `json:"since"` // when it began
	At    time.Time `json:"at"`    // its last look, written once a second
	Looks uint64    `json:"looks"` // how many there were
	// LongestGap is the longest time between two looks: a copy that lived for less may have been missed.
	LongestGap time.Duration `json:"longestGapNs"`
}

// Config is what to watch and where to write.
type Config struct {
	FS       procfs.FS
	Hosts    func() map[uint64]string // host by inode of its network namespace, as of now
	Consoles []*Console
	Log      string // gets the events
	Pulse    string // is replaced once a second
}

// watcher is one run of Watch.
type watcher struct {
	Config
	scanner *Scanner
	tracker *Tracker
	hosts   map[uint64]string
	handles map[int]*handle // of each live QEMU process
	ended   chan int        // PIDs of those that ended
	alive   time.Time       // when all of them were last seen alive
	pulse   Pulse
	written time.Time
}

// Watch runs until ctx ends or the log can no longer be written.
func Watch(ctx context.Context, c Config) error {
	now := time.Now()
	w := &watcher{
		Config: c, scanner: NewScanner(c.FS), tracker: NewTracker(), handles: map[int]*handle{}, ended: make(chan int),
		alive: now, pulse: Pulse{PID: os.Getpid(), Since: now, At: now},
	}
	defer w.close()
	if err := w.restore(); err != nil {
		return err
	}
	if err := w.say([]Event{{At: now, Event: Sampler, Detail: "began"}}); err != nil {
		return err
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		if err := w.look(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return w.say([]Event{{At: time.Now(), Event: Sampler, Detail: "ended"}})
		case pid := <-w.ended:
			if err := w.end(pid); err != nil {
				return err
			}
		case <-ticker.C:
		}
	}
}

func (w *watcher) close() {
	for _, h := range w.handles {
		h.close()
	}
}

func (w *watcher) say(events []Event) error {
	if len(events) == 0 {
		return nil
	}
	return Append(w.Log, events...)
}

// restore takes over from a sampler that was killed: what it said is not said again.
func (w *watcher) restore() error {
	events, err := Read(w.Log)
	if err != nil {
		return err
	}
	for _, e := range events {
		switch e.Event {
		case Boot:
			for _, console := range w.Consoles {
				console.booted(e)
			}
		case Start:
			w.tracker.alive[e.PID] = Copy{PID: e.PID, VM: e.VM, Host: e.Host, Incoming: e.Incoming, Started: e.At}
		case End:
			delete(w.tracker.alive, e.PID)
		}
	}
	for pid, c := range w.tracker.alive {
		process, err := w.FS.Read(pid)
		qemu, is := procfs.ParseQEMU(process.Args)
		if err == nil && is && qemu.Name == c.VM && w.hold(pid) == nil {
			w.scanner.known[pid] = struct{}{}
			continue
		}
		if err := w.say(w.tracker.Ended(pid, c.Started, time.Now())); err != nil {
			return err
		}
	}
	return nil
}

// look looks at everything once.
func (w *watcher) look() error {
	now := time.Now()
	w.pulse.LongestGap = max(w.pulse.LongestGap, now.Sub(w.pulse.At))
	w.pulse.At = now
	w.pulse.Looks++
	if hosts := w.Hosts(); !maps.Equal(hosts, w.hosts) {
		w.hosts = hosts
		w.scanner.SetHosts(hosts)
	}
	if err := w.check(); err != nil {
		return err
	}
	found, err := w.scanner.New()
	if err != nil {
		return err
	}
	for _, c := range found {
		if err := w.found(c); err != nil {
			return err
		}
	}
	for _, console := range w.Consoles {
		for _, ack := range console.read() {
			events := w.tracker.Acknowledged(console.VM, console.Host, now)
			if ack.first {
				events = append(events, Event{At: now, Event: Boot, VM: console.VM, Host: console.Host, BootID: ack.BootID, N: ack.N})
			}
			if err := w.say(events); err != nil {
				return err
			}
		}
	}
	return w.beat(now)
}

// found takes a new process in, once it is certain which others still live.
func (w *watcher) found(c Copy) error {
	if err := w.check(); err != nil {
		return err
	}
	if err := w.hold(c.PID); err != nil {
		// It died before it could be held: it was there all the same.
		events := w.tracker.Started(c)
		return w.say(append(events, w.tracker.Ended(c.PID, c.Started, time.Now())...))
	}
	return w.say(w.tracker.Started(c))
}

func (w *watcher) hold(pid int) error {
	h, err := newHandle(pid, w.ended)
	if err == nil {
		w.handles[pid] = h
	}
	return err
}

// check notes every end up to now, of those too whose goroutine has yet to say so.
func (w *watcher) check() error {
	for pid, h := range w.handles {
		if !h.gone() {
			continue
		}
		if err := w.end(pid); err != nil {
			return err
		}
	}
	w.alive = time.Now()
	return nil
}

// end notes the end of a process.
func (w *watcher) end(pid int) error {
	h, ok := w.handles[pid]
	if !ok {
		return nil // check was faster
	}
	h.close()
	delete(w.handles, pid)
	w.scanner.Forget(pid)
	return w.say(w.tracker.Ended(pid, w.alive, time.Now()))
}

// beat writes the pulse when it is time to.
func (w *watcher) beat(now time.Time) error {
	if now.Sub(w.written) < heartbeat {
		return nil
	}
	w.written = now
	raw, err := json.Marshal(w.pulse)
	if err != nil {
		return err
	}
	if err := os.WriteFile(w.Pulse+".tmp", raw, 0o644); err != nil {
		return err
	}
	return os.Rename(w.Pulse+".tmp", w.Pulse)
}
