package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/google/uuid"

	"holdfast/test/lab/internal/task"
)

// Task says what a guest is to do.
type Task = task.Kind

// Tasks, as package task describes them.
const (
	TaskCPU      = task.CPU
	TaskMemory   = task.Memory
	TaskDisk     = task.Disk
	TaskWrite    = task.Write
	TaskFill     = task.Fill
	TaskEmpty    = task.Empty
	TaskNet      = task.Net
	TaskMute     = task.Mute
	TaskUnmute   = task.Unmute
	TaskClock    = task.Clock
	TaskWatchdog = task.Watchdog
	TaskHalt     = task.Halt
	TaskStop     = task.Stop
	TaskList     = task.List

	TaskGeneration    = task.Generation
	TaskSetGeneration = task.SetGeneration
)

// TaskOptions are the particulars of a task. The zero value is enough for the
// default rules of Holdfast to call what the guest does a fault.
type TaskOptions = task.Options

// Done is a task that a guest took on.
type Done struct {
	VM   string    `json:"vm"`
	Host string    `json:"host"` // the one its QEMU runs on
	Task Task      `json:"task"`
	At   time.Time `json:"at"` // the moment right before the guest was told
	// Said is what the guest said about it.
	Said string `json:"said,omitempty"`
	// Generation is what TaskGeneration found and TaskSetGeneration wrote.
	Generation *uint64 `json:"generation,omitempty"`
	// Running is what lasts in the guest now, each with how far it is.
	Running []string `json:"running"`
}

// answerWait is how long a guest may take to take a task on. On an idle machine
// it takes milliseconds; to end one that waits for a disk, two seconds.
const answerWait = 20 * time.Second

// tellWait is how long to wait before it is told again.
const tellWait = 4 * time.Second

// Do tells a VM's guest to do something. It goes by a channel of its own, past
// libvirtd and the guest agent, so that it works when those do not. For a VM that
// two processes hold, onHost says which is meant.
func (l *Lab) Do(ctx context.Context, vm string, what Task, o TaskOptions, onHost ...string) (Done, error) {
	done := Done{Task: what, Running: []string{}}
	if err := (task.Request{Do: what, Options: o}).Check(); err != nil {
		return done, err
	}
	guest, err := l.vm(vm)
	if err != nil {
		return done, err
	}
	copy, err := l.theCopy(guest, append(onHost, "")[0])
	if err != nil {
		return done, err
	}
	done.VM, done.Host, done.At = guest.Name, copy.Host, time.Now().UTC()
	reply, err := l.order(ctx, guest, copy, what, o)
	done.Said, done.Generation, done.Running = reply.Said, reply.Generation, append(done.Running, reply.Running...)
	if what == task.List || what == task.Generation {
		return done, err
	}
	return done, errors.Join(err, l.record(Injection{
		Fault: FaultKind("do " + what), VM: guest.Name, Host: copy.Host, PID: copy.PID, At: done.At,
	}, err))
}

// order has a guest do something, or returns why it does not.
func (l *Lab) order(ctx context.Context, vm VM, copy QEMU, what Task, o TaskOptions) (task.Reply, error) {
	reply, err := l.tell(ctx, vm, copy, task.Request{ID: uuid.NewString(), Do: what, Options: o})
	if err == nil && reply.Error != "" {
		err = fmt.Errorf("guest of %s: %s", vm.Name, reply.Error)
	}
	return reply, err
}

// tell sends a request to the guest until there is a reply. QEMU drops what a
// guest says at the moment that nobody listens, such as when it is just being
// paused or resumed; the guest does nothing twice that bears the same ID.
func (l *Lab) tell(ctx context.Context, vm VM, copy QEMU, request task.Request) (task.Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	for {
		reply, err := tellOnce(ctx, vm, copy, request)
		if err == nil {
			return reply, nil
		}
		if ctx.Err() != nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return reply, fmt.Errorf("the guest of %s does not say whether it will %s: it hangs, is paused, has not booted yet, or its QEMU has ended: %w",
				vm.Name, request.Do, err)
		}
	}
}

// tellOnce sends a request and waits a while for its reply; os.ErrDeadlineExceeded
// if there is none.
func tellOnce(ctx context.Context, vm VM, copy QEMU, request task.Request) (task.Reply, error) {
	line, err := task.Line(request)
	if err != nil {
		return task.Reply{}, err
	}
	// QEMU's own root is the host's: there the path is as short as sockets want it.
	path := filepath.Join("/proc", strconv.Itoa(copy.PID), "root", taskSocket(vm.Name))
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return task.Reply{}, err
	}
	defer conn.Close()
	deadline := time.Now().Add(tellWait)
	if end, ok := ctx.Deadline(); ok && end.Before(deadline) {
		deadline = end
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return task.Reply{}, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	// The line end before it ends what somebody else may have begun.
	if _, err := conn.Write(append([]byte("\n"), line...)); err != nil {
		return task.Reply{}, err
	}
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		// Others are replies to somebody who did not wait for them.
		if reply, ok := task.ParseReply(lines.Bytes()); ok && reply.ID == request.ID {
			return reply, nil
		}
	}
	if err := lines.Err(); err != nil {
		return task.Reply{}, err
	}
	return task.Reply{}, io.ErrUnexpectedEOF
}
