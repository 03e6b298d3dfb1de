package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/test/lab/internal/task"
)

// work is a task that was begun: it goes on until ctx ends or it is done. It
// counts what it does in steps of its own.
type work func(ctx context.Context, count *atomic.Int64) error

// replyFirst is how long a task waits with its first step.
const replyFirst = 200 * time.Millisecond

// starters prepare the tasks that last, or take their time. An error is the
// asker's; what goes wrong later is in the list.
var starters = map[task.Kind]func(task.Options) (work, error){
	task.CPU:      burn,
	task.Memory:   hold,
	task.Disk:     smallRequests,
	task.Write:    keepWriting,
	task.Fill:     fill,
	task.Net:      flood,
	task.Watchdog: armWatchdog,
}

// underway is one task that was begun.
type underway struct {
	kind  task.Kind
	stop  context.CancelFunc
	done  chan struct{} // closed when it has ended
	began time.Time
	count atomic.Int64
	err   error // why it ended; read it after done
}

// tasks are what the guest does for the lab.
type tasks struct {
	voice *voice
	last  task.Reply // hear's own

	mu      sync.Mutex
	begun   map[string]*underway // by kind, and disk where that matters
	unmuter *time.Timer          // ends a mute that has a time; nil: none
}

func newTasks(v *voice) *tasks { return &tasks{voice: v, begun: map[string]*underway{}} }

// serve is the guest's ear for the lab for as long as the guest runs.
func (t *tasks) serve() error {
	p, err := findPort(task.Channel)
	if err != nil {
		return err
	}
	return p.follow(t.hear, func() ([]byte, bool) { return nil, true })
}

// hear does what a line asks for, and returns the reply. What was done last is
// not done again: whoever asked did not get the reply.
func (t *tasks) hear(line []byte) []byte {
	request, ok := task.ParseRequest(line)
	if !ok {
		return nil
	}
	if request.ID != t.last.ID {
		t.last = task.Reply{ID: request.ID}
		if err := t.do(request, &t.last); err != nil {
			t.last.Error = err.Error()
		}
	}
	t.last.Running = t.list()
	answer, err := task.Line(t.last)
	if err != nil {
		return nil
	}
	return answer
}

func (t *tasks) do(r task.Request, reply *task.Reply) error {
	if err := r.Check(); err != nil {
		return err
	}
	if r.Disk == "" {
		r.Disk = "vda"
	}
	if prepare, is := starters[r.Do]; is {
		return t.begin(r, prepare)
	}
	switch r.Do {
	case task.Mute:
		return t.mute(r.Options)
	case task.Unmute:
		t.disarmUnmuter()
		return t.voice.unmute()
	case task.Empty:
		t.end(func(u *underway) bool { return u.kind == task.Write || u.kind == task.Fill })
		return discard(r.Disk)
	case task.Clock:
		to := time.Now().Add(cmp.Or(r.By, task.DefaultClock))
		reply.Said = "the guest's clock says " + to.UTC().Format(time.RFC3339Nano)
		return setClock(to)
	case task.Generation:
		return tellGeneration(reply, readSystem)
	case task.SetGeneration:
		return tellGeneration(reply, func() (uint64, error) { return r.Generation, writeSystem(&r.Generation) })
	case task.Corrupt:
		return writeSystem(nil)
	case task.Halt:
		time.AfterFunc(replyFirst, func() {
			fmt.Printf("witness: halt: %v\n", unix.Reboot(unix.LINUX_REBOOT_CMD_HALT))
		})
	case task.Stop:
		t.end(func(u *underway) bool { return r.What == "" || u.kind == r.What })
		if r.What == "" || r.What == task.Mute {
			t.disarmUnmuter()
			return t.voice.unmute()
		}
	}
	return nil
}

// tellGeneration puts into the reply which generation there is.
func tellGeneration(reply *task.Reply, find func() (uint64, error)) error {
	generation, err := find()
	if err != nil {
		return fmt.Errorf("vda: %w", err)
	}
	reply.Said = fmt.Sprintf("vda holds generation %d", generation)
	reply.Generation = &generation
	return nil
}

// begin starts a task in place of one of the same kind that is underway.
func (t *tasks) begin(r task.Request, prepare func(task.Options) (work, error)) error {
	key := string(r.Do)
	if slices.Contains([]task.Kind{task.Disk, task.Write, task.Fill}, r.Do) {
		key += " " + r.Disk
	}
	t.mu.Lock()
	before := t.begun[key]
	t.mu.Unlock()
	if before != nil {
		before.stop()
		<-before.done
	}
	run, err := prepare(r.Options)
	if err != nil {
		return err
	}
	ctx, cancel := lasting(r.For)
	u := &underway{kind: r.Do, stop: cancel, done: make(chan struct{}), began: time.Now()}
	t.mu.Lock()
	t.begun[key] = u
	t.mu.Unlock()
	go func() {
		defer close(u.done)
		defer cancel()
		// Once the reply is out: a disk that fails has the guest paused at once.
		_ = sleep(ctx, replyFirst)
		u.err = run(ctx, &u.count)
	}()
	return nil
}

// lasting is a time that ends by itself, or with 0 does not.
func lasting(d time.Duration) (context.Context, context.CancelFunc) {
	if d > 0 {
		return context.WithTimeout(context.Background(), d)
	}
	return context.WithCancel(context.Background())
}

// end stops the chosen tasks and waits for their end.
func (t *tasks) end(chosen func(*underway) bool) {
	t.mu.Lock()
	var ending []*underway
	for key, u := range t.begun {
		if chosen(u) {
			u.stop()
			ending = append(ending, u)
			delete(t.begun, key)
		}
	}
	t.mu.Unlock()
	for _, u := range ending {
		select {
		case <-u.done:
		case <-time.After(2 * time.Second): // it waits for a disk; it ends when that answers
		}
	}
}

// list says what was begun and not stopped, and how far it is.
func (t *tasks) list() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var lines []string
	for key, u := range t.begun {
		line := fmt.Sprintf("%s for %s, %d done", key, time.Since(u.began).Round(time.Second/10), u.count.Load())
		select {
		case <-u.done:
			line = fmt.Sprintf("%s has ended, %d done", key, u.count.Load())
			if u.err != nil && !errors.Is(u.err, context.Canceled) && !errors.Is(u.err, context.DeadlineExceeded) {
				line += ": " + u.err.Error()
			}
		default:
		}
		lines = append(lines, line)
	}
	if t.voice.isSilent() {
		lines = append(lines, string(task.Mute))
	}
	slices.Sort(lines)
	return lines
}

// mute with a time ends in this boot; without one it outlasts it.
func (t *tasks) mute(o task.Options) error {
	t.disarmUnmuter()
	if o.For > 0 {
		t.mu.Lock()
		t.unmuter = time.AfterFunc(o.For, func() {
			if err := t.voice.unmute(); err != nil {
				fmt.Printf("witness: unmute: %v\n", err)
			}
		})
		t.mu.Unlock()
	}
	return t.voice.mute(o, o.For == 0)
}

func (t *tasks) disarmUnmuter() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.unmuter != nil {
		t.unmuter.Stop()
		t.unmuter = nil
	}
}

// pace waits until it is time for one more, at so many a second since began.
func pace(ctx context.Context, began time.Time, done int64, rate int) error {
	ahead := time.Duration(done)*time.Second/time.Duration(rate) - time.Since(began)
	if ahead < 2*time.Millisecond {
		return ctx.Err()
	}
	return sleep(ctx, ahead)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
