// Package sampler watches the QEMU processes of a lab from outside of libvirt:
// it reads /proc, and remembers every start, every end, and every time that two
// processes ran the same guest.
package sampler

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"time"
)

// Kind says what an event is.
type Kind string

// Kinds of event.
const (
	Start      Kind = "start"       // a QEMU process began; At is when, to 10 ms
	End        Kind = "end"         // it ended; At is when the kernel said so
	Overlap    Kind = "overlap"     // from At on, two processes held the same guest
	OverlapEnd Kind = "overlap-end" // from At on, one or none of them is left
	BothRan    Kind = "both-ran"    // during an overlap, the guest ran in both of them
	Boot       Kind = "boot"        // the first acknowledgement of a boot, on a host
	Fault      Kind = "fault"       // the lab injected a fault
	Sampler    Kind = "sampler"     // the sampler itself began or ended
)

// Event is one line of the log.
type Event struct {
	At    time.Time `json:"at"`
	Event Kind      `json:"event"`
	VM    string    `json:"vm,omitempty"`
	Host  string    `json:"host,omitempty"`
	PID   int       `json:"pid,omitempty"`
	// Incoming: the process was started to receive a migration (Start, End).
	Incoming bool `json:"incoming,omitempty"`
	// Hosts that an overlap is on; the same one twice if both copies are there.
	Hosts []string `json:"hosts,omitempty"`
	// Migration: the younger of the overlapping processes was started to receive a
	// migration, so that two of them are as it should be while only one runs.
	Migration bool   `json:"migration,omitempty"`
	Fault     string `json:"fault,omitempty"`  // which fault
	BootID    string `json:"bootId,omitempty"` // whose boot
	N         uint64 `json:"n,omitempty"`      // the number acknowledged
	Detail    string `json:"detail,omitempty"`
}

// Append adds lines to a log. Each is one write to the end of the file, so that
// several processes may append to one log.
func Append(path string, events ...Event) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, e := range events {
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		if _, err := f.Write(append(line, '\n')); err != nil {
			return err
		}
	}
	return f.Close()
}

// Read returns the events of a log, in the order they were written, which for
// events of the same moment need not be the order of their times. A log that is
// not there yet is empty.
func Read(path string) ([]Event, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var events []Event
	for line := range bytes.Lines(raw) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // being written
		}
		var e Event
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, err
		}
		events = append(events, e)
	}
	return events, nil
}
