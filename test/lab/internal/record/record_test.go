package record

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

const (
	boot1 = "5bded0a6-0f01-46b6-91f0-4221648b6056"
	boot2 = "965a9d31-d4a0-4289-99c4-33b06483b96a"
)

// write does to a disk what the witness does.
func write(disk []byte, r Record) {
	at := Slot(r.N) * SlotSize
	r.Encode(disk[at : at+SlotSize])
}

func TestNewestIsTheLastWritten(t *testing.T) {
	disk := make([]byte, Size)
	_, err := Newest(disk)
	require.ErrorIs(t, err, ErrBlank)

	rapid.Check(t, func(t *rapid.T) {
		disk := make([]byte, Size)
		first := rapid.Uint64Range(1, 1<<40).Draw(t, "first")
		last := first + rapid.Uint64Range(0, 20).Draw(t, "more")
		for n := first; n <= last; n++ {
			write(disk, Record{N: n, BootID: boot1})
		}
		got, err := Newest(disk)
		require.NoError(t, err)
		require.Equal(t, Record{N: last, BootID: boot1}, got)
	})
}

func TestTornWriteLeavesTheOneBefore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		disk := make([]byte, Size)
		write(disk, Record{N: 41, BootID: boot1})
		before := append([]byte(nil), disk...)
		write(disk, Record{N: 42, BootID: boot2})
		// Only a part of the write has reached the disk.
		cut := rapid.IntRange(1, 55).Draw(t, "cut")
		at := int(Slot(42)) * SlotSize
		copy(disk[at+cut:at+SlotSize], before[at+cut:at+SlotSize])
		got, err := Newest(disk)
		require.NoError(t, err)
		require.Equal(t, uint64(41), got.N)
	})
}

func TestParseAck(t *testing.T) {
	r := Record{N: 7, BootID: boot1}
	got, ok := ParseAck(r.AckLine())
	require.True(t, ok)
	require.Equal(t, r, got)
	_, ok = ParseAck("ack " + boot1 + " 7\r")
	require.True(t, ok, "a terminal ends its lines with \\r\\n")

	for _, line := range []string{
		"", "ack", "ack " + boot1, "ack " + boot1 + " x", "ack " + boot1[:30] + " 7", "ack " + boot1 + " -7",
		"ack " + boot1 + " 7 8", r.StartLine(), "[    1.0] ack " + boot1 + " 7",
	} {
		_, ok := ParseAck(line)
		require.False(t, ok, line)
	}
}

func TestParseConsole(t *testing.T) {
	content := "SeaBIOS\r\nstart " + boot1 + " 0\r\nack " + boot1 + " 1\r\nack " + boot1 + " 2\r\n" +
		"ack " + boot1 + " 3" + // killed within the line
		"\x1bcSeaBIOS\r\nstart " + boot2 + " 3\r\nack " + boot2 + " 4\r\nack " + boot2 + " 5\r\nack " + boot2 + " 600"
	require.Equal(t, Console{Highest: 5, Boots: []string{boot1, boot2}}, ParseConsole([]byte(content)))
	require.Equal(t, Console{}, ParseConsole(nil))
	// The second boot found an older disk: 2 and 3 were acknowledged and lost.
	lost := "ack " + boot1 + " 1\nack " + boot1 + " 2\nack " + boot1 + " 3\nack " + boot2 + " 2\nack " + boot2 + " 3\n"
	require.Equal(t, Console{Highest: 3, Boots: []string{boot1, boot2}, Lost: 2}, ParseConsole([]byte(lost)))
}

func TestParseConsoleTakesAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ParseConsole(rapid.SliceOf(rapid.Byte()).Draw(t, "content"))
	})
}
