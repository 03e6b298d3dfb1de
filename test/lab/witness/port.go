package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// portWait is how long a port may take to appear. A guest whose definition has
// none does without.
const portWait = 2 * time.Minute

// errNoPort says that the guest was given no such port.
var errNoPort = errors.New("no such port")

// port is a virtio-serial port: lines come in, lines go out.
type port struct {
	path string
	wake int // an eventfd: written to by interrupt
}

// findPort waits for the port of a name.
func findPort(name string) (*port, error) {
	for deadline := time.Now().Add(portWait); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		files, err := filepath.Glob("/sys/class/virtio-ports/*/name")
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err == nil && strings.TrimSpace(string(content)) == name {
				wake, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
				return &port{path: "/dev/" + filepath.Base(filepath.Dir(file)), wake: wake}, err
			}
		}
	}
	return nil, fmt.Errorf("%w: %s", errNoPort, name)
}

// follow opens the port and hands over each line, then writes what handle
// returns, if anything. When it is interrupted it asks what to write and whether
// to go on; if not, it closes the port and returns.
func (p *port) follow(handle func(line []byte) []byte, interrupted func() (out []byte, on bool)) error {
	// Without O_NONBLOCK a write waits until somebody reads, which may be never.
	fd, err := unix.Open(p.path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", p.path, err)
	}
	defer unix.Close(fd)
	var pending []byte
	chunk := make([]byte, 4096)
	for {
		ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(p.wake), Events: unix.POLLIN}}
		if _, err := unix.Poll(ready, -1); err != nil && err != unix.EINTR {
			return err
		}
		if ready[1].Revents != 0 {
			if _, err := unix.Read(p.wake, make([]byte, 8)); err != nil {
				return err
			}
			out, on := interrupted()
			if !on {
				return nil
			}
			send(fd, out)
		}
		if ready[0].Revents == 0 {
			continue
		}
		n, err := unix.Read(fd, chunk)
		if n <= 0 || err != nil {
			// Nobody is at the other end, and the kernel does not wait for one to come.
			pending = nil
			time.Sleep(100 * time.Millisecond)
			continue
		}
		pending = append(pending, chunk[:n]...)
		for {
			line, rest, whole := bytes.Cut(pending, []byte("\n"))
			if !whole {
				break
			}
			pending = rest
			if answer := handle(line); answer != nil {
				send(fd, answer)
			}
		}
	}
}

// interrupt makes follow ask, the running one or else the next.
func (p *port) interrupt() {
	one := make([]byte, 8)
	one[0] = 1
	_, _ = unix.Write(p.wake, one)
}

// send writes an answer, or gives up: whoever asked may have left.
func send(fd int, answer []byte) {
	for deadline := time.Now().Add(time.Second); len(answer) > 0 && time.Now().Before(deadline); {
		n, err := unix.Write(fd, answer)
		if n > 0 {
			answer = answer[n:]
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond)
		}
	}
}
