package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// fatal is an error that waiting longer does not change.
type fatal struct{ error }

func (f fatal) Unwrap() error { return f.error }

// await checks again and again until it gets no error, and fails with the last
// one when the time is over.
func await(ctx context.Context, within time.Duration, what string, check func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	last := context.DeadlineExceeded
	for {
		err := check(limited)
		if err == nil {
			return nil
		}
		var final fatal
		if errors.As(err, &final) {
			return final.error
		}
		if limited.Err() == nil {
			last = err // else it only says that the time is over
		}
		select {
		case <-limited.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("waited %s for %s: %w", within, what, last)
		case <-tick.C:
		}
	}
}
