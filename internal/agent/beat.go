package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// How often a heartbeat is renewed: at most, at least, and if nobody says. More
// often wears the storage, less often is no use.
const (
	ShortestBeat = time.Second
	LongestBeat  = time.Minute
	DefaultBeat  = 5 * time.Second
)

// maxBeat bounds what is read of a heartbeat file, in bytes.
const maxBeat = 4 << 10

// Beat is the content of a heartbeat file. A host that lives has another one there
// after every interval; clocks play no part.
type Beat struct {
	Boot  string `json:"boot"`  // the host's boot ID
	Count uint64 `json:"count"` // one more each time
	// Every is the interval in seconds.
	Every float64 `json:"everySeconds"`
}

// Interval is how often the host means to renew it.
func (b Beat) Interval() time.Duration { return time.Duration(b.Every * float64(time.Second)) }

// ReadBeat reads a heartbeat file. It may take as long as the file system takes,
// which may be for good.
func ReadBeat(path string) (Beat, error) {
	f, err := os.Open(path)
	if err != nil {
		return Beat{}, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxBeat))
	if err != nil {
		return Beat{}, err
	}
	var b Beat
	if err := json.Unmarshal(content, &b); err != nil {
		return Beat{}, fmt.Errorf("%s is no heartbeat: %w", path, err)
	}
	if every := b.Interval(); b.Boot == "" || every < ShortestBeat || every > LongestBeat {
		return Beat{}, errors.New(path + " is no heartbeat: `holdfast agent --heartbeat` writes one")
	}
	return b, nil
}

// write replaces the file as a whole, so that whoever reads it sees this beat or
// the one before, and has it reach the storage: a beat that stays in this host's
// cache is none.
func (b Beat) write(path string) error {
	content, err := json.Marshal(b)
	if err != nil {
		return err
	}
	next := path + ".next" // left behind by a crash, it is overwritten
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(content, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(next, path)
}
