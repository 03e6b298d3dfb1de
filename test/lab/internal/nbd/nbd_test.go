package nbd

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// client speaks the other side.
type client struct {
	t    *testing.T
	conn net.Conn
}

func (c client) put(values ...any) {
	c.t.Helper()
	for _, v := range values {
		if data, is := v.([]byte); is && len(data) == 0 {
			continue // a pipe would wait for somebody to read nothing
		}
		require.NoError(c.t, binary.Write(c.conn, binary.BigEndian, v))
	}
}

func (c client) get(values ...any) {
	c.t.Helper()
	for _, v := range values {
		require.NoError(c.t, binary.Read(c.conn, binary.BigEndian, v))
	}
}

// option sends an option and returns the kinds of its answers, up to the last.
func (c client) option(option uint32, data []byte) (kinds []uint32, last []byte) {
	c.t.Helper()
	c.put(uint64(magicOption), option, uint32(len(data)), data)
	for {
		var magic uint64
		var of, kind, length uint32
		c.get(&magic, &of, &kind, &length)
		require.Equal(c.t, uint64(magicAnswer), magic)
		require.Equal(c.t, option, of)
		body := make([]byte, length)
		c.get(body)
		kinds = append(kinds, kind)
		if kind == answerAck || kind&(1<<31) != 0 {
			return kinds, last
		}
		last = body
	}
}

// request does a command and returns its error number, and what was read.
func (c client) request(cmd uint16, offset uint64, length uint32, data []byte) (uint32, []byte) {
	c.t.Helper()
	c.put(uint32(magicRequest), uint16(0), cmd, uint64(4711), offset, length, data)
	var magic, code uint32
	var handle uint64
	c.get(&magic, &code, &handle)
	require.Equal(c.t, uint32(magicReply), magic)
	require.Equal(c.t, uint64(4711), handle)
	if cmd != cmdRead || code != 0 {
		return code, nil
	}
	got := make([]byte, length)
	c.get(got)
	return code, got
}

// connect is a client that has been greeted by a server of the export "vdb".
func connect(t *testing.T, path string, fails *atomic.Bool) (client, <-chan error) {
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close() })
	ended := make(chan error, 1)
	go func() {
		defer theirs.Close()
		ended <- Serve(theirs, func(export string) (Disk, bool) {
			return Disk{Path: path, Fails: fails.Load}, export == "vdb"
		})
	}()
	c := client{t, ours}
	var hello, option uint64
	var flags uint16
	c.get(&hello, &option, &flags)
	require.Equal(t, uint64(magicHello), hello)
	c.put(uint32(flags))
	return c, ended
}

// goTo is the data of the option that chooses an export.
func goTo(export string) []byte {
	return append(append(binary.BigEndian.AppendUint32(nil, uint32(len(export))), export...), 0, 0)
}

func TestDiskCanFailAndWorkAgain(t *testing.T) {
	const size = 1 << 20
	path := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.WriteFile(path, make([]byte, size), 0o644))
	var fails atomic.Bool
	c, ended := connect(t, path, &fails)
	kinds, _ := c.option(8, nil) // structured replies
	require.Equal(t, []uint32{answerUnsupported}, kinds)
	kinds, _ = c.option(optGo, goTo("other"))
	require.Equal(t, []uint32{answerUnknown}, kinds)
	kinds, _ = c.option(optGo, []byte{0, 0, 1})
	require.Equal(t, []uint32{answerInvalid}, kinds)
	kinds, info := c.option(optInfo, goTo("vdb"))
	require.Equal(t, []uint32{answerInfo, answerAck}, kinds)
	require.Equal(t, uint64(size), binary.BigEndian.Uint64(info[2:]))
	kinds, _ = c.option(optGo, goTo("vdb"))
	require.Equal(t, []uint32{answerInfo, answerAck}, kinds)

	block := bytes.Repeat([]byte{7}, 8192)
	code, _ := c.request(cmdWrite, 4096, 8192, block)
	require.Zero(t, code)
	code, got := c.request(cmdRead, 4096, 8192, nil)
	require.Zero(t, code)
	require.Equal(t, block, got)

	fails.Store(true)
	for _, cmd := range []uint16{cmdRead, cmdFlush, cmdTrim} {
		code, _ = c.request(cmd, 4096, 8192, nil)
		require.Equal(t, uint32(unix.EIO), code)
	}
	code, _ = c.request(cmdWrite, 4096, 8192, make([]byte, 8192))
	require.Equal(t, uint32(unix.EIO), code)
	fails.Store(false)
	_, got = c.request(cmdRead, 4096, 8192, nil)
	require.Equal(t, block, got, "what failed changed nothing")

	code, _ = c.request(cmdFlush, 0, 0, nil)
	require.Zero(t, code)
	code, _ = c.request(cmdTrim, 4096, 8192, nil)
	require.Zero(t, code)
	_, got = c.request(cmdRead, 4096, 8192, nil)
	require.Equal(t, make([]byte, 8192), got)
	code, _ = c.request(cmdTrim, 0, 1<<31, nil)
	require.Zero(t, code, "what carries no data may be long")
	code, _ = c.request(cmdRead, size, 512, nil)
	require.Equal(t, uint32(unix.EIO), code, "past the end")
	code, _ = c.request(99, 0, 0, nil)
	require.Equal(t, uint32(unix.EINVAL), code)

	c.put(uint32(magicRequest), uint16(0), uint16(cmdDisc), uint64(0), uint64(0), uint32(0))
	require.NoError(t, <-ended)
}

func TestOldWayToChoose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.WriteFile(path, make([]byte, 4096), 0o644))
	c, ended := connect(t, path, new(atomic.Bool))
	c.put(uint64(magicOption), uint32(optExportName), uint32(3), []byte("vdb"))
	var size uint64
	var flags uint16
	c.get(&size, &flags)
	require.Equal(t, uint64(4096), size)
	c.conn.Close()
	require.NoError(t, <-ended)

	c, ended = connect(t, path, new(atomic.Bool))
	kinds, _ := c.option(optAbort, nil)
	require.Equal(t, []uint32{answerAck}, kinds)
	require.NoError(t, <-ended)
}

func TestServeTakesAnything(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.WriteFile(path, make([]byte, 4096), 0o644))
	rapid.Check(t, func(t *rapid.T) {
		var in bytes.Buffer
		in.Write(make([]byte, 4)) // the client's flags
		if rapid.Bool().Draw(t, "chosen") {
			for _, v := range []any{uint64(magicOption), uint32(optGo), uint32(9), goTo("vdb")} {
				_ = binary.Write(&in, binary.BigEndian, v)
			}
		}
		in.Write(rapid.SliceOf(rapid.Byte()).Draw(t, "rubbish"))
		_ = Serve(struct {
			io.Reader
			io.Writer
		}{&in, io.Discard}, func(string) (Disk, bool) { return Disk{Path: path, Fails: func() bool { return false }}, true })
	})
}
