// Package nbd serves disks over NBD, as far as QEMU's client asks for it, and
// can have all of a disk's reads and writes fail. (A server that is killed does
// not do for that: QEMU 7.2 gives up on it, and no resume of the guest brings
// the disk back.) The protocol is that of doc/proto.md in the nbd project.
package nbd

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Disk is one export.
type Disk struct {
	Path string // a raw image
	// Fails is asked before each request; if it says so, the request fails with an
	// I/O error.
	Fails func() bool
}

const (
	magicHello   = 0x4e42444d41474943 // "NBDMAGIC"
	magicOption  = 0x49484156454f5054 // "IHAVEOPT"
	magicAnswer  = 0x3e889045565a9
	magicRequest = 0x25609513
	magicReply   = 0x67446698

	helloFlags = 1<<0 | 1<<1 // fixed newstyle, no zeroes
	noZeroes   = 1 << 1

	optExportName, optAbort, optInfo, optGo = 1, 2, 6, 7

	answerAck, answerInfo                = 1, 3
	answerUnsupported, answerInvalid     = 1<<31 + 1, 1<<31 + 3
	answerUnknown                        = 1<<31 + 6
	infoExport                           = 0
	diskFlags                            = 1<<0 | 1<<2 | 1<<3 | 1<<5 | 1<<8 // has flags, flush, FUA, trim, several connections
	flagFUA                              = 1 << 0
	cmdRead, cmdWrite, cmdDisc, cmdFlush = 0, 1, 2, 3
	cmdTrim                              = 4

	maxOption  = 64 << 10
	maxRequest = 32 << 20 // what a client may ask for that was told nothing else
)

// session is one connection.
type session struct {
	in   *bufio.Reader
	out  *bufio.Writer
	find func(export string) (Disk, bool)
}

// Serve speaks with one client until it leaves. find knows the disks by the
// names of their exports.
func Serve(conn io.ReadWriter, find func(export string) (Disk, bool)) error {
	s := &session{in: bufio.NewReaderSize(conn, 256<<10), out: bufio.NewWriterSize(conn, 256<<10), find: find}
	disk, file, err := s.negotiate()
	if err != nil || file == nil {
		return err
	}
	defer file.Close()
	return s.transmit(disk, file)
}

func (s *session) read(values ...any) error {
	for _, v := range values {
		if err := binary.Read(s.in, binary.BigEndian, v); err != nil {
			return err
		}
	}
	return nil
}

// put writes to the buffer; what goes wrong there is said by the next Flush.
func (s *session) put(values ...any) {
	for _, v := range values {
		_ = binary.Write(s.out, binary.BigEndian, v)
	}
}

// negotiate answers options until the client has chosen a disk, or left (nil).
func (s *session) negotiate() (Disk, *os.File, error) {
	var flags uint32
	s.put(uint64(magicHello), uint64(magicOption), uint16(helloFlags))
	if err := errors.Join(s.out.Flush(), s.read(&flags)); err != nil {
		return Disk{}, nil, err
	}
	for {
		var magic uint64
		var option, length uint32
		if err := s.read(&magic, &option, &length); err != nil {
			return Disk{}, nil, err
		}
		if magic != magicOption || length > maxOption {
			return Disk{}, nil, fmt.Errorf("an option that is none: %x, %d bytes", magic, length)
		}
		data := make([]byte, length)
		if _, err := io.ReadFull(s.in, data); err != nil {
			return Disk{}, nil, err
		}
		switch option {
		case optExportName:
			disk, file, size, err := s.open(string(data))
			if err != nil {
				return Disk{}, nil, err // there is no answer but the end
			}
			s.put(uint64(size), uint16(diskFlags))
			if flags&noZeroes == 0 {
				s.put(make([]byte, 124))
			}
			return disk, file, s.out.Flush()
		case optAbort:
			s.answer(option, answerAck, nil)
			return Disk{}, nil, s.out.Flush()
		case optInfo, optGo:
			disk, file := s.info(option, data)
			if err := s.out.Flush(); err != nil || (file != nil && option == optGo) {
				return disk, file, err
			}
			if file != nil {
				file.Close()
			}
		default:
			s.answer(option, answerUnsupported, nil)
			if err := s.out.Flush(); err != nil {
				return Disk{}, nil, err
			}
		}
	}
}

