package netns

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Within calls do on a thread that is in a named namespace. A socket belongs to
// the namespace that it was made in, wherever it is used afterwards; what do
// starts with `go` is elsewhere.
func Within(name string, do func() error) error {
	there, err := os.Open(Path(name))
	if err != nil {
		return err
	}
	defer there.Close()
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		here, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
		if err != nil {
			result <- err
			return
		}
		defer here.Close()
		if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
			result <- fmt.Errorf("enter network namespace %s (this needs root): %w", name, err)
			return
		}
		err = do()
		// A thread that cannot go back stays locked: it ends with this goroutine.
		back := unix.Setns(int(here.Fd()), unix.CLONE_NEWNET)
		if back == nil {
			runtime.UnlockOSThread()
		}
		result <- errors.Join(err, back)
	}()
	return <-result
}
