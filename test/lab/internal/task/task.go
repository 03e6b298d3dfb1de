// Package task is what the lab asks of a guest, and how the guest answers: lines
// of JSON on a channel of their own, so that a guest whose agent was told to be
// silent can still be told to speak again. It imports nothing but the standard
// library: the guest's whole userland is built from it.
package task

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Channel is the name of the virtio-serial port that the tasks come by.
const Channel = "holdfast.lab.0"

// Kind says what a guest is to do.
type Kind string

// Kinds of task. Those that last go on until they are stopped, their time is
// over, or the guest boots anew.
const (
	CPU      Kind = "cpu"      // lasts: keep every virtual CPU busy
	Memory   Kind = "memory"   // lasts: hold so much memory that Percent of it is in use
	Disk     Kind = "disk"     // lasts: Rate small synchronous requests/s, half of them writes
	Write    Kind = "write"    // lasts: write Rate new blocks/s, each of which the image must find room for
	Fill     Kind = "fill"     // write until Percent of the disk were written once
	Empty    Kind = "empty"    // discard what write and fill have written
	Net      Kind = "net"      // lasts: send Rate MB/s to nobody
	Mute     Kind = "mute"     // lasts, over boots too: the guest agent gives no answer
	Unmute   Kind = "unmute"   // and answers again
	Clock    Kind = "clock"    // set the clock By ahead of what it says, or behind
	Watchdog Kind = "watchdog" // arm the watchdog with Timeout and never feed it
	Halt     Kind = "halt"     // the kernel stops all virtual CPUs, interrupts off: only a reset or a power-off ends it
	Stop     Kind = "stop"     // end What, or everything that lasts
	List     Kind = "list"     // say what lasts

	Generation    Kind = "generation"     // say which generation of the system the disk holds
	SetGeneration Kind = "set-generation" // write one, all of it; when it is done it is on the disk
)

// Corrupt overwrites the system on the disk. It is not among Kinds: it is how
// the lab does one of its faults.
const Corrupt Kind = "corrupt"

// Kinds lists them in the order in which a person reads about them.
func Kinds() []Kind {
	return []Kind{CPU, Memory, Disk, Write, Fill, Empty, Net, Mute, Unmute, Clock, Watchdog, Halt, Stop, List, Generation, SetGeneration}
}

// Limits and what a field that is zero means: enough for the default rules of
// Holdfast to call it a fault.
const (
	DefaultMemory   = 90   // Percent
	DefaultFill     = 97   // Percent
	DefaultDiskRate = 2000 // requests/s
	DefaultWrite    = 10   // blocks/s
	DefaultNetRate  = 150  // MB/s
	DefaultClock    = time.Minute
	DefaultWatchdog = 2 * time.Second
	MaxWatchdog     = 30 * time.Second
)

// Options are the particulars of a task; each kind says which it reads.
type Options struct {
	For     time.Duration `json:"for,omitempty"`     // how long it lasts; 0: until it is stopped
	Disk    string        `json:"disk,omitempty"`    // which disk, by its target; default vda
	Rate    int           `json:"rate,omitempty"`    // disk: requests/s; write: blocks of BlockSize/s; net: MB/s
	Percent int           `json:"percent,omitempty"` // memory: of what the guest has; fill: of the disk
	By      time.Duration `json:"by,omitempty"`      // clock: ahead if positive, behind if negative; default a minute ahead
	Timeout time.Duration `json:"timeout,omitempty"` // watchdog: 2 s to 30 s, by steps of 2 s
	Boots   int           `json:"boots,omitempty"`   // mute: for so many boots more, this one not counted; 0: for all
	Closed  bool          `json:"closed,omitempty"`  // mute: the agent's port is not even open
	What    Kind          `json:"what,omitempty"`    // stop: which; empty: all
	// Generation is what set-generation writes.
	Generation uint64 `json:"generation,omitempty"`
}

// Request is one line to the guest.
type Request struct {
	ID string `json:"id"` // the answer bears it
	Do Kind   `json:"do"`
	Options
}

// Reply is one line from the guest.
type Reply struct {
	ID string `json:"id"`
	// Error is why it was not done; empty: it was, or it is being done.
	Error string `json:"error,omitempty"`
	// Said is what there is to say about it.
	Said string `json:"said,omitempty"`
	// Generation is what generation found, and what set-generation has written.
	Generation *uint64 `json:"generation,omitempty"`
	// Running is what lasts now.
	Running []string `json:"running,omitempty"`
}

// Check says what is wrong with a request, before anything is done.
func (r Request) Check() error {
	if r.Do != Corrupt && !slices.Contains(Kinds(), r.Do) {
		var known []string
		for _, k := range Kinds() {
			known = append(known, string(k))
		}
		return fmt.Errorf("a guest cannot do %q; it can do %s", r.Do, strings.Join(known, ", "))
	}
	if r.For < 0 || r.Rate < 0 || r.Boots < 0 {
		return fmt.Errorf("%s: a time, a rate or a number of boots below zero", r.Do)
	}
	if r.Percent < 0 || r.Percent > 100 {
		return fmt.Errorf("%s: %d percent; it is 1 to 100", r.Do, r.Percent)
	}
	if r.Disk != "" && !validDisk(r.Disk) {
		return fmt.Errorf("%s: disk %q; it is named as the guest's definition names it, such as vda", r.Do, r.Disk)
	}
	switch r.Do {
	case Watchdog:
		if t := r.Timeout; t != 0 && (t < DefaultWatchdog || t > MaxWatchdog || t%(2*time.Second) != 0) {
			return fmt.Errorf("watchdog: a timeout of %s; the device has 2s, 4s and so on to 30s", t)
		}
	case Mute:
		if r.For != 0 && r.Boots != 0 {
			return fmt.Errorf("mute: for a time or for a number of boots, not both")
		}
	}
	return nil
}

// validDisk keeps a name from leading out of /dev.
func validDisk(name string) bool {
	return len(name) == 3 && strings.HasPrefix(name, "vd") && name[2] >= 'a' && name[2] <= 'z'
}

// Line is a message as it goes over the channel.
func Line(message any) ([]byte, error) {
	raw, err := json.Marshal(message)
	return append(raw, '\n'), err
}

// ParseRequest reads a line that a guest was sent. It is false for what is no
// request: the rest of a line that somebody began and did not end.
func ParseRequest(line []byte) (Request, bool) {
	var r Request
	err := json.Unmarshal(bytes.TrimSpace(line), &r)
	return r, err == nil && r.ID != ""
}

// ParseReply reads a line that a guest sent. It is false for what is no reply.
func ParseReply(line []byte) (Reply, bool) {
	var r Reply
	err := json.Unmarshal(bytes.TrimSpace(line), &r)
	return r, err == nil && r.ID != ""
}
