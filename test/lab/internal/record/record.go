// Package record is what the witness guest writes to its disk and says on its
// console, and how the lab reads both back. It imports nothing but the standard
// library: the guest's whole userland is built from it.
package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// The witness writes to two slots in turn, so that a write that was torn by a
// power cut leaves the one before it whole.
const (
	SlotSize = 4096         // bytes of a slot; a multiple of any sector size
	Slots    = 2            // the first slots of the disk
	Size     = SlotSize * 2 // bytes to read to find the newest number
)

// What else is on a disk. The lab's tasks write outside of the slots.
const (
	NoteStart = Size      // the witness's note to its next boot, one slot long
	BusyStart = 64 << 10  // small requests go here,
	BusyEnd   = 512 << 10 // up to here;
	FillStart = 1 << 20   // and from here on the disk is filled, block by block
	BlockSize = 64 << 10  // what a qcow2 image finds room for at a time
)

const magic = "HFWITNES"

// ErrBlank says that no slot holds a valid record: the disk was never written.
var ErrBlank = errors.New("no witness record on the disk")

// Record is one number on the disk and the boot that wrote it.
type Record struct {
	N      uint64
	BootID string // 36 characters, as /proc/sys/kernel/random/boot_id prints it
}

// Slot is the slot that number n belongs in.
func Slot(n uint64) int64 { return int64(n % Slots) }

// Encode fills slot, which must be SlotSize bytes long.
func (r Record) Encode(slot []byte) {
	clear(slot)
	copy(slot, magic)
	binary.LittleEndian.PutUint64(slot[8:], r.N)
	copy(slot[16:52], r.BootID)
	binary.LittleEndian.PutUint32(slot[52:], crc32.ChecksumIEEE(slot[:52]))
}

// Newest is the valid record with the highest number in the first Size bytes of
// a disk, or ErrBlank.
func Newest(disk []byte) (Record, error) {
	var newest Record
	found := false
	for at := 0; at+SlotSize <= len(disk) && at < Size; at += SlotSize {
		slot := disk[at : at+SlotSize]
		if string(slot[:8]) != magic || binary.LittleEndian.Uint32(slot[52:]) != crc32.ChecksumIEEE(slot[:52]) {
			continue
		}
		r := Record{N: binary.LittleEndian.Uint64(slot[8:]), BootID: string(bytes.TrimRight(slot[16:52], "\x00"))}
		if !found || r.N > newest.N {
			newest, found = r, true
		}
	}
	if !found {
		return Record{}, ErrBlank
	}
	return newest, nil
}

// AckLine is what the witness says on its console once r is on the disk.
func (r Record) AckLine() string { return fmt.Sprintf("ack %s %d\n", r.BootID, r.N) }

// StartLine is what the witness says once per boot, before its first write: the
// number that it found on the disk.
func (r Record) StartLine() string { return fmt.Sprintf("start %s %d\n", r.BootID, r.N) }

// ParseAck reads one console line, without its line end. It refuses everything
// that is not a whole acknowledgement: kernel messages, and lines that a kill
// cut short.
func ParseAck(line string) (Record, bool) {
	fields := strings.Fields(line)
	if len(fields) != 3 || fields[0] != "ack" || len(fields[1]) != 36 {
		return Record{}, false
	}
	n, err := strconv.ParseUint(fields[2], 10, 64)
	if err != nil {
		return Record{}, false
	}
	return Record{N: n, BootID: fields[1]}, true
}