func (s *session) answer(option uint32, kind uint32, data []byte) {
	s.put(uint64(magicAnswer), option, kind, uint32(len(data)), data)
}

// info answers what is asked about a disk. The file is nil if there is none.
func (s *session) info(option uint32, data []byte) (Disk, *os.File) {
	if len(data) < 6 || uint64(binary.BigEndian.Uint32(data)) > uint64(len(data)-6) {
		s.answer(option, answerInvalid, nil)
		return Disk{}, nil
	}
	name := data[4 : 4+binary.BigEndian.Uint32(data)]
	disk, file, size, err := s.open(string(name))
	if err != nil {
		s.answer(option, answerUnknown, []byte(err.Error()))
		return Disk{}, nil
	}
	var export []byte
	export = binary.BigEndian.AppendUint16(export, infoExport)
	export = binary.BigEndian.AppendUint64(export, uint64(size))
	export = binary.BigEndian.AppendUint16(export, diskFlags)
	s.answer(option, answerInfo, export)
	s.answer(option, answerAck, nil)
	return disk, file
}

func (s *session) open(export string) (Disk, *os.File, int64, error) {
	disk, ok := s.find(export)
	if !ok {
		return Disk{}, nil, 0, fmt.Errorf("no export %q", export)
	}
	file, err := os.OpenFile(disk.Path, os.O_RDWR, 0)
	if err != nil {
		return Disk{}, nil, 0, err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return Disk{}, nil, 0, err
	}
	return disk, file, info.Size(), nil
}

// transmit does one request after the other until the client leaves.
func (s *session) transmit(disk Disk, file *os.File) error {
	for {
		var r struct {
			Magic      uint32
			Flags, Cmd uint16
			Handle     uint64
			Offset     int64
			Length     uint32
		}
		if err := s.read(&r); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		carries := r.Cmd == cmdRead || r.Cmd == cmdWrite
		if r.Magic != magicRequest || carries && r.Length > maxRequest {
			return fmt.Errorf("a request that is none: %x, %d bytes", r.Magic, r.Length)
		}
		if r.Cmd == cmdDisc {
			return nil
		}
		var data []byte
		if carries {
			data = make([]byte, r.Length)
		}
		if r.Cmd == cmdWrite {
			if _, err := io.ReadFull(s.in, data); err != nil {
				return err
			}
		}
		code := number(disk, file, r.Cmd, r.Flags, data, r.Offset, int64(r.Length))
		s.put(uint32(magicReply), code, r.Handle)
		if r.Cmd == cmdRead && code == 0 {
			s.put(data)
		}
		if err := s.out.Flush(); err != nil {
			return err
		}
	}
}

// number does a request and returns the error number that the client is told.
func number(disk Disk, file *os.File, cmd, flags uint16, data []byte, offset, length int64) uint32 {
	if disk.Fails() {
		return uint32(unix.EIO)
	}
	var err error
	switch cmd {
	case cmdRead:
		_, err = file.ReadAt(data, offset)
	case cmdWrite:
		if _, err = file.WriteAt(data, offset); err == nil && flags&flagFUA != 0 {
			err = unix.Fdatasync(int(file.Fd()))
		}
	case cmdFlush:
		err = unix.Fdatasync(int(file.Fd()))
	case cmdTrim:
		err = unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, offset, length)
	default:
		return uint32(unix.EINVAL)
	}
	switch {
	case err == nil:
		return 0
	case errors.Is(err, unix.ENOSPC):
		return uint32(unix.ENOSPC)
	}
	return uint32(unix.EIO)
}
