package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"holdfast/test/lab/internal/record"
	"holdfast/test/lab/internal/task"
)

// note is what one boot leaves on the disk for the next.
type note struct {
	Mute   bool `json:"mute"`
	Boots  int  `json:"boots,omitempty"` // boots left to be mute in; 0: all
	Closed bool `json:"closed,omitempty"`
}

// next is the note of the boot after one that found n.
func (n note) next() note {
	if n.Boots == 1 {
		return note{}
	}
	if n.Boots > 1 {
		n.Boots--
	}
	return n
}

// readNote is the note on the disk; a page that holds none is an empty one.
func readNote() (note, error) {
	var n note
	page, err := onDisk("vda", func(fd int, page []byte) error {
		_, err := unix.Pread(fd, page, record.NoteStart)
		return err
	})
	if err != nil {
		return n, err
	}
	if json.Unmarshal(bytes.TrimRight(page, "\x00"), &n) != nil {
		return note{}, nil
	}
	return n, nil
}

func writeNote(n note) error {
	_, err := onDisk("vda", func(fd int, page []byte) error {
		raw, err := json.Marshal(n)
		if err != nil {
			return err
		}
		copy(page, raw)
		if err := writes.tryEnter(); err != nil {
			return err
		}
		defer writes.leave()
		_, err = unix.Pwrite(fd, page, record.NoteStart)
		return err
	})
	return err
}

// onDisk opens a disk for synchronous use and lends a page of aligned memory.
func onDisk(disk string, use func(fd int, page []byte) error) ([]byte, error) {
	fd, err := openDisk("/dev/"+disk, unix.O_SYNC)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	page, err := aligned(record.SlotSize)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Munmap(page) }()
	if err := use(fd, page); err != nil {
		return nil, fmt.Errorf("%s: %w", disk, err)
	}
	return bytes.Clone(page), nil
}

// keptLines is how many requests a silent agent keeps for later.
const keptLines = 64

// voice is whether the guest agent answers. One that is silent is as one that
// hangs: what it was asked meanwhile it answers when it speaks again. Libvirt
// needs that: without a limit of its own, which it does not have by default, it
// waits for the answer to one request before it passes on the next.
type voice struct {
	agent *agent

	mu     sync.Mutex
	silent bool
	closed bool
	kept   [][]byte
	port   *port         // nil until it was found
	opened chan struct{} // gets something when a closed port is to be opened
}

func newVoice(a *agent) *voice { return &voice{agent: a, opened: make(chan struct{}, 1)} }

// recall takes over what the boot before left, and leaves it to the next.
func (v *voice) recall() error {
	n, err := readNote()
	if err != nil {
		return err
	}
	v.mu.Lock()
	v.silent, v.closed = n.Mute, n.Mute && n.Closed
	v.mu.Unlock()
	if next := n.next(); next != n {
		return writeNote(next)
	}
	return nil
}

// mute silences the agent; lasting: in boots to come, too.
func (v *voice) mute(o task.Options, lasting bool) error {
	v.set(true, o.Closed)
	if !lasting {
		return nil
	}
	return writeNote(note{Mute: true, Boots: o.Boots, Closed: o.Closed})
}

func (v *voice) unmute() error {
	v.set(false, false)
	// While the disks are frozen a mute for a time must end all the same.
	if n, err := readNote(); err != nil || n == (note{}) {
		return err
	}
	return writeNote(note{})
}

func (v *voice) set(silent, closed bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.silent, v.closed = silent, closed
	if v.port != nil {
		v.port.interrupt()
	}
	select {
	case v.opened <- struct{}{}:
	default: // it was told already
	}
}

func (v *voice) isSilent() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.silent
}

// hear answers a line, or keeps it.
func (v *voice) hear(line []byte) []byte {
	v.mu.Lock()
	if v.silent {
		v.kept = append(v.kept[max(0, len(v.kept)-keptLines+1):], bytes.Clone(line))
		v.mu.Unlock()
		return nil
	}
	v.mu.Unlock()
	return v.agent.answer(line)
}

// catchUp answers what was kept, if the agent speaks again, and says whether its
// port stays open.
func (v *voice) catchUp() (answers []byte, open bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.silent {
		for _, line := range v.kept {
			answers = append(answers, v.agent.answer(line)...)
		}
		v.kept = nil
	}
	return answers, !v.closed
}

// speak is the guest agent for as long as the guest runs.
func (v *voice) speak() error {
	p, err := findPort(agentPort)
	if err != nil {
		return err
	}
	v.mu.Lock()
	v.port = p
	v.mu.Unlock()
	for {
		if _, open := v.catchUp(); !open {
			<-v.opened
			continue
		}
		if err := p.follow(v.hear, v.catchUp); err != nil {
			return err
		}
		// Whoever asked through a port that was closed waits no longer.
		v.mu.Lock()
		v.kept = nil
		v.mu.Unlock()
	}
}
