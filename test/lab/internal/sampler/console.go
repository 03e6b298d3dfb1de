package sampler

import (
	"bytes"
	"io"
	"os"
	"slices"

	"holdfast/test/lab/internal/record"
)

// Console is the console file of a VM on a host, read as it grows.
type Console struct {
	VM, Host string
	Path     string

	offset int64
	rest   []byte // the unfinished last line
	boots  map[string]struct{}
}

// ack is one acknowledgement; first marks the first of its boot on this host.
type ack struct {
	record.Record
	first bool
}

// booted takes over what an earlier sampler said.
func (c *Console) booted(e Event) {
	if e.VM != c.VM || e.Host != c.Host {
		return
	}
	if c.boots == nil {
		c.boots = map[string]struct{}{}
	}
	c.boots[e.BootID] = struct{}{}
}

// read returns the acknowledgements that came since the last time. A file that
// is not there yet, or cannot be read now, has none.
func (c *Console) read() []ack {
	info, err := os.Stat(c.Path)
	if err != nil || info.Size() == c.offset {
		return nil
	}
	if info.Size() < c.offset {
		c.offset, c.rest = 0, nil // begun anew
	}
	f, err := os.Open(c.Path)
	if err != nil {
		return nil
	}
	defer f.Close()
	grown, err := io.ReadAll(io.NewSectionReader(f, c.offset, info.Size()-c.offset))
	if err != nil {
		return nil
	}
	c.offset += int64(len(grown))
	content := slices.Concat(c.rest, grown)
	end := bytes.LastIndexByte(content, '\n') + 1
	c.rest = bytes.Clone(content[end:])

	var acks []ack
	for line := range bytes.Lines(content[:end]) {
		r, ok := record.ParseAck(string(line))
		if !ok {
			continue
		}
		if c.boots == nil {
			c.boots = map[string]struct{}{}
		}
		_, known := c.boots[r.BootID]
		c.boots[r.BootID] = struct{}{}
		acks = append(acks, ack{r, !known})
	}
	return acks
}
