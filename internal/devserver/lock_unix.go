//go:build unix

package devserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// lockDatabase makes sure that no other process serves the database: SQLite
// would let two in, and Temporal would not survive it. The lock is the file's,
// so it is handed to the child and lives exactly as long as the child does. It
// waits for up to 10 s for one that is just ending.
func lockDatabase(ctx context.Context, database string) (*os.File, error) {
	f, err := os.OpenFile(database+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for until := time.Now().Add(10 * time.Second); ; {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Now().After(until) || ctx.Err() != nil {
			_ = f.Close()
			return nil, fmt.Errorf("the database %s is in use (%w): stop the other development server, or use another folder", database, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}
