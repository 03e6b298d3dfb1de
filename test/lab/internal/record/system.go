package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
)

// The system is what stands for a guest's root file system: a part of the disk
// that is right or wrong as a whole. It comes in generations, so that whoever
// reads it knows which state of the disk it has before it. To write one is no
// transaction: a guest that loses its power meanwhile has a broken system.
const (
	SystemStart = BusyEnd // between the small requests and what the disk is filled with
	SystemSize  = FillStart - SystemStart

	systemHeader = 20 // magic, generation, checksum
	systemMagic  = "HFSYSTEM"
)

// What is wrong with a system that is not right.
var (
	ErrNoSystem     = errors.New("there is no system on the disk")
	ErrSystemBroken = errors.New("the system on the disk is broken")
)

// EncodeSystem fills buf, which must be SystemSize bytes long, with a
// generation: no two of them have much in common.
func EncodeSystem(buf []byte, generation uint64) {
	copy(buf, systemMagic)
	binary.LittleEndian.PutUint64(buf[8:], generation)
	source := rand.NewPCG(generation, 0)
	var word [8]byte
	for at := systemHeader; at < len(buf); at += len(word) {
		binary.LittleEndian.PutUint64(word[:], source.Uint64())
		copy(buf[at:], word[:])
	}
	binary.LittleEndian.PutUint32(buf[16:], systemSum(buf))
}

// CorruptByte is what every byte of a system is after the lab has broken it.
const CorruptByte = 0xDB

// ParseSystem is the generation that the SystemSize bytes in buf hold.
// ErrNoSystem if they were never written, ErrSystemBroken if they do not belong
// together.
func ParseSystem(buf []byte) (uint64, error) {
	if len(buf) != SystemSize {
		return 0, fmt.Errorf("%d bytes are no system, which has %d", len(buf), SystemSize)
	}
	if len(bytes.TrimLeft(buf, "\x00")) == 0 {
		return 0, ErrNoSystem
	}
	if string(buf[:8]) != systemMagic {
		return 0, fmt.Errorf("%w: it does not begin as one", ErrSystemBroken)
	}
	if sum := binary.LittleEndian.Uint32(buf[16:]); sum != systemSum(buf) {
		return 0, fmt.Errorf("%w: wrong checksum", ErrSystemBroken)
	}
	return binary.LittleEndian.Uint64(buf[8:]), nil
}

// systemSum is over all but the checksum itself.
func systemSum(buf []byte) uint32 {
	return crc32.Update(crc32.ChecksumIEEE(buf[:16]), crc32.IEEETable, buf[systemHeader:])
}
