package record

import "strings"

// Console is what one console file shows.
type Console struct {
	Highest uint64   // highest number acknowledged
	Boots   []string // boot IDs that acknowledged something, in order of their first
	// Lost counts numbers that were acknowledged and then acknowledged again by a
	// later boot: the disk that it booted from did not have them.
	Lost uint64
}

// ParseConsole reads a console file. An unfinished last line is not counted:
// more of it may come.
func ParseConsole(content []byte) Console {
	var c Console
	last := ""
	for line := range strings.Lines(string(content)) {
		if !strings.HasSuffix(line, "\n") {
			break
		}
		ack, ok := ParseAck(line)
		if !ok {
			continue
		}
		if ack.BootID != last && ack.N <= c.Highest {
			c.Lost += c.Highest - ack.N + 1
		}
		c.Highest = max(c.Highest, ack.N)
		if ack.BootID != last {
			c.Boots, last = append(c.Boots, ack.BootID), ack.BootID
		}
	}
	return c
}
