package sampler

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// handle holds on to a process by its pidfd: unlike a PID it never comes to
// mean another process, and it tells of the process's end at once.
type handle struct {
	file   *os.File
	closed chan struct{}
	wait   sync.WaitGroup
}

// newHandle sends the PID on ended when the process is gone, unless the handle
// is closed before.
func newHandle(pid int, ended chan<- int) (*handle, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, err
	}
	h := &handle{file: os.NewFile(uintptr(fd), "pidfd"), closed: make(chan struct{})}
	conn, err := h.file.SyscallConn()
	if err != nil {
		h.file.Close()
		return nil, err
	}
	h.wait.Go(func() {
		// Read waits in the runtime's poller: no thread is spent on it.
		if conn.Read(exited) != nil {
			return // closed
		}
		select {
		case ended <- pid:
		case <-h.closed:
		}
	})
	return h, nil
}

// exited reports whether the process behind a pidfd has ended.
func exited(fd uintptr) bool {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(poll, 0)
	return err == nil && n > 0
}

// gone reports whether the process has ended.
func (h *handle) gone() bool {
	conn, err := h.file.SyscallConn()
	if err != nil {
		return false
	}
	gone := false
	err = conn.Control(func(fd uintptr) { gone = exited(fd) })
	return err == nil && gone
}

// close lets go of the process and waits for the handle's goroutine to end.
func (h *handle) close() {
	close(h.closed)
	h.file.Close()
	h.wait.Wait()
}
